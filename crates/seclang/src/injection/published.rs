//! libinjection's own test cases, read from a folder that is not in this repository.
//!
//! The variable `REMPART_LIBINJECTION` names a copy of its sources (the folder that holds `tests/`). Without
//! it the tests say that they did not run.

use std::path::PathBuf;

/// One file of cases.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) input: Vec<u8>,
    pub(super) expected: String,
}

/// The cases whose files' names start with `prefix`; `None` where there is no folder.
#[expect(clippy::disallowed_methods, reason = "where data of others lies is known to the environment alone")]
pub(super) fn cases(prefix: &str) -> Option<Vec<Case>> {
    let Ok(folder) = std::env::var("REMPART_LIBINJECTION") else {
        eprintln!("not run: REMPART_LIBINJECTION does not name a copy of libinjection with its tests");
        return None;
    };
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(PathBuf::from(folder).join("tests")).expect("the folder has tests/") {
        let path = entry.expect("tests/ can be listed").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(prefix) {
            let text = std::fs::read(&path).expect("a case can be read");
            cases.push(parse(name, &text));
        }
    }
    assert!(!cases.is_empty(), "tests/ has cases named {prefix}…");
    Some(cases)
}

fn parse(name: String, text: &[u8]) -> Case {
    // Inputs may be any bytes, so the text is not a string.
    let split = |text: &'_ [u8], mark: &[u8]| {
        let at = memchr::memmem::find(text, mark).expect("a case has an input and an expectation");
        (text[..at].to_vec(), text[at + mark.len()..].to_vec())
    };
    let (_, text) = split(text, b"--INPUT--\n");
    let (input, expected) = split(&text, b"--EXPECTED--\n");
    let input = input.trim_ascii_end().to_vec();
    Case { name, input, expected: String::from_utf8_lossy(&expected).trim_end().to_owned() }
}

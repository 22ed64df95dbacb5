//! Tests of the rules for one file's text: each rule finds what it must and spares what it may.
//! Read next: [`super::check`].

use super::*;

fn problems(path: &str, text: &str) -> Vec<(usize, String)> {
    let mut problems = Vec::new();
    check(&SourceFile { path: path.to_owned(), text: text.to_owned() }, &mut problems);
    problems.into_iter().map(|problem| (problem.line, problem.what)).collect()
}

#[track_caller]
fn assert_only(path: &str, text: &str, line: usize, part: &str) {
    let found = problems(path, text);
    assert!(found.len() == 1 && found[0].0 == line && found[0].1.contains(part), "{found:?}");
}

#[test]
fn a_clean_file_has_no_problems() {
    assert_eq!(problems("crates/a/src/b.rs", "//! About.\n\nstruct Database;\nfn getter() {}\n"), []);
}

#[test]
fn a_file_begins_with_its_doc() {
    assert_only("a.rs", "use x;\n", 1, "module doc");
}

#[test]
fn long_lines_are_found_and_addresses_spared() {
    let long = "x".repeat(111);
    assert_only("a.rs", &format!("//! About.\n// {}\n", &long[..108]), 2, "111 columns");
    assert_eq!(problems("a.rs", &format!("//! About.\n// https://{long}\n")), []);
    assert_eq!(problems("a.md", &long), []);
}

#[test]
fn long_files_are_found_without_their_tests() {
    let lines = "//! About.\n".repeat(801);
    assert_only("crates/a/src/b.rs", &lines, 0, "801 lines");
    assert_eq!(problems("crates/a/src/b/tests.rs", &lines), []);
    let with_tests = format!("//! About.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "// x\n".repeat(900));
    assert_eq!(problems("crates/a/src/b.rs", &with_tests), []);
}

#[test]
fn empty_words_in_type_names_are_found() {
    for name in ["ZoneManager", "DataSource", "Info"] {
        assert_only("a.rs", &format!("//! About.\npub struct {name} {{}}\n"), 2, name);
    }
    assert_eq!(
        problems("a.rs", "//! About.\n// struct InfoBox\nstruct Datagram;\nenum Informational {}\n"),
        []
    );
}

#[test]
fn getters_are_found() {
    assert_only("a.rs", "//! About.\n    pub fn get_name(&self) {}\n", 2, "get_name");
}

#[test]
fn drawers_numbers_and_mod_files_are_found() {
    assert_only("crates/a/src/utils.rs", "//! About.\n", 0, "drawer");
    assert_only("crates/a/tests/0001.rs", "//! About.\n", 0, "number");
    assert_only("crates/a/src/b/mod.rs", "//! About.\n", 0, "mod.rs");
}

#[test]
fn marks_are_found_outside_prose() {
    let mark = concat!("FIX", "ME");
    assert_only("Makefile", &format!("all:\n# {mark} later\n"), 2, mark);
    assert_eq!(problems("STYLE.md", &format!("no {mark}\n")), []);
    assert_eq!(problems("a.rs", concat!("//! About.\nconst PRO", "TODOTAL: u8 = 1;\n")), []);
}

#[test]
fn private_paths_are_found_everywhere() {
    assert_only("README.md", concat!("see /ho", "me/somebody/x\n"), 1, "machine");
}

#[test]
fn tests_are_ignored_for_a_reason() {
    assert_only("a.rs", concat!("//! About.\n    #[", "ignore]\n"), 2, "ignored");
    assert_eq!(problems("a.rs", "//! About.\n#[ignore = \"needs an hour\"]\n"), []);
}

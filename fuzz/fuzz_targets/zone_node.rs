//! Fuzzes node files: no panic, the same result twice, every problem has its place, and the defaults cut out
//! of the file are their own defaults. Read next: `crates/zone/src/node.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zone::{Problem, Source};

fuzz_target!(|bytes: &[u8]| {
    let source = Source { name: "etc/rempart.toml".to_owned(), bytes: bytes.to_vec() };
    let node = zone::compile_node(&source);
    if let Err(problems) = &node {
        assert!(problems.iter().any(Problem::is_error));
        let lines = bytes.split(|byte| *byte == b'\n').count();
        for problem in problems {
            assert_eq!(problem.file, source.name);
            assert!((1..=lines).contains(&problem.line) && problem.column >= 1, "{problem}");
        }
        assert_eq!(zone::compile_node(&source).err().as_ref(), Some(problems));
    }
    let Some(defaults) = zone::defaults_of(&source) else { return };
    assert!(defaults.bytes.len() <= bytes.len());
    assert_eq!(zone::defaults_of(&defaults), Some(defaults.clone()), "cutting again changes them");
});

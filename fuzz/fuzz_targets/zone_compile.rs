//! Fuzzes zone files: any bytes as a zone, as the defaults behind it and as every file that it names. No
//! panic, the same result twice, every problem has its place, and an unchanged zone is shared. Read next:
//! `crates/zone/src/compile.rs`.
#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use zone::{Bundle, Problem, Source};

fn check(problems: &[Problem], sources: &[&Source]) {
    for problem in problems {
        let source = sources.iter().find(|source| source.name == problem.file);
        let source = source.unwrap_or_else(|| panic!("no such file: {problem}"));
        let lines = source.bytes.split(|byte| *byte == b'\n').count();
        assert!((1..=lines).contains(&problem.line) && problem.column >= 1, "{problem}");
        assert!(!problem.message.is_empty() && !problem.message.contains('\n'), "{problem:?}");
    }
}

// The parts are cut at NUL, which no TOML has: zone, defaults, file.
fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(3, |byte| *byte == 0);
    let spec = Source { name: "zones/a.toml".to_owned(), bytes: parts.next().unwrap_or_default().to_vec() };
    let written = parts.next().map(|part| Source { name: "rempart.toml".to_owned(), bytes: part.to_vec() });
    let file = parts.next().unwrap_or_default();
    let defaults = written.as_ref().and_then(zone::defaults_of);
    let sources: Vec<&Source> = [&spec].into_iter().chain(&defaults).collect();

    let named = zone::files_named(std::slice::from_ref(&spec), defaults.as_ref());
    let files: BTreeMap<_, _> = named.iter().map(|named| (named.path.clone(), file.to_vec())).collect();
    let bundle = Bundle::new(vec![spec.clone()], defaults.clone(), files);
    let secrets = |_: &str| Some(file.to_vec());
    match zone::compile(&bundle, 1, &secrets) {
        Err(problems) => {
            assert!(problems.iter().any(Problem::is_error));
            check(&problems, &sources);
            assert_eq!(zone::compile(&bundle, 1, &secrets).err(), Some(problems));
        }
        Ok(snapshot) => {
            check(&snapshot.warnings, &sources);
            let again =
                zone::compile_after(&bundle, 2, &secrets, Some(&snapshot)).expect("it compiled before");
            assert_eq!(again.zones().len(), snapshot.zones().len());
            for (old, new) in snapshot.zones().iter().zip(again.zones()) {
                assert!(Arc::ptr_eq(old, new), "an unchanged zone is another");
            }
            let _ = snapshot.zone_for(file);
        }
    }
});

//! Fuzzes lists: no panic, every problem names a line of the text, and a list that was made answers for its
//! own entries. Read next: `crates/rules/src/list.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rules::{Limits, List, ListKind};

fuzz_target!(|text: &str| {
    for (kind, _) in ListKind::ALL {
        match List::parse(*kind, text, &Limits::default()) {
            Ok(list) => {
                assert!(list.entries() <= text.lines().count());
                for line in text.lines().map(str::trim).filter(|line| !line.contains('#')) {
                    if let (ListKind::Addresses, Ok(address)) = (kind, line.parse()) {
                        assert!(list.holds_address(address), "{line}");
                    }
                    if *kind == ListKind::Strings && !line.is_empty() {
                        assert!(list.holds_bytes(line.as_bytes()), "{line}");
                    }
                }
            }
            Err(problems) => {
                assert!(!problems.is_empty());
                assert!(problems.iter().all(|problem| (1..=text.lines().count()).contains(&problem.line)));
            }
        }
    }
});

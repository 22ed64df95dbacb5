//! All regression cases of CRS, in process.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use seclang::Workspace;
use testkit::crs::{Case, read, reply};

use crate::cases::judge;
use crate::rig::{Manner, crs_folder, regression_rules, run};

/// Cases that fail, each with its reason; no more than Coraza's ten.
const EXCEPTIONS: &[(&str, &str)] = &[
    (
        "920620-1",
        "expects two Content-Type fields to be joined into one before the rules see them, as Apache does",
    ),
    (
        "934210-13",
        "expects the name of an array in JSON to end the names of its elements; they end in `.array_0`",
    ),
];

/// Threads that share the cases.
const THREADS: usize = 3;

/// Runs a closure on every case, on some threads.
pub(crate) fn on_every_case(cases: &[Case], work: impl Fn(&Case, &mut Workspace) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut space = Workspace::default();
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(case, &mut space);
                }
            });
        }
    });
}

#[test]
fn every_regression_case_of_crs_passes_but_the_ones_listed() {
    let Some(folder) = crs_folder() else { return };
    let rules = regression_rules(&folder);
    let cases = read(&folder).expect("the cases");
    assert!(cases.len() >= 5_003, "{} cases", cases.len());
    let failed: Mutex<Vec<(String, Vec<String>)>> = Mutex::default();
    on_every_case(&cases, |case, space| {
        let mut wrong = Vec::new();
        for stage in &case.stages {
            let verdict = run(&rules, &stage.request, &reply(&stage.request), &Manner::default(), space);
            let judged = judge(stage, &verdict);
            if !judged.is_empty() {
                wrong.extend(judged);
                wrong.push(verdict.log);
            }
        }
        if !wrong.is_empty() {
            failed.lock().expect("no panic before").push((case.id.clone(), wrong));
        }
    });
    let mut failed = failed.into_inner().expect("no panic before");
    failed.sort();
    let unexpected: Vec<&(String, Vec<String>)> =
        failed.iter().filter(|(id, _)| !EXCEPTIONS.iter().any(|(known, _)| known == id)).collect();
    let listed: Vec<String> =
        unexpected.iter().map(|(id, wrong)| format!("{id}: {}", wrong.join("; "))).collect();
    assert!(listed.is_empty(), "{} of {} cases fail:\n{}", listed.len(), cases.len(), listed.join("\n"));
    let healed: Vec<&str> =
        EXCEPTIONS.iter().map(|(id, _)| *id).filter(|id| !failed.iter().any(|(one, _)| one == id)).collect();
    assert_eq!(healed, Vec::<&str>::new(), "listed, and pass");
    assert!(EXCEPTIONS.len() <= 10);
}

//! The controller beside no control, a fixed limit, and a line with a time limit as proxies have it. The
//! table of decision 21 is what this prints.

use overload::Settings;

use crate::thread::{Source, Way, harmed, percentile_ms, simulate};

const COST_US: f64 = 4_000.0;
const CAPACITY: f64 = 1_000_000.0 / COST_US;
const SHED_US: u64 = 10;

const WAYS: [(&str, Way); 4] = [
    ("no control", Way::NoControl),
    ("fixed limit: 100 wait", Way::FixedLimit(100)),
    ("line, 5 s at most", Way::FifoQueue(5_000_000)),
    ("controller", Way::Controlled(Settings { delay_us: 50_000 })),
];

/// Goodput, the part of known visitors' requests that was harmed, and their 99th percentile in ms.
fn row(way: Way, times: f64) -> (f64, f64, f64) {
    let known = Source::new(0..200, CAPACITY * 0.2, COST_US).known();
    let strangers = Source::new(10_000..30_000, CAPACITY * 0.3, COST_US);
    let flood = Source::new(100_000..150_000, 0.0, COST_US).at(5.0, CAPACITY * (times - 0.5));
    let outcome = simulate(&[known, strangers, flood], way, SHED_US, 25.0, 1);
    let known = outcome.of(0..1, 7.0, 25.0);
    (outcome.goodput(7.0, 25.0), harmed(&known), percentile_ms(&known, 99))
}

#[test]
fn the_controller_keeps_goodput_and_known_visitors_where_others_keep_neither() {
    println!("| load | way | goodput, of capacity | known visitors harmed | their p99, ms |");
    println!("| --- | --- | --- | --- | --- |");
    for times in [0.8, 2.0, 10.0, 50.0] {
        for (name, way) in WAYS {
            let (goodput, harmed, p99) = row(way, times);
            let (goodput, harmed) = (goodput / CAPACITY, harmed * 100.0);
            println!("| {times} × | {name} | {goodput:.2} | {harmed:.1} % | {p99:.0} |");
        }
    }
    let (none, _, _) = row(Way::NoControl, 10.0);
    let (line, _, _) = row(Way::FifoQueue(5_000_000), 10.0);
    let (ours, harmed, p99) = row(WAYS[3].1, 10.0);
    assert!(none < 0.1 * CAPACITY && line < 0.3 * CAPACITY, "{none} {line}");
    assert!(ours > 0.85 * CAPACITY && harmed == 0.0 && p99 < 250.0, "{ours} {harmed} {p99}");
    let (_, harmed, _) = row(WAYS[1].1, 10.0);
    assert!(harmed > 0.5, "a fixed limit keeps no place for those who are known: {harmed}");
}

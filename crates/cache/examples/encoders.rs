//! What encoders cost: memory of each while it works, bytes it makes, and its pace, at each level.
//!
//! `cargo run --release -p cache --example encoders -- FILE`, with some text of a megabyte or more. Memory is
//! the growth of the process's resident pages over many encoders at work, divided by their number. The
//! figures in `compress/encoder.rs` come from here.

use std::time::Instant;

use cache::compress::{Coding, Effort, Encoder, STEP_BYTES};

const ENCODERS: usize = 8;

/// Resident bytes of this process.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let text = arguments.first().and_then(|path| std::fs::read(path).ok()).unwrap_or_default();
    if text.is_empty() {
        eprintln!("encoders: name a file of some text");
        return;
    }
    let all = [
        (Coding::Gzip, Effort::Streaming, &[1, 3, 6][..]),
        (Coding::Brotli, Effort::Streaming, &[0, 1, 2, 3, 4, 5]),
        (Coding::Zstd, Effort::Streaming, &[1, 3, 5, 7]),
        (Coding::Gzip, Effort::Stored, &[6, 9]),
        (Coding::Brotli, Effort::Stored, &[4, 5, 7, 9, 11]),
        (Coding::Zstd, Effort::Stored, &[3, 7, 9, 12, 15]),
    ];
    // Of no known length, and known to be of 64 KiB and 1 MiB.
    let lengths = [None, Some(64 * 1024), Some(1024 * 1024)];
    let kinds = all.iter().flat_map(|(coding, effort, levels)| {
        levels.iter().flat_map(move |level| lengths.map(|length| (*coding, *effort, *level, length)))
    });
    match arguments.get(1).and_then(|place| place.parse().ok()).and_then(|place| kinds.clone().nth(place)) {
        Some(kind) => measure(&text, kind),
        // Each in a process of its own: what one gives back stays with the process.
        None => {
            let own = std::env::current_exe().expect("a program");
            for place in 0..kinds.count() {
                let place = place.to_string();
                let run = std::process::Command::new(&own).arg(&arguments[0]).arg(place).status();
                run.expect("it runs once more");
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "it measures")]
fn measure(text: &[u8], (coding, effort, level, length): (Coding, Effort, u8, Option<usize>)) {
    let text = length.and_then(|length| text.get(..length)).unwrap_or(text);
    let body_bytes = length.map(|_| text.len() as u64);
    let before = resident();
    let mut working = Vec::new();
    let (mut bytes, mut slowest) = (0, 0.0_f64);
    let began = Instant::now();
    for _ in 0..ENCODERS {
        let mut encoder = Encoder::new(coding, effort, level, body_bytes).expect("there is memory");
        let mut out = Vec::new();
        for step in text.chunks(STEP_BYTES) {
            let at = Instant::now();
            encoder.push(step, &mut out).expect("it takes everything");
            slowest = slowest.max(at.elapsed().as_secs_f64());
        }
        encoder.flush(&mut out).expect("it flushes");
        bytes = out.len();
        working.push(encoder);
    }
    let seconds = began.elapsed().as_secs_f64();
    let grown = resident().saturating_sub(before) / ENCODERS as u64;
    println!(
        "{} {effort:?} {level} {length:?}: {} KiB (charged {}), {:.3} of {}, {:.0} MB/s, at most {:.1} ms",
        coding.as_str(),
        grown / 1024,
        Encoder::memory_bytes(coding, effort, level, body_bytes) / 1024,
        bytes as f64 / text.len() as f64,
        text.len(),
        (text.len() * ENCODERS) as f64 / seconds / 1e6,
        slowest * 1000.0,
    );
}

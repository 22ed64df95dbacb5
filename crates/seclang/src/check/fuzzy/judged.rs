//! Hashes and likeness compared with what another implementation says, of values of every kind.
//!
//! The judge is `tests/oracles/fuzzy_hashes.py` with the Python of `.venv`, which `make test` installs.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use testkit::chance::Dice;
use testkit::clients::{checkout, python};

use super::{FuzzyHash, written};

/// Values of each kind: with ten kinds and a changed copy of each more than 5,000.
const EACH: usize = 260;

/// A text of so many bytes out of so many.
fn text(dice: &mut Dice, length: usize, bytes: usize) -> Vec<u8> {
    (0..length).map(|_| dice.roll(bytes) as u8).collect()
}

/// The text with a few bytes changed, taken out or put in.
fn changed(dice: &mut Dice, text: &[u8]) -> Vec<u8> {
    let mut out = text.to_vec();
    for _ in 0..dice.roll(5) {
        let at = dice.roll(out.len());
        match dice.roll(3) {
            0 if !out.is_empty() => out[at] ^= dice.roll(256) as u8,
            1 if out.len() > at => drop(out.drain(at..(at + 20).min(text.len()).min(out.len()).max(at))),
            _ => drop(out.splice(at..at, *b"something else")),
        }
    }
    out
}

/// Each value and a changed copy of it, one after another.
fn values() -> Vec<Vec<u8>> {
    let dice = &mut Dice::new(1);
    let mut values = Vec::new();
    let mut add = |dice: &mut Dice, text: Vec<u8>| {
        let changed = changed(dice, &text);
        values.extend([text, changed]);
    };
    for (length, bytes) in [
        (9, 256),
        (9, 2),
        (100, 256),
        (200, 40),
        (200, 1),
        (400, 256),
        (400, 3),
        (900, 256),
        (1_500, 100),
        (3_000, 256),
    ] {
        for _ in 0..EACH {
            let length = dice.roll(length + 1);
            let text = text(dice, length, bytes);
            add(dice, text);
        }
    }
    // Texts that repeat themselves, whose pieces end at few places or at many.
    for period in [1, 2, 7, 8, 63, 64, 255] {
        let piece = text(dice, period, 256);
        add(dice, piece.iter().copied().cycle().take(5_000).collect());
    }
    for length in [10_000, 65_536, 1_048_576] {
        let text = text(dice, length, 256);
        add(dice, text);
    }
    values
}

#[test]
fn hashes_and_likeness_are_those_of_another_implementation() {
    let values = values();
    assert!(values.len() > 5_000, "{}", values.len());
    let mut judge = Command::new(python().expect("the Python with the judge"))
        .arg(checkout().join("tests/oracles/fuzzy_hashes.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the judge starts");
    let mut asked = judge.stdin.take().expect("its input");
    let mut told = String::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for value in &values {
                let line: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
                writeln!(asked, "{line}").expect("the judge reads");
            }
            drop(asked);
        });
        judge.stdout.take().expect("its output").read_to_string(&mut told).expect("it writes text");
    });
    assert!(judge.wait().expect("it ends").success(), "the judge failed: is `ppdeep` installed?");
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), values.len());
    let mut before = FuzzyHash::of(b"");
    let (mut alike, mut unlike) = (0, 0);
    for (value, line) in values.iter().zip(lines) {
        let (block, [long, short]) = written(value);
        let own = FuzzyHash::of(value);
        let likeness = own.likeness(&before);
        let text = |letters: &[u8]| String::from_utf8_lossy(letters).into_owned();
        let shown = format!("{block}:{}:{} {likeness}", text(&long), text(&short));
        let begin: Vec<u8> = value.iter().copied().take(100).collect();
        assert_eq!(shown, line, "of {} bytes: {}", value.len(), begin.escape_ascii());
        alike += usize::from((1..100).contains(&likeness));
        unlike += usize::from(likeness == 0);
        before = own;
    }
    assert!(alike > 1_000 && unlike > 1_000, "{alike} alike, {unlike} not");
}

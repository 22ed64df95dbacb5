//! Hashes and likeness compared with what another implementation says, of values of every kind.
//!
//! The judge is `tests/oracles/fuzzy_hashes.py` with the Python of `.venv`, which `make test` installs.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{FuzzyHash, written};

/// Values of each kind: with ten kinds and a changed copy of each more than 5,000.
const EACH: usize = 260;

/// The Python with the clients: that of `.venv` at the checkout's root, or of the folder in `REMPART_VENV`.
fn python(checkout: &Path) -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "a test has no flags to name the folder by")]
    let named = std::env::var("REMPART_VENV").ok().map(PathBuf::from);
    let python = named.unwrap_or_else(|| checkout.join(".venv")).join("bin/python");
    assert!(python.exists(), "no Python at {}: run `tests/prepare` first", python.display());
    python
}

/// Numbers in a fixed order (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as usize % sides.max(1)
    }

    /// A text of so many bytes out of so many.
    fn text(&mut self, length: usize, bytes: usize) -> Vec<u8> {
        (0..length).map(|_| self.roll(bytes) as u8).collect()
    }

    /// The text with a few bytes changed, taken out or put in.
    fn changed(&mut self, text: &[u8]) -> Vec<u8> {
        let mut out = text.to_vec();
        for _ in 0..self.roll(5) {
            let at = self.roll(out.len());
            match self.roll(3) {
                0 if !out.is_empty() => out[at] ^= self.roll(256) as u8,
                1 if out.len() > at => drop(out.drain(at..(at + 20).min(text.len()).min(out.len()).max(at))),
                _ => drop(out.splice(at..at, *b"something else")),
            }
        }
        out
    }
}

/// Each value and a changed copy of it, one after another.
fn values() -> Vec<Vec<u8>> {
    let dice = &mut Dice(1);
    let mut values = Vec::new();
    let mut add = |dice: &mut Dice, text: Vec<u8>| {
        let changed = dice.changed(&text);
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
            let text = dice.text(length, bytes);
            add(dice, text);
        }
    }
    // Texts that repeat themselves, whose pieces end at few places or at many.
    for period in [1, 2, 7, 8, 63, 64, 255] {
        let piece = dice.text(period, 256);
        add(dice, piece.iter().copied().cycle().take(5_000).collect());
    }
    for length in [10_000, 65_536, 1_048_576] {
        let text = dice.text(length, 256);
        add(dice, text);
    }
    values
}

#[test]
fn hashes_and_likeness_are_those_of_another_implementation() {
    let values = values();
    assert!(values.len() > 5_000, "{}", values.len());
    let checkout = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let mut judge = Command::new(python(checkout))
        .arg(checkout.join("tests/oracles/fuzzy_hashes.py"))
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

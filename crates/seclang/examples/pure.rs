//! Answers one question a line about the pure parts of `seclang`, for comparison with other implementations.
//!
//! Called by `tests/oracles/seclang_pure.py`. A question is a word and its arguments, values in hexadecimal:
//! `transform NAME VALUE` answers with the result in hexadecimal.

use std::io::{BufRead, BufWriter, Write};

use seclang::transform::Transformation;

fn unhex(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    Transformation::HexDecode.apply(text.as_bytes(), &mut out);
    out
}

fn hex(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    Transformation::HexEncode.apply(bytes, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn answer(question: &str) -> String {
    let mut words = question.split(' ');
    let mut word = || words.next().unwrap_or_default();
    match word() {
        "transform" => {
            let Some(one) = Transformation::from_name(word().as_bytes()) else { return "unknown".into() };
            let mut out = Vec::new();
            one.apply(&unhex(word()), &mut out);
            hex(&out)
        }
        _ => "unknown".into(),
    }
}

fn main() -> std::io::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        writeln!(out, "{}", answer(&line?))?;
    }
    out.flush()
}

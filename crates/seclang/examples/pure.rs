//! Answers one question a line about the pure parts of `seclang`, for comparison with other implementations.
//!
//! Called by `tests/oracles/seclang_pure.py`. A question is a word and its arguments, values in hexadecimal:
//! `transform NAME VALUE` answers with the result in hexadecimal, `sqli VALUE` with the fingerprint or `-`,
//! `xss VALUE` with 1 or 0, and `body FORMAT CONTENT-TYPE BODY` with what was handed over, the flags and the
//! error; elements of XML become arguments too.

use std::io::{BufRead, BufWriter, Write};

use seclang::body::{Body, Collection, Kind, Limits, XmlArguments};
use seclang::injection::{sqli, xss};
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
        "sqli" => match sqli::detect(&unhex(word())) {
            Some(found) => format!("{found:?}"),
            None => "-".into(),
        },
        "xss" => u8::from(xss::detect(&unhex(word()))).to_string(),
        "body" => match Kind::from_name(word().as_bytes()) {
            Some(kind) => body(kind, &unhex(word()), &unhex(word())),
            None => "unknown".into(),
        },
        _ => "unknown".into(),
    }
}

fn body(kind: Kind, content_type: &[u8], text: &[u8]) -> String {
    let mut taken = Vec::new();
    let mut sink = |collection: Collection, name: &[u8], value: &[u8]| {
        taken.push(format!("{collection:?}:{}={}", hex(name), hex(value)));
    };
    let limits = Limits { xml_arguments: XmlArguments::On, ..Limits::default() };
    let mut reader = Body::new(kind, content_type, &limits);
    reader.feed(text, &mut sink);
    let outcome = reader.finish(&mut sink);
    let flags = outcome.multipart;
    let flags = [
        ("STRICT_ERROR", u8::from(flags.has_strict_error())),
        ("BOUNDARY_QUOTED", flags.boundary_quoted.into()),
        ("BOUNDARY_WHITESPACE", flags.boundary_whitespace.into()),
        ("DATA_BEFORE", flags.data_before.into()),
        ("DATA_AFTER", flags.data_after.into()),
        ("HEADER_FOLDING", flags.header_folding.into()),
        ("INVALID_HEADER_FOLDING", flags.invalid_header_folding.into()),
        ("LF_LINE", flags.lf_line.into()),
        ("CRLF_LF_LINES", flags.has_mixed_lines().into()),
        ("SEMICOLON_MISSING", flags.missing_semicolon.into()),
        ("INVALID_QUOTING", flags.invalid_quoting.into()),
        ("INVALID_PART", flags.invalid_part.into()),
        ("UNMATCHED_BOUNDARY", flags.unmatched_boundary),
    ];
    let flags = flags.map(|(name, value)| format!("{name}={value}")).join(",");
    let error = outcome.error.map_or_else(|| "-".into(), |error| hex(error.to_string().as_bytes()));
    format!("{} {flags} {} {error}", taken.join(";"), outcome.files_bytes)
}

fn main() -> std::io::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        writeln!(out, "{}", answer(&line?))?;
    }
    out.flush()
}

//! Tests of multipart bodies: parts, flags, errors.

use super::super::tests::{Taken, read, read_in, values};
use super::super::{Collection, Kind, Outcome};
use super::*;
use crate::tally;

const TYPE: &str = "multipart/form-data; boundary=xx";

fn parts(parts: &[&str]) -> String {
    parts.iter().map(|part| format!("--xx\r\n{part}\r\n")).collect::<String>() + "--xx--\r\n"
}

fn field(name: &str, value: &str) -> String {
    format!("Content-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}")
}

fn multipart(body: &str) -> (Taken, Outcome) {
    read(Kind::Multipart, TYPE, body.as_bytes())
}

/// The flags that are set, by name.
fn flags_of(outcome: &Outcome) -> Vec<String> {
    let text = format!("{:?}", outcome.multipart);
    let fields = text.trim_start_matches("MultipartFlags { ").trim_end_matches(" }").split(", ");
    let set = fields.filter(|field| !field.ends_with("false") && !field.ends_with(": 0"));
    set.map(|field| field.trim_end_matches(": true").to_owned()).collect()
}

#[test]
fn fields_and_files_are_handed_over() {
    let file = concat!(
        "Content-Disposition: form-data; name=\"f\"; filename=\"g.txt\"\r\n",
        "Content-Type: text/plain\r\n\r\nl1\r\nl2\r\n",
    );
    let (taken, outcome) = multipart(&parts(&[&field("a", "1\r\n\r\n2"), file, &field("b", "")]));
    assert_eq!(outcome.error, None);
    assert_eq!(values(&taken, Collection::ArgsPost), ["a=1\\r\\n\\r\\n2", "b="]);
    assert_eq!(values(&taken, Collection::Files), ["f=g.txt"]);
    assert_eq!(values(&taken, Collection::FilesNames), ["f=f"]);
    assert_eq!(values(&taken, Collection::FilesSizes), ["f=8"]);
    assert_eq!(values(&taken, Collection::FilesTmpContent), [""; 0]);
    assert_eq!(
        values(&taken, Collection::MultipartPartHeaders),
        [
            "a=Content-Disposition: form-data; name=\\\"a\\\"",
            "f=Content-Disposition: form-data; name=\\\"f\\\"; filename=\\\"g.txt\\\"",
            "f=Content-Type: text/plain",
            "b=Content-Disposition: form-data; name=\\\"b\\\"",
        ]
    );
    assert_eq!(outcome.files_bytes, 8);
    assert_eq!(flags_of(&outcome), ["crlf_line", "unmatched_boundary: 2"]);
    assert!(!outcome.multipart.has_strict_error() && !outcome.multipart.has_mixed_lines());
}

#[test]
fn a_file_of_any_size_is_passed_by() {
    let limits = Limits { file_content_bytes_max: 3, ..Limits::default() };
    let mut reader = super::super::Body::new(Kind::Multipart, TYPE.as_bytes(), &limits);
    let mut taken = Taken::new();
    let mut sink = |collection, name: &[u8], value: &[u8]| {
        taken.push((collection, name.escape_ascii().to_string(), value.escape_ascii().to_string()));
    };
    reader.feed(b"--xx\r\nContent-Disposition: form-data; name=f; filename=g\r\n\r\n", &mut sink);
    let head = reader.bytes_without_files();
    let chunk = vec![b'z'; 64 * 1024];
    for _ in 0..256 {
        reader.feed(&chunk, &mut sink);
    }
    assert!(reader.bytes_without_files() - head <= LINE_BYTES_MAX as u64);
    reader.feed(b"\r\n--xx--\r\n", &mut sink);
    let outcome = reader.finish(&mut sink);
    assert_eq!((outcome.error, outcome.files_bytes), (None, 16 * 1024 * 1024));
    assert_eq!(values(&taken, Collection::FilesTmpContent), ["f=zzz"]);
}

#[test]
fn each_liberty_sets_its_flag() {
    let plain = field("a", "1");
    for (body, flags) in [
        (format!("before\r\n{}", parts(&[&plain])), &["data_before"][..]),
        (format!("{}after", parts(&[&plain])), &["data_after"]),
        (parts(&[&plain]).replace("\r\n", "\n"), &["lf_line"]),
        (parts(&["Content-Disposition: form-data;\r\n name=\"a\"\r\n\r\n1"]), &["header_folding"]),
        (
            parts(&["Content-Disposition: form-data;\r\n\x0bname=\"a\"\r\n\r\n1"]),
            &["header_folding", "invalid_header_folding"],
        ),
        (parts(&["Content-Disposition: form-data; name='a'\r\n\r\n1"]), &["invalid_quoting"]),
        (parts(&[&plain, &field("b", "\r\n--xy\r\n")]), &[]),
    ] {
        let (_, outcome) = multipart(&body);
        let expected = |flag: &String| *flag != "crlf_line" && !flag.starts_with("unmatched");
        let found: Vec<_> = flags_of(&outcome).into_iter().filter(expected).collect();
        assert_eq!(found, flags, "{body}");
        assert_eq!(outcome.error, None, "{body}");
        assert_eq!(outcome.multipart.has_strict_error(), !flags.is_empty(), "{body}");
    }
}

#[test]
fn boundaries_that_do_not_match_are_told_from_those_that_do() {
    for (value, unmatched) in [("1", 2), ("--yy\r\n--xx", 2), ("x --xx", 2), ("--yy", 2)] {
        assert_eq!(multipart(&parts(&[&field("a", value)])).1.multipart.unmatched_boundary, unmatched);
    }
    let open = format!("--xx\r\n{}\r\n--yy\r\n", field("a", "1"));
    assert_eq!(multipart(&open).1.multipart.unmatched_boundary, 1);
    assert_eq!(multipart("--xx\r\n").1.multipart.unmatched_boundary, 0);
    let (taken, outcome) = multipart(&format!("--xx\r\n--xx\r\n{}\r\n--xx--", field("a", "1")));
    assert!(outcome.multipart.invalid_part);
    assert_eq!(values(&taken, Collection::ArgsPost), ["a=1"]);
}

#[test]
fn the_last_boundary_may_lack_its_line_end_and_nothing_else() {
    let body = parts(&[&field("a", "1")]);
    let (taken, outcome) = multipart(body.trim_end());
    assert_eq!((outcome.error, values(&taken, Collection::ArgsPost)), (None, vec!["a=1".to_owned()]));
    let (taken, outcome) = multipart(&format!("--xx\r\n{}\r\nmore", field("a", "1")));
    assert_eq!(outcome.error, Some(BodyError::Multipart(MultipartError::NoFinalBoundary)));
    assert_eq!(values(&taken, Collection::ArgsPost), ["a=1\\r\\nmore"]);
    let (_, outcome) = multipart("a=1");
    assert_eq!(outcome.error, Some(BodyError::Multipart(MultipartError::NoBoundary)));
    assert_eq!(multipart("").1.error, None);
}

#[test]
fn broken_parts_are_errors() {
    use MultipartError::*;
    let disposition = |rest: &str| parts(&[&format!("Content-Disposition: {rest}\r\n\r\n1")]);
    let problem = |problem| Disposition(problem);
    for (body, error) in [
        (parts(&["X: y\r\n\r\n1"]), NoDisposition),
        (parts(&["no colon\r\n\r\n1"]), NoField),
        (parts(&[": x\r\n\r\n1"]), NoField),
        (parts(&["a b: x\r\n\r\n1"]), NoField),
        (parts(&[" folded\r\n\r\n1"]), FoldedFirst),
        (parts(&["X: \0\r\n\r\n1"]), Nul),
        (parts(&["X: 1\r\nx: 2\r\n\r\n1"]), TwoFields),
        (format!("--xx\r\n{}\r\n--xx more\r\n", field("a", "1")), BoundaryLine),
        (format!("--xx\r\n{}\r\n-- xx\r\n", field("a", "1")), BoundaryDisguised),
        (parts(&[&format!("X: {}\r\n\r\n1", "y".repeat(5000))]), LongHeader),
        (disposition("form-data"), NoName),
        (disposition("form-data;"), NoName),
        (disposition("attachment; name=a"), problem(DispositionProblem::OtherType)),
        (disposition("form-data; name"), problem(DispositionProblem::Parameter)),
        (disposition("form-data; name="), problem(DispositionProblem::Parameter)),
        (disposition("form-data; name=a; "), problem(DispositionProblem::Parameter)),
        (disposition("form-data; name=a; x=y"), problem(DispositionProblem::UnknownParameter)),
        (disposition("form-data; Name=a"), problem(DispositionProblem::UnknownParameter)),
        (disposition("form-data; name=a; name=b"), problem(DispositionProblem::TwoParameters)),
        (disposition("form-data; name=\"a"), problem(DispositionProblem::Quoting)),
        (disposition("form-data; name=\"a\\"), problem(DispositionProblem::Quoting)),
        (disposition("form-data; name=\"a\"b"), problem(DispositionProblem::NoSemicolon)),
        (disposition("form-data; name=a; filename*=x"), problem(DispositionProblem::ExtendedValue)),
        (disposition("form-data; name=a; filename*=utf-8''x%2"), problem(DispositionProblem::ExtendedValue)),
        (disposition("form-data; name=a; filename*=utf-8''x"), problem(DispositionProblem::ExtendedAlone)),
    ] {
        assert_eq!(multipart(&body).1.error, Some(BodyError::Multipart(error)), "{body}");
    }
}

#[test]
fn lines_that_are_no_fields_are_handed_over_for_rules_to_judge() {
    let (taken, outcome) =
        multipart(&parts(&[&format!("\x0eContent-Disposition: x\r\n{}", field("a", "1"))]));
    assert_eq!(outcome.error, Some(BodyError::Multipart(MultipartError::NoField)));
    let heads = values(&taken, Collection::MultipartPartHeaders);
    assert_eq!(heads.first().map(String::as_str), Some("a=\\x0eContent-Disposition: x"));
    assert_eq!(values(&taken, Collection::ArgsPost), ["a=1"]);
}

#[test]
fn names_are_read_in_every_spelling() {
    for (rest, name, file) in [
        ("form-data; name=a", "a", None),
        ("form-data ;name = \"a b\" ; filename=\"c\"", "a b", Some("c")),
        ("form-data; filename=\"C:\\dir\\f.txt\"; name=a", "a", Some("C:\\dir\\f.txt")),
        ("form-data; name=\"a\\\"\\\\b\"", "a\"\\b", None),
        ("form-data; name=a; filename=\"f\"; filename*=UTF-8'en'%e2%82%ac", "a", Some("f")),
        ("form-data; name=a;", "a", None),
    ] {
        let (taken, outcome) = multipart(&parts(&[&format!("Content-Disposition: {rest}\r\n\r\n1")]));
        assert_eq!(outcome.error, None, "{rest}");
        let plain = |text: &str| text.as_bytes().escape_ascii().to_string();
        match file {
            Some(file) => {
                assert_eq!(values(&taken, Collection::Files), [format!("{}={}", plain(name), plain(file))]);
            }
            None => assert_eq!(values(&taken, Collection::ArgsPost), [format!("{}=1", plain(name))]),
        }
    }
}

#[test]
fn the_boundary_is_read_in_one_way_or_not_at_all() {
    use MultipartError::*;
    let body = parts(&[&field("a", "1")]);
    let long = format!("multipart/form-data; boundary={}", "x".repeat(1024));
    for (content_type, error) in [
        ("", NoContentType),
        ("text/plain", OtherType),
        ("multipart/form-data", BoundaryCount),
        ("multipart/form-data; Boundary=xx", BoundaryCount),
        ("multipart/form-data; boundary=xx; boundary=yy", BoundaryCount),
        ("multipart/form-data; charset=utf-8; boundary=xx", BoundaryParameter),
        ("multipart/form-data; boundary", BoundaryParameter),
        ("multipart/form-data; boundary=", BoundaryParameter),
        ("multipart/form-data; boundary=\"\"", BoundaryParameter),
        ("multipart/form-data; boundary=\"xx", BoundaryParameter),
        ("multipart/form-data; boundary=xx\"", BoundaryParameter),
        ("multipart/form-data; boundary=x@x", BoundaryParameter),
        ("multipart/form-data; boundary=xx ", BoundaryParameter),
        (&long, LongContentType),
    ] {
        let (taken, outcome) = read(Kind::Multipart, content_type, body.as_bytes());
        assert_eq!(outcome.error, Some(BodyError::Multipart(error)), "{content_type}");
        assert!(taken.is_empty() && outcome.multipart.has_strict_error());
    }
    for (content_type, flags) in [
        ("multipart/form-data; boundary=xx", &[][..]),
        ("Multipart/Form-Data;boundary=xx;charset=utf-8", &[]),
        ("multipart/form-data; boundary=\"xx\"", &["boundary_quoted"]),
        ("multipart/form-data boundary=xx", &["missing_semicolon"]),
        ("multipart/form-data; boundary =xx", &["boundary_whitespace"]),
    ] {
        let (taken, outcome) = read(Kind::Multipart, content_type, body.as_bytes());
        assert_eq!(values(&taken, Collection::ArgsPost), ["a=1"], "{content_type}");
        let found: Vec<_> = flags_of(&outcome)
            .into_iter()
            .filter(|flag| flag != "crlf_line" && !flag.starts_with("un"))
            .collect();
        assert_eq!(found, flags, "{content_type}");
    }
}

#[test]
fn multipart_has_ceilings() {
    let limits = Limits {
        arguments_max: 2,
        files_max: 1,
        part_head_bytes_max: 200,
        value_bytes_max: 6,
        ..Limits::default()
    };
    let error = |body: String| read_in(Kind::Multipart, TYPE, &limits, body.as_bytes(), &[]).1;
    let limit = |limit| Some(BodyError::Limit(Kind::Multipart, limit));
    let file = "Content-Disposition: form-data; name=f; filename=g\r\n\r\n1234567";
    assert_eq!(error(parts(&[&field("a", "123456"), &field("b", ""), file])).error, None);
    assert_eq!(error(parts(&[&field("a", "1234567")])).error, limit(Limit::ValueBytes));
    assert_eq!(
        error(parts(&[&field("a", "1"), &field("a", "1"), &field("a", "1")])).error,
        limit(Limit::Arguments)
    );
    let head = format!("X: {}\r\n{}", "y".repeat(200), field("a", "1"));
    assert_eq!(error(parts(&[&head])).error, limit(Limit::PartHeadBytes));
    let outcome = error(parts(&[file, file]));
    assert_eq!(outcome.error, Some(BodyError::Multipart(MultipartError::FileLimit)));
    assert!(outcome.multipart.file_limit_exceeded && outcome.files_bytes == 14);
}

#[test]
fn a_head_of_many_fields_or_folds_costs_what_its_bytes_do() {
    let fields = |count: usize| (0..count).map(|field| format!("{field:x}:\n")).collect::<String>();
    let folds = |count: usize| format!("a:{}\n{}", "x".repeat(3_900), " \n".repeat(count));
    // Comparisons of names: those of a search through the levels of a tree, eleven names a node.
    for (count, names_max) in [(100, 22), (2_000, 33)] {
        let head = fields(count);
        let body = parts(&[&format!("{head}{}", field("a", "v"))]);
        let mut taken = (Taken::new(), Outcome::default());
        let work = tally::of(|| taken = multipart(&body));
        assert_eq!(values(&taken.0, Collection::MultipartPartHeaders).len(), count + 1);
        assert!((1..=count * names_max).contains(&work), "{work} for {count} fields");
    }
    let twice = |count: usize| format!("a:{}\n{}", "x".repeat(3_900), "a:\n \n".repeat(count));
    for head in [folds(10), folds(4_000), twice(10), twice(2_000)] {
        let body = parts(&[&format!("{head}{}", field("a", "v"))]);
        let work = tally::of(|| multipart(&body));
        assert!((1..=4 * body.len()).contains(&work), "{work} for {} bytes", body.len());
    }
}

#[test]
fn a_field_is_joined_with_all_its_folds() {
    let head = "X-A:  one \r\n two\r\n\tthree\r\nX-B:four\r\n five\r\nX-b: six\r\n seven\r\n";
    let (taken, outcome) = multipart(&parts(&[&format!("{head}{}", field("a", "v"))]));
    assert_eq!(
        values(&taken, Collection::MultipartPartHeaders),
        [
            "a=X-A: one  two three",
            "a=X-B: four five",
            // A field that is there twice is an error, and is shown with what is folded below it.
            "a=X-b: six",
            "a=seven",
            "a=Content-Disposition: form-data; name=\\\"a\\\"",
        ]
    );
    assert_eq!(outcome.error, Some(BodyError::Multipart(MultipartError::TwoFields)));
}

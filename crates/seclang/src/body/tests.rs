//! Tests of all formats: what is handed over, and that no split, no bytes and no ceiling change or break it.

use proptest::prelude::*;

use super::*;
use json::JsonProblem;
use xml::XmlProblem;

pub(super) type Taken = Vec<(Collection, String, String)>;

/// Reads a body in chunks of these sizes, the last one repeated.
pub(super) fn read_in(
    kind: Kind,
    content_type: &str,
    limits: &Limits,
    body: &[u8],
    sizes: &[usize],
) -> (Taken, Outcome) {
    let mut taken = Taken::new();
    let mut sink = |collection, name: &[u8], value: &[u8]| {
        taken.push((collection, name.escape_ascii().to_string(), value.escape_ascii().to_string()));
    };
    let mut reader = Body::new(kind, content_type.as_bytes(), limits);
    let (mut rest, mut sizes) = (body, sizes.iter().copied().cycle());
    while !rest.is_empty() {
        let size = sizes.next().unwrap_or(usize::MAX).clamp(1, rest.len());
        let (chunk, behind) = rest.split_at(size);
        reader.feed(chunk, &mut sink);
        rest = behind;
    }
    let outcome = reader.finish(&mut sink);
    (taken, outcome)
}

pub(super) fn read(kind: Kind, content_type: &str, body: &[u8]) -> (Taken, Outcome) {
    read_in(kind, content_type, &Limits::default(), body, &[])
}

/// Names and values of one collection, as `name=value`.
pub(super) fn values(taken: &Taken, collection: Collection) -> Vec<String> {
    taken.iter().filter(|one| one.0 == collection).map(|(_, name, value)| format!("{name}={value}")).collect()
}

fn check(kind: Kind, collection: Collection, body: &str, expected: &[&str]) -> Outcome {
    let (taken, outcome) = read(kind, "", body.as_bytes());
    assert_eq!(values(&taken, collection), expected, "{body}");
    outcome
}

#[test]
fn forms_become_arguments() {
    let args = |body, expected: &[&str]| check(Kind::Urlencoded, Collection::ArgsPost, body, expected);
    args("a=1&b=2", &["a=1", "b=2"]);
    args("a%3d=%26+x&b", &["a==& x", "b="]);
    args("", &[]);
    args("&", &["="]);
    args("a=1&&b=2&", &["a=1", "=", "b=2"]);
    args("=x=y", &["=x=y"]);
    assert!(!args("a=%41", &["a=A"]).has_url_error);
    assert!(args("a=%4", &["a=%4"]).has_url_error && args("%=", &["%="]).has_url_error);
    let mut limits = Limits { argument_separator: b';', arguments_max: 2, ..Limits::default() };
    let (taken, outcome) = read_in(Kind::Urlencoded, "", &limits, b"a=1;b=&;c=3;d=4", &[]);
    assert_eq!(values(&taken, Collection::ArgsPost), ["a=1", "b=&"]);
    assert_eq!(outcome.error, Some(BodyError::Limit(Kind::Urlencoded, Limit::Arguments)));
    limits.value_bytes_max = 5;
    let (taken, outcome) = read_in(Kind::Urlencoded, "", &limits, b"a=1;b=23456;c", &[]);
    assert_eq!(values(&taken, Collection::ArgsPost), ["a=1", "b=234"]);
    assert_eq!(outcome.error, Some(BodyError::Limit(Kind::Urlencoded, Limit::ValueBytes)));
}

#[test]
fn a_query_becomes_arguments_of_get() {
    let mut taken = Taken::new();
    let mut sink = |collection, name: &[u8], value: &[u8]| {
        taken.push((collection, name.escape_ascii().to_string(), value.escape_ascii().to_string()));
    };
    query(b"a=1&b+c=%2f", &Limits::default(), &mut sink);
    assert_eq!(values(&taken, Collection::ArgsGet), ["a=1", "b c=/"]);
}

#[test]
fn json_is_flattened() {
    let args = |body, expected: &[&str]| {
        let outcome = check(Kind::Json, Collection::Args, body, expected);
        assert_eq!(outcome.error, None, "{body}");
    };
    args(
        r#"{"a":1,"b":{"c":"x","d":[true,null,-1.5e+3]}}"#,
        &["json.a=1", "json.b.c=x", "json.b.d.array_0=true", "json.b.d.array_1=", "json.b.d.array_2=-1.5e+3"],
    );
    args(
        r#"[[1,[2]],{"k":[{}]},[],3]"#,
        &["json.array_0.array_0=1", "json.array_0.array_1.array_0=2", "json.array_3=3"],
    );
    args(r#"[{"a":0},{"a":1}]"#, &["json.array_0.a=0", "json.array_1.a=1"]);
    args(r#" "x" "#, &["json=x"]);
    args("12", &["json=12"]);
    args(r#"{"":1,"a":{"":{"b":2}}}"#, &["json.empty-key=1", "json.a.empty-key.b=2"]);
    args(r#"{"a.b":"\"\\\/\b\f\n\r\t"}"#, &["json.a.b=\\\"\\\\/\\x08\\x0c\\n\\r\\t"]);
    args(r#"["\u0041\u00e9\ud83d\ude00\u0000"]"#, &["json.array_0=A\\xc3\\xa9\\xf0\\x9f\\x98\\x80\\x00"]);
    // Halves of pairs hide nothing that stands beside them.
    args(
        r#"["\ud800<","\ud800\u003c","\ud800\n","\udc00","\ud800"]"#,
        &[
            "json.array_0=?<",
            "json.array_1=?<",
            "json.array_2=?\\n",
            "json.array_3=\\xed\\xb0\\x80",
            "json.array_4=?",
        ],
    );
    args("\u{b}[\u{c}]\n", &[]);
}

#[test]
fn broken_json_is_named_where_it_breaks() {
    use JsonProblem::*;
    for (body, problem, at) in [
        ("{", Truncated, 1),
        (" ", Truncated, 1),
        ("[1", Truncated, 2),
        ("[1,]", NoValue, 3),
        ("[1}", NoComma, 2),
        ("{\"a\":1,}", NoName, 7),
        ("{\"a\" 1}", NoColon, 5),
        ("{\"a\":1]", NoComma, 6),
        ("{'a':1}", NoName, 1),
        ("01", Trailing, 1),
        ("-", Number, 1),
        ("1.", Number, 2),
        ("[1e]", Number, 3),
        ("1a", Trailing, 1),
        ("tru", Truncated, 3),
        ("trux", Word, 3),
        ("[] []", Trailing, 3),
        ("\"\t\"", ControlByte, 1),
        ("\"\\x\"", Escape, 2),
        ("\"\\u00g0\"", Escape, 5),
        ("// a", NoValue, 0),
    ] {
        let (_, outcome) = read(Kind::Json, "", body.as_bytes());
        assert_eq!(outcome.error, Some(BodyError::Json(JsonError { problem, at })), "{body}");
    }
    for broken in [&b"\"\xff\""[..], b"\"\x80\"", b"\"\xc3a\"", b"\"\xe2\x82\""] {
        let (_, outcome) = read(Kind::Json, "", broken);
        assert!(matches!(outcome.error, Some(BodyError::Json(JsonError { problem: Utf8, .. }))));
    }
    assert_eq!(read(Kind::Json, "", b"").1.error, None);
}

#[test]
fn json_before_an_error_is_handed_over() {
    check(Kind::Json, Collection::Args, r#"{"a":"x","b":"cut he"#, &["json.a=x", "json.b=cut he"]);
    check(Kind::Json, Collection::Args, r#"{"a":"x","na"#, &["json.a=x", "json.na="]);
}

#[test]
fn json_has_ceilings() {
    let limits = Limits { depth_max: 3, value_bytes_max: 9, total_bytes_max: 40, ..Limits::default() };
    let error = |body: &str| {
        let (taken, outcome) = read_in(Kind::Json, "", &limits, body.as_bytes(), &[]);
        (values(&taken, Collection::Args), outcome.error)
    };
    let limit = |limit| Some(BodyError::Limit(Kind::Json, limit));
    assert_eq!(error("[[[1]]]").1, None);
    assert_eq!(error("[[[[1]]]]").1, limit(Limit::Depth));
    assert_eq!(error("\"123456789\"").1, None);
    assert_eq!(error("\"1234567890\""), (vec!["json=123456789".to_owned()], limit(Limit::ValueBytes)));
    assert_eq!(error("1234567890"), (vec!["json=123456789".to_owned()], limit(Limit::ValueBytes)));
    assert_eq!(error("{\"12345\":1}").1, limit(Limit::ValueBytes));
    assert_eq!(error("[1,2,3,4,5]").0.len(), 3);
    assert_eq!(error("[1,2,3,4,5]").1, limit(Limit::TotalBytes));
    // A hundred thousand levels cost the ceiling's memory and no stack.
    let (_, outcome) = read(Kind::Json, "", "[".repeat(100_000).as_bytes());
    assert_eq!(outcome.error, limit(Limit::Depth));
}

#[test]
fn xml_becomes_its_text_and_its_attributes() {
    let both = |body: &str, text: &[&str], attributes: &[&str]| {
        let (taken, outcome) = read(Kind::Xml, "", body.as_bytes());
        assert_eq!(values(&taken, Collection::XmlText), text, "{body}");
        assert_eq!(values(&taken, Collection::XmlAttributes), attributes, "{body}");
        assert_eq!(outcome.error, None, "{body}");
    };
    both("<a/>", &["/*="], &[]);
    both("<a>x<b c='1' d=\"2\">y</b>z</a>", &["/*=xyz"], &["c=1", "d=2"]);
    both(
        concat!(
            "\u{feff}<?xml version=\"1.0\" encoding='utf-8'?>\n<!-- a - b -->",
            "<a xmlns='u' xmlns:p='v' p:q='w'>\r\n1\r</a>\n<?p ?>",
        ),
        &["/*=\\n1\\n"],
        &["p:q=w"],
    );
    both("<a>&lt;&gt;&amp;&quot;&apos;&#65;&#x3c;</a>", &["/*=<>&\\\"\\'A<"], &[]);
    both("<a b='&lt;&#10;\n\t>' c = \"'\" />", &["/*="], &["b=<\\n  >", "c=\\'"]);
    both("<a><![CDATA[<b>]]]]><![CDATA[>]]></a>", &["/*=<b>]]>"], &[]);
    both("<!DOCTYPE a [<!-- ]> ' --><!ENTITY x \"]>\"><?p ]> ?>] ><a>]]</a >", &["/*=]]"], &[]);
    both("<!DOCTYPE a SYSTEM 'x>'><a/>", &["/*="], &[]);
    both("<a><!-- x --><?y z?></a>", &["/*="], &[]);
}

#[test]
fn broken_xml_is_named() {
    use XmlProblem::*;
    for (body, problem) in [
        ("", None),
        (" ", Some(Truncated)),
        ("x<a/>", Some(OutsideRoot)),
        ("<a/>x", Some(OutsideRoot)),
        ("<a/><b/>", Some(OutsideRoot)),
        ("<a>", Some(Truncated)),
        ("<a></b>", Some(EndTag)),
        ("</a>", Some(EndTag)),
        ("<a/", Some(Truncated)),
        ("<1/>", Some(Tag)),
        ("<a b/>", Some(Tag)),
        ("<a b=c/>", Some(Tag)),
        ("<a b='1'c='2'/>", Some(Tag)),
        ("<a b='<'/>", Some(Tag)),
        ("<a b='1' b='2'/>", Some(TwoAttributes)),
        ("<a>&x;</a>", Some(Entity)),
        ("<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>", Some(Entity)),
        ("<a>&#0;</a>", Some(Entity)),
        ("<a>&#xd800;</a>", Some(Entity)),
        ("<a>& </a>", Some(Entity)),
        ("<a b='&x'/>", Some(Entity)),
        ("<a>]]></a>", Some(CdataEnd)),
        ("<a>\u{1}</a>", Some(Character)),
        ("<a><!-- -- --></a>", Some(Comment)),
        ("<a><!x></a>", Some(Declaration)),
        ("<a/><!DOCTYPE a>", Some(Doctype)),
        ("<!DOCTYPE a><!DOCTYPE a><a/>", Some(Doctype)),
        (" <?xml version='1.0'?><a/>", Some(Instruction)),
        ("<? x?><a/>", Some(Instruction)),
        ("<?xml?><a/>", Some(Instruction)),
        ("<?xml version='10'?><a/>", Some(Instruction)),
        ("<?xml encoding='utf-8'?><a/>", Some(Instruction)),
        ("<?xml version='1.0' version='1.0'?><a/>", Some(Instruction)),
        ("<?xml version='1.0' x?><a/>", Some(Instruction)),
        ("<!DOCTYPE><a/>", Some(Doctype)),
        ("<!DOCTYPE /a><a/>", Some(Doctype)),
        ("<?xml version='1.0' encoding='utf-16'?><a/>", Some(Encoding)),
    ] {
        let (_, outcome) = read(Kind::Xml, "", body.as_bytes());
        let found = match outcome.error {
            Some(BodyError::Xml(error)) => Some(error.problem),
            None => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(found, problem, "{body}");
    }
    for (broken, problem) in [
        (&b"<a>\xff</a>"[..], Character),
        (b"<a>\xc0\xaf</a>", Character),
        (b"\xff\xfe<\0a\0", Encoding),
        (b"\xef\xbb<a/>", Character),
    ] {
        let (_, outcome) = read(Kind::Xml, "", broken);
        assert!(
            matches!(outcome.error, Some(BodyError::Xml(error)) if error.problem == problem),
            "{outcome:?}"
        );
    }
    let latin = b"<?xml version='1.0' encoding='ISO-8859-1'?><a>\xe9</a>";
    assert_eq!(read(Kind::Xml, "", latin).1.error, None);
}

/// The arguments, and the other values, that a document has where its elements become arguments.
fn arguments_of_xml(body: &str, wanted: XmlArguments) -> (Vec<String>, Vec<String>) {
    let limits = Limits { xml_arguments: wanted, ..Limits::default() };
    let (taken, outcome) = read_in(Kind::Xml, "text/xml", &limits, body.as_bytes(), &[3]);
    assert_eq!(outcome.error, None, "{body}");
    let others = [Collection::XmlText, Collection::XmlAttributes].map(|one| values(&taken, one)).concat();
    (values(&taken, Collection::Args), others)
}

/// The cases are what libmodsecurity 3.0.15 says of them.
#[test]
fn elements_of_xml_become_arguments_where_that_is_wanted() {
    const MIXED: &str =
        "<a x='1'><b>one<c>two</c>three</b>four<d/><e> five </e><f><![CDATA[si<x]]>&amp;7</f></a>";
    let expected = ["xml.a.b.c=two", "xml.a.d=", "xml.a.e= five ", "xml.a.f=si<x&7"];
    let (arguments, others) = arguments_of_xml(MIXED, XmlArguments::On);
    assert_eq!((arguments.as_slice(), others.len()), (&expected.map(str::to_owned)[..], 2));
    let (arguments, others) = arguments_of_xml(MIXED, XmlArguments::Only);
    assert_eq!((arguments.as_slice(), others.len()), (&expected.map(str::to_owned)[..], 0));
    assert_eq!(arguments_of_xml(MIXED, XmlArguments::Off).0, Vec::<String>::new());
    for (body, expected) in [
        (
            "<a xmlns:p='u'><p:b>1</p:b><b>x<!-- c -->y<?pi z?>w</b><b/></a>",
            &["xml.a.b=1", "xml.a.b=xyw", "xml.a.b="][..],
        ),
        ("<a>text</a>", &["xml.a=text"]),
        ("<a/>", &["xml.a="]),
        (
            "<a><b>on.e</b><c.d>x</c.d>hh<e>\n <f>q</f>\n</e></a>",
            &["xml.a.b=on.e", "xml.a.c.d=x", "xml.a.e.f=q"],
        ),
        ("<a><b><b><b>x</b></b></b></a>", &["xml.a.b.b.b=x"]),
    ] {
        assert_eq!(arguments_of_xml(body, XmlArguments::Only).0, expected, "{body}");
    }
}

#[test]
fn arguments_of_xml_have_ceilings_and_what_was_open_is_handed_over() {
    let read = |body: &str, limits: Limits| {
        let limits = Limits { xml_arguments: XmlArguments::Only, ..limits };
        let (taken, outcome) = read_in(Kind::Xml, "text/xml", &limits, body.as_bytes(), &[5]);
        let error = outcome.error.map(|error| error.to_string()).unwrap_or_default();
        (values(&taken, Collection::Args), error)
    };
    let (arguments, error) = read("<a><b>1</b><c>2", Limits::default());
    assert_eq!(arguments, ["xml.a.b=1", "xml.a.c=2"]);
    assert!(error.contains("too early"), "{error}");
    let (arguments, error) =
        read("<a><b>1</b><c>2</c><d/></a>", Limits { arguments_max: 2, ..Limits::default() });
    assert_eq!(arguments, ["xml.a.b=1", "xml.a.c=2"]);
    assert!(error.contains("more arguments"), "{error}");
    let deep = format!("<a>{}{}", "<long>".repeat(100), "<b/>".repeat(1_000));
    let (arguments, error) = read(&deep, Limits { total_bytes_max: 20_000, ..Limits::default() });
    assert!(error.contains("names and values longer in all"), "{error}");
    assert_eq!(arguments.len(), 20_000 / ("xml.a.b".len() + 100 * ".long".len()));
}

#[test]
fn xml_before_an_error_is_handed_over() {
    let (taken, _) = read(Kind::Xml, "", b"<a x='1'>evil<b y='2'>more");
    assert_eq!(values(&taken, Collection::XmlText), ["/*=evilmore"]);
    assert_eq!(values(&taken, Collection::XmlAttributes), ["x=1", "y=2"]);
}

#[test]
fn xml_has_ceilings() {
    let limits = Limits { depth_max: 3, value_bytes_max: 20, arguments_max: 2, ..Limits::default() };
    let error = |body: &str| read_in(Kind::Xml, "", &limits, body.as_bytes(), &[]).1.error;
    let limit = |limit| Some(BodyError::Limit(Kind::Xml, limit));
    assert_eq!(error("<a><b><c/></b></a>"), None);
    assert_eq!(error("<a><b><c><d/></c></b></a>"), limit(Limit::Depth));
    assert_eq!(error(&format!("<a>{}</a>", "x".repeat(20))), None);
    assert_eq!(error(&format!("<a>{}</a>", "x".repeat(21))), limit(Limit::ValueBytes));
    assert_eq!(error(&format!("<a b='{}'/>", "x".repeat(20))), limit(Limit::ValueBytes));
    assert_eq!(error("<a b='' c=''><d e=''/></a>"), limit(Limit::Arguments));
}

/// Pieces that mean something to one format or another, thick enough to meet.
fn spicy() -> impl Strategy<Value = Vec<u8>> {
    let json = [
        "{", "}", "[", "]", ",", ":", "\"a\":", "\"", "\\u0041", "\\ud83d", "\\udE00", "\\n", "1", "-0.5e1",
        "true", "null", " ",
    ];
    let xml = [
        "<a>",
        "</a>",
        "<b c='d&lt;'/>",
        "<",
        ">",
        "&amp;",
        "&#65;",
        "<!--",
        "-->",
        "<![CDATA[",
        "]]>",
        "]",
        "<?p",
        "?>",
        "\r",
        "\n",
        "é",
    ];
    let form = ["a=1", "&", "=", "%41", "%", "+", ";"];
    let part = [
        "--xx\r\n",
        "--xx--",
        "--xx\n",
        "\r\n",
        "\r",
        "\n",
        "Content-Disposition: form-data; name=\"a\"\r\n\r\n",
        "Content-Disposition: form-data; name=f; filename='g'\r\n",
        " folded\r\n",
        "X: y\r\n",
        "--",
        "xx",
        "\0",
    ];
    let all: Vec<_> =
        json.iter().chain(&xml).chain(&form).chain(&part).map(|piece| piece.as_bytes().to_vec()).collect();
    let of = |pieces: &[&str]| {
        let pieces: Vec<_> = pieces.iter().map(|piece| piece.as_bytes().to_vec()).collect();
        proptest::collection::vec(proptest::sample::select(pieces), 0..40)
            .prop_map(|pieces| pieces.concat())
            .boxed()
    };
    let long = (0..5000_usize, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]);
    let bytes = proptest::collection::vec(any::<u8>(), 0..20);
    let mixed = prop_oneof![20 => proptest::sample::select(all), 1 => long, 1 => bytes];
    let mixed = proptest::collection::vec(mixed, 0..30);
    prop_oneof![of(&json), of(&xml), of(&form), of(&part), mixed.prop_map(|pieces| pieces.concat())]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_split_changes_what_is_read(body in spicy(), sizes in proptest::collection::vec(1..9_usize, 1..5)) {
        let limits = Limits {
            xml_arguments: XmlArguments::On,
            value_bytes_max: 3000,
            total_bytes_max: 6000,
            depth_max: 9,
            files_max: 2,
            file_content_bytes_max: 5,
            ..Limits::default()
        };
        for kind in [Kind::Urlencoded, Kind::Multipart, Kind::Json, Kind::Xml] {
            let content_type = "multipart/form-data; boundary=xx";
            let whole = read_in(kind, content_type, &limits, &body, &[]);
            let split = read_in(kind, content_type, &limits, &body, &sizes);
            prop_assert_eq!(&whole, &split, "{:?}", kind);
            prop_assert!(whole.1.bytes_without_files <= body.len() as u64);
        }
    }

    #[test]
    fn any_json_document_reads_without_error(
        text in "[a-z\"\\\\\n<é😀]{0,12}",
        number in any::<f64>(),
        depth in 0..20_usize,
    ) {
        let mut document = serde_json::json!({ "k": text.clone(), "n": number });
        for _ in 0..depth {
            document = serde_json::json!([document, { "x": null }]);
        }
        let body = document.to_string();
        let (taken, outcome) = read(Kind::Json, "", body.as_bytes());
        prop_assert_eq!(outcome.error, None);
        let value = text.as_bytes().escape_ascii().to_string();
        prop_assert!(taken.iter().any(|(_, name, found)| name.ends_with(".k") && *found == value));
        prop_assert_eq!(taken.len(), 2 + depth);
    }
}

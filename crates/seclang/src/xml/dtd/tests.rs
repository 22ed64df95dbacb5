//! Document types by section of XML 1.0: what they accept, what they refuse, what is a load error.

use super::*;
use crate::body::{Body, Kind as BodyKind, Limits};

/// The document of a body, and whether it was read without an error.
fn tree(document: &str) -> (Box<Tree>, bool) {
    let limits = Limits { keeps_xml: true, ..Limits::default() };
    let mut body = Body::new(BodyKind::Xml, b"", &limits);
    body.feed(document.as_bytes(), &mut |_, _: &[u8], _: &[u8]| {});
    let mut outcome = body.finish(&mut |_, _: &[u8], _: &[u8]| {});
    (outcome.tree.take().expect("a document"), outcome.error.is_none())
}

fn dtd(text: &str) -> Dtd {
    parsed(text.as_bytes()).unwrap_or_else(|wrong| panic!("{}", wrong.what))
}

/// A document type with a file beside it that declares `b`.
fn parsed(text: &[u8]) -> Result<Dtd, Wrong> {
    Dtd::parse("d/t.dtd", &mut |path| match path {
        "d/t.dtd" => Ok(text.to_vec()),
        "d/b.mod" => Ok(b"<?xml encoding='UTF-8'?><!ELEMENT b EMPTY>".to_vec()),
        _ => Err(Wrong::new(format!("`{path}` is missing"))),
    })
}

fn accepts(dtd: &Dtd, document: &str) -> bool {
    let (tree, is_read) = tree(document);
    assert!(is_read, "{document}");
    dtd.accepts(&tree, &mut Fuel::new(u64::MAX)).expect("fuel")
}

/// Documents that a document type accepts, and others that it refuses.
fn judge(text: &str, valid: &[&str], invalid: &[&str]) {
    let dtd = dtd(text);
    for document in valid {
        assert!(accepts(&dtd, document), "valid: {document}\nby {text}");
    }
    for document in invalid {
        assert!(!accepts(&dtd, document), "not valid: {document}\nby {text}");
    }
}

/// Asserts that a text is no document type, and why.
fn refused(text: &str, why: &str) {
    let wrong = parsed(text.as_bytes()).err().map(|wrong| wrong.what).unwrap_or_default();
    assert!(wrong.contains(why), "{text}\nsays {wrong:?}, not {why:?}");
}

mod section_2_8_the_external_subset {
    use super::*;

    #[test]
    fn comments_and_instructions_stand_between_declarations() {
        judge(
            "\u{feff}<?xml version='1.0' encoding='UTF-8'?><!----><!-- <!ELEMENT b ANY> -->\n<?x ?>\
             <!ELEMENT a EMPTY><!NOTATION n SYSTEM 'n'>",
            &["<a/>", "<a></a>", "<!DOCTYPE a SYSTEM 'x' [<!ELEMENT a ANY>]><a/>"],
            &["<b/>"],
        );
    }

    #[test]
    fn what_is_no_declaration_is_told_with_its_line() {
        refused("<!ELEMENT a ANY>\n\n<!ELEMNT b ANY>", "`d/t.dtd` line 3: `<!ELEMNT` is no declaration");
        refused("<!ELEMENT a ANY>\nx", "line 2: `x` between declarations");
        refused("<!ELEMENT a ANY", "a declaration is not closed");
        refused("<!-- ", "a comment is not closed");
        refused("", "it declares no element");
        refused("<!ELEMENT a ANY>]]>", "`]` between declarations");
    }
}

mod section_3_2_elements {
    use super::*;

    #[test]
    fn empty_is_without_anything_between_its_tags() {
        judge(
            "<!ELEMENT a EMPTY>",
            &["<a/>", "<a></a>"],
            &["<a> </a>", "<a><!-- --></a>", "<a><?x?></a>", "<a><a/></a>", "<a><![CDATA[]]></a>"],
        );
    }

    #[test]
    fn any_holds_whatever_is_declared() {
        judge(
            "<!ELEMENT a ANY><!ELEMENT b EMPTY>",
            &["<a/>", "<a>x<b/>y<a/></a>"],
            &["<a><c/></a>", "<a><b>x</b></a>"],
        );
    }

    #[test]
    fn mixed_content_is_text_and_the_elements_named() {
        judge(
            "<!ELEMENT a (#PCDATA|b|c)*><!ELEMENT b ( #PCDATA )><!ELEMENT c (#PCDATA)*><!ELEMENT d ANY>",
            &["<a>x<b>y</b>z<c/><b/></a>", "<a/>", "<b>&lt;</b>", "<c><![CDATA[<]]></c>"],
            &["<a><d/></a>", "<b><c/></b>", "<a>x<a/></a>"],
        );
        refused("<!ELEMENT a (#PCDATA|b)>", "the mixed content of `a` is malformed");
        refused("<!ELEMENT a (#PCDATA|b|b)*>", "names an element twice");
    }

    #[test]
    fn children_come_in_the_order_and_number_of_the_model() {
        let leaves = "<!ELEMENT b EMPTY><!ELEMENT c EMPTY><!ELEMENT d EMPTY>";
        judge(
            &format!("<!ELEMENT a (b,c?,d*)>{leaves}"),
            &[
                "<a><b/></a>",
                "<a> <b/>\n<c/> </a>",
                "<a><b/><d/><d/></a>",
                "<a><!-- --><b/><?x?><c/><d/></a>",
            ],
            &["<a/>", "<a><c/></a>", "<a><b/><b/></a>", "<a><b/><d/><c/></a>", "<a>x<b/></a>"],
        );
        judge(
            &format!("<!ELEMENT a ((b|c)+,d)>{leaves}"),
            &["<a><b/><d/></a>", "<a><c/><b/><c/><d/></a>"],
            &["<a><d/></a>", "<a><b/></a>", "<a><b/><d/><d/></a>", "<a><![CDATA[ ]]><b/><d/></a>"],
        );
        judge(
            &format!("<!ELEMENT a ((b,c)*|(d,(b|c))+)?>{leaves}"),
            &["<a/>", "<a><b/><c/><b/><c/></a>", "<a><d/><c/><d/><b/></a>"],
            &["<a><b/></a>", "<a><d/></a>", "<a><b/><c/><d/><b/></a>"],
        );
    }

    #[test]
    fn a_model_that_is_not_deterministic_is_refused() {
        for model in ["(b?,b)", "((b,c)|(b,d))", "((b|c)*,b)", "((b?,c?)*,b)", "(b+,b)", "((b,c?)+,c)"] {
            refused(&format!("<!ELEMENT a {model}>"), "the content model of `a` is not deterministic: a `");
        }
        for model in ["(b,b)", "((b,c?)+)", "(b,(c|d))", "((b?)*)", "((b*)+)", "(b?,c)"] {
            dtd(&format!("<!ELEMENT a {model}>"));
        }
    }

    #[test]
    fn what_is_no_model_is_refused() {
        for model in
            ["", "b", "()", "(b", "b)", "(b,c|d)", "(b,,c)", "(b,)", "(|b)", "(b c)", "(b)c", "((b)", "(b))"]
        {
            refused(&format!("<!ELEMENT a {model}>"), "line 1: ");
        }
        refused("<!ELEMENT a ANY><!ELEMENT a ANY>", "the element `a` is declared twice");
        refused(&format!("<!ELEMENT a {}b{}>", "(".repeat(65), ")".repeat(65)), "more than 64 groups");
        dtd(&format!("<!ELEMENT a {}b{}>", "(".repeat(64), ")".repeat(64)));
    }
}

mod section_3_3_attributes {
    use super::*;

    #[test]
    fn only_what_is_declared_may_stand_and_what_is_required_must() {
        judge(
            "<!ELEMENT a ANY><!ATTLIST a x CDATA #REQUIRED y CDATA #IMPLIED z CDATA 'd'><!ATTLIST b q \
                CDATA 'x'>",
            &["<a x=''/>", "<a x='1' y='2' z='3'/>"],
            &["<a/>", "<a y='2'/>", "<a x='1' w='2'/>", "<a x='1' xmlns='u'/>"],
        );
    }

    #[test]
    fn a_fixed_value_is_the_only_one() {
        judge(
            "<!ELEMENT a ANY><!ATTLIST a xmlns CDATA #FIXED 'u' t NMTOKENS #FIXED 'a b' e CDATA #FIXED \
                '&lt;'>",
            &["<a xmlns='u'/>", "<a/>", "<a t=' a  b '/>", "<a e='&#60;'/>"],
            &["<a xmlns='v'/>", "<a t='a'/>", "<a e='x'/>"],
        );
    }

    #[test]
    fn ids_are_names_and_there_once() {
        let text = "<!ELEMENT a ANY><!ATTLIST a i ID #IMPLIED r IDREF #IMPLIED s IDREFS #IMPLIED>";
        judge(
            text,
            &[
                "<a i='x'><a i='y' r='x'/></a>",
                "<a r='later'><a i='later'/></a>",
                "<a s='x y  x'><a i='x'/><a i='y'/></a>",
                "<a i=' x ' r='x'/>",
            ],
            &[
                "<a i='x'><a i='x'/></a>",
                "<a i='1'/>",
                "<a i=''/>",
                "<a i='x y'/>",
                "<a r='x'/>",
                "<a i='x' s='x z'/>",
                "<a s=''/>",
            ],
        );
        refused("<!ELEMENT a ANY><!ATTLIST a i ID 'x'>", "the default of the attribute `i` of `a`");
        refused("<!ELEMENT a ANY><!ATTLIST a i ID #IMPLIED j ID #IMPLIED>", "two attributes of the type ID");
    }

    #[test]
    fn tokens_enumerations_notations_and_entities_are_of_their_type() {
        judge(
            "<!ELEMENT a ANY><!NOTATION gif SYSTEM 'g'><!ENTITY logo SYSTEM 'l.gif' NDATA gif>\
             <!ATTLIST a t NMTOKEN #IMPLIED u NMTOKENS #IMPLIED e (one | two) 'one' n NOTATION (gif) \
                 #IMPLIED \
             f ENTITY #IMPLIED g ENTITIES #IMPLIED>",
            &["<a t='1.x' u='a 1' e='two' n='gif' f='logo' g='logo logo'/>", "<a e=' one '/>"],
            &[
                "<a t='a b'/>",
                "<a t=''/>",
                "<a t='a/b'/>",
                "<a u=''/>",
                "<a e='three'/>",
                "<a n='png'/>",
                "<a f='other'/>",
                "<a g='logo x'/>",
            ],
        );
        refused("<!ELEMENT a ANY><!ATTLIST a e (one|two) 'three'>", "is not of its type");
        refused(
            "<!ELEMENT a ANY><!ATTLIST a e WORD 'three'>",
            "the type of the attribute `e` of `a` is none",
        );
        refused("<!ELEMENT a ANY><!ATTLIST a e CDATA>", "the default of the attribute `e` of `a`");
    }
}

mod section_3_4_conditional_sections {
    use super::*;

    #[test]
    fn they_are_included_and_ignored_by_parameter_entities() {
        judge(
            "<!ENTITY % draft 'INCLUDE'><!ENTITY % final 'IGNORE'>\
             <![%draft;[<!ELEMENT a (b)>]]><![ %final; [<!ELEMENT a ANY><![INCLUDE[ x ]]>]]>\
             <![INCLUDE[<![IGNORE[]]><!ELEMENT b EMPTY>]]>",
            &["<a><b/></a>"],
            &["<a/>"],
        );
        refused("<![INCLUDE[<!ELEMENT a ANY>", "a conditional section is not closed");
        refused("<![IGNORE[<![ ]]>", "a conditional section is not closed");
        refused("<![OTHER[]]>", "`OTHER` is no conditional section");
    }
}

mod section_4_entities {
    use super::*;

    #[test]
    fn parameter_entities_are_replaced_within_and_between_declarations() {
        judge(
            "<!ENTITY % inline 'b | c'><!ENTITY % more '%inline; | d'><!ENTITY % inline 'x'>\
             <!ENTITY % all '<!ELEMENT b EMPTY><!ELEMENT c EMPTY><!ELEMENT d EMPTY>'>\
             <!ELEMENT a (%more;)*>\n%all;\n<!ENTITY % att 'x CDATA #REQUIRED'><!ATTLIST b %att;>",
            &["<a><b x=''/><c/><d/></a>"],
            &["<a><b/></a>", "<a><a/></a>"],
        );
    }

    #[test]
    fn what_is_elsewhere_is_never_fetched() {
        let text = "<!ENTITY % other SYSTEM 'http://example.org/o.dtd'>\n<!ELEMENT a ANY>";
        dtd(text);
        refused(&format!("{text}%other;"), "line 2: the parameter entity `%other;` stands at `http:");
        refused("%none;", "`%none;` is not declared before it is used");
    }

    #[test]
    fn what_is_in_a_file_beside_is_read() {
        judge(
            "<!ELEMENT a (b)><!ENTITY % b PUBLIC '-//B' 'b.mod'>%b;",
            &["<a><b/></a>"],
            &["<a/>", "<a><b>x</b></a>"],
        );
        refused("<!ENTITY % b SYSTEM 'c.mod'>%b;", "`d/c.mod` is missing");
        refused("<!ENTITY % b SYSTEM 'b.mod'><!ENTITY % c '%b;'>", "is not read within a value");
    }

    #[test]
    fn entities_end() {
        refused("<!ENTITY % a '&#37;a;'>%a;", "the parameter entity `%a;` contains itself");
        let mut text = "<!ENTITY % a0 '<!-- xxxxxxxxxxxxxxxx -->'>".to_owned();
        for number in 1..30 {
            let inner = format!("&#37;a{};", number - 1);
            text.push_str(&format!("<!ENTITY % a{number} '{}'>", inner.repeat(10)));
        }
        refused(&format!("{text}%a29;"), "with all entities replaced");
        let mut text = "<!ENTITY % a0 'x'>".to_owned();
        for number in 1..30 {
            let inner = format!("%a{};", number - 1);
            text.push_str(&format!("<!ENTITY % a{number} '{}'>", inner.repeat(10)));
        }
        refused(&text, "an entity of more than");
    }
}

#[test]
fn a_document_that_was_cut_is_judged_as_far_as_it_goes() {
    let dtd = dtd("<!ELEMENT a (b,c)><!ELEMENT b (#PCDATA)><!ELEMENT c EMPTY><!ATTLIST b i IDREF #IMPLIED>");
    let judge = |document: &str| dtd.accepts(&tree(document).0, &mut Fuel::new(u64::MAX)).expect("fuel");
    for document in ["<a>", "<a><b>te", "<a><b/><c/>", "<a><b/><c", "<a><b i='later'>"] {
        assert!(judge(document), "{document}");
    }
    for document in ["<a><c/>", "<a>x<b>", "<b><b>", "<a><b/><b>"] {
        assert!(!judge(document), "{document}");
    }
}

#[test]
fn work_grows_with_the_document_and_not_faster() {
    let dtd = dtd("<!ELEMENT a (b|c|a)*><!ELEMENT b (#PCDATA)><!ELEMENT c EMPTY><!ATTLIST c i ID #IMPLIED>");
    let documents = |count: usize| {
        [
            format!("<a>{}</a>", "<b>x</b><c/>".repeat(count)),
            format!("<a>{}</a>", (0..count.min(900)).map(|n| format!("<c i='i{n}'/>")).collect::<String>()),
            format!("{}{}", "<a>".repeat(count.min(500)), "</a>".repeat(count.min(500))),
        ]
    };
    for document in documents(4_000).iter().chain(&documents(400)) {
        let (tree, is_read) = tree(document);
        assert!(is_read);
        let mut fuel = Fuel::new(u64::MAX);
        let work = crate::tally::of(|| assert!(dtd.accepts(&tree, &mut fuel).expect("fuel")));
        assert!((1..=2 * document.len()).contains(&work), "{work} for {} bytes", document.len());
        assert!(fuel.used() <= 40 * document.len() as u64, "{} for {}", fuel.used(), document.len());
    }
    let (large, _) = tree(&documents(4_000)[0]);
    assert!(dtd.accepts(&large, &mut Fuel::new(1_000)).is_err(), "fuel is asked");
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn no_text_makes_the_reader_panic(
            text in "(<!(ELEMENT|ATTLIST|ENTITY) ?%? ?[ab]? ?[()|,*+?ab#PCDATA;%&'\" \
                ]{0,20}>?|%a;|<!\\[(INCLUDE|IGNORE)\\[|\\]\\]>|<!--|-->){0,8}",
            bytes in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let _ = parsed(text.as_bytes());
            let _ = parsed(&bytes);
        }

        #[test]
        fn no_document_makes_it_panic(document in "<a(>|<b/>|</a>|x|<b \
            |i='x'|/>|<!--|-->|<!\\[CDATA\\[|]]>){0,20}") {
            let dtd = dtd("<!ELEMENT a (b?,a*)><!ELEMENT b ANY><!ATTLIST b i ID #IMPLIED>");
            let limits = Limits { keeps_xml: true, ..Limits::default() };
            let mut body = Body::new(BodyKind::Xml, b"", &limits);
            body.feed(document.as_bytes(), &mut |_, _: &[u8], _: &[u8]| {});
            if let Some(tree) = body.finish(&mut |_, _: &[u8], _: &[u8]| {}).tree.take() {
                let _ = dtd.accepts(&tree, &mut Fuel::new(u64::MAX));
            }
        }
    }
}

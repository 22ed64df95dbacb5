//! Paths by section of XPath 1.0: what they find, what is a load error, what they cost.

use super::*;
use crate::body::{Body, Kind as BodyKind, Limits};

fn tree(document: &str) -> Box<Tree> {
    let limits = Limits { keeps_xml: true, arguments_max: 100_000, ..Limits::default() };
    let mut body = Body::new(BodyKind::Xml, b"", &limits);
    body.feed(document.as_bytes(), &mut |_, _: &[u8], _: &[u8]| {});
    let mut outcome = body.finish(&mut |_, _: &[u8], _: &[u8]| {});
    assert_eq!(outcome.error, None, "{document}");
    outcome.tree.take().expect("a document")
}

#[test]
fn a_tree_takes_no_more_memory_than_is_charged_for_it() {
    let inside = [
        "<a/>",
        "x<a/>",
        "<a/>x<!-- c -->y",
        "<a b='' c=''/>",
        "<a xml:b='1'>t</a>",
        "<![CDATA[x]]>",
        "&amp;",
        "<a\n/>",
        "<?p?>x",
        "<name-of-some-length and='a value of some length'>text of some length</name-of-some-length>",
    ];
    for piece in inside {
        for count in [0, 1, 3, 100, 1_025] {
            let document = format!("<r>{}</r>", piece.repeat(count));
            let (held, charged) =
                (tree(&document).bytes_held(), crate::xml::tree::bytes_max(document.as_bytes()));
            assert!(held <= charged, "{held} bytes for {count} times {piece}, charged {charged}");
        }
    }
}

fn path(text: &str) -> Path {
    let namespaces = [("p".to_owned(), "u".to_owned()), ("q".to_owned(), "v".to_owned())];
    Path::parse(text, &namespaces).unwrap_or_else(|wrong| panic!("{text}: {}", wrong.what))
}

fn found(text: &str, document: &str) -> Vec<String> {
    let tree = tree(document);
    let places = path(text).select(&tree, &mut Fuel::new(u64::MAX)).expect("fuel");
    places.iter().map(|place| String::from_utf8_lossy(text_of(&tree, *place)).into_owned()).collect()
}

/// What each path finds in one document.
fn finds(document: &str, cases: &[(&str, &[&str])]) {
    for (text, expected) in cases {
        assert_eq!(found(text, document), *expected, "{text}\nin {document}");
    }
}

const BOOKS: &str = "<shop xml:lang='en'><book id='1'><title>One</title><price>10</price></book>\
    <book id='2' new='yes'><title>Two <b>bold</b> end</title><price>20</price><note>n1</note><note>n2</note>\
    </book><pen id='3'>x<!-- c -->y<![CDATA[z]]></pen></shop>";

#[test]
fn section_2_1_steps_lead_from_the_document_down() {
    finds(
        BOOKS,
        &[
            ("/shop/book/title", &["One", "Two bold end"]),
            ("/ shop / child::book / title", &["One", "Two bold end"]),
            ("/book", &[]),
            ("/shop/*/title", &["One", "Two bold end"]),
            ("/shop/pen", &["xyz"]),
            ("/shop/book/note/..", &["Two bold end20n1n2"]),
            ("/shop/book/title/b/ancestor::book/price", &["20"]),
            ("/shop/book/./title/self::title", &["One", "Two bold end"]),
            ("/shop/book/title/self::price", &[]),
            ("/", &["One10Two bold end20n1n2xyz"]),
        ],
    );
}

#[test]
fn section_2_3_tests_take_names_texts_and_attributes() {
    finds(
        BOOKS,
        &[
            ("//text()", &["One", "10", "Two ", "bold", " end", "20", "n1", "n2", "x", "yz"]),
            ("/shop/pen/text()", &["x", "yz"]),
            ("//b/text()", &["bold"]),
            ("//@id", &["1", "2", "3"]),
            ("/shop/book/@*", &["1", "2", "yes"]),
            ("/shop/@xml:lang", &["en"]),
            ("/shop/@lang", &[]),
            ("/shop/pen/attribute::id", &["3"]),
            ("//book/node()", &["One", "10", "Two bold end", "20", "n1", "n2"]),
            ("//@id/..", &["One10", "Two bold end20n1n2", "xyz"]),
        ],
    );
}

#[test]
fn section_2_3_names_are_in_the_namespaces_of_the_rule() {
    let document = "<a xmlns='u' xmlns:x='v'><b x:k='1' k='2'>one</b><x:b>two</x:b><b xmlns=''>three</b>\
                    <c xmlns:x='u'><x:b>four</x:b></c></a>";
    finds(
        document,
        &[
            ("/p:a/p:b", &["one"]),
            ("/p:a/q:b", &["two"]),
            ("//b", &["three"]),
            ("//p:b", &["one", "four"]),
            ("//q:*", &["two"]),
            ("//*[local-name()='b']", &["one", "two", "three", "four"]),
            ("//*[namespace-uri()='v']", &["two"]),
            ("//*[name()='x:b']", &["two", "four"]),
            ("//@q:k", &["1"]),
            ("//@k", &["2"]),
            ("//@*", &["1", "2"]),
        ],
    );
    assert_eq!(found("//p:b", "<x:b>unbound</x:b>"), [""; 0]);
    assert_eq!(found("//*[local-name()='b']", "<x:b>unbound</x:b>"), ["unbound"]);
}

#[test]
fn section_2_4_predicates_choose() {
    finds(
        BOOKS,
        &[
            ("/shop/book[1]/title", &["One"]),
            ("/shop/book[2]/title", &["Two bold end"]),
            ("/shop/book[last()]/price", &["20"]),
            ("/shop/book[position()<2]/price", &["10"]),
            ("//note[2]", &["n2"]),
            ("//book/note[last()]", &["n2"]),
            ("/shop/book[@new]/price", &["20"]),
            ("/shop/book[@id='2'][note]/note[1]", &["n1"]),
            ("/shop/book[not(@new)]/price", &["10"]),
            ("/shop/book[price>15]/@id", &["2"]),
            ("/shop/book[15 > price]/@id", &["1"]),
            ("/shop/book[title='One']/@id", &["1"]),
            ("/shop/book[title/b='bold' and @new='yes']/@id", &["2"]),
            ("/shop/book[@id='1' or @id='2']/@id", &["1", "2"]),
            ("/shop/book[@id='1' or (@id='2' and not(note))]/@id", &["1"]),
            ("/shop/*[self::pen]/@id", &["3"]),
            ("/shop/book[count(note)=2]/@id", &["2"]),
            ("/shop/book[.//b]/@id", &["2"]),
            ("/shop/book[title/text()='Two ']/@id", &["2"]),
            ("//note[.='n2']", &["n2"]),
            ("/shop/book[note!='n1']/@id", &["2"]),
            ("//@*[.='yes']", &["yes"]),
            ("//@*[name()='new']", &["yes"]),
        ],
    );
}

#[test]
fn section_2_5_abbreviations_mean_what_they_stand_for() {
    let document = "<a><b><c>1</c><c>2</c></b><b><c>3</c><a><b><c>4</c></b></a></b></a>";
    finds(
        document,
        &[
            ("//c[1]", &["1", "3", "4"]),
            ("/descendant::c[1]", &["1"]),
            ("//b//c", &["1", "2", "3", "4"]),
            ("//a//b/c", &["1", "2", "3", "4"]),
            ("/a/b/a//c", &["4"]),
            ("//c/ancestor-or-self::*[last()]", &["1234"]),
            ("/descendant-or-self::node()/c", &["1", "2", "3", "4"]),
            ("//a/b[2]/c", &["3"]),
        ],
    );
}

#[test]
fn section_3_3_unions_are_in_the_order_of_the_document() {
    finds(BOOKS, &[("//price|//title | /shop/book[1]/price", &["One", "10", "Two bold end", "20"])]);
}

#[test]
fn section_4_functions_compute() {
    finds(
        BOOKS,
        &[
            (
                "//*[contains(., 'bold')][last()]",
                &["One10Two bold end20n1n2xyz", "Two bold end20n1n2", "Two bold end", "bold"],
            ),
            ("//title[starts-with(.,'Two')]", &["Two bold end"]),
            ("//title[string-length()=3]", &["One"]),
            ("//title[string-length(b) = 4]", &["Two bold end"]),
            ("//title[normalize-space(text()) = 'Two']", &["Two bold end"]),
            ("//price[number()=20]", &["20"]),
            ("//price[number(.) >= 10][true()]", &["10", "20"]),
            ("//price[false()]", &[]),
            ("//book[boolean(note)]/@id", &["2"]),
            ("//book[string(@new)='']/@id", &["1"]),
            ("//book[local-name(*)='title']/@id", &["1", "2"]),
            ("//book['']/@id", &[]),
            ("//title[number(.)=number(.)]", &[]),
        ],
    );
}

#[test]
fn what_is_not_read_is_told_by_name() {
    for (text, why) in [
        ("a/b", "begins with `/`"),
        ("", "begins with `/`"),
        ("/a[b[1]]", "a predicate within a predicate"),
        ("/a[/b]", "begins at its node"),
        ("/a[//b='1']", "begins at its node"),
        ("/a[../b]", "that leads up"),
        ("/a[ancestor::b]", "that leads up"),
        ("/a/following-sibling::b", "the axis `following-sibling`"),
        ("/a[b=c]", "two paths compared"),
        ("/a[b+1=2]", "arithmetic"),
        ("/a[-1]", "arithmetic"),
        ("/a[b*2]", "arithmetic"),
        ("/a[b|c]", "a union within a predicate"),
        ("/a[$x]", "no variables"),
        ("/a[id('x')]", "the function `id`"),
        ("/a[translate(.,'a','b')='c']", "the function `translate`"),
        ("/a/comment()", "`comment()`"),
        ("/a/text(", "stands where a step is due"),
        ("/a/b()", "`b()`"),
        ("/n:a", "the prefix `n` means no namespace"),
        ("/a[1", "a predicate is not closed"),
        ("/a[1]]", "`]` stands where it cannot"),
        ("/a[count('x')]", "a function of places"),
        ("/a[contains(.)]", "a function with 1 arguments"),
        ("/a[]", "`]` stands where a step is due"),
        ("/a[(1]", "stands where it cannot"),
        ("/a[and]", ""),
        ("/a b", "`b` stands where it cannot"),
        ("/a/", "it ends where a step is due"),
        ("/a['x]", "a quote"),
        ("/a#", "`#` in the XPath"),
        ("//", "it ends where a step is due"),
    ] {
        match Path::parse(text, &[]) {
            Ok(_) => assert_eq!(why, "", "{text} is read"),
            Err(wrong) => assert!(wrong.what.contains(why) && !why.is_empty(), "{text}: {}", wrong.what),
        }
    }
    assert!(Path::parse(&format!("/{}", "a".repeat(5_000)), &[]).is_err());
}

#[test]
fn work_grows_with_the_document_and_not_faster() {
    let deep = |count: usize| format!("{}x{}", "<a>".repeat(count), "</a>".repeat(count));
    let wide = |count: usize| format!("<a>{}</a>", "<b c='1'>x</b>".repeat(count));
    for text in [
        "//a//a",
        "//a//text()",
        "//b[@c='1']",
        "//b[1]",
        "//*[.//b]",
        "//b/..",
        "//b/ancestor::*[last()]",
        "//@c/../b",
    ] {
        let path = path(text);
        let cost = |document: &str| {
            let tree = tree(document);
            crate::tally::of(|| drop(path.select(&tree, &mut Fuel::new(u64::MAX)).expect("fuel")))
        };
        let (small, large) = (cost(&wide(200)), cost(&wide(2_000)));
        assert!(large <= 11 * small + 100, "{text}: {small} and {large}");
        // Depth has a ceiling, so that what grows with it is bounded.
        let nested = cost(&deep(500));
        assert!(nested <= 500 * 512, "{text}: {nested}");
    }
    let tree = tree(&wide(2_000));
    assert!(path("//b").select(&tree, &mut Fuel::new(100)).is_err(), "fuel is asked");
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn no_text_makes_the_parser_or_the_walk_panic(
            text in "/(/|a|b|@c|\\.|\\.\\.|\\*|text\\(\\)|\\[|\\]|\\(|\\)|=|'x'|1| and | or \
                |not\\(|last\\(\\)|,|\\|){0,14}",
        ) {
            if let Ok(path) = Path::parse(&text, &[]) {
                let tree = tree("<a c='1'>x<b><a/>1</b><b c='x'/></a>");
                let places = path.select(&tree, &mut Fuel::new(u64::MAX)).expect("fuel");
                prop_assert!(places.is_sorted_by(|one, other| one < other));
            }
        }
    }
}

//! The reference page says what the code says.

use std::path::Path;

#[test]
fn the_reference_page_is_made_from_the_tables() {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/rules.md");
    let page = std::fs::read_to_string(&place).unwrap_or_default();
    let expected = rules::reference();
    if page != expected {
        let written = place.with_extension("md.new");
        std::fs::write(&written, &expected).unwrap();
        panic!("docs/reference/rules.md differs from the tables: move docs/reference/rules.md.new over it");
    }
}

#[test]
fn every_expression_on_the_page_is_accepted() {
    let page = rules::reference();
    let expressions = page.split('`').filter(|code| code.starts_with("any("));
    let mut tried = 0;
    for text in expressions.filter(|text| text.contains("==")) {
        assert!(crate::condition(text).is_ok(), "{text}");
        tried += 1;
    }
    assert_eq!(tried, 1);
}

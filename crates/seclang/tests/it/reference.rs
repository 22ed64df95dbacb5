//! The page of the language is what the code says.

#[test]
fn the_reference_is_the_one_of_the_code() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/seclang.md");
    let written = std::fs::read_to_string(page).expect("the page");
    let remedy = "run `cargo run -p seclang --example reference > docs/reference/seclang.md`";
    assert!(written == seclang::reference(), "docs/reference/seclang.md differs from the code; {remedy}");
}

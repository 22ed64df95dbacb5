//! Documents of XML judged as a whole: by a document type, by a schema in two files, by paths.

use anyhow::Result;
use serde_json::Value;

use super::{ids, post, spec};
use crate::rig::{saying, start, word, zone};

/// Rules behind those that a node brings: XML is read by its content type, and what is broken is refused.
const RULES: &str = r#"
SecRule REQUEST_FILENAME "@streq /order" "id:100,phase:2,deny,log,chain"
SecRule XML "@validateDTD grammars/order.dtd" "t:none"
SecRule REQUEST_FILENAME "@streq /invoice" "id:200,phase:2,deny,log,chain"
SecRule XML "@validateSchema grammars/invoice.xsd" "t:none"
SecRule XML:/s:Envelope/s:Body//user[@role='admin'] "@rx ." \
    "id:300,phase:2,deny,log,xmlns:s=http://schemas.xmlsoap.org/soap/envelope/"
"#;

const ORDER: &str = "<!ELEMENT order (item+)><!ELEMENT item (#PCDATA)><!ATTLIST item id ID #REQUIRED>";

const INVOICE: &str = r#"<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">
<xs:include schemaLocation="parts/types.xsd"/>
<xs:element name="invoice"><xs:complexType><xs:sequence>
<xs:element name="total" type="amount" maxOccurs="2"/>
</xs:sequence></xs:complexType></xs:element></xs:schema>"#;

const TYPES: &str = r#"<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">
<xs:simpleType name="amount"><xs:restriction base="xs:decimal"><xs:fractionDigits value="2"/>
<xs:minInclusive value="0"/></xs:restriction></xs:simpleType></xs:schema>"#;

#[test]
fn a_document_that_is_not_what_it_may_be_is_refused() -> Result<()> {
    let origin = saying("answer")?;
    let waf = "\n[waf]\nmode = \"block\"\nrules = [\"../waf/documents.conf\"]\n";
    let spec = spec(&origin, "off", "")
        .zone("a", zone(&origin, waf))
        .file("waf/documents.conf", RULES)
        .file("waf/grammars/order.dtd", ORDER)
        .file("waf/grammars/invoice.xsd", INVOICE)
        .file("waf/grammars/parts/types.xsd", TYPES);
    let node = start(&spec)?;
    let soap = |role: &str| {
        format!(
            "<e:Envelope xmlns:e='http://schemas.xmlsoap.org/soap/envelope/'><e:Body><get><user \
             role='{role}'>x</user></get></e:Body></e:Envelope>"
        )
    };
    for (path, body, rule) in [
        ("/order", "<order><item id='a'>x</item></order>".to_owned(), None),
        ("/order", "<order><item>x</item></order>".to_owned(), Some("100")),
        ("/order", "<order><item id='a'>x</order>".to_owned(), Some("200002")),
        ("/invoice", "<invoice><total>12.50</total></invoice>".to_owned(), None),
        ("/invoice", "<invoice><total>12.505</total></invoice>".to_owned(), Some("200")),
        ("/invoice", "<invoice/>".to_owned(), Some("200")),
        ("/soap", soap("guest"), None),
        ("/soap", soap("admin"), Some("300")),
    ] {
        let response = post(&node, path, "text/xml", body.as_bytes())?;
        let expected = match rule {
            None => 200,
            Some("200002") => 400,
            Some(_) => 403,
        };
        assert_eq!(response.status, expected, "{path} {body}");
        if let Some(rule) = rule {
            assert_eq!(word(&response), "waf_blocked");
            let is_refused = |line: &Value| line["verdict"] == "waf_blocked" && ids(line) == [rule];
            assert!(is_refused(&node.wait_for_log(is_refused)?), "{rule}");
        }
    }
    // Threads write the log each for itself, so that its order says nothing.
    let line = node.wait_for_log(|line| line["path"] == "/invoice" && line["waf"] == "clean")?;
    assert_eq!(ids(&line), [""; 0]);
    node.finish_healthy()
}

#[test]
fn what_is_wrong_with_a_grammar_keeps_it_from_being_published() -> Result<()> {
    let origin = saying("answer")?;
    let waf = "\n[waf]\nmode = \"block\"\nrules = [\"../waf/documents.conf\"]\n";
    let spec = spec(&origin, "off", "")
        .zone("a", zone(&origin, ""))
        .file("waf/documents.conf", RULES)
        .file("waf/grammars/order.dtd", "<!ELEMENT order (item?,item)>")
        .file("waf/grammars/invoice.xsd", INVOICE.replace("xs:sequence", "xs:redefine"));
    let node = start(&spec)?;
    node.write_zone("a", &zone(&origin, waf))?;
    let checked = node.command(&["check"])?;
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(!checked.status.success(), "{told}");
    for problem in ["documents.conf:3:1: ", "`order` is not deterministic", "documents.conf:5:1: "] {
        assert!(told.contains(problem), "{problem} is not in\n{told}");
    }
    assert_eq!(post(&node, "/order", "text/xml", b"<order/>")?.status, 200, "what served serves on");
    node.finish_healthy()
}

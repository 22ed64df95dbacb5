//! Schemas by section of XML Schema part 1 and 2: what they accept, what they refuse, what is a load error.

use super::*;
use crate::body::{Body, Kind as BodyKind, Limits};

fn tree(document: &str) -> (Box<Tree>, bool) {
    let limits = Limits { keeps_xml: true, ..Limits::default() };
    let mut body = Body::new(BodyKind::Xml, b"", &limits);
    body.feed(document.as_bytes(), &mut |_, _: &[u8], _: &[u8]| {});
    let mut outcome = body.finish(&mut |_, _: &[u8], _: &[u8]| {});
    (outcome.tree.take().expect("a document"), outcome.error.is_none())
}

/// A schema of these declarations, without a namespace unless `attributes` says one.
fn whole(attributes: &str, inside: &str) -> String {
    format!("<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema' {attributes}>{inside}</xs:schema>")
}

fn read(files: &[(&str, &str)]) -> Result<Schema, String> {
    let mut read = |path: &str| {
        let found = files.iter().find(|(name, _)| *name == path);
        found
            .map(|(_, text)| text.as_bytes().to_vec())
            .ok_or_else(|| Wrong::new(format!("`{path}` is missing")))
    };
    Schema::parse(files[0].0, &mut read).map_err(|wrong| wrong.what)
}

fn accepts(schema: &Schema, document: &str) -> bool {
    let (tree, is_read) = tree(document);
    assert!(is_read, "{document}");
    schema.accepts(&tree, &mut Fuel::new(u64::MAX)).expect("fuel")
}

/// Documents that a schema accepts, and others that it refuses.
fn judge(inside: &str, valid: &[&str], invalid: &[&str]) {
    judge_in("", inside, valid, invalid);
}

fn judge_in(attributes: &str, inside: &str, valid: &[&str], invalid: &[&str]) {
    let schema =
        read(&[("a.xsd", &whole(attributes, inside))]).unwrap_or_else(|why| panic!("{why}\n{inside}"));
    for document in valid {
        assert!(accepts(&schema, document), "valid: {document}\nby {inside}");
    }
    for document in invalid {
        assert!(!accepts(&schema, document), "not valid: {document}\nby {inside}");
    }
}

/// Texts that a simple type takes, and others that it does not.
fn texts(kind: &str, valid: &[&str], invalid: &[&str]) {
    let inside = match kind.starts_with('<') {
        true => format!("<xs:element name='a'>{kind}</xs:element>"),
        false => format!("<xs:element name='a' type='xs:{kind}'/>"),
    };
    let schema = read(&[("a.xsd", &whole("", &inside))]).unwrap_or_else(|why| panic!("{why}\n{inside}"));
    for text in valid {
        assert!(accepts(&schema, &format!("<a>{text}</a>")), "{text:?} is of {kind}");
    }
    for text in invalid {
        assert!(!accepts(&schema, &format!("<a>{text}</a>")), "{text:?} is not of {kind}");
    }
}

fn refused(inside: &str, expected: &str) {
    match read(&[("a.xsd", &whole("", inside))]) {
        Ok(_) => panic!("it is read: {inside}"),
        Err(why) => assert!(why.contains(expected), "{why:?} is not {expected:?}\n{inside}"),
    }
}

mod part_2_datatypes {
    use super::*;

    #[test]
    fn primitive_types_have_their_texts() {
        texts("string", &["", " x\n", "é"], &[]);
        texts("boolean", &["true", " false ", "0", "1"], &["TRUE", "", "yes"]);
        texts(
            "decimal",
            &["1", "-0.50", "+.5", "5.", "00012345678901234567890.1"],
            &["", ".", "1e3", "1 2", "INF"],
        );
        texts(
            "double",
            &["1", "-1.5E-3", "INF", "-INF", "NaN", "1e400", ".5e0"],
            &["", "inf", "+INF", "1e", "e1", "0x1"],
        );
        texts(
            "duration",
            &["P1Y", "-P1Y2M3DT4H5M6.7S", "PT0S", "P0D"],
            &["P", "PT", "1Y", "P1S", "P1M1Y", "P1YT", "PT1.5M", "P-1D"],
        );
        texts(
            "dateTime",
            &[
                "2024-02-29T23:59:59",
                "-0001-01-01T00:00:00Z",
                "2024-01-01T24:00:00.000+14:00",
                "12024-01-01T00:00:00.5-05:30",
            ],
            &[
                "2023-02-29T00:00:00",
                "2024-01-01",
                "2024-1-1T00:00:00",
                "2024-01-01T25:00:00",
                "2024-01-01T24:00:01",
                "0000-01-01T00:00:00",
                "2024-01-01T00:00:00+15:00",
                "2024-01-01T00:00:60",
                "02024-01-01T00:00:00",
            ],
        );
        texts(
            "date",
            &["2024-02-29", "2024-12-31Z"],
            &["2024-13-01", "2024-04-31", "2100-02-29", "20240101"],
        );
        texts("time", &["00:00:00", "23:59:59.999Z"], &["24:00:01", "1:00:00", "12:00"]);
        texts("gYearMonth", &["2024-02"], &["2024-13", "2024"]);
        texts("gYear", &["2024", "-0044Z"], &["24", "0000"]);
        texts("gMonthDay", &["--02-29"], &["--02-30", "02-29"]);
        texts("gDay", &["---31"], &["---32", "31"]);
        texts("gMonth", &["--12"], &["--13", "12"]);
        texts("hexBinary", &["", "0aFF"], &["0", "0g"]);
        texts(
            "base64Binary",
            &["", "QUI=", "QUJD", "QQ==", "Q U J D"],
            &["Q", "QU=", "QUJ=", "QR==", "=QUI"],
        );
        texts("anyURI", &["http://example.org/?a#b", ""], &[]);
        texts("QName", &["a", "p:a"], &["", "a:b:c", ":a", "1"]);
    }

    #[test]
    fn derived_types_have_less() {
        texts("normalizedString", &["a\tb"], &[]);
        texts("token", &["  a  b "], &[]);
        texts("language", &["en", "en-GB", "x-klingon-1"], &["", "english1-", "toolonglanguage"]);
        texts("NMTOKEN", &["-a.1"], &["", "a b", "a/b"]);
        texts("NMTOKENS", &["a b"], &["", "a /"]);
        texts("ENTITY", &[], &["a", ""]);
        texts("Name", &["_a:b"], &["1a", ""]);
        texts("NCName", &["a-b"], &["a:b", "-a"]);
        texts("integer", &["-12", "+0", "99999999999999999999"], &["1.0", "1.", ""]);
        texts("nonNegativeInteger", &["0", "-0"], &["-1"]);
        texts("negativeInteger", &["-1"], &["0"]);
        texts("long", &["9223372036854775807"], &["9223372036854775808"]);
        texts("int", &["-2147483648"], &["-2147483649"]);
        texts("unsignedByte", &["255"], &["256", "-1"]);
        texts("positiveInteger", &["1"], &["0"]);
    }

    fn restriction(base: &str, facets: &str) -> String {
        format!("<xs:simpleType><xs:restriction base='xs:{base}'>{facets}</xs:restriction></xs:simpleType>")
    }

    #[test]
    fn facets_restrict() {
        let of = restriction;
        texts(&of("string", "<xs:length value='2'/>"), &["ab", "éé"], &["a", "abc", ""]);
        texts(
            &of("string", "<xs:minLength value='1'/><xs:maxLength value='2'/>"),
            &["a", "ab"],
            &["", "abc"],
        );
        texts(&of("hexBinary", "<xs:length value='2'/>"), &["0011"], &["00"]);
        texts(&of("NMTOKENS", "<xs:maxLength value='2'/>"), &["a b"], &["a b c"]);
        texts(
            &of("string", "<xs:enumeration value='a'/><xs:enumeration value='b c'/>"),
            &["a", "b c"],
            &["b", " a"],
        );
        texts(&of("decimal", "<xs:enumeration value='1.0'/>"), &["1", "01.00"], &["1.1"]);
        texts(
            &of("int", "<xs:minInclusive value='-5'/><xs:maxExclusive value='5'/>"),
            &["-5", "4"],
            &["-6", "5"],
        );
        texts(
            &of("decimal", "<xs:totalDigits value='3'/><xs:fractionDigits value='1'/>"),
            &["12.3", "123", "12.30"],
            &["1234", "1.23"],
        );
        texts(&of("double", "<xs:minExclusive value='0'/>"), &["1e-9", "INF"], &["0", "-1", "NaN"]);
        texts(
            &of("date", "<xs:minInclusive value='2024-01-01'/>"),
            &["2024-01-01", "2025-06-01"],
            &["2023-12-31", "2024-01-01Z"],
        );
        texts(
            &of("dateTime", "<xs:maxInclusive value='2024-01-01T12:00:00Z'/>"),
            &["2024-01-01T13:00:00+01:00"],
            &["2024-01-01T12:00:00-01:00"],
        );
        texts(
            &of("duration", "<xs:maxInclusive value='P1Y'/>"),
            &["P11M", "P12M", "P364D", "-P2Y"],
            &["P13M", "P1YT1S", "P365D", "P366D", "P367D"],
        );
        texts(
            &of("duration", "<xs:minExclusive value='P1M'/>"),
            &["P32D", "P31DT1S"],
            &["P30D", "P31D", "P28D", "P1M"],
        );
        texts(
            &of("string", "<xs:whiteSpace value='collapse'/><xs:enumeration value='a b'/>"),
            &[" a  b "],
            &["ab"],
        );
        texts(
            &of("string", "<xs:pattern value='[a-z]+'/><xs:pattern value='\\d{2}'/>"),
            &["abc", "12"],
            &["abc1", "1", "\nabc"],
        );
    }

    #[test]
    fn patterns_are_those_of_schemas() {
        let of = |pattern: &str| restriction("string", &format!("<xs:pattern value='{pattern}'/>"));
        texts(&of("a^b$"), &["a^b$"], &["ab"]);
        texts(&of("[a-z-[aeiou]]+"), &["xyz"], &["a", "xay"]);
        texts(&of("\\i\\c*"), &["_a-1", "é"], &["1a", ""]);
        texts(&of("[\\w\\-.]+@[\\w.]+"), &["a.b-c@d.e"], &["a b@c"]);
        texts(&of("a.b"), &["axb", "aéb"], &["a\nb"]);
        texts(&of("\\p{Lu}\\P{Lu}"), &["Aa"], &["AA"]);
        texts(&of("\\p{IsBasicLatin}*"), &["abc"], &["é"]);
        texts(&of("[^0-9]|x{2,3}"), &["a", "xxx"], &["1", "xxxx"]);
        texts(&of("[-a]+|[a-]+b"), &["-a", "a-b"], &["c"]);
        texts(&of("(a|b)?\\s\\S"), &["a c", " c"], &["ab c"]);
        for (pattern, why) in [
            ("a**", "repeats a repetition"),
            ("(?i)a", "has `(?`"),
            ("\\p{IsKlingon}", "`IsKlingon`"),
            ("\\q", "`\\q`"),
            ("[a", "not closed"),
            ("a{1000000000}", "cannot be searched"),
        ] {
            refused(&format!("<xs:element name='a'>{}</xs:element>", of(pattern)), why);
        }
    }

    #[test]
    fn lists_and_unions_are_of_their_members() {
        let list = "<xs:simpleType><xs:list itemType='xs:int'/></xs:simpleType>";
        texts(list, &["1 2\n3", "", " 4 "], &["1 x", "1,2"]);
        let union = "<xs:simpleType><xs:union memberTypes='xs:int xs:boolean'><xs:simpleType>\
            <xs:restriction base='xs:string'><xs:enumeration value='none'/></xs:restriction></xs:simpleType>\
            </xs:union></xs:simpleType>";
        texts(union, &["12", "true", "none", " 12 "], &["nothing", ""]);
        texts(
            "<xs:simpleType><xs:restriction><xs:simpleType><xs:list><xs:simpleType><xs:union \
                memberTypes='xs:int \
             xs:boolean'/></xs:simpleType></xs:list></xs:simpleType><xs:length value='2'/></xs:restriction>\
             </xs:simpleType>",
            &["1 true"],
            &["1", "1 x", "1 2 3"],
        );
        judge(
            "<xs:element name='a'><xs:complexType><xs:sequence><xs:element name='i' type='xs:ID' \
             maxOccurs='9'/><xs:element name='r' type='xs:IDREFS' \
                 minOccurs='0'/></xs:sequence></xs:complexType></xs:element>",
            &["<a><i>x</i><i>y</i><r>y x</r></a>"],
            &["<a><i>x</i><i>x</i></a>", "<a><i>x</i><r>z</r></a>"],
        );
    }

    #[test]
    fn what_is_no_simple_type_is_refused() {
        let of = |base: &str, facets: &str| {
            format!("<xs:element name='a'>{}</xs:element>", restriction(base, facets))
        };
        refused(&of("string", "<xs:minInclusive value='1'/>"), "has no facet `minInclusive`");
        refused(&of("int", "<xs:length value='1'/>"), "has no facet `length`");
        refused(&of("int", "<xs:enumeration value='x'/>"), "is not of the type it restricts");
        refused(&of("string", "<xs:length value='x'/>"), "`x` is no count");
        refused(&of("NOTATION", ""), "there is no type `xs:NOTATION`, or it is not read");
        refused(
            "<xs:simpleType name='t'><xs:restriction base='u'/></xs:simpleType><xs:simpleType name='u'>\
             <xs:restriction base='t'/></xs:simpleType>",
            "in a circle",
        );
        refused(
            "<xs:simpleType name='t'><xs:list itemType='xs:NMTOKENS'/></xs:simpleType>",
            "neither complex nor lists",
        );
    }
}

mod part_1_structures {
    use super::*;

    fn element(children: &str) -> String {
        format!("<xs:element name='a'><xs:complexType>{children}</xs:complexType></xs:element>")
    }

    #[test]
    fn children_come_in_order_and_number() {
        judge(
            &element(
                "<xs:sequence><xs:element name='b' type='xs:int'/><xs:element name='c' minOccurs='0' \
                 maxOccurs='2' type='xs:string'/><xs:choice minOccurs='0' maxOccurs='unbounded'><xs:element \
                 name='d' type='xs:string'/><xs:element name='e' \
                     type='xs:string'/></xs:choice></xs:sequence>",
            ),
            &["<a><b>1</b></a>", "<a> <b>1</b> <c/><c/> <e/><d/><e/></a>"],
            &[
                "<a/>",
                "<a><b>x</b></a>",
                "<a><b>1</b><c/><c/><c/></a>",
                "<a><b>1</b><d/><c/></a>",
                "<a>x<b>1</b></a>",
                "<a><b>1</b><f/></a>",
                "<a><b>1<b>1</b></b></a>",
                "<b>1</b>",
                "<a x='1'><b>1</b></a>",
            ],
        );
    }

    #[test]
    fn occurrences_are_counted_and_not_copied() {
        judge(
            &element(
                "<xs:sequence minOccurs='2' maxOccurs='3'><xs:element name='b' minOccurs='2' maxOccurs='3' \
                 type='xs:string'/><xs:element name='c' type='xs:string'/></xs:sequence>",
            ),
            &["<a><b/><b/><c/><b/><b/><b/><c/></a>", "<a><b/><b/><c/><b/><b/><c/><b/><b/><c/></a>"],
            &[
                "<a><b/><b/><c/></a>",
                "<a><b/><c/><b/><b/><c/></a>",
                "<a><b/><b/><c/><b/><b/><b/><b/><c/></a>",
                "<a><b/><b/><c/><b/><b/><c/><b/><b/><c/><b/><b/><c/></a>",
            ],
        );
        let inside = element(
            "<xs:sequence><xs:element name='b' minOccurs='1000' maxOccurs='1000000000' \
                type='xs:string'/></xs:sequence>",
        );
        let schema = read(&[("a.xsd", &whole("", &inside))]).expect("it loads");
        assert!(accepts(&schema, &format!("<a>{}</a>", "<b/>".repeat(1_000))));
        assert!(!accepts(&schema, &format!("<a>{}</a>", "<b/>".repeat(999))));
        judge(
            &element(
                "<xs:choice maxOccurs='2'><xs:element name='b' maxOccurs='unbounded' type='xs:string'/>\
                 <xs:sequence minOccurs='0'><xs:element name='c' \
                     type='xs:string'/></xs:sequence></xs:choice>",
            ),
            &["<a/>", "<a><b/><b/><b/><c/></a>", "<a><c/><c/></a>"],
            &["<a><c/><b/><c/></a>", "<a><c/><c/><c/></a>"],
        );
        judge(
            &element(
                "<xs:sequence><xs:element name='b' minOccurs='2' maxOccurs='2' type='xs:string'/>\
                 <xs:element name='b' minOccurs='0' type='xs:string'/></xs:sequence>",
            ),
            &["<a><b/><b/></a>", "<a><b/><b/><b/></a>"],
            &["<a><b/></a>", "<a><b/><b/><b/><b/></a>"],
        );
    }

    #[test]
    fn a_model_that_is_ambiguous_is_refused() {
        let b = "<xs:element name='b' type='xs:string'";
        for (model, why) in [
            (format!("<xs:sequence>{b} minOccurs='0'/>{b}/></xs:sequence>"), "ambiguous: a `b`"),
            (
                format!("<xs:sequence>{b} minOccurs='1' maxOccurs='2'/>{b}/></xs:sequence>"),
                "ambiguous: a `b`",
            ),
            (format!("<xs:choice>{b}/><xs:any/></xs:choice>"), "ambiguous: a `b`"),
            (
                "<xs:sequence><xs:any minOccurs='0'/><xs:any namespace='##local'/></xs:sequence>".to_owned(),
                "ambiguous: a child",
            ),
            (
                format!("<xs:sequence minOccurs='2' maxOccurs='2'>{b} maxOccurs='2'/></xs:sequence>"),
                "counts within counts of a `b`",
            ),
        ] {
            refused(&element(&model), why);
        }
    }

    #[test]
    fn all_is_any_order() {
        let all = |attributes: &str| {
            element(&format!(
                "<xs:all {attributes}><xs:element name='b' type='xs:string'/><xs:element name='c' \
                    minOccurs='0' \
                 type='xs:string'/></xs:all>"
            ))
        };
        judge(
            &all(""),
            &["<a><b/></a>", "<a><c/><b/></a>"],
            &["<a/>", "<a><c/></a>", "<a><b/><b/></a>", "<a><b/><d/></a>"],
        );
        judge(&all("minOccurs='0'"), &["<a/>", "<a><b/><c/></a>"], &["<a><c/></a>"]);
        refused(&element("<xs:sequence><xs:all/></xs:sequence>"), "`all` stands where it cannot");
        refused(&element("<xs:all><xs:element name='b' maxOccurs='2'/></xs:all>"), "comes once at most");
    }

    #[test]
    fn groups_stand_in_place_of_their_references() {
        let groups = "<xs:group name='g'><xs:sequence><xs:element name='b' type='xs:string'/><xs:group \
            ref='h' \
            minOccurs='0'/></xs:sequence></xs:group><xs:group name='h'><xs:choice><xs:element name='c' \
            type='xs:string'/><xs:element name='d' type='xs:string'/></xs:choice></xs:group>\
            <xs:attributeGroup name='ag'><xs:attribute name='x' use='required'/><xs:attributeGroup ref='bg'/>\
            </xs:attributeGroup><xs:attributeGroup name='bg'><xs:attribute name='y' \
                type='xs:int'/></xs:attributeGroup>";
        judge(
            &format!("{groups}{}", element("<xs:group ref='g' maxOccurs='2'/><xs:attributeGroup ref='ag'/>")),
            &["<a x=''><b/><c/></a>", "<a x='' y='1'><b/><b/><d/></a>"],
            &["<a><b/></a>", "<a x='' y='z'><b/></a>", "<a x=''><c/></a>", "<a x=''><b/><b/><b/></a>"],
        );
        refused(
            &format!(
                "<xs:group name='g'><xs:sequence><xs:group ref='g'/></xs:sequence></xs:group>{}",
                element("<xs:group ref='g'/>")
            ),
            "contains itself",
        );
        refused(&element("<xs:group ref='none'/>"), "there is no group `none`");
    }

    #[test]
    fn content_is_empty_mixed_or_simple() {
        judge(&element(""), &["<a/>", "<a><!-- --></a>"], &["<a>x</a>", "<a> </a>", "<a><b/></a>"]);
        judge(
            "<xs:element name='a'><xs:complexType mixed='true'><xs:sequence><xs:element name='b' \
                minOccurs='0' \
             type='xs:string'/></xs:sequence></xs:complexType></xs:element>",
            &["<a>x<b/>y</a>", "<a/>"],
            &["<a><b/><b/></a>"],
        );
        judge(
            &element(
                "<xs:simpleContent><xs:extension base='xs:int'><xs:attribute name='u' type='xs:NMTOKEN'/>\
                 </xs:extension></xs:simpleContent>",
            ),
            &["<a u='kg'> 12 </a>", "<a>1</a>"],
            &["<a>x</a>", "<a u='a b'>1</a>", "<a><b/></a>", "<a/>"],
        );
        judge(
            "<xs:complexType name='t'><xs:simpleContent><xs:extension base='xs:int'/></xs:simpleContent>\
             </xs:complexType><xs:element name='a'><xs:complexType><xs:complexContent><xs:extension \
             base='t'><xs:attribute \
                 name='u'/></xs:extension></xs:complexContent></xs:complexType></xs:element>",
            &["<a u=''>1</a>"],
            &["<a u=''>x</a>", "<a/>"],
        );
        judge("<xs:element name='a'/>", &["<a>x<b c='d'/></a>"], &["<b/>"]);
    }

    #[test]
    fn attributes_are_declared_required_fixed_and_forbidden() {
        judge(
            &element(
                "<xs:attribute name='r' use='required' type='xs:int'/><xs:attribute name='f' fixed='1' \
                    type='xs:int'/>\
                 <xs:attribute name='d' default='x'/><xs:attribute ref='xml:lang'/>",
            ),
            &[
                "<a r='1'/>",
                "<a r='2' f='01' d='y' xml:lang='en'/>",
                "<a r='1' xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xsi:schemaLocation='u v'/>",
            ],
            &[
                "<a/>",
                "<a r='x'/>",
                "<a r='1' f='2'/>",
                "<a r='1' z=''/>",
                "<a r='1' xml:lang='1'/>",
                "<a r='1' p:d='' xmlns:p='u'/>",
            ],
        );
        refused(&element("<xs:attribute name='x' fixed='y' type='xs:int'/>"), "fixed value of an attribute");
        refused(&element("<xs:attribute name='x' default='1' fixed='1'/>"), "a default and a fixed value");
        refused(
            &element("<xs:attribute name='x' default='1' use='required'/>"),
            "with a default is optional",
        );
        refused(&element("<xs:attribute ref='xml:lang' type='xs:int'/>"), "does not say `type`");
        refused(&element("<xs:attribute name='x' use='maybe'/>"), "`use` is not `maybe`");
    }

    #[test]
    fn defaults_and_fixed_values_stand_for_nothing() {
        judge(
            "<xs:element name='a'><xs:complexType><xs:sequence><xs:element name='d' default='5' \
                type='xs:int'/>\
             <xs:element name='f' fixed='1.0' \
                 type='xs:decimal'/></xs:sequence></xs:complexType></xs:element>",
            &["<a><d/><f/></a>", "<a><d>7</d><f>1</f></a>"],
            &["<a><d/><f>2</f></a>"],
        );
        refused("<xs:element name='a' default='x' type='xs:int'/>", "default `x` of an element");
    }

    #[test]
    fn types_extend_and_restrict() {
        let types = "<xs:complexType name='base'><xs:sequence><xs:element name='b' \
            type='xs:string'/></xs:sequence>\
            <xs:attribute name='x'/><xs:attribute name='y' use='required'/></xs:complexType>\
            <xs:complexType name='more'><xs:complexContent><xs:extension \
                base='base'><xs:sequence><xs:element \
            name='c' type='xs:string'/></xs:sequence><xs:attribute \
                name='z'/></xs:extension></xs:complexContent>\
            </xs:complexType><xs:complexType name='less'><xs:complexContent><xs:restriction base='base'>\
            <xs:sequence><xs:element name='b' type='xs:token'/></xs:sequence><xs:attribute name='x' \
            use='prohibited'/></xs:restriction></xs:complexContent></xs:complexType>\
            <xs:complexType name='no' abstract='true'><xs:complexContent><xs:extension \
                base='base'/></xs:complexContent>\
            </xs:complexType>\
            <xs:element name='m' type='more'/><xs:element name='l' type='less'/><xs:element name='a' \
                type='base'/>\
            <xs:element name='s' type='base' block='extension'/><xs:element name='n' type='no'/>";
        let xsi = "xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xsi:type";
        judge(
            types,
            &[
                "<m y=''><b/><c/></m>",
                "<m x='' y='' z=''><b/><c/></m>",
                "<l y=''><b/></l>",
                &format!("<a {xsi}='more' y=''><b/><c/></a>"),
                &format!("<a {xsi}=' less' y=''><b/></a>"),
                &format!("<s {xsi}='less' y=''><b/></s>"),
            ],
            &[
                "<m y=''><b/></m>",
                "<m><b/><c/></m>",
                "<l y='' x=''><b/></l>",
                "<l><b/></l>",
                "<n y=''><b/></n>",
                &format!("<a {xsi}='less' x='' y=''><b/></a>"),
                &format!("<a {xsi}='other' y=''><b/></a>"),
                &format!("<m {xsi}='base' y=''><b/></m>"),
                &format!("<s {xsi}='more' y=''><b/><c/></s>"),
                &format!("<a {xsi}='no' y=''><b/></a>"),
            ],
        );
    }

    #[test]
    fn what_is_nil_is_empty() {
        let xsi = "xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xsi:nil";
        judge(
            "<xs:element name='a' nillable='true' type='xs:int'/><xs:element name='b' type='xs:int'/>",
            &[&format!("<a {xsi}='true'/>"), &format!("<a {xsi}='0'>1</a>")],
            &[
                &format!("<a {xsi}='true'>1</a>"),
                &format!("<b {xsi}='true'/>"),
                "<a/>",
                &format!("<a {xsi}='x'>1</a>"),
            ],
        );
    }

    #[test]
    fn members_stand_in_place_of_their_head() {
        judge(
            "<xs:element name='head' type='xs:string' abstract='true'/><xs:element name='one' \
                substitutionGroup='head'/>\
             <xs:element name='two' substitutionGroup='one' type='xs:token'/><xs:element \
                 name='a'><xs:complexType>\
             <xs:sequence><xs:element ref='head' maxOccurs='2'/></xs:sequence></xs:complexType></xs:element>\
             <xs:element name='shut' type='xs:string' block='substitution'/><xs:element name='three' \
             substitutionGroup='shut'/><xs:element name='b'><xs:complexType><xs:all><xs:element ref='shut'/>\
             </xs:all></xs:complexType></xs:element>",
            &["<a><one>x</one><two>y</two></a>", "<b><shut/></b>"],
            &["<a><head/></a>", "<a><one><b/></one></a>", "<b><three/></b>", "<a/>"],
        );
    }

    #[test]
    fn wildcards_let_in_by_namespace() {
        judge_in(
            "targetNamespace='u' xmlns:u='u' elementFormDefault='qualified'",
            "<xs:element name='k' type='xs:int'/><xs:element name='a'><xs:complexType><xs:sequence>\
             <xs:element name='b' type='xs:string'/><xs:any namespace='##other' processContents='lax' \
                 minOccurs='0' \
             maxOccurs='unbounded'/></xs:sequence><xs:anyAttribute namespace='v' processContents='skip'/>\
             </xs:complexType></xs:element><xs:element name='s'><xs:complexType><xs:sequence><xs:any \
             namespace='##targetNamespace ##local'/></xs:sequence></xs:complexType></xs:element>\
             <xs:element name='x'><xs:complexType><xs:sequence><xs:any processContents='skip'/></xs:sequence>\
             </xs:complexType></xs:element>",
            &[
                "<a xmlns='u'><b/><q xmlns='v'><r/></q></a>",
                "<a xmlns='u' p:z='1' xmlns:p='v'><b/></a>",
                "<s xmlns='u'><k>1</k></s>",
                "<x xmlns='u'><k>no</k></x>",
            ],
            &[
                "<a xmlns='u'><b/><k>1</k></a>",
                "<a xmlns='u' p:z='1' xmlns:p='w'><b/></a>",
                "<a xmlns='u' z='1'><b/></a>",
                "<s xmlns='u'><k>x</k></s>",
                "<s xmlns='u'><none xmlns=''/></s>",
                "<a xmlns='u'><b/><q xmlns=''/></a>",
                "<a><b/></a>",
                "<a xmlns='u'><b xmlns=''/></a>",
                "<x xmlns='u'/>",
            ],
        );
    }

    #[test]
    fn local_elements_are_qualified_as_the_schema_says() {
        let inside = element(
            "<xs:sequence><xs:element name='b' type='xs:string'/><xs:element name='c' form='qualified' \
            type='xs:string'/></xs:sequence><xs:attribute name='d'/>",
        );
        judge_in(
            "targetNamespace='u'",
            &inside,
            &["<u:a d='' xmlns:u='u'><b/><u:c/></u:a>"],
            &["<a xmlns='u'><b/><c/></a>", "<u:a xmlns:u='u' u:d=''><b/><u:c/></u:a>"],
        );
    }

    #[test]
    fn schemas_include_and_import_what_stands_beside() {
        let main = whole(
            "targetNamespace='u' xmlns:u='u' xmlns:v='v' elementFormDefault='qualified'",
            "<xs:include schemaLocation='parts/b.xsd'/><xs:import namespace='v' schemaLocation='v.xsd'/>\
             <xs:import namespace='http://www.w3.org/XML/1998/namespace' \
                 schemaLocation='http://www.w3.org/2001/xml.xsd'/>\
             <xs:element name='a' type='u:t'/>",
        );
        let part = whole(
            "xmlns:v='v'",
            "<xs:include schemaLocation='../a.xsd'/><xs:import namespace='v'/><xs:complexType \
                name='t'><xs:sequence>\
             <xs:element ref='v:k'/><xs:element name='b' type='own'/></xs:sequence></xs:complexType>\
             <xs:simpleType name='own'><xs:restriction base='xs:string'><xs:maxLength \
                 value='2'/></xs:restriction></xs:simpleType>",
        );
        let other = whole("targetNamespace='v'", "<xs:element name='k' type='xs:int'/>");
        let schema = read(&[("d/a.xsd", &main), ("d/parts/b.xsd", &part), ("d/v.xsd", &other)]);
        let schema = schema.unwrap_or_else(|why| panic!("{why}"));
        assert!(accepts(&schema, "<a xmlns='u'><k xmlns='v'>1</k><b xmlns=''>xy</b></a>"));
        assert!(!accepts(&schema, "<a xmlns='u'><k xmlns='v'>1</k><b xmlns=''>xyz</b></a>"));
        let missing = whole("", "<xs:include schemaLocation='none.xsd'/>");
        assert_eq!(read(&[("a.xsd", &missing)]).err().as_deref(), Some("`none.xsd` is missing"));
        let fetched = whole("", "\n<xs:include schemaLocation='http://example.org/a.xsd'/>");
        let why = read(&[("a.xsd", &fetched)]).err().unwrap_or_default();
        assert!(why.starts_with("`a.xsd` line 2: `include` names no file beside"), "{why}");
    }

    #[test]
    fn keys_are_there_once_and_what_refers_to_them_finds_them() {
        let inside = "<xs:element name='a'><xs:complexType><xs:sequence><xs:element name='p' \
            maxOccurs='unbounded'>\
            <xs:complexType><xs:sequence><xs:element name='n' type='xs:decimal' minOccurs='0' maxOccurs='2'/>\
            </xs:sequence><xs:attribute name='k' type='xs:int'/><xs:attribute name='r'/></xs:complexType>\
            </xs:element></xs:sequence></xs:complexType>KEYS</xs:element>";
        let with = |keys: &str| inside.replace("KEYS", keys);
        judge(
            &with("<xs:unique name='u'><xs:selector xpath='p'/><xs:field xpath='n'/></xs:unique>"),
            &["<a><p><n>1</n></p><p><n>2</n></p><p/><p/></a>"],
            &["<a><p><n>1</n></p><p><n>1.0</n></p></a>", "<a><p><n>1</n><n>2</n></p></a>"],
        );
        judge(
            &with(
                "<xs:key name='k'><xs:selector xpath='.//p'/><xs:field xpath='@k'/><xs:field \
                    xpath='n'/></xs:key>",
            ),
            &["<a><p k='1'><n>1</n></p><p k='1'><n>2</n></p><p k='2'><n>1</n></p></a>"],
            &[
                "<a><p k='1'><n>1</n></p><p k='01'><n>1</n></p></a>",
                "<a><p k='1'/></a>",
                "<a><p><n>1</n></p></a>",
            ],
        );
        judge(
            &with(
                "<xs:key name='k'><xs:selector xpath='p'/><xs:field xpath='@k'/></xs:key><xs:keyref name='r' \
                 refer='k'><xs:selector xpath='p'/><xs:field xpath='n|./@q'/></xs:keyref>",
            ),
            &["<a><p k='1'><n>2</n></p><p k='2'/></a>"],
            &["<a><p k='1'><n>3</n></p><p k='2'/></a>"],
        );
        for (keys, why) in [
            ("<xs:key name='k'><xs:selector xpath='p'/></xs:key>", "one selector, then fields"),
            ("<xs:key name='k'><xs:selector xpath='/p'/><xs:field xpath='.'/></xs:key>", "`/p` is no path"),
            ("<xs:key name='k'><xs:selector xpath='@k'/><xs:field xpath='.'/></xs:key>", "`@k` is no path"),
            (
                "<xs:key name='k'><xs:selector xpath='p'/><xs:field xpath='p[1]'/></xs:key>",
                "`p[1]` is no path",
            ),
            (
                "<xs:keyref name='r' refer='none'><xs:selector xpath='p'/><xs:field xpath='n'/></xs:keyref>",
                "refers to no key",
            ),
        ] {
            refused(&with(keys), why);
        }
    }

    #[test]
    fn what_is_not_read_is_told_with_its_line() {
        refused("\n\n<xs:redefine schemaLocation='b.xsd'/>", "`a.xsd` line 3: `xs:redefine` is not read");
        refused("<xs:element name='a' typ='xs:int'/>", "`xs:element` has no attribute `typ`");
        refused("<b/>", "`b` is no part of a schema");
        let twice = "<xs:attribute name='x'/><xs:attribute name='x'/>";
        refused(&element(twice), "the attribute `x` is there twice");
        refused("<xs:element name='a'><xs:simpleType name='b'/></xs:element>", "a type within has no name");
        refused("<xs:element name='a'>x</xs:element>", "text within `xs:element`");
        refused("<xs:element name='a' type='xs:int'/><xs:element name='a'/>", "`a` is declared twice");
        refused("<xs:element name='a' type='t'/>", "there is no type `t`");
        refused("<xs:element name='a' type='n:t'/>", "means no namespace");
        refused(
            "<xs:element name='a'><xs:complexType><xs:sequence/><xs:choice/><xs:element \
                name='b'/></xs:complexType></xs:element>",
            "",
        );
        refused(&element("<xs:sequence minOccurs='2'/><xs:attribute/>"), "");
        assert!(read(&[("a.xsd", "<a/>")]).is_err_and(|why| why == "`a.xsd` is no XML Schema"));
        assert!(read(&[("a.xsd", "<a>")]).is_err_and(|why| why.contains("the end came too early")));
    }

    #[test]
    fn a_document_that_was_cut_is_judged_as_far_as_it_goes() {
        let inside = element(
            "<xs:sequence><xs:element name='b' type='xs:int'/><xs:element name='c' \
                type='xs:int'/></xs:sequence>",
        );
        let schema = read(&[("a.xsd", &whole("", &inside))]).expect("it loads");
        let judge =
            |document: &str| schema.accepts(&tree(document).0, &mut Fuel::new(u64::MAX)).expect("fuel");
        for document in ["<a>", "<a><b>1", "<a><b>", "<a><b>1</b>", "<a><b>1</b><c>"] {
            assert!(judge(document), "{document}");
        }
        for document in ["<b>", "<a><c>", "<a><b>x</b>", "<a>x<b>"] {
            assert!(!judge(document), "{document}");
        }
    }
}

#[test]
fn work_grows_with_the_document_and_not_faster() {
    let inside = "<xs:element name='a'><xs:complexType><xs:choice minOccurs='0' \
        maxOccurs='unbounded'><xs:element ref='a'/>\
        <xs:element name='b' type='xs:int' maxOccurs='3'/><xs:any namespace='##other' \
            processContents='lax'/></xs:choice>\
        <xs:attribute name='c' type='xs:NMTOKENS'/></xs:complexType></xs:element>";
    let schema = read(&[("a.xsd", &whole("", inside))]).expect("it loads");
    let documents = |count: usize| {
        [
            format!("<a>{}</a>", "<b>1</b>".repeat(count)),
            format!("<a>{}</a>", "<a c='x y'/>".repeat(count.min(900))),
            format!("<a c='{}'/>", "x ".repeat(count)),
            format!("{}{}", "<a>".repeat(count.min(500)), "</a>".repeat(count.min(500))),
            format!("<a xmlns:u='u'>{}</a>", "<u:q><u:r/></u:q>".repeat(count)),
        ]
    };
    for document in documents(4_000).iter().chain(&documents(400)) {
        let (tree, is_read) = tree(document);
        assert!(is_read);
        let mut fuel = Fuel::new(u64::MAX);
        let work = crate::tally::of(|| {
            assert!(schema.accepts(&tree, &mut fuel).expect("fuel"), "{}", &document[..40])
        });
        assert!((1..=2 * document.len()).contains(&work), "{work} for {} bytes", document.len());
        assert!(fuel.used() <= 60 * document.len() as u64 + 10_000, "{} for {}", fuel.used(), document.len());
    }
    let (large, _) = tree(&documents(4_000)[0]);
    assert!(schema.accepts(&large, &mut Fuel::new(1_000)).is_err(), "fuel is asked");
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn no_schema_makes_the_reader_panic(
            inside in "(<xs:(element|complexType|simpleType|sequence|choice|group|attribute|any|restriction\
                |list)\
                ( (name|ref|type|base|minOccurs|maxOccurs)='(a|b|xs:int|0|2|unbounded)'){0,3}(/>|>)|</xs:(e\
                    lement|\
                complexType|simpleType|sequence|choice)>){0,8}",
        ) {
            let _ = read(&[("a.xsd", &whole("", &inside))]);
        }

        #[test]
        fn no_pattern_makes_its_reader_panic(pattern in "[\\[\\]^$\\\\a-c{},0-9*+?().|&~dwpL-]{0,16}") {
            let _ = pattern::compile(&pattern);
        }

        #[test]
        fn no_document_makes_it_panic(document in "<a(>|<b>1</b>|<c/>|</a>|x|<b \
            |i='x'|/>|<!--|-->|<!\\[CDATA\\[|]]>){0,20}") {
            let inside = "<xs:element name='a'><xs:complexType mixed='true'><xs:sequence><xs:element \
                name='b' type='xs:int' \
                minOccurs='2' maxOccurs='4'/><xs:any minOccurs='0' \
                    namespace='u'/></xs:sequence></xs:complexType></xs:element>";
            let schema = read(&[("a.xsd", &whole("", inside))]).expect("it loads");
            let limits = Limits { keeps_xml: true, ..Limits::default() };
            let mut body = Body::new(BodyKind::Xml, b"", &limits);
            body.feed(document.as_bytes(), &mut |_, _: &[u8], _: &[u8]| {});
            if let Some(tree) = body.finish(&mut |_, _: &[u8], _: &[u8]| {}).tree.take() {
                let _ = schema.accepts(&tree, &mut Fuel::new(u64::MAX));
            }
        }
    }
}

//! Fields that are derived from what a request shows.

use rules::{Field, Scratch, Side};

use crate::request::Request;
use crate::{holds, shown};

#[test]
fn path_query_and_extension() {
    for (uri, path, query, extension) in [
        ("/articles/index?section=1&x", "/articles/index", "section=1&x", ""),
        ("/foo.mp3", "/foo.mp3", "", "mp3"),
        ("/.mp3", "/.mp3", "", ""),
        ("/.foo.mp3", "/.foo.mp3", "", "mp3"),
        ("/foo.tar.bz2?", "/foo.tar.bz2", "", "bz2"),
        ("/foo.", "/foo.", "", ""),
        ("/foo.MP3", "/foo.MP3", "", "mp3"),
        ("/a.b/c", "/a.b/c", "", ""),
        ("/a?b?c", "/a", "b?c", ""),
        ("*", "*", "", ""),
        ("", "", "", ""),
    ] {
        let request = Request::get("h", uri);
        assert_eq!(shown("http.request.uri.path", &request), path, "{uri}");
        assert_eq!(shown("http.request.uri.query", &request), query, "{uri}");
        assert_eq!(shown("http.request.uri.path.extension", &request), extension, "{uri}");
        assert_eq!(shown("raw.http.request.uri.path", &request), path, "{uri}");
    }
    let shouting = Request::get("h", "/foo.MP3");
    assert_eq!(shown("raw.http.request.uri.path.extension", &shouting), "MP3");
}

#[test]
fn raw_fields_are_those_before_a_rewrite() {
    let request = Request::get("h", "/new?a=2").bytes(Field::RawUri, "/old?a=1");
    assert_eq!(shown("http.request.full_uri", &request), "https://h/new?a=2");
    assert_eq!(shown("raw.http.request.full_uri", &request), "https://h/old?a=1");
    assert_eq!(shown("raw.http.request.uri.query", &request), "a=1");
    assert_eq!(shown(r#"raw.http.request.uri.args["a"][0]"#, &request), "1");
    assert_eq!(shown(r#"http.request.uri.args["a"][0]"#, &request), "2");
}

#[test]
fn arguments_are_not_decoded() {
    let request = Request::get("h", "/?q=red+apples&&q=%20&empty=&bare&=x");
    assert_eq!(shown(r#"http.request.uri.args["q"]"#, &request), r#"["red+apples", "%20"]"#);
    assert_eq!(shown("http.request.uri.args.names", &request), r#"["q", "q", "empty", "bare", ""]"#);
    assert_eq!(shown("http.request.uri.args.values", &request), r#"["red+apples", "%20", "", "", "x"]"#);
    assert!(holds(r#"has_key(http.request.uri.args, "bare")"#, &request));
}

#[test]
fn many_arguments_are_found_as_few_are() {
    let query: String = (0..1000).map(|number| format!("a{}={number}&", number % 500)).collect();
    let request = Request::get("h", &format!("/?{query}"));
    assert_eq!(shown(r#"http.request.uri.args["a499"]"#, &request), r#"["499", "999"]"#);
    assert_eq!(shown(r#"http.request.uri.args["a500"]"#, &request), "(missing)");
    assert!(holds(r#"any(http.request.uri.args[*][1] == "999")"#, &request));
}

#[test]
fn headers_fold_their_names_in_the_map_only() {
    let request = Request::get("h", "/").header("X-One", "a").header("x-ONE", "B").header("Y", "c");
    assert_eq!(shown(r#"http.request.headers["x-one"]"#, &request), r#"["a", "B"]"#);
    assert_eq!(shown("http.request.headers.names", &request), r#"["X-One", "x-ONE", "Y"]"#);
    assert_eq!(shown("http.request.headers.values", &request), r#"["a", "B", "c"]"#);
}

#[test]
fn cookies_by_name() {
    let request = Request::get("h", "/")
        .header("Cookie", "session=8521;-background=light; a%20b=c%20d")
        .header("cookie", "session=two; flag");
    assert_eq!(
        shown("http.cookie", &request),
        "session=8521;-background=light; a%20b=c%20d; session=two; flag"
    );
    assert_eq!(shown(r#"http.request.cookies["session"]"#, &request), r#"["8521", "two"]"#);
    assert_eq!(shown(r#"http.request.cookies["a b"][0]"#, &request), "c%20d");
    assert!(holds(r#"has_key(http.request.cookies, "flag")"#, &request));
}

#[test]
fn host_and_forwarded_for() {
    let mut request =
        Request::get("h", "/").header("X-Forwarded-For", "192.0.2.9").header("Host", "named.example");
    assert_eq!(shown("http.host", &request), "h");
    request.bytes.remove(&Field::HttpHost);
    assert_eq!(shown("http.host", &request), "named.example");
    assert_eq!(shown("http.x_forwarded_for", &request), "192.0.2.9");
    let two = request.header("x-forwarded-for", "198.51.100.1");
    assert_eq!(shown("http.x_forwarded_for", &two), "192.0.2.9, 198.51.100.1");
}

#[test]
fn languages_by_weight() {
    let request =
        Request::get("h", "/").header("Accept-Language", "fr-CH, fr;q=0.8, en;q=0.9, de;q=0.7, *;q=0.5");
    assert_eq!(shown("http.request.accepted_languages", &request), r#"["fr-CH", "en", "fr", "de"]"#);
    let none = Request::get("h", "/my-path");
    let text = r#"concat("/", http.request.accepted_languages[0], http.request.uri.path)"#;
    assert_eq!(shown(text, &none), "//my-path");
}

#[test]
fn forms_when_the_type_says_so() {
    let form = Request::get("h", "/")
        .header("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
        .bytes(Field::BodyRaw, "username=admin&x=1&x=2");
    assert_eq!(shown(r#"http.request.body.form["x"]"#, &form), r#"["1", "2"]"#);
    assert_eq!(shown("http.request.body.form.names", &form), r#"["username", "x", "x"]"#);
    let other = Request::get("h", "/").header("Content-Type", "text/plain").bytes(Field::BodyRaw, "a=b");
    assert_eq!(shown("http.request.body.form.values", &other), "[]");
}

#[test]
fn fields_of_the_response() {
    let request = Request::get("h", "/")
        .int(Field::ResponseCode, 503)
        .response_header("Content-Type", "text/HTML; charset=utf-8")
        .response_header("Server", "nginx");
    assert!(holds("http.response.code == 503", &request));
    assert_eq!(shown("http.response.content_type.media_type", &request), "text/html");
    assert!(holds(r#"any(http.response.headers["server"][*] == "nginx")"#, &request));
    assert_eq!(shown("http.response.headers.names", &request), r#"["Content-Type", "Server"]"#);
}

#[test]
fn every_field_has_its_empty_value() {
    let nothing = Request::default();
    for field in Field::ALL {
        let text = field.name();
        let expected = match field.ty().to_string().as_str() {
            "Bytes" if *field == Field::FullUri || *field == Field::RawFullUri => "http://",
            "Bytes" => "",
            "Bool" => "false",
            "Int" if field.row().empty_int == 100 => "100",
            "Int" if field.row().empty_int == 99 => "99",
            "Int" => "0",
            "Ip" => "(missing)",
            array if array.starts_with("Array") => "[]",
            map => {
                assert!(map.starts_with("Map"), "{map}");
                let text = format!(r#"{text}["a"]"#);
                assert_eq!(shown(&text, &nothing), "(missing)", "{text}");
                continue;
            }
        };
        assert_eq!(shown(text, &nothing), expected, "{text}");
    }
}

#[test]
fn a_scratch_forgets_what_changed() {
    let mut scratch = Scratch::new();
    let expressions =
        [r#"http.request.uri.args["a"][0]"#, r#"http.request.cookies["a"][0]"#, "http.request.full_uri"];
    let mut builder = rules::Builder::new();
    let lists = rules::Lists::new();
    let scope = rules::Scope { lists: &lists, limits: &rules::Limits::default(), has_response: false };
    let ids = expressions.map(|text| builder.value(&rules::Expression::value(text, &scope).unwrap()));
    let program = builder.build();
    let shown = |request: &Request, scratch: &mut Scratch| {
        let mut fuel = fuel::Fuel::new(crate::PLENTY);
        let mut run = program.run(request, scratch, &mut fuel);
        ids.map(|id| String::from_utf8(run.bytes_of(id).unwrap()).unwrap())
    };
    let before = Request::get("h", "/?a=1").header("cookie", "a=x");
    assert_eq!(shown(&before, &mut scratch), ["1", "x", "https://h/?a=1"]);
    let after = Request::get("h", "/?a=22").header("cookie", "a=yy");
    scratch.uri_changed();
    scratch.headers_changed(Side::Request);
    assert_eq!(shown(&after, &mut scratch), ["22", "yy", "https://h/?a=22"]);
    // Used with another request and never told: wrong perhaps, but no fault.
    shown(&Request::default(), &mut scratch);
    scratch.begin();
    assert_eq!(shown(&before, &mut scratch), ["1", "x", "https://h/?a=1"]);
}

//! Routes: which one a request takes, and what is done with it.

use zone::{Action, Zone, stripped};

use crate::{one, problems_of};

const POOLS: &str = "name = \"z\"\nhostnames = [\"a.example\"]\n\
    [[pool]]\nname = \"app\"\norigins = [{ url = \"http://h:1\" }]\n\
    [[pool]]\nname = \"api\"\norigins = [{ url = \"http://h:2\" }]\n";

fn taken(zone: &Zone, method: &str, path: &str, fields: &[(&str, &str)]) -> String {
    let fields: Vec<(Vec<u8>, Vec<u8>)> =
        fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect();
    let header =
        |name: &[u8]| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_slice());
    let destination = zone.route(method.as_bytes(), path.as_bytes(), &header);
    match destination.route {
        Some(route) => route.name.clone(),
        None => format!("{:?}", destination.action),
    }
}

#[test]
fn takes_the_first_route_whose_conditions_all_hold() {
    let snapshot = one(&format!(
        "{POOLS}\
         [[route]]\nname = \"exact\"\npath = \"/api/status\"\npool = \"app\"\n\
         [[route]]\nname = \"beta\"\npath_prefix = \"/api\"\n\
         header = {{ name = \"X-Beta\", equals = \"1\" }}\npool = \"app\"\n\
         [[route]]\nname = \"write\"\npath_prefix = \"/api\"\nmethod = [\"POST\", \"PUT\"]\npool = \"api\"\n\
         [[route]]\nname = \"upgrade\"\nheader = [{{ name = \"upgrade\" }}]\npool = \"api\"\n\
         [[route]]\nname = \"api\"\npath_prefix = \"/api/\"\nstrip_prefix = true\npool = \"api\"\n"
    ));
    let zone = &snapshot.zones()[0];
    assert_eq!(taken(zone, "GET", "/api/status", &[]), "exact");
    assert_eq!(taken(zone, "GET", "/api/status/", &[]), "api");
    assert_eq!(taken(zone, "GET", "/api/x", &[("x-beta", "1")]), "beta");
    assert_eq!(taken(zone, "GET", "/api/x", &[("x-beta", "2")]), "api");
    assert_eq!(taken(zone, "POST", "/api", &[]), "write");
    assert_eq!(taken(zone, "post", "/api/x", &[]), "api");
    assert_eq!(taken(zone, "GET", "/x", &[("upgrade", "websocket")]), "upgrade");
    let first_pool = "Pool { pool: 0, strip_prefix: None }";
    for path in ["/", "/apix", "/api", "/API/x", "/x/api/y", "*", ""] {
        assert_eq!(taken(zone, "GET", path, &[]), first_pool, "{path}");
    }
}

#[test]
fn strips_a_prefix_down_to_a_slash() {
    for prefix in ["/api", "/api/"] {
        let snapshot = one(&format!(
            "{POOLS}[[route]]\npath_prefix = \"{prefix}\"\nstrip_prefix = true\npool = \"api\"\n"
        ));
        let Action::Pool { pool: 1, strip_prefix: Some(length) } = snapshot.zones()[0].routes[0].action
        else {
            panic!("{:?}", snapshot.zones()[0].routes);
        };
        assert_eq!(stripped(b"/api/x/y", length), b"/x/y");
        assert_eq!(stripped(b"/api/", length), b"/");
        assert_eq!(stripped(b"/api", length), b"/");
    }
    assert_eq!(stripped(b"/", 900), b"/");
}

#[test]
fn answers_nothing_where_a_zone_without_pools_has_no_route() {
    let snapshot = one("name = \"z\"\nhostnames = [\"a.example\"]\n[[route]]\npath = \"/\"\n\
         answer = { status = 404, content_type = \"text/html\", body = \"<p>\\n\" }\n");
    let zone = &snapshot.zones()[0];
    assert_eq!(taken(zone, "GET", "/", &[]), "#1");
    assert_eq!(taken(zone, "GET", "/x", &[]), "Nothing");
    let Action::Answer { status: 404, ref content_type, ref body } = zone.routes[0].action else { panic!() };
    assert_eq!((content_type.as_str(), body.as_ref()), ("text/html", b"<p>\n".as_slice()));
}

#[test]
fn fills_a_redirect_without_letting_the_visitor_write_the_head() {
    let redirect = |location: &str| {
        let snapshot =
            one(&format!("{POOLS}[[route]]\nredirect = {{ status = 301, location = \"{location}\" }}\n"));
        let Action::Redirect { status: 301, ref location } = snapshot.zones()[0].routes[0].action else {
            panic!()
        };
        location.clone()
    };
    let filled = |location: &str, path: &str, query: Option<&str>| {
        let filled =
            redirect(location).filled("https", b"a.example", path.as_bytes(), query.map(str::as_bytes));
        String::from_utf8(filled).expect("a location is text")
    };
    assert_eq!(filled("https://b.example$path$query", "/x", Some("q=1")), "https://b.example/x?q=1");
    assert_eq!(filled("$scheme://www.$host$path$query", "/x", None), "https://www.a.example/x");
    assert_eq!(filled("/cost$$5", "/", None), "/cost$5");
    assert_eq!(filled("$path", "//evil.example/x", None), "/evil.example/x");
    assert_eq!(filled("/n$path", "/a\r\nSet-Cookie: x\u{e9}", None), "/n/a%0D%0ASet-Cookie:%20x%C3%A9");
}

#[test]
fn tells_what_is_wrong_with_a_route() {
    for (route, wanted) in [
        ("path = \"/\"", "the route says nothing to do (write pool, redirect or answer)"),
        ("pool = \"app\"\nanswer = {}", "only one of pool, redirect and answer"),
        ("path = \"/\"\npath_prefix = \"/\"\npool = \"app\"", "either path or path_prefix"),
        ("strip_prefix = true\npool = \"app\"", "strip_prefix needs a path_prefix"),
        ("path = \"/x?y\"\npool = \"app\"", "a path has no query"),
        ("path = \"/ü\"\npool = \"app\"", "paths are compared as sent"),
        ("method = \"get\"\npool = \"app\"", "did you mean \"GET\"?"),
        ("method = \"G T\"\npool = \"app\"", "`G T` is no method"),
        ("method = []\npool = \"app\"", "this must not be empty"),
        ("header = { name = \"a b\" }\npool = \"app\"", "is no header name"),
        ("header = { nam = \"a\" }\npool = \"app\"", "did you mean `name`?"),
        ("redirect = { location = \"/$paht\" }", "did you mean $path?"),
        ("redirect = { location = \"/$\" }", "$$ is a dollar"),
        ("redirect = { location = \"example.org\" }", "is no place to redirect to"),
        ("redirect = { location = \"/\", status = 304 }", "this must be 301, 302, 303, 307 or 308"),
        ("redirect = { status = 302 }", "redirect needs `location`"),
        ("answer = { status = 204, body = \"x\" }", "an answer with status 204 has no body"),
        ("pool = \"db\"", "there is no pool `db` in this zone"),
        (
            "name = \"a\"\npool = \"app\"\n[[route]]\nname = \"a\"\npool = \"app\"",
            "another route is named `a`",
        ),
    ] {
        let told = problems_of(&format!("{POOLS}[[route]]\n{route}\n"));
        assert!(told.contains(wanted), "{route}: {told}");
        assert!(told.lines().count() <= 2, "{told}");
    }
}

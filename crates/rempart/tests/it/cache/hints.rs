//! Early hints (103): told while the origin is asked, learned from what is stored and from what is not.

use super::*;

#[test]
fn links_of_a_stored_page_are_told_early_while_the_origin_thinks() -> Result<()> {
    let origin = counting(|_, answer| {
        let answer = answer.field("Cache-Control", "max-age=1").field("Age", "9").field("ETag", "\"a\"");
        answer.field("Link", "</a.css>; rel=preload; as=style, </b>; rel=next")
    })?;
    let node = before(&origin, "early_hints = true\nstale_if_error_s = 0")?;
    assert_eq!(get(&node, "/")?.informational.len(), 0);
    let again = get(&node, "/")?;
    let hints: Vec<_> = again.informational.iter().map(|it| (it.status, it.fields.all("link"))).collect();
    assert_eq!(hints, [(103, vec!["</a.css>; rel=preload; as=style"])]);
    node.finish_healthy()?;
    // A rule has them for some requests, or not.
    let rule = |id: &str, path: &str, is_on: bool| {
        format!(
            "\n[[rule]]\nid = \"{}\"\nphase = \"http_config_settings\"\n\
             expression = 'http.request.uri.path eq \
             \"{path}\"'\naction = \"set_config\"\nconfig = {{ early_hints = {is_on} }}\n",
            id.repeat(32)
        )
    };
    for (zones, path, is_on) in [("true", "/off", false), ("false", "/on", true)] {
        let lines = format!("early_hints = {zones}\nstale_if_error_s = 0\n{}", rule("a", path, is_on));
        let node = before(&origin, &lines)?;
        for (path, is_told) in [(path, is_on), ("/", !is_on)] {
            get(&node, path)?;
            assert_eq!(get(&node, path)?.informational.len(), usize::from(is_told), "{path}");
        }
        node.finish_healthy()?;
    }
    Ok(())
}

#[test]
fn hints_of_the_origin_reach_the_visitor_whose_request_is_fetched_for_the_store() -> Result<()> {
    let origin = OriginSpec::new().answering(|_| {
        Answer::ok("a")
            .informational(103, &[("Link", "</a>; rel=preload")])
            .field("Cache-Control", "max-age=60")
    })?;
    let node = before(&origin, "")?;
    let first = get(&node, "/")?;
    assert_eq!((first.informational.len(), first.status), (1, 200));
    assert_eq!(get(&node, "/")?.informational.len(), 0, "they were of one fetch");
    node.finish_healthy()
}

/// The links that a visitor behind the trusted proxy is told early, and what it says of itself.
fn told(node: &Node, target: &str, (address, user): (&str, &str)) -> Result<Vec<String>> {
    let answer = with(node, target, &[("X-Forwarded-For", address), ("X-User", user)])?;
    assert_eq!(answer.status, 200);
    let links = answer.informational.iter().flat_map(|it| it.fields.all("link"));
    Ok(links.map(str::to_owned).collect())
}

#[test]
fn links_of_a_page_that_is_never_stored_are_told_once_two_visitors_were_given_the_same() -> Result<()> {
    let origin = counting(|request, answer| {
        let user = request.fields.first("x-user").unwrap_or_default();
        let link = match request.path() {
            "/own" => format!("</{user}.css>; rel=preload"),
            _ => "</a.css>; rel=preload, <https://b.example>; rel=preconnect".to_owned(),
        };
        answer.field("Cache-Control", "private, no-store").field("Link", &link)
    })?;
    let node = start(
        &cleartext()
            .node_section("threads = 2\ntrusted_proxies = [\"127.0.0.0/8\"]")
            .more("[cache]\ndisk_bytes = 0")
            .zone(
                "a",
                zone(&origin, "early_hints = true")
                    + "[[route]]\npath_prefix = \"/app/\"\nstrip_prefix = true\npool = \"app\"\n",
            ),
    )?;
    let (ann, bob, eve) = (("192.0.2.1", "ann"), ("192.0.2.2", "bob"), ("198.51.100.3", "eve"));
    let none: [&str; 0] = [];
    for target in ["/app/all", "/own"] {
        assert_eq!(told(&node, target, ann)?, none, "nothing is known of it");
        assert_eq!(told(&node, target, bob)?, none, "it may be Ann's");
    }
    assert_eq!(told(&node, "/app/all", eve)?, ["</a.css>; rel=preload"]);
    assert_eq!(told(&node, "/own", ann)?, none, "it was Bob's");
    assert_eq!(told(&node, "/own", ann)?, ["</ann.css>; rel=preload"], "it was Ann's own");
    assert_eq!(told(&node, "/own", eve)?, none);
    // What was learned goes with what is stored.
    let told_to = told(&node, "/app/all", ann)?;
    assert_eq!(told_to.len(), 1);
    let purged = node.command(&["purge", "--zone", "a"])?;
    assert!(purged.status.success(), "{purged:?}");
    assert_eq!(told(&node, "/app/all", ann)?, none);
    node.finish_healthy()
}

#[test]
fn without_the_setting_nothing_is_told() -> Result<()> {
    let origin = counting(|_, answer| {
        answer.field("Cache-Control", "no-store").field("Link", "</a.css>; rel=preload")
    })?;
    let node = before(&origin, "")?;
    for _ in 0..3 {
        assert_eq!(get(&node, "/")?.informational.len(), 0);
    }
    node.finish_healthy()
}

//! Rulesets of a phase: order, effects, skips, execution of others, problems.

use fuel::Fuel;
use rules::{
    Action, ActionKind, BlockSpec, CompressSpec, Compression, ConfigSpec, Effect, Field, HeaderChange,
    HeaderSpec, Limits, LogSpec, Outcome, PageSpec, Phase, Product, RedirectSpec, RewriteSpec, RouteSpec,
    RuleProblem, RuleSpec, RulesetSpec, Rulesets, Scratch, Setting, SkipSpec, Skipped, Value, ValueSpec,
    Verdict,
};

use crate::request::Request;
use crate::{PLENTY, lists};

pub(crate) fn rule(id: &str, expression: &str, action: Action) -> RuleSpec {
    RuleSpec {
        id: id.to_owned(),
        description: String::new(),
        enabled: true,
        expression: expression.to_owned(),
        action,
    }
}

pub(crate) fn ruleset(id: &str, rules: Vec<RuleSpec>) -> RulesetSpec {
    RulesetSpec { id: id.to_owned(), enabled: true, rules }
}

fn compile(phase: Phase, rules: Vec<RuleSpec>, others: &[RulesetSpec]) -> (Rulesets, Vec<RuleProblem>) {
    Rulesets::compile(phase, &ruleset("entry", rules), others, &lists(), &Limits::default())
}

#[track_caller]
fn evaluate_with(rulesets: &Rulesets, request: &Request, skipped: &mut Skipped) -> Outcome {
    let mut fuel = Fuel::new(PLENTY);
    rulesets.evaluate(request, &mut Scratch::new(), &mut fuel, skipped).expect("fuel enough")
}

#[track_caller]
fn evaluate(phase: Phase, rules: Vec<RuleSpec>, others: &[RulesetSpec]) -> Outcome {
    let (rulesets, problems) = compile(phase, rules, others);
    assert_eq!(problems, []);
    evaluate_with(&rulesets, &request(), &mut Skipped::default())
}

fn request() -> Request {
    Request::get("example.org", "/shop/item?a=1&b=2").header("X-One", "one").header("Cookie", "c=1")
}

fn matched(outcome: &Outcome) -> Vec<&str> {
    outcome.matched.iter().map(|matched| &*matched.rule).collect()
}

fn expression(text: &str) -> ValueSpec {
    ValueSpec::Expression(text.to_owned())
}

fn fixed(text: &str) -> ValueSpec {
    ValueSpec::Static(text.to_owned())
}

#[test]
fn rules_run_in_order_until_one_terminates() {
    let outcome = evaluate(
        Phase::FirewallCustom,
        vec![
            rule("log", "true", Action::Log),
            rule("no", "not ssl", Action::Block(None)),
            rule("yes", r#"starts_with(http.request.uri.path, "/shop")"#, Action::Block(None)),
            rule("never", "true", Action::Log),
        ],
        &[],
    );
    assert_eq!(matched(&outcome), ["log", "yes"]);
    assert_eq!(outcome.verdict, Verdict::Block(None));
    assert!(outcome.effects.is_empty());
    assert_eq!(&*outcome.matched[0].ruleset, "entry");
}

#[test]
fn every_terminating_action_terminates() {
    let page = PageSpec { status: Some(503), content_type: "text/html".into(), content: "<p>Soon.".into() };
    let block = BlockSpec { status: 429, content_type: "text/plain".into(), content: "No.".into() };
    for (phase, action) in [
        (Phase::FirewallCustom, Action::Block(Some(block))),
        (Phase::FirewallCustom, Action::Challenge),
        (Phase::FirewallCustom, Action::JsChallenge),
        (Phase::FirewallCustom, Action::ManagedChallenge),
        (
            Phase::DynamicRedirect,
            Action::Redirect(Some(RedirectSpec { target: fixed("/x"), status: 302, preserve_query: false })),
        ),
        (Phase::CustomErrors, Action::ServeError(Some(page))),
    ] {
        let kind = action.kind();
        let outcome = evaluate(phase, vec![rule("a", "true", action), rule("b", "true", Action::Log)], &[]);
        assert_eq!(matched(&outcome), ["a"], "{kind:?}");
        assert_ne!(outcome.verdict, Verdict::Continue, "{kind:?}");
        assert!(kind.row().is_terminating);
    }
}

#[test]
fn rewrites_are_made_safe() {
    let rewrite = RewriteSpec {
        path: Some(expression(r#"concat("new", http.request.uri.path, "?x")"#)),
        query: Some(expression(r#"remove_query_args(http.request.uri.query, "a")"#)),
        headers: vec![],
    };
    let outcome =
        evaluate(Phase::RequestTransform, vec![rule("r", "true", Action::Rewrite(Some(rewrite)))], &[]);
    assert_eq!(
        outcome.effects,
        [Effect::Path(b"/new/shop/item%3Fx".to_vec()), Effect::Query(b"b=2".to_vec())]
    );
    assert_eq!(outcome.verdict, Verdict::Continue);
}

#[test]
fn headers_are_set_added_and_removed() {
    let header = |name: &str, change| HeaderSpec { name: name.to_owned(), change };
    let headers = vec![
        header(
            "X-Set",
            HeaderChange::Set(expression(r#"concat(http.host, url_decode("%0d%0aSet-Cookie: x"))"#)),
        ),
        header("X-Add", HeaderChange::Add(fixed("two"))),
        header("X-Gone", HeaderChange::Remove),
        header("X-Empty", HeaderChange::Set(expression(r#"http.request.headers["x-none"][0]"#))),
        header("X-Not", HeaderChange::Add(expression(r#"http.request.headers["x-none"][0]"#))),
    ];
    let rewrite = Action::Rewrite(Some(RewriteSpec { headers, ..RewriteSpec::default() }));
    for phase in [Phase::LateTransform, Phase::ResponseHeadersTransform] {
        let outcome = evaluate(phase, vec![rule("r", "true", rewrite.clone())], &[]);
        assert_eq!(
            outcome.effects,
            [
                Effect::SetHeader("x-set".into(), b"example.orgSet-Cookie: x".to_vec()),
                Effect::AddHeader("x-add".into(), b"two".to_vec()),
                Effect::RemoveHeader("x-gone".into()),
                Effect::RemoveHeader("x-empty".into()),
            ]
        );
    }
}

#[test]
fn redirects_may_keep_the_query() {
    let target = expression(
        r#"wildcard_replace(http.request.full_uri, "https://*/shop/*", "https://shop.${1}/${2}")"#,
    );
    for (preserve_query, expected) in [
        (true, "https://shop.example.org/item?a=1&b=2&a=1&b=2"),
        (false, "https://shop.example.org/item?a=1&b=2"),
    ] {
        let redirect = RedirectSpec { target: target.clone(), status: 308, preserve_query };
        let outcome =
            evaluate(Phase::DynamicRedirect, vec![rule("r", "true", Action::Redirect(Some(redirect)))], &[]);
        assert_eq!(
            outcome.verdict,
            Verdict::Redirect { status: 308, location: expected.as_bytes().to_vec() }
        );
    }
    // A target that is missing for this request leads nowhere.
    let nowhere = RedirectSpec {
        target: expression(r#"http.request.headers["x-none"][0]"#),
        status: 301,
        preserve_query: false,
    };
    let outcome = evaluate(
        Phase::DynamicRedirect,
        vec![rule("r", "true", Action::Redirect(Some(nowhere))), rule("s", "true", Action::Log)],
        &[],
    );
    assert_eq!(matched(&outcome), ["r", "s"]);
    assert_eq!(outcome.verdict, Verdict::Continue);
}

#[test]
fn routes_settings_compression_and_logs_are_effects() {
    let route = RouteSpec {
        pool: Some("blue".into()),
        host_header: Some(expression(r#"concat("inner.", http.host)"#)),
        port: Some(8080),
        ..RouteSpec::default()
    };
    let outcome = evaluate(Phase::RequestOrigin, vec![rule("r", "true", Action::Route(Some(route)))], &[]);
    let [Effect::Route(to)] = outcome.effects.as_slice() else { panic!("{outcome:?}") };
    assert_eq!(to.pool.as_deref(), Some("blue"));
    assert_eq!(to.host_header.as_deref(), Some(&b"inner.example.org"[..]));
    assert_eq!(to.port, Some(8080));

    let config = ConfigSpec { settings: vec![("email_obfuscation".into(), Setting::Bool(false))] };
    let outcome = evaluate(
        Phase::ConfigSettings,
        vec![rule("r", "true", Action::SetConfig(Some(config.clone())))],
        &[],
    );
    assert_eq!(outcome.effects, [Effect::Config(config.into())]);

    let compress = CompressSpec { algorithms: vec![Compression::Zstd, Compression::Auto] };
    let outcome = evaluate(
        Phase::ResponseCompression,
        vec![rule("r", "true", Action::CompressResponse(Some(compress)))],
        &[],
    );
    assert_eq!(outcome.effects, [Effect::Compress([Compression::Zstd, Compression::Auto].into())]);

    let log = LogSpec {
        request_headers: vec!["X-One".into()],
        expressions: vec![
            ("path_length".into(), "len(http.request.uri.path)".into()),
            ("none".into(), r#"http.request.headers["x-none"][0]"#.into()),
        ],
        ..LogSpec::default()
    };
    let outcome =
        evaluate(Phase::LogCustomFields, vec![rule("r", "true", Action::LogCustomField(Some(log)))], &[]);
    let [Effect::LogNames(names), length, none] = outcome.effects.as_slice() else { panic!("{outcome:?}") };
    assert_eq!(names.request_headers, ["x-one"]);
    assert_eq!(*length, Effect::LogValue("path_length".into(), Some(Value::Int(10))));
    assert_eq!(*none, Effect::LogValue("none".into(), None));

    let outcome = evaluate(Phase::Ddos, vec![rule("r", "true", Action::ForceConnectionClose)], &[]);
    assert_eq!((outcome.effects, outcome.verdict), (vec![Effect::CloseConnection], Verdict::Continue));
}

fn skip(skip: SkipSpec) -> Action {
    Action::Skip(Some(skip))
}

#[test]
fn skip_leaves_out_the_rest_of_its_ruleset_only() {
    let inner = ruleset(
        "inner",
        vec![
            rule("skip", "true", skip(SkipSpec { current_ruleset: true, ..SkipSpec::default() })),
            rule("left_out", "true", Action::Block(None)),
        ],
    );
    let outcome = evaluate(
        Phase::FirewallCustom,
        vec![rule("run", "true", Action::Execute(Some("inner".into()))), rule("after", "true", Action::Log)],
        &[inner],
    );
    assert_eq!(matched(&outcome), ["run", "skip", "after"]);
}

#[test]
fn skip_leaves_out_phases_products_and_rulesets() {
    let spec = SkipSpec {
        phases: vec![Phase::RateLimit, Phase::FirewallManaged],
        products: vec![Product::Waf],
        rulesets: vec!["inner".into()],
        ..SkipSpec::default()
    };
    let (rulesets, problems) = compile(
        Phase::FirewallCustom,
        vec![
            rule("skip", "true", skip(spec)),
            rule("run", "true", Action::Execute(Some("inner".into()))),
            rule("after", "true", Action::Log),
        ],
        &[ruleset("inner", vec![rule("block", "true", Action::Block(None))])],
    );
    assert_eq!(problems, []);
    let mut skipped = Skipped::default();
    let outcome = evaluate_with(&rulesets, &request(), &mut skipped);
    assert_eq!(matched(&outcome), ["skip", "after"]);
    assert!(skipped.has_phase(Phase::RateLimit) && skipped.has_phase(Phase::FirewallManaged));
    assert!(!skipped.has_phase(Phase::FirewallCustom) && skipped.has_product(Product::Waf));
    // The phase that is named does not run, and the one that names itself ends.
    let (limits, _) = compile(Phase::RateLimit, vec![rule("block", "true", Action::Block(None))], &[]);
    assert_eq!(evaluate_with(&limits, &request(), &mut skipped), Outcome::default());
    let own = SkipSpec { phases: vec![Phase::FirewallCustom], ..SkipSpec::default() };
    let outcome = evaluate(
        Phase::FirewallCustom,
        vec![rule("skip", "true", skip(own)), rule("never", "true", Action::Block(None))],
        &[],
    );
    assert_eq!(matched(&outcome), ["skip"]);
}

#[test]
fn executed_rulesets_run_in_place_and_may_end_the_phase() {
    let inner = ruleset(
        "inner",
        vec![
            rule("a", r#"http.host == "example.org""#, Action::Log),
            rule("b", r#"any(http.request.headers["x-one"][*] == "one")"#, Action::Challenge),
        ],
    );
    let outcome = evaluate(
        Phase::FirewallManaged,
        vec![
            rule("first", "true", Action::Log),
            rule("run", "ssl", Action::Execute(Some("inner".into()))),
            rule("last", "true", Action::Log),
        ],
        &[inner],
    );
    assert_eq!(matched(&outcome), ["first", "run", "a", "b"]);
    assert_eq!(outcome.verdict, Verdict::Challenge(ActionKind::Challenge));
}

#[test]
fn a_ruleset_that_executes_itself_is_a_problem_and_ends() {
    let (rulesets, problems) = compile(
        Phase::FirewallCustom,
        vec![rule("run", "true", Action::Execute(Some("entry".into()))), rule("log", "true", Action::Log)],
        &[],
    );
    assert_eq!(problems.len(), 1);
    assert!(problems[0].to_string().contains("executes itself"), "{}", problems[0]);
    let outcome = evaluate_with(&rulesets, &request(), &mut Skipped::default());
    assert_eq!(outcome.matched.iter().filter(|matched| &*matched.rule == "log").count(), 8);
}

#[test]
fn rules_and_rulesets_are_switched_without_compiling() {
    let inner = ruleset("inner", vec![rule("a", "true", Action::Log)]);
    let (mut rulesets, _) = compile(
        Phase::FirewallCustom,
        vec![
            rule("run", "true", Action::Execute(Some("inner".into()))),
            rule("block", "true", Action::Block(None)),
        ],
        &[inner],
    );
    let run = |rulesets: &Rulesets| {
        let outcome = evaluate_with(rulesets, &request(), &mut Skipped::default());
        matched(&outcome).join(" ")
    };
    assert_eq!(run(&rulesets), "run a block");
    assert!(rulesets.switch_rule("entry", "block", false));
    assert_eq!(run(&rulesets), "run a");
    assert!(rulesets.switch_ruleset("inner", false));
    assert_eq!(run(&rulesets), "run");
    assert!(rulesets.switch_ruleset("entry", false));
    assert_eq!(run(&rulesets), "");
    assert!(rulesets.switch_ruleset("entry", true) && rulesets.switch_rule("entry", "block", true));
    assert_eq!(run(&rulesets), "run block");
    assert!(!rulesets.switch_rule("inner", "block", false) && !rulesets.switch_ruleset("none", true));
}

#[test]
fn fields_keep_their_values_within_a_phase() {
    let rewrite = RewriteSpec { path: Some(fixed("/new")), ..RewriteSpec::default() };
    let outcome = evaluate(
        Phase::RequestTransform,
        vec![
            rule("rewrite", "true", Action::Rewrite(Some(rewrite))),
            rule("old", r#"http.request.uri.path == "/shop/item""#, Action::Log),
            rule("new", r#"http.request.uri.path == "/new""#, Action::Log),
        ],
        &[],
    );
    assert_eq!(matched(&outcome), ["rewrite", "old"]);
}

#[test]
fn a_spent_tank_names_the_rule() {
    let (rulesets, _) = compile(
        Phase::FirewallCustom,
        vec![
            rule("cheap", "true", Action::Log),
            rule(
                "dear",
                r#"any(http.request.uri.args.values[*] matches "(?i)[a-z]+x[0-9]{3}")"#,
                Action::Block(None),
            ),
        ],
        &[],
    );
    let request = Request::get("h", &format!("/?{}", "a=bbbbbbbbbb&".repeat(1000)));
    let mut fuel = Fuel::new(20_000);
    let spent =
        rulesets.evaluate(&request, &mut Scratch::new(), &mut fuel, &mut Skipped::default()).unwrap_err();
    assert_eq!((&*spent.ruleset, &*spent.rule), ("entry", "dear"));
    assert_eq!(fuel.left(), 0);
}

#[test]
fn every_problem_of_a_phase_is_told_with_its_rule() {
    let header = HeaderSpec { name: "Content-Length".into(), change: HeaderChange::Remove };
    let bad_rewrite = RewriteSpec { headers: vec![header], ..RewriteSpec::default() };
    let (rulesets, problems) = compile(
        Phase::LateTransform,
        vec![
            rule("a", "http.hots == \"x\" or lwer(http.host) == \"y\"", Action::Log),
            rule("b", "true", Action::Block(None)),
            rule("c", "true", Action::Rewrite(None)),
            rule("d", "true", Action::Rewrite(Some(bad_rewrite))),
            rule("e", "true", Action::Execute(Some("none".into()))),
            rule("e", "true", Action::Log),
            rule("f", "http.response.code == 200", Action::Log),
        ],
        &[],
    );
    let told: Vec<String> = problems.iter().map(RuleProblem::to_string).collect();
    for part in [
        "ruleset `entry`, rule `a`, expression: 1:1: there is no field `http.hots`; did you mean",
        "ruleset `entry`, rule `a`, expression: 1:21: there is no function `lwer`; did you mean `lower`?",
        "rule `b`, action: `block` may not stand in `http_request_late_transform`",
        "rule `c`, action: `rewrite` has no parameters",
        "rule `d`, headers: `content-length` belongs to the connection",
        "rule `e`, ruleset: there is no ruleset `none`",
        "rule `e`, id: two rules of the ruleset have this id",
        "rule `f`, expression: 1:1: `http.response.code` is a field of the response",
    ] {
        assert!(told.iter().any(|problem| problem.contains(part)), "{part}: {told:#?}");
    }
    assert_eq!((told.len(), rulesets.rules()), (8, 1));
}

#[test]
fn parameters_are_checked() {
    let redirect = |target: ValueSpec, status| {
        Action::Redirect(Some(RedirectSpec { target, status, preserve_query: true }))
    };
    let block = |status, content_type: &str, content: String| {
        Action::Block(Some(BlockSpec { status, content_type: content_type.into(), content }))
    };
    let path = |phase_path: &str| {
        Action::Rewrite(Some(RewriteSpec { path: Some(fixed(phase_path)), ..RewriteSpec::default() }))
    };
    for (phase, action, part) in [
        (Phase::DynamicRedirect, redirect(fixed("ftp://x"), 301), "neither a path nor"),
        (Phase::DynamicRedirect, redirect(fixed("/x"), 200), "is not 301"),
        (Phase::DynamicRedirect, redirect(expression("ssl"), 301), "the value must be Bytes"),
        (Phase::FirewallCustom, block(200, "text/plain", String::new()), "between 400 and 499"),
        (Phase::FirewallCustom, block(403, "html", String::new()), "not a media type"),
        (Phase::FirewallCustom, block(403, "text/plain", "x".repeat(65_537)), "longer than 65536"),
        (Phase::FirewallCustom, skip(SkipSpec::default()), "names nothing"),
        (Phase::LateTransform, path("/x"), "rewritten in `http_request_transform`"),
        (Phase::RequestTransform, Action::Rewrite(Some(RewriteSpec::default())), "changes nothing"),
        (Phase::RequestOrigin, Action::Route(Some(RouteSpec::default())), "changes nothing"),
    ] {
        let (rulesets, problems) = compile(phase, vec![rule("r", "true", action)], &[]);
        assert!(problems.len() == 1 && problems[0].to_string().contains(part), "{part}: {problems:?}");
        assert_eq!(rulesets.rules(), 0);
    }
}

#[test]
fn values_that_nobody_sent_still_redirect_nobody_into_a_fault() {
    let outcome = evaluate_with(
        &compile(Phase::FirewallCustom, vec![rule("a", "ip.src in $office", Action::Block(None))], &[]).0,
        &Request::default().int(Field::Asnum, 1),
        &mut Skipped::default(),
    );
    assert_eq!(outcome, Outcome::default());
}

/// Forty rules that execute one ruleset.
fn forty_times(id: &str) -> Vec<RuleSpec> {
    (0..40).map(|number| rule(&format!("r{number}"), "true", Action::Execute(Some(id.to_owned())))).collect()
}

#[test]
fn rulesets_that_multiply_are_charged_for_what_they_find() {
    let header = |number: usize| HeaderSpec {
        name: format!("x-{number}"),
        change: HeaderChange::Set(fixed(&"v".repeat(100))),
    };
    let headers: Vec<HeaderSpec> = (0..8).map(header).collect();
    let leaf = Action::Rewrite(Some(RewriteSpec { headers, ..RewriteSpec::default() }));
    let others = [
        ruleset("b", forty_times("c")),
        ruleset("c", forty_times("d")),
        ruleset("d", vec![rule("leaf", "true", leaf)]),
    ];
    let (rulesets, problems) = compile(Phase::LateTransform, forty_times("b"), &others);
    assert_eq!(problems, []);
    // 40 times 40 times 40 times eight headers: what one request may cost ends it long before.
    let mut fuel = Fuel::new(2_000_000);
    let ended = rulesets
        .evaluate(&request(), &mut Scratch::new(), &mut fuel, &mut Skipped::default())
        .map(|outcome| outcome.effects.len());
    let spent = ended.expect_err("the tank is empty");
    assert_eq!(fuel.left(), 0);
    assert!(["entry", "b", "c", "d"].contains(&&*spent.ruleset));
    // With all the fuel there is, every match, effect and byte of a value has cost its step at least.
    let mut fuel = Fuel::new(u64::MAX);
    let outcome = rulesets
        .evaluate(&request(), &mut Scratch::new(), &mut fuel, &mut Skipped::default())
        .expect("fuel enough");
    let (matches, effects) = (outcome.matched.len() as u64, outcome.effects.len() as u64);
    assert_eq!((matches, effects), (40 + 1_600 + 64_000 + 64_000, 512_000));
    assert!(fuel.used() >= 40 * (matches + effects) + 100 * effects, "{}", fuel.used());
}

#[test]
fn every_kind_of_effect_has_its_price() {
    let log = LogSpec { expressions: vec![("host".into(), "http.host".into())], ..LogSpec::default() };
    let names = LogSpec { cookies: vec!["c".into()], ..LogSpec::default() };
    let config = ConfigSpec { settings: vec![("a".into(), Setting::Bool(true))] };
    let route = RouteSpec { pool: Some("p".into()), ..RouteSpec::default() };
    let removed = HeaderSpec { name: "x".into(), change: HeaderChange::Remove };
    let headers = RewriteSpec { headers: vec![removed], ..RewriteSpec::default() };
    let path = RewriteSpec { path: Some(expression("http.request.uri.path")), ..RewriteSpec::default() };
    let compress = CompressSpec { algorithms: vec![Compression::Gzip] };
    let skipped = SkipSpec { rulesets: vec!["other".into(); 30], ..SkipSpec::default() };
    for (phase, action, effects) in [
        (Phase::LateTransform, Action::Log, 0),
        (Phase::FirewallCustom, skip(skipped), 0),
        (Phase::LateTransform, Action::Rewrite(Some(headers)), 1),
        (Phase::RequestTransform, Action::Rewrite(Some(path)), 1),
        (Phase::RequestOrigin, Action::Route(Some(route)), 1),
        (Phase::ConfigSettings, Action::SetConfig(Some(config)), 1),
        (Phase::ResponseCompression, Action::CompressResponse(Some(compress)), 1),
        (Phase::LogCustomFields, Action::LogCustomField(Some(log)), 1),
        (Phase::LogCustomFields, Action::LogCustomField(Some(names)), 1),
        (Phase::Ddos, Action::ForceConnectionClose, 1),
    ] {
        let kind = action.kind();
        let used = |rules: Vec<RuleSpec>| {
            let (rulesets, problems) = compile(phase, rules, &[ruleset("other", Vec::new())]);
            assert_eq!(problems, [], "{kind:?}");
            let mut fuel = Fuel::new(PLENTY);
            let outcome =
                rulesets.evaluate(&request(), &mut Scratch::new(), &mut fuel, &mut Skipped::default());
            (outcome.expect("fuel enough").effects.len() as u64, fuel.used())
        };
        let (none, asked) = used(vec![rule("a", "not true", action.clone())]);
        let (found, matched) = used(vec![rule("a", "true", action)]);
        assert_eq!((none, found), (0, effects), "{kind:?}");
        assert!(matched >= asked + 40 * (1 + effects) - 4, "{kind:?}: {asked}, then {matched}");
    }
}

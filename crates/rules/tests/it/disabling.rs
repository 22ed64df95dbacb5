//! Drill D4: every action, every way of disabling it, every phase: no fault, and nothing done.
//!
//! The outage behind it (December 2025) was a switch that met one action for the first time.

use fuel::Fuel;
use rules::{
    Action, ActionKind, BlockSpec, CacheSpec, CompressSpec, Compression, ConfigSpec, HeaderChange,
    HeaderSpec, Limits, LogSpec, Outcome, PageSpec, Phase, RedirectSpec, RewriteSpec, RouteSpec, RulesetSpec,
    Rulesets, Scratch, Setting, SkipSpec, Skipped, ValueSpec,
};

use crate::request::Request;
use crate::rulesets::{rule, ruleset};
use crate::{PLENTY, lists};

/// An action with parameters that suit a phase.
fn action(kind: ActionKind, phase: Phase) -> Action {
    let value = ValueSpec::Expression(r#"concat("/x", http.request.uri.path)"#.into());
    match kind {
        ActionKind::Block => Action::Block(Some(BlockSpec {
            status: 403,
            content_type: "text/plain".into(),
            content: "no".into(),
        })),
        ActionKind::Challenge => Action::Challenge,
        ActionKind::JsChallenge => Action::JsChallenge,
        ActionKind::ManagedChallenge => Action::ManagedChallenge,
        ActionKind::Log => Action::Log,
        ActionKind::Skip => Action::Skip(Some(SkipSpec { current_ruleset: true, ..SkipSpec::default() })),
        ActionKind::Execute => Action::Execute(Some("other".into())),
        ActionKind::Rewrite => Action::Rewrite(Some(
            if matches!(phase, Phase::LateTransform | Phase::ResponseHeadersTransform) {
                let header = HeaderSpec { name: "x-a".into(), change: HeaderChange::Set(value) };
                RewriteSpec { headers: vec![header], ..RewriteSpec::default() }
            } else {
                RewriteSpec { path: Some(value), ..RewriteSpec::default() }
            },
        )),
        ActionKind::Redirect => {
            Action::Redirect(Some(RedirectSpec { target: value, status: 302, preserve_query: true }))
        }
        ActionKind::Route => Action::Route(Some(RouteSpec { port: Some(81), ..RouteSpec::default() })),
        ActionKind::SetConfig => {
            Action::SetConfig(Some(ConfigSpec { settings: vec![("a".into(), Setting::Int(1))] }))
        }
        ActionKind::CompressResponse => {
            Action::CompressResponse(Some(CompressSpec { algorithms: vec![Compression::None] }))
        }
        ActionKind::SetCacheSettings => {
            Action::SetCacheSettings(Some(CacheSpec { cache: Some(false), ..CacheSpec::default() }))
        }
        ActionKind::ServeError => Action::ServeError(Some(PageSpec {
            status: None,
            content_type: "text/plain".into(),
            content: "sorry".into(),
        })),
        ActionKind::LogCustomField => {
            Action::LogCustomField(Some(LogSpec { cookies: vec!["a".into()], ..LogSpec::default() }))
        }
        ActionKind::ForceConnectionClose => Action::ForceConnectionClose,
    }
}

fn without_parameters(kind: ActionKind) -> Action {
    match kind {
        ActionKind::Block => Action::Block(None),
        ActionKind::Skip => Action::Skip(None),
        ActionKind::Execute => Action::Execute(None),
        ActionKind::Rewrite => Action::Rewrite(None),
        ActionKind::Redirect => Action::Redirect(None),
        ActionKind::Route => Action::Route(None),
        ActionKind::SetConfig => Action::SetConfig(None),
        ActionKind::CompressResponse => Action::CompressResponse(None),
        ActionKind::SetCacheSettings => Action::SetCacheSettings(None),
        ActionKind::ServeError => Action::ServeError(None),
        ActionKind::LogCustomField => Action::LogCustomField(None),
        plain => action(plain, Phase::Ddos),
    }
}

/// A way of disabling the rule `it` of the ruleset `entry`, which executes `other` if it executes.
#[derive(Clone, Copy, Debug)]
enum Way {
    RuleOff,
    RulesetOff,
    SwitchedOff,
    RulesetSwitchedOff,
    SkippedBefore,
    PhaseSkipped,
    MissingParameters,
    NeverTrue,
    WrongExpression,
    EmptyRuleset,
    OtherAbsent,
    OtherOff,
    OtherEmpty,
    OtherSwitchedOff,
}

const WAYS: [Way; 14] = [
    Way::RuleOff,
    Way::RulesetOff,
    Way::SwitchedOff,
    Way::RulesetSwitchedOff,
    Way::SkippedBefore,
    Way::PhaseSkipped,
    Way::MissingParameters,
    Way::NeverTrue,
    Way::WrongExpression,
    Way::EmptyRuleset,
    Way::OtherAbsent,
    Way::OtherOff,
    Way::OtherEmpty,
    Way::OtherSwitchedOff,
];

fn compile(way: Way, kind: ActionKind, phase: Phase) -> (Rulesets, Skipped) {
    let mut entry = ruleset("entry", vec![rule("it", "true", action(kind, phase))]);
    let mut others = vec![ruleset("other", vec![rule("inner", "true", Action::Log)])];
    let mut skipped = Skipped::default();
    match way {
        Way::RuleOff => entry.rules[0].enabled = false,
        Way::RulesetOff => entry.enabled = false,
        Way::SkippedBefore => {
            let all = Action::Skip(Some(SkipSpec { current_ruleset: true, ..SkipSpec::default() }));
            entry.rules.insert(0, rule("skip", "true", all));
        }
        Way::PhaseSkipped => skipped.skip_phase(phase),
        Way::MissingParameters => entry.rules[0].action = without_parameters(kind),
        Way::NeverTrue => entry.rules[0].expression = "false".into(),
        Way::WrongExpression => entry.rules[0].expression = "http.hots == \"x\"".into(),
        Way::EmptyRuleset => entry.rules.clear(),
        Way::OtherAbsent => others.clear(),
        Way::OtherOff => others[0].enabled = false,
        Way::OtherEmpty => others[0].rules.clear(),
        Way::SwitchedOff | Way::RulesetSwitchedOff | Way::OtherSwitchedOff => {}
    }
    let (mut rulesets, _) = Rulesets::compile(phase, &entry, &others, &lists(), &Limits::default());
    match way {
        Way::SwitchedOff => drop(rulesets.switch_rule("entry", "it", false)),
        Way::RulesetSwitchedOff => drop(rulesets.switch_ruleset("entry", false)),
        Way::OtherSwitchedOff => drop(rulesets.switch_ruleset("other", false)),
        _ => {}
    }
    (rulesets, skipped)
}

#[test]
fn every_action_disabled_in_every_way_in_every_phase_does_nothing() {
    let request = Request::get("example.org", "/a?b=c").header("X-A", "b");
    let mut scratch = Scratch::new();
    let mut tried = 0;
    for phase in Phase::ALL {
        for kind in ActionKind::ALL {
            for way in WAYS {
                let (rulesets, mut skipped) = compile(way, kind.action, phase.phase);
                scratch.begin();
                let mut fuel = Fuel::new(PLENTY);
                let outcome = rulesets.evaluate(&request, &mut scratch, &mut fuel, &mut skipped).unwrap();
                tried += 1;
                let executes = kind.action == ActionKind::Execute;
                let stays = match way {
                    // These disable what is executed, not the rule itself.
                    Way::OtherAbsent | Way::OtherOff | Way::OtherEmpty | Way::OtherSwitchedOff => !executes,
                    // These work without parameters.
                    Way::MissingParameters => !kind.needs_parameters,
                    _ => false,
                } && phase.phase.allows(kind.action);
                let at = format!("{} in {} by {way:?}", kind.name, phase.name);
                let did: Vec<&str> = outcome.matched.iter().map(|matched| &*matched.rule).collect();
                assert_eq!(did.contains(&"it"), stays || executes && did == ["it"], "{at}: {outcome:?}");
                assert!(!executes || !did.contains(&"inner"), "{at}");
                if !stays && did.is_empty() {
                    assert_eq!(outcome, Outcome::default(), "{at}");
                }
                if !stays {
                    assert!(outcome.effects.is_empty(), "{at}");
                    assert_eq!(outcome.verdict, rules::Verdict::Continue, "{at}");
                }
            }
        }
    }
    assert_eq!(tried, 18 * 16 * 14);
}

#[test]
fn every_action_enabled_in_every_phase_does_what_it_may() {
    let request = Request::get("example.org", "/a?b=c");
    for phase in Phase::ALL {
        for kind in ActionKind::ALL {
            let entry: RulesetSpec =
                ruleset("entry", vec![rule("it", "true", action(kind.action, phase.phase))]);
            let other = ruleset("other", vec![rule("inner", "true", Action::Log)]);
            let (rulesets, problems) =
                Rulesets::compile(phase.phase, &entry, &[other], &lists(), &Limits::default());
            let allowed = phase.phase.allows(kind.action);
            assert_eq!(problems.is_empty(), allowed, "{} in {}: {problems:?}", kind.name, phase.name);
            let mut fuel = Fuel::new(PLENTY);
            let outcome =
                rulesets.evaluate(&request, &mut Scratch::new(), &mut fuel, &mut Skipped::default()).unwrap();
            assert_eq!(outcome.matched.is_empty(), !allowed, "{} in {}", kind.name, phase.name);
            assert_eq!(outcome.verdict != rules::Verdict::Continue, allowed && kind.is_terminating);
        }
    }
}

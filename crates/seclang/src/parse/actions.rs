//! Actions: `id:942100,phase:2,block,t:none,msg:'…',setvar:'tx.score=+5',ctl:ruleRemoveById=1`.
//!
//! Called by [`crate::load`] for `SecRule`, `SecAction`, `SecDefaultAction` and `SecRuleUpdateActionById`. It
//! yields what was written; defaults and inheritance are the loader's.

use crate::body::{Kind, XmlArguments};
use crate::model::{Allow, Change, Ctl, Disruptive, Effect, EngineMode, TxName, Which};
use crate::parse::targets;
use crate::pattern;
use crate::problem::Wrong;
use crate::template::{Template, TxNames, persistent};
use crate::transform::Transformation;
use crate::variable::Variable;

/// The actions of one directive, as written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Actions {
    pub(crate) id: Option<u64>,
    pub(crate) phase: Option<u8>,
    /// `t:none` forgets what stands before it, what is inherited included.
    pub(crate) forgets_inherited: bool,
    pub(crate) pipeline: Vec<Transformation>,
    pub(crate) msg: Option<Template>,
    pub(crate) logdata: Option<Template>,
    pub(crate) tags: Vec<Template>,
    pub(crate) severity: Option<u8>,
    pub(crate) version: Option<Box<str>>,
    pub(crate) revision: Option<Box<str>>,
    pub(crate) maturity: Option<u8>,
    pub(crate) accuracy: Option<u8>,
    pub(crate) disruptive: Option<Disruptive>,
    pub(crate) status: Option<u16>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) skip: Option<u32>,
    pub(crate) skip_after: Option<String>,
    pub(crate) chain: bool,
    pub(crate) log: Option<bool>,
    pub(crate) audit: Option<bool>,
    pub(crate) capture: bool,
    pub(crate) multi_match: bool,
    /// Prefixes of XPath targets, with the namespaces they mean.
    pub(crate) namespaces: Vec<(String, String)>,
}

/// Every action that is read.
pub(crate) const KNOWN: &[&str] = &[
    "accuracy",
    "allow",
    "auditlog",
    "block",
    "capture",
    "chain",
    "ctl",
    "deny",
    "drop",
    "id",
    "initcol",
    "log",
    "logdata",
    "maturity",
    "msg",
    "multiMatch",
    "noauditlog",
    "nolog",
    "pass",
    "phase",
    "redirect",
    "rev",
    "sanitiseArg",
    "sanitiseMatched",
    "sanitiseMatchedBytes",
    "sanitiseRequestHeader",
    "sanitiseResponseHeader",
    "setenv",
    "setvar",
    "severity",
    "skip",
    "skipAfter",
    "status",
    "t",
    "tag",
    "ver",
    "xmlns",
];

pub(crate) const CTLS: &[&str] = &[
    "auditEngine",
    "auditLogParts",
    "debugLogLevel",
    "forceRequestBodyVariable",
    "hashEnforcement",
    "hashEngine",
    "parseXmlIntoArgs",
    "requestBodyAccess",
    "requestBodyLimit",
    "requestBodyProcessor",
    "responseBodyAccess",
    "responseBodyLimit",
    "ruleEngine",
    "ruleRemoveById",
    "ruleRemoveByMsg",
    "ruleRemoveByTag",
    "ruleRemoveTargetById",
    "ruleRemoveTargetByMsg",
    "ruleRemoveTargetByTag",
];

const SEVERITIES: &[&str] =
    &["EMERGENCY", "ALERT", "CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG"];

/// Parses a list of actions; every wrong action is one problem.
pub(crate) fn parse(text: &str, names: &mut TxNames) -> (Actions, Vec<Wrong>) {
    let mut actions = Actions::default();
    let mut problems = Vec::new();
    match split(text) {
        Ok(list) => {
            for (name, argument) in list {
                if let Err(wrong) = one(&name, argument.as_deref(), &mut actions, names) {
                    problems.push(wrong);
                }
            }
        }
        Err(wrong) => problems.push(wrong),
    }
    (actions, problems)
}

/// Splits at commas that stand in no single quotes, into names and what follows their colon.
fn split(text: &str) -> Result<Vec<(String, Option<String>)>, Wrong> {
    let mut list = Vec::new();
    let mut current = String::new();
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    loop {
        match chars.next() {
            Some('\\') if quoted && chars.peek() == Some(&'\'') => {
                current.push('\u{1}');
                chars.next();
            }
            Some('\'') => {
                quoted = !quoted;
                current.push('\'');
            }
            Some(',') if !quoted => {
                list.push(std::mem::take(&mut current));
            }
            Some(c) => current.push(c),
            None => break,
        }
    }
    if quoted {
        return Err(Wrong::with(
            "a single quote among the actions is not closed",
            "escape a quote within quotes as \\'",
        ));
    }
    list.push(current);
    Ok(list
        .iter()
        .map(|one| unquote(one.trim()))
        .filter(|one| !one.is_empty())
        .map(|one| match one.split_once(':') {
            Some((name, argument)) => {
                (name.trim().to_owned(), Some(unquote(argument.trim()).replace('\u{1}', "'")))
            }
            None => (one.replace('\u{1}', "'"), None),
        })
        .collect())
}

/// Takes off a pair of single quotes around the whole.
fn unquote(text: &str) -> &str {
    text.strip_prefix('\'').and_then(|inside| inside.strip_suffix('\'')).unwrap_or(text)
}

fn one(name: &str, argument: Option<&str>, actions: &mut Actions, names: &mut TxNames) -> Result<(), Wrong> {
    let folded = name.to_ascii_lowercase();
    let needed = || {
        argument
            .filter(|text| !text.is_empty())
            .ok_or_else(|| Wrong::new(format!("`{name}` lacks its argument")))
    };
    let number = |max: u64| {
        let text = needed()?;
        text.parse::<u64>()
            .ok()
            .filter(|value| *value <= max)
            .ok_or_else(|| Wrong::new(format!("`{name}:{text}` is not a number from 0 to {max}")))
    };
    let small = |max: u64| number(max).map(|value| u8::try_from(value).unwrap_or(u8::MAX));
    match folded.as_str() {
        "id" => match number(u64::MAX)? {
            0 => return Err(Wrong::new("the id 0 is taken")),
            id => actions.id = Some(id),
        },
        "phase" => {
            let text = needed()?;
            actions.phase = Some(match text.to_ascii_lowercase().as_str() {
                "1" => 1,
                "2" | "request" => 2,
                "3" => 3,
                "4" | "response" => 4,
                "5" | "logging" => 5,
                _ => {
                    return Err(Wrong::with(
                        format!("unknown phase `{text}`"),
                        "phases are 1 to 5, request, response and logging",
                    ));
                }
            });
        }
        "t" => transformation(needed()?, actions)?,
        "msg" => actions.msg = Some(Template::parse(needed()?, names)?),
        "logdata" => actions.logdata = Some(Template::parse(needed()?, names)?),
        "tag" => actions.tags.push(Template::parse(needed()?, names)?),
        "severity" => actions.severity = Some(severity(needed()?)?),
        "ver" => actions.version = Some(needed()?.into()),
        "rev" => actions.revision = Some(needed()?.into()),
        "maturity" => actions.maturity = Some(small(9)?),
        "accuracy" => actions.accuracy = Some(small(9)?),
        "pass" => actions.disruptive = Some(Disruptive::Pass),
        "block" => actions.disruptive = Some(Disruptive::Block),
        "deny" => actions.disruptive = Some(Disruptive::Deny),
        "drop" => actions.disruptive = Some(Disruptive::Drop),
        "redirect" => actions.disruptive = Some(Disruptive::Redirect(Template::parse(needed()?, names)?)),
        "allow" => {
            actions.disruptive =
                Some(Disruptive::Allow(match argument.map(str::to_ascii_lowercase).as_deref() {
                    None => Allow::All,
                    Some("phase") => Allow::Phase,
                    Some("request") => Allow::Request,
                    Some(other) => {
                        return Err(Wrong::unknown("extent of `allow`", other, ["phase", "request"]));
                    }
                }));
        }
        "status" => match number(599)? {
            status @ 100..=599 => actions.status = u16::try_from(status).ok(),
            other => return Err(Wrong::new(format!("`status:{other}` is no HTTP status"))),
        },
        "skip" => actions.skip = Some(u32::try_from(number(100_000)?).unwrap_or(u32::MAX)),
        "skipafter" => actions.skip_after = Some(needed()?.to_owned()),
        "chain" => actions.chain = true,
        "log" => {
            actions.log = Some(true);
            actions.audit = actions.audit.or(Some(true));
        }
        "nolog" => {
            actions.log = Some(false);
            actions.audit = actions.audit.or(Some(false));
        }
        "auditlog" => actions.audit = Some(true),
        "noauditlog" => actions.audit = Some(false),
        "capture" => actions.capture = true,
        "multimatch" => actions.multi_match = true,
        "setvar" => actions.effects.push(set_variable(needed()?, names)?),
        "setenv" => {
            let (name, change) = assignment(needed()?, names)?;
            actions.effects.push(Effect::Env(Template::parse(&name, names)?, change));
        }
        "ctl" => actions.effects.push(Effect::Ctl(control(needed()?, names)?)),
        // CRS opens `ip` and `global` when asked to; without a store they hold nothing, and naming them is an
        // error.
        "initcol" => {
            let text = needed()?;
            let known = ["global", "ip", "resource", "session", "user"];
            match text.split_once('=') {
                Some((collection, key))
                    if known.contains(&collection.trim().to_ascii_lowercase().as_str()) =>
                {
                    Template::parse(key, names)?;
                }
                _ => {
                    return Err(Wrong::with(
                        format!("`initcol:{text}` names no collection"),
                        "write initcol:ip=%{REMOTE_ADDR}",
                    ));
                }
            }
        }
        "sanitisearg" | "sanitizearg" => {
            actions
                .effects
                .push(Effect::Mask(Variable::Args, needed()?.to_ascii_lowercase().into_bytes().into()));
        }
        "sanitiserequestheader" | "sanitizerequestheader" => {
            let name = needed()?.to_ascii_lowercase().into_bytes().into();
            actions.effects.push(Effect::Mask(Variable::RequestHeaders, name));
        }
        "sanitiseresponseheader" | "sanitizeresponseheader" => {
            let name = needed()?.to_ascii_lowercase().into_bytes().into();
            actions.effects.push(Effect::Mask(Variable::ResponseHeaders, name));
        }
        "sanitisematched" | "sanitizematched" | "sanitisematchedbytes" | "sanitizematchedbytes" => {
            actions.effects.push(Effect::MaskMatched);
        }
        "expirevar" | "deprecatevar" | "setsid" | "setuid" | "setrsc" => return Err(persistent(name)),
        "exec" => {
            return Err(Wrong::with(
                "`exec` would run a program, which rules may not",
                "leave the action out",
            ));
        }
        "xmlns" => {
            let text = needed()?;
            let (prefix, uri) = text.split_once('=').unwrap_or((text, ""));
            let uri = uri.trim().trim_matches(['\'', '"']);
            if prefix.trim().is_empty() || uri.is_empty() {
                return Err(Wrong::with(
                    format!("`xmlns:{text}` binds no prefix to a namespace"),
                    "write xmlns:soap=http://schemas.xmlsoap.org/soap/envelope/",
                ));
            }
            actions.namespaces.push((prefix.trim().to_owned(), uri.to_owned()));
        }
        "append" | "prepend" | "pause" | "proxy" => {
            return Err(Wrong::with(
                format!("`{name}` is an action of ModSecurity 2 that there is not"),
                "leave the action out",
            ));
        }
        _ => return Err(Wrong::unknown("action", name, KNOWN.iter().copied())),
    }
    Ok(())
}

fn transformation(name: &str, actions: &mut Actions) -> Result<(), Wrong> {
    match Transformation::from_name(name.as_bytes()) {
        Some(Transformation::None) => {
            actions.forgets_inherited = true;
            actions.pipeline.clear();
        }
        Some(known) => actions.pipeline.push(known),
        None => return Err(Wrong::unknown("transformation", name, Transformation::names())),
    }
    Ok(())
}

/// Reads a severity, by name or number.
fn severity(text: &str) -> Result<u8, Wrong> {
    let place = SEVERITIES.iter().position(|name| name.eq_ignore_ascii_case(text));
    place
        .or_else(|| text.parse::<usize>().ok().filter(|number| *number < SEVERITIES.len()))
        .and_then(|number| u8::try_from(number).ok())
        .ok_or_else(|| Wrong::unknown("severity", text, SEVERITIES.iter().copied()))
}

/// The name of a severity from 0 to 7.
pub(crate) fn severity_name(severity: u8) -> &'static str {
    SEVERITIES.get(usize::from(severity)).copied().unwrap_or("")
}

/// Splits `name=value`, `name=+value`, `name=-value`, `!name`, `name`.
fn assignment(text: &str, names: &mut TxNames) -> Result<(String, Change), Wrong> {
    if let Some(name) = text.strip_prefix('!') {
        return Ok((name.trim().to_owned(), Change::Remove));
    }
    let Some((name, value)) = split_outside_macro(text) else {
        return Ok((text.trim().to_owned(), Change::Set(Template::text(b"1"))));
    };
    let change = if let Some(added) = value.strip_prefix('+') {
        Change::Add(Template::parse(added, names)?)
    } else if let Some(taken) = value.strip_prefix('-') {
        Change::Subtract(Template::parse(taken, names)?)
    } else {
        Change::Set(Template::parse(value, names)?)
    };
    Ok((name.trim().to_owned(), change))
}

/// Splits at the first `=` that stands in no macro.
fn split_outside_macro(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0_u32;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            '=' if depth == 0 => return Some((text.get(..at)?, text.get(at + 1..)?)),
            _ => {}
        }
    }
    None
}

fn set_variable(text: &str, names: &mut TxNames) -> Result<Effect, Wrong> {
    let (target, change) = assignment(text, names)?;
    let Some((collection, key)) = target.split_once(['.', ':']) else {
        return Err(Wrong::with(
            format!("`setvar:{text}` names no collection"),
            "write setvar:tx.name=value",
        ));
    };
    match collection.trim().to_ascii_lowercase().as_str() {
        "tx" => {}
        "env" => return Ok(Effect::Env(Template::parse(key, names)?, change)),
        "ip" | "global" | "resource" | "session" | "user" => return Err(persistent(collection)),
        other => return Err(Wrong::unknown("collection that can be set", other, ["TX", "ENV"])),
    }
    if key.is_empty() {
        return Err(Wrong::new(format!("`setvar:{text}` names no variable")));
    }
    let template = Template::parse(key, names)?;
    let name = match template.as_text() {
        Some(text) => TxName::Known(names.intern(text)),
        None => TxName::Made(template),
    };
    Ok(Effect::Tx(name, change))
}

fn control(text: &str, names: &mut TxNames) -> Result<Ctl, Wrong> {
    let Some((name, value)) = text.split_once('=') else {
        return Err(Wrong::with(format!("`ctl:{text}` lacks its value"), "write ctl:name=value"));
    };
    let value = value.trim();
    let switch = || match value.to_ascii_lowercase().as_str() {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(Wrong::new(format!("`ctl:{name}` is On or Off, not `{value}`"))),
    };
    let with_target = |names: &mut TxNames| {
        let Some((which, target)) = value.split_once(';') else {
            return Err(Wrong::with(
                format!("`ctl:{text}` names no target"),
                format!("write ctl:{name}=RULES;ARGS:name"),
            ));
        };
        let (mut target, rest) = targets::one(target, names)?;
        if !rest.is_empty() {
            return Err(Wrong::new(format!("`ctl:{name}` takes one target; `{rest}` follows it")));
        }
        target.is_excluded = true;
        Ok((which.trim().to_owned(), target))
    };
    Ok(match name.trim().to_ascii_lowercase().as_str() {
        "ruleremovebyid" => Ctl::RemoveRules(Which::Ids(ids(value)?)),
        "ruleremovebytag" => Ctl::RemoveRules(Which::Tag(pattern::compile(value)?)),
        "ruleremovebymsg" => Ctl::RemoveRules(Which::Msg(pattern::compile(value)?)),
        "ruleremovetargetbyid" => {
            let (which, target) = with_target(names)?;
            Ctl::RemoveTarget(Which::Ids(ids(&which)?), target)
        }
        "ruleremovetargetbytag" => {
            let (which, target) = with_target(names)?;
            Ctl::RemoveTarget(Which::Tag(pattern::compile(&which)?), target)
        }
        "ruleremovetargetbymsg" => {
            let (which, target) = with_target(names)?;
            Ctl::RemoveTarget(Which::Msg(pattern::compile(&which)?), target)
        }
        "ruleengine" => Ctl::Engine(engine_mode(value)?),
        "parsexmlintoargs" => Ctl::XmlArguments(xml_arguments(value)?),
        "requestbodyprocessor" => Ctl::BodyKind(body_kind(value)?),
        "requestbodyaccess" => Ctl::RequestBodyAccess(switch()?),
        "responsebodyaccess" => Ctl::ResponseBodyAccess(switch()?),
        "forcerequestbodyvariable" => Ctl::ForceRequestBodyVariable(switch()?),
        "auditengine" | "auditlogparts" | "debugloglevel" | "requestbodylimit" | "responsebodylimit"
        | "hashengine" | "hashenforcement" => Ctl::Nothing,
        _ => return Err(Wrong::unknown("ctl", name.trim(), CTLS.iter().copied())),
    })
}

/// Reads whether elements of XML become arguments.
pub(crate) fn xml_arguments(text: &str) -> Result<XmlArguments, Wrong> {
    let words = XmlArguments::WORDS.map(|(word, _)| word);
    XmlArguments::from_name(text).ok_or_else(|| Wrong::unknown("word for XML as arguments", text, words))
}

/// Reads the mode of the engine.
pub(crate) fn engine_mode(text: &str) -> Result<EngineMode, Wrong> {
    match text.to_ascii_lowercase().as_str() {
        "on" => Ok(EngineMode::On),
        "off" => Ok(EngineMode::Off),
        "detectiononly" => Ok(EngineMode::DetectionOnly),
        _ => Err(Wrong::unknown("mode of the engine", text, ["On", "Off", "DetectionOnly"])),
    }
}

fn body_kind(text: &str) -> Result<Kind, Wrong> {
    Kind::from_name(text.as_bytes())
        .ok_or_else(|| Wrong::unknown("reader of bodies", text, ["URLENCODED", "MULTIPART", "JSON", "XML"]))
}

/// Reads ids and ranges of ids, parted by commas or blanks: `1,5-7`.
pub(crate) fn ids(text: &str) -> Result<Vec<(u64, u64)>, Wrong> {
    let wrong = || {
        Wrong::with(
            format!("`{text}` is no list of rule ids"),
            "write 941100, or a range such as 941100-941180",
        )
    };
    let list: Option<Vec<(u64, u64)>> = text
        .split([',', ' '])
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let range = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (range.0 <= range.1).then_some(range)
        })
        .collect();
    list.filter(|list| !list.is_empty()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_outside_quotes() {
        let (actions, problems) = parse(
            "id:7, phase:request,t:none,t:lowercase,msg:'a, \\'b\\'', setvar:'tx.a=+%{tx.b}',skipAfter:END-X,\
             deny,status:403",
            &mut TxNames::default(),
        );
        assert_eq!(problems, vec![]);
        assert_eq!((actions.id, actions.phase, actions.status), (Some(7), Some(2), Some(403)));
        assert_eq!(actions.msg.as_ref().and_then(Template::as_text), Some(&b"a, 'b'"[..]));
        assert_eq!(actions.pipeline, [Transformation::Lowercase]);
        assert!(matches!(actions.effects.as_slice(), [Effect::Tx(TxName::Known(_), Change::Add(_))]));
    }

    #[test]
    fn every_unknown_action_is_one_problem() {
        let (_, problems) = parse(
            "blok,t:lowercse,severity:9,exec:/x,setvar:ip.a=1,ctl:ruleRemovById=1",
            &mut TxNames::default(),
        );
        assert_eq!(problems.len(), 6);
        assert_eq!(problems[0].remedy.as_deref(), Some("did you mean `block`?"));
        assert_eq!(problems[1].remedy.as_deref(), Some("did you mean `lowercase`?"));
        assert_eq!(problems[5].remedy.as_deref(), Some("did you mean `ruleRemoveById`?"));
    }

    #[test]
    fn reads_ranges_of_ids() {
        assert_eq!(ids("1,5-7 9"), Ok(vec![(1, 1), (5, 7), (9, 9)]));
        assert!(ids("7-5").is_err());
        assert!(ids("x").is_err());
    }
}

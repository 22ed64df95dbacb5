//! Macros expanded: templates become bytes.
//!
//! A template's variables are looked up as they stand. Unset ones expand to nothing, as in ModSecurity. For
//! records, what may be a secret becomes `*`.

use fuel::Spent;

use crate::body::Kind;
use crate::engine::Run;
use crate::limits::TEXT_BYTES_MAX;
use crate::model::Rule;
use crate::parse::actions::severity_name;
use crate::template::{Part, Template};
use crate::variable::Variable;

/// Captures stand in the first ten `TX` variables.
const CAPTURES: u16 = 10;

impl Run<'_> {
    /// Expands a template; cut at [`TEXT_BYTES_MAX`].
    pub(super) fn expanded(&mut self, template: &Template, head: &Rule) -> Result<Vec<u8>, Spent> {
        let mut out = Vec::new();
        for part in template.parts() {
            self.write_part(part, head, &mut out);
            self.fuel.spend(out.len() as u64 / 8 + 2)?;
        }
        out.truncate(TEXT_BYTES_MAX);
        Ok(out)
    }

    /// Expands a template for a record: what the chain matched is a secret when one of its variables may be.
    pub(super) fn expanded_masked(&self, template: &Template, head: &Rule, matches_secret: bool) -> Vec<u8> {
        let mut out = Vec::new();
        for part in template.parts() {
            let is_secret = match part {
                Part::Text(_) => false,
                Part::Tx(id) => *id < CAPTURES && matches_secret,
                Part::Variable(Variable::MatchedVar, _) => matches_secret,
                Part::Variable(variable, Some(name)) => self.state.is_secret(*variable, name),
                Part::Variable(..) => false,
            };
            if is_secret {
                out.push(b'*');
            } else {
                self.write_part(part, head, &mut out);
            }
            if out.len() > TEXT_BYTES_MAX {
                break;
            }
        }
        out.truncate(TEXT_BYTES_MAX);
        out
    }

    fn write_part(&self, part: &Part, head: &Rule, out: &mut Vec<u8>) {
        match part {
            Part::Text(text) => out.extend_from_slice(text),
            Part::Tx(id) => {
                if let Some(text) = self.state.tx(*id) {
                    text.write(out);
                }
            }
            Part::Variable(Variable::Env, Some(name)) => {
                if let Some((_, text)) =
                    self.state.env.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))
                {
                    text.write(out);
                }
            }
            Part::Variable(Variable::Geo, Some(name)) => {
                let location = self.state.location.as_deref();
                let part = location.and_then(|location| location.part(name)).unwrap_or_default();
                out.extend_from_slice(part.as_bytes());
            }
            Part::Variable(Variable::Rule, Some(name)) => {
                let parts = self.rule_parts(head);
                if let Some((_, value)) = parts.iter().find(|(known, _)| known.as_bytes() == &**name) {
                    out.extend_from_slice(value);
                }
            }
            Part::Variable(variable, Some(name)) => {
                let found = variable.sources().iter().find_map(|source| self.values.named(*source, name));
                out.extend_from_slice(found.unwrap_or_default());
            }
            Part::Variable(variable, None) if variable.is_stored() => {
                out.extend_from_slice(self.values.first(*variable).unwrap_or_default());
            }
            Part::Variable(variable, None) => self.write_made(*variable, head, out),
        }
    }

    /// The parts of `RULE`; a text that is not set is empty.
    pub(super) fn rule_parts(&self, head: &Rule) -> [(&'static str, Vec<u8>); 5] {
        let text = |template: Option<&Template>| {
            template.and_then(Template::as_text).map(<[u8]>::to_vec).unwrap_or_default()
        };
        [
            ("id", head.id.to_string().into_bytes()),
            ("rev", head.revision.as_bytes().to_vec()),
            (
                "severity",
                head.severity.map(|severity| severity_name(severity).as_bytes().to_vec()).unwrap_or_default(),
            ),
            ("msg", text(head.msg.as_ref())),
            ("logdata", text(head.logdata.as_ref())),
        ]
    }

    /// Writes a variable that is made when asked and has one value.
    pub(super) fn write_made(&self, variable: Variable, _head: &Rule, out: &mut Vec<u8>) {
        let clock = Clock::at(self.state.now_s);
        let number = match variable {
            Variable::MatchedVar => {
                out.extend_from_slice(self.state.last_matched().map_or(&[], |(_, value)| value));
                return;
            }
            Variable::MatchedVarName => {
                out.extend_from_slice(self.state.last_matched().map_or(&[], |(name, _)| name));
                return;
            }
            Variable::FullRequest => {
                self.write_full_request(out);
                return;
            }
            Variable::FullRequestLength => {
                let mut full = Vec::new();
                self.write_full_request(&mut full);
                full.len() as u64
            }
            Variable::ReqbodyProcessor => {
                out.extend_from_slice(self.state.body_kind.map_or("", Kind::name).as_bytes());
                return;
            }
            Variable::Time => {
                out.extend_from_slice(
                    format!("{:02}:{:02}:{:02}", clock.hour, clock.minute, clock.second).as_bytes(),
                );
                return;
            }
            Variable::Duration => self.state.elapsed_ms,
            Variable::HighestSeverity => u64::from(self.state.highest_severity),
            Variable::TimeDay => clock.day,
            Variable::TimeEpoch => self.state.now_s,
            Variable::TimeHour => clock.hour,
            Variable::TimeMin => clock.minute,
            Variable::TimeMon => clock.month,
            Variable::TimeSec => clock.second,
            Variable::TimeWday => clock.weekday,
            Variable::TimeYear => clock.year,
            _ => return,
        };
        out.extend_from_slice(number.to_string().as_bytes());
    }

    fn write_full_request(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.values.first(Variable::RequestLine).unwrap_or_default());
        out.extend_from_slice(b"\r\n");
        for (_, item) in self.values.of(Variable::RequestHeaders) {
            out.extend_from_slice(item.name.of(self.values.buffer()));
            out.extend_from_slice(b": ");
            out.extend_from_slice(item.value.of(self.values.buffer()));
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(self.values.first(Variable::RequestBody).unwrap_or_default());
    }
}

/// A moment as UTC's calendar shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Clock {
    year: u64,
    /// From 1.
    month: u64,
    /// From 1.
    day: u64,
    /// From 0, Sunday.
    weekday: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Clock {
    /// Reads seconds since 1970: days counted in eras of 400 years, the year beginning in March.
    const fn at(seconds: u64) -> Self {
        let (days, rest) = (seconds / 86_400, seconds % 86_400);
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        Self {
            year: era * 400 + year_of_era + (month <= 2) as u64,
            month,
            day: day_of_year - (153 * march_month + 2) / 5 + 1,
            weekday: (days + 4) % 7,
            hour: rest / 3_600,
            minute: rest % 3_600 / 60,
            second: rest % 60,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_calendar() {
        let leap = Clock::at(951_868_799);
        assert_eq!((leap.year, leap.month, leap.day, leap.hour, leap.second), (2000, 2, 29, 23, 59));
        let first = Clock::at(0);
        assert_eq!((first.year, first.month, first.day, first.weekday), (1970, 1, 1, 4));
        let later = Clock::at(1_795_651_200);
        assert_eq!((later.year, later.month, later.day, later.weekday), (2026, 11, 26, 4));
    }
}

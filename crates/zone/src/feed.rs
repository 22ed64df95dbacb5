//! Feeds: files that somebody's job makes anew, lists and `[geo]`, with how old they may become.
//!
//! When one was made is its own word where it has one, else when the file was changed, as the bundle says;
//! so it is the same after a restart and on another node. What is past its horizon is used as before, or
//! matches nothing, as its owner said; nothing of it is forgotten, and a newer file ends it. No clock here:
//! whoever runs a snapshot judges its feeds now and then. Made by `compile/rule.rs` and `compile/geo.rs`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rules::List;

use crate::read::values::words;

/// Leading lines in which a list may say when it was made: comments and blank lines before its first entry.
const HEAD_LINES_MAX: usize = 64;

words! {
    /// What becomes of a list that is past its horizon.
    pub enum AfterHorizon {
        /// It is used as it is.
        Keep = "keep",
        /// It matches nothing, until a newer one is published.
        Empty = "empty",
    }
}

/// How old a feed is, against what its owner allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FeedStage {
    /// Below three quarters of its horizon.
    Fresh,
    /// From three quarters on: whoever makes it anew should have done so.
    GettingOld,
    /// As old as its horizon, or older.
    PastHorizon,
}

impl FeedStage {
    /// Every stage, by age.
    pub const ALL: [Self; 3] = [Self::Fresh, Self::GettingOld, Self::PastHorizon];

    /// The word in metrics and `rempart status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::GettingOld => "getting_old",
            Self::PastHorizon => "past_horizon",
        }
    }
}

/// What a feed is switched by.
#[derive(Debug, Clone)]
pub(crate) enum Used {
    /// A list of a zone.
    List(Arc<List>),
    /// A file of `[geo]`.
    Places(Arc<AtomicBool>),
}

/// A file that is to be made anew before it is too old.
#[derive(Clone)]
pub struct Feed {
    /// The list's name, or the key of `[geo]`.
    pub name: String,
    /// The file, as the bundle names it.
    pub path: String,
    /// When it was made, in seconds after 1970.
    pub made_unix_s: u64,
    /// How old it may become, in seconds.
    pub horizon_s: u64,
    /// What becomes of it then.
    pub after: AfterHorizon,
    pub(crate) used: Used,
}

impl fmt::Debug for Feed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Feed").field("name", &self.name).field("made_unix_s", &self.made_unix_s).finish()
    }
}

impl Feed {
    /// How old it is, in seconds; nothing for one that says it was made later.
    #[must_use]
    pub fn age_s(&self, now_unix_s: u64) -> u64 {
        now_unix_s.saturating_sub(self.made_unix_s)
    }

    /// How that is against its horizon.
    #[must_use]
    pub fn stage(&self, now_unix_s: u64) -> FeedStage {
        let age_s = self.age_s(now_unix_s);
        if age_s >= self.horizon_s {
            FeedStage::PastHorizon
        } else if age_s.saturating_mul(4) >= self.horizon_s.saturating_mul(3) {
            FeedStage::GettingOld
        } else {
            FeedStage::Fresh
        }
    }

    /// Has it matched nothing from now on if its owner wants that of one as old, and else as it is.
    pub fn judge(&self, now_unix_s: u64) -> FeedStage {
        let stage = self.stage(now_unix_s);
        let is_silent = stage == FeedStage::PastHorizon && self.after == AfterHorizon::Empty;
        match &self.used {
            Used::List(list) => list.silence(is_silent),
            Used::Places(places) => places.store(is_silent, Ordering::Relaxed),
        }
        stage
    }
}

/// A word about when a list was made that is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoDate {
    /// The line, from 1.
    pub line: usize,
    /// What stands there, at most 64 characters of it.
    pub written: String,
}

/// Reads when a list says that it was made: `# made: 2026-11-26T12:00:00Z` (RFC 3339) before its first entry.
/// Seconds after 1970; none where it does not say.
///
/// # Errors
/// When the word is there and no time after 1970 behind it.
pub fn made_by_its_word(bytes: &[u8]) -> Result<Option<u64>, NoDate> {
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    for (place, line) in lines.enumerate().take(HEAD_LINES_MAX) {
        if line.is_empty() {
            continue;
        }
        let Some(comment) = line.strip_prefix(b"#") else { break };
        let Some(written) = comment.trim_ascii().strip_prefix(b"made:") else { continue };
        let text = String::from_utf8_lossy(written.trim_ascii()).into_owned();
        let written = || text.chars().take(64).collect();
        let made = unix_s(&text).ok_or_else(|| NoDate { line: place + 1, written: written() })?;
        return Ok(Some(made));
    }
    Ok(None)
}

/// Reads a time of RFC 3339 §5.6 in seconds after 1970, what is below a second left off. None for what is no
/// time, or before 1970. A second 60 is the one after 59.
#[must_use]
pub fn unix_s(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let number = |from: usize, digits: usize| {
        let digits = bytes.get(from..from + digits)?;
        let is_number = digits.iter().all(u8::is_ascii_digit);
        is_number.then(|| digits.iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0')))
    };
    let sign = |at: usize, of: &[u8]| bytes.get(at).is_some_and(|byte| of.contains(byte));
    let is_shaped = sign(4, b"-") && sign(7, b"-") && sign(10, b"Tt ") && sign(13, b":") && sign(16, b":");
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days_of_month = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !is_shaped || year < 1970 || !(1..=days_of_month).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = bytes.get(19..)?;
    if let Some(fraction) = rest.strip_prefix(b".") {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        rest = fraction.get(digits..).filter(|_| digits > 0)?;
    }
    let offset_s: i64 = match rest {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let two = |tens: u8, ones: u8| {
                let both = tens.is_ascii_digit() && ones.is_ascii_digit();
                both.then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
            };
            let (hours, minutes) = (two(*h1, *h2)?, two(*m1, *m2)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset_s = (hours * 60 + minutes) * 60;
            if *sign == b'-' { -offset_s } else { offset_s }
        }
        _ => return None,
    };
    let of_day = (hour * 60 + minute) * 60 + second;
    days_after_1970(year, month, day)
        .saturating_mul(86_400)
        .saturating_add(of_day)
        .checked_add_signed(-offset_s)
}

/// Days from 1970-01-01 to a day of the Gregorian calendar that is not before it. Years are counted from 1
/// March, so that the leap day is a year's last and moves no month.
fn days_after_1970(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let month_from_march = (month + 9) % 12;
    let of_year = (153 * month_from_march + 2) / 5 + day - 1;
    (year * 365 + year / 4 - year / 100 + year / 400 + of_year).saturating_sub(719_468)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rules::{Limits, ListKind};

    use super::*;

    fn feed(after: AfterHorizon) -> (Feed, Arc<List>) {
        let list = List::parse(ListKind::Strings, "one", &Limits::default()).expect("a good list");
        let list = Arc::new(list);
        let used = Used::List(Arc::clone(&list));
        let (name, path) = ("a".to_owned(), "/a.txt".to_owned());
        (Feed { name, path, made_unix_s: 1_000, horizon_s: 100, after, used }, list)
    }

    #[test]
    fn a_feed_is_getting_old_at_three_quarters_and_past_at_its_horizon() {
        let (feed, _) = feed(AfterHorizon::Keep);
        for (now, stage) in [
            (0, FeedStage::Fresh),
            (1_000, FeedStage::Fresh),
            (1_074, FeedStage::Fresh),
            (1_075, FeedStage::GettingOld),
            (1_099, FeedStage::GettingOld),
            (1_100, FeedStage::PastHorizon),
            (u64::MAX, FeedStage::PastHorizon),
        ] {
            assert_eq!(feed.stage(now), stage, "{now}");
        }
        assert_eq!((feed.age_s(900), feed.age_s(1_007)), (0, 7));
    }

    #[test]
    fn a_list_past_its_horizon_matches_nothing_only_where_that_is_wanted_and_comes_back() {
        for (after, held) in [(AfterHorizon::Keep, true), (AfterHorizon::Empty, false)] {
            let (feed, list) = feed(after);
            assert_eq!((feed.judge(1_099), list.holds_bytes(b"one")), (FeedStage::GettingOld, true));
            assert_eq!((feed.judge(1_100), list.holds_bytes(b"one")), (FeedStage::PastHorizon, held));
            assert_eq!(list.entries(), 1, "it has what it has");
            assert_eq!((feed.judge(1_050), list.holds_bytes(b"one")), (FeedStage::Fresh, true));
        }
    }

    #[test]
    fn a_list_says_when_it_was_made_in_the_comments_before_its_first_entry() {
        let at = Ok(Some(1_764_158_400));
        assert_eq!(made_by_its_word(b"# made: 2025-11-26T12:00:00Z\n192.0.2.1\n"), at);
        assert_eq!(made_by_its_word(b"# a feed\r\n\r\n#made: 2025-11-26T12:00:00Z\r\n"), at);
        assert_eq!(made_by_its_word(b"192.0.2.1\n# made: 2025-11-26T12:00:00Z\n"), Ok(None));
        assert_eq!(made_by_its_word(b"# remade: 2025-11-26T12:00:00Z\n"), Ok(None));
        assert_eq!(made_by_its_word(b""), Ok(None));
        let far = [b"#\n".repeat(HEAD_LINES_MAX), b"# made: 2025-11-26T12:00:00Z\n".to_vec()].concat();
        assert_eq!(made_by_its_word(&far), Ok(None));
        let wrong = made_by_its_word(b"#\n# made: yesterday\n");
        assert_eq!(wrong, Err(NoDate { line: 2, written: "yesterday".to_owned() }));
    }

    #[test]
    fn times_are_read_as_rfc_3339_writes_them() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T00:00:00Z", Some(951_782_400)),
            ("2026-11-26T12:00:00.5+01:00", Some(1_795_690_800)),
            ("2026-11-26t12:00:00-00:30", Some(1_795_696_200)),
            ("2026-11-26 12:00:00z", Some(1_795_694_400)),
            ("2100-02-29T00:00:00Z", None),
            ("1970-01-01T00:00:00+00:01", None),
            ("1969-12-31T23:59:59Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-11-31T00:00:00Z", None),
            ("2026-11-26T24:00:00Z", None),
            ("2026-11-26T12:00:00", None),
            ("2026-11-26T12:00:00.Z", None),
            ("2026-11-26T12:00:00+0100", None),
            ("2026-11-26", None),
            ("", None),
        ] {
            assert_eq!(unix_s(text), seconds, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_list_says_is_a_time_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = made_by_its_word(&bytes);
            let _ = made_by_its_word(&[b"# made: ".to_vec(), bytes].concat());
        }

        #[test]
        fn days_follow_one_another(days in 0_u64..2_900_000) {
            // A count by years and months, day by day, is what is compared with.
            let (mut left, mut year) = (days, 1970);
            let of = |year: u64, years: u64| year.is_multiple_of(years);
            let leap = |year: u64| of(year, 4) && (!of(year, 100) || of(year, 400));
            while left >= 365 + u64::from(leap(year)) {
                left -= 365 + u64::from(leap(year));
                year += 1;
            }
            let mut month = 1;
            loop {
                let length = match month {
                    2 => 28 + u64::from(leap(year)),
                    4 | 6 | 9 | 11 => 30,
                    _ => 31,
                };
                if left < length {
                    break;
                }
                left -= length;
                month += 1;
            }
            prop_assert_eq!(days_after_1970(year, month, left + 1), days);
        }
    }
}

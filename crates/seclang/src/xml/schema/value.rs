//! Values of the built-in types (XML Schema part 2 §3): from text to what can be compared.
//!
//! Numbers are compared as decimal digits of any length, times as seconds with or without a zone (§3.2.7.4:
//! what cannot be ordered satisfies no bound). Texts arrive with their whitespace normalized. Called by
//! [`super::simple`].

use std::cmp::Ordering;

use crate::transform::is_space;

/// A primitive type (§3.2), with those whose values are read in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Primitive {
    /// `anySimpleType` and `string`, `anyURI`: any text.
    Text,
    Boolean,
    Decimal,
    /// `float` and `double`.
    Float,
    Duration,
    DateTime,
    Time,
    Date,
    YearMonth,
    Year,
    MonthDay,
    Day,
    Month,
    Hex,
    Base64,
    /// `QName`: its value is judged where its prefix is known.
    Name,
}

impl Primitive {
    /// Says whether values can be compared by size.
    pub(super) const fn is_ordered(self) -> bool {
        !matches!(self, Self::Text | Self::Boolean | Self::Hex | Self::Base64 | Self::Name)
    }
}

/// A value of a type.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Text(Box<[u8]>),
    Boolean(bool),
    Decimal(Decimal),
    Float(f64),
    /// Months and seconds.
    Duration(i64, Decimal),
    Moment(Moment),
    Bytes(Vec<u8>),
    List(Vec<Value>),
}

/// A number as digits: no zeros before the integer's, none behind the fraction's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decimal {
    is_negative: bool,
    whole: Box<[u8]>,
    fraction: Box<[u8]>,
}

/// A place in time: seconds since the year 0 in its own zone, and the zone in minutes where it has one.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    seconds: i64,
    fraction: Box<[u8]>,
    zone: Option<i64>,
}

impl PartialEq for Moment {
    fn eq(&self, other: &Self) -> bool {
        self.order(other) == Some(Ordering::Equal)
    }
}

impl Decimal {
    /// Reads digits with a sign and a point.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let (is_negative, digits) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let point = memchr::memchr(b'.', digits).unwrap_or(digits.len());
        let (whole, fraction) = digits.split_at(point);
        let fraction = fraction.get(1..).unwrap_or_default();
        let are_digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
        if whole.is_empty() && fraction.is_empty() || !are_digits(whole) || !are_digits(fraction) {
            return None;
        }
        let zeros = whole.iter().take_while(|digit| **digit == b'0').count();
        let kept = fraction.iter().rposition(|digit| *digit != b'0').map_or(0, |at| at + 1);
        let whole: Box<[u8]> = whole.get(zeros..).unwrap_or_default().into();
        let fraction: Box<[u8]> = fraction.get(..kept).unwrap_or_default().into();
        let is_zero = whole.is_empty() && fraction.is_empty();
        Some(Self { is_negative: is_negative && !is_zero, whole, fraction })
    }

    fn key(&self) -> Vec<u8> {
        [&[u8::from(self.is_negative)], &self.whole[..], b".", &self.fraction].concat()
    }

    pub(super) fn total_digits(&self) -> usize {
        self.whole.len() + self.fraction.len()
    }

    pub(super) fn fraction_digits(&self) -> usize {
        self.fraction.len()
    }

    fn order(&self, other: &Self) -> Ordering {
        let sizes = || {
            let whole = self.whole.len().cmp(&other.whole.len()).then_with(|| self.whole.cmp(&other.whole));
            whole.then_with(|| self.fraction.cmp(&other.fraction))
        };
        match (self.is_negative, other.is_negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => sizes(),
            (true, true) => sizes().reverse(),
        }
    }
}

impl Moment {
    /// Orders two moments; nothing where that depends on a zone that is not said.
    fn order(&self, other: &Self) -> Option<Ordering> {
        let least = |moment: &Self, zone: i64| moment.seconds - moment.zone.unwrap_or(zone) * 60;
        let whole =
            |one: i64, another: i64| one.cmp(&another).then_with(|| self.fraction.cmp(&other.fraction));
        if self.zone.is_some() == other.zone.is_some() {
            return Some(whole(least(self, 0), least(other, 0)));
        }
        // A moment without a zone is in one of those from -14 to +14 hours.
        let first = whole(least(self, 840), least(other, 840));
        let last = whole(least(self, -840), least(other, -840));
        (first == last && first != Ordering::Equal).then_some(first)
    }
}

impl Value {
    /// Orders two values of a type; nothing where they have no order.
    pub(super) fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Decimal(one), Self::Decimal(other)) => Some(one.order(other)),
            (Self::Float(one), Self::Float(other)) => one.partial_cmp(other),
            (Self::Moment(one), Self::Moment(other)) => one.order(other),
            (Self::Duration(months, seconds), Self::Duration(other_months, other_seconds)) => {
                // A month is 28 to 31 days: ordered where all of four beginnings say the same (§3.2.6.2).
                let mut orders = BEGINNINGS.map(|(year, month)| {
                    let order = instant(year, month, *months, seconds).cmp(&instant(
                        year,
                        month,
                        *other_months,
                        other_seconds,
                    ));
                    if months == other_months { seconds.order(other_seconds) } else { order }
                });
                orders.sort_unstable();
                (orders.first() == orders.last()).then(|| orders.first().copied()).flatten()
            }
            _ => None,
        }
    }

    /// Writes what tells a value from others of any type, for keys (part 1 §3.11.4).
    pub(super) fn write_key(&self, out: &mut Vec<u8>) {
        let single = match self {
            Self::List(items) => items.as_slice(),
            single => std::slice::from_ref(single),
        };
        out.extend_from_slice(&(single.len() as u64).to_be_bytes());
        for value in single {
            let text: Vec<u8> = match value {
                Self::Text(text) => [b"t", &**text].concat(),
                Self::Boolean(value) => vec![b'b', u8::from(*value)],
                Self::Decimal(number) => [b"d", number.key().as_slice()].concat(),
                Self::Float(number) => [&b"f"[..], &(number + 0.0).to_bits().to_be_bytes()].concat(),
                Self::Duration(months, seconds) => {
                    [&b"p"[..], &months.to_be_bytes(), &seconds.key()].concat()
                }
                Self::Moment(moment) => {
                    let zone = moment.zone.unwrap_or(0);
                    let has_zone = [u8::from(moment.zone.is_some())];
                    let seconds = (moment.seconds - zone * 60).to_be_bytes();
                    [&b"m"[..], &has_zone, &seconds, &moment.fraction].concat()
                }
                Self::Bytes(bytes) => [b"x", bytes.as_slice()].concat(),
                // Lists hold no lists.
                Self::List(_) => Vec::new(),
            };
            out.extend_from_slice(&(text.len() as u64).to_be_bytes());
            out.extend_from_slice(&text);
        }
    }

    /// The length that `length` and its kin count (§4.3.1): characters, octets or items.
    pub(super) fn length(&self) -> Option<usize> {
        match self {
            Self::Text(text) => Some(text.iter().filter(|byte| **byte & 0xc0 != 0x80).count()),
            Self::Bytes(bytes) => Some(bytes.len()),
            Self::List(items) => Some(items.len()),
            _ => None,
        }
    }
}

/// Years and months that durations are added to for comparing them.
const BEGINNINGS: [(i64, i64); 4] = [(1696, 9), (1697, 2), (1903, 3), (1903, 7)];

/// Nanoseconds from the year 0 to a month's beginning with a duration added.
fn instant(year: i64, month: i64, months: i64, seconds: &Decimal) -> i128 {
    let all = month - 1 + months;
    let begins = days(year + all.div_euclid(12), all.rem_euclid(12) + 1, 1);
    let digits = |part: &[u8], count: usize| {
        let written = part.iter().copied().chain(std::iter::repeat(b'0')).take(count);
        written.fold(0_i128, |number, digit| number * 10 + i128::from(digit.saturating_sub(b'0')))
    };
    let size =
        digits(&seconds.whole, seconds.whole.len().min(20)) * 1_000_000_000 + digits(&seconds.fraction, 9);
    i128::from(begins) * 86_400_000_000_000 + if seconds.is_negative { -size } else { size }
}

/// Reads a text as a value of a primitive type.
pub(super) fn read(kind: Primitive, text: &[u8]) -> Option<Value> {
    match kind {
        Primitive::Text => Some(Value::Text(text.into())),
        Primitive::Boolean => match text {
            b"true" | b"1" => Some(Value::Boolean(true)),
            b"false" | b"0" => Some(Value::Boolean(false)),
            _ => None,
        },
        Primitive::Decimal => Decimal::parse(text).map(Value::Decimal),
        Primitive::Float => float(text).map(Value::Float),
        Primitive::Duration => duration(text),
        Primitive::Hex => {
            let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
            let pairs = text.chunks(2).map(|pair| match pair {
                [high, low] => Some(digit(high)? * 16 + digit(low)?),
                _ => None,
            });
            pairs.collect::<Option<Vec<u8>>>().map(Value::Bytes)
        }
        Primitive::Base64 => base64(text).map(Value::Bytes),
        Primitive::Name => is_qualified(text).then(|| Value::Text(text.into())),
        _ => moment(kind, text).map(Value::Moment),
    }
}

fn float(text: &[u8]) -> Option<f64> {
    match text {
        b"INF" => return Some(f64::INFINITY),
        b"-INF" => return Some(f64::NEG_INFINITY),
        b"NaN" => return Some(f64::NAN),
        _ => {}
    }
    let may = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E');
    let has_digit =
        text.split(|byte| matches!(byte, b'e' | b'E')).all(|part| part.iter().any(u8::is_ascii_digit));
    let text =
        std::str::from_utf8(text).ok().filter(|text| has_digit && text.bytes().all(|byte| may(&byte)))?;
    text.parse().ok()
}

/// `PnYnMnDTnHnMnS` (§3.2.6).
fn duration(text: &[u8]) -> Option<Value> {
    let (is_negative, rest) = match text {
        [b'-', b'P', rest @ ..] => (true, rest),
        [b'P', rest @ ..] => (false, rest),
        _ => return None,
    };
    let (mut months, mut seconds, mut fraction) = (0_i64, 0_i64, &b""[..]);
    let mut rest = rest;
    let mut is_time = false;
    // Designators that may still come, in their order.
    let mut order: &[u8] = b"YMD";
    let mut is_any = false;
    while let Some(first) = rest.first() {
        if *first == b'T' && !is_time {
            (is_time, order, is_any) = (true, b"HMS", false);
            rest = rest.get(1..)?;
            continue;
        }
        let end = rest.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'.')?;
        let (digits, behind) = rest.split_at(end);
        let designator = *behind.first()?;
        let place = memchr::memchr(designator, order)?;
        order = order.get(place + 1..)?;
        let point = memchr::memchr(b'.', digits);
        if point.is_some() && designator != b'S' {
            return None;
        }
        let (whole, part) = digits.split_at(point.unwrap_or(digits.len()));
        if whole.is_empty() || whole.len() > 12 || point.is_some() && part.len() < 2 {
            return None;
        }
        let number: i64 = std::str::from_utf8(whole).ok()?.parse().ok()?;
        match (is_time, designator) {
            (false, b'Y') => months += number * 12,
            (false, b'M') => months += number,
            (false, _) => seconds += number * 86_400,
            (true, b'H') => seconds += number * 3_600,
            (true, b'M') => seconds += number * 60,
            (true, _) => {
                seconds += number;
                fraction = part.get(1..).unwrap_or_default();
            }
        }
        is_any = true;
        rest = behind.get(1..)?;
    }
    if !is_any {
        return None;
    }
    let sign = if is_negative { "-" } else { "" };
    let digits = [format!("{sign}{seconds}.").as_bytes(), fraction].concat();
    Some(Value::Duration(if is_negative { -months } else { months }, Decimal::parse(&digits)?))
}

fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let letters: Vec<u8> = text.iter().copied().filter(|byte| !is_space(*byte)).collect();
    let padding = letters.iter().rev().take_while(|byte| **byte == b'=').count();
    let (plain, _) = letters.split_at(letters.len() - padding);
    if !letters.len().is_multiple_of(4) || padding > 2 {
        return None;
    }
    let mut out = Vec::with_capacity(plain.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0_u32);
    for letter in plain {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    // What is left over is zero (§3.2.16).
    (bits == 0).then_some(out)
}

/// `name` or `prefix:name`.
fn is_qualified(text: &[u8]) -> bool {
    let mut parts = text.split(|byte| *byte == b':');
    parts.clone().count() <= 2 && parts.all(super::lexical::is_ncname)
}

/// Takes `count` digits (at least so many where `may_more`) off a text.
fn digits<'a>(text: &mut &'a [u8], count: usize, may_more: bool) -> Option<&'a [u8]> {
    let run = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let taken = if may_more { run } else { run.min(count) };
    if taken < count {
        return None;
    }
    let (head, rest) = text.split_at(taken);
    *text = rest;
    Some(head)
}

fn number(text: &mut &[u8]) -> Option<i64> {
    std::str::from_utf8(digits(text, 2, false)?).ok()?.parse().ok()
}

fn sign(text: &mut &[u8], expected: &[u8]) -> Option<()> {
    *text = text.strip_prefix(expected)?;
    Some(())
}

/// A date, a time, or a part of one (§3.2.7 to §3.2.14).
fn moment(kind: Primitive, text: &[u8]) -> Option<Moment> {
    use Primitive as P;
    let mut rest = text;
    let (mut year, mut month, mut day) = (4_i64, 1_i64, 1_i64);
    let (mut seconds, mut fraction) = (0_i64, &b""[..]);
    if matches!(kind, P::DateTime | P::Date | P::YearMonth | P::Year) {
        let is_negative = rest.first() == Some(&b'-');
        rest = rest.strip_prefix(b"-").unwrap_or(rest);
        let written = digits(&mut rest, 4, true)?;
        // Nine digits are more than anybody means, and reckoning cannot overflow.
        if written.len() > 9 || written.len() > 4 && written.first() == Some(&b'0') {
            return None;
        }
        year = std::str::from_utf8(written).ok()?.parse().ok()?;
        if year == 0 {
            return None;
        }
        if is_negative {
            year = 1 - year;
        }
    }
    match kind {
        P::DateTime | P::Date | P::YearMonth => {
            sign(&mut rest, b"-")?;
            month = number(&mut rest)?;
        }
        P::MonthDay | P::Month => {
            sign(&mut rest, b"--")?;
            month = number(&mut rest)?;
        }
        _ => {}
    }
    match kind {
        P::DateTime | P::Date | P::MonthDay => {
            sign(&mut rest, b"-")?;
            day = number(&mut rest)?;
        }
        P::Day => {
            sign(&mut rest, b"---")?;
            day = number(&mut rest)?;
        }
        _ => {}
    }
    if kind == P::DateTime {
        sign(&mut rest, b"T")?;
    }
    if matches!(kind, P::DateTime | P::Time) {
        let hour = number(&mut rest)?;
        sign(&mut rest, b":")?;
        let minute = number(&mut rest)?;
        sign(&mut rest, b":")?;
        let second = number(&mut rest)?;
        if let Some(behind) = rest.strip_prefix(b".") {
            rest = behind;
            fraction = digits(&mut rest, 1, true)?;
        }
        let is_zero = minute == 0 && second == 0 && fraction.iter().all(|digit| *digit == b'0');
        if hour > 24 || hour == 24 && !is_zero || minute > 59 || second > 59 {
            return None;
        }
        seconds = hour * 3_600 + minute * 60 + second;
    }
    if !(1..=12).contains(&month) || day < 1 || day > days_of(year, month) {
        return None;
    }
    let zone = zone(rest)?;
    let kept = fraction.iter().rposition(|digit| *digit != b'0').map_or(0, |at| at + 1);
    Some(Moment {
        seconds: days(year, month, day) * 86_400 + seconds,
        fraction: fraction.get(..kept).unwrap_or_default().into(),
        zone,
    })
}

/// The zone at a text's end: nothing, `Z`, or hours and minutes.
fn zone(text: &[u8]) -> Option<Option<i64>> {
    match text {
        b"" => Some(None),
        b"Z" => Some(Some(0)),
        [sign @ (b'+' | b'-'), rest @ ..] => {
            let mut rest = rest;
            let hours = number(&mut rest)?;
            rest = rest.strip_prefix(b":")?;
            let minutes = number(&mut rest)?;
            let all = hours * 60 + minutes;
            let is_proper = rest.is_empty() && minutes < 60 && all <= 840;
            is_proper.then_some(Some(if *sign == b'-' { -all } else { all }))
        }
        _ => None,
    }
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_of(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from the year 0 on, in the calendar of today carried back.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let years = before * 365 + before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400);
    years + (1..month).map(|month| days_of(year, month)).sum::<i64>() + day
}

//! What each function does.
//!
//! A missing argument makes the result missing, unless the reference says otherwise (`len`, `concat`, `any`,
//! `all`). Prices are charged before the work; they are the ones of the functions' table. Called by
//! `eval.rs`.

use std::io::Write as _;
use std::net::IpAddr;

use fuel::Spent;

use super::Run;
use crate::address::network_range;
use crate::check::Prepared;
use crate::encoding::{
    HmacToken, base64_decode, base64_encode, remove_query_args, url_decode, url_decode_all, uuidv4,
};
use crate::function::Function;
use crate::json::{self, Step};
use crate::limits::DECODE_PASSES_MAX;
use crate::scratch::{Text, Val};

type Argument<'a, 'r> = &'a dyn Fn(&Run<'r>, usize) -> Val;

impl<'r> Run<'r> {
    pub(super) fn call(
        &mut self,
        function: Function,
        prepared: Option<&Prepared>,
        count: usize,
        argument: Argument<'_, 'r>,
    ) -> Result<Val, Spent> {
        self.fuel.spend(4)?;
        let first = argument(self, 0);
        match function {
            Function::Any | Function::All => self.any_or_all(function == Function::All, first),
            Function::Len => Ok(Val::Int(match first {
                Val::Text(text) => i64::from(text.len),
                Val::Array { len, .. } => i64::from(len),
                _ => 0,
            })),
            Function::Cidr | Function::Cidr6 => Ok(self.cidr(function, first, argument)),
            Function::Concat => self.concat(count, argument),
            Function::HasKey => self.has_key(first, argument(self, 1)),
            Function::HasValue => self.has_value(first, argument(self, 1)),
            Function::Join => self.join(first, argument(self, 1)),
            Function::ToString => self.as_text(first),
            _ => match first {
                Val::Text(text) => self.call_on_text(function, prepared, count, text, argument),
                _ => Ok(Val::Missing),
            },
        }
    }

    /// Functions whose first argument is a string that is there.
    fn call_on_text(
        &mut self,
        function: Function,
        prepared: Option<&Prepared>,
        count: usize,
        text: Text,
        argument: Argument<'_, 'r>,
    ) -> Result<Val, Spent> {
        let flags = |run: &Self, place: usize, flag: u8| match argument(run, place) {
            Val::Text(flags) => run.resolve(flags).contains(&flag),
            _ => false,
        };
        let made = match function {
            Function::Lower => self.make_from(text, 1, |bytes, out| {
                out.extend(bytes.iter().map(u8::to_ascii_lowercase));
                true
            })?,
            Function::Upper => self.make_from(text, 1, |bytes, out| {
                out.extend(bytes.iter().map(u8::to_ascii_uppercase));
                true
            })?,
            Function::DecodeBase64 => self.make_from(text, 2, base64_decode)?,
            Function::EncodeBase64 => {
                let (is_url_safe, is_padded) = (flags(self, 1, b'u'), flags(self, 1, b'p'));
                self.make_from(text, 2, |bytes, out| {
                    base64_encode(bytes, is_url_safe, is_padded, out);
                    true
                })?
            }
            Function::UrlDecode => {
                let (is_deep, is_wide) = (flags(self, 1, b'r'), flags(self, 1, b'u'));
                return self.url_decode(text, is_deep, is_wide);
            }
            Function::Sha256 => {
                self.fuel.spend(500)?;
                self.make_from(text, 8, |bytes, out| {
                    out.extend_from_slice(&<sha2::Sha256 as sha2::Digest>::digest(bytes));
                    true
                })?
            }
            Function::Uuidv4 => {
                self.fuel.spend(600)?;
                self.make_from(text, 8, |bytes, out| {
                    uuidv4(bytes, out);
                    true
                })?
            }
            Function::RemoveBytes => {
                let Val::Text(removed) = argument(self, 1) else { return Ok(Val::Missing) };
                let mut is_removed = [false; 256];
                for byte in self.resolve(removed) {
                    if let Some(place) = is_removed.get_mut(usize::from(*byte)) {
                        *place = true;
                    }
                }
                let stays = |byte: &&u8| !is_removed.get(usize::from(**byte)).copied().unwrap_or_default();
                self.make_from(text, 1, |bytes, out| {
                    out.extend(bytes.iter().filter(stays));
                    true
                })?
            }
            Function::RemoveQueryArgs => {
                let names: Vec<Text> = (1..count)
                    .filter_map(|place| match argument(self, place) {
                        Val::Text(name) => Some(name),
                        _ => None,
                    })
                    .collect();
                self.make((2 + names.len() as u64) * u64::from(text.len), |run, out| {
                    let is_removed = |found: &[u8]| names.iter().any(|name| run.resolve(*name) == found);
                    remove_query_args(run.resolve(text), is_removed, out);
                    true
                })?
            }
            Function::RegexReplace | Function::WildcardReplace => return self.replaced(prepared, text),
            Function::Substring => {
                return Ok(self.substring(text, argument(self, 1), argument(self, 2), count == 3));
            }
            Function::Split => return self.split(text, argument(self, 1), argument(self, 2)),
            Function::StartsWith | Function::EndsWith => {
                let Val::Text(part) = argument(self, 1) else { return Ok(Val::Missing) };
                self.fuel.spend(u64::from(part.len) / 16)?;
                let (whole, part) = (self.resolve(text), self.resolve(part));
                let holds = if function == Function::StartsWith {
                    whole.starts_with(part)
                } else {
                    whole.ends_with(part)
                };
                return Ok(Val::Bool(holds));
            }
            Function::LookupJsonString | Function::LookupJsonInteger => {
                return self.lookup_json(function == Function::LookupJsonInteger, text, count, argument);
            }
            Function::IsTimedHmacValidV0 => return self.hmac(text, argument),
            _ => None,
        };
        Ok(made.map_or(Val::Missing, Val::Text))
    }

    fn any_or_all(&mut self, is_all: bool, answers: Val) -> Result<Val, Spent> {
        let Val::Array { start, len } = answers else { return Ok(Val::Missing) };
        self.fuel.spend(u64::from(len))?;
        let mut items = (start..start + len).map(|place| self.item(place) == Val::Bool(true));
        Ok(Val::Bool(if is_all { items.all(|holds| holds) } else { items.any(|holds| holds) }))
    }

    fn cidr(&self, function: Function, address: Val, argument: Argument<'_, 'r>) -> Val {
        let bits = |place: usize| match argument(self, place) {
            Val::Int(bits) => u8::try_from(bits).unwrap_or(128),
            _ => 128,
        };
        match (address, function) {
            (Val::Ip(v4 @ IpAddr::V4(_)), Function::Cidr) => Val::Ip(network_range(v4, bits(1)).0),
            (Val::Ip(v6 @ IpAddr::V6(_)), Function::Cidr) => Val::Ip(network_range(v6, bits(2)).0),
            (Val::Ip(v6 @ IpAddr::V6(_)), _) => Val::Ip(network_range(v6, bits(1)).0),
            (other, _) => other,
        }
    }

    fn concat(&mut self, count: usize, argument: Argument<'_, 'r>) -> Result<Val, Spent> {
        let there =
            |run: &Self| (0..count).map(|place| argument(run, place)).find(|value| *value != Val::Missing);
        match there(self) {
            None => Ok(Val::Missing),
            Some(Val::Array { .. }) => {
                let begin = self.scratch.items.len();
                for place in 0..count {
                    let Val::Array { start, len } = argument(self, place) else { continue };
                    for item in start..start + len {
                        self.fuel.spend(1)?;
                        self.push_item(self.item(item))?;
                    }
                }
                Ok(self.array_from(begin))
            }
            Some(_) => {
                let bytes = (0..count).map(|place| match argument(self, place) {
                    Val::Text(text) => u64::from(text.len),
                    _ => 20,
                });
                let price = bytes.sum::<u64>() / 4;
                let made = self.make(price, |run, out| {
                    for place in 0..count {
                        run.write(argument(run, place), out);
                    }
                    true
                })?;
                Ok(made.map_or(Val::Missing, Val::Text))
            }
        }
    }

    fn write(&self, value: Val, out: &mut Vec<u8>) {
        // Writing to a vector cannot fail.
        let _ = match value {
            Val::Text(text) => out.write_all(self.resolve(text)),
            Val::Int(value) => write!(out, "{value}"),
            Val::Bool(value) => write!(out, "{value}"),
            Val::Ip(value) => write!(out, "{value}"),
            _ => Ok(()),
        };
    }

    fn as_text(&mut self, value: Val) -> Result<Val, Spent> {
        if !matches!(value, Val::Int(_) | Val::Bool(_) | Val::Ip(_)) {
            return Ok(Val::Missing);
        }
        let made = self.make(28, |run, out| {
            run.write(value, out);
            true
        })?;
        Ok(made.map_or(Val::Missing, Val::Text))
    }

    fn has_key(&mut self, map: Val, key: Val) -> Result<Val, Spent> {
        let (Val::Map(map), Val::Text(key)) = (map, key) else { return Ok(Val::Missing) };
        self.fuel.spend(u64::from(key.len) / 4)?;
        let mut wanted = std::mem::take(&mut self.scratch.spare);
        wanted.clear();
        wanted.extend_from_slice(self.resolve(key));
        let mut is_there = false;
        let found = self.find_key(map, &wanted, |_, _| {
            is_there = true;
            Ok(())
        });
        self.scratch.spare = wanted;
        found?;
        Ok(Val::Bool(is_there))
    }

    fn has_value(&mut self, held: Val, value: Val) -> Result<Val, Spent> {
        // Maps of scalars are filled by nothing yet, so they hold nothing.
        let Val::Array { start, len } = held else {
            return Ok(if held == Val::Missing || value == Val::Missing {
                Val::Missing
            } else {
                Val::Bool(false)
            });
        };
        if value == Val::Missing {
            return Ok(Val::Missing);
        }
        for place in start..start + len {
            self.fuel.spend(2)?;
            let is_equal = match (self.item(place), value) {
                (Val::Text(one), Val::Text(other)) => {
                    self.fuel.spend(u64::from(one.len.min(other.len)) / 16)?;
                    self.resolve(one) == self.resolve(other)
                }
                (one, other) => one == other,
            };
            if is_equal {
                return Ok(Val::Bool(true));
            }
        }
        Ok(Val::Bool(false))
    }

    fn join(&mut self, items: Val, separator: Val) -> Result<Val, Spent> {
        let (Val::Array { start, len }, Val::Text(separator)) = (items, separator) else {
            return Ok(Val::Missing);
        };
        self.fuel.spend(u64::from(len))?;
        let bytes: u64 = (start..start + len)
            .map(|place| match self.item(place) {
                Val::Text(text) => u64::from(text.len) + u64::from(separator.len),
                _ => 0,
            })
            .sum();
        if bytes > crate::limits::MADE_BYTES_MAX as u64 {
            return Err(self.exhaust());
        }
        let made = self.make(bytes / 4, |run, out| {
            for place in start..start + len {
                if place > start {
                    out.extend_from_slice(run.resolve(separator));
                }
                run.write(run.item(place), out);
            }
            true
        })?;
        Ok(made.map_or(Val::Missing, Val::Text))
    }

    fn url_decode(&mut self, text: Text, is_deep: bool, is_wide: bool) -> Result<Val, Spent> {
        // Most values have nothing to decode, and stay where they are.
        let bytes = self.resolve(text);
        if memchr::memchr2(b'%', b'+', bytes).is_none() {
            self.fuel.spend(u64::from(text.len) / 8)?;
            return Ok(Val::Text(text));
        }
        let passes = if is_deep { DECODE_PASSES_MAX as u64 } else { 1 };
        let made = self.make_from(text, 2 * passes, |bytes, out| {
            if is_deep {
                url_decode_all(bytes, is_wide, out);
            } else {
                url_decode(bytes, is_wide, out);
            }
            true
        })?;
        Ok(made.map_or(Val::Missing, Val::Text))
    }

    fn replaced(&mut self, prepared: Option<&Prepared>, text: Text) -> Result<Val, Spent> {
        match prepared {
            Some(Prepared::Pattern(pattern, replacement)) => {
                self.fuel.spend(4 * pattern.price(text.len as usize))?;
                let made =
                    self.make_from(text, 1, |bytes, out| match pattern.replace(bytes, replacement) {
                        Some(replaced) => {
                            *out = replaced;
                            true
                        }
                        None => false,
                    })?;
                Ok(Val::Text(made.unwrap_or(text)))
            }
            Some(Prepared::Wildcard(wildcard, replacement)) => {
                self.fuel.spend(16)?;
                let made = self.make_from(text, 3, |bytes, out| {
                    let captures = if wildcard.is_strict() {
                        wildcard.captures(bytes)
                    } else {
                        wildcard.captures(&bytes.to_ascii_lowercase())
                    };
                    let Some(captures) = captures else { return false };
                    replacement.write(out, |group| match group.checked_sub(1) {
                        None => Some(bytes),
                        Some(star) => captures.get(star).and_then(|(start, end)| bytes.get(*start..*end)),
                    });
                    true
                })?;
                Ok(Val::Text(made.unwrap_or(text)))
            }
            _ => Ok(Val::Missing),
        }
    }

    /// Part of a string, which stays where it is.
    fn substring(&self, text: Text, from: Val, to: Val, has_end: bool) -> Val {
        let len = i64::from(text.len);
        let place = |value: Val| match value {
            Val::Int(place) if place < 0 => Some(place.saturating_add(len).max(0)),
            Val::Int(place) => Some(place.min(len)),
            _ => None,
        };
        let end = if has_end { place(to) } else { Some(len) };
        let (Some(start), Some(end)) = (place(from), end) else { return Val::Missing };
        let length = (end - start).max(0);
        Val::Text(Text { start: text.start + start as u32, len: length as u32, ..text })
    }

    fn split(&mut self, text: Text, separator: Val, limit: Val) -> Result<Val, Spent> {
        let (Val::Text(separator), Val::Int(limit)) = (separator, limit) else { return Ok(Val::Missing) };
        self.fuel.spend(u64::from(text.len) + 4 * limit.unsigned_abs())?;
        let mut places = Vec::new();
        {
            let (bytes, separator) = (self.resolve(text), self.resolve(separator));
            let mut start = 0;
            for found in memchr::memmem::find_iter(bytes, separator).take((limit - 1).max(0) as usize) {
                places.push((start, found));
                start = found + separator.len();
            }
            places.push((start, bytes.len()));
        }
        let begin = self.scratch.items.len();
        for (start, end) in places {
            let part = Text { start: text.start + start as u32, len: (end - start) as u32, ..text };
            self.push_item(Val::Text(part))?;
        }
        Ok(self.array_from(begin))
    }

    fn lookup_json(
        &mut self,
        wants_integer: bool,
        document: Text,
        count: usize,
        argument: Argument<'_, 'r>,
    ) -> Result<Val, Spent> {
        self.fuel.spend(4 * u64::from(document.len) * (count as u64).max(1))?;
        let find = |run: &Self| {
            let mut value = run.resolve(document);
            for place in 1..count {
                let key = argument(run, place);
                value = match key {
                    Val::Text(key) => json::step_into(value, Step::Key(run.resolve(key)))?,
                    Val::Int(place) => json::step_into(value, Step::At(usize::try_from(place).ok()?))?,
                    _ => return None,
                };
            }
            Some(value.to_vec())
        };
        let Some(value) = find(self) else { return Ok(Val::Missing) };
        if wants_integer {
            return Ok(json::integer(&value).map_or(Val::Missing, Val::Int));
        }
        let made = self.make(0, |_, out| json::string(&value, out))?;
        Ok(made.map_or(Val::Missing, Val::Text))
    }

    /// The key is the first argument, the token the second.
    fn hmac(&mut self, key: Text, argument: Argument<'_, 'r>) -> Result<Val, Spent> {
        let (Val::Text(token), Val::Int(ttl_s), Val::Int(now_s)) =
            (argument(self, 1), argument(self, 2), argument(self, 3))
        else {
            return Ok(Val::Missing);
        };
        let separator_len = match argument(self, 4) {
            Val::Int(len) => usize::try_from(len).unwrap_or_default(),
            _ => 0,
        };
        let is_url_safe = match argument(self, 5) {
            Val::Text(flags) => self.resolve(flags).contains(&b's'),
            _ => false,
        };
        self.fuel.spend(4000 + 16 * u64::from(token.len))?;
        let (key, token) = (self.resolve(key), self.resolve(token));
        let token = HmacToken { key, token, ttl_s, now_s, separator_len, is_url_safe };
        Ok(Val::Bool(token.is_valid()))
    }
}

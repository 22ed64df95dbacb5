//! Which arguments each function takes, and what it gives.
//!
//! `[*]` may stand in the first argument only; the call is then made for each item and gives an array.
//! Arguments that must be literals are prepared here: patterns, wildcards, replacements. Called by
//! `check.rs`.

use std::sync::Arc;

use super::{Checker, Expr, Op, Prepared, is_literal, shown};
use crate::field::Field;
use crate::function::{Function, FunctionRow};
use crate::kind::{Scalar, Shape, Type};
use crate::pattern::Replacement;
use crate::predicate::{Predicate, Test};
use crate::problem::{Span, nearest};
use crate::syntax::Id;

/// What an argument may be.
#[derive(Clone, Copy)]
enum Takes {
    Bytes,
    /// A literal of bytes.
    Text,
    Int,
    /// A literal integer within bounds.
    Number(i64, i64),
    Ip,
    BoolArray,
    BytesArray,
    BytesOrArray,
    BytesOrInt,
    NoBytes,
    Map,
    Query,
    Anything,
}

use Takes::{
    Anything, BoolArray, Bytes, BytesArray, BytesOrArray, BytesOrInt, Int, Ip, Map, NoBytes, Number, Query,
    Text,
};

/// Arguments that must be there, arguments that may, and whether the last repeats.
fn parameters(function: Function) -> (&'static [Takes], &'static [Takes], bool) {
    match function {
        Function::Any | Function::All => (&[BoolArray], &[], false),
        Function::Cidr => (&[Ip, Number(1, 32), Number(1, 128)], &[], false),
        Function::Cidr6 => (&[Ip, Number(1, 128)], &[], false),
        Function::Concat => (&[Anything, Anything], &[], true),
        Function::DecodeBase64 | Function::Lower | Function::Upper | Function::Sha256 | Function::Uuidv4 => {
            (&[Bytes], &[], false)
        }
        Function::EncodeBase64 | Function::UrlDecode => (&[Bytes], &[Text], false),
        Function::EndsWith | Function::StartsWith => (&[Bytes, Bytes], &[], false),
        Function::HasKey => (&[Map, Bytes], &[], false),
        Function::HasValue => (&[Anything, Anything], &[], false),
        Function::IsTimedHmacValidV0 => {
            (&[Text, Bytes, Number(0, i64::MAX), Int], &[Number(0, 4096), Text], false)
        }
        Function::Join => (&[BytesArray, Bytes], &[], false),
        Function::Len => (&[BytesOrArray], &[], false),
        Function::LookupJsonInteger | Function::LookupJsonString => (&[Bytes, BytesOrInt], &[], true),
        Function::RegexReplace => (&[Bytes, Text, Text], &[], false),
        Function::RemoveBytes => (&[Bytes, Text], &[], false),
        Function::RemoveQueryArgs => (&[Query, Bytes], &[], true),
        Function::Split => (&[Bytes, Text, Number(1, 128)], &[], false),
        Function::Substring => (&[Bytes, Int], &[Int], false),
        Function::ToString => (&[NoBytes], &[], false),
        Function::WildcardReplace => (&[Bytes, Text, Text], &[Text], false),
    }
}

impl Checker<'_, '_, '_> {
    pub(super) fn call(&mut self, name: &str, name_at: Span, arguments: &[Id], at: Span) -> Expr {
        let Some(row) = Function::named(name) else {
            let meant = nearest(name, Function::ALL.iter().map(|row| row.name));
            let is_field = Field::named(name).is_some();
            let what = if is_field {
                format!("`{name}` is a field and takes no arguments")
            } else {
                format!("there is no function `{name}`")
            };
            self.problems.add_with(name_at, what, "", meant.filter(|_| !is_field));
            return Self::wrong(at);
        };
        if row.rewrites_only && !self.may_rewrite {
            let what = format!("`{name}` may not be used in a condition");
            return self.report(name_at, what, "it is for values of rewrites and redirects");
        }
        let (required, optional, repeats) = parameters(row.function);
        let most = if repeats { usize::MAX } else { required.len() + optional.len() };
        if arguments.len() < required.len() || arguments.len() > most {
            let what = format!("`{name}` is given {} arguments", arguments.len());
            return self.report(at, what, format!("it takes {}", row.signature));
        }
        let takes = required.iter().chain(optional).copied();
        let last = required.last().copied().unwrap_or(Anything);
        let mut is_right = true;
        for (place, (id, takes)) in arguments.iter().zip(takes.chain(std::iter::repeat(last))).enumerate() {
            is_right &= self.argument(row, place, *id, takes);
        }
        if !is_right {
            return Self::wrong(at);
        }
        self.given(row, name_at, arguments, at)
    }

    /// Whether an argument fits; a mistake of its own was reported where it stands.
    fn argument(&mut self, row: &FunctionRow, place: usize, id: Id, takes: Takes) -> bool {
        let at = self.span(id);
        let Some(expr) = self.expr(id) else { return false };
        if expr.is_spread && place > 0 {
            self.report(
                at,
                "`[*]` stands in an argument that is not the first",
                "only the first may be many",
            );
            return false;
        }
        let (ty, what) = (expr.ty, shown(expr));
        let fits = match takes {
            Bytes => ty == Type::BYTES,
            Text => matches!(expr.op, Op::Bytes(_)),
            Int => ty == Type::INT,
            Number(low, high) => match expr.op {
                Op::Int(value) if (low..=high).contains(&value) => true,
                Op::Int(value) => {
                    let what = format!("{value} is out of bounds");
                    self.report(at, what, format!("expected {low} to {high}"));
                    return false;
                }
                _ => false,
            },
            Ip => ty == Type::IP,
            BoolArray => ty == Type::array(Scalar::Bool),
            BytesArray => ty == Type::array(Scalar::Bytes),
            BytesOrArray => ty == Type::BYTES || ty.is_array(),
            BytesOrInt => ty == Type::BYTES || ty == Type::INT,
            NoBytes => ty.is_one() && ty.scalar != Scalar::Bytes,
            Map => ty.is_map(),
            Query => matches!(expr.op, Op::Field(Field::Query | Field::RawQuery)),
            Anything => true,
        };
        if !fits {
            let expected = match takes {
                Text | Number(..) => "a literal is wanted".to_owned(),
                Query => "`http.request.uri.query` or `raw.http.request.uri.query` is wanted".to_owned(),
                _ => format!("it takes {}", row.signature),
            };
            self.report(
                at,
                format!("`{}` does not take {what} as argument {}", row.name, place + 1),
                expected,
            );
        }
        fits
    }

    fn literal(&self, arguments: &[Id], place: usize) -> Option<Arc<[u8]>> {
        match self.expr(*arguments.get(place)?)?.op {
            Op::Bytes(ref text) => Some(Arc::clone(text)),
            _ => None,
        }
    }

    fn ty_of(&self, arguments: &[Id], place: usize) -> Type {
        arguments.get(place).and_then(|id| self.expr(*id)).map_or(Type::BYTES, |expr| expr.ty)
    }

    /// Checks what goes beyond one argument, prepares literals, and finds the result's type.
    fn given(&mut self, row: &FunctionRow, name_at: Span, arguments: &[Id], at: Span) -> Expr {
        let mut prepared = Prepared::Nothing;
        let ty = match row.function {
            Function::Any
            | Function::All
            | Function::EndsWith
            | Function::StartsWith
            | Function::HasKey
            | Function::IsTimedHmacValidV0 => Type::BOOL,
            Function::Cidr | Function::Cidr6 => Type::IP,
            Function::Len | Function::LookupJsonInteger => Type::INT,
            Function::Split => Type::array(Scalar::Bytes),
            Function::Concat => match self.concat(arguments, row) {
                Some(ty) => ty,
                None => return Self::wrong(at),
            },
            Function::HasValue => {
                let (held, value) = (self.ty_of(arguments, 0), self.ty_of(arguments, 1));
                let is_flat = matches!(held.shape, Shape::Array | Shape::Map);
                if !is_flat || held.item() != Some(value) {
                    let what = format!("`has_value` is given {held} and {value}");
                    return self.report(at, what, format!("it takes {}", row.signature));
                }
                Type::BOOL
            }
            _ => Type::BYTES,
        };
        match row.function {
            Function::RegexReplace | Function::WildcardReplace => {
                self.replacements += 1;
                if self.replacements > 1 {
                    let what = "an expression has one `regex_replace` or `wildcard_replace`";
                    return self.report(name_at, what, "put the second into a rule of its own");
                }
                match self.replacement(row.function, arguments) {
                    Some(made) => prepared = made,
                    None => return Self::wrong(at),
                }
            }
            Function::Split if self.literal(arguments, 1).is_some_and(|text| text.is_empty()) => {
                return self.report(at, "the separator is empty", "expected at least one byte");
            }
            Function::UrlDecode => {
                if let Some(wrong) = self.flag(arguments, 1, b"ru") {
                    return wrong;
                }
            }
            Function::EncodeBase64 => {
                if let Some(wrong) = self.flag(arguments, 1, b"up") {
                    return wrong;
                }
            }
            Function::IsTimedHmacValidV0 => {
                if let Some(wrong) = self.flag(arguments, 5, b"s") {
                    return wrong;
                }
            }
            Function::EndsWith | Function::StartsWith => {
                // With a literal it is a question about one value, answered with the others about it.
                if let (Some(text), Some(of)) = (self.literal(arguments, 1), arguments.first().copied())
                    && self.expr(of).is_some_and(|expr| !is_literal(&expr.op))
                {
                    let (test, tag) = match row.function {
                        Function::EndsWith => (Test::Ends(Arc::clone(&text)), "ends"),
                        _ => (Test::Starts(Arc::clone(&text)), "starts"),
                    };
                    let is_spread = self.expr(of).is_some_and(|expr| expr.is_spread);
                    let ty = if is_spread { Type::array(Scalar::Bool) } else { Type::BOOL };
                    let predicate = Predicate::new(test, tag, &text);
                    return Expr { op: Op::Test { of, predicate }, ty, is_spread: false, at };
                }
            }
            _ => {}
        }
        let is_spread = arguments.first().and_then(|id| self.expr(*id)).is_some_and(|expr| expr.is_spread);
        let ty = if is_spread { ty.in_array() } else { Some(ty) };
        let Some(ty) = ty else {
            return self.report(at, "the result would be an array too deep", "index the argument first");
        };
        let op = Op::Call { function: row.function, arguments: arguments.into(), prepared };
        Expr { op, ty, is_spread: false, at }
    }

    /// All arguments are strings and integers, or all are arrays of one type.
    fn concat(&mut self, arguments: &[Id], row: &FunctionRow) -> Option<Type> {
        let first = self.ty_of(arguments, 0);
        let is_text = |ty: Type| ty == Type::BYTES || ty == Type::INT;
        for (place, id) in arguments.iter().enumerate() {
            let ty = self.ty_of(arguments, place);
            let fits = if is_text(first) { is_text(ty) } else { first.is_array() && ty == first };
            if !fits {
                let what = format!("`concat` does not take {ty} as argument {}", place + 1);
                self.report(self.span(*id), what, format!("it takes {}", row.signature));
                return None;
            }
        }
        Some(if is_text(first) { Type::BYTES } else { first })
    }

    fn flag(&mut self, arguments: &[Id], place: usize, known: &[u8]) -> Option<Expr> {
        let flags = self.literal(arguments, place)?;
        let wrong = flags.iter().find(|flag| !known.contains(flag))?;
        let at = arguments.get(place).map_or(Span::new(0, 0), |id| self.span(*id));
        let what = format!("`{}` is not a flag", char::from(*wrong));
        let expected = format!("flags are the letters of \"{}\"", String::from_utf8_lossy(known));
        Some(self.report(at, what, expected))
    }

    fn replacement(&mut self, function: Function, arguments: &[Id]) -> Option<Prepared> {
        let (pattern, text) = (self.literal(arguments, 1)?, self.literal(arguments, 2)?);
        let place = |place: usize| arguments.get(place).copied().unwrap_or_default();
        let (pattern_at, text_at) = (self.span(place(1)), self.span(place(2)));
        if function == Function::RegexReplace {
            let Ok(source) = std::str::from_utf8(&pattern) else {
                self.report(
                    pattern_at,
                    "the regular expression is not UTF-8",
                    "write bytes as \\xHH in r\"…\"",
                );
                return None;
            };
            let pattern = self.pattern(source, pattern_at)?;
            return match Replacement::new(&text, pattern.groups()) {
                Ok(replacement) => Some(Prepared::Pattern(pattern, Arc::new(replacement))),
                Err(what) => {
                    self.report(text_at, what, "");
                    None
                }
            };
        }
        if self.flag(arguments, 3, b"s").is_some() {
            return None;
        }
        let is_strict = self.literal(arguments, 3).is_some_and(|flags| flags.contains(&b's'));
        let wildcard = self.wildcard(&pattern, is_strict, pattern_at)?;
        match Replacement::new(&text, wildcard.stars() + 1) {
            Ok(replacement) => Some(Prepared::Wildcard(wildcard, Arc::new(replacement))),
            Err(what) => {
                self.report(text_at, what, "");
                None
            }
        }
    }
}

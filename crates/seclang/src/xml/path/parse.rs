//! Reading a path: tokens (XPath 1.0 §3.7), steps (§2), predicates (§3).
//!
//! Operators of a predicate stand on a stack until their operands are there, so nothing recurses. What is not
//! read is told by name: a predicate within a predicate, arithmetic, variables, axes over siblings, paths of
//! a predicate that lead up or begin anew (each would look through the whole document for each node), two
//! paths compared with each other. Called by [`Path::parse`].

use super::{Axis, Comparison, Function, Location, Op, Path, Predicate, Step, Test};
use crate::problem::Wrong;
use crate::xml::limits::PATH_BYTES_MAX;
use crate::xml::tree::XML_URI;

/// A token.
#[derive(Debug, Clone, PartialEq)]
enum Token<'a> {
    /// A name, with its prefix.
    Name(&'a str),
    /// `prefix:*`.
    AnyOf(&'a str),
    Text(&'a str),
    Number(f64),
    /// Anything else, as written.
    Sign(&'static str),
}

/// Signs, the longer ones first.
const SIGNS: &[&str] = &[
    "//", "::", "..", "!=", "<=", ">=", "/", "@", "(", ")", "[", "]", ",", "|", "+", "-", "*", "=", "<", ">",
    ".", "$",
];

fn tokens(text: &str) -> Result<Vec<Token<'_>>, Wrong> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let token;
        if let quote @ ('"' | '\'') = first {
            let inside = rest.get(1..).unwrap_or_default();
            let end =
                inside.find(quote).ok_or_else(|| Wrong::new(format!("a quote in `{text}` is not closed")))?;
            token = Token::Text(inside.get(..end).unwrap_or_default());
            rest = inside.get(end + 1..).unwrap_or_default();
        } else if first.is_ascii_digit() || first == '.' && rest.get(1..).is_some_and(starts_with_digit) {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let (number, behind) = rest.split_at(end);
            let value =
                number.parse().map_err(|_| Wrong::new(format!("`{number}` in `{text}` is no number")))?;
            (token, rest) = (Token::Number(value), behind);
        } else if is_name_start(first) {
            let end = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
            let (name, behind) = rest.split_at(end);
            let local = behind.strip_prefix(':').filter(|local| !local.starts_with(':'));
            match local {
                Some(local) if local.starts_with('*') => {
                    (token, rest) = (Token::AnyOf(name), local.get(1..).unwrap_or_default());
                }
                Some(local) if local.starts_with(is_name_start) => {
                    let length = local.find(|c: char| !is_name(c)).unwrap_or(local.len());
                    let whole = rest.get(..end + 1 + length).unwrap_or(rest);
                    (token, rest) = (Token::Name(whole), rest.get(whole.len()..).unwrap_or_default());
                }
                _ => (token, rest) = (Token::Name(name), behind),
            }
        } else {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign)).copied();
            let sign =
                sign.ok_or_else(|| Wrong::new(format!("`{first}` in the XPath `{text}` means nothing")))?;
            (token, rest) = (Token::Sign(sign), rest.get(sign.len()..).unwrap_or_default());
        }
        tokens.push(token);
        rest = rest.trim_start();
    }
    Ok(tokens)
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

fn is_name_start(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// Compiles a path.
pub(super) fn path(text: &str, namespaces: &[(String, String)]) -> Result<Path, Wrong> {
    if text.len() > PATH_BYTES_MAX {
        return Err(Wrong::new(format!("an XPath of more than {PATH_BYTES_MAX} bytes")));
    }
    let mut parser = Parser { text, tokens: tokens(text)?, at: 0, namespaces };
    let mut parts = Vec::new();
    loop {
        parts.push(parser.location(false)?);
        match parser.next() {
            None => return Ok(Path { parts }),
            Some(Token::Sign("|")) => {}
            Some(token) => return Err(parser.wrong(format!("{} stands where it cannot", shown(&token)))),
        }
    }
}

fn shown(token: &Token<'_>) -> String {
    match token {
        Token::Name(name) => format!("`{name}`"),
        Token::AnyOf(prefix) => format!("`{prefix}:*`"),
        Token::Text(text) => format!("`'{text}'`"),
        Token::Number(number) => format!("`{number}`"),
        Token::Sign(sign) => format!("`{sign}`"),
    }
}

/// The kind of value that a part of a predicate makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Number,
    Text,
    Places,
}

/// An operator that awaits its operands.
#[derive(Debug, Clone, Copy)]
enum Awaiting {
    Group,
    Call(Function, usize),
    Operator(Operator),
}

#[derive(Debug, Clone, Copy)]
enum Operator {
    Or,
    And,
    Compare(Comparison),
}

impl Operator {
    fn from_token(token: &Token<'_>) -> Option<Self> {
        Some(match token {
            Token::Name("or") => Self::Or,
            Token::Name("and") => Self::And,
            Token::Sign("=") => Self::Compare(Comparison::Equal),
            Token::Sign("!=") => Self::Compare(Comparison::NotEqual),
            Token::Sign("<") => Self::Compare(Comparison::Less),
            Token::Sign("<=") => Self::Compare(Comparison::LessOrEqual),
            Token::Sign(">") => Self::Compare(Comparison::Greater),
            Token::Sign(">=") => Self::Compare(Comparison::GreaterOrEqual),
            _ => return None,
        })
    }

    /// How tightly it binds (§3.4).
    const fn rank(self) -> u8 {
        match self {
            Self::Or => 0,
            Self::And => 1,
            Self::Compare(Comparison::Equal | Comparison::NotEqual) => 2,
            Self::Compare(_) => 3,
        }
    }
}

impl Function {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "boolean" => Self::Boolean,
            "contains" => Self::Contains,
            "count" => Self::Count,
            "false" => Self::False,
            "last" => Self::Last,
            "local-name" => Self::LocalName,
            "name" => Self::Name,
            "namespace-uri" => Self::NamespaceUri,
            "normalize-space" => Self::NormalizeSpace,
            "not" => Self::Not,
            "number" => Self::Number,
            "position" => Self::Position,
            "starts-with" => Self::StartsWith,
            "string" => Self::String,
            "string-length" => Self::StringLength,
            "true" => Self::True,
            _ => return None,
        })
    }

    /// How many arguments it may take, and what it makes.
    const fn shape(self) -> (usize, usize, Kind) {
        match self {
            Self::Boolean | Self::Not => (1, 1, Kind::Bool),
            Self::Contains | Self::StartsWith => (2, 2, Kind::Bool),
            Self::True | Self::False => (0, 0, Kind::Bool),
            Self::Count => (1, 1, Kind::Number),
            Self::Last | Self::Position => (0, 0, Kind::Number),
            Self::Number | Self::StringLength => (0, 1, Kind::Number),
            Self::LocalName | Self::Name | Self::NamespaceUri | Self::NormalizeSpace | Self::String => {
                (0, 1, Kind::Text)
            }
        }
    }

    const fn takes_places(self) -> bool {
        matches!(self, Self::Count | Self::LocalName | Self::Name | Self::NamespaceUri)
    }
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token<'a>>,
    at: usize,
    namespaces: &'a [(String, String)],
}

impl<'a> Parser<'a> {
    fn wrong(&self, what: impl std::fmt::Display) -> Wrong {
        Wrong::new(format!("the XPath `{}`: {what}", self.text))
    }

    fn peek(&self, ahead: usize) -> Option<&Token<'a>> {
        self.tokens.get(self.at + ahead)
    }

    fn next(&mut self) -> Option<Token<'a>> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    /// Takes a sign if it stands next.
    fn takes(&mut self, sign: &str) -> bool {
        let is_next = matches!(self.peek(0), Some(Token::Sign(next)) if *next == sign);
        self.at += usize::from(is_next);
        is_next
    }

    fn location(&mut self, is_inner: bool) -> Result<Location, Wrong> {
        let mut location = Location::default();
        let mut is_deep = false;
        if self.takes("/") {
            let is_root = matches!(self.peek(0), None | Some(Token::Sign("|" | "]" | ")")));
            if is_root && !is_inner {
                return Ok(location);
            }
        } else if self.takes("//") {
            is_deep = true;
        } else if !is_inner {
            return Err(self.wrong("a target's path begins with `/`"));
        }
        let begins_anew = matches!(self.tokens.get(self.at.wrapping_sub(1)), Some(Token::Sign("/" | "//")));
        if is_inner && begins_anew {
            return Err(self.wrong("a path in a predicate begins at its node, not at the document"));
        }
        loop {
            self.step(is_deep, is_inner, &mut location)?;
            is_deep = false;
            if self.takes("//") {
                is_deep = true;
            } else if !self.takes("/") {
                return Ok(location);
            }
        }
    }

    fn step(&mut self, is_deep: bool, is_inner: bool, location: &mut Location) -> Result<(), Wrong> {
        let (axis, test) = self.axis_and_test()?;
        if is_inner && matches!(axis, Axis::Parent | Axis::Ancestor | Axis::AncestorOrSelf) {
            return Err(self.wrong("a path in a predicate that leads up is not read"));
        }
        let mut step = Step { axis, test, predicates: Vec::new() };
        while self.takes("[") {
            if is_inner {
                return Err(self.wrong("a predicate within a predicate is not read"));
            }
            step.predicates.push(self.predicate()?);
        }
        if is_deep {
            // `//a` is `/descendant-or-self::node()/child::a` (§2.5), which is `/descendant::a` unless places
            // among the children of each node are asked for.
            if axis == Axis::Child && !step.predicates.iter().any(|one| one.is_positional) {
                step.axis = Axis::Descendant;
            } else {
                let predicates = Vec::new();
                location.steps.push(Step { axis: Axis::DescendantOrSelf, test: Test::Any, predicates });
            }
        }
        location.steps.push(step);
        Ok(())
    }

    fn axis_and_test(&mut self) -> Result<(Axis, Test), Wrong> {
        if self.takes("..") {
            return Ok((Axis::Parent, Test::Any));
        }
        if self.takes(".") {
            return Ok((Axis::Itself, Test::Any));
        }
        let mut axis = Axis::Child;
        if self.takes("@") {
            axis = Axis::Attribute;
        } else if let (Some(Token::Name(name)), Some(Token::Sign("::"))) = (self.peek(0), self.peek(1)) {
            axis = match *name {
                "child" => Axis::Child,
                "descendant" => Axis::Descendant,
                "descendant-or-self" => Axis::DescendantOrSelf,
                "self" => Axis::Itself,
                "parent" => Axis::Parent,
                "ancestor" => Axis::Ancestor,
                "ancestor-or-self" => Axis::AncestorOrSelf,
                "attribute" => Axis::Attribute,
                other => return Err(self.wrong(format!("the axis `{other}` is not read"))),
            };
            self.at += 2;
        }
        let test = match self.next() {
            Some(Token::Sign("*")) => Test::Name { namespace: None, local: None },
            Some(Token::AnyOf(prefix)) => {
                Test::Name { namespace: Some(self.namespace(prefix)?), local: None }
            }
            Some(Token::Name(name)) if self.takes("(") => {
                if !self.takes(")") {
                    return Err(self.wrong(format!("`{name}(` stands where a step is due")));
                }
                match name {
                    "node" => Test::Any,
                    "text" => Test::Text,
                    "comment" | "processing-instruction" => {
                        return Err(self.wrong(format!("`{name}()` is not kept of a document")));
                    }
                    _ => return Err(self.wrong(format!("`{name}()` stands where a step is due"))),
                }
            }
            Some(Token::Name(name)) => match name.split_once(':') {
                Some((prefix, local)) => {
                    let namespace = Some(self.namespace(prefix)?);
                    Test::Name { namespace, local: Some(local.as_bytes().into()) }
                }
                None => Test::Name { namespace: Some(Box::default()), local: Some(name.as_bytes().into()) },
            },
            Some(Token::Sign("$")) => return Err(self.wrong("there are no variables")),
            Some(token) => return Err(self.wrong(format!("{} stands where a step is due", shown(&token)))),
            None => return Err(self.wrong("it ends where a step is due")),
        };
        Ok((axis, test))
    }

    fn namespace(&self, prefix: &str) -> Result<Box<[u8]>, Wrong> {
        if prefix == "xml" {
            return Ok(XML_URI.into());
        }
        let known = self.namespaces.iter().rev().find(|(known, _)| known == prefix);
        known.map(|(_, uri)| uri.as_bytes().into()).ok_or_else(|| {
            Wrong::with(
                format!("the XPath `{}`: the prefix `{prefix}` means no namespace", self.text),
                format!("add the action xmlns:{prefix}=NAME to the rule"),
            )
        })
    }

    /// A predicate, behind its `[`.
    fn predicate(&mut self) -> Result<Predicate, Wrong> {
        let mut out = Output { program: Vec::new(), kinds: Vec::new(), is_positional: false };
        let mut stack: Vec<Awaiting> = Vec::new();
        let mut wants_operand = true;
        loop {
            if wants_operand {
                wants_operand = self.operand(&mut out, &mut stack)?;
                continue;
            }
            let Some(token) = self.next() else { return Err(self.wrong("a predicate is not closed")) };
            if let Some(operator) = Operator::from_token(&token) {
                while let Some(Awaiting::Operator(before)) = stack.last().copied()
                    && before.rank() >= operator.rank()
                {
                    stack.pop();
                    self.apply(before, &mut out)?;
                }
                stack.push(Awaiting::Operator(operator));
                wants_operand = true;
                continue;
            }
            let Token::Sign(sign) = token else {
                return Err(self.wrong(format!("{} stands where an operator is due", shown(&token))));
            };
            match sign {
                "]" | ")" | "," => {}
                "|" => return Err(self.wrong("a union within a predicate is not read")),
                "+" | "-" | "*" => return Err(self.wrong("arithmetic is not read")),
                _ => return Err(self.wrong(format!("`{sign}` stands where an operator is due"))),
            }
            while let Some(Awaiting::Operator(before)) = stack.last().copied() {
                stack.pop();
                self.apply(before, &mut out)?;
            }
            match (sign, stack.pop()) {
                ("]", None) => {
                    out.is_positional |= out.kinds.last() == Some(&Kind::Number);
                    return Ok(Predicate { program: out.program, is_positional: out.is_positional });
                }
                (")", Some(Awaiting::Group)) => {}
                (")", Some(Awaiting::Call(function, count))) => self.call(function, count + 1, &mut out)?,
                (",", Some(Awaiting::Call(function, count))) => {
                    stack.push(Awaiting::Call(function, count + 1));
                    wants_operand = true;
                }
                _ => return Err(self.wrong(format!("`{sign}` stands where it cannot"))),
            }
        }
    }

    /// Reads what may begin an operand; tells whether one is due still.
    fn operand(&mut self, out: &mut Output, stack: &mut Vec<Awaiting>) -> Result<bool, Wrong> {
        match (self.peek(0), self.peek(1)) {
            (Some(Token::Text(text)), _) => out.push(Op::Text(text.as_bytes().into()), Kind::Text),
            (Some(Token::Number(number)), _) => out.push(Op::Number(*number), Kind::Number),
            (Some(Token::Sign("(")), _) => {
                stack.push(Awaiting::Group);
                self.at += 1;
                return Ok(true);
            }
            (Some(Token::Sign("-")), _) => return Err(self.wrong("arithmetic is not read")),
            (Some(Token::Name(name)), Some(Token::Sign("(")))
                if !matches!(*name, "node" | "text" | "comment" | "processing-instruction") =>
            {
                let Some(function) = Function::from_name(name) else {
                    return Err(self.wrong(format!("the function `{name}` is not read")));
                };
                self.at += 2;
                if !self.takes(")") {
                    stack.push(Awaiting::Call(function, 0));
                    return Ok(true);
                }
                return self.call(function, 0, out).map(|()| false);
            }
            _ => {
                let path = self.location(true)?;
                out.push(Op::Path(path), Kind::Places);
                return Ok(false);
            }
        }
        self.at += 1;
        Ok(false)
    }

    fn call(&self, function: Function, count: usize, out: &mut Output) -> Result<(), Wrong> {
        let (least, most, kind) = function.shape();
        if !(least..=most).contains(&count) {
            return Err(self.wrong(format!("a function with {count} arguments, which it does not take")));
        }
        let arguments = out.kinds.split_off(out.kinds.len().saturating_sub(count));
        if function.takes_places() && arguments.iter().any(|kind| *kind != Kind::Places) {
            return Err(self.wrong("a function of places that is given something else"));
        }
        out.is_positional |= matches!(function, Function::Position | Function::Last);
        out.push(Op::Call(function, count), kind);
        Ok(())
    }

    fn apply(&self, operator: Operator, out: &mut Output) -> Result<(), Wrong> {
        let (Some(right), Some(left)) = (out.kinds.pop(), out.kinds.pop()) else {
            return Err(self.wrong("an operator without its operands"));
        };
        let op = match operator {
            Operator::Or => Op::Or,
            Operator::And => Op::And,
            Operator::Compare(_) if (left, right) == (Kind::Places, Kind::Places) => {
                return Err(self.wrong("two paths compared with each other are not read"));
            }
            Operator::Compare(comparison) => Op::Compare(comparison),
        };
        out.push(op, Kind::Bool);
        Ok(())
    }
}

/// A predicate's program under way, with the kinds of what it leaves.
struct Output {
    program: Vec<Op>,
    kinds: Vec<Kind>,
    is_positional: bool,
}

impl Output {
    fn push(&mut self, op: Op, kind: Kind) {
        self.program.push(op);
        self.kinds.push(kind);
    }
}

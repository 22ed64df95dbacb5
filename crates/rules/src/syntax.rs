//! From tokens to a tree: precedence, calls, indexes, comparisons; no names resolved, no types.
//!
//! The parser keeps its own stack of what is open (parentheses, `not`, operators, calls), so depth is a
//! number and not the thread's stack. Nodes lie in one vector, children before parents, so that whoever comes
//! after walks it forward in a loop. After a mistake it skips to the next operator or bracket at the same
//! depth and goes on, so that one look shows all of them. Called by `check.rs`; read next: [`Node`].

use std::net::IpAddr;

use crate::lexer::{Token, tokens};
use crate::limits::Limits;
use crate::problem::{Problems, Span, nearest};

/// A place in [`Tree::nodes`].
pub(crate) type Id = usize;

/// A parsed expression.
#[derive(Debug)]
pub(crate) struct Tree {
    /// Children before parents.
    pub(crate) nodes: Vec<Node>,
    pub(crate) root: Id,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) at: Span,
}

#[derive(Debug)]
pub(crate) enum Kind {
    /// A mistake that was reported.
    Wrong,
    Bool(bool),
    Int(i64),
    Bytes(Vec<u8>),
    Address(IpAddr),
    /// A field's name, as written at the node's place.
    Field(String),
    Call {
        name: String,
        name_at: Span,
        arguments: Vec<Id>,
    },
    Index {
        of: Id,
        index: Index,
    },
    Compare {
        left: Id,
        comparison: Comparison,
        right: Right,
        operator_at: Span,
        right_at: Span,
    },
    Not(Id),
    Logic {
        logic: Logic,
        left: Id,
        right: Id,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Index {
    Key(Vec<u8>),
    At(u32),
    Each,
}

/// A comparison operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `eq`, `==`
    Eq,
    /// `ne`, `!=`
    Ne,
    /// `lt`, `<`
    Lt,
    /// `le`, `<=`
    Le,
    /// `gt`, `>`
    Gt,
    /// `ge`, `>=`
    Ge,
    /// `contains`
    Contains,
    /// `matches`, `~`
    Matches,
    /// `in`
    In,
    /// `wildcard`, case-insensitive
    Wildcard,
    /// `strict wildcard`
    StrictWildcard,
}

impl Comparison {
    /// Every operator with its spellings and the types it takes.
    pub const ALL: &'static [(Comparison, &'static [&'static str], &'static str)] = &[
        (Comparison::Eq, &["eq", "=="], "Bytes, Int, Ip"),
        (Comparison::Ne, &["ne", "!="], "Bytes, Int, Ip"),
        (Comparison::Lt, &["lt", "<"], "Bytes, Int, Ip"),
        (Comparison::Le, &["le", "<="], "Bytes, Int, Ip"),
        (Comparison::Gt, &["gt", ">"], "Bytes, Int, Ip"),
        (Comparison::Ge, &["ge", ">="], "Bytes, Int, Ip"),
        (Comparison::Contains, &["contains"], "Bytes"),
        (Comparison::Matches, &["matches", "~"], "Bytes"),
        (Comparison::In, &["in"], "Bytes, Int, Ip"),
        (Comparison::Wildcard, &["wildcard"], "Bytes"),
        (Comparison::StrictWildcard, &["strict wildcard"], "Bytes"),
    ];

    fn spelled(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, spellings, _)| spellings.contains(&word)).map(|(which, ..)| *which)
    }
}

/// A logical operator; a later one binds tighter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Logic {
    /// `or`, `||`
    Or,
    /// `xor`, `^^`
    Xor,
    /// `and`, `&&`
    And,
}

impl Logic {
    fn spelled(word: &str) -> Option<Self> {
        match word {
            "or" | "||" => Some(Logic::Or),
            "xor" | "^^" => Some(Logic::Xor),
            "and" | "&&" => Some(Logic::And),
            _ => None,
        }
    }
}

/// The right side of a comparison, literals only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    Wrong,
    /// `true` or `false`, which nothing is compared with.
    Truth,
    One(Item),
    Pattern(String),
    Set(Vec<(Item, Span)>),
    /// The name of a list.
    List(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Bytes(Vec<u8>),
    Int(i64),
    IntRange(i64, i64),
    Address(IpAddr),
    Network(IpAddr, u8),
    AddressRange(IpAddr, IpAddr),
}

impl Item {
    fn of(token: Token) -> Option<Self> {
        Some(match token {
            Token::Text(bytes) => Item::Bytes(bytes),
            Token::Int(value) => Item::Int(value),
            Token::IntRange(low, high) => Item::IntRange(low, high),
            Token::Address(address) => Item::Address(address),
            Token::Network(address, length) => Item::Network(address, length),
            Token::AddressRange(low, high) => Item::AddressRange(low, high),
            _ => return None,
        })
    }
}

/// Parses an expression; problems go to `problems`, and where they were the tree has [`Kind::Wrong`].
pub(crate) fn parse(text: &str, limits: &Limits, problems: &mut Problems<'_>) -> Option<Tree> {
    if text.len() > limits.expression_bytes_max {
        let what = format!("the expression has {} bytes", text.len());
        let expected =
            format!("at most {} are allowed; put sets of values into a list", limits.expression_bytes_max);
        problems.add(Span::new(limits.expression_bytes_max, text.len()), what, expected);
        return None;
    }
    let tokens = tokens(text, problems);
    let mut parser = Parser { text, tokens, at: 0, nodes: Vec::new(), open: Vec::new(), limits, problems };
    let root = parser.run()?;
    Some(Tree { nodes: parser.nodes, root })
}

fn is_operator(word: &str) -> bool {
    Logic::spelled(word).is_some() || Comparison::spelled(word).is_some() || word == "strict"
}

/// What was begun and waits for an operand.
enum Open {
    Paren(Span),
    Not(Span),
    Logic { logic: Logic, left: Id },
    Call { name: String, name_at: Span, arguments: Vec<Id> },
}

struct Parser<'t, 'p, 'a> {
    text: &'t str,
    tokens: Vec<(Token, Span)>,
    at: usize,
    nodes: Vec<Node>,
    open: Vec<Open>,
    limits: &'p Limits,
    problems: &'p mut Problems<'a>,
}

/// Why parsing cannot go on: a limit was passed, and reported.
struct Stop;

impl<'t> Parser<'t, '_, '_> {
    fn run(&mut self) -> Option<Id> {
        loop {
            let operand = self.operand().ok()?;
            // Something complete: either it ends the expression, or an operand is wanted again.
            if let Some(root) = self.after(operand).ok()? {
                return Some(root);
            }
        }
    }

    fn token(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |(token, _)| token)
    }

    fn span(&self) -> Span {
        self.tokens.get(self.at).map_or(Span::new(self.text.len(), self.text.len()), |(_, span)| *span)
    }

    fn word(&self) -> &'t str {
        let span = self.span();
        match self.token() {
            Token::Word => self.text.get(span.start..span.end).unwrap_or_default(),
            Token::Sign(sign) => sign,
            _ => "",
        }
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.token(), Token::Sign(found) if *found == sign)
    }

    fn step(&mut self) {
        self.at += 1;
    }

    /// The token as a person sees it.
    fn shown(&self) -> String {
        match self.token() {
            Token::End => "the end".to_owned(),
            _ => {
                let span = self.span();
                format!("`{}`", self.text.get(span.start..span.end).unwrap_or_default())
            }
        }
    }

    fn push(&mut self, kind: Kind, at: Span) -> Result<Id, Stop> {
        if self.nodes.len() >= self.limits.nodes_max {
            let what = format!("the expression has more than {} parts", self.limits.nodes_max);
            self.problems.add(at, what, "split it into several rules");
            return Err(Stop);
        }
        self.nodes.push(Node { kind, at });
        Ok(self.nodes.len() - 1)
    }

    fn enter(&mut self, open: Open, at: Span) -> Result<(), Stop> {
        if self.open.len() >= self.limits.depth_max {
            let what = format!("the expression is nested deeper than {}", self.limits.depth_max);
            self.problems.add(at, what, "split it into several rules");
            return Err(Stop);
        }
        self.open.push(open);
        Ok(())
    }

    fn in_call(&self) -> bool {
        let outer = self.open.iter().rev().find(|open| !matches!(open, Open::Not(_) | Open::Logic { .. }));
        matches!(outer, Some(Open::Call { .. }))
    }

    /// Reads prefixes and one operand with its indexes and comparison.
    fn operand(&mut self) -> Result<Id, Stop> {
        loop {
            let at = self.span();
            match (self.token().clone(), self.word()) {
                (_, "not" | "!") => {
                    self.step();
                    self.enter(Open::Not(at), at)?;
                }
                (Token::Sign("("), _) => {
                    self.step();
                    self.enter(Open::Paren(at), at)?;
                }
                (Token::Word, name @ ("true" | "false")) => {
                    self.step();
                    return self.push(Kind::Bool(name == "true"), at);
                }
                (Token::Word, name) if !is_operator(name) => {
                    self.step();
                    if !self.is_sign("(") {
                        let field = self.push(Kind::Field(name.to_owned()), at)?;
                        return self.suffixes(field);
                    }
                    self.step();
                    let call = Open::Call { name: name.to_owned(), name_at: at, arguments: Vec::new() };
                    self.enter(call, at)?;
                    if self.is_sign(")") {
                        let call = self.close_call(None)?;
                        return self.suffixes(call);
                    }
                }
                (Token::Text(bytes), _) => {
                    self.step();
                    let literal = self.push(Kind::Bytes(bytes), at)?;
                    return self.suffixes(literal);
                }
                (Token::Int(value), _) => {
                    self.step();
                    let literal = self.push(Kind::Int(value), at)?;
                    return self.suffixes(literal);
                }
                (Token::Address(address), _) => {
                    self.step();
                    let literal = self.push(Kind::Address(address), at)?;
                    return self.suffixes(literal);
                }
                (Token::Wrong, _) => return self.skip(at),
                _ => {
                    let what = format!("{} stands where a condition should", self.shown());
                    let expected = if self.in_call() {
                        "an argument is a field, a literal, a call or a comparison"
                    } else {
                        "a condition begins with a field, a function, `not` or `(`"
                    };
                    self.problems.add(at, what, expected);
                    return self.skip(at);
                }
            }
        }
    }

    /// Leaves out tokens up to the next operator, comma or bracket of this depth.
    fn skip(&mut self, from: Span) -> Result<Id, Stop> {
        let mut depth = 0_usize;
        loop {
            match (self.token(), self.word()) {
                (Token::End, _) => break,
                (_, "(" | "[" | "{") => depth += 1,
                (_, ")" | "]" | "}") if depth > 0 => depth -= 1,
                (_, ")") => break,
                (_, ",") if depth == 0 && self.in_call() => break,
                (_, word) if depth == 0 && Logic::spelled(word).is_some() => break,
                _ => {}
            }
            self.step();
        }
        self.push(Kind::Wrong, from)
    }

    /// Indexes, then a comparison if there is one.
    fn suffixes(&mut self, mut left: Id) -> Result<Id, Stop> {
        while self.is_sign("[") {
            self.step();
            let at = self.span();
            let index = match self.token().clone() {
                Token::Text(key) => Index::Key(key),
                Token::Int(place) if (0..=i64::from(u32::MAX)).contains(&place) => Index::At(place as u32),
                Token::Sign("*") => Index::Each,
                Token::Wrong => return self.skip(at),
                _ => {
                    let what = format!("{} is not an index", self.shown());
                    self.problems.add(at, what, "an index is a key in quotes, a number from 0, or `*`");
                    return self.skip(at);
                }
            };
            self.step();
            if !self.is_sign("]") {
                let what = format!("{} follows the index", self.shown());
                self.problems.add(self.span(), what, "expected `]`");
                return self.skip(at);
            }
            let whole = self.place(left).to(self.span());
            self.step();
            left = self.push(Kind::Index { of: left, index }, whole)?;
        }
        let operator_at = self.span();
        let comparison = match self.word() {
            "strict" => {
                self.step();
                if self.word() != "wildcard" {
                    self.problems.add(operator_at, "`strict` stands alone", "expected `strict wildcard`");
                    return self.skip(operator_at);
                }
                Comparison::StrictWildcard
            }
            word => match Comparison::spelled(word) {
                Some(comparison) => comparison,
                None => return Ok(left),
            },
        };
        self.step();
        let right_at = self.span();
        let right = self.right(comparison)?;
        let Some(right) = right else { return self.skip(right_at) };
        let end = self.tokens.get(self.at.saturating_sub(1)).map_or(right_at, |(_, span)| *span);
        let at = self.place(left).to(end);
        self.push(Kind::Compare { left, comparison, right, operator_at, right_at: right_at.to(end) }, at)
    }

    fn place(&self, id: Id) -> Span {
        self.nodes.get(id).map_or(Span::new(0, 0), |node| node.at)
    }

    /// The right side; nothing when it was wrong and the rest must be skipped.
    fn right(&mut self, comparison: Comparison) -> Result<Option<Right>, Stop> {
        let at = self.span();
        match (self.token().clone(), comparison) {
            (Token::Wrong, _) => {
                self.step();
                Ok(Some(Right::Wrong))
            }
            (Token::List, Comparison::In) => {
                self.step();
                let name = self.text.get(at.start + 1..at.end).unwrap_or_default();
                Ok(Some(Right::List(name.to_owned())))
            }
            (Token::Sign("{"), Comparison::In) => {
                self.step();
                self.set().map(Some)
            }
            (_, Comparison::In) => {
                let what = format!("{} follows `in`", self.shown());
                self.problems.add(at, what, "expected a set such as {1 2 5..9} or a list such as $name");
                Ok(None)
            }
            (Token::Word, _) if matches!(self.word(), "true" | "false") => {
                self.step();
                Ok(Some(Right::Truth))
            }
            (Token::Pattern(pattern), _) => {
                self.step();
                Ok(Some(Right::Pattern(pattern)))
            }
            (token, _) => {
                if let Some(item) = Item::of(token) {
                    self.step();
                    return Ok(Some(Right::One(item)));
                }
                let what = format!("{} stands where a value should", self.shown());
                let expected = "the right side is a literal: \"text\", 12 or 192.0.2.1";
                self.problems.add(at, what, expected);
                Ok(None)
            }
        }
    }

    fn set(&mut self) -> Result<Right, Stop> {
        let mut items = Vec::new();
        let mut is_wrong = false;
        loop {
            let at = self.span();
            match self.token().clone() {
                Token::Sign("}") => {
                    self.step();
                    break;
                }
                Token::End => {
                    self.problems.add(at, "the set does not end", "expected `}`");
                    return Ok(Right::Wrong);
                }
                Token::Sign(",") => {
                    self.problems.add(at, "a comma stands in a set", "values are separated by blanks");
                    is_wrong = true;
                    self.step();
                }
                Token::Wrong => {
                    is_wrong = true;
                    self.step();
                }
                token => {
                    match Item::of(token) {
                        Some(item) => items.push((item, at)),
                        None => {
                            let what = format!("{} stands in a set", self.shown());
                            self.problems.add(at, what, "a set holds strings, integers or addresses");
                            is_wrong = true;
                        }
                    }
                    self.step();
                }
            }
            if items.len() > self.limits.set_items_max {
                let what = format!("the set has more than {} values", self.limits.set_items_max);
                self.problems.add(at, what, "put them into a list");
                return Err(Stop);
            }
        }
        Ok(if is_wrong { Right::Wrong } else { Right::Set(items) })
    }

    /// Goes on after something complete. Gives the root at the end of the text, nothing when an operand must
    /// follow.
    fn after(&mut self, mut value: Id) -> Result<Option<Id>, Stop> {
        loop {
            while let Some(Open::Not(at)) = self.open.last() {
                let at = at.to(self.place(value));
                self.open.pop();
                value = self.push(Kind::Not(value), at)?;
            }
            let at = self.span();
            if let Some(logic) = Logic::spelled(self.word()) {
                self.step();
                value = self.reduce(value, Some(logic))?;
                self.enter(Open::Logic { logic, left: value }, at)?;
                return Ok(None);
            }
            match self.token().clone() {
                Token::End => {
                    value = self.reduce(value, None)?;
                    match self.open.pop() {
                        None => return Ok(Some(value)),
                        Some(Open::Paren(opened)) => {
                            self.problems.add(opened, "this parenthesis is not closed", "expected `)`");
                        }
                        Some(Open::Call { name, name_at, .. }) => {
                            let what = format!("the call of `{name}` is not closed");
                            self.problems.add(name_at, what, "expected `)`");
                        }
                        Some(Open::Not(_) | Open::Logic { .. }) => {}
                    }
                    value = self.push(Kind::Wrong, at)?;
                }
                Token::Sign(")") => {
                    value = self.reduce(value, None)?;
                    match self.open.last() {
                        Some(Open::Paren(opened)) => {
                            let whole = opened.to(at);
                            self.open.pop();
                            self.step();
                            if let Some(node) = self.nodes.get_mut(value) {
                                node.at = whole;
                            }
                        }
                        Some(Open::Call { .. }) => {
                            let call = self.close_call(Some(value))?;
                            value = self.suffixes(call)?;
                        }
                        _ => {
                            self.problems.add(at, "there is no parenthesis to close here", "");
                            self.step();
                        }
                    }
                }
                Token::Sign(",") if self.in_call() => {
                    value = self.reduce(value, None)?;
                    self.step();
                    if let Some(Open::Call { arguments, .. }) = self.open.last_mut() {
                        arguments.push(value);
                    }
                    return Ok(None);
                }
                _ => {
                    self.unexpected(value);
                    value = self.skip(at)?;
                }
            }
        }
    }

    /// Combines what waits left of `value` with it: all down to the bracket, or what binds at least as
    /// tightly as `next`.
    fn reduce(&mut self, mut value: Id, next: Option<Logic>) -> Result<Id, Stop> {
        while let Some(Open::Logic { logic, left }) = self.open.last() {
            if next.is_some_and(|next| *logic < next) {
                break;
            }
            let (logic, left) = (*logic, *left);
            self.open.pop();
            let at = self.place(left).to(self.place(value));
            value = self.push(Kind::Logic { logic, left, right: value }, at)?;
        }
        Ok(value)
    }

    fn close_call(&mut self, last: Option<Id>) -> Result<Id, Stop> {
        let end = self.span();
        self.step();
        let Some(Open::Call { name, name_at, mut arguments }) = self.open.pop() else {
            return self.push(Kind::Wrong, end);
        };
        arguments.extend(last);
        self.push(Kind::Call { name, name_at, arguments }, name_at.to(end))
    }

    /// Reports what cannot follow something complete, with what may have been meant.
    fn unexpected(&mut self, value: Id) {
        let at = self.span();
        let shown = self.shown();
        if self.token() == &Token::Wrong {
            return;
        }
        let word = self.word().to_owned();
        let may_compare = matches!(
            self.nodes.get(value).map(|node| &node.kind),
            Some(Kind::Field(_) | Kind::Call { .. } | Kind::Index { .. } | Kind::Bytes(_) | Kind::Int(_))
        );
        let comparisons = Comparison::ALL.iter().flat_map(|(_, spellings, _)| spellings.iter().copied());
        let words = comparisons.filter(|_| may_compare).chain(["and", "or", "xor"]);
        let meant = match word.to_ascii_lowercase().as_str() {
            "equals" | "is" | "eq" => Some("eq"),
            "starts_with" => Some("starts_with(field, \"…\")"),
            "ends_with" => Some("ends_with(field, \"…\")"),
            "like" => Some("wildcard"),
            _ => nearest(&word, words),
        };
        let expected = if may_compare {
            "expected a comparison, `and`, `or`, `xor` or the end"
        } else {
            "expected `and`, `or`, `xor`, `)` or the end"
        };
        let suggestion = meant.filter(|_| !word.is_empty());
        self.problems.add_with(at, format!("{shown} cannot stand here"), expected, suggestion);
    }
}

//! From a tree to a typed expression: names resolved, every operator and argument checked, literals prepared.
//!
//! One loop over the tree's nodes, children first. What is wrong is reported and then silent: nothing that
//! depends on it is reported again. The result cannot fail when it is evaluated. Called by [`Expression`]'s
//! constructors; read next: [`Op`], then `program.rs`.

use std::net::IpAddr;
use std::sync::Arc;

use crate::address::{AddressSet, network_range};
use crate::field::{Field, When};
use crate::function::Function;
use crate::kind::{Scalar, Shape, Type};
use crate::limits::Limits;
use crate::list::{IntSet, Lists};
use crate::pattern::{Pattern, Replacement};
use crate::predicate::{Predicate, Test};
use crate::problem::{Problem, Problems, Span, fuller, nearest};
use crate::syntax::{Comparison, Id, Index, Item, Kind, Logic, Right, parse};
use crate::wildcard::Wildcard;

mod call;

/// Where an expression stands, which decides what it may name.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The lists it may name.
    pub lists: &'a Lists,
    /// The limits it must keep.
    pub limits: &'a Limits,
    /// Whether there is a response: its fields may be named.
    pub has_response: bool,
}

/// A checked expression.
#[derive(Clone, Debug)]
pub struct Expression {
    pub(crate) checked: Arc<Checked>,
    ty: Type,
}

/// What an expression must give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Bool,
    Bytes,
    Any,
}

impl Expression {
    /// Parses and checks a condition.
    ///
    /// # Errors
    ///
    /// Every problem, by place.
    pub fn condition(text: &str, scope: &Scope<'_>) -> Result<Self, Vec<Problem>> {
        Self::new(text, scope, Wanted::Bool)
    }

    /// Parses and checks a value of type Bytes, for rewrites and redirects; rewriting functions may be used.
    ///
    /// # Errors
    ///
    /// Every problem, by place.
    pub fn value(text: &str, scope: &Scope<'_>) -> Result<Self, Vec<Problem>> {
        Self::new(text, scope, Wanted::Bytes)
    }

    /// Parses and checks a value of any type, for logs and counting; rewriting functions may be used.
    ///
    /// # Errors
    ///
    /// Every problem, by place.
    pub fn of_any_type(text: &str, scope: &Scope<'_>) -> Result<Self, Vec<Problem>> {
        Self::new(text, scope, Wanted::Any)
    }

    /// What it gives.
    #[must_use]
    pub fn ty(&self) -> Type {
        self.ty
    }

    /// The fields it names, in order, each once.
    #[must_use]
    pub fn fields(&self) -> Vec<Field> {
        let mut fields = Vec::new();
        for expr in &self.checked.exprs {
            if let Op::Field(field) = expr.op
                && !fields.contains(&field)
            {
                fields.push(field);
            }
        }
        fields
    }

    fn new(text: &str, scope: &Scope<'_>, wanted: Wanted) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems::new(text, scope.limits.problems_max);
        let checked = parse(text, scope.limits, &mut problems).and_then(|tree| {
            let mut checker = Checker {
                scope,
                may_rewrite: wanted != Wanted::Bool,
                exprs: Vec::with_capacity(tree.nodes.len()),
                patterns: 0,
                replacements: 0,
                problems: &mut problems,
            };
            for node in tree.nodes {
                let expr = checker.node(node.kind, node.at);
                checker.exprs.push(expr);
            }
            let ty = checker.root(tree.root, wanted)?;
            Some((Checked { exprs: checker.exprs, root: tree.root }, ty))
        });
        match checked {
            Some((checked, ty)) if problems.is_empty() => Ok(Self { checked: Arc::new(checked), ty }),
            _ => Err(problems.finish()),
        }
    }
}

/// A typed expression: nodes, children before parents.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) exprs: Vec<Expr>,
    pub(crate) root: Id,
}

#[derive(Debug)]
pub(crate) struct Expr {
    pub(crate) op: Op,
    /// For a spread value (`x[*]`) the type of one item.
    pub(crate) ty: Type,
    /// Whether whatever is done to this is done to each of its items.
    pub(crate) is_spread: bool,
    at: Span,
}

#[derive(Debug)]
pub(crate) enum Op {
    /// A mistake that was reported.
    Wrong,
    Bool(bool),
    Int(i64),
    Bytes(Arc<[u8]>),
    Ip(IpAddr),
    Field(Field),
    Key {
        of: Id,
        key: Arc<[u8]>,
    },
    At {
        of: Id,
        place: u32,
    },
    Each {
        of: Id,
    },
    Call {
        function: Function,
        arguments: Arc<[Id]>,
        prepared: Prepared,
    },
    Test {
        of: Id,
        predicate: Predicate,
    },
    Not {
        of: Id,
    },
    Logic {
        logic: Logic,
        left: Id,
        right: Id,
    },
}

/// What a call needs beside its arguments.
#[derive(Clone, Debug)]
pub(crate) enum Prepared {
    Nothing,
    Pattern(Arc<Pattern>, Arc<Replacement>),
    Wildcard(Arc<Wildcard>, Arc<Replacement>),
}

struct Checker<'c, 'p, 'a> {
    scope: &'c Scope<'c>,
    may_rewrite: bool,
    exprs: Vec<Expr>,
    patterns: usize,
    replacements: usize,
    problems: &'p mut Problems<'a>,
}

impl Checker<'_, '_, '_> {
    fn expr(&self, id: Id) -> Option<&Expr> {
        self.exprs.get(id).filter(|expr| !matches!(expr.op, Op::Wrong))
    }

    fn span(&self, id: Id) -> Span {
        self.exprs.get(id).map_or(Span::new(0, 0), |expr| expr.at)
    }

    fn wrong(at: Span) -> Expr {
        Expr { op: Op::Wrong, ty: Type::BOOL, is_spread: false, at }
    }

    fn report(&mut self, at: Span, what: impl Into<String>, expected: impl Into<String>) -> Expr {
        self.problems.add(at, what, expected);
        Self::wrong(at)
    }

    fn root(&mut self, root: Id, wanted: Wanted) -> Option<Type> {
        let at = self.span(root);
        let (ty, is_spread) = self.expr(root).map(|expr| (expr.ty, expr.is_spread))?;
        if is_spread {
            let expected = "give `[*]` to a function, as in any(… == …)";
            self.report(at, "`[*]` gives many values where one is wanted", expected);
            return None;
        }
        let is_right = match wanted {
            Wanted::Bool => ty == Type::BOOL,
            Wanted::Bytes => ty == Type::BYTES,
            Wanted::Any => !ty.is_map(),
        };
        if !is_right {
            let what = format!("the expression gives {ty}");
            let expected = match (wanted, ty.shape) {
                (Wanted::Bool, Shape::Array) if ty.scalar == Scalar::Bool => {
                    "a condition gives Bool: put any(…) or all(…) around it"
                }
                (Wanted::Bool, _) => "a condition gives Bool: compare it with something",
                (Wanted::Bytes, Shape::One) => "the value must be Bytes: to_string(…) makes them",
                _ => "the value must be Bytes",
            };
            self.report(at, what, expected);
            return None;
        }
        Some(ty)
    }

    fn node(&mut self, kind: Kind, at: Span) -> Expr {
        let one = |op, ty| Expr { op, ty, is_spread: false, at };
        match kind {
            Kind::Wrong => Self::wrong(at),
            Kind::Bool(value) => one(Op::Bool(value), Type::BOOL),
            Kind::Int(value) => one(Op::Int(value), Type::INT),
            Kind::Bytes(value) => one(Op::Bytes(value.into()), Type::BYTES),
            Kind::Address(value) => one(Op::Ip(value), Type::IP),
            Kind::Field(name) => self.field(&name, at),
            Kind::Call { name, name_at, arguments } => self.call(&name, name_at, &arguments, at),
            Kind::Index { of, index } => self.index(of, index, at),
            Kind::Compare { left, comparison, right, operator_at, right_at } => {
                self.compare(left, comparison, right, (operator_at, right_at), at)
            }
            Kind::Not(of) => match self.expr(of) {
                None => Self::wrong(at),
                Some(expr) if is_condition(expr) => {
                    Expr { op: Op::Not { of }, ty: expr.ty, is_spread: false, at }
                }
                Some(expr) => {
                    let what = format!("`not` stands before {}", shown(expr));
                    self.report(at, what, "it negates a condition: compare the value first")
                }
            },
            Kind::Logic { logic, left, right } => self.logic(logic, left, right, at),
        }
    }

    fn field(&mut self, name: &str, at: Span) -> Expr {
        let Some(field) = Field::named(name) else {
            return self.unknown_field(name, at);
        };
        if field.row().when == When::Response && !self.scope.has_response {
            let what = format!("`{name}` is a field of the response, which is not there yet");
            return self.report(at, what, "use it in a phase of the response");
        }
        Expr { op: Op::Field(field), ty: field.ty(), is_spread: false, at }
    }

    fn unknown_field(&mut self, name: &str, at: Span) -> Expr {
        let lower = name.to_ascii_lowercase();
        if lower != name && matches!(lower.as_str(), "and" | "or" | "xor" | "not" | "eq" | "ne" | "in") {
            self.problems.add_with(at, "operators are written in lower case", "", Some(&lower));
            return Self::wrong(at);
        }
        let meant = if Function::named(name).is_some() {
            Some(format!("{name}(…)"))
        } else {
            let names = || Field::ALL.iter().map(|field| field.name());
            fuller(name, names()).or_else(|| nearest(name, names())).map(str::to_owned)
        };
        self.problems.add_with(at, format!("there is no field `{name}`"), "", meant.as_deref());
        Self::wrong(at)
    }

    fn index(&mut self, of: Id, index: Index, at: Span) -> Expr {
        let Some(expr) = self.expr(of) else { return Self::wrong(at) };
        let (ty, is_spread) = (expr.ty, expr.is_spread);
        let Some(item) = ty.item() else {
            let what = format!("{} has nothing to index", shown(expr));
            return self.report(at, what, "arrays and maps are indexed");
        };
        match index {
            Index::Key(key) if self.never_has(of, &key) => {
                let lower = String::from_utf8_lossy(&key).to_ascii_lowercase();
                let what = "names of headers are in lower case here: this one is never there";
                self.problems.add_with(at, what, "", Some(&format!("…[\"{lower}\"]")));
                Self::wrong(at)
            }
            Index::Key(key) if ty.is_map() => {
                Expr { op: Op::Key { of, key: key.into() }, ty: item, is_spread, at }
            }
            Index::At(place) if ty.is_array() => Expr { op: Op::At { of, place }, ty: item, is_spread, at },
            Index::Each => Expr { op: Op::Each { of }, ty: item, is_spread: true, at },
            Index::Key(_) => {
                self.report(at, format!("{ty} is indexed by a key"), "an array is indexed by [0] or [*]")
            }
            Index::At(_) => self.report(
                at,
                format!("{ty} is indexed by a number"),
                "a map is indexed by [\"key\"] or [*]",
            ),
        }
    }

    /// Whether this is a map of headers by name, and the key is in capitals: no request has such a name.
    fn never_has(&self, of: Id, key: &[u8]) -> bool {
        const BY_NAME: [&str; 3] =
            ["http.request.headers", "http.response.headers", "raw.http.response.headers"];
        let is_by_name = self
            .expr(of)
            .is_some_and(|expr| matches!(&expr.op, Op::Field(field) if BY_NAME.contains(&field.name())));
        is_by_name && key.iter().any(u8::is_ascii_uppercase)
    }

    fn logic(&mut self, logic: Logic, left: Id, right: Id, at: Span) -> Expr {
        let mut conditions = Vec::new();
        for id in [left, right] {
            match self.expr(id) {
                None => {}
                Some(expr) if is_condition(expr) => conditions.push(expr.ty),
                Some(expr) => {
                    let what = format!("{} stands where a condition should", shown(expr));
                    self.report(self.span(id), what, "compare it with something");
                }
            }
        }
        let [first, second] = conditions.as_slice() else { return Self::wrong(at) };
        if first != second {
            let what = format!("{first} and {second} cannot be combined");
            return self.report(at, what, "put any(…) or all(…) around the array");
        }
        Expr { op: Op::Logic { logic, left, right }, ty: *first, is_spread: false, at }
    }

    fn compare(
        &mut self,
        left: Id,
        comparison: Comparison,
        right: Right,
        (operator_at, right_at): (Span, Span),
        at: Span,
    ) -> Expr {
        let Some(expr) = self.expr(left) else { return Self::wrong(at) };
        let (ty, is_spread) = (expr.ty, expr.is_spread);
        let (what_left, is_literal) = (shown(expr), is_literal(&expr.op));
        if !ty.is_one() {
            let expected = if ty.item().is_some_and(Type::is_one) && ty.is_array() {
                "compare one item by [0], or all of them as in any(…[*] == …)"
            } else {
                "index it first, as in …[\"key\"][0]"
            };
            return self.report(at, format!("{what_left} cannot be compared as a whole"), expected);
        }
        if ty == Type::BOOL {
            let expected = "write the condition itself, or `not` before it";
            return self.report(operator_at, format!("{what_left} is a condition already"), expected);
        }
        if is_literal {
            let expected = "the left side is a field or a call";
            return self.report(at, "a literal stands left of a comparison", expected);
        }
        let Some((_, _, types)) = Comparison::ALL.iter().find(|(which, ..)| *which == comparison) else {
            return Self::wrong(at);
        };
        if !types.split(", ").any(|name| name == ty.scalar.to_string()) {
            let what = format!("this operator does not take {what_left}");
            return self.report(operator_at, what, format!("it takes {types}"));
        }
        let Some(predicate) = self.predicate(ty.scalar, comparison, right, right_at) else {
            return Self::wrong(at);
        };
        let ty = if is_spread { Type::array(Scalar::Bool) } else { Type::BOOL };
        Expr { op: Op::Test { of: left, predicate }, ty, is_spread: false, at }
    }

    fn predicate(
        &mut self,
        scalar: Scalar,
        comparison: Comparison,
        right: Right,
        at: Span,
    ) -> Option<Predicate> {
        match (comparison, right) {
            (_, Right::Wrong) => None,
            (_, Right::List(name)) => self.list(scalar, &name, at),
            (Comparison::In, Right::Set(items)) => self.set(scalar, items, at),
            (Comparison::Matches, Right::Pattern(text)) => {
                let pattern = self.pattern(&text, at)?;
                Some(Predicate::new(Test::Matches(pattern), "matches", text.as_bytes()))
            }
            (Comparison::Wildcard | Comparison::StrictWildcard, Right::One(Item::Bytes(text))) => {
                let is_strict = comparison == Comparison::StrictWildcard;
                let wildcard = self.wildcard(&text, is_strict, at)?;
                let tag = if is_strict { "strict" } else { "wildcard" };
                Some(Predicate::new(Test::Wildcard(wildcard), tag, &text))
            }
            (Comparison::Contains, Right::One(Item::Bytes(text))) => {
                Some(Predicate::new(Test::Contains(text.as_slice().into()), "contains", &text))
            }
            (order, Right::One(item)) => match (scalar, item) {
                (Scalar::Bytes, Item::Bytes(text)) => Some(Predicate::bytes(order, &text)),
                (Scalar::Int, Item::Int(value)) => Some(Predicate::int(order, value)),
                (Scalar::Ip, Item::Address(address)) => Some(Predicate::ip(order, address)),
                (Scalar::Ip, Item::Network(..) | Item::AddressRange(..)) => {
                    self.report(at, "one address is compared with many", "write `in {…}`");
                    None
                }
                (Scalar::Int, Item::IntRange(..)) => {
                    self.report(at, "one integer is compared with many", "write `in {…}`");
                    None
                }
                _ => {
                    self.mismatch(scalar, at);
                    None
                }
            },
            _ => {
                self.mismatch(scalar, at);
                None
            }
        }
    }

    fn mismatch(&mut self, scalar: Scalar, at: Span) {
        let expected = match scalar {
            Scalar::Bytes => "expected a string such as \"text\"",
            Scalar::Int => "expected an integer such as 12",
            Scalar::Ip => "expected an address such as 192.0.2.1",
            Scalar::Bool => "",
        };
        self.report(at, format!("this is not of the type {scalar} of the left side"), expected);
    }

    fn list(&mut self, scalar: Scalar, name: &str, at: Span) -> Option<Predicate> {
        let Some(list) = self.scope.lists.named(name) else {
            let meant = nearest(name, self.scope.lists.names()).map(|name| format!("${name}"));
            let expected = if meant.is_some() { "" } else { "define it first" };
            self.problems.add_with(at, format!("there is no list `${name}`"), expected, meant.as_deref());
            return None;
        };
        if list.kind().scalar() != scalar {
            let what =
                format!("the list `${name}` holds {}, the left side is {scalar}", list.kind().scalar());
            self.report(at, what, "");
            return None;
        }
        Some(Predicate::new(Test::List(Arc::clone(list)), "list", name.as_bytes()))
    }

    fn set(&mut self, scalar: Scalar, items: Vec<(Item, Span)>, at: Span) -> Option<Predicate> {
        if items.is_empty() {
            self.report(at, "the set is empty", "it holds at least one value");
            return None;
        }
        let (mut texts, mut ints, mut addresses) = (Vec::new(), Vec::new(), Vec::new());
        let mut is_right = true;
        for (item, at) in items {
            match (scalar, item) {
                (Scalar::Bytes, Item::Bytes(text)) => texts.push(text.into_boxed_slice()),
                (Scalar::Int, Item::Int(value)) => ints.push((value, value)),
                (Scalar::Int, Item::IntRange(low, high)) => ints.push((low, high)),
                (Scalar::Ip, Item::Address(address)) => addresses.push((address, address)),
                (Scalar::Ip, Item::Network(address, length)) => {
                    addresses.push(network_range(address, length))
                }
                (Scalar::Ip, Item::AddressRange(low, high)) => addresses.push((low, high)),
                _ => {
                    self.mismatch(scalar, at);
                    is_right = false;
                }
            }
        }
        if !is_right {
            return None;
        }
        let mut key = Vec::new();
        let test = match scalar {
            Scalar::Bytes => {
                texts.sort_unstable();
                texts.dedup();
                for text in &texts {
                    key.extend_from_slice(&(text.len() as u32).to_le_bytes());
                    key.extend_from_slice(text);
                }
                Test::OneOf(texts.into())
            }
            Scalar::Int => {
                let set = IntSet::new(ints);
                for (low, high) in &set.ranges {
                    key.extend_from_slice(&low.to_le_bytes());
                    key.extend_from_slice(&high.to_le_bytes());
                }
                Test::IntIn(Arc::new(set))
            }
            _ => {
                addresses.sort_unstable();
                for (low, high) in &addresses {
                    key.extend_from_slice(format!("{low}-{high},").as_bytes());
                }
                Test::IpIn(Arc::new(AddressSet::from_ranges(addresses)))
            }
        };
        Some(Predicate::new(test, "in", &key))
    }

    fn pattern(&mut self, text: &str, at: Span) -> Option<Arc<Pattern>> {
        self.patterns += 1;
        if self.patterns > self.scope.limits.patterns_max {
            if self.patterns == self.scope.limits.patterns_max + 1 {
                let what = format!("the expression has more than {} regular expressions", self.patterns - 1);
                self.report(at, what, "split it into several rules");
            }
            return None;
        }
        match Pattern::new(text, self.scope.limits) {
            Ok(pattern) => Some(Arc::new(pattern)),
            Err(what) => {
                self.report(at, what, "");
                None
            }
        }
    }

    fn wildcard(&mut self, text: &[u8], is_strict: bool, at: Span) -> Option<Arc<Wildcard>> {
        match Wildcard::new(text, is_strict, self.scope.limits.stars_max) {
            Ok(wildcard) => Some(Arc::new(wildcard)),
            Err(what) => {
                self.report(at, what, "");
                None
            }
        }
    }
}

fn is_condition(expr: &Expr) -> bool {
    expr.ty.scalar == Scalar::Bool && matches!(expr.ty.shape, Shape::One | Shape::Array) && !expr.is_spread
}

fn is_literal(op: &Op) -> bool {
    matches!(op, Op::Bool(_) | Op::Int(_) | Op::Bytes(_) | Op::Ip(_))
}

/// An expression as messages call it.
fn shown(expr: &Expr) -> String {
    match &expr.op {
        Op::Field(field) => format!("`{field}` of type {}", expr.ty),
        _ => format!("a value of type {}", expr.ty),
    }
}

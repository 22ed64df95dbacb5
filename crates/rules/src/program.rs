//! Many expressions compiled together: shared parts once, and only what may matter is looked at.
//!
//! Every comparison becomes an *atom*: a question about a value. Equal values and equal questions of all
//! expressions are one. Atoms about the same value form a *group*, which answers them together: strings by
//! one hash lookup, addresses by one search, texts to be contained by one automaton. A condition is code over
//! atoms, and *sleeps* until one of the atoms without which it cannot be true is found to hold; so a thousand
//! rules of which none matches cost a few lookups, not a thousand evaluations. That this gives what
//! evaluating each expression by itself gives is held by a property test against a plain evaluator
//! (`program/tests.rs`).
//!
//! Evaluation is in `eval.rs`. Called by `ruleset.rs` and by whoever has single expressions. Read next:
//! [`Builder`].

use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::check::{Checked, Expression, Op, Prepared};
use crate::field::Field;
use crate::function::Function;
use crate::kind::{Scalar, Shape, Type};
use crate::predicate::{Predicate, Test};
use crate::syntax::{Id, Logic};

pub(crate) mod group;

use group::Group;

/// A value that is evaluated at most once for each request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Node {
    Bool(bool),
    Int(i64),
    Ip(IpAddr),
    Bytes(u32),
    Field(Field),
    /// With `is_each` of every item, as the other operations.
    Key {
        of: u32,
        key: u32,
        is_each: bool,
    },
    At {
        of: u32,
        place: u32,
        is_each: bool,
    },
    /// The items of an array, the values of a map; with `is_flat` the items of each item.
    Each {
        of: u32,
        is_flat: bool,
    },
    Call {
        function: Function,
        arguments: Box<[u32]>,
        prepared: Option<u32>,
        is_each: bool,
    },
    Test {
        of: u32,
        test: u32,
        is_each: bool,
    },
    Not {
        of: u32,
    },
    Logic {
        logic: Logic,
        left: u32,
        right: u32,
    },
}

/// A question whose answer is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Atom {
    pub(crate) test: u32,
    pub(crate) group: u32,
}

/// One step of a condition's code, over one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instruction {
    Atom(u32),
    Set(bool),
    Not,
    JumpIfFalse(u32),
    JumpIfTrue(u32),
    /// Puts the register aside for [`Instruction::Xor`].
    Keep,
    Xor,
}

/// Number of a condition in its program, in the order they were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConditionId(pub(crate) u32);

/// Number of a value in its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ValueId(pub(crate) u32);

/// Compiled expressions.
#[derive(Debug, Default)]
pub struct Program {
    pub(crate) nodes: Vec<Node>,
    /// For each node what must be evaluated, itself last.
    pub(crate) orders: Vec<Box<[u32]>>,
    pub(crate) tests: Vec<Predicate>,
    pub(crate) literals: Vec<Arc<[u8]>>,
    pub(crate) prepared: Vec<Prepared>,
    pub(crate) atoms: Vec<Atom>,
    pub(crate) groups: Vec<Group>,
    /// For each atom the conditions it wakes.
    pub(crate) wakes: Vec<Box<[u32]>>,
    pub(crate) code: Vec<Instruction>,
    pub(crate) conditions: Vec<Range<u32>>,
    /// For each condition the groups that may wake it.
    pub(crate) wakers: Vec<Box<[u32]>>,
    /// Conditions that nothing need wake, as bits.
    pub(crate) always: Vec<u64>,
    pub(crate) values: Vec<u32>,
}

impl Program {
    /// Number of conditions.
    #[must_use]
    pub fn conditions(&self) -> usize {
        self.conditions.len()
    }

    /// Numbers of what was compiled, for a report: values, questions, groups of questions, conditions that
    /// are evaluated for every request.
    #[must_use]
    pub fn counts(&self) -> [usize; 4] {
        let always = self.always.iter().map(|bits| bits.count_ones() as usize).sum();
        [self.nodes.len(), self.atoms.len(), self.groups.len(), always]
    }

    /// The groups to look at before conditions of a range are asked for.
    pub(crate) fn groups_of(&self, range: Range<u32>) -> Box<[u32]> {
        let of_range = self.wakers.get(range.start as usize..range.end as usize).unwrap_or_default();
        let mut groups: Vec<u32> = of_range.iter().flatten().copied().collect();
        groups.sort_unstable();
        groups.dedup();
        groups.into()
    }
}

/// Atoms of which one must hold, and how often one will.
#[derive(Clone, Debug)]
struct Wake {
    atoms: Vec<u32>,
    cost: u32,
}

/// When an expression can be true, and when false; nothing: at any time.
#[derive(Clone, Debug, Default)]
struct Wakes {
    to_true: Option<Wake>,
    to_false: Option<Wake>,
}

fn either(one: Option<Wake>, other: Option<Wake>) -> Option<Wake> {
    let (mut one, other) = (one?, other?);
    one.atoms.extend(other.atoms);
    one.atoms.sort_unstable();
    one.atoms.dedup();
    one.cost = one.cost.saturating_add(other.cost);
    Some(one)
}

fn cheaper(one: Option<Wake>, other: Option<Wake>) -> Option<Wake> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other.cost < one.cost { other } else { one }),
        (one, other) => one.or(other),
    }
}

/// Compiles expressions into one program.
#[derive(Debug, Default)]
pub struct Builder {
    program: Program,
    by_node: HashMap<Node, u32, FixedState>,
    by_literal: HashMap<Arc<[u8]>, u32, FixedState>,
    by_test: HashMap<Arc<[u8]>, u32, FixedState>,
    by_call: HashMap<(Function, Box<[u32]>), u32, FixedState>,
    by_atom: HashMap<(u32, bool, u32), u32, FixedState>,
    by_group: HashMap<(u32, bool), u32, FixedState>,
    /// Value, whether any item counts, and the first condition that asks, for each group.
    grouped: Vec<(u32, bool, u32)>,
}

/// What is left to do while a condition's code is written.
enum Task {
    Write(Id),
    Emit(Instruction),
    JumpIfFalse(usize),
    JumpIfTrue(usize),
    Land(usize),
}

/// How an expression stands in a condition.
#[derive(Clone, Copy)]
enum Role {
    /// Below an atom, or not in the condition's code.
    Inside,
    Atom(u32),
    /// Present, and not equal: the two atoms of `ne`. The first is missing for what is always there.
    Unequal(Option<u32>, u32),
    Not,
    Logic,
    Constant(bool),
}

impl Builder {
    /// An empty program.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition; one that is no condition is never true.
    pub fn condition(&mut self, expression: &Expression) -> ConditionId {
        let checked = &*expression.checked;
        let roles = self.roles(checked);
        let wake = self.write(checked, &roles);
        let number = self.program.conditions.len() as u32;
        let id = ConditionId(number - 1);
        let word = id.0 as usize / 64;
        if self.program.always.len() <= word {
            self.program.always.resize(word + 1, 0);
        }
        let mut wakers = Vec::new();
        match wake {
            Some(wake) => {
                for atom in wake.atoms {
                    if let Some(woken) = self.program.wakes.get_mut(atom as usize) {
                        let mut list = std::mem::take(woken).into_vec();
                        list.push(id.0);
                        *woken = list.into();
                    }
                    wakers.extend(self.program.atoms.get(atom as usize).map(|atom| atom.group));
                }
            }
            None => {
                if let Some(bits) = self.program.always.get_mut(word) {
                    *bits |= 1 << (id.0 % 64);
                }
            }
        }
        wakers.sort_unstable();
        wakers.dedup();
        self.program.wakers.push(wakers.into());
        id
    }

    /// Adds a value.
    pub fn value(&mut self, expression: &Expression) -> ValueId {
        let checked = &*expression.checked;
        let mut needed = vec![false; checked.exprs.len()];
        if let Some(root) = needed.get_mut(checked.root) {
            *root = true;
        }
        let nodes = self.nodes_of(checked, needed);
        let node = nodes.get(checked.root).copied().unwrap_or_default();
        self.program.values.push(node);
        ValueId(self.program.values.len() as u32 - 1)
    }

    /// Ends compiling: atoms are put beside the others of their group, and groups get their tables.
    #[must_use]
    pub fn build(mut self) -> Program {
        let program = &mut self.program;
        let mut places: Vec<u32> = (0..program.atoms.len() as u32).collect();
        places.sort_by_key(|atom| program.atoms.get(*atom as usize).map(|atom| atom.group));
        let mut new_of_old = vec![0; places.len()];
        for (new, old) in places.iter().enumerate() {
            if let Some(place) = new_of_old.get_mut(*old as usize) {
                *place = new as u32;
            }
        }
        let moved = |old: u32| new_of_old.get(old as usize).copied().unwrap_or_default();
        program.atoms = places.iter().filter_map(|old| program.atoms.get(*old as usize).copied()).collect();
        program.wakes = places
            .iter()
            .filter_map(|old| program.wakes.get_mut(*old as usize).map(std::mem::take))
            .collect();
        for instruction in &mut program.code {
            if let Instruction::Atom(atom) = instruction {
                *atom = moved(*atom);
            }
        }
        let mut groups = Vec::with_capacity(self.grouped.len());
        let mut from = 0;
        for (number, (node, is_any, first)) in self.grouped.iter().enumerate() {
            let of_group = |atom: &&Atom| atom.group == number as u32;
            let count = program.atoms.get(from..).unwrap_or_default().iter().take_while(of_group).count();
            let atoms = from as u32..(from + count) as u32;
            from += count;
            groups.push(Group::new(*node, *is_any, *first, atoms, program));
        }
        program.groups = groups;
        self.program
    }

    fn literal(&mut self, bytes: &Arc<[u8]>) -> u32 {
        let list = &mut self.program.literals;
        *self.by_literal.entry(Arc::clone(bytes)).or_insert_with(|| {
            list.push(Arc::clone(bytes));
            list.len() as u32 - 1
        })
    }

    fn test(&mut self, predicate: &Predicate) -> u32 {
        let tests = &mut self.program.tests;
        *self.by_test.entry(Arc::clone(&predicate.key)).or_insert_with(|| {
            tests.push(predicate.clone());
            tests.len() as u32 - 1
        })
    }

    fn node(&mut self, node: Node, children: &[u32]) -> u32 {
        if let Some(known) = self.by_node.get(&node) {
            return *known;
        }
        let id = self.program.nodes.len() as u32;
        let mut order: Vec<u32> = Vec::new();
        for child in children {
            order.extend(self.program.orders.get(*child as usize).into_iter().flatten());
        }
        order.sort_unstable();
        order.dedup();
        order.push(id);
        self.program.nodes.push(node.clone());
        self.program.orders.push(order.into());
        self.by_node.insert(node, id);
        id
    }

    /// Makes nodes of the needed expressions and of what they are made of.
    fn nodes_of(&mut self, checked: &Checked, mut needed: Vec<bool>) -> Vec<u32> {
        for (id, expr) in checked.exprs.iter().enumerate().rev() {
            if needed.get(id) == Some(&true) {
                for child in children(&expr.op) {
                    if let Some(child) = needed.get_mut(child) {
                        *child = true;
                    }
                }
            }
        }
        let mut nodes = vec![0; checked.exprs.len()];
        for (id, expr) in checked.exprs.iter().enumerate() {
            if needed.get(id) != Some(&true) {
                continue;
            }
            let below = |child: Id| nodes.get(child).copied().unwrap_or_default();
            let is_each = |child: Id| checked.exprs.get(child).is_some_and(|expr| expr.is_spread);
            let node = match &expr.op {
                Op::Wrong => Node::Bool(false),
                Op::Bool(value) => Node::Bool(*value),
                Op::Int(value) => Node::Int(*value),
                Op::Ip(value) => Node::Ip(*value),
                Op::Bytes(text) => Node::Bytes(self.literal(text)),
                Op::Field(field) => Node::Field(*field),
                Op::Key { of, key } => {
                    Node::Key { of: below(*of), key: self.literal(key), is_each: is_each(*of) }
                }
                Op::At { of, place } => Node::At { of: below(*of), place: *place, is_each: is_each(*of) },
                Op::Each { of } => Node::Each { of: below(*of), is_flat: is_each(*of) },
                Op::Call { function, arguments, prepared } => {
                    let is_each = arguments.first().copied().is_some_and(is_each);
                    let arguments: Box<[u32]> = arguments.iter().map(|argument| below(*argument)).collect();
                    let prepared = self.prepare(*function, &arguments, prepared);
                    Node::Call { function: *function, arguments, prepared, is_each }
                }
                Op::Test { of, predicate } => {
                    Node::Test { of: below(*of), test: self.test(predicate), is_each: is_each(*of) }
                }
                Op::Not { of } => Node::Not { of: below(*of) },
                Op::Logic { logic, left, right } => {
                    Node::Logic { logic: *logic, left: below(*left), right: below(*right) }
                }
            };
            let below: Vec<u32> = children(&expr.op).map(below).collect();
            let made = self.node(node, &below);
            if let Some(place) = nodes.get_mut(id) {
                *place = made;
            }
        }
        nodes
    }

    fn prepare(&mut self, function: Function, arguments: &[u32], prepared: &Prepared) -> Option<u32> {
        if matches!(prepared, Prepared::Nothing) {
            return None;
        }
        let list = &mut self.program.prepared;
        Some(*self.by_call.entry((function, arguments.into())).or_insert_with(|| {
            list.push(prepared.clone());
            list.len() as u32 - 1
        }))
    }

    fn atom(&mut self, node: u32, is_any: bool, predicate: &Predicate) -> u32 {
        let test = self.test(predicate);
        if let Some(known) = self.by_atom.get(&(node, is_any, test)) {
            return *known;
        }
        let condition = self.program.conditions.len() as u32;
        let grouped = &mut self.grouped;
        let group = *self.by_group.entry((node, is_any)).or_insert_with(|| {
            grouped.push((node, is_any, condition));
            grouped.len() as u32 - 1
        });
        let id = self.program.atoms.len() as u32;
        self.program.atoms.push(Atom { test, group });
        self.program.wakes.push(Box::default());
        self.by_atom.insert((node, is_any, test), id);
        id
    }

    /// Finds which expressions are the condition's own logic and which are atoms, and makes the atoms.
    fn roles(&mut self, checked: &Checked) -> Vec<Role> {
        let mut is_logic = vec![false; checked.exprs.len()];
        let mut needed = vec![false; checked.exprs.len()];
        let mark = |list: &mut Vec<bool>, id: Id| {
            if let Some(place) = list.get_mut(id) {
                *place = true;
            }
        };
        mark(&mut is_logic, checked.root);
        for (id, expr) in checked.exprs.iter().enumerate().rev() {
            if is_logic.get(id) != Some(&true) {
                continue;
            }
            match &expr.op {
                Op::Logic { .. } | Op::Not { .. } => {
                    children(&expr.op).for_each(|child| mark(&mut is_logic, child))
                }
                Op::Bool(_) | Op::Wrong => {}
                _ => mark(&mut needed, asked(checked, id).0),
            }
        }
        let nodes = self.nodes_of(checked, needed);
        let mut roles = vec![Role::Inside; checked.exprs.len()];
        for (id, expr) in checked.exprs.iter().enumerate() {
            if is_logic.get(id) != Some(&true) {
                continue;
            }
            let role = match &expr.op {
                Op::Logic { .. } => Role::Logic,
                Op::Not { .. } => Role::Not,
                Op::Bool(value) => Role::Constant(*value),
                Op::Wrong => Role::Constant(false),
                _ => {
                    let (value, is_any, predicate) = asked(checked, id);
                    let node = nodes.get(value).copied().unwrap_or_default();
                    match predicate.as_ref().and_then(Predicate::without_ne) {
                        Some(equal) if !is_any => {
                            let is_there =
                                checked.exprs.get(value).is_some_and(|expr| is_always_there(&expr.op));
                            let present = (!is_there).then(|| self.atom(node, false, &Predicate::present()));
                            Role::Unequal(present, self.atom(node, false, &equal))
                        }
                        _ => {
                            let predicate = predicate.unwrap_or_else(Predicate::is_true);
                            Role::Atom(self.atom(node, is_any, &predicate))
                        }
                    }
                }
            };
            if let Some(place) = roles.get_mut(id) {
                *place = role;
            }
        }
        roles
    }

    /// Writes a condition's code and finds what wakes it.
    fn write(&mut self, checked: &Checked, roles: &[Role]) -> Option<Wake> {
        let start = self.program.code.len() as u32;
        let mut landings: Vec<Vec<usize>> = Vec::new();
        let mut tasks = vec![Task::Write(checked.root)];
        while let Some(task) = tasks.pop() {
            let place = self.program.code.len();
            match task {
                Task::Emit(instruction) => self.program.code.push(instruction),
                Task::JumpIfFalse(landing) | Task::JumpIfTrue(landing) => {
                    let instruction = match task {
                        Task::JumpIfFalse(_) => Instruction::JumpIfFalse(0),
                        _ => Instruction::JumpIfTrue(0),
                    };
                    self.program.code.push(instruction);
                    if let Some(jumps) = landings.get_mut(landing) {
                        jumps.push(place);
                    }
                }
                Task::Land(landing) => {
                    for jump in landings.get(landing).into_iter().flatten() {
                        match self.program.code.get_mut(*jump) {
                            Some(Instruction::JumpIfFalse(to) | Instruction::JumpIfTrue(to)) => {
                                *to = place as u32
                            }
                            _ => debug_assert!(false, "only jumps land"),
                        }
                    }
                }
                Task::Write(id) => {
                    let op = checked.exprs.get(id).map(|expr| &expr.op);
                    match (roles.get(id).copied().unwrap_or(Role::Constant(false)), op) {
                        (Role::Atom(atom), _) => self.program.code.push(Instruction::Atom(atom)),
                        (Role::Unequal(present, equal), _) => {
                            landings.push(Vec::new());
                            let landing = landings.len() - 1;
                            tasks.push(Task::Land(landing));
                            tasks.push(Task::Emit(Instruction::Not));
                            tasks.push(Task::Emit(Instruction::Atom(equal)));
                            if let Some(present) = present {
                                tasks.push(Task::JumpIfFalse(landing));
                                tasks.push(Task::Emit(Instruction::Atom(present)));
                            }
                        }
                        (Role::Not, Some(Op::Not { of })) => {
                            tasks.push(Task::Emit(Instruction::Not));
                            tasks.push(Task::Write(*of));
                        }
                        (Role::Logic, Some(Op::Logic { logic: Logic::Xor, left, right })) => {
                            tasks.push(Task::Emit(Instruction::Xor));
                            tasks.push(Task::Write(*right));
                            tasks.push(Task::Emit(Instruction::Keep));
                            tasks.push(Task::Write(*left));
                        }
                        (Role::Logic, Some(Op::Logic { logic, left, right })) => {
                            landings.push(Vec::new());
                            let landing = landings.len() - 1;
                            tasks.push(Task::Land(landing));
                            tasks.push(Task::Write(*right));
                            tasks.push(match logic {
                                Logic::And => Task::JumpIfFalse(landing),
                                _ => Task::JumpIfTrue(landing),
                            });
                            tasks.push(Task::Write(*left));
                        }
                        (Role::Constant(value), _) => self.program.code.push(Instruction::Set(value)),
                        _ => self.program.code.push(Instruction::Set(false)),
                    }
                }
            }
        }
        self.program.conditions.push(start..self.program.code.len() as u32);
        self.wake(checked, roles)
    }

    fn wake(&self, checked: &Checked, roles: &[Role]) -> Option<Wake> {
        let mut list: Vec<Wakes> = vec![Wakes::default(); checked.exprs.len()];
        let nothing = || Some(Wake { atoms: Vec::new(), cost: 0 });
        for (id, expr) in checked.exprs.iter().enumerate() {
            let mut taken = |id: Id| list.get_mut(id).map(std::mem::take).unwrap_or_default();
            let wakes = match (roles.get(id).copied().unwrap_or(Role::Inside), &expr.op) {
                (Role::Inside, _) => continue,
                (Role::Constant(true), _) => Wakes { to_true: None, to_false: nothing() },
                (Role::Constant(false), _) => Wakes { to_true: nothing(), to_false: None },
                (Role::Atom(atom), _) => Wakes { to_true: self.waker(atom), to_false: None },
                (Role::Unequal(Some(present), _), _) => {
                    Wakes { to_true: self.waker(present), to_false: None }
                }
                (Role::Unequal(None, equal), _) => Wakes { to_true: None, to_false: self.waker(equal) },
                (Role::Not, Op::Not { of }) => {
                    let of = taken(*of);
                    Wakes { to_true: of.to_false, to_false: of.to_true }
                }
                (Role::Logic, Op::Logic { logic, left, right }) => {
                    let (left, right) = (taken(*left), taken(*right));
                    match logic {
                        Logic::And => Wakes {
                            to_true: cheaper(left.to_true, right.to_true),
                            to_false: either(left.to_false, right.to_false),
                        },
                        Logic::Or => Wakes {
                            to_true: either(left.to_true, right.to_true),
                            to_false: cheaper(left.to_false, right.to_false),
                        },
                        Logic::Xor => Wakes {
                            to_true: cheaper(
                                either(left.to_true.clone(), right.to_true.clone()),
                                either(left.to_false.clone(), right.to_false.clone()),
                            ),
                            to_false: either(
                                cheaper(left.to_true, right.to_true),
                                cheaper(left.to_false, right.to_false),
                            ),
                        },
                    }
                }
                _ => Wakes::default(),
            };
            if let Some(place) = list.get_mut(id) {
                *place = wakes;
            }
        }
        list.get_mut(checked.root).and_then(|wakes| wakes.to_true.take())
    }

    /// An atom as what wakes a condition, unless its group cannot rule it out.
    fn waker(&self, atom: u32) -> Option<Wake> {
        let Atom { test, group } = self.program.atoms.get(atom as usize).copied()?;
        let predicate = self.program.tests.get(test as usize)?;
        let (node, ..) = self.grouped.get(group as usize).copied()?;
        let cost = match &predicate.test {
            Test::Bytes(crate::Comparison::Eq, _) | Test::Ip(crate::Comparison::Eq, _) | Test::IpIn(_) => 1,
            Test::Int(crate::Comparison::Eq, _) => 1,
            Test::OneOf(set) => 1 + set.len() as u32 / 16,
            Test::IntIn(_) | Test::List(_) | Test::Starts(_) | Test::Ends(_) => 2,
            Test::Contains(text) => {
                if text.len() < 3 {
                    20
                } else {
                    3
                }
            }
            Test::Wildcard(wildcard) if wildcard.needle().is_empty() => return None,
            Test::Matches(pattern) if pattern.needles().is_empty() => return None,
            Test::Wildcard(_) | Test::Matches(_) => 4,
            Test::Bytes(..) | Test::Int(..) | Test::Ip(..) => 30,
            Test::Present | Test::IsTrue => 40,
        };
        let order = self.program.orders.get(node as usize)?;
        let fields = order.iter().filter_map(|node| match self.program.nodes.get(*node as usize) {
            Some(Node::Field(field)) => Some(field.commonness()),
            _ => None,
        });
        Some(Wake { atoms: vec![atom], cost: cost * fields.max().unwrap_or(1) })
    }
}

/// What a condition's expression asks: about which expression, whether of any item, and what; nothing means
/// whether it is true.
fn asked(checked: &Checked, id: Id) -> (Id, bool, Option<Predicate>) {
    let test_of = |id: Id, wanted: bool| match checked.exprs.get(id).map(|expr| &expr.op) {
        Some(Op::Test { of, predicate }) => {
            let is_each = checked.exprs.get(*of).is_some_and(|expr| expr.is_spread);
            (is_each == wanted).then(|| (*of, predicate.clone()))
        }
        _ => None,
    };
    if let Some((of, predicate)) = test_of(id, false) {
        return (of, false, Some(predicate));
    }
    if let Some(Op::Call { function: Function::Any, arguments, .. }) =
        checked.exprs.get(id).map(|expr| &expr.op)
        && let Some((of, predicate)) = arguments.first().and_then(|argument| test_of(*argument, true))
    {
        return (of, true, Some(predicate));
    }
    (id, false, None)
}

/// Whether a value is never missing.
fn is_always_there(op: &Op) -> bool {
    let never_missing = Type { scalar: Scalar::Ip, shape: Shape::One };
    matches!(op, Op::Field(field) if field.ty() != never_missing)
        || matches!(op, Op::Call { function: Function::Len, .. })
}

fn children(op: &Op) -> impl Iterator<Item = Id> + use<> {
    let list: Vec<Id> = match op {
        Op::Key { of, .. } | Op::At { of, .. } | Op::Each { of } | Op::Test { of, .. } | Op::Not { of } => {
            vec![*of]
        }
        Op::Logic { left, right, .. } => vec![*left, *right],
        Op::Call { arguments, .. } => arguments.to_vec(),
        _ => Vec::new(),
    };
    list.into_iter()
}

/// The hash by which literals of configuration are found.
pub(crate) fn hash_of(bytes: &[u8]) -> u64 {
    crate::list::HASHER.hash_one(bytes)
}

#[cfg(test)]
mod tests;

//! Evaluates a program over one request: values once, groups once, conditions when they are awake.
//!
//! Nothing here can fail but by [`Spent`]: what does not fit is missing, and what is missing makes a
//! comparison false. Every step is charged before it is done; prices stand at their spots and in the
//! reference. A run borrows a [`Scratch`], which it prepares for its program. Called by `ruleset.rs` and
//! [`Program::run`]'s users; functions are in `eval/call.rs`. Read next: [`Run::next`].

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;

use fuel::{Fuel, Spent};

use crate::limits::{ITEMS_MAX, MADE_BYTES_MAX};
use crate::predicate::Test;
use crate::program::{Atom, ConditionId, Instruction, Node, Program, ValueId};
use crate::scratch::{Known, Map, Place, Scratch, Text, Val};
use crate::syntax::Logic;
use crate::view::View;

mod call;

/// A value as it leaves an evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// True or false.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// An address.
    Ip(IpAddr),
    /// An array; arrays in it are arrays again.
    Array(Vec<Value>),
}

impl fmt::Display for Value {
    /// As text; bytes that are no UTF-8 are replaced.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "{value}"),
            Value::Bytes(value) => f.write_str(&String::from_utf8_lossy(value)),
            Value::Ip(value) => write!(f, "{value}"),
            Value::Array(values) => {
                f.debug_list().entries(values.iter().map(|value| format!("{value}"))).finish()
            }
        }
    }
}

/// One program over one request.
pub struct Run<'r> {
    pub(crate) view: &'r dyn View,
    pub(crate) program: &'r Program,
    pub(crate) scratch: &'r mut Scratch,
    pub(crate) fuel: &'r mut Fuel,
    /// The condition that is worked for.
    at: u32,
}

impl fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Program {
    /// Begins an evaluation. `scratch` keeps what was derived from the request, and forgets what other
    /// programs found out.
    pub fn run<'r>(&'r self, view: &'r dyn View, scratch: &'r mut Scratch, fuel: &'r mut Fuel) -> Run<'r> {
        scratch.prepare(self.nodes.len(), self.atoms.len(), self.groups.len());
        scratch.awake.clear();
        scratch.awake.extend_from_slice(&self.always);
        Run { view, program: self, scratch, fuel, at: 0 }
    }
}

impl Run<'_> {
    /// Whether a condition is true.
    ///
    /// # Errors
    ///
    /// [`Spent`] when the tank is empty.
    pub fn is_true(&mut self, condition: ConditionId) -> Result<bool, Spent> {
        self.at = condition.0;
        let range = self.program.conditions.get(condition.0 as usize).cloned().unwrap_or_default();
        let program = self.program;
        let code = program.code.get(range.start as usize..range.end as usize).unwrap_or_default();
        // Jumps go forward only, so the whole code is the most it can cost.
        self.fuel.spend(2 * code.len() as u64)?;
        let mut register = false;
        let mut kept = 0_u128;
        let mut place = 0;
        while let Some(instruction) = code.get(place as usize) {
            place += 1;
            match instruction {
                Instruction::Atom(atom) => register = self.atom(*atom)?,
                Instruction::Set(value) => register = *value,
                Instruction::Not => register = !register,
                Instruction::JumpIfFalse(to) if !register => place = *to - range.start,
                Instruction::JumpIfTrue(to) if register => place = *to - range.start,
                Instruction::JumpIfFalse(_) | Instruction::JumpIfTrue(_) => {}
                Instruction::Keep => kept = kept << 1 | u128::from(register),
                Instruction::Xor => {
                    register ^= kept & 1 == 1;
                    kept >>= 1;
                }
            }
        }
        Ok(register)
    }

    /// The condition that is worked for, to name when the tank is empty.
    #[must_use]
    pub fn at(&self) -> ConditionId {
        ConditionId(self.at)
    }

    /// Looks at what may wake conditions; before [`Run::next`] is asked about them.
    pub(crate) fn look(&mut self, groups: &[u32], first: u32) -> Result<(), Spent> {
        for group in groups {
            self.at = self.program.groups.get(*group as usize).map_or(first, |group| group.first.max(first));
            self.group(*group)?;
        }
        Ok(())
    }

    /// The next true condition of a range.
    pub(crate) fn next(&mut self, range: Range<u32>) -> Result<Option<ConditionId>, Spent> {
        let mut at = range.start;
        while at < range.end {
            let word = at / 64;
            let bits = self.scratch.awake.get(word as usize).copied().unwrap_or_default() >> (at % 64);
            self.fuel.spend(1)?;
            if bits == 0 {
                at = (word + 1) * 64;
                continue;
            }
            at += bits.trailing_zeros();
            if at >= range.end {
                break;
            }
            if self.is_true(ConditionId(at))? {
                return Ok(Some(ConditionId(at)));
            }
            at += 1;
        }
        Ok(None)
    }

    /// Evaluates a value; nothing when it is missing.
    ///
    /// # Errors
    ///
    /// [`Spent`] when the tank is empty.
    pub fn value(&mut self, value: ValueId) -> Result<Option<Value>, Spent> {
        let Some(node) = self.program.values.get(value.0 as usize).copied() else { return Ok(None) };
        let value = self.node(node)?;
        self.out(value)
    }

    /// Evaluates a value of type Bytes; empty when it is missing.
    ///
    /// # Errors
    ///
    /// [`Spent`] when the tank is empty.
    pub fn bytes_of(&mut self, value: ValueId) -> Result<Vec<u8>, Spent> {
        match self.value(value)? {
            Some(Value::Bytes(bytes)) => Ok(bytes),
            _ => Ok(Vec::new()),
        }
    }

    fn out(&mut self, value: Val) -> Result<Option<Value>, Spent> {
        Ok(match value {
            Val::Unknown | Val::Missing | Val::Map(_) => None,
            Val::Bool(value) => Some(Value::Bool(value)),
            Val::Int(value) => Some(Value::Int(value)),
            Val::Ip(value) => Some(Value::Ip(value)),
            Val::Text(text) => {
                self.fuel.spend(u64::from(text.len) / 4)?;
                Some(Value::Bytes(self.resolve(text).to_vec()))
            }
            Val::Array { start, len } => {
                self.fuel.spend(4 * u64::from(len))?;
                let mut values = Vec::with_capacity(len as usize);
                for place in start..start + len {
                    match self.item(place) {
                        Val::Array { start, len } => {
                            self.fuel.spend(4 * u64::from(len))?;
                            let inner =
                                (start..start + len).filter_map(|place| self.scalar_out(self.item(place)));
                            values.push(Value::Array(inner.collect()));
                        }
                        scalar => values.extend(self.scalar_out(scalar)),
                    }
                }
                Some(Value::Array(values))
            }
        })
    }

    fn scalar_out(&self, value: Val) -> Option<Value> {
        match value {
            Val::Bool(value) => Some(Value::Bool(value)),
            Val::Int(value) => Some(Value::Int(value)),
            Val::Ip(value) => Some(Value::Ip(value)),
            Val::Text(text) => Some(Value::Bytes(self.resolve(text).to_vec())),
            _ => None,
        }
    }

    /// Empties the tank: a limit of memory was reached.
    #[cold]
    pub(crate) fn exhaust(&mut self) -> Spent {
        let _ = self.fuel.spend(u64::MAX);
        Spent
    }

    /// The bytes of a text.
    pub(crate) fn resolve(&self, text: Text) -> &[u8] {
        let whole = match text.place {
            Place::Made => self.scratch.made.as_slice(),
            Place::Literal(place) => {
                self.program.literals.get(place as usize).map(|text| &**text).unwrap_or_default()
            }
            Place::Field(field) => self.view.bytes(field).unwrap_or_default(),
            Place::Name(side, place) => self.view.header(side, place as usize).unwrap_or_default().0,
            Place::Value(side, place) => self.view.header(side, place as usize).unwrap_or_default().1,
            Place::Item(field, place) => match self.view.item(field, place as usize) {
                Some(crate::view::ViewItem::Bytes(bytes)) => bytes,
                _ => &[],
            },
        };
        let start = text.start as usize;
        whole.get(start..start + text.len as usize).unwrap_or_default()
    }

    /// Makes bytes; nothing when `make` says that there are none. `make` works in a buffer of its own, so
    /// that it may read what was made before.
    pub(crate) fn make(
        &mut self,
        price: u64,
        make: impl FnOnce(&Self, &mut Vec<u8>) -> bool,
    ) -> Result<Option<Text>, Spent> {
        self.fuel.spend(4 + price)?;
        let mut out = std::mem::take(&mut self.scratch.spare);
        out.clear();
        let is_made = make(self, &mut out);
        let start = self.scratch.made.len();
        let fits = start + out.len() <= MADE_BYTES_MAX;
        if is_made && fits {
            self.scratch.made.extend_from_slice(&out);
        }
        let len = out.len() as u32;
        self.scratch.spare = out;
        if !fits {
            return Err(self.exhaust());
        }
        Ok(is_made.then_some(Text { place: Place::Made, start: start as u32, len }))
    }

    /// The same from one text, at so many steps per byte of it.
    pub(crate) fn make_from(
        &mut self,
        text: Text,
        price: u64,
        make: impl FnOnce(&[u8], &mut Vec<u8>) -> bool,
    ) -> Result<Option<Text>, Spent> {
        self.make(price * u64::from(text.len), |run, out| make(run.resolve(text), out))
    }

    pub(crate) fn push_item(&mut self, item: Val) -> Result<(), Spent> {
        if self.scratch.items.len() >= ITEMS_MAX {
            return Err(self.exhaust());
        }
        self.scratch.items.push(item);
        Ok(())
    }

    pub(crate) fn item(&self, place: u32) -> Val {
        self.scratch.items.get(place as usize).copied().unwrap_or(Val::Missing)
    }

    fn known_value(&self, node: u32) -> Val {
        self.scratch.values.get(node as usize).copied().unwrap_or(Val::Missing)
    }

    /// The value of a node, evaluated with all it needs if it was not yet.
    pub(crate) fn node(&mut self, node: u32) -> Result<Val, Spent> {
        let known = self.known_value(node);
        if known != Val::Unknown {
            return Ok(known);
        }
        let program = self.program;
        let mut last = Val::Missing;
        for needed in program.orders.get(node as usize).into_iter().flatten() {
            last = self.known_value(*needed);
            if last == Val::Unknown {
                last = self.compute(*needed)?;
                if let Some(place) = self.scratch.values.get_mut(*needed as usize) {
                    *place = last;
                }
            }
        }
        Ok(last)
    }

    fn compute(&mut self, node: u32) -> Result<Val, Spent> {
        self.fuel.spend(4)?;
        let program = self.program;
        let Some(node) = program.nodes.get(node as usize) else { return Ok(Val::Missing) };
        match node {
            Node::Bool(value) => Ok(Val::Bool(*value)),
            Node::Int(value) => Ok(Val::Int(*value)),
            Node::Ip(value) => Ok(Val::Ip(*value)),
            Node::Bytes(literal) => {
                let len = program.literals.get(*literal as usize).map_or(0, |text| text.len() as u32);
                Ok(Val::Text(Text { place: Place::Literal(*literal), start: 0, len }))
            }
            Node::Field(field) => self.field(*field),
            Node::Key { of, key, is_each } => {
                let of = self.known_value(*of);
                let key = program.literals.get(*key as usize).map(|key| &**key).unwrap_or_default();
                if *is_each {
                    return self.of_each(of, |run, item| run.key(item, key));
                }
                self.key(of, key)
            }
            Node::At { of, place, is_each } => {
                let of = self.known_value(*of);
                if *is_each {
                    return self.of_each(of, |run, item| Ok(run.item_at(item, *place)));
                }
                Ok(self.item_at(of, *place))
            }
            Node::Each { of, is_flat } => {
                let of = self.known_value(*of);
                if *is_flat { self.flat(of) } else { self.each(of) }
            }
            Node::Call { function, arguments, prepared, is_each } => {
                let prepared = prepared.and_then(|prepared| program.prepared.get(prepared as usize));
                let argument = |run: &Self, place: usize| {
                    arguments.get(place).map_or(Val::Missing, |node| run.known_value(*node))
                };
                let count = arguments.len();
                if *is_each {
                    let first = argument(self, 0);
                    return self.of_each(first, |run, item| {
                        let argument =
                            |run: &Self, place: usize| if place == 0 { item } else { argument(run, place) };
                        run.call(*function, prepared, count, &argument)
                    });
                }
                self.call(*function, prepared, count, &argument)
            }
            Node::Test { of, test, is_each } => {
                let of = self.known_value(*of);
                let Some(predicate) = program.tests.get(*test as usize) else { return Ok(Val::Missing) };
                if !*is_each {
                    return Ok(Val::Bool(self.ask(&predicate.test, of)?));
                }
                // Nothing to compare gives no answers rather than a missing one, so `all` is true of it.
                let of = if of == Val::Missing { Val::Array { start: 0, len: 0 } } else { of };
                self.of_each(of, |run, item| Ok(Val::Bool(run.ask(&predicate.test, item)?)))
            }
            Node::Not { of } => {
                let of = self.known_value(*of);
                match of {
                    Val::Array { .. } => self.of_each(of, |_, item| Ok(Val::Bool(item != Val::Bool(true)))),
                    one => Ok(Val::Bool(one != Val::Bool(true))),
                }
            }
            Node::Logic { logic, left, right } => {
                let (left, right) = (self.known_value(*left), self.known_value(*right));
                self.logic(*logic, left, right)
            }
        }
    }

    fn logic(&mut self, logic: Logic, left: Val, right: Val) -> Result<Val, Spent> {
        let one = |left: Val, right: Val| {
            let (left, right) = (left == Val::Bool(true), right == Val::Bool(true));
            Val::Bool(match logic {
                Logic::And => left && right,
                Logic::Or => left || right,
                Logic::Xor => left != right,
            })
        };
        let (Val::Array { start, len }, Val::Array { start: other, len: other_len }) = (left, right) else {
            // A missing array of answers, from a call upon nothing, has none.
            return Ok(match (left, right) {
                (Val::Array { .. }, _) | (_, Val::Array { .. }) => Val::Array { start: 0, len: 0 },
                _ => one(left, right),
            });
        };
        let begin = self.scratch.items.len();
        for place in 0..len.min(other_len) {
            self.fuel.spend(2)?;
            let item = one(self.item(start + place), self.item(other + place));
            self.push_item(item)?;
        }
        Ok(self.array_from(begin))
    }

    /// Does something to each item; what it gives nothing for is left out.
    fn of_each(
        &mut self,
        of: Val,
        mut with: impl FnMut(&mut Self, Val) -> Result<Val, Spent>,
    ) -> Result<Val, Spent> {
        let Val::Array { start, len } = of else { return Ok(Val::Missing) };
        // What is done to an item may make items itself, so results wait beside them.
        let mut results = std::mem::take(&mut self.scratch.results);
        results.clear();
        for place in start..start + len {
            self.fuel.spend(2)?;
            let result = with(self, self.item(place))?;
            if result != Val::Missing {
                results.push(result);
            }
        }
        let begin = self.scratch.items.len();
        if begin + results.len() > ITEMS_MAX {
            return Err(self.exhaust());
        }
        self.scratch.items.extend_from_slice(&results);
        self.scratch.results = results;
        Ok(self.array_from(begin))
    }

    fn key(&mut self, of: Val, key: &[u8]) -> Result<Val, Spent> {
        let Val::Map(map) = of else { return Ok(Val::Missing) };
        let begin = self.scratch.items.len();
        self.find_key(map, key, |run, pair| run.push_item(Val::Text(pair.value)))?;
        let array = self.array_from(begin);
        Ok(if array == (Val::Array { start: begin as u32, len: 0 }) { Val::Missing } else { array })
    }

    fn item_at(&self, of: Val, place: u32) -> Val {
        match of {
            Val::Array { start, len } if place < len => self.item(start + place),
            _ => Val::Missing,
        }
    }

    fn each(&mut self, of: Val) -> Result<Val, Spent> {
        match of {
            Val::Map(map) => self.grouped(map),
            other => Ok(other),
        }
    }

    fn flat(&mut self, of: Val) -> Result<Val, Spent> {
        let Val::Array { start, len } = of else { return Ok(Val::Missing) };
        let begin = self.scratch.items.len();
        for place in start..start + len {
            self.fuel.spend(2)?;
            if let Val::Array { start, len } = self.item(place) {
                for inner in start..start + len {
                    self.fuel.spend(1)?;
                    self.push_item(self.item(inner))?;
                }
            }
        }
        Ok(self.array_from(begin))
    }

    /// Asks one question about one value; false when it is missing.
    pub(crate) fn ask(&mut self, test: &Test, value: Val) -> Result<bool, Spent> {
        match value {
            Val::Text(text) => {
                self.fuel.spend(test.price(text.len as usize))?;
                let mut folded = std::mem::take(&mut self.scratch.folded);
                let holds = test.of_bytes(self.resolve(text), &mut folded);
                self.scratch.folded = folded;
                Ok(holds)
            }
            Val::Int(value) => {
                self.fuel.spend(test.price(0))?;
                Ok(test.of_int(value))
            }
            Val::Ip(value) => {
                self.fuel.spend(test.price(0))?;
                Ok(test.of_ip(value))
            }
            Val::Bool(value) => Ok(value || matches!(test, Test::Present)),
            Val::Array { .. } | Val::Map(_) => Ok(matches!(test, Test::Present)),
            Val::Missing | Val::Unknown => Ok(false),
        }
    }

    /// Whether an atom holds.
    fn atom(&mut self, atom: u32) -> Result<bool, Spent> {
        let known = self.scratch.known.get(atom as usize).copied().unwrap_or(Known::No);
        match known {
            Known::Yes => return Ok(true),
            Known::No => return Ok(false),
            Known::Nothing | Known::Perhaps => {}
        }
        let program = self.program;
        let Some(Atom { test, group }) = program.atoms.get(atom as usize).copied() else { return Ok(false) };
        if known == Known::Nothing {
            self.group(group)?;
            match self.scratch.known.get(atom as usize).copied() {
                Some(Known::Yes) => return Ok(true),
                Some(Known::Perhaps) => {}
                _ => return Ok(false),
            }
        }
        let holds = self.ask_group(group, test)?;
        if let Some(place) = self.scratch.known.get_mut(atom as usize) {
            *place = if holds { Known::Yes } else { Known::No };
        }
        Ok(holds)
    }

    fn ask_group(&mut self, group: u32, test: u32) -> Result<bool, Spent> {
        let program = self.program;
        let (Some(group), Some(predicate)) =
            (program.groups.get(group as usize), program.tests.get(test as usize))
        else {
            return Ok(false);
        };
        let value = self.node(group.node)?;
        if !group.is_any {
            return self.ask(&predicate.test, value);
        }
        let Val::Array { start, len } = value else { return Ok(false) };
        for place in start..start + len {
            self.fuel.spend(2)?;
            if self.ask(&predicate.test, self.item(place))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Answers a group's questions, as far as looking does.
    fn group(&mut self, number: u32) -> Result<(), Spent> {
        if self.scratch.groups.get(number as usize).copied().unwrap_or(true) {
            return Ok(());
        }
        let program = self.program;
        let Some(group) = program.groups.get(number as usize) else { return Ok(()) };
        let is_absent = match group.keyed {
            Some((map, length)) => !self.may_have(map, length)?,
            None => false,
        };
        let value = if is_absent { Val::Missing } else { self.node(group.node)? };
        // Set only now: an evaluation that is ended by an empty tank leaves nothing half known, since it is
        // over.
        if let Some(done) = self.scratch.groups.get_mut(number as usize) {
            *done = true;
        }
        if let Some(atoms) = self.scratch.known.get_mut(group.atoms.start as usize..group.atoms.end as usize)
        {
            atoms.fill(Known::No);
        }
        if is_absent {
            return Ok(());
        }
        match (group.is_any, value) {
            (true, Val::Array { start, len }) => {
                for place in start..start + len {
                    let item = self.item(place);
                    self.look_at(group, item)?;
                }
            }
            (true, _) => {}
            (false, value) => self.look_at(group, value)?,
        }
        let (others, unfiltered) = group.rest();
        for atom in others {
            let test = program.atoms.get(*atom as usize).map_or(u32::MAX, |atom| atom.test);
            if self.ask_group(number, test)? {
                self.tell(*atom, Known::Yes);
            }
        }
        for atom in unfiltered {
            self.tell(*atom, Known::Perhaps);
        }
        Ok(())
    }

    /// Whether a map may have an entry whose name is so long.
    fn may_have(&mut self, map: Map, length: u32) -> Result<bool, Spent> {
        self.fill(map)?;
        self.fuel.spend(2)?;
        let lengths = self.scratch.tables.get(map.table()).map_or(0, |table| table.lengths);
        Ok(lengths & 1 << length.min(63) != 0)
    }

    fn look_at(&mut self, group: &crate::program::group::Group, value: Val) -> Result<(), Spent> {
        match value {
            Val::Text(text) => {
                self.fuel.spend(group.price(text.len as usize))?;
                // The value may lie in the scratch, which is told the answers: they are kept apart meanwhile.
                let mut known = std::mem::take(&mut self.scratch.known);
                let mut awake = std::mem::take(&mut self.scratch.awake);
                let fuel = std::mem::replace(self.fuel, Fuel::new(0));
                let mut fuel = fuel;
                let program = self.program;
                let looked = group.look_at_bytes(self.resolve(text), |atom, answer| {
                    fuel.spend(1)?;
                    tell(program, &mut known, &mut awake, atom, answer);
                    Ok(())
                });
                *self.fuel = fuel;
                self.scratch.known = known;
                self.scratch.awake = awake;
                looked?;
            }
            Val::Int(value) => {
                self.fuel.spend(group.price(0))?;
                group.look_at_int(value, |atom, answer| self.tell(atom, answer));
            }
            Val::Ip(value) => {
                self.fuel.spend(group.price(0))?;
                group.look_at_ip(value, |atom, answer| self.tell(atom, answer));
            }
            _ => {}
        }
        Ok(())
    }

    fn tell(&mut self, atom: u32, answer: Known) {
        tell(self.program, &mut self.scratch.known, &mut self.scratch.awake, atom, answer);
    }
}

/// Keeps an answer that says more than what is known, and wakes the conditions that wait for it.
fn tell(program: &Program, known: &mut [Known], awake: &mut [u64], atom: u32, answer: Known) {
    let Some(place) = known.get_mut(atom as usize) else { return };
    if answer <= *place {
        return;
    }
    let was_awake = *place == Known::Perhaps;
    *place = answer;
    if was_awake || answer < Known::Perhaps {
        return;
    }
    for condition in program.wakes.get(atom as usize).into_iter().flatten() {
        if let Some(bits) = awake.get_mut(*condition as usize / 64) {
            *bits |= 1 << (condition % 64);
        }
    }
}

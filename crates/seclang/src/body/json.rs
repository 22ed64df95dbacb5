//! JSON bodies (RFC 8259), flattened to arguments.
//!
//! Names are those of libmodsecurity 3: `json` for the whole document, `json.a.b` for members,
//! `json.a.array_0` for elements, `empty-key` where a member's name is empty. Numbers keep their text, `null`
//! is empty, empty objects and arrays are nothing. Whitespace is RFC 8259's and the vertical tab and form
//! feed.
//!
//! Differences from libmodsecurity 3: a high surrogate without its low one becomes `?` and swallows nothing
//! behind it.
//!
//! One byte at a time through a small machine with a stack of its own. Read next: `Json`.

use std::fmt;

use super::{BodyError, Collection, Limit, Limits, Outlet, Sink};

/// Why a body is not JSON, and the byte (from 0) at which that was seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JsonError {
    /// What is wrong.
    pub problem: JsonProblem,
    /// Where, in bytes from the body's start.
    pub at: u64,
}

/// What can be wrong with JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JsonProblem {
    /// A byte that starts no value.
    NoValue,
    /// A member without a name in quotes.
    NoName,
    /// No colon behind a member's name.
    NoColon,
    /// Neither a comma nor the end behind a value.
    NoComma,
    /// A word that is not `true`, `false` or `null`.
    Word,
    /// A number that RFC 8259 §6 does not have.
    Number,
    /// A byte below 0x20 in a string.
    ControlByte,
    /// A backslash before something that RFC 8259 §7 does not have.
    Escape,
    /// A string that is not UTF-8.
    Utf8,
    /// Something behind the value.
    Trailing,
    /// The body ends in the middle.
    Truncated,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.problem {
            JsonProblem::NoValue => "a value was expected",
            JsonProblem::NoName => "a member's name in quotes was expected",
            JsonProblem::NoColon => "a colon was expected behind a member's name",
            JsonProblem::NoComma => "a comma or the end was expected behind a value",
            JsonProblem::Word => "a word that is not true, false or null",
            JsonProblem::Number => "a number that is none",
            JsonProblem::ControlByte => "a control byte in a string",
            JsonProblem::Escape => "an unknown escape in a string",
            JsonProblem::Utf8 => "a string that is not UTF-8",
            JsonProblem::Trailing => "something behind the value",
            JsonProblem::Truncated => "the end came too early",
        };
        write!(f, "{what} (byte {})", self.at)
    }
}

/// A container that is open.
#[derive(Debug)]
struct Frame {
    /// The path's length up to this container's own name.
    path_bytes: usize,
    /// The next element of an array; `None` for an object.
    element: Option<usize>,
}

/// What is expected next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expect {
    /// A value; `]` too where an array has just begun.
    Value {
        may_close: bool,
    },
    /// A member's name; `}` too where an object has just begun.
    Name {
        may_close: bool,
    },
    Colon,
    /// A comma or the container's end.
    Comma,
    /// Whitespace alone.
    Nothing,
}

/// What is in the middle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Token {
    Between,
    Word { word: &'static [u8], matched: usize },
    Number(Number),
    Text(Text),
}

/// Where in a number, RFC 8259 §6.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Number {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

/// Where in a string, RFC 8259 §7.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Text {
    Plain,
    Backslash,
    /// Digits of `\u` read, and their value.
    Unicode(u8, u16),
    /// Bytes of a UTF-8 sequence still to come.
    Continuation(u8),
}

/// A JSON body under way.
#[derive(Debug)]
pub(super) struct Json {
    depth_max: usize,
    value_bytes_max: usize,
    stack: Vec<Frame>,
    /// The name of what is read now, up to the innermost container.
    path: Vec<u8>,
    /// The string, number or word being read.
    text: Vec<u8>,
    token: Token,
    expect: Expect,
    /// The string being read is a member's name.
    is_name: bool,
    /// A high surrogate waits for the low one.
    surrogate: Option<u16>,
    bytes: u64,
    is_over: bool,
}

impl Json {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            depth_max: limits.depth_max,
            value_bytes_max: limits.value_bytes_max,
            stack: Vec::new(),
            path: b"json".to_vec(),
            text: Vec::new(),
            token: Token::Between,
            expect: Expect::Value { may_close: false },
            is_name: false,
            surrogate: None,
            bytes: 0,
            is_over: false,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn feed(&mut self, chunk: &[u8], outlet: &mut Outlet, sink: &mut dyn Sink) {
        let before = self.bytes;
        self.bytes += chunk.len() as u64;
        let mut at = 0;
        while !self.is_over
            && let Some(&byte) = chunk.get(at)
        {
            if self.token == Token::Text(Text::Plain) && self.surrogate.is_none() {
                let rest = chunk.get(at..).unwrap_or_default();
                let plain = rest.iter().position(|&byte| !is_plain(byte)).unwrap_or(rest.len());
                if plain > 0 {
                    self.hold_all(rest.get(..plain).unwrap_or_default(), outlet, sink);
                    at += plain;
                    continue;
                }
            }
            match self.step(byte, outlet, sink) {
                Ok(true) => at += 1,
                // The byte ended a number and is looked at again.
                Ok(false) => {}
                Err(problem) => self.fail(problem, before + at as u64, outlet),
            }
        }
    }

    pub(super) fn finish(mut self, outlet: &mut Outlet, sink: &mut dyn Sink) {
        if self.is_over || self.bytes == 0 {
            return;
        }
        // Only a number ends with the body.
        if matches!(self.token, Token::Number(_))
            && let Err(problem) = self.step(b' ', outlet, sink)
        {
            return self.fail(problem, self.bytes, outlet);
        }
        if self.is_over || self.token == Token::Between && self.expect == Expect::Nothing {
            return;
        }
        self.fail(JsonProblem::Truncated, self.bytes, outlet);
        // Where the end is that of what is inspected, the part of a string before it is looked at too.
        if matches!(self.token, Token::Text(_)) {
            self.cut(outlet, sink);
        }
    }

    fn fail(&mut self, problem: JsonProblem, at: u64, outlet: &mut Outlet) {
        outlet.fail(BodyError::Json(JsonError { problem, at }));
        self.is_over = true;
    }

    /// Reads one byte; `false` if it must be looked at again.
    fn step(&mut self, byte: u8, outlet: &mut Outlet, sink: &mut dyn Sink) -> Result<bool, JsonProblem> {
        match self.token {
            Token::Between => self.begin(byte, outlet)?,
            Token::Word { word, matched } => {
                if word.get(matched) != Some(&byte) {
                    return Err(JsonProblem::Word);
                }
                self.token = Token::Word { word, matched: matched + 1 };
                if matched + 1 == word.len() {
                    self.text.clear();
                    self.text.extend_from_slice(if word == b"null" { b"" } else { word });
                    self.end_value(outlet, sink);
                }
            }
            Token::Number(place) => match next_in_number(place, byte)? {
                Some(next) => {
                    self.token = Token::Number(next);
                    self.hold_all(&[byte], outlet, sink);
                }
                None => {
                    self.end_value(outlet, sink);
                    return Ok(false);
                }
            },
            Token::Text(place) => return self.step_in_text(place, byte, outlet, sink),
        }
        Ok(true)
    }

    /// Reads a byte between tokens.
    fn begin(&mut self, byte: u8, outlet: &mut Outlet) -> Result<(), JsonProblem> {
        if matches!(byte, b' ' | b'\t'..=b'\r') {
            return Ok(());
        }
        match (self.expect, byte) {
            (Expect::Value { .. }, b'"') => self.begin_text(false),
            (Expect::Name { .. }, b'"') => self.begin_text(true),
            (Expect::Value { .. }, b'{') => self.open(None, outlet),
            (Expect::Value { .. }, b'[') => self.open(Some(0), outlet),
            (Expect::Value { .. }, b'-' | b'0'..=b'9') => {
                self.text.clear();
                self.text.push(byte);
                self.token = Token::Number(match byte {
                    b'-' => Number::Minus,
                    b'0' => Number::Zero,
                    _ => Number::Integer,
                });
            }
            (Expect::Value { .. }, b't') => self.token = Token::Word { word: b"true", matched: 1 },
            (Expect::Value { .. }, b'f') => self.token = Token::Word { word: b"false", matched: 1 },
            (Expect::Value { .. }, b'n') => self.token = Token::Word { word: b"null", matched: 1 },
            (Expect::Value { may_close: true } | Expect::Comma, b']') if self.is_in_array() => self.close(),
            (Expect::Name { may_close: true } | Expect::Comma, b'}') if !self.is_in_array() => self.close(),
            (Expect::Comma, b',') => {
                self.expect = if self.is_in_array() {
                    Expect::Value { may_close: false }
                } else {
                    Expect::Name { may_close: false }
                };
            }
            (Expect::Colon, b':') => self.expect = Expect::Value { may_close: false },
            (Expect::Value { .. }, _) => return Err(JsonProblem::NoValue),
            (Expect::Name { .. }, _) => return Err(JsonProblem::NoName),
            (Expect::Colon, _) => return Err(JsonProblem::NoColon),
            (Expect::Comma, _) => return Err(JsonProblem::NoComma),
            (Expect::Nothing, _) => return Err(JsonProblem::Trailing),
        }
        Ok(())
    }

    fn is_in_array(&self) -> bool {
        self.stack.last().is_some_and(|frame| frame.element.is_some())
    }

    fn begin_text(&mut self, is_name: bool) {
        self.text.clear();
        self.is_name = is_name;
        self.token = Token::Text(Text::Plain);
    }

    /// Reads a byte of a string.
    fn step_in_text(
        &mut self,
        place: Text,
        byte: u8,
        outlet: &mut Outlet,
        sink: &mut dyn Sink,
    ) -> Result<bool, JsonProblem> {
        let mut next = Text::Plain;
        match place {
            Text::Plain if byte == b'\\' => next = Text::Backslash,
            Text::Plain => {
                self.end_surrogate(outlet, sink);
                match byte {
                    b'"' => {
                        if self.is_name {
                            self.end_name(outlet);
                        } else {
                            self.end_value(outlet, sink);
                        }
                        return Ok(true);
                    }
                    0..0x20 => return Err(JsonProblem::ControlByte),
                    0xc0..=0xdf => next = Text::Continuation(1),
                    0xe0..=0xef => next = Text::Continuation(2),
                    0xf0..=0xf7 => next = Text::Continuation(3),
                    0x80.. => return Err(JsonProblem::Utf8),
                    0x20..=0x7f => {}
                }
                self.hold_all(&[byte], outlet, sink);
            }
            Text::Continuation(left) => {
                if byte & 0xc0 != 0x80 {
                    return Err(JsonProblem::Utf8);
                }
                if left > 1 {
                    next = Text::Continuation(left - 1);
                }
                self.hold_all(&[byte], outlet, sink);
            }
            Text::Backslash => {
                let plain = match byte {
                    b'"' | b'\\' | b'/' => byte,
                    b'b' => 0x08,
                    b'f' => 0x0c,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'u' => {
                        self.token = Token::Text(Text::Unicode(0, 0));
                        return Ok(true);
                    }
                    _ => return Err(JsonProblem::Escape),
                };
                self.end_surrogate(outlet, sink);
                self.hold_all(&[plain], outlet, sink);
            }
            Text::Unicode(digits, value) => {
                let digit = char::from(byte).to_digit(16).ok_or(JsonProblem::Escape)?;
                let value = value << 4 | digit as u16;
                if digits < 3 {
                    next = Text::Unicode(digits + 1, value);
                } else {
                    self.end_unicode(value, outlet, sink);
                }
            }
        }
        // A ceiling may have ended the value meanwhile.
        if !self.is_over {
            self.token = Token::Text(next);
        }
        Ok(true)
    }

    /// A `\u` escape is complete.
    fn end_unicode(&mut self, unit: u16, outlet: &mut Outlet, sink: &mut dyn Sink) {
        let number = match (self.surrogate.take(), unit) {
            (Some(high), 0xdc00..=0xdfff) => {
                0x1_0000 + (u32::from(high & 0x3ff) << 10 | u32::from(unit & 0x3ff))
            }
            (lone, _) => {
                if lone.is_some() {
                    self.hold_all(b"?", outlet, sink);
                }
                if matches!(unit, 0xd800..=0xdbff) {
                    self.surrogate = Some(unit);
                    return;
                }
                u32::from(unit)
            }
        };
        // A low surrogate alone has no character; it is written as UTF-8 would write its number.
        match char::from_u32(number) {
            Some(character) => {
                self.hold_all(character.encode_utf8(&mut [0; 4]).as_bytes(), outlet, sink);
            }
            None => {
                let low = |shift: u32| 0x80 | (number >> shift & 0x3f) as u8;
                self.hold_all(&[0xe0 | (number >> 12 & 0x0f) as u8, low(6), low(0)], outlet, sink);
            }
        }
    }

    /// Something other than an escape follows a high surrogate.
    fn end_surrogate(&mut self, outlet: &mut Outlet, sink: &mut dyn Sink) {
        if self.surrogate.take().is_some() {
            self.hold_all(b"?", outlet, sink);
        }
    }

    /// Holds bytes of a string or number; at the ceiling hands over what there is and stops.
    fn hold_all(&mut self, bytes: &[u8], outlet: &mut Outlet, sink: &mut dyn Sink) {
        let room = self.value_bytes_max.saturating_sub(self.text.len());
        self.text.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        if bytes.len() > room && !self.is_over {
            self.cut(outlet, sink);
            outlet.fail_at(Limit::ValueBytes);
            self.is_over = true;
        }
    }

    /// Hands over what is held of a value that is cut; of a member's name, with nothing for its value.
    fn cut(&mut self, outlet: &mut Outlet, sink: &mut dyn Sink) {
        if self.is_name && matches!(self.token, Token::Text(_)) {
            self.end_name(outlet);
            self.text.clear();
        }
        self.end_value(outlet, sink);
    }

    /// The path of what comes next in the innermost container, without a member's name.
    fn extend_path(&mut self) {
        let Some(frame) = self.stack.last() else { return };
        if let Some(element) = frame.element {
            self.path.truncate(frame.path_bytes);
            self.path.extend_from_slice(b".array_");
            self.path.extend_from_slice(element.to_string().as_bytes());
        }
    }

    fn end_name(&mut self, outlet: &mut Outlet) {
        let path_bytes = self.stack.last().map_or(0, |frame| frame.path_bytes);
        self.path.truncate(path_bytes);
        self.path.push(b'.');
        self.path.extend_from_slice(if self.text.is_empty() { b"empty-key" } else { &self.text });
        self.token = Token::Between;
        self.expect = Expect::Colon;
        if self.path.len() > self.value_bytes_max {
            outlet.fail_at(Limit::ValueBytes);
            self.is_over = true;
        }
    }

    fn end_value(&mut self, outlet: &mut Outlet, sink: &mut dyn Sink) {
        self.extend_path();
        self.is_over |= !outlet.take(sink, Collection::Args, &self.path, &self.text);
        self.is_name = false;
        self.token = Token::Between;
        self.count_value();
    }

    /// A value is complete: the next element, a comma, or nothing more.
    fn count_value(&mut self) {
        self.expect = match self.stack.last_mut() {
            Some(frame) => {
                frame.element = frame.element.map(|element| element + 1);
                Expect::Comma
            }
            None => Expect::Nothing,
        };
    }

    fn open(&mut self, element: Option<usize>, outlet: &mut Outlet) {
        self.extend_path();
        self.expect = match element {
            Some(_) => Expect::Value { may_close: true },
            None => Expect::Name { may_close: true },
        };
        if self.stack.len() >= self.depth_max {
            outlet.fail_at(Limit::Depth);
            self.is_over = true;
            return;
        }
        self.stack.push(Frame { path_bytes: self.path.len(), element });
    }

    fn close(&mut self) {
        self.stack.pop();
        self.count_value();
    }
}

/// Tells whether a byte stands for itself in a string, so that runs of them are copied at once.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7f) && byte != b'"' && byte != b'\\'
}

/// Where in a number `byte` leads; `None` if the number ended before it.
fn next_in_number(place: Number, byte: u8) -> Result<Option<Number>, JsonProblem> {
    use Number::{Exponent, ExponentDigits, ExponentSign, Fraction, Integer, Minus, Point, Zero};
    Ok(Some(match (place, byte) {
        (Minus, b'0') => Zero,
        (Minus | Integer, b'0'..=b'9') => Integer,
        (Zero | Integer, b'.') => Point,
        (Point | Fraction, b'0'..=b'9') => Fraction,
        (Zero | Integer | Fraction, b'e' | b'E') => Exponent,
        (Exponent, b'+' | b'-') => ExponentSign,
        (Exponent | ExponentSign | ExponentDigits, b'0'..=b'9') => ExponentDigits,
        (Zero | Integer | Fraction | ExponentDigits, _) => return Ok(None),
        (Minus | Point | Exponent | ExponentSign, _) => return Err(JsonProblem::Number),
    }))
}

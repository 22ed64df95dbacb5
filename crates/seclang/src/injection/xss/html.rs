//! HTML 5 in pieces (the tokenizer of the HTML standard, §13.2.5), as lenient as the browsers that attackers
//! aim at.
//!
//! Called by [`super::detect`] with one context after another. Every piece takes time linear in its own
//! length.

use memchr::{memchr, memchr_iter, memmem};

/// Where in a page a value is imagined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Context {
    /// Between tags.
    Text,
    /// In a tag, where an attribute's name or an unquoted value stands.
    Tag,
    /// In an attribute's value in these quotes.
    Value(u8),
}

/// What a piece is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Text,
    TagName,
    TagEnd,
    SelfClosing,
    CloseTag,
    AttributeName,
    AttributeValue,
    Comment,
    Doctype,
}

/// A piece of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Piece<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a [u8],
}

/// What is expected next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Text,
    TagOpen,
    TagEnd,
    BeforeAttribute,
    AfterAttributeName,
    BeforeValue,
    /// In a value; the quote, if it was before the value.
    Value(u8),
    AfterValue,
    SelfClosing,
    End,
}

/// A value being read as HTML.
#[derive(Debug)]
pub(super) struct Html<'a> {
    value: &'a [u8],
    at: usize,
    state: State,
    is_close: bool,
}

const fn is_blank(byte: u8) -> bool {
    // The reference searches a text that ends in NUL, so a NUL is blank too.
    matches!(byte, b' ' | b'\t'..=b'\r' | 0)
}

impl<'a> Html<'a> {
    pub(super) fn new(value: &'a [u8], context: Context) -> Self {
        let state = match context {
            Context::Text => State::Text,
            Context::Tag => State::BeforeAttribute,
            Context::Value(quote) => State::Value(quote),
        };
        Self { value, at: 0, state, is_close: false }
    }

    fn rest(&self) -> &'a [u8] {
        self.value.get(self.at..).unwrap_or_default()
    }

    /// Makes a piece of the next `length` bytes, goes on `behind` bytes after it.
    fn piece(&mut self, kind: Kind, length: usize, behind: usize, state: State) -> Option<Piece<'a>> {
        let text = self.rest().get(..length).unwrap_or_default();
        self.at = (self.at + length + behind).min(self.value.len());
        self.state = state;
        Some(Piece { kind, text })
    }

    /// Makes a piece of all that is left.
    fn last(&mut self, kind: Kind) -> Option<Piece<'a>> {
        self.piece(kind, self.rest().len(), 0, State::End)
    }

    /// Skips blanks and answers the byte behind them.
    fn skip_blanks(&mut self) -> Option<u8> {
        let rest = self.rest();
        let blanks = rest.iter().take_while(|&&byte| is_blank(byte)).count();
        self.at += blanks;
        rest.get(blanks).copied()
    }

    /// The next piece; `None` at the end.
    pub(super) fn next(&mut self) -> Option<Piece<'a>> {
        // Each turn takes bytes or goes to a state that does.
        loop {
            match self.state {
                State::End => return None,
                State::Text => match memchr(b'<', self.rest()) {
                    None if self.rest().is_empty() => return None,
                    None => return self.last(Kind::Text),
                    Some(0) => {
                        self.at += 1;
                        self.state = State::TagOpen;
                    }
                    Some(at) => return self.piece(Kind::Text, at, 1, State::TagOpen),
                },
                State::TagOpen => match self.rest().first()? {
                    b'!' => {
                        self.at += 1;
                        return self.declaration();
                    }
                    b'/' => {
                        self.at += 1;
                        self.is_close = true;
                        match self.rest().first()? {
                            b'>' => self.state = State::Text,
                            byte if byte.is_ascii_alphabetic() => return self.tag_name(),
                            _ => {
                                self.is_close = false;
                                return self.bogus_comment();
                            }
                        }
                    }
                    b'?' => {
                        self.at += 1;
                        return self.bogus_comment();
                    }
                    b'%' => {
                        self.at += 1;
                        return self.percent_comment();
                    }
                    byte if byte.is_ascii_alphabetic() || *byte == 0 => return self.tag_name(),
                    _ => {
                        // A `<` that opens nothing is text.
                        self.at -= 1;
                        return self.piece(Kind::Text, 1, 0, State::Text);
                    }
                },
                State::TagEnd => {
                    self.is_close = false;
                    let state = if self.rest().len() > 1 { State::Text } else { State::End };
                    return self.piece(Kind::TagEnd, 1, 0, state);
                }
                State::SelfClosing => match self.rest().first()? {
                    b'>' => {
                        self.at -= 1;
                        return self.piece(Kind::SelfClosing, 2, 0, State::Text);
                    }
                    _ => self.state = State::BeforeAttribute,
                },
                State::BeforeAttribute => match self.skip_blanks()? {
                    b'/' => {
                        self.at += 1;
                        self.state = State::SelfClosing;
                    }
                    b'>' => return self.piece(Kind::TagEnd, 1, 0, State::Text),
                    _ => return self.attribute_name(),
                },
                State::AfterAttributeName => match self.skip_blanks()? {
                    b'/' => {
                        self.at += 1;
                        self.state = State::SelfClosing;
                    }
                    b'=' => {
                        self.at += 1;
                        self.state = State::BeforeValue;
                    }
                    b'>' => self.state = State::TagEnd,
                    _ => return self.attribute_name(),
                },
                State::BeforeValue => match self.skip_blanks() {
                    None => {
                        self.state = State::End;
                        return None;
                    }
                    Some(quote @ (b'"' | b'\'' | b'`')) => self.state = State::Value(quote),
                    Some(_) => return self.plain_value(),
                },
                State::Value(quote) => {
                    // At the very start of the value the quote is imagined.
                    self.at += usize::from(self.at > 0);
                    return match memchr(quote, self.rest()) {
                        None => self.last(Kind::AttributeValue),
                        Some(at) => self.piece(Kind::AttributeValue, at, 1, State::AfterValue),
                    };
                }
                State::AfterValue => match *self.rest().first()? {
                    b'/' => {
                        self.at += 1;
                        self.state = State::SelfClosing;
                    }
                    b'>' => return self.piece(Kind::TagEnd, 1, 0, State::Text),
                    byte => {
                        self.at += usize::from(is_blank(byte));
                        self.state = State::BeforeAttribute;
                    }
                },
            }
        }
    }

    /// A tag's name; NULs in it are ignored by old browsers, so they do not end it.
    fn tag_name(&mut self) -> Option<Piece<'a>> {
        let rest = self.rest();
        let ends = |byte: u8| byte != 0 && is_blank(byte) || matches!(byte, b'/' | b'>');
        let Some(end) = rest.iter().position(|&byte| ends(byte)) else { return self.last(Kind::TagName) };
        match rest.get(end) {
            Some(b'/') => self.piece(Kind::TagName, end, 1, State::SelfClosing),
            Some(b'>') if self.is_close => {
                self.is_close = false;
                self.piece(Kind::CloseTag, end, 1, State::Text)
            }
            Some(b'>') => self.piece(Kind::TagName, end, 0, State::TagEnd),
            _ => self.piece(Kind::TagName, end, 1, State::BeforeAttribute),
        }
    }

    /// An attribute's name; whatever its first byte is, it belongs to it.
    fn attribute_name(&mut self) -> Option<Piece<'a>> {
        let rest = self.rest();
        let ends = |byte: u8| is_blank(byte) || matches!(byte, b'/' | b'=' | b'>');
        let end = rest.iter().skip(1).position(|&byte| ends(byte)).map(|end| end + 1);
        let Some(end) = end else { return self.last(Kind::AttributeName) };
        match rest.get(end) {
            Some(b'/') => self.piece(Kind::AttributeName, end, 1, State::SelfClosing),
            Some(b'=') => self.piece(Kind::AttributeName, end, 1, State::BeforeValue),
            Some(b'>') => self.piece(Kind::AttributeName, end, 0, State::TagEnd),
            _ => self.piece(Kind::AttributeName, end, 1, State::AfterAttributeName),
        }
    }

    /// A value without quotes.
    fn plain_value(&mut self) -> Option<Piece<'a>> {
        let rest = self.rest();
        let Some(end) = rest.iter().position(|&byte| is_blank(byte) || byte == b'>') else {
            return self.last(Kind::AttributeValue);
        };
        match rest.get(end) {
            Some(b'>') => self.piece(Kind::AttributeValue, end, 0, State::TagEnd),
            _ => self.piece(Kind::AttributeValue, end, 1, State::BeforeAttribute),
        }
    }

    /// What is behind `<!`.
    fn declaration(&mut self) -> Option<Piece<'a>> {
        let rest = self.rest();
        if rest.get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"DOCTYPE")) {
            return match memchr(b'>', rest) {
                None => self.last(Kind::Doctype),
                Some(end) => self.piece(Kind::Doctype, end, 1, State::Text),
            };
        }
        if rest.starts_with(b"[CDATA[") {
            self.at += 7;
            return match memmem::find(self.rest(), b"]]>") {
                None => self.last(Kind::Text),
                Some(end) => self.piece(Kind::Text, end, 3, State::Text),
            };
        }
        if rest.starts_with(b"--") {
            self.at += 2;
            return self.comment();
        }
        self.bogus_comment()
    }

    /// A comment up to `-->` or `-!>`, with NULs allowed behind its first hyphen.
    fn comment(&mut self) -> Option<Piece<'a>> {
        let rest = self.rest();
        for at in memchr_iter(b'-', rest) {
            // Three bytes are needed, whatever comes before.
            if at + 3 > rest.len() {
                break;
            }
            let behind = rest.get(at + 1..).unwrap_or_default();
            let nulls = behind.iter().take_while(|&&byte| byte == 0).count();
            match behind.get(nulls..).unwrap_or_default() {
                [] | [b'-' | b'!'] => break,
                [b'-' | b'!', b'>', ..] => return self.piece(Kind::Comment, at, nulls + 3, State::Text),
                _ => {}
            }
        }
        self.last(Kind::Comment)
    }

    /// A comment up to `>`.
    fn bogus_comment(&mut self) -> Option<Piece<'a>> {
        match memchr(b'>', self.rest()) {
            None => self.last(Kind::Comment),
            Some(end) => self.piece(Kind::Comment, end, 1, State::Text),
        }
    }

    /// A comment up to `%>`, of Internet Explorer and old Safari.
    fn percent_comment(&mut self) -> Option<Piece<'a>> {
        match memmem::find(self.rest(), b"%>") {
            None => self.last(Kind::Comment),
            Some(end) => self.piece(Kind::Comment, end, 2, State::Text),
        }
    }
}

//! Tokens of SQL, of all dialects at once: what each byte starts, and where that ends.
//!
//! Called by `fold` for one token after another. Each takes time linear in its own length.

use memchr::{memchr, memmem};

use super::words;

/// Tokens in a fingerprint.
pub(super) const TOKENS_MAX: usize = 5;
/// Bytes of a token that are looked at: the longest word has 29.
const TEXT_BYTES_MAX: usize = 31;

/// How comments are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Dialect {
    /// `--` always starts a comment, `#` is an operator.
    Ansi,
    /// `--` starts a comment only before whitespace, `#` always.
    MySql,
}

/// What a token is; each has the letter that stands for it in a fingerprint.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Kind {
    #[default]
    None,
    Keyword,
    Union,
    Group,
    Expression,
    SqlType,
    Function,
    Bareword,
    Number,
    Variable,
    Text,
    Operator,
    Logic,
    Comment,
    Collate,
    LeftParenthesis,
    RightParenthesis,
    LeftBrace,
    RightBrace,
    Dot,
    Comma,
    Colon,
    Semicolon,
    Transact,
    Unknown,
    /// Comments that databases read in different ways: no more is known of the rest.
    Evil,
    Backslash,
}

impl Kind {
    pub(super) const fn letter(self) -> u8 {
        match self {
            Kind::None => 0,
            Kind::Keyword => b'k',
            Kind::Union => b'U',
            Kind::Group => b'B',
            Kind::Expression => b'E',
            Kind::SqlType => b't',
            Kind::Function => b'f',
            Kind::Bareword => b'n',
            Kind::Number => b'1',
            Kind::Variable => b'v',
            Kind::Text => b's',
            Kind::Operator => b'o',
            Kind::Logic => b'&',
            Kind::Comment => b'c',
            Kind::Collate => b'A',
            Kind::LeftParenthesis => b'(',
            Kind::RightParenthesis => b')',
            Kind::LeftBrace => b'{',
            Kind::RightBrace => b'}',
            Kind::Dot => b'.',
            Kind::Comma => b',',
            Kind::Colon => b':',
            Kind::Semicolon => b';',
            Kind::Transact => b'T',
            Kind::Unknown => b'?',
            Kind::Evil => b'X',
            Kind::Backslash => b'\\',
        }
    }

    /// The kind of a word of the table.
    pub(super) fn of_word(word: &[u8]) -> Option<Self> {
        Some(match words::kind(word)? {
            b'k' => Kind::Keyword,
            b'U' => Kind::Union,
            b'B' => Kind::Group,
            b'E' => Kind::Expression,
            b't' => Kind::SqlType,
            b'f' => Kind::Function,
            b'n' => Kind::Bareword,
            b'1' => Kind::Number,
            b'v' => Kind::Variable,
            b'o' => Kind::Operator,
            b'&' => Kind::Logic,
            b'A' => Kind::Collate,
            b'T' => Kind::Transact,
            _ => return None,
        })
    }
}

/// A token: its kind, the start of its text, and the quotes around it.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) open: Option<u8>,
    pub(super) close: Option<u8>,
    length: u8,
    text: [u8; TEXT_BYTES_MAX],
}

impl Token {
    pub(super) fn new(kind: Kind, text: &[u8]) -> Self {
        let mut token = Self { kind, ..Self::default() };
        let text = text.get(..TEXT_BYTES_MAX).unwrap_or(text);
        token.text.iter_mut().zip(text).for_each(|(place, byte)| *place = *byte);
        token.length = text.len() as u8;
        token
    }

    /// The first 31 bytes of its text.
    pub(super) fn text(&self) -> &[u8] {
        self.text.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// Tells whether the text is this word, in any case.
    pub(super) fn is(&self, word: &[u8]) -> bool {
        self.text().eq_ignore_ascii_case(word)
    }

    pub(super) fn starts_with(&self, word: &[u8]) -> bool {
        self.text().get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
    }

    pub(super) fn is_arithmetic(&self) -> bool {
        self.kind == Kind::Operator && matches!(self.text(), [b'*' | b'/' | b'-' | b'+' | b'%'])
    }

    pub(super) fn is_unary(&self) -> bool {
        self.kind == Kind::Operator
            && (matches!(self.text(), [b'+' | b'-' | b'!' | b'~'] | [b'!', b'!']) || self.is(b"NOT"))
    }

    /// The two tokens as one, if together they are a word: `UNION` and `ALL`.
    pub(super) fn merged(&self, next: &Self) -> Option<Self> {
        let is_word = |kind| {
            use Kind::{Bareword, Expression, Function, Keyword, Operator, SqlType, Transact, Union};
            matches!(kind, Keyword | Bareword | Operator | Union | Function | Expression | Transact | SqlType)
        };
        let (first, second) = (self.text(), next.text());
        let length = first.len() + 1 + second.len();
        if !is_word(self.kind) || !(is_word(next.kind) || next.kind == Kind::Logic) || length > TEXT_BYTES_MAX
        {
            return None;
        }
        let mut both = [b' '; TEXT_BYTES_MAX];
        both.get_mut(..first.len())?.copy_from_slice(first);
        both.get_mut(first.len() + 1..length)?.copy_from_slice(second);
        let both = both.get(..length)?;
        // What was quoted around the first stays with it.
        let merged = Self::new(Kind::of_word(both)?, both);
        Some(Self { open: self.open, close: self.close, ..merged })
    }
}

/// A value being read as SQL.
#[derive(Debug)]
pub(super) struct Tokens<'a> {
    value: &'a [u8],
    at: usize,
    /// The quote that is imagined before the value.
    quote: Option<u8>,
    dialect: Dialect,
    /// Tokens read so far.
    pub(super) count: usize,
    /// A comment was read that MySQL reads differently.
    pub(super) has_doubtful_comment: bool,
}

/// Bytes that are blank, a NUL (Oracle) and the no-break space of Latin-1 included.
const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r' | 0 | 0xa0)
}

/// Bytes that end a word.
const fn ends_word(byte: u8) -> bool {
    is_blank(byte)
        || matches!(
            byte,
            b'[' | b']'
                | b'{'
                | b'}'
                | b'<'
                | b'>'
                | b':'
                | b'\\'
                | b'?'
                | b'='
                | b'@'
                | b'!'
                | b'#'
                | b'~'
                | b'+'
                | b'-'
                | b'*'
                | b'/'
                | b'&'
                | b'|'
                | b'^'
                | b'%'
                | b'('
                | b')'
                | b','
                | b'\''
                | b';'
                | b'"'
        )
}

/// Bytes that end the name of a variable.
const fn ends_variable(byte: u8) -> bool {
    byte == b'`' || byte != 0xa0 && ends_word(byte) && !matches!(byte, b'[' | b']' | b'{' | b'}')
}

/// Bytes of the start of `text` that are `accepted`; a NUL always is, as in the reference's searches.
fn span(text: &[u8], accepted: impl Fn(u8) -> bool) -> usize {
    text.iter().position(|&byte| byte != 0 && !accepted(byte)).unwrap_or(text.len())
}

impl<'a> Tokens<'a> {
    pub(super) fn new(value: &'a [u8], quote: Option<u8>, dialect: Dialect) -> Self {
        Self { value, at: 0, quote, dialect, count: 0, has_doubtful_comment: false }
    }

    /// The next token; `None` at the end.
    pub(super) fn next(&mut self) -> Option<Token> {
        if self.at == 0
            && let Some(quote) = self.quote.take()
        {
            let token = self.text_until(0, quote, None);
            self.count += 1;
            return Some(token);
        }
        while let Some(&byte) = self.value.get(self.at) {
            let before = self.at;
            if let Some(token) = self.token(byte) {
                self.count += 1;
                return Some(token);
            }
            // A blank takes one byte.
            self.at = self.at.max(before + 1);
        }
        None
    }

    fn rest(&self) -> &'a [u8] {
        self.value.get(self.at..).unwrap_or_default()
    }

    /// Takes the next `length` bytes as a token.
    fn take(&mut self, kind: Kind, length: usize) -> Token {
        let rest = self.rest();
        self.at += length.min(rest.len());
        Token::new(kind, rest.get(..length).unwrap_or(rest))
    }

    /// Reads what `byte`, the next one, starts; `None` if that is nothing, such as a blank.
    fn token(&mut self, byte: u8) -> Option<Token> {
        Some(match byte {
            0..=b' ' | 0x7f | 0xa0 => return None,
            b'\'' | b'"' => self.text_until(1, byte, Some(byte)),
            b'`' => self.tick(),
            b'#' => {
                self.has_doubtful_comment = true;
                match self.dialect {
                    Dialect::MySql => self.comment_to_line_end(),
                    Dialect::Ansi => self.take(Kind::Operator, 1),
                }
            }
            b'$' => self.money(),
            b'(' => self.take(Kind::LeftParenthesis, 1),
            b')' => self.take(Kind::RightParenthesis, 1),
            b',' => self.take(Kind::Comma, 1),
            b';' => self.take(Kind::Semicolon, 1),
            b'{' => self.take(Kind::LeftBrace, 1),
            b'}' => self.take(Kind::RightBrace, 1),
            b'+' | b'^' | b'~' | b'%' => self.operator(byte),
            b'!' | b'&' | b'*' | b':' | b'<' | b'=' | b'>' | b'|' => self.operator(byte),
            b'-' => self.dash(),
            b'/' => self.slash(),
            b'.' | b'0'..=b'9' => return self.number(),
            b'?' | b']' => self.take(Kind::Unknown, 1),
            b'@' => self.variable(),
            b'[' => self.bracketed(),
            b'\\' => match self.rest() {
                // Another way to write NULL in MySQL.
                [_, b'N', ..] => self.take(Kind::Number, 2),
                _ => self.take(Kind::Backslash, 1),
            },
            b'b' | b'B' => self.digits_in_quotes(|digit| matches!(digit, b'0' | b'1')),
            b'x' | b'X' => self.digits_in_quotes(|digit| digit.is_ascii_hexdigit()),
            b'e' | b'E' => self.escaped_text(),
            b'n' | b'N' => match self.rest() {
                [_, b'\'', _, ..] => self.escaped_text(),
                _ => self.q_text(1),
            },
            b'q' | b'Q' => self.q_text(0),
            b'u' | b'U' => match self.rest() {
                [_, b'&', b'\'', ..] => {
                    self.at += 2;
                    let mut token = self.text_until(1, b'\'', Some(b'u'));
                    token.close = token.close.map(|_| b'u');
                    token
                }
                _ => self.word(),
            },
            _ => self.word(),
        })
    }

    /// One of the operators of two or three bytes, or one byte.
    fn operator(&mut self, byte: u8) -> Token {
        let rest = self.rest();
        if rest.starts_with(b"<=>") {
            return self.take(Kind::Operator, 3);
        }
        // `+`, `^`, `~` and `%` stand alone.
        if !matches!(byte, b'+' | b'^' | b'~' | b'%')
            && let Some(pair) = rest.get(..2)
            && let Some(kind) = Kind::of_word(pair)
        {
            return self.take(kind, 2);
        }
        let kind = if byte == b':' && rest.len() > 1 { Kind::Colon } else { Kind::Operator };
        self.take(kind, 1)
    }

    fn comment_to_line_end(&mut self) -> Token {
        match memchr(b'\n', self.rest()) {
            Some(end) => {
                let token = self.take(Kind::Comment, end);
                self.at += 1;
                token
            }
            None => self.take(Kind::Comment, usize::MAX),
        }
    }

    fn dash(&mut self) -> Token {
        match self.rest() {
            [_, b'-'] => self.comment_to_line_end(),
            [_, b'-', next, ..] if is_blank(*next) => self.comment_to_line_end(),
            [_, b'-', ..] if self.dialect == Dialect::Ansi => {
                self.has_doubtful_comment = true;
                self.comment_to_line_end()
            }
            _ => self.take(Kind::Operator, 1),
        }
    }

    fn slash(&mut self) -> Token {
        let rest = self.rest();
        let Some(body) = rest.strip_prefix(b"/*") else { return self.take(Kind::Operator, 1) };
        let end = memmem::find(body, b"*/");
        // PostgreSQL nests comments and MySQL runs some, so no two databases read these alike.
        let is_nested =
            end.is_some_and(|end| memmem::find(body.get(..=end).unwrap_or_default(), b"/*").is_some());
        let kind = if is_nested || body.first() == Some(&b'!') { Kind::Evil } else { Kind::Comment };
        self.take(kind, end.map_or(usize::MAX, |end| end + 4))
    }

    /// Text from `skip` bytes ahead to `quote`, which a backslash or its double protects.
    fn text_until(&mut self, skip: usize, quote: u8, open: Option<u8>) -> Token {
        self.at = (self.at + skip).min(self.value.len());
        let text = self.rest();
        let mut from = 0;
        let end = loop {
            let Some(at) = text.get(from..).and_then(|rest| memchr(quote, rest)) else { break None };
            let at = from + at;
            let before = text.get(..at).unwrap_or_default();
            let backslashes = before.iter().rev().take_while(|&&byte| byte == b'\\').count();
            if backslashes % 2 == 1 {
                from = at + 1;
            } else if text.get(at + 1) == Some(&quote) {
                from = at + 2;
            } else {
                break Some(at);
            }
        };
        let mut token = self.take(Kind::Text, end.unwrap_or(usize::MAX));
        self.at = (self.at + usize::from(end.is_some())).min(self.value.len());
        token.open = open;
        token.close = end.map(|_| quote);
        token
    }

    /// MySQL's names in back quotes; a function there is a function.
    fn tick(&mut self) -> Token {
        let mut token = self.text_until(1, b'`', Some(b'`'));
        token.kind = match Kind::of_word(token.text()) {
            Some(Kind::Function) => Kind::Function,
            _ => Kind::Bareword,
        };
        token
    }

    /// `E'…'` of PostgreSQL, `N'…'` of MySQL.
    fn escaped_text(&mut self) -> Token {
        match self.rest() {
            [_, b'\'', _, ..] => self.text_until(2, b'\'', Some(b'\'')),
            _ => self.word(),
        }
    }

    /// Oracle's `q'(…)'`, and `nq'(…)'` with `skip` 1.
    fn q_text(&mut self, skip: usize) -> Token {
        let rest = self.rest();
        let Some([b'q' | b'Q', b'\'', open @ 33..=127, text @ ..]) = rest.get(skip..) else {
            return self.word();
        };
        let close = match open {
            b'(' => b')',
            b'[' => b']',
            b'{' => b'}',
            b'<' => b'>',
            other => *other,
        };
        let end = memmem::find(text, &[close, b'\'']);
        self.at += rest.len() - text.len();
        let mut token = self.take(Kind::Text, end.unwrap_or(usize::MAX));
        self.at = (self.at + if end.is_some() { 2 } else { 0 }).min(self.value.len());
        token.open = Some(b'q');
        token.close = end.map(|_| b'q');
        token
    }

    /// `b'01'` and `x'0f'`.
    fn digits_in_quotes(&mut self, is_digit: impl Fn(u8) -> bool) -> Token {
        let rest = self.rest();
        let [_, b'\'', digits @ ..] = rest else { return self.word() };
        let length = span(digits, is_digit);
        match digits.get(length) {
            Some(b'\'') => self.take(Kind::Number, length + 3),
            _ => self.word(),
        }
    }

    /// SQL Server's names in brackets.
    fn bracketed(&mut self) -> Token {
        let end = memchr(b']', self.rest());
        self.take(Kind::Bareword, end.map_or(usize::MAX, |end| end + 1))
    }

    fn word(&mut self) -> Token {
        let rest = self.rest();
        let length = rest.iter().position(|&byte| ends_word(byte)).unwrap_or(rest.len());
        let text = rest.get(..length.min(TEXT_BYTES_MAX)).unwrap_or_default();
        // `SELECT.1` and `` SELECT`a` `` are two tokens where what precedes is a word of SQL.
        for (at, _) in text.iter().enumerate().filter(|(_, byte)| matches!(byte, b'.' | b'`')) {
            match text.get(..at).and_then(Kind::of_word) {
                None | Some(Kind::Bareword) => {}
                Some(kind) => return self.take(kind, at),
            }
        }
        let kind = if length <= TEXT_BYTES_MAX { Kind::of_word(text) } else { None };
        self.take(kind.unwrap_or(Kind::Bareword), length)
    }

    fn variable(&mut self) -> Token {
        self.at += if self.rest().starts_with(b"@@") { 2 } else { 1 };
        let rest = self.rest();
        let mut token = match rest.first() {
            Some(b'`') => self.tick(),
            Some(&quote @ (b'\'' | b'"')) => self.text_until(1, quote, Some(quote)),
            _ => {
                let length = rest.iter().position(|&byte| ends_variable(byte)).unwrap_or(rest.len());
                self.take(Kind::Variable, length)
            }
        };
        token.kind = Kind::Variable;
        token
    }

    /// `$1,000.00`, PostgreSQL's `$$…$$` and `$tag$…$tag$`, or a dollar.
    fn money(&mut self) -> Token {
        let rest = self.rest();
        let behind = rest.get(1..).unwrap_or_default();
        if behind.is_empty() {
            return self.take(Kind::Bareword, 1);
        }
        let digits = span(behind, |byte| matches!(byte, b'0'..=b'9' | b'.' | b','));
        if digits == 1 && behind.first() == Some(&b'.') {
            return self.word();
        }
        if digits > 0 {
            return self.take(Kind::Number, 1 + digits);
        }
        let tag = match behind.first() {
            Some(b'$') => 2,
            _ => {
                let letters = span(behind, |byte| byte.is_ascii_alphabetic());
                if letters == 0 || behind.get(letters) != Some(&b'$') {
                    return self.take(Kind::Bareword, 1);
                }
                letters + 2
            }
        };
        let (tag, text) = rest.split_at(tag.min(rest.len()));
        let end = memmem::find(text, tag);
        self.at += tag.len();
        let mut token = self.take(Kind::Text, end.unwrap_or(usize::MAX));
        self.at = (self.at + if end.is_some() { tag.len() } else { 0 }).min(self.value.len());
        token.open = Some(b'$');
        token.close = end.map(|_| b'$');
        token
    }

    /// A number; `None` for `1.e`, which MySQL reads over.
    fn number(&mut self) -> Option<Token> {
        let rest = self.rest();
        if let [b'0', base @ (b'x' | b'X' | b'b' | b'B'), digits @ ..] = rest {
            let is_binary = matches!(base, b'b' | b'B');
            let digits = span(digits, |digit| match is_binary {
                true => matches!(digit, b'0' | b'1'),
                false => digit.is_ascii_hexdigit(),
            });
            let kind = if digits == 0 { Kind::Bareword } else { Kind::Number };
            return Some(self.take(kind, 2 + digits));
        }
        let digits = |from: usize| {
            let rest = rest.get(from..).unwrap_or_default();
            from + rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
        };
        let mut end = digits(0);
        if rest.get(end) == Some(&b'.') {
            end = digits(end + 1);
            if end == 1 {
                return Some(self.take(Kind::Dot, 1));
            }
        }
        let mut is_void = false;
        if matches!(rest.get(end), Some(b'e' | b'E')) {
            end += 1;
            if matches!(rest.get(end), Some(b'+' | b'-')) {
                end += 1;
            }
            let start = end;
            end = digits(end);
            is_void = end == start;
        }
        // Oracle's suffixes, where they end the number or `UNION` follows at once.
        if matches!(rest.get(end), Some(b'd' | b'D' | b'f' | b'F')) {
            end += match rest.get(end + 1) {
                None | Some(b';' | b'u' | b'U') => 1,
                Some(&next) if is_blank(next) => 1,
                Some(_) => 0,
            };
        }
        let token = self.take(Kind::Number, end);
        (!is_void).then_some(token)
    }
}

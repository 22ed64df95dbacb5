//! Folding: tokens that change nothing about the shape of a statement go, until five are left or the value
//! ends.
//!
//! A window of two, then three tokens moves over those read; each rule takes tokens out, changes a kind, or
//! lets the window move on. Every step but the changes of kind takes a token or moves on, so the work is
//! linear in the tokens. Called by `judge` alone.

use super::token::{Dialect, Kind, TOKENS_MAX, Token, Tokens};

/// What is left of a value.
#[derive(Debug)]
pub(super) struct Folded {
    tokens: [Token; TOKENS_MAX + 1],
    length: usize,
    /// Tokens that the value had.
    pub(super) tokens_read: usize,
    /// A comment was read that MySQL reads differently.
    pub(super) has_doubtful_comment: bool,
}

impl Folded {
    pub(super) fn tokens(&self) -> &[Token] {
        self.tokens.get(..self.length).unwrap_or_default()
    }
}

/// Tokens held, and the window over them.
struct Window<'a> {
    source: Tokens<'a>,
    tokens: [Token; TOKENS_MAX + 1],
    /// Tokens held; the next goes here.
    end: usize,
    /// Where the window starts: what is before it is settled.
    left: usize,
    has_more: bool,
    /// The comment read last, if nothing followed it.
    comment: Option<Token>,
}

/// Folds a value, read as if it followed `quote`.
pub(super) fn fold(value: &[u8], quote: Option<u8>, dialect: Dialect) -> Folded {
    let mut window = Window::new(value, quote, dialect);
    let mut length = window.run();
    // An unclosed, empty back quote at the end starts a comment in PHP's driver.
    if let Some(last) = length.checked_sub(1).filter(|_| length > 2).and_then(|at| window.tokens.get_mut(at))
        && last.kind == Kind::Bareword
        && last.open == Some(b'`')
        && last.close.is_none()
        && last.text().is_empty()
    {
        last.kind = Kind::Comment;
    }
    if window.tokens.iter().take(length).any(|token| token.kind == Kind::Evil) {
        window.tokens[0] = Token::new(Kind::Evil, b"X");
        length = 1;
    }
    Folded {
        tokens: window.tokens,
        length,
        tokens_read: window.source.count,
        has_doubtful_comment: window.source.has_doubtful_comment,
    }
}

impl<'a> Window<'a> {
    fn new(value: &'a [u8], quote: Option<u8>, dialect: Dialect) -> Self {
        Self {
            source: Tokens::new(value, quote, dialect),
            tokens: [Token::default(); TOKENS_MAX + 1],
            end: 0,
            left: 0,
            has_more: true,
            comment: None,
        }
    }

    /// Folds to the end and answers how many tokens are left.
    fn run(&mut self) -> usize {
        // What may precede an expression without changing it.
        loop {
            let Some(token) = self.source.next() else { return 0 };
            if !(matches!(token.kind, Kind::Comment | Kind::LeftParenthesis | Kind::SqlType)
                || token.is_unary())
            {
                self.tokens[0] = token;
                self.end = 1;
                break;
            }
        }
        loop {
            self.fold_five();
            if !self.has_more || self.left >= TOKENS_MAX {
                self.left = self.end;
                break;
            }
            self.read_to(2);
            if self.end - self.left < 2 {
                self.left = self.end;
                continue;
            }
            match self.fold_two() {
                Step::Again => continue,
                Step::Evil => return (self.left + 2).min(TOKENS_MAX),
                Step::On => {}
            }
            self.read_to(3);
            if self.end - self.left < 3 {
                self.left = self.end;
                continue;
            }
            if self.fold_three() {
                continue;
            }
            self.left += 1;
        }
        if self.left < TOKENS_MAX
            && let Some(comment) = self.comment
        {
            self.tokens[self.left] = comment;
            self.left += 1;
        }
        self.left.min(TOKENS_MAX)
    }

    /// Reads until the window holds `count` tokens, or six are held, or the value ends.
    fn read_to(&mut self, count: usize) {
        while self.has_more && self.end <= TOKENS_MAX && self.end - self.left < count {
            match self.source.next() {
                None => self.has_more = false,
                Some(token) if token.kind == Kind::Comment => self.comment = Some(token),
                Some(token) => {
                    self.comment = None;
                    self.tokens[self.end] = token;
                    self.end += 1;
                }
            }
        }
    }

    /// Takes `count` tokens off the end and goes back to the first.
    fn drop_last(&mut self, count: usize) {
        self.end -= count;
        self.left = 0;
    }

    /// Some shapes of five tokens are one expression.
    fn fold_five(&mut self) {
        use Kind::{Bareword, Comma, LeftParenthesis, Number, Operator, RightParenthesis};
        if self.end < TOKENS_MAX {
            return;
        }
        let [a, b, c, d, e, last] = self.tokens;
        let is_expression = matches!(
            [a.kind, b.kind, c.kind, d.kind, e.kind],
            [Number, Operator | Comma, LeftParenthesis, Number, RightParenthesis]
                | [Bareword, Operator, LeftParenthesis, Bareword | Number, RightParenthesis]
                | [Number, RightParenthesis, Comma, LeftParenthesis, Number]
                | [Bareword, RightParenthesis, Operator, LeftParenthesis, Bareword]
        );
        if !is_expression {
            return;
        }
        self.left = 0;
        if self.end > TOKENS_MAX {
            self.tokens[1] = last;
            self.end = 2;
        } else {
            self.end = 1;
        }
    }

    fn fold_two(&mut self) -> Step {
        use Kind::{
            Backslash, Bareword, Collate, Evil, Function, Keyword, LeftBrace, LeftParenthesis, Logic, Number,
            Operator, RightBrace, RightParenthesis, Semicolon, SqlType, Text, Transact, Variable,
        };
        let left = self.left;
        let (a, b) = (self.tokens[left], self.tokens[left + 1]);
        match (a.kind, b.kind) {
            (Text, Text) | (Semicolon, Semicolon) => {
                self.end -= 1;
                return Step::Again;
            }
            (Operator | Logic, _) if b.is_unary() || b.kind == SqlType => {
                self.drop_last(1);
                return Step::Again;
            }
            (LeftParenthesis, _) if b.is_unary() => {
                self.end -= 1;
                self.left = left.saturating_sub(1);
                return Step::Again;
            }
            _ => {}
        }
        if let Some(merged) = a.merged(&b) {
            self.tokens[left] = merged;
            self.end -= 1;
            self.left = left.saturating_sub(1);
            return Step::Again;
        }
        match (a.kind, b.kind) {
            // In Transact-SQL `; IF` is a statement.
            (Semicolon, Function) if b.starts_with(b"IF") => self.tokens[left + 1].kind = Transact,
            (Bareword | Variable, LeftParenthesis) if is_name_of_function(&a) => {
                self.tokens[left].kind = Function;
            }
            (Keyword, _) if a.is(b"IN") || a.is(b"NOT IN") => {
                self.tokens[left].kind = if b.kind == LeftParenthesis { Operator } else { Bareword };
            }
            (Operator, _) if a.is(b"LIKE") || a.is(b"NOT LIKE") => {
                if b.kind == LeftParenthesis {
                    self.tokens[left].kind = Function;
                }
                return Step::On;
            }
            (SqlType, Bareword | Number | SqlType | LeftParenthesis | Function | Variable | Text) => {
                self.tokens[left] = b;
                self.drop_last(1);
            }
            (Collate, Bareword) => {
                // There are too many collations for a table; they have an underscore.
                if b.text().contains(&b'_') {
                    self.tokens[left + 1].kind = SqlType;
                    self.left = 0;
                }
                return Step::On;
            }
            (Backslash, _) => {
                // Transact-SQL reads `\%1` as `0 % 1`, and `\1` as `1`.
                if b.is_arithmetic() {
                    self.tokens[left].kind = Number;
                    self.left = 0;
                } else {
                    self.tokens[left] = b;
                    self.drop_last(1);
                }
            }
            (LeftParenthesis, LeftParenthesis) | (RightParenthesis, RightParenthesis) => self.drop_last(1),
            (LeftBrace, Bareword) => {
                // `` {``.``.id} `` names a column in MySQL, and `{word expression}` is the expression.
                if b.text().is_empty() {
                    self.tokens[left + 1].kind = Evil;
                    return Step::Evil;
                }
                self.drop_last(2);
            }
            (_, RightBrace) => self.drop_last(1),
            _ => return Step::On,
        }
        Step::Again
    }

    /// Tells whether a rule applied.
    fn fold_three(&mut self) -> bool {
        use Kind::{
            Bareword, Comma, Dot, Expression, Function, Group, Keyword, LeftParenthesis, Logic, Number,
            Operator, RightParenthesis, SqlType, Text, Variable,
        };
        let left = self.left;
        let (a, b, c) = (self.tokens[left], self.tokens[left + 1], self.tokens[left + 2]);
        match (a.kind, b.kind, c.kind) {
            (Number, Operator, Number) | (Logic, _, Logic) => self.drop_last(2),
            (Operator, other, Operator) if other != LeftParenthesis => self.drop_last(2),
            (Variable, Operator, Variable | Number | Bareword) => self.drop_last(2),
            (Bareword | Number, Operator, Number | Bareword) => self.drop_last(2),
            (Bareword | Number | Variable | Text, Operator, SqlType) if b.text() == b"::" => {
                self.drop_last(2)
            }
            (Bareword | Number | Text | Variable, Comma, Number | Bareword | Text | Variable) => {
                self.drop_last(2)
            }
            (Expression | Group | Comma, _, LeftParenthesis) if b.is_unary() => {
                self.tokens[left + 1] = c;
                self.drop_last(1);
            }
            (Keyword | Expression | Group, _, Number | Bareword | Variable | Text | Function)
                if b.is_unary() =>
            {
                self.tokens[left + 1] = c;
                self.drop_last(1);
            }
            (Comma, _, Number | Bareword | Variable | Text) if b.is_unary() => {
                // One more goes, since `1,-1` is `1`.
                self.tokens[left + 1] = c;
                self.drop_last(3);
            }
            (Comma, _, Function) if b.is_unary() => {
                self.tokens[left + 1] = c;
                self.drop_last(1);
            }
            (Bareword, Dot, Bareword) => self.drop_last(2),
            (Expression, Dot, Bareword) => {
                self.tokens[left + 1] = c;
                self.drop_last(1);
            }
            (Function, LeftParenthesis, other) if other != RightParenthesis => {
                // `USER()` takes nothing; with something it is a name.
                if a.is(b"USER") {
                    self.tokens[left].kind = Bareword;
                }
                return false;
            }
            _ => return false,
        }
        true
    }
}

/// What to do after a look at two tokens.
enum Step {
    /// A rule applied: look again.
    Again,
    /// Look at three.
    On,
    /// No database reads this alike: stop.
    Evil,
}

/// Tells whether a name is a function where a parenthesis follows; elsewhere these are columns or variables.
fn is_name_of_function(token: &Token) -> bool {
    const NAMES: [&[u8]; 11] = [
        b"USER_ID",
        b"USER_NAME",
        b"DATABASE",
        b"PASSWORD",
        b"USER",
        b"CURRENT_USER",
        b"CURRENT_DATE",
        b"CURRENT_TIME",
        b"CURRENT_TIMESTAMP",
        b"LOCALTIME",
        b"LOCALTIMESTAMP",
    ];
    NAMES.iter().any(|name| token.is(name))
}

/// What is left of a value before the marks of [`fold`], as libinjection's tests see it.
#[cfg(test)]
pub(super) fn fold_without_marks(value: &[u8]) -> Vec<Token> {
    let mut window = Window::new(value, None, Dialect::Ansi);
    let length = window.run();
    window.tokens.into_iter().take(length).collect()
}

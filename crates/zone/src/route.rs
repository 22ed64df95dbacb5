//! Which of a zone's routes a request takes.
//!
//! Routes are tried in order and the first that matches wins. Paths are compared as the bytes they are given
//! as: nothing is decoded or normalised here, so a route directs traffic and is no access control. Called by
//! the edge's route phase through [`crate::zone::Zone::route`]; built by [`mod@crate::compile`].

use std::sync::Arc;

use crate::id::Id;

/// One route: conditions and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The route's id.
    pub id: Id,
    /// Its name, or its position (`#1` for the first).
    pub name: String,
    /// The conditions, all of which must hold.
    pub matcher: Matcher,
    /// What to do.
    pub action: Action,
}

/// The conditions of a route.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matcher {
    /// On the path.
    pub path: PathMatch,
    /// Methods, compared exactly (RFC 9110 §9.1); empty for any.
    pub methods: Vec<String>,
    /// Header fields, all of which must match.
    pub headers: Vec<HeaderMatch>,
}

/// A condition on the path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PathMatch {
    /// Any path.
    #[default]
    Any,
    /// This path exactly.
    Exact(Vec<u8>),
    /// This path and what is below: the next byte after it begins a segment.
    Prefix(Vec<u8>),
}

/// A condition on a header field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderMatch {
    /// The name, in lower case.
    pub name: String,
    /// The value it must have; without it the field must only be there.
    pub equals: Option<Vec<u8>>,
}

/// What to do with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send it to a pool.
    Pool {
        /// Index in [`crate::zone::Zone::pools`].
        pool: usize,
        /// How many bytes to take from the front of the path; apply it with [`stripped`].
        strip_prefix: Option<usize>,
    },
    /// Answer with a redirect.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// Where to.
        location: Location,
    },
    /// Answer with a fixed body.
    Answer {
        /// The status, 200 to 599.
        status: u16,
        /// The `Content-Type`.
        content_type: String,
        /// The body.
        body: Arc<[u8]>,
    },
    /// There is nothing for this request: the zone has no pool and no route matched. Answer 404.
    Nothing,
}

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination<'z> {
    /// The route that matched; none if the zone's first pool took what was left.
    pub route: Option<&'z Route>,
    /// Its place in the zone's file, from 1; 0 if there is none.
    pub place: usize,
    /// What to do.
    pub action: &'z Action,
}

impl PathMatch {
    /// Says whether the path (without its query) matches.
    #[must_use]
    pub fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => path == exact,
            Self::Prefix(prefix) => path
                .strip_prefix(prefix.as_slice())
                .is_some_and(|rest| prefix.ends_with(b"/") || rest.is_empty() || rest.starts_with(b"/")),
        }
    }
}

impl Matcher {
    /// Says whether it surely matches whatever `other` matches.
    #[must_use]
    pub fn takes_all_of(&self, other: &Self) -> bool {
        let is_any = |matcher: &Self| match &matcher.path {
            PathMatch::Any => true,
            PathMatch::Prefix(prefix) => prefix == b"/",
            PathMatch::Exact(_) => false,
        };
        let has_path = match &other.path {
            _ if is_any(self) => true,
            PathMatch::Any => false,
            PathMatch::Exact(path) => self.path.matches(path),
            PathMatch::Prefix(prefix) => match &self.path {
                // `/api/` leaves `/api` to others, which the prefix `/api` takes too.
                PathMatch::Prefix(_) => self.path.matches(prefix),
                PathMatch::Any | PathMatch::Exact(_) => false,
            },
        };
        let has_method = self.methods.is_empty()
            || (!other.methods.is_empty() && other.methods.iter().all(|it| self.methods.contains(it)));
        let has_headers = self.headers.iter().all(|wanted| {
            other
                .headers
                .iter()
                .any(|it| it.name == wanted.name && (wanted.equals.is_none() || wanted.equals == it.equals))
        });
        has_path && has_method && has_headers
    }

    /// Says whether a request matches. `header` answers the first value of a field, named in lower case.
    #[must_use]
    pub fn matches<'h>(
        &self,
        method: &[u8],
        path: &[u8],
        header: &dyn Fn(&[u8]) -> Option<&'h [u8]>,
    ) -> bool {
        self.path.matches(path)
            && (self.methods.is_empty() || self.methods.iter().any(|known| known.as_bytes() == method))
            && self.headers.iter().all(|condition| {
                header(condition.name.as_bytes()).is_some_and(|value| {
                    condition.equals.as_ref().is_none_or(|wanted| value == wanted.as_slice())
                })
            })
    }
}

/// Takes `prefix` bytes from the front of a path; what is left always begins with a slash.
///
/// A prefix `/api` or `/api/` turns `/api/x` into `/x` and `/api` into `/`.
#[must_use]
pub fn stripped(path: &[u8], prefix: usize) -> &[u8] {
    match path.get(prefix..) {
        Some(rest) if rest.starts_with(b"/") => rest,
        _ => b"/",
    }
}

/// A redirect's target: text with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Scheme,
    Host,
    Path,
    Query,
}

/// The names a redirect's target may hold behind a dollar.
pub const PLACEHOLDERS: &[&str] = &["scheme", "host", "path", "query"];

impl Location {
    /// Parses a target.
    ///
    /// # Errors
    /// The unknown name behind a dollar, if there is one (empty for a lone dollar).
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            plain.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                plain.push('$');
                rest = after;
                continue;
            }
            let end = after.bytes().take_while(|byte| byte.is_ascii_lowercase() || *byte == b'_').count();
            let (name, after) = after.split_at_checked(end).unwrap_or((after, ""));
            let piece = match name {
                "scheme" => Piece::Scheme,
                "host" => Piece::Host,
                "path" => Piece::Path,
                "query" => Piece::Query,
                unknown => return Err(unknown.to_owned()),
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(piece);
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self { pieces })
    }

    /// Fills the placeholders in. `query` comes without its question mark; `None` if there is none.
    ///
    /// Bytes that may not stand in a header value or would end the URL (controls, space, anything above
    /// ASCII) are percent-encoded, so that no visitor can write into the response's head.
    #[must_use]
    pub fn filled(&self, scheme: &str, host: &[u8], path: &[u8], query: Option<&[u8]>) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => push_encoded(&mut out, text.as_bytes()),
                Piece::Scheme => push_encoded(&mut out, scheme.as_bytes()),
                Piece::Host => push_encoded(&mut out, host),
                // `//evil.example` at the front would be another host (RFC 3986 §4.2).
                Piece::Path if out.is_empty() && path.starts_with(b"//") => {
                    out.push(b'/');
                    let slashes = path.iter().take_while(|byte| **byte == b'/').count();
                    push_encoded(&mut out, path.get(slashes..).unwrap_or(b""));
                }
                Piece::Path => push_encoded(&mut out, path),
                Piece::Query => {
                    if let Some(query) = query {
                        out.push(b'?');
                        push_encoded(&mut out, query);
                    }
                }
            }
        }
        out
    }
}

fn push_encoded(out: &mut Vec<u8>, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        let is_plain = byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'`');
        if is_plain {
            out.push(*byte);
        } else {
            out.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

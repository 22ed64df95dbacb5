//! Transformations that take bytes away: comments, whitespace, what a shell does not see.
//!
//! Called by [`super::Transformation::apply`] alone.

use memchr::{memchr, memmem};

use super::is_space;

pub(super) fn cmd_line(input: &[u8], out: &mut Vec<u8>) {
    let mut after_space = false;
    for &byte in input {
        match byte {
            b'"' | b'\'' | b'\\' | b'^' => {}
            b' ' | b',' | b';' | b'\t' | b'\r' | b'\n' => {
                if !after_space {
                    out.push(b' ');
                }
                after_space = true;
            }
            b'/' | b'(' => {
                if after_space {
                    out.pop();
                }
                after_space = false;
                out.push(byte);
            }
            _ => {
                after_space = false;
                out.push(byte.to_ascii_lowercase());
            }
        }
    }
}

pub(super) fn compress_whitespace(input: &[u8], out: &mut Vec<u8>) {
    let mut after_space = false;
    for &byte in input {
        let space = is_space(byte);
        if !(space && after_space) {
            out.push(if space { b' ' } else { byte });
        }
        after_space = space;
    }
}

pub(super) fn trim_left(input: &[u8]) -> &[u8] {
    let start = input.iter().position(|&byte| !is_space(byte)).unwrap_or(input.len());
    input.get(start..).unwrap_or_default()
}

pub(super) fn trim_right(input: &[u8]) -> &[u8] {
    let end = input.iter().rposition(|&byte| !is_space(byte)).map_or(0, |last| last + 1);
    input.get(..end).unwrap_or_default()
}

pub(super) fn replace_comments(input: &[u8], out: &mut Vec<u8>) {
    let mut rest = input;
    while let Some(start) = memmem::find(rest, b"/*") {
        let (plain, comment) = rest.split_at(start);
        out.extend_from_slice(plain);
        out.push(b' ');
        // `/*/` opens without closing.
        let body = comment.get(2..).unwrap_or_default();
        match memmem::find(body, b"*/") {
            Some(end) => rest = body.get(end + 2..).unwrap_or_default(),
            None => return,
        }
    }
    out.extend_from_slice(rest);
}

pub(super) fn remove_comments(input: &[u8], out: &mut Vec<u8>) {
    let mut rest = input;
    loop {
        rest = match rest {
            [] => return,
            [b'/', b'*', body @ ..] | [b'<', b'!', b'-', b'-', body @ ..] => {
                // Either end closes either start.
                let Some((end, length)) = comment_end(body) else {
                    out.push(b' ');
                    return;
                };
                // The byte behind a comment is taken unseen: it starts no other comment, and where the value
                // ends it is the NUL behind it.
                let after = body.get(end + length..).unwrap_or_default();
                let (byte, behind) = after.split_first().unwrap_or((&0, &[]));
                out.push(*byte);
                behind
            }
            [b'-', b'-', ..] | [b'#', ..] => return,
            [byte, after @ ..] => {
                out.push(*byte);
                after
            }
        };
    }
}

/// Where the first `*/` or `-->` starts, and its length.
fn comment_end(body: &[u8]) -> Option<(usize, usize)> {
    let mut from = 0;
    while let Some(at) = memchr::memchr2(b'*', b'-', body.get(from..)?) {
        match body.get(from + at..)? {
            [b'*', b'/', ..] => return Some((from + at, 2)),
            [b'-', b'-', b'>', ..] => return Some((from + at, 3)),
            _ => from += at + 1,
        }
    }
    None
}

pub(super) fn remove_comments_char(input: &[u8], out: &mut Vec<u8>) {
    let mut rest = input;
    loop {
        rest = match rest {
            [] => return,
            [b'/', b'*', after @ ..]
            | [b'*', b'/', after @ ..]
            | [b'<', b'!', b'-', b'-', after @ ..]
            | [b'-', b'-', b'>', after @ ..]
            | [b'-', b'-', after @ ..]
            | [b'#', after @ ..] => after,
            [byte, after @ ..] => {
                out.push(*byte);
                after
            }
        };
    }
}

/// What precedes the first NUL: all that a reader of C strings sees.
pub(crate) fn until_nul(input: &[u8]) -> &[u8] {
    memchr(0, input).and_then(|end| input.get(..end)).unwrap_or(input)
}

//! The boundary that `Content-Type` names, read as strictly as its use demands.
//!
//! Two readers that find different boundaries see different parts, so whatever could be read in two ways is
//! refused.

use memchr::memmem;

use super::MultipartError;
use crate::transform::is_space;

/// Longest `Content-Type` that is read; the boundary may have 70 bytes (RFC 2046 §5.1.1).
const CONTENT_TYPE_BYTES_MAX: usize = 1024;

/// The boundary and what was odd about it.
#[derive(Debug)]
pub(super) struct Boundary<'a> {
    pub(super) boundary: &'a [u8],
    pub(super) quoted: bool,
    pub(super) whitespace: bool,
    pub(super) missing_semicolon: bool,
}

const TYPE: &[u8] = b"multipart/form-data";
const KEY: &[u8] = b"boundary";

/// Reads the field `Content-Type` of a multipart body.
pub(super) fn parse(content_type: &[u8]) -> Result<Boundary<'_>, MultipartError> {
    if content_type.is_empty() {
        return Err(MultipartError::NoContentType);
    }
    if content_type.len() > CONTENT_TYPE_BYTES_MAX {
        return Err(MultipartError::LongContentType);
    }
    let (start, parameters) = content_type.split_at_checked(TYPE.len()).ok_or(MultipartError::OtherType)?;
    if !start.eq_ignore_ascii_case(TYPE) {
        return Err(MultipartError::OtherType);
    }
    if count_keys(content_type) > 1 {
        return Err(MultipartError::BoundaryCount);
    }
    let key = memmem::find(parameters, KEY).ok_or(MultipartError::BoundaryCount)?;
    let (before, from_key) = parameters.split_at(key);
    let mut others = before.iter().filter(|&&byte| !is_space(byte));
    let missing_semicolon = match (others.next(), others.next()) {
        (None, _) => true,
        (Some(b';'), None) => false,
        _ => return Err(MultipartError::BoundaryParameter),
    };
    let behind = from_key.get(KEY.len()..).unwrap_or_default();
    let equals = memchr::memchr(b'=', behind).ok_or(MultipartError::BoundaryParameter)?;
    let (between, value) = behind.split_at(equals);
    if !between.iter().all(|&byte| is_space(byte)) {
        return Err(MultipartError::BoundaryParameter);
    }
    let value = value.get(1..).unwrap_or_default();
    let whitespace = !between.is_empty() || value.first().is_some_and(|&byte| is_space(byte));
    let (quoted, mut boundary) = match value {
        [b'"', boundary @ .., b'"'] => (true, boundary),
        [b'"', ..] | [.., _, b'"'] => return Err(MultipartError::BoundaryParameter),
        _ => (false, value),
    };
    if count_keys(boundary) > 0 {
        return Err(MultipartError::BoundaryParameter);
    }
    if !is_boundary(boundary) {
        // A parameter behind the boundary is common enough to be passed by.
        let end = memchr::memchr(b';', boundary).ok_or(MultipartError::BoundaryParameter)?;
        boundary = boundary.get(..end).unwrap_or_default();
    }
    if boundary.is_empty() || !is_boundary(boundary) {
        return Err(MultipartError::BoundaryParameter);
    }
    Ok(Boundary { boundary, quoted, whitespace, missing_semicolon })
}

/// How often the word `boundary`, in any case, is followed by an equals sign somewhere.
fn count_keys(text: &[u8]) -> usize {
    let lower = text.to_ascii_lowercase();
    let Some(last) = memchr::memrchr(b'=', &lower) else { return 0 };
    memmem::find_iter(&lower, KEY).filter(|at| at + KEY.len() <= last).count()
}

/// Tells whether all bytes may be in a boundary (RFC 2046 §5.1.1); a space not as the last.
fn is_boundary(text: &[u8]) -> bool {
    let is_allowed = |byte: u8| {
        matches!(byte, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b' ') || b"'()+_,-./:=?".contains(&byte)
    };
    text.iter().all(|&byte| is_allowed(byte)) && text.last() != Some(&b' ')
}

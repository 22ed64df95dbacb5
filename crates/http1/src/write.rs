//! Writing heads and chunk sizes into the caller's buffer.
//!
//! It decides nothing about a message and keeps no state: which fields are written is the caller's choice.
//! What would split a message in two is never written. Called by `wire` and `origin`.

/// Appends `METHOD target HTTP/1.1` CRLF.
///
/// Both parts must come from a parsed head or be checked: a method is a token, a target visible ASCII. A
/// part with whitespace or a control is a broken invariant; then `out` stays as it was and the answer is
/// false.
pub fn write_request_line(out: &mut Vec<u8>, method: &[u8], target: &[u8]) -> bool {
    let is_whole = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_graphic);
    if !is_whole(method) || !is_whole(target) {
        return false;
    }
    out.reserve(method.len() + target.len() + 12);
    out.extend_from_slice(method);
    out.push(b' ');
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    true
}

/// Appends `HTTP/1.1 status reason` CRLF. The status has three digits (100 to 999 are written as they are;
/// others as 500); a reason with CR, LF or NUL is left out.
pub fn write_status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    let status = if (100..1000).contains(&status) { status } else { 500 };
    let digit = |value: u16| b'0' + (value % 10) as u8;
    out.reserve(reason.len() + 15);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&[digit(status / 100), digit(status / 10), digit(status), b' ']);
    if memchr::memchr3(b'\r', b'\n', 0, reason).is_none() {
        out.extend_from_slice(reason);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends `name: value` CRLF.
///
/// A field with CR, LF or NUL in its name or value is left out whole, since it would end the head where the
/// caller did not mean to; whoever must know checks with `is_field_name` and `is_field_value` before.
pub fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let splits = |part: &[u8]| memchr::memchr3(b'\r', b'\n', 0, part).is_some();
    if name.is_empty() || splits(name) || splits(value) {
        return;
    }
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The line before a chunk of `len` bytes, `1f4` CRLF; the returned tail of `out` is what to send.
///
/// A `len` of 0 gives the last chunk's line, after which trailers and an empty line come (RFC 9112 §7.1).
pub fn chunk_size_line(len: usize, out: &mut [u8; 18]) -> &[u8] {
    let [.., cr, lf] = out;
    (*cr, *lf) = (b'\r', b'\n');
    let (mut start, mut rest) = (16, len);
    loop {
        // Sixteen digits hold 64 bits, so `start` stays above 0 until `rest` is 0.
        start -= 1;
        out[start] = b"0123456789abcdef"[rest & 15];
        rest >>= 4;
        if rest == 0 {
            break &out[start..];
        }
    }
}

//! `normalizePath` and `normalizePathWin`: a path without `//`, `/./` and `/../`.
//!
//! Called by [`super::Transformation::apply`] alone. The steps are those of the reference implementation,
//! which works in its own buffer from left to right; what it makes of paths that leave the root, of a mix of
//! slashes and of dots inside names differs from any specification, and rules rely on it.

/// Writes the normalised form of `input` into the empty `out`; `win` makes backslashes slashes first.
pub(super) fn normalize(input: &[u8], win: bool, out: &mut Vec<u8>) {
    let Some((first, last)) = input.first().zip(input.last()) else { return };
    let is_slash = |byte: u8| byte == b'/' || win && byte == b'\\';
    let mut path = Path { out, is_relative: !is_slash(*first), hit_root: false };
    let end = input.len() - 1;
    // Backslashes become slashes only where the reader stands or looks; in the middle of a run it does not
    // look.
    let slashed = |byte: u8| if win && byte == b'\\' { b'/' } else { byte };

    let mut at = 0;
    while let Some(&raw) = input.get(at) {
        let mut byte = slashed(raw);
        let next = input.get(at + 1).map(|&next| slashed(next));
        let looked_at = at + 1;
        // A segment ends here when a slash or nothing follows.
        if matches!(next, None | Some(b'/')) && !(next.is_some() && byte == b'/') {
            match path.end_segment(byte, next.is_none()) {
                Step::Copy => {}
                Step::Skip if next.is_none() => break,
                Step::Skip => {
                    at += 1;
                    byte = b'/';
                }
            }
        }
        if byte == b'/' {
            while at < end && input.get(at + 1).is_some_and(|&next| is_slash(next)) {
                at += 1;
            }
            // The byte a run ends with is copied as it stands.
            if at > looked_at {
                byte = input.get(at).copied().unwrap_or(byte);
            }
            if path.is_relative && path.out.is_empty() {
                at += 1;
                continue;
            }
        }
        path.out.push(byte);
        at += 1;
    }
    if !is_slash(*last) && path.out.last() == Some(&b'/') {
        path.out.pop();
    }
}

/// What to do with the byte that ended a segment.
enum Step {
    Copy,
    Skip,
}

/// What has been written of a path.
struct Path<'a> {
    out: &'a mut Vec<u8>,
    is_relative: bool,
    /// A `..` went above what was written; in a relative path the following ones stay.
    hit_root: bool,
}

impl Path<'_> {
    /// Looks at the last byte of a segment, `byte`, and takes back what a `.` or `..` undoes.
    fn end_segment(&mut self, byte: u8, is_end: bool) -> Step {
        if byte != b'.' {
            self.hit_root &= self.out.is_empty();
            return Step::Copy;
        }
        match self.out.last() {
            Some(b'.') => {
                let written = self.out.len();
                if self.is_relative && (self.hit_root || written <= 2) {
                    self.hit_root = true;
                    return Step::Copy;
                }
                // Back over the dot and the slash before it, then to the slash before the segment before.
                let from = written.saturating_sub(3);
                let head = self.out.get(..=from).unwrap_or_default();
                let keep = memchr::memrchr(b'/', head).unwrap_or(0);
                if keep == 0 {
                    self.hit_root = true;
                    // An absolute path that ends here keeps its root.
                    self.out.truncate(usize::from(!self.is_relative && is_end));
                } else {
                    self.out.truncate(keep);
                }
                Step::Skip
            }
            None => Step::Skip,
            Some(b'/') => {
                if !is_end {
                    self.out.pop();
                }
                Step::Skip
            }
            Some(_) => Step::Copy,
        }
    }
}

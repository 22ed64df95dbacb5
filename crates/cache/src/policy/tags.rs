//! Tags: labels that an origin puts on an answer, to purge it by (`Cache-Tag`, `Surrogate-Key`).
//!
//! Compared byte by byte. An answer with more tags than are kept is not stored at all: a tag that were left
//! out would be a purge that does nothing. Called by `storing.rs`.

use exchange::Fields;

use super::words::{lines, members};
use crate::limits::{TAG_BYTES_MAX, TAGS_MAX};

/// The tags of an answer, sorted, each once: `Cache-Tag` with commas between, `Surrogate-Key` with spaces.
/// None if one is too long or there are too many.
pub fn read_tags(answer: &Fields) -> Option<Vec<Box<[u8]>>> {
    let spaced = lines(answer, b"surrogate-key")
        .flat_map(|line| line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|tag| !tag.is_empty()));
    let mut tags: Vec<Box<[u8]>> = Vec::new();
    for tag in lines(answer, b"cache-tag").flat_map(members).chain(spaced) {
        if tag.len() > TAG_BYTES_MAX || tags.len() >= 2 * TAGS_MAX {
            return None;
        }
        tags.push(tag.into());
    }
    tags.sort_unstable();
    tags.dedup();
    (tags.len() <= TAGS_MAX).then_some(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Option<Vec<String>> {
        let mut fields = Fields::new();
        for (name, value) in pairs {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        let tags = read_tags(&fields)?;
        Some(tags.iter().map(|tag| String::from_utf8_lossy(tag).into_owned()).collect())
    }

    #[test]
    fn both_fields_are_read_each_by_its_own_separator() {
        let read = tags(&[("Cache-Tag", "b, a c,,b"), ("surrogate-key", " x  a,b ")]);
        assert_eq!(read, Some(vec!["a c".into(), "a,b".into(), "b".into(), "x".into()]));
        assert_eq!(tags(&[]), Some(vec![]));
    }

    #[test]
    fn too_many_or_too_long_are_none() {
        let many: Vec<String> = (0..=TAGS_MAX).map(|n| n.to_string()).collect();
        assert_eq!(tags(&[("Cache-Tag", &many.join(","))]), None);
        assert!(tags(&[("Cache-Tag", &many[1..].join(","))]).is_some());
        assert_eq!(tags(&[("Cache-Tag", &"x".repeat(TAG_BYTES_MAX + 1))]), None);
    }
}

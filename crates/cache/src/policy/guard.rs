//! The guard against deception: an answer whose type does not fit the extension of the path is not stored.
//!
//! Omer Gil, "Web Cache Deception" (2017): an origin that answers `/account/x.css` with the account page,
//! and a cache that believes the extension, hand the page to whoever asks next. The guard looks at what
//! came, not only at what was asked for. Called by `storing.rs`.

/// Extensions that promise a type, and how the types begin that keep the promise.
struct Promise {
    extensions: &'static [&'static str],
    types: &'static [&'static str],
}

/// What paths promise. `application/octet-stream` and its like are what origins say for want of a better
/// word: they always fit, and no browser shows them as a page.
const PROMISES: [Promise; 13] = [
    Promise { extensions: &["css"], types: &["text/css"] },
    Promise {
        extensions: &["js", "mjs", "cjs"],
        types: &["text/javascript", "application/javascript", "application/x-javascript"],
    },
    Promise {
        extensions: &["json", "map", "webmanifest"],
        types: &["application/json", "application/manifest+json", "text/plain"],
    },
    Promise {
        extensions: &["png", "jpg", "jpeg", "gif", "webp", "avif", "ico", "bmp", "tif", "tiff", "jxl", "cur"],
        types: &["image/"],
    },
    Promise { extensions: &["svg", "svgz"], types: &["image/svg+xml"] },
    Promise {
        extensions: &["woff", "woff2", "ttf", "otf", "eot"],
        types: &["font/", "application/font", "application/x-font", "application/vnd.ms-fontobject"],
    },
    Promise { extensions: &["mp4", "webm", "mkv", "mov", "avi", "m4v", "ts"], types: &["video/", "audio/"] },
    Promise {
        extensions: &["mp3", "ogg", "wav", "flac", "m4a", "aac", "mid", "midi"],
        types: &["audio/", "video/", "application/ogg"],
    },
    Promise { extensions: &["pdf"], types: &["application/pdf"] },
    Promise {
        extensions: &[
            "zip", "gz", "tgz", "bz2", "7z", "rar", "zst", "tar", "jar", "exe", "dmg", "iso", "apk", "bin",
        ],
        types: &["application/"],
    },
    Promise {
        extensions: &["doc", "docx", "xls", "xlsx", "ppt", "pptx", "rtf", "ps", "eps"],
        types: &["application/"],
    },
    Promise { extensions: &["csv"], types: &["text/csv", "text/plain"] },
    Promise { extensions: &["wasm"], types: &["application/wasm"] },
];

/// Whether an answer of this type may be stored for this path.
///
/// A path whose last segment has no extension of the table promises nothing. An answer without a type keeps
/// no promise. What stands behind `;`, or behind a `%` that hides a separator, is an extension too: that is
/// how a path pretends to have one.
pub fn keeps_promise(path: &[u8], content_type: Option<&[u8]>) -> bool {
    let segment = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let Some(dot) = memchr::memrchr(b'.', segment) else { return true };
    let extension = segment.get(dot + 1..).unwrap_or_default();
    // `x.css;v=1` and `x.css%3Fy`: the origin may see `x.css` or not; the promise is made either way.
    let end = extension.iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(extension.len());
    let extension = extension.get(..end).unwrap_or_default();
    let makes = |promise: &&Promise| {
        promise.extensions.iter().any(|known| extension.eq_ignore_ascii_case(known.as_bytes()))
    };
    let Some(promise) = PROMISES.iter().find(makes) else { return true };
    let Some(content_type) = content_type else { return false };
    let begins = |start: &&str| {
        content_type.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start.as_bytes()))
    };
    let is_page = begins(&"application/xhtml");
    let is_opaque = begins(&"application/octet-stream") || begins(&"binary/octet-stream");
    !is_page && (is_opaque || promise.types.iter().any(begins))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_under_the_name_of_a_file_are_refused() {
        for path in [
            "/account/x.css",
            "/account;x.css",
            "/account%2fx.css",
            "/account%00.css",
            "/account/x.JPG",
            "/a.css;b=1",
            "/a.css%3f",
            "/account/x.pdf",
        ] {
            assert!(!keeps_promise(path.as_bytes(), Some(b"text/html; charset=utf-8")), "{path}");
            assert!(!keeps_promise(path.as_bytes(), None), "{path}");
        }
        assert!(!keeps_promise(b"/x.zip", Some(b"application/xhtml+xml")));
        assert!(!keeps_promise(b"/x.css", Some(b"application/json")));
    }

    #[test]
    fn what_fits_or_promises_nothing_is_kept() {
        for (path, content_type) in [
            ("/x.css", "Text/CSS"),
            ("/x.js", "application/javascript"),
            ("/x.svg", "image/svg+xml"),
            ("/x.woff2", "application/octet-stream"),
            ("/x.php", "text/html"),
            ("/x.html", "text/html"),
            ("/v1.2/x", "text/html"),
            ("/", "text/html"),
        ] {
            assert!(keeps_promise(path.as_bytes(), Some(content_type.as_bytes())), "{path}");
        }
        assert!(keeps_promise(b"/x", None));
    }
}

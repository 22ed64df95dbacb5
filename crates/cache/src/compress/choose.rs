//! Whether an answer is worth coding, and by what; and what coding does to its head.
//!
//! Never what is coded already, nor what a range is cut out of, nor against `no-transform`. Called by the
//! edge with the answer as the visitor would get it uncoded. Read next: [`choose`], then `encoder.rs`.

use exchange::{BodySize, Known, Response};

use super::accept::{Accepted, Coding};
use crate::policy::ResponseControl;
use crate::policy::words::{lines, members};

/// A zone's settings for coding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodingSettings {
    /// Default on.
    pub is_on: bool,
    /// Which codings, the preferred first. It decides between those that a visitor weighs the same. Default
    /// zstd, brotli, gzip.
    pub codings: Vec<Coding>,
    /// Types that are coded, in lower case; one that ends in `/` or `+` stands for a beginning or an end.
    /// Default text, scripts, JSON, XML, SVG, WebAssembly, fonts that are not compressed in themselves.
    pub types: Vec<Box<[u8]>>,
    /// Bytes of a body below which coding gains nothing. Default 256: what fits one packet with its head
    /// anyway.
    pub body_bytes_min: u64,
}

const TYPES: [&str; 18] = [
    "text/",
    "+json",
    "+xml",
    "application/json",
    "application/javascript",
    "application/x-javascript",
    "application/ld+json",
    "application/manifest+json",
    "application/xml",
    "application/wasm",
    "application/vnd.ms-fontobject",
    "application/x-ndjson",
    "font/ttf",
    "font/otf",
    "font/collection",
    "image/svg+xml",
    "image/bmp",
    "image/x-icon",
];

impl Default for CodingSettings {
    fn default() -> Self {
        Self {
            is_on: true,
            codings: Coding::ALL.to_vec(),
            types: TYPES.iter().map(|name| name.as_bytes().into()).collect(),
            body_bytes_min: 256,
        }
    }
}

/// Why an answer goes out as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCoded {
    /// The zone does not code.
    Off,
    /// A status whose body is no whole representation, or that has none.
    Status,
    /// It is coded already, or so it says.
    Coded,
    /// It or the request says `no-transform` (RFC 9111 §5.2.2.6).
    NoTransform,
    /// A type that gains nothing, or that the zone does not name.
    Type,
    /// Too small.
    Small,
    /// The visitor asks for ranges: they are of what is uncoded, whose `ETag` is strong.
    Ranges,
    /// The visitor takes none of the zone's codings.
    NotTaken,
}

impl NotCoded {
    /// The word for it in the trail.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Status => "status",
            Self::Coded => "coded",
            Self::NoTransform => "no_transform",
            Self::Type => "type",
            Self::Small => "small",
            Self::Ranges => "ranges",
            Self::NotTaken => "not_taken",
        }
    }
}

/// How an answer goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// Coded so.
    As(Coding),
    /// As it is.
    Uncoded(NotCoded),
}

/// What of a request bears on coding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodingRequest {
    /// What the visitor takes.
    pub accepted: Accepted,
    /// It asks for ranges.
    pub has_ranges: bool,
    /// It says `no-transform`, and the zone respects that.
    pub no_transform: bool,
}

/// Chooses a coding. `answer` is whole and uncoded; its `body` says how long it is.
pub fn choose(request: &CodingRequest, answer: &Response, settings: &CodingSettings) -> Chosen {
    let fields = &answer.fields;
    let no = |reason| Chosen::Uncoded(reason);
    if !settings.is_on || settings.codings.is_empty() {
        return no(NotCoded::Off);
    }
    // Error pages are worth it; 204, 206 and 304 have nothing whole to code.
    if !matches!(answer.status, 200 | 201 | 203 | 400..=599) {
        return no(NotCoded::Status);
    }
    if fields.value(b"content-encoding").is_some() || fields.value(b"content-range").is_some() {
        return no(NotCoded::Coded);
    }
    if request.no_transform || ResponseControl::read(fields).no_transform {
        return no(NotCoded::NoTransform);
    }
    if !fields.known(Known::ContentType).is_some_and(|content_type| is_coded_type(content_type, settings)) {
        return no(NotCoded::Type);
    }
    let is_small = match answer.body {
        BodySize::None => answer.declared_length.is_none_or(|length| length < settings.body_bytes_min),
        BodySize::Length(length) => length < settings.body_bytes_min,
        BodySize::Unknown => false,
    };
    if is_small {
        return no(NotCoded::Small);
    }
    if request.has_ranges {
        return no(NotCoded::Ranges);
    }
    let mut best = None;
    for coding in &settings.codings {
        let weight = request.accepted.weight(Some(*coding));
        // Equal weights leave the choice to us: the earlier in the zone's list.
        if weight > 0 && best.is_none_or(|(_, most)| weight > most) {
            best = Some((*coding, weight));
        }
    }
    match best {
        Some((coding, weight)) if weight >= request.accepted.weight(None) || weight == 1000 => {
            Chosen::As(coding)
        }
        _ => no(NotCoded::NotTaken),
    }
}

fn is_coded_type(content_type: &[u8], settings: &CodingSettings) -> bool {
    let name = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    let name = crate::policy::words::trim(name).to_ascii_lowercase();
    // Server-sent events are small pieces that must leave at once; an encoder would hold them or gain
    // nothing.
    name != b"text/event-stream"
        && settings.types.iter().any(|known| match &**known {
            start if start.ends_with(b"/") => name.starts_with(start),
            end if end.starts_with(b"+") => name.ends_with(end),
            whole => name == whole,
        })
}

/// Says in the head that the answer depends on `Accept-Encoding`. For every answer that was or might have
/// been coded: [`Chosen::As`], [`NotCoded::NotTaken`] and [`NotCoded::Ranges`].
pub fn add_vary(answer: &mut Response) {
    let is_said = lines(&answer.fields, b"vary")
        .flat_map(members)
        .any(|name| name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding"));
    if !is_said {
        answer.fields.push(b"Vary", b"Accept-Encoding");
    }
}

/// Makes the head of an uncoded answer that of its coded form, of `coded_bytes` if that is known.
///
/// The `ETag` becomes weak: the same content in other bytes (RFC 9110 §8.8.1). Digests and part offers were
/// of the uncoded bytes and go.
pub fn code_head(answer: &mut Response, coding: Coding, coded_bytes: Option<u64>) {
    let fields = &mut answer.fields;
    let of_bytes: [&[u8]; 6] =
        [b"content-md5", b"digest", b"content-digest", b"repr-digest", b"accept-ranges", b"content-length"];
    fields.retain(|field| !of_bytes.iter().any(|name| field.name.eq_ignore_ascii_case(name)));
    fields.push(b"Content-Encoding", coding.as_str().as_bytes());
    let weak = fields.value(b"etag").filter(|tag| !tag.starts_with(b"W/")).map(|tag| [b"W/", tag].concat());
    if let Some(weak) = weak {
        fields.set(b"ETag", &weak);
    }
    match answer.body {
        BodySize::None => answer.declared_length = coded_bytes,
        BodySize::Length(_) | BodySize::Unknown => {
            answer.body = coded_bytes.map_or(BodySize::Unknown, BodySize::of_length);
        }
    }
    add_vary(answer);
}

#[cfg(test)]
mod tests {
    use exchange::Fields;

    use super::*;

    fn request(accept: &str) -> CodingRequest {
        let mut fields = Fields::new();
        fields.push(b"Accept-Encoding", accept.as_bytes());
        CodingRequest { accepted: Accepted::read(&fields), ..CodingRequest::default() }
    }

    fn answer(content_type: &str, more: &[(&str, &str)]) -> Response {
        let mut answer = Response { status: 200, body: BodySize::Length(5000), ..Response::default() };
        answer.fields.push(b"Content-Type", content_type.as_bytes());
        for (name, value) in more {
            answer.fields.push(name.as_bytes(), value.as_bytes());
        }
        answer
    }

    fn chosen(accept: &str, answer: &Response) -> Chosen {
        choose(&request(accept), answer, &CodingSettings::default())
    }

    #[test]
    fn the_visitors_weights_go_before_our_order() {
        let html = answer("text/html; charset=utf-8", &[]);
        assert_eq!(chosen("gzip, br, zstd", &html), Chosen::As(Coding::Zstd));
        assert_eq!(chosen("gzip, br", &html), Chosen::As(Coding::Brotli));
        assert_eq!(chosen("gzip;q=1, br;q=0.5", &html), Chosen::As(Coding::Gzip));
        assert_eq!(chosen("gzip;q=0.1", &html), Chosen::As(Coding::Gzip));
        assert_eq!(chosen("*", &html), Chosen::As(Coding::Zstd));
        for accept in ["", "identity", "deflate", "gzip;q=0", "gzip;q=0.5, identity"] {
            assert_eq!(chosen(accept, &html), Chosen::Uncoded(NotCoded::NotTaken), "{accept}");
        }
    }

    #[test]
    fn only_what_gains_is_coded() {
        for content_type in
            ["image/png", "video/mp4", "font/woff2", "application/zip", "text/event-stream", ""]
        {
            let kept = answer(content_type, &[]);
            assert_eq!(chosen("gzip", &kept), Chosen::Uncoded(NotCoded::Type), "{content_type}");
        }
        for content_type in ["TEXT/CSS", "image/svg+xml", "application/problem+json", "application/atom+xml"]
        {
            assert_eq!(
                chosen("gzip", &answer(content_type, &[])),
                Chosen::As(Coding::Gzip),
                "{content_type}"
            );
        }
        let small = Response { body: BodySize::Length(255), ..answer("text/html", &[]) };
        assert_eq!(chosen("gzip", &small), Chosen::Uncoded(NotCoded::Small));
        let unknown = Response { body: BodySize::Unknown, ..answer("text/html", &[]) };
        assert_eq!(chosen("gzip", &unknown), Chosen::As(Coding::Gzip));
    }

    #[test]
    fn what_is_coded_partial_or_not_to_be_touched_stays() {
        for (field, reason) in [
            (("Content-Encoding", "br"), NotCoded::Coded),
            (("Content-Encoding", "identity"), NotCoded::Coded),
            (("Content-Range", "bytes 0-1/2"), NotCoded::Coded),
            (("Cache-Control", "no-transform"), NotCoded::NoTransform),
        ] {
            assert_eq!(chosen("gzip", &answer("text/html", &[field])), Chosen::Uncoded(reason));
        }
        for status in [204, 206, 304, 301] {
            let other = Response { status, ..answer("text/html", &[]) };
            assert_eq!(chosen("gzip", &other), Chosen::Uncoded(NotCoded::Status));
        }
        let ranges = CodingRequest { has_ranges: true, ..request("gzip") };
        let settings = CodingSettings::default();
        let html = answer("text/html", &[]);
        assert_eq!(choose(&ranges, &html, &settings), Chosen::Uncoded(NotCoded::Ranges));
        let off = CodingSettings { is_on: false, ..settings };
        assert_eq!(choose(&request("gzip"), &html, &off), Chosen::Uncoded(NotCoded::Off));
    }

    #[test]
    fn the_head_says_what_became_of_the_body() {
        let mut html = answer(
            "text/html",
            &[("ETag", "\"a\""), ("Accept-Ranges", "bytes"), ("Digest", "x"), ("Vary", "Accept")],
        );
        code_head(&mut html, Coding::Brotli, Some(700));
        let value = |name: &str| html.fields.value(name.as_bytes()).map(<[u8]>::to_vec);
        assert_eq!(value("Content-Encoding"), Some(b"br".to_vec()));
        assert_eq!(value("ETag"), Some(b"W/\"a\"".to_vec()));
        assert_eq!((value("Accept-Ranges"), value("Digest")), (None, None));
        assert_eq!(html.body, BodySize::Length(700));
        let vary: Vec<_> = lines(&html.fields, b"vary").collect();
        assert_eq!(vary, [&b"Accept"[..], b"Accept-Encoding"]);
        add_vary(&mut html);
        assert_eq!(lines(&html.fields, b"vary").count(), 2);
    }
}

//! Whether an answer is worth coding, and by what; and what coding does to its head.
//!
//! Never what is coded already, nor what a range is cut out of, nor against `no-transform`. Called by the
//! edge with the answer as the visitor would get it uncoded. Read next: [`choose`], then `encoder.rs`.

use exchange::{BodySize, Fields, Known, Method, Request, Response};

use super::accept::{Accepted, Coding};
use super::encoder::{Effort, Levels};
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
    /// Levels for what is coded while its visitor waits.
    pub streamed: Levels,
    /// Levels for what is coded once and kept.
    pub stored: Levels,
}

impl CodingSettings {
    /// The types that are coded where nobody says otherwise.
    pub fn usual_types() -> Vec<Box<[u8]>> {
        TYPES.iter().map(|name| name.as_bytes().into()).collect()
    }

    /// The level of a coding.
    pub fn level(&self, coding: Coding, effort: Effort) -> u8 {
        match effort {
            Effort::Streaming => self.streamed.level(coding),
            Effort::Stored => self.stored.level(coding),
        }
    }
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
            types: Self::usual_types(),
            body_bytes_min: 256,
            streamed: Levels::of(Effort::Streaming),
            stored: Levels::of(Effort::Stored),
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
    /// The visitor asks for ranges, or gets one: they are of what is uncoded, whose `ETag` is strong.
    Ranges,
    /// The visitor takes none of the zone's codings.
    NotTaken,
}

impl NotCoded {
    /// The word for it in the trail.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "uncoded_off",
            Self::Status => "uncoded_status",
            Self::Coded => "uncoded_already",
            Self::NoTransform => "uncoded_no_transform",
            Self::Type => "uncoded_type",
            Self::Small => "uncoded_small",
            Self::Ranges => "uncoded_ranges",
            Self::NotTaken => "uncoded_not_taken",
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

impl Chosen {
    /// Whether another request could have had the answer otherwise: it must say so ([`add_vary`]).
    pub fn is_varying(self) -> bool {
        matches!(self, Self::As(_) | Self::Uncoded(NotCoded::Ranges | NotCoded::NotTaken))
    }
}

/// What of a request bears on coding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodingRequest {
    /// What the visitor takes.
    pub accepted: Accepted,
    /// It is a HEAD: the head is as of the answer to a GET (RFC 9110 §9.3.2).
    pub is_head: bool,
    /// It asks for ranges.
    pub has_ranges: bool,
    /// It says `no-transform`.
    pub no_transform: bool,
}

impl CodingRequest {
    /// Reads a request. Its `no-transform` (RFC 9111 §5.2.1.6) is heeded whatever else of its `Cache-Control`
    /// is: it costs nobody but its sender.
    pub fn read(request: &Request) -> Self {
        let fields = &request.fields;
        Self {
            accepted: Accepted::read(fields),
            is_head: request.method == Method::Head,
            has_ranges: request.method == Method::Get && fields.value(b"range").is_some(),
            no_transform: lines(fields, b"cache-control")
                .flat_map(members)
                .any(|directive| directive.eq_ignore_ascii_case(b"no-transform")),
        }
    }
}

/// Chooses a coding of the zone's. `answer` is whole and uncoded; its `body` says how long it is.
pub fn choose(request: &CodingRequest, answer: &Response, settings: &CodingSettings) -> Chosen {
    let codings = if settings.is_on { settings.codings.as_slice() } else { &[] };
    choose_among(codings, request, answer, settings)
}

/// Chooses one of these codings, the preferred first, for an answer as [`choose`] takes it.
pub fn choose_among(
    codings: &[Coding],
    request: &CodingRequest,
    answer: &Response,
    settings: &CodingSettings,
) -> Chosen {
    let fields = &answer.fields;
    let no = |reason| Chosen::Uncoded(reason);
    if codings.is_empty() {
        return no(NotCoded::Off);
    }
    // A part of something that would have been coded whole.
    let is_part = answer.status == 206;
    // Error pages are worth it; 204 and 304 have nothing whole to code.
    if !is_part && !matches!(answer.status, 200 | 201 | 203 | 400..=599) {
        return no(NotCoded::Status);
    }
    if fields.value(b"content-encoding").is_some() || !is_part && fields.value(b"content-range").is_some() {
        return no(NotCoded::Coded);
    }
    if request.no_transform || ResponseControl::read(fields).no_transform {
        return no(NotCoded::NoTransform);
    }
    if !fields.known(Known::ContentType).is_some_and(|content_type| is_coded_type(content_type, settings)) {
        return no(NotCoded::Type);
    }
    if is_part {
        return no(NotCoded::Ranges);
    }
    let length = match answer.body {
        BodySize::None if request.is_head => answer.declared_length,
        BodySize::None => Some(0),
        BodySize::Length(length) => Some(length),
        BodySize::Unknown => None,
    };
    if length.is_some_and(|length| length < settings.body_bytes_min.max(1)) {
        return no(NotCoded::Small);
    }
    if request.has_ranges {
        return no(NotCoded::Ranges);
    }
    let mut best = None;
    for coding in codings {
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
    // Events go on for as long as a page is open, and each stream would hold an encoder for it; messages of
    // gRPC have a compression of their own, and wait for one another.
    let is_whole_only = name == b"text/event-stream";
    !name.starts_with(b"application/grpc")
        && settings.types.iter().any(|known| match &**known {
            start if start.ends_with(b"/") => !is_whole_only && name.starts_with(start),
            end if end.starts_with(b"+") => name.ends_with(end),
            whole => name == whole,
        })
}

/// The tag of the coded form of what has this one: the same content in other bytes (RFC 9110 §8.8.1). None
/// if it is weak already.
pub fn weakened(tag: &[u8]) -> Option<Vec<u8>> {
    (!tag.starts_with(b"W/")).then(|| [b"W/", tag].concat())
}

/// Says in the head that the answer depends on `Accept-Encoding`. For every answer that was or might have
/// been coded ([`Chosen::is_varying`]).
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
    weaken_tag(fields);
    match answer.body {
        BodySize::None => answer.declared_length = coded_bytes,
        BodySize::Length(_) | BodySize::Unknown => {
            answer.body = coded_bytes.map_or(BodySize::Unknown, BodySize::of_length);
        }
    }
    add_vary(answer);
}

fn weaken_tag(fields: &mut Fields) {
    if let Some(weak) = fields.value(b"etag").and_then(weakened) {
        fields.set(b"ETag", &weak);
    }
}

/// Makes a 304 speak of what the visitor would have got whole (RFC 9110 §15.4.5): of the coded form, if that
/// is what was chosen for `whole`.
pub fn code_not_modified(answer: &mut Response, whole: Chosen) {
    if whole.is_varying() {
        add_vary(answer);
    }
    if let Chosen::As(_) = whole {
        weaken_tag(&mut answer.fields);
        answer.fields.remove(b"accept-ranges");
    }
}

/// As [`code_not_modified`], for a 304 of an origin, which does not say what it is of: the visitor has asked
/// with the weak form of its strong tag, which nobody has made but [`code_head`].
pub fn code_passed_not_modified(answer: &mut Response, request: &Fields) {
    let Some(weak) = answer.fields.value(b"etag").and_then(weakened) else { return };
    if lines(request, b"if-none-match").any(|line| memchr::memmem::find(line, &weak).is_some()) {
        answer.fields.set(b"ETag", &weak);
        add_vary(answer);
    }
}

#[cfg(test)]
mod tests {
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
            ["image/png", "video/mp4", "font/woff2", "application/zip", "application/grpc+json", ""]
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
        for status in [204, 304, 301] {
            let other = Response { status, ..answer("text/html", &[]) };
            assert_eq!(chosen("gzip", &other), Chosen::Uncoded(NotCoded::Status));
        }
        let ranges = CodingRequest { has_ranges: true, ..request("gzip") };
        let settings = CodingSettings::default();
        let html = answer("text/html", &[]);
        assert_eq!(choose(&ranges, &html, &settings), Chosen::Uncoded(NotCoded::Ranges));
        let part = Response { status: 206, ..answer("text/html", &[("Content-Range", "bytes 0-1/2")]) };
        assert_eq!(chosen("gzip", &part), Chosen::Uncoded(NotCoded::Ranges));
        assert!(chosen("gzip", &part).is_varying());
        let off = CodingSettings { is_on: false, ..settings };
        assert_eq!(choose(&request("gzip"), &html, &off), Chosen::Uncoded(NotCoded::Off));
    }

    #[test]
    fn a_stream_of_events_is_coded_where_it_is_named_in_full() {
        let events = Response { body: BodySize::Unknown, ..answer("text/event-stream; charset=utf-8", &[]) };
        assert_eq!(chosen("gzip", &events), Chosen::Uncoded(NotCoded::Type));
        let mut settings = CodingSettings::default();
        settings.types.push(b"text/event-stream"[..].into());
        assert_eq!(choose(&request("gzip"), &events, &settings), Chosen::As(Coding::Gzip));
    }

    #[test]
    fn a_head_is_judged_as_the_answer_to_a_get() {
        let asked = CodingRequest { is_head: true, ..request("gzip") };
        let of =
            |declared_length| Response { body: BodySize::None, declared_length, ..answer("text/html", &[]) };
        let settings = CodingSettings::default();
        assert_eq!(choose(&asked, &of(Some(5000)), &settings), Chosen::As(Coding::Gzip));
        assert_eq!(choose(&asked, &of(None), &settings), Chosen::As(Coding::Gzip));
        assert_eq!(choose(&asked, &of(Some(5)), &settings), Chosen::Uncoded(NotCoded::Small));
        assert_eq!(choose(&request("gzip"), &of(None), &settings), Chosen::Uncoded(NotCoded::Small));
    }

    #[test]
    fn reads_what_a_request_says_of_coding() {
        let mut asked = Request::default();
        asked.set_method(b"GET");
        asked.fields.push(b"Accept-Encoding", b"br");
        asked.fields.push(b"Range", b"bytes=0-1");
        let read = CodingRequest::read(&asked);
        assert!(read.accepted.takes(Some(Coding::Brotli)) && read.has_ranges && !read.is_head);
        assert!(!read.no_transform);
        asked.fields.push(b"Cache-Control", b"max-age=0, No-Transform");
        assert!(CodingRequest::read(&asked).no_transform);
        asked.set_method(b"HEAD");
        let read = CodingRequest::read(&asked);
        assert!(read.is_head && !read.has_ranges);
    }

    #[test]
    fn a_304_speaks_of_what_the_visitor_would_have_got() {
        let not_modified = |tag: &str| {
            let mut answer = Response { status: 304, ..Response::default() };
            answer.fields.push(b"ETag", tag.as_bytes());
            answer
        };
        let tag = |answer: &Response| answer.fields.value(b"etag").map(<[u8]>::to_vec);
        let mut coded = not_modified("\"a\"");
        code_not_modified(&mut coded, Chosen::As(Coding::Gzip));
        assert_eq!((tag(&coded), coded.fields.value(b"vary").is_some()), (Some(b"W/\"a\"".to_vec()), true));
        let mut plain = not_modified("\"a\"");
        code_not_modified(&mut plain, Chosen::Uncoded(NotCoded::NotTaken));
        assert_eq!((tag(&plain), plain.fields.value(b"vary").is_some()), (Some(b"\"a\"".to_vec()), true));
        let mut other = not_modified("\"a\"");
        code_not_modified(&mut other, Chosen::Uncoded(NotCoded::Type));
        assert_eq!((tag(&other), other.fields.value(b"vary")), (Some(b"\"a\"".to_vec()), None));
        for (asked, becomes) in [("\"b\", W/\"a\"", "W/\"a\""), ("\"a\"", "\"a\""), ("W/\"b\"", "\"a\"")] {
            let mut fields = Fields::new();
            fields.push(b"If-None-Match", asked.as_bytes());
            let mut passed = not_modified("\"a\"");
            code_passed_not_modified(&mut passed, &fields);
            assert_eq!(tag(&passed), Some(becomes.as_bytes().to_vec()), "{asked}");
        }
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

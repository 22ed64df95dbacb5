//! The access log's record: one JSON object a line, written after every exchange.
//!
//! The fields, their names and their order are a public interface: add, never rename. Does not decide what is
//! logged, does not queue and does not write to a file (that is [`crate::sink`]).
//! Called through [`crate::sink::Batch::record`] by the edge's last phase. Read next: [`Record`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::json::{write_address, write_hex, write_number, write_text};
use crate::time::TimeText;

#[cfg(test)]
mod tests;

/// Version of the record's shape, its first field. It grows when a field changes its meaning, not when one is
/// added.
pub const SCHEMA: u32 = 1;

/// Longest text of a field that a visitor controls, in bytes before escaping; a longer one is cut and ends in
/// `…`. A request head may be far longer, and one visitor must not be able to fill the queue with few
/// requests.
pub const TEXT_BYTES_MAX: usize = 4096;

/// Most rule ids a line shows; a request that matches more names only the first.
pub const RULES_MAX: usize = 64;

/// What a line leaves out for the sake of the visitor. The default leaves out nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Privacy {
    /// Writes `redacted` instead of a query string, and cuts the query off `referer`.
    pub redact_query: bool,
    /// Keeps only the first 24 bits of an IPv4 address and the first 48 of an IPv6 address; the rest reads 0.
    pub truncate_addresses: bool,
}

/// A value that a rule of a zone adds to a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Logged {
    /// Text of any bytes, written as those of visitors are.
    Text(Vec<u8>),
    /// A number.
    Int(i64),
    /// True or false.
    Bool(bool),
}

impl Logged {
    /// About how many bytes it takes.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Int(_) | Self::Bool(_) => 8,
        }
    }
}

/// Everything that one line of the access log says about one exchange, borrowed for the time of writing.
///
/// Bytes from a visitor are byte slices, of any content; each is cut at [`TEXT_BYTES_MAX`]. `None` is written
/// as `null`, so that every line has every field.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    /// When the request's head was complete, in microseconds since 1970 (UTC).
    pub time_us: u64,
    /// The node's name.
    pub node: &'a str,
    /// The exchange's id, as in `X-Request-Id`.
    pub request_id: &'a str,
    /// The visitor's connection, unique within the node's process; written as 16 hex digits.
    pub connection_id: u64,
    /// Number of the snapshot that decided.
    pub snapshot: u64,
    /// The account that the zone belongs to.
    pub account: Option<&'a str>,
    /// The zone's name; `None` when no zone has the host (421).
    pub zone: Option<&'a str>,
    /// The visitor's address, after trusted forwarding was taken into account.
    pub visitor_ip: IpAddr,
    /// The port beside it; 0 when a trusted proxy named an address without one.
    pub visitor_port: u16,
    /// ISO 3166 code of the visitor's country.
    pub country: Option<&'a str>,
    /// `HTTP/1.0`, `HTTP/1.1`, `HTTP/2` or `HTTP/3`.
    pub protocol: &'a str,
    /// TLS version: `TLSv1.2` or `TLSv1.3`; `None` on cleartext.
    pub tls: Option<&'a str>,
    /// The server name asked for in the TLS handshake.
    pub sni: Option<&'a str>,
    /// JA4 fingerprint of the TLS client hello.
    pub ja4: Option<&'a str>,
    /// The request's method.
    pub method: &'a [u8],
    /// The request's host, without port.
    pub host: &'a [u8],
    /// The request's path, as sent.
    pub path: &'a [u8],
    /// What follows the `?`; `None` without one.
    pub query: Option<&'a [u8]>,
    /// The response's status; `None` when the visitor left before a head was sent.
    pub status: Option<u16>,
    /// Bytes of the request's body as received, framing not included.
    pub bytes_in: u64,
    /// Bytes of the response's body as sent, framing not included.
    pub bytes_out: u64,
    /// From the request's head to the end of the exchange, in microseconds.
    pub duration_us: u64,
    /// From the request's head to the first byte of the final response, in microseconds.
    pub ttfb_us: Option<u64>,
    /// Url of the origin that answered, or was tried last.
    pub origin: Option<&'a str>,
    /// From the request sent to the origin to its response head, in microseconds.
    pub origin_us: Option<u64>,
    /// Attempts at an origin after the first.
    pub retries: u32,
    /// Outcome of the cache, a token of RFC 9211.
    pub cache: Option<&'a str>,
    /// Age of the stored response, in seconds.
    pub cache_age: Option<u64>,
    /// What broke, a token of RFC 9209 section 2.3.
    pub fault: Option<&'a str>,
    /// What the shield, or the admission before it, decided.
    pub verdict: &'a str,
    /// Ids of the rules that matched, at most [`RULES_MAX`] of which are written.
    pub rules: &'a [&'a str],
    /// The WAF's anomaly score.
    pub score: Option<u32>,
    /// The `User-Agent` field.
    pub user_agent: Option<&'a [u8]>,
    /// The `Referer` field.
    pub referer: Option<&'a [u8]>,
    /// What the WAF came to; `None` where it was not asked.
    pub waf: Option<&'a str>,
    /// Bytes of the bodies that the WAF did not inspect and should have.
    pub waf_uninspected: Option<u64>,
    /// What the WAF's shadow came to.
    pub waf_shadow: Option<&'a str>,
    /// The content coding that the answer was given here.
    pub coding: Option<&'a str>,
    /// What rules of the zone add, by name.
    pub fields: &'a [(String, Logged)],
}

impl Record<'_> {
    /// Appends the record as one JSON object and a newline.
    ///
    /// Text: valid UTF-8 stays, a malformed sequence becomes `\ufffd`, control characters become escapes, so
    /// the line is always one line of valid UTF-8. `time` is the writer's own, kept between lines. About
    /// half a microsecond for a typical record, and no allocation once `out` has grown.
    pub fn write_json(&self, out: &mut Vec<u8>, privacy: Privacy, time: &mut TimeText) {
        out.reserve(1024);
        out.extend_from_slice(b"{\"schema\":1,\"time\":\"");
        out.extend_from_slice(time.text(self.time_us));
        out.extend_from_slice(b"\",\"node\":");
        write_text(out, self.node.as_bytes(), TEXT_BYTES_MAX);
        out.extend_from_slice(b",\"request_id\":");
        write_text(out, self.request_id.as_bytes(), TEXT_BYTES_MAX);
        out.extend_from_slice(b",\"connection_id\":");
        write_hex(out, self.connection_id);
        number(out, b",\"snapshot\":", self.snapshot);
        optional_text(out, b",\"account\":", self.account.map(str::as_bytes));
        optional_text(out, b",\"zone\":", self.zone.map(str::as_bytes));
        out.extend_from_slice(b",\"visitor_ip\":");
        let shown = if privacy.truncate_addresses { truncated(self.visitor_ip) } else { self.visitor_ip };
        write_address(out, shown);
        number(out, b",\"visitor_port\":", self.visitor_port.into());
        optional_text(out, b",\"country\":", self.country.map(str::as_bytes));
        optional_text(out, b",\"protocol\":", Some(self.protocol.as_bytes()));
        optional_text(out, b",\"tls\":", self.tls.map(str::as_bytes));
        optional_text(out, b",\"sni\":", self.sni.map(str::as_bytes));
        optional_text(out, b",\"ja4\":", self.ja4.map(str::as_bytes));
        optional_text(out, b",\"method\":", Some(self.method));
        optional_text(out, b",\"host\":", Some(self.host));
        optional_text(out, b",\"path\":", Some(self.path));
        let query = if privacy.redact_query { self.query.map(|_| &b"redacted"[..]) } else { self.query };
        optional_text(out, b",\"query\":", query);
        optional_number(out, b",\"status\":", self.status.map(u64::from));
        number(out, b",\"bytes_in\":", self.bytes_in);
        number(out, b",\"bytes_out\":", self.bytes_out);
        number(out, b",\"duration_us\":", self.duration_us);
        optional_number(out, b",\"ttfb_us\":", self.ttfb_us);
        optional_text(out, b",\"origin\":", self.origin.map(str::as_bytes));
        optional_number(out, b",\"origin_us\":", self.origin_us);
        number(out, b",\"retries\":", self.retries.into());
        optional_text(out, b",\"cache\":", self.cache.map(str::as_bytes));
        optional_number(out, b",\"cache_age\":", self.cache_age);
        optional_text(out, b",\"fault\":", self.fault.map(str::as_bytes));
        optional_text(out, b",\"verdict\":", Some(self.verdict.as_bytes()));
        rules(out, self.rules);
        optional_number(out, b",\"score\":", self.score.map(u64::from));
        optional_text(out, b",\"user_agent\":", self.user_agent);
        let referer = if privacy.redact_query { self.referer.map(without_query) } else { self.referer };
        optional_text(out, b",\"referer\":", referer);
        optional_text(out, b",\"waf\":", self.waf.map(str::as_bytes));
        optional_number(out, b",\"waf_uninspected\":", self.waf_uninspected);
        optional_text(out, b",\"waf_shadow\":", self.waf_shadow.map(str::as_bytes));
        optional_text(out, b",\"coding\":", self.coding.map(str::as_bytes));
        added(out, self.fields);
        out.extend_from_slice(b"}\n");
    }
}

fn added(out: &mut Vec<u8>, fields: &[(String, Logged)]) {
    out.extend_from_slice(b",\"fields\":");
    if fields.is_empty() {
        out.extend_from_slice(b"null");
        return;
    }
    for (place, (name, value)) in fields.iter().enumerate() {
        out.push(if place == 0 { b'{' } else { b',' });
        write_text(out, name.as_bytes(), TEXT_BYTES_MAX);
        out.push(b':');
        match value {
            Logged::Text(text) => write_text(out, text, TEXT_BYTES_MAX),
            Logged::Int(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Logged::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        }
    }
    out.push(b'}');
}

fn number(out: &mut Vec<u8>, name: &[u8], value: u64) {
    out.extend_from_slice(name);
    write_number(out, value);
}

fn optional_number(out: &mut Vec<u8>, name: &[u8], value: Option<u64>) {
    out.extend_from_slice(name);
    match value {
        Some(value) => write_number(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

fn optional_text(out: &mut Vec<u8>, name: &[u8], value: Option<&[u8]>) {
    out.extend_from_slice(name);
    match value {
        Some(value) => write_text(out, value, TEXT_BYTES_MAX),
        None => out.extend_from_slice(b"null"),
    }
}

fn rules(out: &mut Vec<u8>, ids: &[&str]) {
    out.extend_from_slice(b",\"rules\":[");
    for (place, id) in ids.iter().take(RULES_MAX).enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write_text(out, id.as_bytes(), TEXT_BYTES_MAX);
    }
    out.push(b']');
}

/// The address without the bits that tell one household from its neighbours.
pub fn truncated(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() & !0xff).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !((1 << 80) - 1)).into(),
    }
}

fn without_query(referer: &[u8]) -> &[u8] {
    referer.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default()
}

/// One field of the record, for the reference.
struct Field {
    name: &'static str,
    kind: &'static str,
    meaning: &'static str,
}

const fn field(name: &'static str, kind: &'static str, meaning: &'static str) -> Field {
    Field { name, kind, meaning }
}

/// Every field in the order of the line; a test compares it with a written record.
const FIELDS: &[Field] = &[
    field("schema", "number", "version of this table: 1"),
    field("time", "text", "when the request's head was complete, RFC 3339 in UTC with microseconds"),
    field("node", "text", "name of the node"),
    field("request_id", "text", "id of the exchange, as in `X-Request-Id`"),
    field("connection_id", "text", "the visitor's connection, 16 hex digits, unique within the process"),
    field("snapshot", "number", "number of the snapshot that decided"),
    field("account", "text or null", "account of the zone"),
    field("zone", "text or null", "name of the zone; null when none has the host"),
    field("visitor_ip", "text", "the visitor's address, trusted forwarding considered; may be truncated"),
    field("visitor_port", "number", "its port; 0 when a trusted proxy named none"),
    field("country", "text or null", "the visitor's country, ISO 3166"),
    field("protocol", "text", "`HTTP/1.0`, `HTTP/1.1`, `HTTP/2` or `HTTP/3`"),
    field("tls", "text or null", "`TLSv1.2` or `TLSv1.3`; null on cleartext"),
    field("sni", "text or null", "server name of the TLS handshake"),
    field("ja4", "text or null", "JA4 fingerprint of the TLS client hello"),
    field("method", "text", "method of the request"),
    field("host", "text", "host of the request, without port"),
    field("path", "text", "path of the request, as sent"),
    field("query", "text or null", "what follows the `?`; `redacted` when the log is set so"),
    field("status", "number or null", "status of the response; null when the visitor left before it"),
    field("bytes_in", "number", "bytes of the request's body"),
    field("bytes_out", "number", "bytes of the response's body"),
    field("duration_us", "number", "microseconds from the request's head to the end of the exchange"),
    field(
        "ttfb_us",
        "number or null",
        "microseconds from the request's head to the first byte of an origin's or a stored response; null \
         where the answer is Rempart's own (a refusal, a page for a fault, a redirect, a fixed answer)",
    ),
    field("origin", "text or null", "url of the origin that answered, or was tried last"),
    field("origin_us", "number or null", "microseconds from the request to the origin to its response head"),
    field("retries", "number", "attempts at an origin after the first"),
    field("cache", "text or null", "outcome of the cache, a token of RFC 9211"),
    field("cache_age", "number or null", "age of the stored response in seconds"),
    field(
        "fault",
        "text or null",
        "what broke: the word of a [fault](outcomes.md#faults), a token of RFC 9209",
    ),
    field(
        "verdict",
        "text",
        "`pass` where no phase refused the request (the answer may be an error all the same), else the word \
         of the [refusal](outcomes.md#refusals)",
    ),
    field("rules", "list of text", "ids of the rules that matched"),
    field("score", "number or null", "the WAF's anomaly score"),
    field("user_agent", "text or null", "the `User-Agent` field"),
    field("referer", "text or null", "the `Referer` field; without its query when queries are redacted"),
    field(
        "waf",
        "text or null",
        "what the WAF came to: `clean`, `matched`, `would_refuse`, `refused`, `skipped` or `broken` \
         ([what each means](metrics.md#outcome-of-rempart_waf_requests_total)); null where it was not asked",
    ),
    field(
        "waf_uninspected",
        "number or null",
        "bytes of bodies that the WAF should have inspected and did not",
    ),
    field("waf_shadow", "text or null", "what the WAF's shadow came to, in the same words"),
    field("coding", "text or null", "content coding that the response was given here, such as `gzip`"),
    field("fields", "object or null", "what rules of `http_log_custom_fields` add, by name"),
];

/// Gives the reference page of the access log's fields, in Markdown; written to `docs/reference/` by
/// `cargo xtask references`.
pub fn reference() -> String {
    let mut page = String::from(
        "# Access log\n\nOne JSON object a line, every field in every line, in this order. Fields are added, \
         never renamed.\n\n",
    );
    page.push_str(&format!(
        "Text from a visitor is cut at {TEXT_BYTES_MAX} bytes and then ends in `…`; bytes that are not UTF-8 \
         read as U+FFFD; at most {RULES_MAX} rules are named.\n\n",
    ));
    page.push_str("| field | kind | meaning |\n| --- | --- | --- |\n");
    for Field { name, kind, meaning } in FIELDS {
        page.push_str(&format!("| `{name}` | {kind} | {meaning} |\n"));
    }
    page
}

//! What an origin's answer does to what is stored: renew it, replace it, drop it, or let it be served stale.
//!
//! RFC 9111 §4.3.3 to §4.4. Also what the origin is asked with. Pure; storage is told the outcome. Called
//! by the edge around its fetch. Read next: [`prepare`], then [`answered`].

use exchange::{Fields, Known, Method, Request, Response};

use super::date::format_date;
use super::freshness::FetchTimes;
use super::lookup::{OriginTrouble, may_serve_on_error};
use super::request::{Asked, is_about_a_copy};
use super::settings::{SetCookie, Settings};
use super::stored::{Metadata, StoredHead, Traits};
use super::storing::{NotStored, Storing, ToStore, UnkeptField, judge};
use super::validator::{EntityTag, Validators};
use crate::compress::Accepted;

/// Prepares a request's fields for a fetch whose answer may be stored.
///
/// The visitor's own conditions and range go, so that a whole answer comes; `Accept-Encoding` becomes the
/// set that variants are keyed by; the stored validators come in for a revalidation (RFC 9111 §4.3.1): both
/// where there are both, since an origin without tags still knows dates.
pub fn prepare(fields: &mut Fields, validators: Option<&Validators<'_>>) {
    let accepted = Accepted::read(fields).normalised();
    fields.retain(|field| field.known != Known::Other || !is_about_a_copy(field.name));
    fields.remove_known(Known::AcceptEncoding);
    if let Some(accepted) = accepted {
        fields.push_known(b"Accept-Encoding", &accepted, Known::AcceptEncoding, false);
    }
    if let Some(validators) = validators {
        if let Some(tag) = validators.etag {
            fields.push(b"If-None-Match", tag);
        }
        if let Some(date) = validators.last_modified {
            fields.push(b"If-Modified-Since", date);
        }
    }
}

/// What becomes of an origin's answer to a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// It is stored, in place of what was.
    Store(Box<ToStore>),
    /// 304: what is stored was renewed. The visitor is answered from it.
    Renewed(Box<ToStore>),
    /// 304, but what it makes of the stored answer may not be kept any longer. The visitor is answered from
    /// it once; storage drops it.
    RenewedOnce(Box<ToStore>, NotStored),
    /// It is passed to the visitor and not stored.
    Pass {
        /// Why.
        reason: NotStored,
        /// What is stored is of the past: storage drops it.
        drops_stored: bool,
    },
    /// The visitor gets what is stored, stale; the origin's answer is dropped.
    ServeStale,
    /// A 304 to a question that was not asked, or about another version: where the origin was asked with
    /// validators, it is asked again without.
    AskAgain,
}

/// A stored answer that a fetch asked about.
#[derive(Clone, Copy, Debug)]
pub struct Revalidated<'a> {
    /// Its numbers.
    pub meta: &'a Metadata,
    /// Its head.
    pub head: &'a StoredHead,
    /// Whether its validators were sent.
    pub was_asked: bool,
    /// A soft purge made it stale.
    pub is_purged_softly: bool,
}

/// Decides what becomes of the answer to a fetch for `path`.
pub fn answered(
    asked: &Asked,
    path: &[u8],
    stored: Option<Revalidated<'_>>,
    answer: &Response,
    settings: &Settings,
    times: &FetchTimes,
) -> Answered {
    if let Some(stored) = stored {
        if answer.status == 304 && stored.was_asked {
            return renewed(asked, path, &stored, answer, settings, times);
        }
        let trouble = OriginTrouble::Status(answer.status);
        let is_soft = stored.is_purged_softly;
        if may_serve_on_error(asked, stored.meta, is_soft, trouble, settings, times.answered_ms) {
            return Answered::ServeStale;
        }
    }
    if answer.status == 304 {
        return Answered::AskAgain;
    }
    match judge(asked, path, answer, settings, times) {
        Storing::Store(stored) => Answered::Store(stored),
        Storing::Pass(reason) => {
            // A whole answer that came now says that the stored one is of the past. An error a stranger can
            // provoke says nothing, or he could empty the cache.
            let is_of_the_resource = matches!(answer.status, 200..=399 | 404 | 410);
            let is_from_request = !reason.is_lasting() || answer.status == 206;
            let drops_stored = stored.is_some() && is_of_the_resource && !is_from_request;
            Answered::Pass { reason, drops_stored }
        }
    }
}

/// A 304: is it about what is stored (RFC 9111 §4.3.4), and what does that become.
fn renewed(
    asked: &Asked,
    path: &[u8],
    stored: &Revalidated<'_>,
    answer: &Response,
    settings: &Settings,
    times: &FetchTimes,
) -> Answered {
    if !is_about(&stored.head.validators(), &Validators::of(&answer.fields)) {
        return Answered::AskAgain;
    }
    let mut merged = stored.head.unpack();
    merge(&mut merged, answer, settings, times);
    merged.body = stored.meta.body_bytes.map_or(exchange::BodySize::Unknown, exchange::BodySize::of_length);
    // A HEAD may renew a stored GET, and a request that may not store may still learn.
    let as_get = Asked { is_head: false, ..asked.clone() };
    match judge(&as_get, path, &merged, settings, times) {
        Storing::Store(mut renewed) => {
            carry(stored.meta, &mut renewed.meta);
            renewed.unkept.extend(unkept_cookies(answer, settings));
            Answered::Renewed(renewed)
        }
        Storing::Pass(reason) => match once(&merged, stored.meta, times) {
            Some(mut once) => {
                once.unkept.extend(unkept_cookies(answer, settings));
                Answered::RenewedOnce(Box::new(once), reason)
            }
            None => Answered::AskAgain,
        },
    }
}

/// What is about the stored body, not about what the origin last said.
fn carry(stored: &Metadata, renewed: &mut Metadata) {
    renewed.body_bytes = stored.body_bytes;
    renewed.body_id = stored.body_id;
    renewed.slice_bytes = stored.slice_bytes;
    renewed.traits = renewed.traits.with_if(Traits::SLICED, stored.traits.has(Traits::SLICED));
}

/// The merged answer for this one visitor: neither fresh nor to be kept.
fn once(merged: &Response, stored: &Metadata, times: &FetchTimes) -> Option<ToStore> {
    let head = StoredHead::pack(merged, |field| {
        !field.is_hop_by_hop && !matches!(field.known, Known::Age | Known::ContentLength)
    })?;
    let initial_age_s = super::freshness::initial_age_s(&merged.fields, times);
    let meta = Metadata { received_ms: times.received_ms, initial_age_s, lifetime_s: 0, ..*stored };
    Some(ToStore { meta, head, vary: super::vary::Vary::Nothing, tags: Vec::new(), unkept: Vec::new() })
}

/// The cookies that a 304 sets, where `merge` leaves them out: those of the visitor whose fetch it was.
fn unkept_cookies(answer: &Response, settings: &Settings) -> impl Iterator<Item = UnkeptField> {
    let is_unkept = settings.set_cookie != SetCookie::Stored;
    let cookies = answer.fields.iter().filter(move |field| is_unkept && field.known == Known::SetCookie);
    cookies.map(|field| (field.name.into(), field.value.into()))
}

/// Whether a 304 with these validators is about the stored answer: where both have tags, they must match
/// weakly; where none is stored, a date must be the stored one; else there is only the stored one that it can
/// mean.
///
/// RFC 9111 §4.3.4 would renew nothing by a strong tag that is not the stored one. Origins that compress
/// send `W/"a"` with the body and `"a"` with a 304 all the same, and what they mean is clear; so it renews,
/// and [`merge`] sees to it that the bytes stored get no tag that was not theirs.
fn is_about(stored: &Validators<'_>, answer: &Validators<'_>) -> bool {
    if let (Some(ours), Some(theirs)) = entity_tags(stored, answer) {
        return ours.equals_weakly(&theirs);
    }
    match (answer.last_modified, stored.last_modified) {
        (Some(theirs), Some(ours)) => theirs == ours || stored.etag.is_some(),
        _ => true,
    }
}

/// The tags of what is stored and of what came.
fn entity_tags<'a>(
    stored: &Validators<'a>,
    answer: &Validators<'a>,
) -> (Option<EntityTag<'a>>, Option<EntityTag<'a>>) {
    (stored.etag.and_then(EntityTag::read), answer.etag.and_then(EntityTag::read))
}

/// Whether a 304's or HEAD's field is left out when a stored head is brought up to date (RFC 9111 §3.2):
/// what is about one connection, the length, and what says how the stored body is to be read.
fn is_kept_as_stored(known: Known, name: &[u8]) -> bool {
    let of_the_body: [&[u8]; 4] = [b"content-encoding", b"content-range", b"content-md5", b"digest"];
    matches!(known, Known::ContentLength | Known::Trailer)
        || of_the_body.iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// Brings a stored head up to date with the fields of a 304 or of an answer to HEAD: each name that comes
/// takes the place of all its stored lines (RFC 9111 §3.2).
///
/// Validators come only with a strong tag that is the stored one: whoever holds parts of the version that a
/// new one names would be given the stored bytes for the rest (§4.3.4).
fn merge(stored: &mut Response, answer: &Response, settings: &Settings, times: &FetchTimes) {
    let is_same_version = matches!(
        entity_tags(&Validators::of(&stored.fields), &Validators::of(&answer.fields)),
        (Some(ours), Some(theirs)) if ours.equals_strongly(&theirs)
    );
    let is_validator =
        |name: &[u8]| name.eq_ignore_ascii_case(b"etag") || name.eq_ignore_ascii_case(b"last-modified");
    let comes = |field: &exchange::FieldRef<'_>| {
        !field.is_hop_by_hop
            && !is_kept_as_stored(field.known, field.name)
            && (is_same_version || !is_validator(field.name))
            && (field.known != Known::SetCookie || settings.set_cookie == SetCookie::Stored)
    };
    for field in answer.fields.iter().filter(|field| comes(field)) {
        stored.fields.remove(field.name);
    }
    for field in answer.fields.iter().filter(|field| comes(field)) {
        stored.fields.push_known(field.name, field.value, field.known, false);
    }
    if answer.fields.known(Known::Date).is_none() {
        // The stored date is of the stored answer; this one came now.
        stored.fields.set(b"Date", &format_date(times.answered_ms / 1000));
    }
}

/// What an answer to HEAD does to a stored answer to GET (RFC 9111 §4.3.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadUpdate {
    /// It is about the same version: the stored head is brought up to date.
    Renewed(Box<ToStore>),
    /// It is about another version: what is stored is stale.
    MakesStale,
    /// Nothing.
    Nothing,
}

/// Decides what an answer of 200 to HEAD does to what is stored under the same key and variant.
///
/// Validators that both have must be equal, and so must the length.
pub fn head_answered(
    asked: &Asked,
    path: &[u8],
    stored: &Revalidated<'_>,
    answer: &Response,
    settings: &Settings,
    times: &FetchTimes,
) -> HeadUpdate {
    if answer.status != 200 || stored.meta.status != 200 {
        return HeadUpdate::Nothing;
    }
    let (ours, theirs) = (stored.head.validators(), Validators::of(&answer.fields));
    let same = |a: Option<&[u8]>, b: Option<&[u8]>| a.is_none() || b.is_none() || a == b;
    let length = answer.declared_length;
    let is_same = same(ours.etag, theirs.etag)
        && same(ours.last_modified, theirs.last_modified)
        && (length.is_none() || stored.meta.body_bytes.is_none() || length == stored.meta.body_bytes);
    if !is_same {
        return HeadUpdate::MakesStale;
    }
    let mut merged = stored.head.unpack();
    merge(&mut merged, answer, settings, times);
    merged.body = stored.meta.body_bytes.map_or(exchange::BodySize::Unknown, exchange::BodySize::of_length);
    let as_get = Asked { is_head: false, ..asked.clone() };
    match judge(&as_get, path, &merged, settings, times) {
        Storing::Store(mut renewed) => {
            carry(stored.meta, &mut renewed.meta);
            HeadUpdate::Renewed(renewed)
        }
        Storing::Pass(reason) if reason.is_lasting() => HeadUpdate::MakesStale,
        Storing::Pass(_) => HeadUpdate::Nothing,
    }
}

/// The targets whose stored answers an unsafe request makes unusable (RFC 9111 §4.4): its own, and those
/// that `Location` and `Content-Location` name on the same origin. Empty unless the method is unsafe and
/// the answer no error. Path and query each; the caller makes keys of them.
pub fn invalidated(request: &Request, answer: &Response) -> Vec<Vec<u8>> {
    // Methods that are not known may be unsafe (RFC 9111 §4.4).
    let is_safe = matches!(request.method, Method::Get | Method::Head | Method::Options | Method::Trace);
    if is_safe || !(200..400).contains(&answer.status) {
        return Vec::new();
    }
    let mut targets = vec![request.target().to_vec()];
    let content_location = answer.fields.value(b"content-location");
    for reference in [answer.fields.known(Known::Location), content_location].into_iter().flatten() {
        if let Some(target) = same_origin(request, reference)
            && !targets.contains(&target)
        {
            targets.push(target);
        }
    }
    targets
}

/// Path and query of a URI reference, if it lies on the request's origin: absolute with the same scheme and
/// authority, or relative. A relative path is resolved as far as that takes no climbing; one with dots
/// names nothing.
fn same_origin(request: &Request, reference: &[u8]) -> Option<Vec<u8>> {
    let reference = reference.split(|byte| *byte == b'#').next()?;
    if reference.is_empty() {
        return None; // the request's own target
    }
    let scheme_end =
        reference.iter().position(|byte| matches!(byte, b':' | b'/' | b'?')).unwrap_or(reference.len());
    let after_scheme = match reference.get(scheme_end) {
        Some(b':') => {
            let scheme = reference.get(..scheme_end)?;
            if !scheme.eq_ignore_ascii_case(request.scheme.as_str().as_bytes()) {
                return None;
            }
            reference.get(scheme_end + 1..)?
        }
        _ => reference,
    };
    let target = match after_scheme.strip_prefix(b"//") {
        Some(rest) => {
            let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
            let (authority, target) = rest.split_at_checked(end)?;
            if !is_same_authority(request, authority) {
                return None;
            }
            target.to_vec()
        }
        None if after_scheme.starts_with(b"/") => after_scheme.to_vec(),
        None => {
            let path = request.path();
            let folder = memchr::memrchr(b'/', path).map_or(&b"/"[..], |at| path.get(..=at).unwrap_or(b"/"));
            [folder, after_scheme].concat()
        }
    };
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    if path.split(|byte| *byte == b'/').any(|segment| matches!(segment, b"." | b"..")) {
        return None;
    }
    Some(if target.starts_with(b"/") { target } else { [b"/", &target[..]].concat() })
}

fn is_same_authority(request: &Request, authority: &[u8]) -> bool {
    let own: &[u8] = if request.scheme == exchange::Scheme::Https { b":443" } else { b":80" };
    let bare = |authority: &[u8]| authority.strip_suffix(own).unwrap_or(authority).to_ascii_lowercase();
    bare(authority) == bare(request.authority())
}

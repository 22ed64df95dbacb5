//! May an answer be stored, and as what (RFC 9111 §3).
//!
//! One function decides; every no has a name. It also takes out of the stored head what must not be in it.
//! Called for each answer of an origin, and by `refresh.rs` for one that a 304 renewed. Read next:
//! [`judge`].

use exchange::{FieldRef, Known, Response};

use super::control::ResponseControl;
use super::date::format_date;
use super::freshness::{FetchTimes, Source, freshness, initial_age_s, stale_s};
use super::guard::keeps_promise;
use super::hints::may_hint;
use super::request::Asked;
use super::settings::{ErrorAnswers, Lifetime, SetCookie, Settings};
use super::stored::{Metadata, StoredHead, Traits};
use super::tags::read_tags;
use super::targeted::effective_control;
use super::validator::Validators;
use super::vary::Vary;

/// Why an answer is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotStored {
    /// The request was no GET: an answer to HEAD has no body to keep (RFC 9111 §3).
    Method,
    /// The request said `no-store`, and the zone respects that.
    RequestNoStore,
    /// The answer says `no-store`.
    NoStore,
    /// The answer says `private`.
    Private,
    /// The request was authorised and the answer does not say that others may see it (§3.5).
    Authorization,
    /// It says `must-understand`, and its status is not understood (§5.2.2.3).
    NotUnderstood,
    /// 206, 304 or 1xx: not a whole answer.
    Partial,
    /// An error that nobody told to keep, or that a stranger can provoke.
    Error,
    /// The zone says so for this status.
    Zone,
    /// It sets a cookie.
    SetCookie,
    /// `Vary` names `*`, or more than can be kept, or something that differs for each visitor.
    Vary,
    /// It is stale from the start, and nothing can make it fresh again.
    NoLifetime,
    /// Its type does not fit the path's extension.
    Deception,
    /// More tags than are kept.
    Tags,
    /// Its head cannot be kept.
    Head,
    /// Its body is longer than the zone allows.
    TooLarge,
    /// The key has as many variants as it may.
    Variants,
    /// Another request stores the same, or storage has no room.
    Busy,
    /// Whoever inspects answers keeps it back, or could not inspect it.
    Firewall,
}

impl NotStored {
    /// The word for it in `Cache-Status`, log and trail.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::RequestNoStore => "request_no_store",
            Self::NoStore => "no_store",
            Self::Private => "private",
            Self::Authorization => "authorization",
            Self::NotUnderstood => "not_understood",
            Self::Partial => "partial",
            Self::Error => "error",
            Self::Zone => "zone",
            Self::SetCookie => "set_cookie",
            Self::Vary => "vary",
            Self::NoLifetime => "no_lifetime",
            Self::Deception => "deception",
            Self::Tags => "tags",
            Self::Head => "head",
            Self::TooLarge => "too_large",
            Self::Variants => "variants",
            Self::Busy => "busy",
            Self::Firewall => "firewall",
        }
    }

    /// Whether the next request for the same key will most likely fare the same, so that it need not wait for
    /// anybody (hit-for-miss). What came from this request alone says nothing about the next.
    pub fn is_lasting(self) -> bool {
        !matches!(self, Self::Method | Self::RequestNoStore | Self::Authorization | Self::Busy)
    }
}

/// An answer that is to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToStore {
    /// The numbers to decide by.
    pub meta: Metadata,
    /// The head to answer with.
    pub head: StoredHead,
    /// [`Vary::Nothing`] or [`Vary::Rule`].
    pub vary: Vary,
    /// What it may be purged by: the origin's tags, and [`super::Spelling::tag`].
    pub tags: Vec<Box<[u8]>>,
    /// Names and values that are for the one visitor whose fetch it was, and not stored
    /// ([`super::give_unkept`]).
    pub unkept: Vec<UnkeptField>,
}

/// Name and value of a field of [`ToStore::unkept`].
pub type UnkeptField = (Box<[u8]>, Box<[u8]>);

/// What becomes of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storing {
    /// It is stored, and the visitor gets what is stored.
    Store(Box<ToStore>),
    /// It is passed to the visitor.
    Pass(NotStored),
}

/// Statuses whose caching rules are implemented here: the final ones that RFC 9110 and its kin register.
pub fn is_understood(status: u16) -> bool {
    matches!(status, 200..=205 | 300..=303 | 305 | 307 | 308 | 400..=417 | 421 | 422 | 425 | 426 | 428 | 429
        | 431 | 451 | 500..=505 | 511)
}

/// Errors that a stranger brings about with fields that no key holds: too large, malformed, not acceptable,
/// too often (Nguyen, Lo Iacono and Federrath, "Your Cache Has Fallen", 2019). Stored, they would shut
/// everybody out.
pub fn may_be_provoked(status: u16) -> bool {
    matches!(status, 400..=403 | 405..=409 | 411..=413 | 415..=417 | 421..=431)
}

/// Decides whether `answer` to a request for `path` is stored, and how.
///
/// `answer` is as the origin sent it, hop-by-hop fields marked. [`NotStored::TooLarge`] is said here by a
/// declared length, later by whoever counts the body.
pub fn judge(
    asked: &Asked,
    path: &[u8],
    answer: &Response,
    settings: &Settings,
    times: &FetchTimes,
) -> Storing {
    match consider(asked, path, answer, settings, times) {
        Ok(stored) => Storing::Store(Box::new(stored)),
        Err(reason) => Storing::Pass(reason),
    }
}

fn consider(
    asked: &Asked,
    path: &[u8],
    answer: &Response,
    settings: &Settings,
    times: &FetchTimes,
) -> Result<ToStore, NotStored> {
    let refuse_if = |no: bool, reason: NotStored| if no { Err(reason) } else { Ok(()) };
    let (status, fields) = (answer.status, &answer.fields);
    let (control, targeted) = effective_control(fields, &settings.targeted);
    refuse_if(asked.is_head, NotStored::Method)?;
    refuse_if(!asked.may_store, NotStored::RequestNoStore)?;
    refuse_if(matches!(status, 0..200 | 206 | 304), NotStored::Partial)?;
    refuse_if(control.must_understand && !is_understood(status), NotStored::NotUnderstood)?;
    // `must-understand` beside `no-store` is for caches that do not know it (RFC 9111 §5.2.2.3).
    refuse_if(control.no_store && !control.must_understand, NotStored::NoStore)?;
    refuse_if(control.private.is_whole(), NotStored::Private)?;
    let is_for_all = control.public || control.must_revalidate || control.s_maxage.known().is_some();
    refuse_if(asked.has_authorization && !is_for_all, NotStored::Authorization)?;
    let edge = settings.edge_lifetime(status);
    refuse_if(edge == Some(Lifetime::NotStored), NotStored::Zone)?;

    let fresh = freshness(status, fields, &control, targeted, settings, times);
    refuse_if(status >= 400 && !may_store_error(status, fresh.source, settings), NotStored::Error)?;
    let sets_cookie = fields.known(Known::SetCookie).is_some() && !is_listed(&control, b"set-cookie");
    refuse_if(sets_cookie && settings.set_cookie == SetCookie::NotStored, NotStored::SetCookie)?;
    let content_type = fields.known(Known::ContentType);
    let has_promise = settings.guards_extensions && (200..300).contains(&status);
    refuse_if(has_promise && !keeps_promise(path, content_type), NotStored::Deception)?;
    let vary = Vary::read(fields);
    refuse_if(vary == Vary::Anything, NotStored::Vary)?;

    let has_validator = Validators::of(fields).is_any();
    let is_overruled = matches!(edge, Some(Lifetime::Always(_)));
    let no_cache = control.no_cache.is_whole() && !is_overruled;
    let traits = traits_of(&control, is_overruled)
        .with_if(Traits::HAS_VALIDATOR, has_validator)
        .with_if(Traits::HEURISTIC, fresh.source == Source::Heuristic)
        .with_if(Traits::HAS_OWN_FIELDS, fields.iter().any(|field| is_for_this_cache(field.name)))
        .with_if(Traits::HAS_HINTS, settings.early_hints && may_hint(answer));
    let meta = Metadata {
        status,
        received_ms: times.received_ms,
        initial_age_s: initial_age_s(fields, times),
        lifetime_s: fresh.lifetime_s,
        stale_while_revalidate_s: stale_s(control.stale_while_revalidate),
        stale_if_error_s: stale_s(control.stale_if_error),
        body_bytes: declared_bytes(answer),
        traits,
        body_id: 0,
        troubled_until_ms: 0,
        slice_bytes: 0,
    };
    // What is stale at once is worth its place only if it can be revalidated or served stale, and if somebody
    // said that it is to be: an answer that says nothing at all is not the cache's.
    let is_stale = no_cache || meta.lifetime_s <= meta.initial_age_s;
    let may_bridge = meta.stale_while_revalidate_s > Some(0) || meta.stale_if_error_s > Some(0);
    let is_told = fresh.source != Source::Nobody || no_cache;
    refuse_if(is_stale && !(is_told && (has_validator || may_bridge)), NotStored::NoLifetime)?;
    refuse_if(meta.body_bytes.is_some_and(|bytes| bytes > settings.object_bytes_max), NotStored::TooLarge)?;
    let tags = tags_of(fields, settings).ok_or(NotStored::Tags)?;
    let head = pack(answer, &control, settings, times).ok_or(NotStored::Head)?;
    Ok(ToStore { meta, head, vary, tags, unkept: unkept(answer, &control, settings) })
}

/// What an answer may be purged by: the origin's tags, and the one of what is keyed as this zone spells URLs.
/// None if there are more than are kept.
pub(crate) fn tags_of(fields: &exchange::Fields, settings: &Settings) -> Option<Vec<Box<[u8]>>> {
    let mut tags = read_tags(fields)?;
    tags.extend(settings.key.spelling.tag().map(Vec::into_boxed_slice));
    Some(tags)
}

/// The traits that directives give. A zone that overrules lifetimes overrules what revalidation they ask for.
fn traits_of(control: &ResponseControl, is_overruled: bool) -> Traits {
    let is_shared = control.proxy_revalidate || control.s_maxage != super::control::Seconds::Absent;
    Traits::default()
        .with_if(Traits::MUST_REVALIDATE, control.must_revalidate)
        .with_if(Traits::SHARED_REVALIDATE, is_shared)
        .with_if(Traits::NO_CACHE, control.no_cache.is_whole() && !is_overruled)
        .with_if(Traits::NO_TRANSFORM, control.no_transform)
}

fn may_store_error(status: u16, source: Source, settings: &Settings) -> bool {
    match settings.errors {
        ErrorAnswers::Never => false,
        ErrorAnswers::AsOriginSays => source != Source::Nobody,
        ErrorAnswers::WhereTold => match source {
            Source::Zone => true,
            Source::Answer => !may_be_provoked(status),
            Source::Heuristic | Source::Nobody => false,
        },
    }
}

fn declared_bytes(answer: &Response) -> Option<u64> {
    match answer.body {
        exchange::BodySize::None => Some(0),
        exchange::BodySize::Length(bytes) => Some(bytes),
        exchange::BodySize::Unknown => None,
    }
}

/// Whether `no-cache` or `private` names the field, so that it is left out of what is stored.
///
/// A field under `no-cache="…"` could be kept for use after a validation (RFC 9111 §5.2.2.4). Left out, it
/// is one that every visitor gets who fetches or validates, as far as the origin sends it, and nobody else.
fn is_listed(control: &ResponseControl, name: &[u8]) -> bool {
    control.no_cache.names(name) || control.private.names(name)
}

/// Fields for this cache alone. They are stored, so that a 304 without them changes nothing, and never
/// passed on.
pub fn is_for_this_cache(name: &[u8]) -> bool {
    let all: [&[u8]; 3] = [b"surrogate-control", b"surrogate-key", b"cache-tag"];
    all.iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// Whether a field goes on from here with an answer out of the store: not what is about one connection or
/// one hop, not `Age` (a number, from here on), not the length (the body's).
fn goes_on(field: &FieldRef<'_>) -> bool {
    match field.known {
        _ if field.is_hop_by_hop => false,
        Known::Age | Known::ContentLength | Known::Trailer => false,
        Known::Other => !field.name.eq_ignore_ascii_case(b"proxy-authentication-info"),
        _ => true,
    }
}

/// Whether a field is for the visitor alone whose fetch it was.
fn is_unkept(field: &FieldRef<'_>, control: &ResponseControl, settings: &Settings) -> bool {
    let is_cookie = field.known == Known::SetCookie;
    is_cookie && settings.set_cookie != SetCookie::Stored || is_listed(control, field.name)
}

/// What of the head is not stored and goes on nevertheless: restrictions on storing and on using again are
/// none on passing on what was asked for (RFC 9111 §5.2.2.4 and §5.2.2.7).
fn unkept(answer: &Response, control: &ResponseControl, settings: &Settings) -> Vec<UnkeptField> {
    let is_ours = |field: &FieldRef<'_>| {
        goes_on(field) && is_unkept(field, control, settings) && !is_for_this_cache(field.name)
    };
    answer.fields.iter().filter(is_ours).map(|field| (field.name.into(), field.value.into())).collect()
}

/// Packs what of the head is stored (RFC 9111 §3.1): what goes on and is for everybody.
fn pack(
    answer: &Response,
    control: &ResponseControl,
    settings: &Settings,
    times: &FetchTimes,
) -> Option<StoredHead> {
    let keeps = |field: &FieldRef<'_>| goes_on(field) && !is_unkept(field, control, settings);
    if answer.fields.known(Known::Date).is_some() {
        return StoredHead::pack(answer, keeps);
    }
    // A recipient with a clock dates what it keeps (RFC 9110 §6.6.1).
    let mut dated = answer.clone();
    dated.fields.push(b"Date", &format_date(times.answered_ms / 1000));
    StoredHead::pack(&dated, keeps)
}

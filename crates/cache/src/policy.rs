//! The policy of the cache: what may be stored, used, served stale, and said (RFC 9111, 5861, 9211, 9213).
//!
//! Pure functions over heads, numbers and settings; `now` is an argument, milliseconds since 1970. No
//! storage, no I/O, no clock. In the order of a request: `request.rs` (may it be answered from here),
//! `key.rs` and `vary.rs` (what it is), `lookup.rs` (may what is stored be used), `refresh.rs` (what the
//! origin is asked and what its answer does), `storing.rs` (may it be stored), `answer.rs` (what the
//! visitor gets), `cache_status.rs`.

mod answer;
mod cache_status;
mod conditional;
mod control;
mod date;
mod freshness;
mod guard;
mod hints;
mod key;
mod lookup;
mod range;
mod refresh;
mod request;
mod settings;
mod slices;
mod stored;
mod storing;
mod tags;
mod targeted;
mod validator;
mod vary;
pub(crate) mod words;

pub use answer::{Sending, answer_from, give_unkept, rewrite_browser, strip_own};
pub use cache_status::CacheStatus;
pub use conditional::{Precondition, may_send_range, precondition};
pub use control::{MaxStale, RequestControl, ResponseControl, Restriction, Seconds, parse_age};
pub use date::{format_date, parse_date};
pub use freshness::{FetchTimes, Freshness, Source, freshness, initial_age_s, is_heuristically_cacheable};
pub use guard::keeps_promise;
pub(crate) use hints::own_links;
pub use hints::{hints_of, may_hint};
pub(crate) use key::coded_rest;
pub use key::{Device, Key, KeySettings, QueryKey, Spelling, VisitorFacts, is_unkeyed_forwarding};
pub use lookup::{Forward, Found, Lookup, OriginTrouble, lookup, may_serve_on_error};
pub use range::{AskedRange, ByteRange, Multipart, RangePlan, parse_content_range, parse_range, plan_range};
pub use refresh::{Answered, HeadUpdate, Revalidated, answered, head_answered, invalidated, prepare};
pub use request::{Asked, Bypass, Eligibility, ask, strip_unkeyed};
pub use settings::{BrowserLifetime, EdgeLifetime, ErrorAnswers, Heuristic, Lifetime, SetCookie, Settings};
pub use slices::{
    FirstAnswer, SliceAnswer, Sliced, Version, first_request, prepare_first, read_first, whole_head,
};
pub use stored::{Metadata, NUMBERS, StoredHead, Traits};
pub(crate) use storing::tags_of;
pub use storing::{
    NotStored, Storing, ToStore, UnkeptField, is_for_this_cache, is_understood, judge, may_be_provoked,
};
pub use tags::read_tags;
pub use targeted::{Targeted, effective_control};
pub use validator::{EntityTag, Validators};
pub use vary::{Vary, VaryIndex, VaryRule};

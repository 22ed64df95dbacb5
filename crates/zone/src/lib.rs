//! What a zone is: the spec as written, the compiled zone as run, the bundle, the snapshot, and every limit.
//!
//! A person's files become a [`bundle::Bundle`]; [`compile::compile`] turns it into a
//! [`snapshot::Snapshot`] or says every [`problem::Problem`] at once, each with its place. This crate does no
//! I/O, reads no clock and knows no async: files and keys come in as bytes. The edge reads snapshots, the
//! wiring makes bundles. Read next: [`spec`] for what can be written, [`zone`] for what runs.

#[cfg(all(feature = "fault-injection", not(debug_assertions)))]
compile_error!("fault points are for tests: build without `fault-injection`, or with the profile `drill`");

pub mod bundle;
pub mod cache;
pub mod cidr;
pub mod compile;
pub mod compression;
pub mod difference;
pub mod feed;
pub mod flood;
pub mod geo;
pub mod hosts;
pub mod id;
pub mod limits;
pub mod node;
pub mod pool;
pub mod problem;
pub mod rate;
pub mod read;
pub mod reference;
pub mod route;
pub mod rule;
pub mod snapshot;
pub mod spec;
pub mod tls;
pub mod validity;
pub mod waf;
pub mod zone;

pub use bundle::{Bundle, BundleFault, Source};
pub use cache::{
    BrowserLifetime, Cache, CacheKey, CacheLifetime, CacheQuery, ControlField, ErrorsWord, LifetimeWord,
    SetCookieWord,
};
pub use cidr::Cidr;
pub use compile::act::setting;
pub use compile::waf::{RULE_FOLDERS, belongs_to_rules};
pub use compile::{FileKind, NamedFile, compile, compile_after, compile_again, files_named};
pub use compression::{Algorithm, Compression, CompressionLevels};
pub use difference::{Difference, Kind, Thing, difference};
pub use feed::{AfterHorizon, Feed, FeedStage};
pub use flood::Flood;
pub use geo::{Geo, Whereabouts};
pub use hosts::Hostname;
pub use id::Id;
pub use node::{
    AccessLog, Listener, ListenerProtocol, Node, Overload, Stages, Written, compile_node, defaults_of,
    zones_folder_of,
};
pub use pool::{
    Balance, Ejection, HashKey, Health, HostHeader, Origin, OriginProtocol, OriginScheme, OriginTls, Pool,
    Probe, ProxyVersion, Queue, Retries, Sticky, Timeouts,
};
pub use problem::{Problem, Severity};
pub use rate::{ConcurrencyLimit, Counting, Over, RateLimit, RateLimits};
pub use read::values::Statuses;
pub use reference::reference;
pub use route::{Action, Destination, Location, Route, stripped};
pub use rule::{PhaseRules, Rules};
pub use snapshot::Snapshot;
pub use tls::{ClientAuthority, ClientCertificate, Hsts, Tls, TlsVersion};
pub use validity::Validity;
pub use waf::{INBOUND_THRESHOLD_PRESET, Waf, WafException, WafPath, WafRules};
pub use zone::{ErrorPage, FailMode, FailModes, HttpSettings, Zone, filled};

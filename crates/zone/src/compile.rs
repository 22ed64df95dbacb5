//! Turns a bundle into a snapshot, or says everything that is wrong with it.
//!
//! Pure: the same bundle and keys give the same snapshot. It goes on after each problem. A zone whose
//! fingerprint equals that of the previous snapshot is shared with it, so that a reload of 10,000 zones of
//! which one changed parses one key. It judges no expiry (no clock) and opens nothing. Called by the wiring,
//! `rempart check`, and whoever publishes. Parts: `tls`, `pool`, `route`,
//! `rule`, `rate`.

pub(crate) mod act;
mod cache;
mod choice;
mod compression;
#[cfg(feature = "fault-injection")]
mod fault_points;
pub(crate) mod geo;
mod inside;
mod pool;
mod rate;
mod route;
mod rule;
mod tls;
pub(crate) mod waf;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use sha2::{Digest, Sha256};
use toml::de::DeTable;

use crate::bundle::{Bundle, Source};
use crate::hosts::{HostIndex, Hostname};
use crate::id::Id;
use crate::limits::{ANSWER_BYTES_MAX, ERROR_PAGES_MAX, HOSTNAMES_MAX, SPEC_BYTES_MAX, ZONES_MAX};
use crate::problem::{Place, Problem, Report, Severity};
use crate::read::values::{FilePath, Name, meant_truth, quoted};
use crate::read::{Placed, Section, Table};
use crate::route::Action;
use crate::snapshot::Snapshot;
use crate::spec::{HttpSpec, ZoneSpec};
use crate::zone::{ErrorPage, FailModes, HttpSettings, Zone};

/// Syntax errors told per file: behind the first few, most follow from those before.
const SYNTAX_ERRORS_MAX: usize = 16;

/// What a file named by a zone is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A certificate chain.
    Certificate,
    /// A private key: never put into a bundle, but handed over when compiling.
    PrivateKey,
    /// Authorities that sign certificates of visitors or origins.
    Authority,
    /// An error page.
    ErrorPage,
    /// Entries of a list.
    List,
    /// Those of a list with a horizon: when the file was changed counts, if it does not say when it was made
    /// ([`crate::feed::made_by_its_word`]).
    Feed,
    /// Rules of the firewall: a file, or a folder, of which everything that [`belongs_to_rules`] is read.
    ///
    /// [`belongs_to_rules`]: crate::belongs_to_rules
    Rules,
    /// What is known of addresses.
    Geo,
}

/// A file that a zone names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// What it is for.
    pub kind: FileKind,
    /// The path as written.
    pub written: String,
    /// The path resolved against the folder of the file that names it: the key of [`Bundle::files`], and what
    /// `secrets` is asked for.
    pub path: String,
    /// The file that names it.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
}

/// Is called with each file that something names.
type Each<'a> = &'a mut dyn FnMut(FileKind, &Placed<FilePath>);

/// Lists every file that the zones and `[geo]` name, in order, for the wiring to read. Files that cannot be
/// parsed name nothing; their problems come out when compiling.
#[must_use]
pub fn files_named(specs: &[Source], defaults: Option<&Source>) -> Vec<NamedFile> {
    let mut ignored = Report::default();
    let sources: Vec<(&str, &[u8])> = sources_of(specs, defaults);
    let behind = defaults.and_then(|source| parse(specs.len(), &source.bytes, &mut ignored));
    let mut files = Vec::new();
    let mut list = |name: &dyn Fn(Each<'_>)| {
        // A report of no other use than to turn places into lines.
        let mut places = Report::default();
        let mut found = Vec::new();
        name(&mut |kind, path| {
            places.error(path.place, format!("{:06}", found.len()));
            let (file, _) = sources.get(path.place.file as usize).copied().unwrap_or_default();
            found.push(NamedFile {
                kind,
                written: path.0.clone(),
                path: match kind {
                    FileKind::Rules => seclang::normal(&resolved(file, &path.0)),
                    _ => resolved(file, &path.0),
                },
                file: file.to_owned(),
                line: 1,
                column: 1,
            });
        });
        for place in places.finish(&sources) {
            if let Some(file) = place.message.parse::<usize>().ok().and_then(|number| found.get_mut(number)) {
                (file.line, file.column) = (place.line, place.column);
            }
        }
        files.append(&mut found);
    };
    for (index, source) in specs.iter().enumerate() {
        let Some(table) = parse(index, &source.bytes, &mut ignored) else { continue };
        let spec = read_zone(index, &table, specs.len(), behind.as_ref(), &mut ignored);
        list(&|each| named(&spec, each));
    }
    if let Some(behind) = &behind {
        let spec = geo::spec(specs.len(), behind);
        list(&|each| {
            spec.country.iter().chain(&spec.asn).for_each(|path| each(FileKind::Geo, path));
        });
    }
    files
}

fn sources_of<'a>(specs: &'a [Source], defaults: Option<&'a Source>) -> Vec<(&'a str, &'a [u8])> {
    specs.iter().chain(defaults).map(|source| (source.name.as_str(), source.bytes.as_slice())).collect()
}

/// Calls `each` for every file that a zone names.
fn named(spec: &ZoneSpec, each: Each<'_>) {
    let mut some = |kind, path: &Option<Placed<FilePath>>| path.iter().for_each(|path| each(kind, path));
    some(FileKind::Certificate, &spec.tls.certificate);
    some(FileKind::PrivateKey, &spec.tls.private_key);
    some(FileKind::Authority, &spec.tls.client_ca);
    for pool in &spec.pool.0 {
        some(FileKind::Authority, &pool.tls.ca);
        some(FileKind::Certificate, &pool.tls.certificate);
        some(FileKind::PrivateKey, &pool.tls.private_key);
    }
    for page in &spec.error_page.0 {
        some(FileKind::ErrorPage, &page.file);
    }
    for page in spec.rule.0.iter().filter_map(|rule| rule.page.as_ref()) {
        some(FileKind::ErrorPage, &page.file);
    }
    for list in &spec.list.0 {
        some(if list.horizon_s.is_some() { FileKind::Feed } else { FileKind::List }, &list.file);
    }
    waf::named(&spec.waf, &mut |path| each(FileKind::Rules, path));
}

/// Resolves a path against the folder of the file that names it. Purely by text: nothing is looked up.
#[must_use]
pub fn resolved(file: &str, path: &str) -> String {
    match file.rsplit_once('/') {
        Some((folder, _)) if !path.starts_with('/') => format!("{folder}/{path}"),
        _ => path.to_owned(),
    }
}

/// Parses a file; reports syntax errors and bytes that are no UTF-8. With syntax errors it answers what could
/// be understood.
pub(crate) fn parse<'a>(file: usize, bytes: &'a [u8], report: &mut Report) -> Option<DeTable<'a>> {
    if bytes.len() > SPEC_BYTES_MAX {
        report.error(Place::new(file, 0), format!("the file is larger than {SPEC_BYTES_MAX} bytes"));
        return None;
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(why) => {
            let place = Place::new(file, why.valid_up_to());
            report.error_with(place, "the file is not UTF-8 from here on", "save the file as UTF-8");
            return None;
        }
    };
    report.doubt(None);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors.iter().take(SYNTAX_ERRORS_MAX) {
        let offset = error.span().map_or(0, |span| span.start);
        let message = error.message().trim().replace('\n', ", ");
        let meant = text.get(offset..).and_then(meant_bare);
        report.note(Place::new(file, offset), Severity::Error, message, meant);
    }
    let first = errors.iter().map(|error| error.span().map_or(0, |span| span.start)).min();
    report.doubt(first.map(|offset| {
        let before = text.get(..offset).unwrap_or("");
        Place::new(file, before.rfind('\n').map_or(0, |end| end + 1))
    }));
    Some(table.into_inner())
}

/// What to write where a value without quotes is none of TOML's.
fn meant_bare(rest: &str) -> Option<String> {
    let ends = |letter: char| letter.is_whitespace() || matches!(letter, ',' | ']' | '}' | '#');
    let word = rest.get(..rest.find(ends).unwrap_or(rest.len()))?;
    meant_truth(word).map(str::to_owned)
}

fn read_zone<'a>(
    file: usize,
    table: &'a DeTable<'a>,
    defaults_file: usize,
    defaults: Option<&'a DeTable<'a>>,
    report: &mut Report,
) -> ZoneSpec {
    let mut section = Section::whole(file, table);
    if let Some(defaults) = defaults {
        section = section.over(defaults_file, defaults, "zone_defaults");
    }
    ZoneSpec::from_section(section, report)
}

/// Compiles a bundle.
///
/// `number` is the snapshot's place in order. `secrets` answers the bytes of a private key by the path of
/// [`NamedFile::path`].
///
/// # Errors
/// Every problem there is, warnings included, if at least one is an error.
pub fn compile(
    bundle: &Bundle,
    number: u64,
    secrets: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> Result<Snapshot, Vec<Problem>> {
    compile_after(bundle, number, secrets, None)
}

/// Compiles a bundle and shares every zone that did not change with the snapshot before.
///
/// # Errors
/// As [`compile`].
pub fn compile_after(
    bundle: &Bundle,
    number: u64,
    secrets: &dyn Fn(&str) -> Option<Vec<u8>>,
    previous: Option<&Snapshot>,
) -> Result<Snapshot, Vec<Problem>> {
    compile_bundle(bundle, number, secrets, previous, Pairs::MustFit)
}

/// Compiles a bundle that was in order once, as [`compile_after`] does. Keys are no part of a bundle: a
/// certificate whose key is gone, or is another one by now, is left out with a warning, and the rest of its
/// zone is served.
///
/// # Errors
/// As [`compile`].
pub fn compile_again(
    bundle: &Bundle,
    number: u64,
    secrets: &dyn Fn(&str) -> Option<Vec<u8>>,
    previous: Option<&Snapshot>,
) -> Result<Snapshot, Vec<Problem>> {
    compile_bundle(bundle, number, secrets, previous, Pairs::MayBeLost)
}

/// What follows from a key that does not fit its certificate, or is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pairs {
    /// An error.
    MustFit,
    /// A warning, and no certificate.
    MayBeLost,
}

fn compile_bundle(
    bundle: &Bundle,
    number: u64,
    secrets: &dyn Fn(&str) -> Option<Vec<u8>>,
    previous: Option<&Snapshot>,
    pairs: Pairs,
) -> Result<Snapshot, Vec<Problem>> {
    let sources = sources_of(bundle.specs(), bundle.defaults());
    let mut compiler = Compiler {
        bundle,
        secrets,
        pairs,
        names: sources.iter().map(|(name, _)| *name).collect(),
        provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
        report: Report::default(),
        shelf: waf::Shelf::of(previous.iter().flat_map(|snapshot| snapshot.zones())),
        made: RefCell::default(),
        knows_countries: false,
        knows_networks: false,
    };
    let hash = bundle.hash();
    let mut seed = [0; 8];
    seed.copy_from_slice(&hash[..8]);
    let mut index = HostIndex::new(u64::from_be_bytes(seed));

    let defaults_file = bundle.specs().len();
    let behind =
        bundle.defaults().and_then(|source| parse(defaults_file, &source.bytes, &mut compiler.report));
    let http = compiler.defaults(defaults_file, behind.as_ref());
    let geo = compiler.geo(defaults_file, behind.as_ref(), previous);
    compiler.knows_countries = geo.as_ref().is_some_and(|geo| geo.country.is_some());
    compiler.knows_networks = geo.as_ref().is_some_and(|geo| geo.asn.is_some());

    if bundle.specs().len() > ZONES_MAX {
        compiler.report.error(Place::new(ZONES_MAX, 0), format!("more than {ZONES_MAX} zones"));
    }
    let before: HashMap<Id, &Arc<Zone>> =
        previous.iter().flat_map(|snapshot| snapshot.zones()).map(|zone| (zone.id, zone)).collect();
    let mut zones: Vec<Arc<Zone>> = Vec::new();
    let mut places: Vec<Place> = Vec::new();
    let mut names: HashMap<String, Place> = HashMap::new();
    let mut ids: HashMap<Id, Place> = HashMap::new();
    for (file, source) in bundle.specs().iter().enumerate().take(ZONES_MAX) {
        let table = parse(file, &source.bytes, &mut compiler.report);
        let Some(table) = table else { continue };
        let spec = read_zone(file, &table, defaults_file, behind.as_ref(), &mut compiler.report);
        let fingerprint = compiler.fingerprint(source, &spec);
        let zone_name = spec.name.as_ref().map_or("", |name| name.0.as_str());
        let id = spec.id.as_ref().map_or_else(|| Id::derived("zone", zone_name, zone_name), |id| id.value);
        if let Some(name) = &spec.name {
            let first = names.insert(name.0.clone(), name.place);
            compiler.taken(first, name.place, &format!("another zone is named {} too", quoted(&name.0)));
            let first = ids.insert(id, name.place);
            if let Some(written) = &spec.id {
                compiler.taken(first, written.place, &format!("another zone has the id {id} too"));
            }
        }
        let same = before.get(&id).copied().filter(|zone| zone.fingerprint == fingerprint);
        let zone = compiler.zone(&spec, id, zone_name, fingerprint, same.map(Arc::as_ref));
        let number = u32::try_from(zones.len()).unwrap_or(u32::MAX);
        for (hostname, place) in compiler.hostnames(&spec) {
            if let Some(owner) = index.insert(&hostname, number) {
                let message = if owner == number {
                    format!("{} is named twice", quoted(&hostname.to_string()))
                } else {
                    let owner = zones.get(owner as usize).map_or("", |zone| zone.name.as_str());
                    format!("{} belongs to the zone {}", quoted(&hostname.to_string()), quoted(owner))
                };
                compiler.report.error(place, message);
            }
        }
        places.push(spec.place);
        zones.push(match same {
            Some(same) => Arc::clone(same),
            None => Arc::new(zone),
        });
    }
    let errors = compiler.report.errors();
    let problems = compiler.report.finish(&sources);
    if errors > 0 {
        return Err(problems);
    }
    Ok(Snapshot::new(number, hash, (http, geo), zones, index, problems))
}

/// What compiling one bundle needs.
struct Compiler<'a> {
    bundle: &'a Bundle,
    secrets: &'a dyn Fn(&str) -> Option<Vec<u8>>,
    pairs: Pairs,
    /// Names of the files, by index.
    names: Vec<&'a str>,
    provider: Arc<CryptoProvider>,
    report: Report,
    /// Rule sets of firewalls, loaded once.
    shelf: waf::Shelf,
    /// What paths of rules stand for.
    made: RefCell<HashMap<Vec<String>, Arc<waf::Made>>>,
    /// Whether the node has a file with countries.
    knows_countries: bool,
    /// Whether it has one with networks.
    knows_networks: bool,
}

impl Compiler<'_> {
    /// Reads the defaults by themselves, so that their problems are told even without any zone.
    fn defaults(&mut self, file: usize, root: Option<&DeTable<'_>>) -> HttpSettings {
        let unwritten = Section::unwritten(Place::new(file, 0));
        let section = match root {
            Some(root) => unwritten.over(file, root, "zone_defaults"),
            None => unwritten,
        };
        self.report.forgive_missing(true);
        let spec = ZoneSpec::from_section(section, &mut self.report);
        let own = [
            ("name", spec.name.as_ref().map(|name| name.place)),
            ("hostnames", spec.hostnames.as_ref().map(|hostnames| hostnames.place)),
            ("id", spec.id.as_ref().map(|id| id.place)),
        ];
        for (key, place) in own {
            if let Some(place) = place {
                self.report.error(place, format!("`{key}` is each zone's own and has no default"));
            }
        }
        let http = self.http(&spec.http);
        self.report.doubt(None);
        http
    }

    fn taken(&mut self, first: Option<Place>, place: Place, message: &str) {
        if let Some(first) = first {
            let file = self.names.get(first.file as usize).copied().unwrap_or("");
            self.report.error_with(place, message, format!("the first is in {file}"));
        }
    }

    fn path(&self, path: &Placed<FilePath>) -> String {
        resolved(self.names.get(path.place.file as usize).copied().unwrap_or(""), &path.0)
    }

    /// The bytes of a file that is not secret; reports if it is not there.
    fn file(&mut self, path: &Placed<FilePath>) -> Option<&[u8]> {
        let resolved = self.path(path);
        let bytes = self.bundle.files().get(&resolved);
        if bytes.is_none() {
            self.report.error(path.place, format!("the file {} could not be read", quoted(&resolved)));
        }
        bytes.map(Vec::as_slice)
    }

    /// The bytes of a private key; reports if it is not there.
    fn secret(&mut self, path: &Placed<FilePath>) -> Option<Vec<u8>> {
        let resolved = self.path(path);
        let bytes = (self.secrets)(&resolved);
        if bytes.is_none() {
            self.unusable_pair(path.place, format!("the key file {} could not be read", quoted(&resolved)));
        }
        bytes
    }

    /// Reports a pair that cannot be used.
    fn unusable_pair(&mut self, place: Place, message: String) {
        match self.pairs {
            Pairs::MustFit => self.report.error(place, message),
            Pairs::MayBeLost => {
                self.report.warning(place, message, "there is no such certificate until the pair is mended");
            }
        }
    }

    /// Hashes everything that a zone is compiled from.
    fn fingerprint(&self, source: &Source, spec: &ZoneSpec) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        for source in [Some(source), self.bundle.defaults()] {
            part(source.map_or(b"", |source| source.name.as_bytes()));
            part(source.map_or(b"", |source| source.bytes.as_slice()));
        }
        named(spec, &mut |kind, path| {
            let path = self.path(path);
            part(path.as_bytes());
            match kind {
                FileKind::PrivateKey => part(&(self.secrets)(&path).unwrap_or_default()),
                FileKind::Rules => part(&self.waf_content(&seclang::normal(&path))),
                FileKind::Feed => {
                    part(self.bundle.files().get(&path).map_or(b"", Vec::as_slice));
                    part(&self.bundle.changed().get(&path).map_or([0; 8], |unix_s| unix_s.to_be_bytes()));
                }
                _ => part(self.bundle.files().get(&path).map_or(b"", Vec::as_slice)),
            }
        });
        hash.finalize().into()
    }

    fn zone(
        &mut self,
        spec: &ZoneSpec,
        id: Id,
        name: &str,
        fingerprint: [u8; 32],
        same: Option<&Zone>,
    ) -> Zone {
        let hostnames = match &spec.hostnames {
            Some(_) => self.hostnames_quietly(spec),
            None => Vec::new(),
        };
        #[cfg(feature = "fault-injection")]
        fault_points::strike(&hostnames);
        let tls = self.tls(&spec.tls, &hostnames, same);
        // With an id of its own, a zone can be renamed and keep the ids of what is in it.
        let key = spec.id.as_ref().map_or_else(|| name.to_owned(), |id| id.to_string());
        let mut pools = self.pools(spec, &key, same);
        let fallback =
            if pools.is_empty() { Action::Nothing } else { Action::Pool { pool: 0, strip_prefix: None } };
        let changed_pools = self.changed_pools(spec, &key, &mut pools);
        let routes = self.routes(spec, &key);
        // What is shared with the snapshot before needs no lists anew.
        let (lists, feeds) = match same {
            Some(same) => (rules::Lists::new(), same.feeds.clone()),
            None => self.lists(spec),
        };
        let rules = self.rules(spec, &key, &lists, changed_pools, same);
        let rate_limits = self.rate_limits(spec, &key, &lists, same);
        self.idle_choices(spec);
        self.idle_tables(spec);
        let waf = self.waf(spec, same);
        let has_tls_origin = pools.first().is_some_and(|pool| {
            pool.origins.iter().any(|origin| origin.scheme == crate::pool::OriginScheme::Https)
        });
        let pass_through = self.pass_through(spec, has_tls_origin, tls.client.is_some());
        if spec.pool.0.is_empty() && spec.route.0.is_empty() && spec.name.is_some() {
            self.report.missing(
                spec.place,
                "the zone has neither pool nor route",
                "write a [[pool]] with name and origins".to_owned(),
            );
        }
        Zone {
            id,
            account: spec.account.as_ref().map(|account| account.value),
            name: name.to_owned(),
            hostnames,
            routes,
            fallback,
            pools,
            lists: match same {
                Some(same) => same.lists.clone(),
                None => lists.iter().map(|(name, list)| (name.to_owned(), list.entries())).collect(),
            },
            feeds,
            rules,
            waf_log: waf.as_ref().filter(|_| act::has_firewall_log(spec)).map(act::logging_only),
            waf,
            rate_limits,
            cache: self.cache(&spec.cache, choice::turns_cache_on(spec)),
            compression: self.compression(&spec.compression, choice::turns_compression_on(spec)),
            flood: crate::flood::Flood::of(&spec.flood),
            tls,
            http: self.http(&spec.http),
            fail_modes: FailModes {
                shield: spec.fail_modes.shield.value,
                waf: spec.fail_modes.waf.value,
                route: spec.fail_modes.route.value,
                cache: spec.fail_modes.cache.value,
                response: spec.fail_modes.response.value,
            },
            error_pages: self.error_pages(spec),
            compat_cloudflare: spec.compat.is_some(),
            server_timing: spec.server_timing.value,
            pass_through,
            fingerprint,
        }
    }

    /// Judges `pass_through`: there must be somewhere to pass through to, and nothing that a visitor must
    /// prove here.
    fn pass_through(&mut self, spec: &ZoneSpec, has_tls_origin: bool, asks_client: bool) -> bool {
        if !spec.pass_through.value {
            return false;
        }
        if asks_client {
            self.report.error_with(
                spec.pass_through.place,
                "a zone that asks for client certificates cannot be passed through: nobody would ask",
                "write pass_through = false",
            );
        } else if !has_tls_origin {
            self.report.error_with(
                spec.pass_through.place,
                "pass_through needs an origin that speaks TLS, with the visitors' certificate",
                "give the first pool an https:// origin, or write pass_through = false",
            );
        }
        true
    }

    /// Parses and reports hostnames.
    fn hostnames(&mut self, spec: &ZoneSpec) -> Vec<(Hostname, Place)> {
        let Some(written) = &spec.hostnames else { return Vec::new() };
        if written.0.is_empty() {
            self.report.error_with(written.place, "the zone has no hostnames", "`[\"*\"]` takes every name");
        }
        if written.0.len() > HOSTNAMES_MAX {
            let message = format!("more than {HOSTNAMES_MAX} hostnames in one zone");
            self.report.error_with(written.place, message, "use a wildcard");
        }
        let mut hostnames = Vec::new();
        for text in written.0.iter().take(HOSTNAMES_MAX) {
            match Hostname::parse(&text.0) {
                Ok(hostname) => hostnames.push((hostname, text.place)),
                Err(why) => {
                    let message = format!("{} is no hostname: {why}", quoted(&text.0));
                    // A name and all below it, as other servers write it.
                    let both = text.0.strip_prefix('.').filter(|name| Hostname::parse(name).is_ok());
                    let meant = both.map(|name| format!("did you mean [\"{name}\", \"*.{name}\"]?"));
                    self.report.note(text.place, Severity::Error, message, meant);
                }
            }
        }
        hostnames
    }

    fn hostnames_quietly(&self, spec: &ZoneSpec) -> Vec<Hostname> {
        let written = spec.hostnames.iter().flat_map(|hostnames| hostnames.0.iter());
        written.take(HOSTNAMES_MAX).filter_map(|text| Hostname::parse(&text.0).ok()).collect()
    }

    fn http(&mut self, spec: &Placed<HttpSpec>) -> HttpSettings {
        const HEADER_BYTES: std::ops::RangeInclusive<u64> = 1024..=1024 * 1024;
        if !HEADER_BYTES.contains(&spec.max_header_bytes.0) {
            self.report.error(spec.max_header_bytes.place, "this must be from 1KiB to 1MiB");
        }
        if let Some(most) = spec.max_body_bytes.as_ref().filter(|most| most.0 == 0) {
            let message = "0 refuses every request with a body";
            self.report.warning(most.place, message, "leave it out if there is to be no limit");
        }
        HttpSettings {
            websocket: spec.websocket.value,
            max_body_bytes: spec.max_body_bytes.as_ref().map(|size| size.0),
            header_ms: spec.header_ms.0,
            body_idle_ms: spec.body_idle_ms.0,
            keepalive_ms: spec.keepalive_ms.0,
            upgrade_idle_ms: spec.upgrade_idle_ms.0,
            min_rate_bytes_per_s: spec.min_rate_bytes_per_s.0,
            max_header_bytes: usize::try_from(spec.max_header_bytes.0).unwrap_or(usize::MAX),
            max_headers: usize::try_from(spec.max_headers.0).unwrap_or(usize::MAX),
        }
    }

    fn error_pages(&mut self, spec: &ZoneSpec) -> Vec<ErrorPage> {
        if spec.error_page.0.len() > ERROR_PAGES_MAX {
            let message = format!("more than {ERROR_PAGES_MAX} error pages in one zone");
            self.report.error(spec.error_page.place, message);
        }
        let mut pages = Vec::new();
        for page in spec.error_page.0.iter().take(ERROR_PAGES_MAX) {
            if let Some(status) = &page.status
                && status.0.is_empty()
            {
                self.report.error(status.place, "this must not be empty");
            }
            self.header_value(&page.content_type);
            let (Some(status), Some(path)) = (&page.status, &page.file) else { continue };
            let Some(bytes) = self.file(path) else { continue };
            let body: Arc<[u8]> = bytes.into();
            if body.len() > ANSWER_BYTES_MAX {
                self.report.error(path.place, format!("the page is larger than {ANSWER_BYTES_MAX} bytes"));
            }
            pages.push(ErrorPage {
                statuses: status.0.iter().map(|status| status.value).collect(),
                content_type: page.content_type.0.clone(),
                body,
            });
        }
        pages
    }

    /// Reports a text that cannot be sent as a header's value.
    fn header_value(&mut self, text: &Placed<crate::read::values::Text>) {
        if !text.0.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            self.report.error(text.place, "only ASCII can be sent in a header");
        }
    }

    /// Finds a pool by name; reports an unknown one with the nearest known.
    fn pool_index(&mut self, spec: &ZoneSpec, name: &Placed<Name>) -> Option<usize> {
        let known: Vec<&str> =
            spec.pool.0.iter().map(|pool| pool.name.as_ref().map_or("", |name| name.0.as_str())).collect();
        let found = known.iter().position(|known| *known == name.0);
        if found.is_none() && !self.report.forgives_missing() {
            let message = format!("there is no pool {} in this zone", quoted(&name.0));
            match crate::read::nearest(&name.0, &known).filter(|known| !known.is_empty()) {
                Some(near) => {
                    self.report.error_with(name.place, message, format!("did you mean \"{near}\"?"));
                }
                None => self.report.error(name.place, message),
            }
        }
        found
    }
}

//! The node file: ports, paths and sizes of this machine, and `[zone_defaults]`.
//!
//! Spec and compiled node stand together here, since the node file has little meaning beyond its types. It
//! is not part of a bundle: only `[zone_defaults]` and `[geo]` are, by way of [`defaults_of`]. It opens no
//! socket and no path. Called by the binary's wiring; the settings' machinery is [`crate::read`].

use std::net::SocketAddr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::bundle::Source;
use crate::cidr::Cidr;
use crate::compile::geo;
use crate::compile::{parse, resolved};
use crate::geo::GeoSpec;
use crate::limits::{LIST_SERVERS_MAX, LISTENERS_MAX, RANGES_MAX, THREADS_MAX, WEIGHT_MAX};
use crate::problem::{Place, Problem, Report};
use crate::read::values::{Count, FilePath, List, Milliseconds, Name, Size, Text, quoted, words};
use crate::read::{Placed, Row, Section, Setting, Table, settings};
use crate::spec::ZoneSpec;

words! {
    /// What a listener speaks.
    pub enum ListenerProtocol {
        /// HTTP on cleartext.
        Http = "http",
        /// HTTP over TLS, and over QUIC on the same port.
        Https = "https",
    }
}

settings! {
    /// The node file.
    pub struct NodeFileSpec in "the node file" beside ZoneSpec in "a zone's file, zones/*.toml" {
        /// The machine.
        section node: NodeSpec,
        /// The sockets that visitors come to.
        plain listener: List<ListenerSpec> = List(Vec::new()),
        /// The address for health and metrics.
        section admin: AdminSpec,
        /// Room for the cache of all zones.
        section cache: NodeCacheSpec,
        /// The access log.
        section log: LogSpec,
        /// What becomes of requests when there are more than the node can serve.
        section overload: OverloadSpec,
        /// How a change is tried before it is live for all, and watched afterwards.
        section publish: PublishSpec,
        /// What is known of addresses: countries and networks.
        section geo: GeoSpec,
        /// Anything that a zone may say except `name`, `hostnames` and `id`; tables merge, and the zone wins.
        optional zone_defaults: ZoneDefaults,
    }
}

settings! {
    /// `[node]`.
    pub struct NodeSpec in "[node]" {
        /// Folder for what the node keeps, relative to this file.
        plain data_dir: FilePath = FilePath("./rempart-data".to_owned()),
        /// Threads that serve; 0 for one per core.
        plain threads: Count<0, THREADS_MAX> = Count(0),
        /// Folder of zone files (`*.toml`), relative to this file.
        plain zones: FilePath = FilePath("zones".to_owned()),
        /// Unix user to become once the sockets are open.
        optional user: Name,
        /// How long open exchanges may go on after SIGTERM.
        plain drain_ms: Milliseconds<0> = Count(10_000),
        /// How long an edge that was replaced while the node runs, by an upgrade or after it tried a change,
        /// may keep the connections it has. Few of them are kept at a time: beyond eight the oldest gets
        /// `drain_ms`.
        plain linger_ms: Milliseconds<0> = Count(3_600_000),
        /// Keeps a second edge process ready, compiled and idle, that takes over at once when the serving one
        /// dies. It takes about as much memory as the serving one has after its start.
        plain spare: bool = true,
        /// Most memory for what visitors make the node hold: request heads, and pieces of bodies that wait. 0
        /// for half of the machine's memory. At it new requests get 503 (`overload`), and transfers whose
        /// visitors do not keep up are ended; one zone may hold half of it.
        plain memory_budget_bytes: Size = Size(0),
        /// The node's name in logs, `Via` and `CDN-Loop`.
        plain name: Name = Name("rempart".to_owned()),
        /// Addresses whose `X-Forwarded-*` and `Forwarded` are believed, such as those of a CDN in front.
        plain trusted_proxies: List<Cidr> = List(Vec::new()),
        /// Name servers that lists of the firewall's `@rbl` are asked at, as address and port; at most 3. By
        /// default those of `resolv.conf`, but most lists answer no public ones.
        plain list_servers: List<Text> = List(Vec::new()),
    }
}

settings! {
    /// `[[listener]]`.
    pub struct ListenerSpec in "[[listener]]" {
        /// IP address and port; `[::]:443` takes IPv6 only, so write one listener for each family.
        required address: Text,
        /// What it speaks.
        required protocol: ListenerProtocol,
        /// Expects the PROXY protocol (version 1 or 2) before each connection.
        plain proxy_protocol: bool = false,
        /// Addresses that the PROXY protocol is accepted from; others are refused.
        plain trusted: List<Cidr> = List(Vec::new()),
        /// Accepts HTTP/2 by prior knowledge; only for `protocol = "http"`.
        plain h2c: bool = false,
        /// Serves HTTP/3 on the UDP port of the same number; only for `protocol = "https"`, where it is the
        /// default.
        optional http3: bool,
    }
}

settings! {
    /// `[admin]`.
    pub struct AdminSpec in "[admin]" {
        /// IP address and port of health and metrics; without it there is no such listener.
        optional address: Text,
    }
}

settings! {
    /// `[cache]` of the node.
    pub struct NodeCacheSpec in "[cache]" {
        /// Memory for stored answers, taken once a zone's cache is on; up to a quarter more while visitors
        /// still read what was evicted. 0 switches all caches off.
        plain memory_bytes: Size = Size(256 << 20),
        /// Disk for stored answers, so that they survive a restart; 0 for memory alone. At least 64 MiB.
        plain disk_bytes: Size = Size(10 << 30),
        /// Folder for stored answers, relative to this file; without it `cache` in the data folder.
        optional disk_folder: FilePath,
    }
}

settings! {
    /// `[log]`.
    pub struct LogSpec in "[log]" {
        /// `"stdout"`, `"off"`, or a file relative to this one; one JSON object a line.
        plain access: FilePath = FilePath("stdout".to_owned()),
        /// Leaves query strings out.
        plain redact_query: bool = false,
        /// Cuts visitors' addresses to /24 (IPv4) or /48 (IPv6).
        plain truncate_addresses: bool = false,
    }
}

settings! {
    /// `[overload]`.
    pub struct OverloadSpec in "[overload]" {
        /// How late a serving thread may be for long, in milliseconds of its own CPU time; beyond it visitors
        /// who were not served before, and zones above their share, are told to come back (503,
        /// `overload`), until it is late by at most 50 ms. 0: never.
        plain delay_ms: Count<0, 10_000> = Count(400),
        /// Zones that get more of a thread's time and of its places for connections than others, when all
        /// want more than there is.
        plain zone: List<ZoneWeightSpec> = List(Vec::new()),
    }
}

settings! {
    /// One of `[[overload.zone]]`.
    pub struct ZoneWeightSpec in "[[overload.zone]]" {
        /// The zone's name.
        required name: Name,
        /// Its share, relative to the others, which have 1.
        plain weight: Count<1, WEIGHT_MAX> = Count(1),
    }
}

settings! {
    /// `[publish]`.
    pub struct PublishSpec in "[publish]" {
        /// How long the candidate decides on copies of live requests before it serves any.
        plain compare_ms: Milliseconds<0> = Count(2_000),
        /// The share of visitors, by prefix of their address, that the candidate serves; 0 leaves this stage
        /// out.
        plain canary_percent: Count<0, 50> = Count(5),
        /// How long the candidate serves its share.
        plain canary_ms: Milliseconds<0> = Count(8_000),
        /// How long a live change is watched before it is the last good one, and is withdrawn by itself when
        /// it does worse than the one before.
        plain soak_ms: Milliseconds<0> = Count(600_000),
        /// Requests that a comparison needs to speak; with fewer, probes and time decide, and the event says
        /// so.
        plain requests_min: Count<1, 1_000_000> = Count(200),
        /// The share of zones, hostnames, pools or origins that a change may remove without an explicit word.
        plain removals_percent_max: Count<0, 100> = Count(50),
        /// Processor time that a candidate may take to compile, in seconds.
        plain compile_cpu_s: Count<1, 3_600> = Count(60),
        /// Memory that a candidate may take.
        plain compile_memory_bytes: Size = Size(4 << 30),
    }
}

/// What becomes of requests when there are more than can be served: `[overload]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overload {
    /// How late a serving thread may be for long, in milliseconds; 0 for as late as it gets.
    pub delay_ms: u64,
    /// Names of zones and their weights; a zone that is not here has 1.
    pub weights: Vec<(String, u32)>,
}

impl Overload {
    /// The weight of a zone.
    #[must_use]
    pub fn weight_of(&self, zone: &str) -> u32 {
        self.weights.iter().find(|(name, _)| name == zone).map_or(1, |(_, weight)| *weight)
    }
}

/// How a change is tried before it is live for all, and watched afterwards: `[publish]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stages {
    /// How long the candidate decides on copies of live requests, in milliseconds.
    pub compare_ms: u64,
    /// The candidate's share of visitors, 0 to 50.
    pub canary_percent: u8,
    /// How long it serves them, in milliseconds.
    pub canary_ms: u64,
    /// How long a live change is watched, in milliseconds.
    pub soak_ms: u64,
    /// Requests that a comparison needs to speak.
    pub requests_min: u64,
    /// The share that may be removed without an explicit word, 0 to 100.
    pub removals_percent_max: u8,
    /// Processor time of a compilation, in seconds.
    pub compile_cpu_s: u64,
    /// Memory of a candidate, in bytes.
    pub compile_memory_bytes: u64,
}

/// `[zone_defaults]`: only its being there is noted here; it is read as the layer behind each zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZoneDefaults;

impl Setting for ZoneDefaults {
    fn kind() -> String {
        "a table of zone settings".to_owned()
    }

    fn read(entry: crate::read::Entry<'_>, report: &mut Report) -> Option<Self> {
        if entry.section().is_none() {
            entry.report_type("a table", report);
            return None;
        }
        Some(Self)
    }

    fn shown(&self) -> String {
        "{}".to_owned()
    }

    fn inside(_path: &str, _rows: &mut Vec<Row>) {}
}

/// A node's own settings, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Folder for what the node keeps, resolved against the node file's folder.
    pub data_dir: String,
    /// Threads that serve; 0 for one per core.
    pub threads: usize,
    /// Folder of zone files, resolved.
    pub zones: String,
    /// Unix user to become.
    pub user: Option<String>,
    /// How long open exchanges may go on after SIGTERM, in milliseconds.
    pub drain_ms: u64,
    /// How long a replaced edge may keep its connections, in milliseconds.
    pub linger_ms: u64,
    /// Whether an idle edge stands ready to take over.
    pub spare: bool,
    /// Most memory for what visitors make the node hold, in bytes; 0 for half of the machine's.
    pub memory_budget_bytes: u64,
    /// The node's name.
    pub name: String,
    /// Addresses whose forwarding headers are believed.
    pub trusted_proxies: Vec<Cidr>,
    /// Name servers that lists of `@rbl` are asked at; empty for those of `resolv.conf`.
    pub list_servers: Vec<SocketAddr>,
    /// 1 to [`LISTENERS_MAX`] listeners, no two alike.
    pub listeners: Vec<Listener>,
    /// Address of health and metrics.
    pub admin: Option<SocketAddr>,
    /// Memory for stored answers, in bytes.
    pub cache_memory_bytes: u64,
    /// Disk for stored answers, in bytes.
    pub cache_disk_bytes: u64,
    /// Folder for stored answers, resolved.
    pub cache_disk_folder: String,
    /// Where the access log goes.
    pub access_log: AccessLog,
    /// Whether query strings are left out of it.
    pub redact_query: bool,
    /// Whether visitors' addresses are cut to /24 or /48 in it.
    pub truncate_addresses: bool,
    /// What becomes of requests when there are more than can be served.
    pub overload: Overload,
    /// How a change is tried and watched.
    pub stages: Stages,
    /// What the person should know; all warnings.
    pub warnings: Vec<Problem>,
    /// Where some of it was written.
    pub written: Written,
}

/// Where in the node file that was written which only a machine can judge; its beginning for what was not
/// written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// `user`.
    pub user: Place,
    /// `[log] access`.
    pub access_log: Place,
    /// The `name` of each `[[overload.zone]]`, as in [`Overload::weights`].
    pub weights: Vec<Place>,
}

/// A socket that visitors come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Address and port; port 0 lets the system choose.
    pub address: SocketAddr,
    /// What it speaks.
    pub protocol: ListenerProtocol,
    /// Whether the PROXY protocol comes first.
    pub proxy_protocol: bool,
    /// Who may send the PROXY protocol.
    pub trusted: Vec<Cidr>,
    /// Whether HTTP/2 by prior knowledge is accepted.
    pub h2c: bool,
    /// Whether HTTP/3 is served on the same UDP port.
    pub http3: bool,
}

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// To standard output.
    Stdout,
    /// To a file, resolved against the node file's folder.
    File(String),
}

/// The folder of zone files that a node file names, or the one it has when it names none, whatever else is
/// wrong with it: so that one look tells what is wrong with the zones, too.
pub fn zones_folder_of(source: &Source) -> String {
    let mut unsaid = Report::default();
    let table = parse(0, &source.bytes, &mut unsaid);
    let section = match &table {
        Some(table) => Section::whole(0, table),
        None => Section::unwritten(Place::default()),
    };
    resolved(&source.name, &NodeFileSpec::from_section(section, &mut unsaid).node.zones.0)
}

/// Reads and checks the node file. What stands under `[zone_defaults]` is not judged here but when zones are
/// compiled.
///
/// # Errors
/// Every problem, if one of them is an error.
pub fn compile_node(source: &Source) -> Result<Node, Vec<Problem>> {
    let mut report = Report::default();
    let table = parse(0, &source.bytes, &mut report);
    let file = match &table {
        Some(table) => NodeFileSpec::from_section(Section::whole(0, table), &mut report),
        None => NodeFileSpec::from_section(Section::unwritten(Place::default()), &mut report),
    };
    let at = |path: &str| resolved(&source.name, path);
    let ranges = |list: &Placed<List<Cidr>>, report: &mut Report| -> Vec<Cidr> {
        if list.0.len() > RANGES_MAX {
            report.error(list.place, format!("more than {RANGES_MAX} address ranges"));
        }
        list.0.iter().map(|cidr| cidr.value).collect()
    };
    let trusted_proxies = ranges(&file.node.trusted_proxies, &mut report);
    if file.node.list_servers.0.len() > LIST_SERVERS_MAX {
        let message = format!("more than {LIST_SERVERS_MAX} name servers");
        report.error(file.node.list_servers.place, message);
    }
    let servers = file.node.list_servers.0.iter().take(LIST_SERVERS_MAX);
    let list_servers = servers.filter_map(|text| address(text, "127.0.0.1", &mut report)).collect();
    let mut listeners: Vec<Listener> = Vec::new();
    if report.errors() == 0 && file.listener.0.is_empty() {
        report.error_with(
            Place::default(),
            "the node has no listener",
            "write a [[listener]] with address = \"0.0.0.0:80\" and protocol = \"http\"",
        );
    }
    if file.listener.0.len() > LISTENERS_MAX {
        report.error(file.listener.place, format!("more than {LISTENERS_MAX} listeners"));
    }
    for spec in file.listener.0.iter().take(LISTENERS_MAX) {
        let trusted = ranges(&spec.trusted, &mut report);
        let Some(listener) = listener(&spec.value, trusted, &mut report) else { continue };
        let is_taken = |other: &Listener| listener.address.port() != 0 && other.address == listener.address;
        if listeners.iter().any(is_taken) {
            report.error(spec.place, format!("{} has a listener already", listener.address));
        }
        listeners.push(listener);
    }
    let admin = file.admin.address.as_ref().and_then(|text| address(text, "127.0.0.1", &mut report));
    if let (Some(admin), Some(text)) = (admin, &file.admin.address) {
        if listeners.iter().any(|listener| admin.port() != 0 && listener.address == admin) {
            report.error(text.place, format!("{admin} has a listener already"));
        }
        if !admin.ip().is_loopback() {
            let message = "the admin address can be reached from outside";
            report.warning(text.place, message, "bind 127.0.0.1 unless a firewall stands before it");
        }
    }
    const CACHE_MEMORY: (u64, &str) = (8 << 20, "8MiB");
    const CACHE_DISK: (u64, &str) = (64 << 20, "64MiB");
    for (size, (least, text)) in
        [(&file.cache.memory_bytes, CACHE_MEMORY), (&file.cache.disk_bytes, CACHE_DISK)]
    {
        if size.0 != 0 && size.0 < least {
            report.error(size.place, format!("this must be 0, or at least {text}"));
        }
    }
    let access_log = match file.log.access.0.as_str() {
        "off" => AccessLog::Off,
        "stdout" => AccessLog::Stdout,
        path => AccessLog::File(at(path)),
    };
    let mut weights: Vec<(String, u32)> = Vec::new();
    let mut written = Written {
        user: file.node.user.as_ref().map_or_else(Place::default, |user| user.place),
        access_log: file.log.access.place,
        weights: Vec::new(),
    };
    for spec in &file.overload.zone.0 {
        let Some(name) = &spec.name else { continue };
        if weights.iter().any(|(other, _)| *other == name.0) {
            report.error(name.place, format!("{} has a weight already", name.0));
        }
        weights.push((name.0.clone(), u32::try_from(spec.weight.0).unwrap_or(1)));
        written.weights.push(name.place);
    }
    let errors = report.errors();
    let problems = report.finish(&[(&source.name, &source.bytes)]);
    if errors > 0 {
        return Err(problems);
    }
    Ok(Node {
        data_dir: at(&file.node.data_dir.0),
        threads: usize::try_from(file.node.threads.0).unwrap_or(0),
        zones: at(&file.node.zones.0),
        user: file.node.user.as_ref().map(|user| user.0.clone()),
        drain_ms: file.node.drain_ms.0,
        linger_ms: file.node.linger_ms.0,
        spare: file.node.spare.value,
        memory_budget_bytes: file.node.memory_budget_bytes.0,
        name: file.node.name.0.clone(),
        trusted_proxies,
        list_servers,
        listeners,
        admin,
        cache_memory_bytes: file.cache.memory_bytes.0,
        cache_disk_bytes: file.cache.disk_bytes.0,
        cache_disk_folder: file
            .cache
            .disk_folder
            .as_ref()
            .map_or_else(|| format!("{}/cache", at(&file.node.data_dir.0)), |folder| at(&folder.0)),
        overload: Overload { delay_ms: file.overload.delay_ms.0, weights },
        access_log,
        redact_query: file.log.redact_query.value,
        truncate_addresses: file.log.truncate_addresses.value,
        stages: stages(&file.publish),
        warnings: problems,
        written,
    })
}

fn stages(spec: &PublishSpec) -> Stages {
    let percent = |value: u64| u8::try_from(value).unwrap_or(100);
    Stages {
        compare_ms: spec.compare_ms.0,
        canary_percent: percent(spec.canary_percent.0),
        canary_ms: spec.canary_ms.0,
        soak_ms: spec.soak_ms.0,
        requests_min: spec.requests_min.0,
        removals_percent_max: percent(spec.removals_percent_max.0),
        compile_cpu_s: spec.compile_cpu_s.0,
        compile_memory_bytes: spec.compile_memory_bytes.0,
    }
}

fn listener(spec: &ListenerSpec, trusted: Vec<Cidr>, report: &mut Report) -> Option<Listener> {
    let is_https = spec.protocol.as_ref().is_some_and(|protocol| **protocol == ListenerProtocol::Https);
    if spec.h2c.value && is_https {
        report.error_with(
            spec.h2c.place,
            "h2c is for cleartext",
            "leave it out; https negotiates HTTP/2 by itself",
        );
    }
    if let Some(http3) = &spec.http3
        && http3.value
        && !is_https
    {
        report.error(http3.place, "HTTP/3 needs protocol = \"https\"");
    }
    if spec.proxy_protocol.value && trusted.is_empty() {
        report.error_with(
            spec.proxy_protocol.place,
            "the PROXY protocol needs senders to trust",
            "write trusted = [\"10.0.0.0/8\"] with the addresses of your balancer",
        );
    }
    if !spec.proxy_protocol.value && !trusted.is_empty() {
        report.error_with(
            spec.trusted.place,
            "`trusted` is for the PROXY protocol",
            "write proxy_protocol = true; for headers see trusted_proxies of [node]",
        );
    }
    let address = address(spec.address.as_ref()?, "0.0.0.0", report)?;
    let protocol = spec.protocol.as_ref()?.value;
    let http3 = spec.http3.as_ref().map_or(is_https && !spec.proxy_protocol.value, |http3| http3.value);
    Some(Listener {
        address,
        protocol,
        proxy_protocol: spec.proxy_protocol.value,
        trusted,
        h2c: spec.h2c.value,
        http3,
    })
}

/// Reads an address with its port; who writes a port alone is told `ip` before it.
fn address(text: &Placed<Text>, ip: &str, report: &mut Report) -> Option<SocketAddr> {
    let written = text.0.as_str();
    if let Ok(address) = written.parse() {
        return Some(address);
    }
    let message = format!("{} is no IP address with a port", quoted(written));
    let port =
        [":", "*:", "localhost:"].iter().find_map(|host| written.strip_prefix(host)).unwrap_or(written);
    let ip = if written.starts_with("localhost") { "127.0.0.1" } else { ip };
    match port.parse::<u16>() {
        Ok(port) => report.error_with(text.place, message, format!("did you mean \"{ip}:{port}\"?")),
        Err(_) => report.error_with(text.place, message, "such as \"0.0.0.0:80\" or \"[::]:80\""),
    }
    None
}

/// Cuts `[zone_defaults]` and `[geo]` out of a node file, for a bundle: all other tables become spaces, so
/// that lines and columns stay what they are while nothing of the machine travels. Keys before the first
/// table header stay if one of the two is among them; compiling looks at nothing else.
///
/// A file whose syntax is broken comes back whole, so that compiling tells its problems. `None` if it has
/// neither.
#[must_use]
pub fn defaults_of(source: &Source) -> Option<Source> {
    const KEYS: [&str; 2] = ["zone_defaults", geo::KEY];
    let root = std::str::from_utf8(&source.bytes).ok().and_then(|text| DeTable::parse(text).ok());
    let Some(root) = root else { return Some(source.clone()) };
    // Each header with whether it is one of the defaults'; the part before the first header comes first.
    let kept = || KEYS.iter().filter_map(|key| root.get_ref().get_key_value(*key));
    kept().next()?;
    let is_first = kept()
        .any(|(key, value)| !is_header(source, value.span().start) && is_before_headers(source, key.span()));
    let mut parts = vec![(0, is_first)];
    let mut left: Vec<(bool, &Spanned<DeValue<'_>>)> =
        root.get_ref().iter().map(|(key, value)| (KEYS.contains(&&**key.get_ref()), value)).collect();
    while let Some((is_kept, value)) = left.pop() {
        match value.get_ref() {
            DeValue::Table(table) => {
                if is_header(source, value.span().start) {
                    parts.push((value.span().start, is_kept));
                }
                left.extend(table.values().map(|value| (is_kept, value)));
            }
            DeValue::Array(array) => left.extend(array.iter().map(|value| (is_kept, value))),
            _ => {}
        }
    }
    parts.sort_unstable();
    let mut bytes = source.bytes.clone();
    for (index, (start, is_kept)) in parts.iter().enumerate() {
        let end = parts.get(index + 1).map_or(bytes.len(), |(next, _)| *next);
        if !is_kept && let Some(part) = bytes.get_mut(*start..end) {
            part.iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        }
    }
    Some(Source { name: source.name.clone(), bytes })
}

/// Says whether a table's span begins at a header; an inline one begins at its brace, an implied one at a
/// key.
fn is_header(source: &Source, start: usize) -> bool {
    source.bytes.get(start) == Some(&b'[')
}

/// Says whether a key of the root is written before the first header, not inside one (`[zone_defaults.tls]`).
fn is_before_headers(source: &Source, key: std::ops::Range<usize>) -> bool {
    let line = source.bytes.get(..key.start).unwrap_or(b"");
    let line = line.rsplit(|byte| *byte == b'\n').next().unwrap_or(b"");
    !line.trim_ascii_start().starts_with(b"[")
}

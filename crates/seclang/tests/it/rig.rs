//! CRS from the folder of `REMPART_CRS`, requests as bytes, and a transaction run from its first phase to its
//! last.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use fuel::Fuel;
use seclang::{
    Connection, EngineMode, Files, Loader, Options, Phase, RuleSet, Scores, Transaction, Workspace,
};
pub(crate) use testkit::crs::{Reply, Request, folder as crs_folder};

/// Files of the disk below a folder.
pub(crate) struct Disk(pub(crate) PathBuf);

impl Files for Disk {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        std::fs::read(self.0.join(path)).map_err(|error| error.to_string())
    }

    fn list(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.0.join(folder)) else { return Vec::new() };
        let join = |name: String| if folder.is_empty() { name } else { format!("{folder}/{name}") };
        entries.flatten().map(|entry| join(entry.file_name().to_string_lossy().into_owned())).collect()
    }
}

/// What CRS's own test setup adds: readers of bodies by content type, and limits.
const SETUP: &str = r#"
SecRuleEngine DetectionOnly
SecRequestBodyAccess On
SecResponseBodyAccess On
SecResponseBodyMimeType text/plain text/html text/xml application/json
SecArgumentsLimit 10000
SecRule REQUEST_HEADERS:Content-Type "^(?:application(?:/soap\+|/)|text/)xml" \
  "id:200000,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=XML"
SecRule REQUEST_HEADERS:Content-Type "^application/json" \
  "id:200001,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
SecRule REQUEST_HEADERS:Content-Type "^application/[a-z0-9.-]+[+]json" \
  "id:200006,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
"#;

const LIMITS: &str = r#"
SecAction "id:900500,phase:1,pass,nolog,\
  setvar:tx.blocking_paranoia_level=4,\
  setvar:tx.crs_validate_utf8_encoding=1,\
  setvar:tx.arg_name_length=100,\
  setvar:tx.arg_length=400,\
  setvar:tx.total_arg_length=64000,\
  setvar:tx.max_num_args=255,\
  setvar:tx.max_file_size=64100,\
  setvar:tx.combined_file_sizes=65535"
"#;

/// Loads CRS with these texts before it.
pub(crate) fn load_crs(folder: &Path, before: &[&str]) -> RuleSet {
    let disk = Disk(folder.to_owned());
    let mut loader = Loader::new(&disk);
    for (number, text) in before.iter().enumerate() {
        loader.text(&format!("before-{number}.conf"), text);
    }
    loader.file("crs-setup.conf.example");
    loader.file("rules/*.conf");
    loader.finish().unwrap_or_else(|error| panic!("CRS does not load:\n{error}"))
}

/// CRS without levels and limits of its own, for callers that preset them.
pub(crate) fn base_rules(folder: &Path) -> RuleSet {
    load_crs(folder, &[SETUP])
}

/// CRS as its regression cases want it, loaded once.
pub(crate) fn regression_rules(folder: &Path) -> Arc<RuleSet> {
    static RULES: OnceLock<Arc<RuleSet>> = OnceLock::new();
    Arc::clone(RULES.get_or_init(|| Arc::new(load_crs(folder, &[SETUP, LIMITS]))))
}

/// What one transaction came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Ids of all recorded matches, in order.
    pub(crate) ids: Vec<u64>,
    /// Ids with the variables they matched.
    pub(crate) found: Vec<String>,
    /// Lines as ModSecurity would log them.
    pub(crate) log: String,
    pub(crate) scores: Scores,
    pub(crate) fuel_used: u64,
}

/// How a body is fed and how rules are evaluated.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manner {
    pub(crate) is_plain: bool,
    /// Bytes of a chunk; 0 for the whole at once.
    pub(crate) chunk_bytes: usize,
    pub(crate) mode: Option<EngineMode>,
    /// Variables of `TX` set before the rules run.
    pub(crate) presets: Vec<(&'static str, &'static str)>,
}

/// Steps no case of these tests may use up: a hundred times the dearest one.
pub(crate) const TANK: u64 = 20_000_000_000;

/// Runs a request and the answer through all five phases.
pub(crate) fn run(
    set: &Arc<RuleSet>,
    request: &Request,
    response: &Reply,
    manner: &Manner,
    work: &mut Workspace,
) -> Verdict {
    let connection = Connection {
        client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        client_port: 50_000,
        server: IpAddr::V4(Ipv4Addr::LOCALHOST),
        server_port: 80,
        unique_id: "4a5b6c7d8e9f",
        now_s: 1_790_000_000,
    };
    let options = Options { is_plain: manner.is_plain, mode: manner.mode, ..Options::default() };
    let mut fuel = Fuel::new(TANK);
    let mut transaction = Transaction::new(Arc::clone(set), &connection, &options);
    for (name, value) in &manner.presets {
        transaction.preset(name, value.as_bytes());
    }
    transaction.request_line(&request.method, &request.target, &request.version);
    for (name, value) in &request.headers {
        transaction.request_header(name, value);
    }
    let mut whole = |transaction: &mut Transaction, phase, fuel: &mut Fuel| {
        transaction.inspect_whole(phase, work, fuel).expect("the tank holds enough");
    };
    whole(&mut transaction, Phase::RequestHead, &mut fuel);
    for chunk in request.body.chunks(manner.chunk_bytes.max(1).max(if manner.chunk_bytes == 0 {
        usize::MAX
    } else {
        0
    })) {
        transaction.request_body(chunk, &mut fuel).expect("the tank holds enough");
    }
    whole(&mut transaction, Phase::RequestBody, &mut fuel);
    transaction.response_line(response.status, b"HTTP/1.1");
    for (name, value) in &response.headers {
        transaction.response_header(name.as_bytes(), value.as_bytes());
    }
    whole(&mut transaction, Phase::ResponseHead, &mut fuel);
    transaction.response_body(&response.body, &mut fuel).expect("the tank holds enough");
    whole(&mut transaction, Phase::ResponseBody, &mut fuel);
    whole(&mut transaction, Phase::Logging, &mut fuel);
    let mut log = String::new();
    for found in transaction.matches().iter().filter(|found| found.is_logged) {
        let tags: Vec<String> = found.tags.iter().map(|tag| format!("[tag \"{tag}\"] ")).collect();
        log.push_str(&format!(
            "[file \"{}\"] [line \"{}\"] [id \"{}\"] [msg \"{}\"] [data \"{}\"] {}\n",
            found.file,
            found.line,
            found.id,
            found.msg,
            found.data,
            tags.concat()
        ));
    }
    for (_, message) in transaction.values("REQBODY_ERROR_MSG") {
        log.push_str(&String::from_utf8_lossy(message));
        log.push('\n');
    }
    let found = transaction.matches().iter().map(|found| {
        let names: Vec<&str> = found.variables.iter().map(|variable| variable.name.as_str()).collect();
        format!("{} {}", found.id, names.join(","))
    });
    Verdict {
        ids: transaction.matches().iter().filter(|found| found.is_logged).map(|found| found.id).collect(),
        found: found.collect(),
        log,
        scores: transaction.scores(),
        fuel_used: fuel.used(),
    }
}

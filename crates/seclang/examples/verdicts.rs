//! Plays requests through OWASP CRS and prints which rules logged a match, for comparison with other engines.
//!
//! Called by `tests/oracles/seclang_engine.py` as `verdicts CRS-FOLDER SETUP-FILE`, whose setup is loaded
//! before CRS. A line of input is a JSON object: `method`, `target`, `version`, `headers` (pairs), `body`,
//! `status`, `answer_headers` and `answer`, with every text in hexadecimal; a line of output is the list of
//! ids, sorted.

use std::io::{BufRead, BufWriter, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use fuel::Fuel;
use seclang::transform::Transformation;
use seclang::{Connection, Files, Loader, Options, Phase, RuleSet, Transaction, Workspace};
use serde_json::Value;

/// Files of the disk below a folder.
struct Disk(PathBuf);

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

/// Steps that no request of a comparison uses up.
const TANK: u64 = 200_000_000_000;

fn bytes(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    Transformation::HexDecode.apply(value.as_str().unwrap_or_default().as_bytes(), &mut out);
    out
}

fn pairs(value: &Value) -> Vec<(Vec<u8>, Vec<u8>)> {
    let pairs = value.as_array().map(Vec::as_slice).unwrap_or_default();
    pairs.iter().map(|pair| (bytes(&pair[0]), bytes(&pair[1]))).collect()
}

/// The ids of the rules that logged a match.
fn verdict(set: &Arc<RuleSet>, request: &Value, work: &mut Workspace) -> Result<Vec<u64>, fuel::Spent> {
    let connection = Connection {
        client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        client_port: 50_000,
        server: IpAddr::V4(Ipv4Addr::LOCALHOST),
        server_port: 80,
        unique_id: "4a5b6c7d8e9f",
        now_s: 1_790_000_000,
    };
    let mut fuel = Fuel::new(TANK);
    let mut transaction = Transaction::new(Arc::clone(set), &connection, &Options::default());
    let field = |name: &str| bytes(&request[name]);
    transaction.request_line(&field("method"), &field("target"), &field("version"));
    for (name, value) in pairs(&request["headers"]) {
        transaction.request_header(&name, &value);
    }
    transaction.inspect_whole(Phase::RequestHead, work, &mut fuel)?;
    transaction.request_body(&field("body"), &mut fuel)?;
    transaction.inspect_whole(Phase::RequestBody, work, &mut fuel)?;
    let status = request["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(200);
    transaction.response_line(status, b"HTTP/1.1");
    for (name, value) in pairs(&request["answer_headers"]) {
        transaction.response_header(&name, &value);
    }
    transaction.inspect_whole(Phase::ResponseHead, work, &mut fuel)?;
    transaction.response_body(&field("answer"), &mut fuel)?;
    transaction.inspect_whole(Phase::ResponseBody, work, &mut fuel)?;
    transaction.inspect_whole(Phase::Logging, work, &mut fuel)?;
    let mut ids: Vec<u64> =
        transaction.matches().iter().filter(|found| found.is_logged).map(|found| found.id).collect();
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(crs), Some(setup)) = (arguments.next(), arguments.next()) else {
        return Err("usage: verdicts CRS-FOLDER SETUP-FILE < requests".into());
    };
    let disk = Disk(crs.into());
    let mut loader = Loader::new(&disk);
    loader.text("setup.conf", &std::fs::read_to_string(setup)?);
    loader.file("crs-setup.conf.example");
    loader.file("rules/*.conf");
    let set = Arc::new(loader.finish().map_err(|error| error.to_string())?);
    let mut work = Workspace::default();
    let mut out = BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let request = serde_json::from_str(&line?)?;
        match verdict(&set, &request, &mut work) {
            Ok(ids) => writeln!(out, "{}", serde_json::to_string(&ids)?)?,
            Err(spent) => writeln!(out, "\"{spent}\"")?,
        }
    }
    out.flush()?;
    Ok(())
}

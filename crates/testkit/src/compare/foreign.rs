//! A visitor that nobody here wrote, to compare sites over HTTP/3: a script on aioquic, told by lines of
//! JSON.
//!
//! The script is `tests/clients/http3_site.py`, whose first lines describe what is said. It judges nothing.
//! Called by [`super::perform`]. Read next: that script.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::Outcome;
use super::perform::multiplexed_fields;
use crate::fields::Fields;
use crate::gate::Gate;
use crate::site::{Call, Kind, Site};
use crate::visitor::Informational;
use crate::websocket::{Frame, FrameReader};

/// A running script; ended on drop.
pub struct ForeignVisitor {
    port: u16,
    ends: Mutex<Ends>,
}

struct Ends {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Drop for Ends {
    fn drop(&mut self) {
        // One that ended by itself already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl ForeignVisitor {
    /// Starts the script by a Python that has its libraries. The node listens at `address`, on 127.0.0.1,
    /// with a certificate for `hostname` of the authority in the file `ca`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        python: &Path,
        script: &Path,
        address: SocketAddr,
        hostname: &str,
        ca: &Path,
    ) -> Result<ForeignVisitor> {
        let facts = json!({ "host": hostname, "https": address.port(), "ca": ca });
        let mut child = Command::new(python)
            .arg("-u")
            .arg(script)
            .arg(facts.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {} with {}", script.display(), python.display()))?;
        let stdin = child.stdin.take().context("stdin is piped")?;
        let stdout = BufReader::new(child.stdout.take().context("stdout is piped")?);
        Ok(ForeignVisitor { port: address.port(), ends: Mutex::new(Ends { child, stdin, stdout }) })
    }

    /// Performs a call whose target is final.
    pub(super) fn perform(&self, site: &Site, call: &Call, gate: Option<Gate>) -> Result<Outcome> {
        let (mut fields, has_body) = multiplexed_fields(call);
        if matches!(call.kind, Kind::WebSocket { .. }) {
            fields.push("sec-websocket-version", "13");
        }
        let list = |fields: &Fields| -> Vec<[String; 2]> {
            fields.iter().map(|(name, value)| [name.to_ascii_lowercase(), value.to_owned()]).collect()
        };
        let (pushed, frames) = match &call.kind {
            Kind::Http => (0, Value::Null),
            Kind::WebSocket { pushed, frames } => {
                let close = Frame::close(1000, "");
                let frames = frames.iter().chain([&close]);
                (*pushed, frames.map(|frame| hex(&frame.to_bytes(Some([1, 2, 3, 4])))).collect())
            }
        };
        let command = json!({
            "method": call.method, "target": call.target, "host": site.hostname, "port": self.port,
            "fields": list(&fields), "has_body": has_body, "body_bytes": call.body.length(),
            "trailers": list(&call.trailers), "pushed": pushed, "frames": frames,
        });
        let ends = &mut *self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.stdin.write_all(format!("{command}\n").as_bytes())?;
        call.body.in_parts(|part| ends.stdin.write_all(part))?;
        ends.stdin.flush()?;
        let mut received = FrameReader::default();
        loop {
            let mut line = String::new();
            if ends.stdout.read_line(&mut line)? == 0 {
                bail!("the foreign visitor ended");
            }
            let said: Value = serde_json::from_str(&line).with_context(|| format!("it said {line:?}"))?;
            if let Some(frame) = said["frame"].as_str() {
                received.add(&bytes(frame)?);
            } else if said["event"] != true {
                return outcome(&said, received, call);
            }
            if let Some(gate) = &gate {
                gate.open();
            }
        }
    }
}

fn outcome(said: &Value, mut received: FrameReader, call: &Call) -> Result<Outcome> {
    if let Some(error) = said["error"].as_str() {
        bail!("{error}");
    }
    let status = |value: &Value| value.as_u64().and_then(|status| u16::try_from(status).ok());
    let status = |value: &Value| status(value).with_context(|| format!("a status in {said}"));
    let early = said["informational"].as_array().map(Vec::as_slice).unwrap_or_default();
    let informational = early
        .iter()
        .map(|one| Ok(Informational { status: status(&one[0])?, fields: fields(&one[1]) }))
        .collect::<Result<_>>()?;
    Ok(Outcome {
        status: status(&said["status"])?,
        informational,
        fields: fields(&said["fields"]),
        length: said["length"].as_u64().unwrap_or_default(),
        sha256: match call.kind {
            Kind::Http => said["sha256"].as_str().unwrap_or_default().to_owned(),
            Kind::WebSocket { .. } => String::new(),
        },
        trailers: fields(&said["trailers"]),
        frames: std::iter::from_fn(|| received.next_frame()).collect(),
        is_websocket: matches!(call.kind, Kind::WebSocket { .. }),
        request: None,
    })
}

fn fields(said: &Value) -> Fields {
    let pairs = said.as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    pairs.iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Result<Vec<u8>> {
    let pair = |at: usize| hex.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..hex.len()).step_by(2).map(|at| pair(at).context("hexadecimal")).collect()
}

//! What is in order in each file and cannot be meant on this machine: told by `check` as warnings.
//!
//! Nothing is refused for it, since files may be checked on another machine than the one they are for. Called
//! by [`crate::commands::check`].

use std::path::Path;

use zone::{AccessLog, ListenerProtocol, Problem, Severity, Snapshot};

use super::NodeFile;
use crate::privileges;

/// Tells every doubt, at the place of the value in the node file.
pub(crate) fn doubts(file: &NodeFile, snapshot: &Snapshot) -> Vec<Problem> {
    let mut told: Vec<Problem> = unserved(file, snapshot).into_iter().collect();
    let zones = snapshot.zones();
    for (name, _) in &file.node.overload.weights {
        if !zones.iter().any(|zone| zone.name == *name) {
            let message = format!("[[overload.zone]]: there is no zone `{name}`: its weight does nothing");
            told.push(doubt(file, Some(name), &message, "write the `name` of a zone, not its hostname"));
        }
    }
    if let Some(user) = &file.node.user
        && !privileges::is_known(user)
    {
        let message = format!("this machine has no user `{user}`: a node would not start");
        told.push(doubt(file, Some(user), &message, &format!("make it with `useradd --system {user}`")));
    }
    if let AccessLog::File(path) = &file.node.access_log {
        let folder = Path::new(path).parent().filter(|folder| !folder.is_dir());
        if let Some(folder) = folder {
            let message = format!("there is no folder {}: nothing would be logged", folder.display());
            let name = Path::new(path).file_name().and_then(|name| name.to_str());
            told.push(doubt(file, name, &message, "make it, writable by the user that runs Rempart"));
        }
    }
    told
}

/// That no visitor could be served at all.
fn unserved(file: &NodeFile, snapshot: &Snapshot) -> Option<Problem> {
    let speaks_tls = file.node.listeners.iter().any(|listener| listener.protocol == ListenerProtocol::Https);
    let (message, suggestion) = if snapshot.zones().is_empty() {
        ("there is no zone: every request is answered 421", "write one into the folder `[node] zones` names")
    } else if speaks_tls && snapshot.zones().iter().all(|zone| zone.tls.certificate.is_none()) {
        (
            "a listener speaks HTTPS and no zone has a certificate: every handshake fails",
            "give a zone `[tls] certificate` and `private_key`",
        )
    } else {
        return None;
    };
    Some(doubt(file, None, message, suggestion))
}

/// A warning at the setting whose value ends in these words; at the file's beginning without them.
fn doubt(file: &NodeFile, value: Option<&str>, message: &str, suggestion: &str) -> Problem {
    let (line, column) = value.and_then(|value| place_of(&file.source.bytes, value)).unwrap_or((1, 1));
    Problem {
        file: file.source.name.clone(),
        line,
        column,
        message: message.to_owned(),
        suggestion: Some(suggestion.to_owned()),
        severity: Severity::Warning,
    }
}

/// Line and column, from 1, of the value of a setting that ends in these words; comments are left out.
fn place_of(bytes: &[u8], value: &str) -> Option<(usize, usize)> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.lines().enumerate().find_map(|(at, line)| {
        let (before, written) = line.split_once('=').filter(|_| !line.trim_start().starts_with('#'))?;
        let said = written.split('#').next()?.trim();
        let is_it = said.trim_matches(['"', '\'']).ends_with(value);
        let blanks = written.len() - written.trim_start().len();
        is_it.then(|| (at + 1, before.chars().count() + 1 + blanks + 1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_where_it_is_written() {
        let text = "[node]\n# user = \"web\"\nuser  = \"web\"\n[log]\naccess = '/var/log/x/a.log' # file\n";
        assert_eq!(place_of(text.as_bytes(), "web"), Some((3, 9)));
        assert_eq!(place_of(text.as_bytes(), "a.log"), Some((5, 10)));
        assert_eq!(place_of(text.as_bytes(), "b.log"), None);
    }
}

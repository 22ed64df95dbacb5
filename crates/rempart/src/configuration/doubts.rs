//! What is in order in each file and cannot be meant on this machine: told by `check` as warnings.
//!
//! Nothing is refused for it, exit code included, since files may be checked on another machine than the one
//! they are for. Called by [`crate::commands::check`].

use std::path::Path;

use zone::problem::{Place, Report};
use zone::{AccessLog, ListenerProtocol, Problem, Snapshot};

use super::NodeFile;
use crate::privileges;

/// Tells every doubt, at the place of the value in the node file.
pub(crate) fn doubts(file: &NodeFile, snapshot: &Snapshot) -> Vec<Problem> {
    let (node, written) = (&file.node, &file.node.written);
    let mut report = Report::default();
    unserved(file, snapshot, &mut report);
    for ((name, _), place) in node.overload.weights.iter().zip(&written.weights) {
        if !snapshot.zones().iter().any(|zone| zone.name == *name) {
            let message = format!("[[overload.zone]]: there is no zone `{name}`: its weight does nothing");
            report.warning(*place, message, "write the `name` of a zone, not its hostname");
        }
    }
    if let Some(user) = &node.user
        && !privileges::is_known(user)
    {
        let message = format!("this machine has no user `{user}`: here the node will not start");
        report.warning(written.user, message, format!("make it with `useradd --system {user}`"));
    }
    if let AccessLog::File(path) = &node.access_log {
        let folder = Path::new(path).parent().filter(|folder| !folder.is_dir());
        if let Some(folder) = folder {
            let message = format!("there is no folder {}: nothing would be logged", folder.display());
            report.warning(written.access_log, message, "make it, writable by the user that runs Rempart");
        }
    }
    report.finish(&[(&file.source.name, &file.source.bytes)])
}

/// That no visitor could be served at all.
fn unserved(file: &NodeFile, snapshot: &Snapshot, report: &mut Report) {
    let speaks_tls = file.node.listeners.iter().any(|listener| listener.protocol == ListenerProtocol::Https);
    if snapshot.zones().is_empty() {
        let message = "there is no zone: every request is answered 421";
        report.warning(Place::default(), message, "write one into the folder `[node] zones` names");
    } else if speaks_tls && snapshot.zones().iter().all(|zone| zone.tls.certificate.is_none()) {
        let message = "a listener speaks HTTPS and no zone has a certificate: every handshake fails";
        report.warning(Place::default(), message, "give a zone `[tls] certificate` and `private_key`");
    }
}

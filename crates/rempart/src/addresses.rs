//! `<data_dir>/addresses.json`: where the node can be reached, for tests, scripts and the demo.
//!
//! Written whole when every listener is served, removed at the start and at the end, so that its being there
//! means that the node is up. It is an interface: add, never rename. Called by [`crate::supervisor`].

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;
use zone::node::ListenerProtocol;

use crate::files::write_whole;

/// Everything one can connect to.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Addresses {
    /// The supervisor's process id: the one to send signals to.
    pub(crate) pid: u32,
    /// The listeners in the node file's order, with real ports.
    pub(crate) listeners: Vec<ListenerAddress>,
    /// Health and metrics, if the node file asks for them.
    pub(crate) admin: Option<SocketAddr>,
    /// The command socket.
    pub(crate) socket: PathBuf,
}

/// One listener.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ListenerAddress {
    /// `http` or `https`.
    pub(crate) protocol: &'static str,
    /// Address and real port.
    pub(crate) address: SocketAddr,
}

/// Writes a listener's protocol as the node file does.
pub(crate) fn protocol_name(protocol: ListenerProtocol) -> &'static str {
    match protocol {
        ListenerProtocol::Http => "http",
        ListenerProtocol::Https => "https",
    }
}

impl Addresses {
    /// Where the file is.
    pub(crate) fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("addresses.json")
    }

    /// Writes it, mode 0600.
    ///
    /// # Errors
    /// When the data folder is not writable.
    pub(crate) fn write(&self, data_dir: &Path) -> Result<()> {
        let path = Self::path(data_dir);
        let text = serde_json::to_vec(self).context("addresses can be written as JSON")?;
        write_whole(&path, &text, 0o600).with_context(|| format!("{} cannot be written", path.display()))
    }

    /// Removes the one of an earlier run.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub(crate) fn remove(data_dir: &Path) -> Result<()> {
        let path = Self::path(data_dir);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{} cannot be removed", path.display()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use testkit::folder::Folder;

    use super::*;

    #[test]
    fn the_file_has_the_shape_that_scripts_read() {
        let folder = Folder::new().unwrap();
        let addresses = Addresses {
            pid: 42,
            listeners: vec![ListenerAddress {
                protocol: protocol_name(ListenerProtocol::Https),
                address: ([127, 0, 0, 1], 8443).into(),
            }],
            admin: Some(([127, 0, 0, 1], 9901).into()),
            socket: "/var/lib/rempart/rempart.sock".into(),
        };
        Addresses::remove(folder.path()).unwrap();
        addresses.write(folder.path()).unwrap();
        let read: serde_json::Value =
            serde_json::from_slice(&fs::read(Addresses::path(folder.path())).unwrap()).unwrap();
        let expected = serde_json::json!({
            "pid": 42,
            "listeners": [{"protocol": "https", "address": "127.0.0.1:8443"}],
            "admin": "127.0.0.1:9901",
            "socket": "/var/lib/rempart/rempart.sock",
        });
        assert_eq!(read, expected);
        Addresses::remove(folder.path()).unwrap();
        assert!(!Addresses::path(folder.path()).exists());
    }
}

//! What a service manager is told: that the node serves, and that it ends (sd_notify(3)).
//!
//! One datagram each to the socket that the environment names; without one there is nobody to tell. Called by
//! [`crate::supervisor`]. Sockets that the service manager made are [`crate::sockets`]' part.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::flags::notify_socket;

/// Says that visitors are served.
pub(crate) fn ready() {
    tell("READY=1\nSTATUS=serving");
}

/// Says that the node drains and ends.
pub(crate) fn stopping() {
    tell("STOPPING=1\nSTATUS=draining");
}

/// Says something for a person who asks the service manager.
pub(crate) fn status(text: &str) {
    tell(&format!("STATUS={text}"));
}

fn tell(text: &str) {
    let Some(path) = notify_socket() else { return };
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    // A service manager that does not listen waits until its time-out and says so itself.
    let _ = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &address));
}

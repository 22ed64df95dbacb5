//! What a service manager is told: that the node serves, and that it ends (sd_notify(3)).
//!
//! One datagram each to the socket that the environment names; without one there is nobody to tell. Called by
//! [`crate::supervisor`] and by [`crate::fd_store`], which has descriptors beside its messages. Sockets that
//! the service manager made are [`crate::sockets`]' part.

use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::flags::notify_socket;

/// How long a service manager may leave a message unread: others wait behind it.
const WAIT: Duration = Duration::from_secs(5);

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
    // A service manager that does not listen waits until its time-out and says so itself.
    let _told = send(text, &[]);
}

/// Sends a message with descriptors beside it; whether there is a service manager that took it.
pub(crate) fn send(text: &str, descriptors: &[BorrowedFd<'_>]) -> bool {
    notify_socket().is_some_and(|path| try_send(&path, text, descriptors).is_ok())
}

fn try_send(path: &OsStr, text: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(WAIT))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let bytes = [IoSlice::new(text.as_bytes())];
    rustix::io::retry_on_intr(|| sendmsg(&socket, &bytes, &mut beside, SendFlags::NOSIGNAL))?;
    Ok(())
}

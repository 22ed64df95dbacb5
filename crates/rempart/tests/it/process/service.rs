//! Under a service manager: its sockets are served, and it is told when the node is ready and when it ends.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use testkit::fields::Fields;
use testkit::folder::Folder;
use testkit::visitor::Visitor;

use super::answers;

#[test]
fn a_service_managers_socket_is_served_and_it_is_told_of_start_and_end() {
    let folder = Folder::new().unwrap();
    let given = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = given.local_addr().unwrap();
    folder.write("zones/a.toml", answers("a", "one")).unwrap();
    let toml = format!(
        "[node]\ndata_dir = \"data\"\nthreads = 2\nspare = false\n[[listener]]\n\
         address = \"{address}\"\nprotocol = \"http\"\n[log]\naccess = \"off\"\n"
    );
    let config = folder.write("rempart.toml", toml).unwrap();
    let told = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    told.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // The shell puts the socket at descriptor 3 and its own process id, which exec keeps, beside it.
    let mut command = Command::new("/bin/bash");
    command
        .args(["-c", "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" serve --config \"$1\""])
        .arg(env!("CARGO_BIN_EXE_rempart"))
        .arg(&config)
        .env("NOTIFY_SOCKET", folder.path().join("notify"))
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(given)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    let mut node = command.spawn().unwrap();
    let next = || {
        let mut bytes = [0; 256];
        let read = told.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    };
    assert!(next().starts_with("READY=1\n"));
    let close = Fields::of(&[("Connection", "close")]);
    let answer = Visitor::tcp(address).unwrap().ask("GET", "/", "example.org", &close, b"").unwrap();
    assert_eq!(answer.text(), "one");
    kill_process(Pid::from_raw(i32::try_from(node.id()).unwrap()).unwrap(), Signal::TERM).unwrap();
    assert!(next().starts_with("STOPPING=1\n"));
    assert!(node.wait().unwrap().success());
}

//! Under a service manager: its sockets are served, and it is told when the node is ready and when it ends.

use std::collections::BTreeMap;
use std::fs;
use std::io::{IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
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
    let mut manager = Keeper::at(&folder.path().join("notify"));
    // The shell puts the socket at descriptor 3 and its own process id, which exec keeps, beside it.
    let mut command = Command::new("/bin/bash");
    command
        .args(["-c", "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" serve --config \"$1\""])
        .arg(env!("CARGO_BIN_EXE_rempart"))
        .arg(&config)
        .env("NOTIFY_SOCKET", folder.path().join("notify"))
        .stdin(Stdio::from(OwnedFd::from(given)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    let mut node = command.spawn().unwrap();
    manager.until("READY=1");
    let close = Fields::of(&[("Connection", "close")]);
    let answer = Visitor::tcp(address).unwrap().ask("GET", "/", "example.org", &close, b"").unwrap();
    assert_eq!(answer.text(), "one");
    kill_process(Pid::from_raw(i32::try_from(node.id()).unwrap()).unwrap(), Signal::TERM).unwrap();
    manager.until("STOPPING=1");
    assert!(node.wait().unwrap().success());
}

/// A service manager that keeps descriptors, as systemd does: by name, the same one once.
struct Keeper {
    socket: UnixDatagram,
    kept: BTreeMap<String, OwnedFd>,
    /// How often one came that it had already.
    again: usize,
}

impl Keeper {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("it can be told");
        socket.set_read_timeout(Some(Duration::from_secs(60))).expect("it can be told");
        Self { socket, kept: BTreeMap::new(), again: 0 }
    }

    /// Does what it is told until it is told this.
    fn until(&mut self, wanted: &str) {
        loop {
            let (text, descriptor) = receive(self.socket.as_fd());
            let name = text.lines().find_map(|line| line.strip_prefix("FDNAME=")).map(str::to_owned);
            match (text.lines().next().expect("it can be told"), name, descriptor) {
                ("FDSTORE=1", Some(name), Some(socket)) => match self.kept.get(&name) {
                    // In the kernel's eyes it is one socket: so each came back to the slot that it had.
                    Some(before) => {
                        assert_eq!(inode(before), inode(&socket), "{name}");
                        self.again += 1;
                    }
                    None => drop(self.kept.insert(name, socket)),
                },
                ("FDSTOREREMOVE=1", Some(name), None) => assert!(self.kept.remove(&name).is_some(), "{name}"),
                // Its end of the pipe is closed as soon as what came before is done.
                ("BARRIER=1", None, Some(pipe)) => drop(pipe),
                (first, ..) if first == wanted => return,
                (first, ..) => assert!(first.starts_with("STATUS="), "{text}"),
            }
        }
    }

    /// Starts the node with what is kept.
    fn start(&self, folder: &Folder) -> Child {
        let (ours, theirs) = UnixDatagram::pair().expect("it can be told");
        let mut command = Command::new(std::env::current_exe().expect("it can be told"));
        command
            .args(["--exact", "process::service::visitors_that_wait_outlive_every_process_of_the_node"])
            .env("REMPART_TEST_BECOMES", folder.path().join("rempart.toml"))
            .env("NOTIFY_SOCKET", folder.path().join("notify"))
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("events")).expect("it can be told"))
            .process_group(0);
        let node = command.spawn().expect("it can be told");
        for (name, socket) in &self.kept {
            send(ours.as_fd(), name, &[socket.as_fd()]);
        }
        send(ours.as_fd(), "all", &[]);
        node
    }
}

/// Becomes the node, with the descriptors that come at standard input, as a service manager's child does.
fn become_node(config: &std::ffi::OsStr) -> ! {
    let (mut names, mut sockets) = (Vec::new(), Vec::new());
    while let (name, Some(socket)) = receive(std::io::stdin().as_fd()) {
        names.push(name);
        // The lowest free one from there on: they stand in a row.
        let given = fcntl_dupfd_cloexec(&socket, 200).expect("it can be told");
        fcntl_setfd(&given, FdFlags::empty()).expect("it can be told");
        sockets.push(given);
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_rempart"));
    command.arg("serve").arg("--config").arg(config).stdin(Stdio::null()).env_remove("REMPART_TEST_BECOMES");
    if let Some(first) = sockets.first() {
        command
            .env("LISTEN_PID", std::process::id().to_string())
            .env("LISTEN_FDS", sockets.len().to_string())
            .env("LISTEN_FDS_FIRST_FD", first.as_raw_fd().to_string())
            .env("LISTEN_FDNAMES", names.join(":"));
    }
    panic!("{}", command.exec());
}

fn receive(from: BorrowedFd<'_>) -> (String, Option<OwnedFd>) {
    let mut bytes = [0; 512];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(from, &mut [IoSliceMut::new(&mut bytes)], &mut beside, RecvFlags::CMSG_CLOEXEC)
        .expect("it can be told")
        .bytes;
    let descriptor = beside.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut rights) => rights.next(),
        _ => None,
    });
    (String::from_utf8_lossy(&bytes[..received]).into_owned(), descriptor)
}

fn send(to: BorrowedFd<'_>, text: &str, descriptors: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(beside.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    sendmsg(to, &[IoSlice::new(text.as_bytes())], &mut beside, SendFlags::empty()).expect("it can be told");
}

fn inode(socket: &OwnedFd) -> u64 {
    rustix::fs::fstat(socket).expect("it can be told").st_ino
}

/// Ends the whole group, however a test ends.
struct Group(Pid);

impl Drop for Group {
    fn drop(&mut self) {
        let _ = kill_process_group(self.0, Signal::KILL);
    }
}

fn group(node: &Child) -> Group {
    Group(Pid::from_raw(i32::try_from(node.id()).expect("it can be told")).expect("it can be told"))
}

fn node_file(listeners: &[(String, &str)]) -> String {
    let mut toml = "[node]\ndata_dir = \"data\"\nthreads = 2\nspare = false\n".to_owned();
    for (address, protocol) in listeners {
        toml.push_str(&format!("[[listener]]\naddress = \"{address}\"\nprotocol = \"{protocol}\"\n"));
    }
    toml + "[log]\naccess = \"off\"\n"
}

fn addresses(folder: &Folder) -> Vec<SocketAddr> {
    let bytes = fs::read(folder.path().join("data/addresses.json")).expect("it can be told");
    let told: Value = serde_json::from_slice(&bytes).expect("it can be told");
    let listeners = told["listeners"].as_array().expect("it can be told").iter();
    listeners
        .map(|listener| {
            listener["address"].as_str().expect("it can be told").parse().expect("it can be told")
        })
        .collect()
}

/// Visitors that have asked while nothing runs.
fn waiting(address: SocketAddr) -> Vec<TcpStream> {
    let ask = |_| {
        let mut visitor = TcpStream::connect(address).expect("it can be told");
        visitor.set_read_timeout(Some(Duration::from_secs(60))).expect("it can be told");
        visitor
            .write_all(b"GET / HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n")
            .expect("it can be told");
        visitor
    };
    (0..20).map(ask).collect()
}

fn all_are_answered(visitors: Vec<TcpStream>) {
    for mut visitor in visitors {
        let mut answer = String::new();
        visitor.read_to_string(&mut answer).expect("it can be told");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("one"), "{answer}");
    }
}

#[test]
fn visitors_that_wait_outlive_every_process_of_the_node() {
    if let Some(config) = std::env::var_os("REMPART_TEST_BECOMES") {
        become_node(&config);
    }
    let folder = Folder::new().unwrap();
    folder.write("zones/a.toml", answers("a", "one")).unwrap();
    let free = "127.0.0.1:0".to_owned();
    let toml = node_file(&[(free.clone(), "http"), (free.clone(), "https"), (free, "http")]);
    folder.write("rempart.toml", toml).unwrap();
    let mut manager = Keeper::at(&folder.path().join("notify"));
    let mut node = manager.start(&folder);
    let first = group(&node);
    manager.until("READY=1");
    let [http, https, removed] = addresses(&folder)[..] else { panic!("three listeners") };
    // Three slots over TCP for two threads, and five over UDP where HTTP/3 is served.
    assert_eq!(manager.kept.len(), 3 + (3 + 5) + 3);

    drop(first);
    node.wait().unwrap();
    let visitors = waiting(http);
    let toml = node_file(&[(http.to_string(), "http"), (https.to_string(), "https")]);
    folder.write("rempart.toml", toml).unwrap();
    let mut node = manager.start(&folder);
    let second = group(&node);
    manager.until("READY=1");
    all_are_answered(visitors);
    assert_eq!((manager.kept.len(), manager.again), (11, 11), "what nobody wants is withdrawn");
    assert!(TcpStream::connect(removed).is_err());
    let events = fs::read_to_string(folder.path().join("events")).unwrap();
    assert!(
        events.contains("\"event\":\"sockets_restored\"") && events.contains("\"sockets\":11"),
        "{events}"
    );
    assert!(
        events.contains("\"event\":\"sockets_withdrawn\"") && !events.contains("socket_not_used"),
        "{events}"
    );

    kill_process(second.0, Signal::TERM).unwrap();
    manager.until("STOPPING=1");
    assert!(node.wait().unwrap().success());
    let visitors = waiting(http);
    let mut node = manager.start(&folder);
    let third = group(&node);
    manager.until("READY=1");
    all_are_answered(visitors);
    assert_eq!((manager.kept.len(), manager.again), (11, 22));
    kill_process(third.0, Signal::TERM).unwrap();
    assert!(node.wait().unwrap().success());
}

//! What a shell or a service manager leaves open is for nobody that the node starts.

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::{Context as _, Result};
use testkit::folder::Folder;
use testkit::node::{Node, NodeSpec};

use super::hand_over::{children_of, replace};
use super::{answers, body};

/// `O_NONBLOCK` of open(2): a pipe's end is opened though nobody has the other one yet.
const NONBLOCK: i32 = 0o4000;

/// A node whose starter left descriptor 9 on a named pipe, and 37 on a socket. Gives the pipe's reading end
/// too, which ends when nobody has descriptor 9 any more.
fn started_untidily(folder: &Folder) -> Result<(Node, fs::File)> {
    let (pipe, binary) = (folder.path().join("pipe"), folder.path().join("rempart"));
    let made = std::process::Command::new("mkfifo").arg(&pipe).status()?;
    anyhow::ensure!(made.success(), "no named pipe");
    let reads = fs::OpenOptions::new().read(true).custom_flags(NONBLOCK).open(&pipe)?;
    let script = format!(
        "#!/bin/bash\nexec 9>{pipe} 37<>/dev/udp/127.0.0.1/9\nreadlink /proc/$$/fd/37 >{socket}\n\
         exec {real} \"$@\"\n",
        pipe = pipe.display(),
        socket = folder.path().join("socket").display(),
        real = folder.path().join("real").display(),
    );
    fs::copy(env!("CARGO_BIN_EXE_rempart"), folder.path().join("real"))?;
    replace(&binary, script.as_bytes());
    let spec = NodeSpec::new().node_section("threads = 2\nspare = true").listener("http");
    let node = Node::start(binary, &spec.zone("a", answers("a", "one")))?;
    node.wait_for_event(|event| event["event"] == "spare_ready")?;
    Ok((node, reads))
}

/// What the descriptors of a process lead to; none where the system does not tell: an edge may not be looked
/// into but by root.
fn descriptors(pid: u32) -> Option<Vec<String>> {
    let all = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let links = all.filter_map(|one| fs::read_link(one.ok()?.path()).ok());
    Some(links.map(|link| link.display().to_string()).collect())
}

fn has(links: &[String], what: &str) -> bool {
    links.iter().any(|link| link == what)
}

#[test]
fn what_the_starting_shell_left_open_reaches_no_child_and_no_newer_binary() {
    let folder = Folder::new().unwrap();
    let (node, mut reads) = started_untidily(&folder).unwrap();
    let pipe = folder.path().join("pipe").display().to_string();
    let socket = fs::read_to_string(folder.path().join("socket")).unwrap().trim().to_owned();
    assert!(socket.starts_with("socket:"), "{socket}");
    // The supervisor itself keeps them: a lock may be held by them.
    let own = descriptors(node.pid()).unwrap();
    assert!(has(&own, &pipe) && has(&own, &socket), "the shell left nothing open: {own:?}");
    let children = children_of(node.pid());
    assert_eq!(children.len(), 2, "an edge and a spare");
    for child in children {
        let Some(links) = descriptors(child) else {
            eprintln!("the descriptors of process {child} were not looked at: that takes root");
            continue;
        };
        assert!(!has(&links, &pipe) && !has(&links, &socket), "process {child} has {links:?}");
        assert!(!links.is_empty());
    }
    let output = node.command(&["upgrade"]).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    node.wait_for_event(|event| event["event"] == "resumed").unwrap();
    // Nobody has the pipe any more: it ends.
    let is_over = || is_at_end(&mut reads.try_clone().unwrap()).unwrap();
    node.wait_until("the end of the pipe", is_over).unwrap();
    assert!(is_at_end(&mut reads).unwrap());
    let own = descriptors(node.pid()).unwrap();
    assert!(!has(&own, &socket), "{own:?}");
    assert_eq!(body(&node).unwrap(), "one");
}

/// Whether nobody has a pipe's writing end.
fn is_at_end(pipe: &mut fs::File) -> Result<bool> {
    match pipe.read(&mut [0; 1]) {
        Ok(0) => Ok(true),
        Ok(_) => anyhow::bail!("somebody wrote into the pipe"),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error).context("the pipe cannot be read"),
    }
}

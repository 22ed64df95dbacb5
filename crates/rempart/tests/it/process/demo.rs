//! The demo: starts with nothing written, serves its site, and leaves nothing running.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use testkit::fields::Fields;
use testkit::folder::Folder;
use testkit::visitor::Visitor;

/// A running demo, killed on drop; its site ends with it, and its edge drains.
struct Demo {
    process: Child,
    /// What it printed until the last line of its announcement.
    announced: String,
}

impl Demo {
    fn start(folder: &Folder) -> Result<Self> {
        let mut process = Command::new(env!("CARGO_BIN_EXE_rempart"))
            .args(["demo", "--http-port", "0", "--https-port", "0", "--admin-port", "0", "--data-dir"])
            .arg(folder.path().join("demo"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let lines = process.stdout.take().context("stdout is piped")?;
        let mut demo = Self { process, announced: String::new() };
        let mut lines = BufReader::new(lines);
        while !demo.announced.contains("rempart publish --wait") {
            if lines.read_line(&mut demo.announced)? == 0 {
                let mut why = String::new();
                demo.process.stderr.take().context("stderr is piped")?.read_to_string(&mut why)?;
                bail!("the demo ended: {why}");
            }
        }
        Ok(demo)
    }

    /// A connection to its cleartext listener.
    fn visit(&self) -> Result<Visitor> {
        let found = self.announced.split_whitespace().find_map(|word| word.strip_prefix("http://127.0.0.1:"));
        let port = found.context("no address was announced")?.parse()?;
        Visitor::tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_demo_serves_its_site_and_ends_cleanly_on_ctrl_c() {
    let folder = Folder::new().unwrap();
    let mut demo = Demo::start(&folder).unwrap();
    let mut visitor = demo.visit().unwrap();
    let page = visitor.ask("GET", "/", "localhost", &Fields::of(&[]), b"").unwrap();
    assert_eq!(page.status, 200);
    assert!(page.text().contains("This page came through Rempart"));
    let echo =
        visitor.ask("POST", "/echo", "localhost", &Fields::of(&[("Content-Length", "5")]), b"hello").unwrap();
    assert_eq!(echo.text(), "hello");
    drop(visitor);
    let pid = Pid::from_raw(i32::try_from(demo.process.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert!(demo.process.wait().unwrap().success());
    assert!(!folder.path().join("demo/site.sock").exists());
}

#[test]
fn a_demo_that_is_killed_leaves_no_edge_behind() {
    let folder = Folder::new().unwrap();
    let mut demo = Demo::start(&folder).unwrap();
    let children = format!("/proc/{0}/task/{0}/children", demo.process.id());
    let children = std::fs::read_to_string(children).unwrap();
    demo.process.kill().unwrap();
    demo.process.wait().unwrap();
    for child in children.split_whitespace() {
        // The site is ended by the demo alone, and this one was killed.
        let name = std::fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
        if name.starts_with("rempart-demo") {
            let pid = Pid::from_raw(child.parse().unwrap()).unwrap();
            kill_process(pid, Signal::KILL).unwrap();
            continue;
        }
        testkit::node::wait_for_end(child.parse().unwrap()).unwrap();
    }
}

#[test]
fn a_second_demo_in_the_same_folder_changes_nothing() {
    let folder = Folder::new().unwrap();
    let demo = Demo::start(&folder).unwrap();
    let file = folder.path().join("demo/rempart.toml");
    let before = std::fs::read(&file).unwrap();
    let second = Command::new(env!("CARGO_BIN_EXE_rempart"))
        .args(["demo", "--http-port", "1", "--data-dir"])
        .arg(folder.path().join("demo"))
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert_eq!(std::fs::read(&file).unwrap(), before);
    let mut visitor = demo.visit().unwrap();
    assert_eq!(visitor.ask("GET", "/headers", "localhost", &Fields::of(&[]), b"").unwrap().status, 200);
}

//! `rempart demo`: a node with a built-in site, for a person who has not written anything yet.
//!
//! Writes a node file, a zone file and certificates into a folder, starts the built-in site as a child, and
//! then is an ordinary supervisor: what it shows is the real thing. Everything it writes can be read,
//! changed and published again. Called by `main`; read next: [`crate::demo_site`] (the site), [`authority`]
//! (the certificates).

use std::fs;
use std::io::{self, Write as _};
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context as _, Result};
use nix::unistd::{User, geteuid};

use crate::addresses::Addresses;
use crate::clock;
use crate::files::write_whole;
use crate::flags::Demo;
use crate::lock::Lock;
use crate::privileges::make_data_dir;
use crate::sockets::bind_command;
use crate::supervisor;

mod authority;

/// Runs the demo until it is told to stop.
///
/// # Errors
/// When the folder cannot be written, a port is taken, or the site cannot be started.
pub(crate) fn run(wanted: &Demo) -> Result<ExitCode> {
    let folder = std::path::absolute(&wanted.data_dir).context("the data folder's path cannot be told")?;
    make_data_dir(&folder, None)?;
    // Before anything is written: another demo may live in the folder.
    let lock = Lock::take(&folder, None)?;
    let files = Files::write(&folder, wanted)?;
    let site = Site::start(&files.site_socket)?;
    let outcome = supervisor::run(&files.node_file, Some(lock), |addresses| files.announce(addresses));
    drop(site);
    outcome.context(
        "the demo cannot start: choose ports with --http-port, --https-port and --admin-port \
         (0 takes free ones), and the folder with --data-dir",
    )
}

/// The built-in site in a process of its own, ended with this value.
struct Site {
    process: Child,
    socket: PathBuf,
}

impl Site {
    fn start(socket: &Path) -> Result<Self> {
        // The same care as for the command socket: one that is in the way is replaced, only its owner may
        // connect.
        let listening: OwnedFd = bind_command(socket)?;
        let child = Command::new("/proc/self/exe")
            .arg0("rempart-demo-site")
            .arg("demo-site-role")
            .stdin(Stdio::from(listening))
            .spawn()
            .context("the built-in site cannot be started")?;
        Ok(Self { process: child, socket: socket.to_owned() })
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // It fails only when the site is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        // One that stays is replaced at the next start.
        let _ = fs::remove_file(&self.socket);
    }
}

/// What the demo writes, and where.
struct Files {
    folder: PathBuf,
    node_file: PathBuf,
    zone_file: PathBuf,
    authority: PathBuf,
    site_socket: PathBuf,
}

impl Files {
    fn write(folder: &Path, wanted: &Demo) -> Result<Self> {
        let files = Self {
            folder: folder.to_owned(),
            node_file: folder.join("rempart.toml"),
            zone_file: folder.join("zones/demo.toml"),
            authority: folder.join("ca.pem"),
            site_socket: folder.join("site.sock"),
        };
        make_data_dir(&folder.join("zones"), None)?;
        authority::prepare(folder, clock::unix_us() / 1_000_000)?;
        let user = User::from_uid(geteuid()).ok().flatten().map(|user| user.name);
        let node = node_file(wanted, user.as_deref(), has_ipv6());
        put(&files.node_file, &node)?;
        // A zone file that was changed by hand is the visitor's own experiment; only one that leads
        // elsewhere goes.
        let url = format!("unix:{}", files.site_socket.display());
        let is_ours = fs::read_to_string(&files.zone_file).is_ok_and(|text| text.contains(&quoted(&url)));
        if !is_ours {
            put(&files.zone_file, &zone_file(&url))?;
        }
        Ok(files)
    }

    /// Tells where everything is and what to try.
    fn announce(&self, addresses: &Addresses) {
        // A closed standard output is no reason to end the demo.
        let mut out = io::stdout();
        let _ = out.write_all(self.announcement(addresses, &called()).as_bytes()).and_then(|()| out.flush());
    }

    /// `program` is what to type for this binary.
    fn announcement(&self, addresses: &Addresses, program: &str) -> String {
        let of = |protocol: &str| {
            addresses.listeners.iter().find(|it| it.protocol == protocol).map(|it| it.address)
        };
        let port = |protocol: &str| of(protocol).map_or(0, |address| address.port());
        let http = of("http").map_or_else(String::new, |address| format!("http://{address}"));
        let https = format!("https://localhost:{}", port("https"));
        let admin = addresses.admin.map_or_else(String::new, |address| format!("http://{address}"));
        let every: Vec<String> =
            addresses.listeners.iter().map(|it| format!("{}://{}", it.protocol, it.address)).collect();
        let ca = shell(&self.authority);
        let config = shell(&self.node_file);
        let zone = shell(&self.zone_file);
        let log = shell(&self.folder.join("access.log"));
        format!(
            "\nRempart runs, with a small site behind it. Ctrl-C drains and ends.\n\
             \n  listening   {}\n  admin       {admin}\n\n\
             Look at the site, in a browser or with curl (HTTPS speaks HTTP/1.1, HTTP/2 and HTTP/3):\n\
             \n  {http}/\n  {https}/\n\
             \n  curl -i {http}/                                # twice: Cache-Status says hit\
             \n  curl {http}/headers\
             \n  curl --cacert {ca} {https}/headers\
             \n  curl --cacert {ca} --http3-only {https}/headers    # if your curl has HTTP/3\
             \n  curl --cacert {ca} -N {https}/events               # events, each as it comes\
             \n  curl --cacert {ca} -d hello {https}/echo\n\
             \nA browser trusts the certificate once it has {ca};\n\
             keep its key in the data folder: who has it can vouch for any name to that browser.\n\
             \nLook at the node:\n\
             \n  curl {admin}/healthz\n  curl {admin}/readyz\n  curl {admin}/metrics\
             \n  tail -f {log}\
             \n  {program} status --config {config}\
             \n  {program} trace REQUEST-ID --config {config}    # the id is in X-Request-Id\
             \n  {program} purge --zone demo --config {config}    # the next answer is fetched anew\n\
             \nChange something: edit {zone}, then\n\
             \n  {program} check --config {config}\
             \n  {program} publish --dry-run --config {config}    # what would change\
             \n  {program} publish --wait --config {config}       # stage by stage\n\n",
            every.join("  "),
        )
    }
}

/// What to type to call this binary again: as it was called, since it may not be where the shell looks.
fn called() -> String {
    let called = std::env::args_os().next().map(PathBuf::from);
    called
        .filter(|path| path.components().count() > 1)
        .map_or_else(|| "rempart".to_owned(), |path| shell(&path))
}

/// Writes the node file. It names the present user, so that root's demo stays in root's folder.
fn node_file(wanted: &Demo, user: Option<&str>, ipv6: bool) -> String {
    let mut text = String::from(
        "# Written by `rempart demo` at each start: copy it to change it, and start with\n\
         # `rempart serve --config COPY`.\n\n[node]\nname = \"demo\"\ndata_dir = \".\"\nzones = \"zones\"\n",
    );
    text.push_str(&format!("threads = {}\n", wanted.threads));
    if let Some(user) = user {
        text.push_str(&format!("user = {}\n", quoted(user)));
    }
    let hosts: &[&str] = if ipv6 { &["127.0.0.1", "[::1]"] } else { &["127.0.0.1"] };
    for (protocol, port) in [("http", wanted.http_port), ("https", wanted.https_port)] {
        for host in hosts {
            text.push_str(&format!(
                "\n[[listener]]\naddress = \"{host}:{port}\"\nprotocol = \"{protocol}\"\n"
            ));
        }
    }
    text.push_str(&format!("\n[admin]\naddress = \"127.0.0.1:{}\"\n", wanted.admin_port));
    text.push_str("\n[log]\naccess = \"access.log\"\n");
    text.push_str(
        "\n# A change's stages, shorter than the defaults so that one can watch them.\n\
         [publish]\ncompare_ms = 500\ncanary_percent = 20\ncanary_ms = 1500\nsoak_ms = 30000\n",
    );
    text
}

/// Writes the zone file.
fn zone_file(url: &str) -> String {
    format!(
        "# The demo's zone. Change it, then run `rempart publish`.\n\n\
         name = \"demo\"\n\
         hostnames = [\"*\"]               # every name: the demo serves whatever you call it\n\
         server_timing = true\n\n\
         [cache]                            # ask twice for / and look at Cache-Status\n\
         enabled = true\n\n\
         [tls]\n\
         certificate = \"../localhost.pem\"\n\
         private_key = \"../localhost.key\"\n\n\
         [[pool]]\n\
         name = \"site\"\n\
         origins = [{{ url = {} }}]\n\n\
         [[route]]\n\
         path = \"/teapot\"\n\
         answer = {{ status = 418, body = \"short and stout\\n\" }}\n",
        quoted(url)
    )
}

/// Writes a text as a TOML basic string (TOML 1.0, Strings): JSON's form is one, but for the delete
/// character.
fn quoted(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    json.replace('\u{7f}', "\\u007f")
}

/// Writes a path so that a shell takes it as one word.
fn shell(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+,:@".contains(&byte);
    if text.bytes().all(is_plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

fn put(path: &Path, text: &str) -> Result<()> {
    write_whole(path, text.as_bytes(), 0o600).with_context(|| {
        format!("{} cannot be written: choose another folder with --data-dir", path.display())
    })
}

/// Says whether this machine has IPv6 loopback.
fn has_ipv6() -> bool {
    TcpListener::bind(SocketAddr::from((Ipv6Addr::LOCALHOST, 0))).is_ok()
}

#[cfg(test)]
mod tests;

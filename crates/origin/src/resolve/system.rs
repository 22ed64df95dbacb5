//! What the machine says about names: `/etc/hosts` and `/etc/resolv.conf`.
//!
//! The parsers are pure and never fail: a line that cannot be read is passed over, as every resolver does.
//! `System` looks at the files again once they have changed. What it does not do: other sources that
//! `/etc/nsswitch.conf` may name (multicast DNS, directories) are not asked; a resolver on this machine, such
//! as systemd's, is asked where `resolv.conf` names it. Called by `lookup.rs`. Read next: [`read_settings`].

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Most of a file that is read; a list of hosts against advertisements is some MB, and nobody needs it here.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Servers that are asked: as many as the system's own resolver asks.
const SERVERS_MAX: usize = 3;

/// Domains that are searched; each costs a question for a name that is not in it.
const DOMAINS_MAX: usize = 6;

/// Addresses of one name in the hosts file.
const ADDRESSES_MAX: usize = 16;

const PORT: u16 = 53;

/// Settings of `/etc/resolv.conf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whom to ask, in turn; never empty: without any, the resolver of this machine (127.0.0.1).
    pub servers: Vec<SocketAddr>,
    /// Domains to put behind a name that is not whole, at most 6.
    pub search: Vec<String>,
    /// Dots from which on a name is first tried as it is: 0 to 15, default 1.
    pub dots: usize,
    /// How long to wait for one server, in milliseconds: 1,000 to 30,000. The default is 2,000 and not the
    /// usual 5,000, since an exchange waits 5 s for a connection, and a second server must have its turn.
    pub timeout_ms: u64,
    /// Rounds through the servers: 1 to 5, default 2.
    pub rounds: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let servers = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))];
        Self { servers, search: Vec::new(), dots: 1, timeout_ms: 2000, rounds: 2 }
    }
}

/// A server's address. A scope (`fe80::1%2`) is read where it is a number; names of interfaces are not known.
fn server(word: &str) -> Option<SocketAddr> {
    match word.split_once('%') {
        None => Some(SocketAddr::new(word.parse().ok()?, PORT)),
        Some((ip, scope)) => Some(SocketAddrV6::new(ip.parse().ok()?, PORT, 0, scope.parse().ok()?).into()),
    }
}

/// Reads `resolv.conf` as resolv.conf(5) describes it: `nameserver`, `search`, `domain`, and of the options
/// `ndots`, `timeout` and `attempts`. The last of `search` and `domain` counts.
pub fn read_settings(text: &str) -> Settings {
    let mut settings = Settings::default();
    let mut servers = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") if servers.len() < SERVERS_MAX => {
                servers.extend(words.next().and_then(server));
            }
            Some("search" | "domain") => {
                let known =
                    words.take_while(|word| !word.starts_with(['#', ';'])).filter(|word| *word != ".");
                settings.search = known.take(DOMAINS_MAX).map(str::to_owned).collect();
            }
            Some("options") => {
                for (name, value) in words.filter_map(|word| word.split_once(':')) {
                    let Ok(value) = value.parse::<u32>() else { continue };
                    match name {
                        "ndots" => settings.dots = value.min(15) as usize,
                        "timeout" => settings.timeout_ms = u64::from(value.clamp(1, 30)) * 1000,
                        "attempts" => settings.rounds = value.clamp(1, 5) as usize,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    if !servers.is_empty() {
        settings.servers = servers;
    }
    settings
}

/// The addresses that a hosts file gives to a name, at most 16, in its order; upper and lower case are one.
pub fn hosts_of(text: &str, name: &str) -> Vec<IpAddr> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let Some(ip) = words.next() else { continue };
        if words.any(|word| word.eq_ignore_ascii_case(name))
            && let Ok(ip) = ip.parse::<IpAddr>()
            && !found.contains(&ip)
        {
            found.push(ip);
            if found.len() == ADDRESSES_MAX {
                break;
            }
        }
    }
    found
}

/// A file whose text is kept until the file changes.
#[derive(Debug, Default)]
struct Watched {
    path: Option<PathBuf>,
    /// When it was changed and how long it was; none before the first look, or where there is no file.
    stamp: Option<(SystemTime, u64)>,
    text: String,
}

impl Watched {
    fn at(path: &Path) -> Self {
        Self { path: Some(path.to_owned()), ..Self::default() }
    }

    /// Reads it again if it changed, and says whether it did. A file that cannot be read is an empty one.
    fn look(&mut self) -> bool {
        let Some(path) = &self.path else { return false };
        let stamp = std::fs::metadata(path).ok().and_then(|file| Some((file.modified().ok()?, file.len())));
        if stamp == self.stamp {
            return false;
        }
        let mut bytes = Vec::new();
        if stamp.is_some()
            && let Ok(file) = File::open(path)
            && file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).is_err()
        {
            bytes.clear();
        }
        self.stamp = stamp;
        self.text = String::from_utf8_lossy(&bytes).into_owned();
        true
    }
}

/// The machine's two files, as last seen.
#[derive(Debug)]
pub(crate) struct System {
    hosts: Watched,
    resolv: Watched,
    settings: Settings,
}

impl System {
    /// Those of this machine.
    pub(crate) fn new() -> Self {
        Self::reading(Path::new("/etc/hosts"), Path::new("/etc/resolv.conf"))
    }

    /// Those in other places.
    pub(crate) fn reading(hosts: &Path, resolv: &Path) -> Self {
        Self { hosts: Watched::at(hosts), resolv: Watched::at(resolv), settings: Settings::default() }
    }

    /// No hosts file, and these servers.
    pub(crate) fn asking(servers: &[SocketAddr]) -> Self {
        let settings = Settings { servers: servers.to_vec(), ..Settings::default() };
        Self { hosts: Watched::default(), resolv: Watched::default(), settings }
    }

    /// Fixed ones.
    #[cfg(test)]
    pub(crate) fn fixed(hosts: &str, settings: Settings) -> Self {
        let hosts = Watched { text: hosts.to_owned(), ..Watched::default() };
        Self { hosts, resolv: Watched::default(), settings }
    }

    /// Looks at the files again: two system calls where nothing changed.
    pub(crate) fn look(&mut self) {
        self.hosts.look();
        if self.resolv.look() {
            self.settings = read_settings(&self.resolv.text);
        }
    }

    /// What the hosts file says.
    pub(crate) fn hosts_of(&self, name: &str) -> Vec<IpAddr> {
        hosts_of(&self.hosts.text, name)
    }

    /// Whom to ask, and how.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_held_within_bounds() {
        let text = "; a comment\nnameserver 192.0.2.53\nnameserver nonsense\nnameserver fe80::1%3\n\
                    domain old.example\nsearch a.example b.example # more\n\
                    options ndots:99 timeout:0 attempts:9 rotate edns0 timeout:x\n";
        let settings = read_settings(text);
        let scoped = SocketAddr::from(SocketAddrV6::new("fe80::1".parse().expect("an address"), 53, 0, 3));
        assert_eq!(settings.servers, [SocketAddr::from(([192, 0, 2, 53], 53)), scoped]);
        assert_eq!(settings.search, ["a.example", "b.example"]);
        assert_eq!((settings.dots, settings.timeout_ms, settings.rounds), (15, 1000, 5));
    }

    #[test]
    fn without_a_server_this_machine_is_asked() {
        assert_eq!(read_settings("search .\n"), Settings::default());
        assert_eq!(Settings::default().servers, [SocketAddr::from(([127, 0, 0, 1], 53))]);
    }

    #[test]
    fn a_hosts_file_gives_all_addresses_of_a_name_once() {
        let text = "127.0.0.1 localhost\n192.0.2.1\tshop.example shop # shop2\n2001:db8::1 Shop.Example\n\
                    192.0.2.1 shop.example\nbroken shop.example\n";
        let expected: [IpAddr; 2] =
            ["192.0.2.1".parse().expect("an address"), "2001:db8::1".parse().expect("an address")];
        assert_eq!(hosts_of(text, "SHOP.example."), expected);
        assert_eq!(hosts_of(text, "shop2"), [] as [IpAddr; 0]);
        assert_eq!(hosts_of(text, "192.0.2.1"), [] as [IpAddr; 0]);
    }

    #[test]
    fn changed_files_are_seen() {
        let folder = std::env::temp_dir().join(format!("rempart-resolve-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let (hosts, resolv) = (folder.join("hosts"), folder.join("resolv.conf"));
        let mut system = System::reading(&hosts, &resolv);
        system.look();
        assert_eq!(system.settings(), &Settings::default());
        std::fs::write(&hosts, "192.0.2.1 a.example\n").expect("writes");
        std::fs::write(&resolv, "nameserver 192.0.2.53\n").expect("writes");
        assert!(system.hosts_of("a.example").is_empty(), "not looked at yet");
        system.look();
        assert_eq!(system.hosts_of("a.example").len(), 1);
        assert_eq!(system.settings().servers, [SocketAddr::from(([192, 0, 2, 53], 53))]);
        std::fs::remove_dir_all(&folder).expect("removes");
        system.look();
        assert!(system.hosts_of("a.example").is_empty());
        assert_eq!(system.settings(), &Settings::default());
    }
}

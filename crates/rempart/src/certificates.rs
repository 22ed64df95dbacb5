//! Watches certificate files, so that a renewed certificate is served without a publish.
//!
//! Only certificates and keys of zones are watched, by looking at time, size and inode every
//! [`crate::publishing::WATCH_EVERY`]; a pair is read again only when that changed. A pair that cannot be
//! used is told and the old one stays in use. It reads files and parses them; handing them over is
//! [`crate::publishing`]'s. A change within the clock tick of the last look that keeps size and inode is
//! missed; tools that renew write new files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use zone::limits::FILE_BYTES_MAX;
use zone::{Id, Snapshot};

use crate::configuration::Stamp;
use crate::files::read_bounded;

/// What a look found out about one pair.
#[derive(Debug)]
pub(crate) enum Finding {
    /// The files changed and are in order.
    Renewed {
        /// The chain's path.
        path: String,
        /// The zones that name the pair.
        zones: Vec<Id>,
        /// The pair, ready to serve.
        key: Arc<CertifiedKey>,
    },
    /// The files changed and cannot be used; the pair before stays.
    Broken {
        /// The chain's path.
        path: String,
        /// The zones that name the pair.
        zones: Vec<Id>,
        /// What is wrong.
        cause: String,
    },
}

/// One chain with its key.
#[derive(Debug)]
struct Pair {
    certificate: String,
    key: String,
    zones: Vec<Id>,
    seen: (Stamp, Stamp),
    /// It could not be used at the last look. Two files are rarely replaced in the same moment, so this is
    /// told only when the next look finds the same.
    doubtful: bool,
}

/// The pairs of one snapshot.
#[derive(Debug)]
pub(crate) struct Watch {
    pairs: Vec<Pair>,
    provider: Arc<CryptoProvider>,
}

impl Watch {
    /// Watches the pairs of a snapshot. `stamps` are those of the files it was compiled from, taken before
    /// they were read; a file without one counts as changed, so the first look reads it.
    pub(crate) fn new(snapshot: &Snapshot, stamps: &BTreeMap<String, Stamp>) -> Self {
        let mut pairs: BTreeMap<(&str, &str), Vec<Id>> = BTreeMap::new();
        for zone in snapshot.zones() {
            if let (Some(certificate), Some(key)) = (&zone.tls.certificate_path, &zone.tls.private_key_path) {
                pairs.entry((certificate, key)).or_default().push(zone.id);
            }
        }
        let stamp = |path: &str| stamps.get(path).copied().unwrap_or_default();
        let pairs = pairs.into_iter().map(|((certificate, key), zones)| Pair {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            zones,
            seen: (stamp(certificate), stamp(key)),
            doubtful: false,
        });
        Self { pairs: pairs.collect(), provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()) }
    }

    /// Looks at all files once: two `stat` calls a pair, and a reading of those that changed.
    pub(crate) fn look(&mut self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for pair in &mut self.pairs {
            let now = (Stamp::of(&pair.certificate), Stamp::of(&pair.key));
            let is_changed = now != pair.seen;
            if !is_changed && !pair.doubtful {
                continue;
            }
            let was_doubtful = pair.doubtful && !is_changed;
            pair.seen = now;
            match read(&pair.certificate, &pair.key, &self.provider) {
                Ok(key) => {
                    pair.doubtful = false;
                    let (path, zones) = (pair.certificate.clone(), pair.zones.clone());
                    findings.push(Finding::Renewed { path, zones, key: Arc::new(key) });
                }
                Err(cause) if was_doubtful => {
                    pair.doubtful = false;
                    let (path, zones) = (pair.certificate.clone(), pair.zones.clone());
                    findings.push(Finding::Broken { path, zones, cause });
                }
                Err(_) => pair.doubtful = true,
            }
        }
        findings
    }
}

fn read(certificate: &str, key: &str, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let bytes = |path: &str| {
        read_bounded(Path::new(path), FILE_BYTES_MAX)
            .map_err(|error| format!("{path} cannot be read: {error}"))
    };
    zone::tls::certified_key(&bytes(certificate)?, &bytes(key)?, provider).map_err(|fault| fault.to_string())
}

#[cfg(test)]
mod tests {
    use testkit::folder::Folder;

    use super::*;
    use crate::configuration::{gather, read_node_file};
    use crate::files::write_whole;

    struct Pems {
        chain: String,
        key: String,
    }

    fn pems() -> Pems {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        Pems { chain: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    fn put(folder: &Folder, name: &str, text: &str) {
        write_whole(&folder.path().join("zones").join(name), text.as_bytes(), 0o600).unwrap();
    }

    fn watched(folder: &Folder) -> Watch {
        let node = "[[listener]]\naddress = \"127.0.0.1:0\"\nprotocol = \"https\"\n";
        let node = folder.write("rempart.toml", node).unwrap();
        let zone = "name = \"a.example\"\nhostnames = [\"a.example\"]\n[[pool]]\nname = \"app\"\n\
                    origins = [{ url = \"http://127.0.0.1:1\" }]\n[tls]\ncertificate = \"a.pem\"\n\
                    private_key = \"a.key\"\n";
        folder.write("zones/a.toml", zone).unwrap();
        let pems = pems();
        put(folder, "a.pem", &pems.chain);
        put(folder, "a.key", &pems.key);
        let gathered = gather(&read_node_file(&node).unwrap());
        Watch::new(&gathered.compile(1, None).unwrap(), &gathered.stamps)
    }

    #[test]
    fn nothing_is_found_while_nothing_changes() {
        let folder = Folder::new().unwrap();
        let mut watch = watched(&folder);
        assert!(watch.look().is_empty());
        assert!(watch.look().is_empty());
    }

    #[test]
    fn a_renewed_pair_is_found_once_even_when_its_files_come_one_after_the_other() {
        let folder = Folder::new().unwrap();
        let mut watch = watched(&folder);
        let new = pems();
        put(&folder, "a.pem", &new.chain);
        assert!(watch.look().is_empty(), "the key is still the old one: a second look is due");
        put(&folder, "a.key", &new.key);
        let found = watch.look();
        assert!(matches!(&found[..], [Finding::Renewed { zones, .. }] if zones.len() == 1), "{found:?}");
        assert!(watch.look().is_empty());
    }

    #[test]
    fn a_broken_pair_is_told_once_at_the_second_look_and_its_repair_is_found() {
        let folder = Folder::new().unwrap();
        let mut watch = watched(&folder);
        put(&folder, "a.pem", "nonsense");
        assert!(watch.look().is_empty());
        let found = watch.look();
        assert!(matches!(&found[..], [Finding::Broken { path, .. }] if path.ends_with("a.pem")), "{found:?}");
        assert!(watch.look().is_empty());
        let new = pems();
        put(&folder, "a.key", &new.key);
        put(&folder, "a.pem", &new.chain);
        assert!(matches!(&watch.look()[..], [Finding::Renewed { .. }]));
    }

    #[test]
    fn a_removed_file_is_told_and_harms_nothing() {
        let folder = Folder::new().unwrap();
        let mut watch = watched(&folder);
        std::fs::remove_file(folder.path().join("zones/a.key")).unwrap();
        assert!(watch.look().is_empty());
        let found = watch.look();
        assert!(
            matches!(&found[..], [Finding::Broken { cause, .. }] if cause.contains("a.key cannot be read")),
            "{found:?}"
        );
    }

    #[test]
    fn files_never_read_before_are_read_at_the_first_look() {
        let folder = Folder::new().unwrap();
        watched(&folder);
        let gathered = gather(&read_node_file(&folder.path().join("rempart.toml")).unwrap());
        let mut watch = Watch::new(&gathered.compile(1, None).unwrap(), &BTreeMap::new());
        assert!(matches!(&watch.look()[..], [Finding::Renewed { .. }]));
    }
}

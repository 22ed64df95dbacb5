//! Certificates that become others while the node runs: taken into what serves, without a publish.
//!
//! Which files changed is [`crate::certificates`]'. Called by [`super::publisher`] every few seconds.

use rustls::sign::CertifiedKey;
use telemetry::events::Value;

use super::publisher::Publisher;
use crate::certificates::Finding;

impl Publisher {
    pub(super) fn look_at_certificates(&mut self) {
        let mut has_renewed = false;
        for finding in self.setup.watch.look() {
            match finding {
                Finding::Renewed { path, zones, key } => {
                    let refused =
                        zones.iter().find_map(|zone| self.setup.node.replace_certificate(*zone, &key).err());
                    match refused {
                        Some(error) => self.certificate_unusable(&path, &zones, &error.to_string()),
                        None => {
                            has_renewed = true;
                            self.remember_renewed(&path, &zones, &key);
                            let fields: [(&'static str, Value<'_>); 2] =
                                [("file", (&path).into()), ("zones", zones.len().into())];
                            self.setup.events.info("certificate_renewed", &fields);
                        }
                    }
                }
                Finding::Broken { path, zones, cause } => {
                    self.setup.node.certificate_refused();
                    self.certificate_unusable(&path, &zones, &cause);
                }
            }
        }
        if has_renewed {
            self.have_spare_refreshed(self.setup.node.live().snapshot.number);
        }
    }

    /// Has what is compiled from now on know the pair, whatever becomes of its files.
    fn remember_renewed(&self, chain: &str, zones: &[zone::Id], pair: &CertifiedKey) {
        let live = self.setup.node.live();
        let named = live.snapshot.zones().iter().find(|zone| zones.contains(&zone.id));
        if let Some(key) = named.and_then(|zone| zone.tls.private_key_path.as_deref()) {
            self.setup.keyring.remember_renewed(chain, key, pair);
        }
    }

    fn certificate_unusable(&self, path: &str, zones: &[zone::Id], cause: &str) {
        let has_none = |zone: &edge::ZoneStatus| {
            !zone.has_certificate && zones.iter().any(|id| id.to_string() == zone.id)
        };
        let remedy = if self.setup.node.status().zones.iter().any(has_none) {
            "its zone has none meanwhile, and refuses handshakes: mend the files, they are read by themselves"
        } else {
            "the certificate before stays in use: mend the files, they are read by themselves"
        };
        let fields: [(&'static str, Value<'_>); 3] =
            [("file", path.into()), ("cause", cause.into()), ("remedy", remedy.into())];
        self.setup.events.error("certificate_unusable", &fields);
    }
}

//! Compiles a zone's `[tls]`: certificate and key, client authorities, redirect, HSTS.
//!
//! The parsing of PEM is [`crate::tls`]'s. Called by [`super::compile`].

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;

use super::Compiler;
use crate::hosts::Hostname;
use crate::read::Placed;
use crate::read::values::{FilePath, quoted};
use crate::spec::TlsSpec;
use crate::tls::{ClientAuthority, ClientCertificate, Hsts, Tls, certified_key, client_authority};
use crate::zone::Zone;

impl Compiler<'_> {
    pub(super) fn tls(&mut self, spec: &Placed<TlsSpec>, hostnames: &[Hostname], same: Option<&Zone>) -> Tls {
        if spec.automatic.value {
            self.report.error_with(
                spec.automatic.place,
                "certificates by ACME are not there yet",
                "name certificate and private_key",
            );
        }
        let same = same.and_then(|zone| zone.tls.certificate.clone());
        let certificate = self.key_pair(spec.certificate.as_ref(), spec.private_key.as_ref(), same);
        if let (Some(certificate), Some(path)) = (&certificate, &spec.certificate) {
            self.warn_uncovered(certificate, path, hostnames);
        }
        if spec.redirect_https.value && spec.certificate.is_none() && !spec.automatic.value {
            self.report.error_with(
                spec.redirect_https.place,
                "a redirect to HTTPS needs a certificate",
                "name certificate and private_key, or write redirect_https = false",
            );
        }
        if !matches!(spec.redirect_status.0, 301 | 302 | 307 | 308) {
            self.report.error(spec.redirect_status.place, "this must be 301, 302, 307 or 308");
        }
        Tls {
            certificate,
            certificate_path: spec.certificate.as_ref().map(|path| self.path(path)),
            private_key_path: spec.private_key.as_ref().map(|path| self.path(path)),
            minimum: spec.minimum.value,
            client: self.client(spec),
            redirect_to_https: spec.redirect_https.value,
            redirect_status: u16::try_from(spec.redirect_status.0).unwrap_or(308),
            redirect_port: u16::try_from(spec.redirect_port.0).unwrap_or(443),
            hsts: self.hsts(spec),
        }
    }

    /// Reads a chain and its key, or takes them from the zone that did not change.
    pub(super) fn key_pair(
        &mut self,
        certificate: Option<&Placed<FilePath>>,
        key: Option<&Placed<FilePath>>,
        same: Option<Arc<CertifiedKey>>,
    ) -> Option<Arc<CertifiedKey>> {
        let (certificate, key) = match (certificate, key) {
            (Some(certificate), Some(key)) => (certificate, key),
            (Some(only), None) => {
                self.report.missing(
                    only.place,
                    "a certificate needs its key",
                    "write private_key = \"…\"".to_owned(),
                );
                return None;
            }
            (None, Some(only)) => {
                self.report.missing(
                    only.place,
                    "a key needs its certificate",
                    "write certificate = \"…\"".to_owned(),
                );
                return None;
            }
            (None, None) => return None,
        };
        if same.is_some() {
            return same;
        }
        let key_pem = self.secret(key);
        let chain_pem = self.file(certificate)?.to_vec();
        let provider = Arc::clone(&self.provider);
        match certified_key(&chain_pem, &key_pem?, &provider) {
            Ok(pair) => Some(Arc::new(pair)),
            Err(why) => {
                let place = if why.is_about_key() { key } else { certificate };
                let message = format!("{}: {why}", quoted(&place.0));
                self.unusable_pair(place.place, message);
                None
            }
        }
    }

    /// Warns of hostnames that the certificate is not for: browsers will refuse them.
    fn warn_uncovered(&mut self, pair: &CertifiedKey, path: &Placed<FilePath>, hostnames: &[Hostname]) {
        let Some(parsed) =
            pair.cert.first().and_then(|own| rustls::server::ParsedCertificate::try_from(own).ok())
        else {
            return;
        };
        let is_uncovered = |hostname: &&Hostname| {
            let name = match hostname {
                Hostname::Any => return false,
                Hostname::Exact(name) => name.trim_matches(['[', ']']).to_owned(),
                Hostname::Wildcard(base) => format!("any.{base}"),
            };
            ServerName::try_from(name)
                .is_ok_and(|name| rustls::client::verify_server_name(&parsed, &name).is_err())
        };
        let uncovered: Vec<String> =
            hostnames.iter().filter(is_uncovered).take(5).map(ToString::to_string).collect();
        if !uncovered.is_empty() {
            self.report.warning(
                path.place,
                format!("the certificate is not for {}", uncovered.join(", ")),
                "visitors of these names will get a warning from their browser",
            );
        }
    }

    fn client(&mut self, spec: &Placed<TlsSpec>) -> Option<ClientAuthority> {
        let Some(path) = &spec.client_ca else {
            if let Some(mode) = &spec.client_certificate {
                let message = "client certificates need authorities to check them by";
                self.report.error_with(mode.place, message, "write client_ca = \"…\"");
            }
            return None;
        };
        if spec.certificate.is_none() {
            self.report.error(path.place, "client certificates need a certificate of the zone's own");
        }
        let mode = spec.client_certificate.as_ref().map_or(ClientCertificate::Require, |mode| mode.value);
        let pem = self.file(path)?.to_vec();
        match client_authority(&pem, mode, &self.provider) {
            Ok(client) => Some(client),
            Err(why) => {
                self.report.error(path.place, format!("{}: {why}", quoted(&path.0)));
                None
            }
        }
    }

    fn hsts(&mut self, spec: &Placed<TlsSpec>) -> Option<Hsts> {
        /// What the preload lists of browsers ask for.
        const YEAR_S: u64 = 31_536_000;
        let hsts = spec.hsts.as_ref()?;
        if hsts.preload.value && !(hsts.include_subdomains.value && hsts.max_age_s.0 >= YEAR_S) {
            self.report.error_with(
                hsts.preload.place,
                "preload needs include_subdomains = true and max_age_s of a year",
                format!("write include_subdomains = true, max_age_s = {YEAR_S}"),
            );
        }
        Some(Hsts::new(hsts.max_age_s.0, hsts.include_subdomains.value, hsts.preload.value))
    }
}

//! Compiles `[geo]` of the node file: the MMDB files it names, checked whole.
//!
//! What else is wrong with the table is told where the node file is read. Called by [`super::compile_after`];
//! read next: [`crate::geo`].

use std::sync::Arc;

use toml::de::DeTable;

use super::Compiler;
use crate::feed::{Feed, Used};
use crate::geo::{Asked, Database, Geo, GeoSpec};
use crate::problem::{Place, Report};
use crate::read::values::{FilePath, quoted};
use crate::read::{Entry, Placed, Section, Table};
use crate::snapshot::Snapshot;

/// The key of the table.
pub(crate) const KEY: &str = "geo";

/// Reads `[geo]` of a node file.
pub(super) fn spec(file: usize, root: &DeTable<'_>) -> GeoSpec {
    let section = Section::whole(file, root).entry(KEY).and_then(|entry: Entry<'_>| entry.section());
    let section = section.unwrap_or_else(|| Section::unwritten(Place::new(file, 0)));
    GeoSpec::from_section(section, &mut Report::default())
}

impl Compiler<'_> {
    /// What is known of addresses; none without `[geo]`.
    pub(super) fn geo(
        &mut self,
        file: usize,
        root: Option<&DeTable<'_>>,
        previous: Option<&Snapshot>,
    ) -> Option<Arc<Geo>> {
        let spec = spec(file, root?);
        let before = previous.and_then(|snapshot| snapshot.geo.as_deref());
        let country = self.database(spec.country.as_ref(), Asked::Country, before);
        let asn = self.database(spec.asn.as_ref(), Asked::Asn, before);
        let mut geo = Geo { country, asn, ..Geo::default() };
        if geo.country.is_none() && geo.asn.is_none() {
            return None;
        }
        if let Some(horizon_s) = &spec.horizon_s {
            let files = [("country", &spec.country, &geo.country), ("asn", &spec.asn, &geo.asn)];
            let feeds = files.into_iter().zip(&geo.is_silent).filter_map(|((key, path, file), is_silent)| {
                Some(Feed {
                    name: format!("[geo] {key}"),
                    path: self.path(path.as_ref()?),
                    made_unix_s: file.as_ref()?.built_unix_s(),
                    horizon_s: horizon_s.0,
                    after: spec.after_horizon.value,
                    used: Used::Places(Arc::clone(is_silent)),
                })
            });
            geo.feeds = feeds.collect();
        }
        Some(Arc::new(geo))
    }

    /// Warns of a condition that asks where a visitor is, of a node that does not know: what it asks for is
    /// empty, so that `not … in {"AT"}` would hold for everybody.
    pub(super) fn warn_unlocated(&mut self, text: &str, place: Place) {
        let of_country =
            ["country", "continent", "is_in_european_union"].map(|name| format!("ip.src.{name}"));
        let countries = of_country.into_iter().chain(["ip.geoip.country".to_owned()]);
        let networks = ["ip.src.asnum", "ip.geoip.asnum"].map(str::to_owned).into_iter();
        let unknown: Vec<(String, &str)> = countries
            .filter(|_| !self.knows_countries)
            .map(|name| (name, "country"))
            .chain(networks.filter(|_| !self.knows_networks).map(|name| (name, "asn")))
            .collect();
        if let Some((name, file)) = unknown.iter().find(|(name, _)| text.contains(name.as_str())) {
            let message = format!("the node does not know `{name}`: it is empty for every visitor");
            let remedy = format!("name an MMDB file by `{file}` in [geo] of the node file");
            self.report.warning(place, message, remedy);
        }
    }

    fn database(
        &mut self,
        path: Option<&Placed<FilePath>>,
        asked: Asked,
        before: Option<&Geo>,
    ) -> Option<Arc<Database>> {
        let path = path?;
        let shown = self.path(path);
        let bytes = self.file(path)?;
        let hash = Database::hash_of(bytes);
        let known = before.and_then(|geo| match asked {
            Asked::Country => geo.country.as_ref(),
            Asked::Asn => geo.asn.as_ref(),
        });
        if let Some(same) = known.filter(|known| known.is_of(&hash)) {
            return Some(Arc::clone(same));
        }
        match Database::new(bytes, asked) {
            Ok(database) => Some(Arc::new(database)),
            Err(fault) => {
                let message = format!("{} cannot be used: {fault}", quoted(&shown));
                self.report.error(path.place, message);
                None
            }
        }
    }
}

//! Compiles `[geo]` of the node file: the MMDB files it names, checked whole.
//!
//! What else is wrong with the table is told where the node file is read. Beside it stands what is told of
//! fields of the rule language that nothing fills, as those of places without a file. Called by
//! [`super::compile_after`]; read next: [`crate::geo`].

use std::sync::Arc;

use rules::{Field, Type};
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

    /// Warns of each field that an expression names and that has its empty value for everybody, at its place:
    /// `not cf.client.bot` would hold for every visitor. `string` is the place of the whole expression.
    pub(super) fn warn_unfilled(&mut self, text: &str, string: Place) {
        let mut told: Vec<Field> = Vec::new();
        for (field, at) in Field::named_in(text) {
            if !told.contains(&field) {
                told.push(field);
                self.warn_if_unfilled(field, self.inner_place(string, at));
            }
        }
    }

    /// Warns of a field that nothing fills, by the table that the reference is made of, or that this node's
    /// files do not.
    pub(super) fn warn_if_unfilled(&mut self, field: Field, place: Place) {
        let value = match (field.ty(), field.row().empty_int) {
            (Type::BOOL, _) => "false".to_owned(),
            (Type::INT, number) => number.to_string(),
            _ => "empty".to_owned(),
        };
        if field.row().source == rules::Source::Absent {
            let message = format!("nothing fills `{field}` yet: it is {value} for every visitor");
            let remedy = "leave it out: such a condition holds for everybody, or for nobody";
            return self.report.warning(place, message, remedy);
        }
        let file = match field {
            Field::Country | Field::Continent | Field::EuropeanUnion if !self.knows_countries => "country",
            Field::Asnum if !self.knows_networks => "asn",
            _ => return,
        };
        let message = format!("the node does not know `{field}`: it is {value} for every visitor");
        let remedy = format!("name an MMDB file by `{file}` in [geo] of the node file");
        self.report.warning(place, message, remedy);
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

//! Where a visitor is: country, continent and network by address, from MMDB files that the node file names.
//!
//! The files travel in the bundle like any other, are checked whole when a snapshot is compiled, and are
//! shared between snapshots while their bytes are the same. An address that no file knows is nowhere, and
//! nothing here can fail at run time. Made by `compile/geo.rs`; read next: [`Geo::find`].

mod location;

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use maxminddb::{LookupResult, MaxMindDbError, PathElement, Reader, WithinOptions};
use sha2::{Digest, Sha256};

use crate::feed::{AfterHorizon, Feed};
use crate::limits::AGE_S_MAX;
use crate::read::settings;
use crate::read::values::{Count, FilePath};

settings! {
    /// `[geo]` of the node file: what is known of addresses. Read at each publish.
    pub struct GeoSpec in "[geo]" {
        /// MMDB file with countries: fields `ip.src.country`, `ip.src.continent`,
        /// `ip.src.is_in_european_union`, the log's `country`, and `CF-IPCountry`. One with cities fills all
        /// of `GEO` for the firewall's `@geoLookup`. At most 32 MiB.
        optional country: FilePath,
        /// MMDB file with numbers of networks: the field `ip.src.asnum`. At most 32 MiB.
        optional asn: FilePath,
        /// How old each of the files may become, in seconds after it was built, as it says itself; without
        /// it, as old as it likes.
        optional horizon_s: Count<1, AGE_S_MAX>,
        /// What becomes of a file that is older: it is used as it is, or knows no address.
        plain after_horizon: AfterHorizon = AfterHorizon::Keep,
    }
}

/// One MMDB file, checked.
pub struct Database {
    reader: Reader<Vec<u8>>,
    hash: [u8; 32],
}

impl fmt::Debug for Database {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Database").field("type", &self.reader.metadata().database_type).finish()
    }
}

impl fmt::Display for Database {
    /// Writes its type and when it was built, in seconds after 1970.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metadata = self.reader.metadata();
        write!(out, "{} of {}", metadata.database_type, metadata.build_epoch)
    }
}

/// What a file is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Countries.
    Country,
    /// Numbers of networks.
    Asn,
}

/// Why bytes are no file to look addresses up in.
#[derive(Debug)]
pub enum GeoFault {
    /// They are no MMDB file, or it is damaged.
    Broken(MaxMindDbError),
    /// Its tree has more leaves than nodes can have.
    Cycle,
    /// No address in it has what it is asked for.
    Nothing(Asked),
}

impl fmt::Display for GeoFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(why) => write!(out, "it is no MMDB file, or a damaged one: {why}"),
            Self::Cycle => out.write_str("it is damaged: its tree leads back into itself"),
            Self::Nothing(Asked::Country) => out.write_str("it has no countries; is it another file?"),
            Self::Nothing(Asked::Asn) => out.write_str("it has no numbers of networks; is it another file?"),
        }
    }
}

impl std::error::Error for GeoFault {}

impl From<MaxMindDbError> for GeoFault {
    fn from(why: MaxMindDbError) -> Self {
        Self::Broken(why)
    }
}

impl Database {
    /// Takes a file's bytes and looks at every record, in time in proportion.
    ///
    /// It is not the package's own check, which refuses files in use for want of a description.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(bytes: &[u8], asked: Asked) -> Result<Self, GeoFault> {
        let reader = Reader::from_source(bytes.to_vec())?;
        // A tree of n nodes has at most n + 1 leaves; there are some more for what leads to IPv4 twice.
        let leaves_max = u64::from(reader.metadata().node_count).saturating_mul(3);
        let (mut leaves, mut known, mut has_any) = (0, HashSet::new(), false);
        for leaf in reader.networks(WithinOptions::default().include_networks_without_data())? {
            let record = leaf?;
            leaves += 1;
            if leaves > leaves_max.max(3) {
                return Err(GeoFault::Cycle);
            }
            if record.offset().is_some_and(|offset| known.insert(offset)) {
                has_any |= match asked {
                    Asked::Country => country_of(&record)?.country.is_some(),
                    Asked::Asn => asn_of(&record)? > 0,
                };
            }
        }
        let database = Self { hash: Self::hash_of(bytes), reader };
        if has_any { Ok(database) } else { Err(GeoFault::Nothing(asked)) }
    }

    pub(crate) fn hash_of(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }

    /// When it was built, in seconds after 1970.
    pub(crate) fn built_unix_s(&self) -> u64 {
        self.reader.metadata().build_epoch
    }

    pub(crate) fn is_of(&self, hash: &[u8; 32]) -> bool {
        self.hash == *hash
    }
}

/// Reads the first of two paths that a record has.
fn letters_of(
    record: &LookupResult<'_, Vec<u8>>,
    deep: [&'static str; 2],
    flat: &'static str,
) -> Result<Option<[u8; 2]>, MaxMindDbError> {
    let found: Option<&str> = record.decode_path(&deep.map(PathElement::Key))?;
    match found {
        Some(text) => Ok(letters(text)),
        None => Ok(record.decode_path(&[PathElement::Key(flat)])?.and_then(letters)),
    }
}

fn country_of(record: &LookupResult<'_, Vec<u8>>) -> Result<Whereabouts, MaxMindDbError> {
    let union = [PathElement::Key("country"), PathElement::Key("is_in_european_union")];
    Ok(Whereabouts {
        country: letters_of(record, ["country", "iso_code"], "country_code")?,
        continent: letters_of(record, ["continent", "code"], "continent_code")?,
        is_in_european_union: record.decode_path(&union)?.unwrap_or(false),
        asn: 0,
    })
}

fn asn_of(record: &LookupResult<'_, Vec<u8>>) -> Result<u32, MaxMindDbError> {
    Ok(record.decode_path(&[PathElement::Key("autonomous_system_number")])?.unwrap_or(0))
}

/// What is known of addresses.
#[derive(Debug, Default)]
pub struct Geo {
    /// Countries.
    pub country: Option<Arc<Database>>,
    /// Numbers of networks.
    pub asn: Option<Arc<Database>>,
    /// How old they may become; none without a horizon.
    pub feeds: Vec<Feed>,
    /// Whether they know no address: countries, numbers of networks.
    pub(crate) is_silent: [Arc<AtomicBool>; 2],
}

/// Where an address is, as far as that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// The country in two capital letters (ISO 3166-1).
    pub country: Option<[u8; 2]>,
    /// The continent in two capital letters.
    pub continent: Option<[u8; 2]>,
    /// Whether the country is in the European Union; false where the file does not say.
    pub is_in_european_union: bool,
    /// The number of the network; 0 for none.
    pub asn: u32,
}

impl Whereabouts {
    /// The country as text.
    #[must_use]
    pub fn country(&self) -> Option<&str> {
        self.country.as_ref().and_then(|letters| std::str::from_utf8(letters).ok())
    }
}

/// Two capital letters, and nothing else.
fn letters(text: &str) -> Option<[u8; 2]> {
    let letters: [u8; 2] = text.as_bytes().try_into().ok()?;
    letters.iter().all(u8::is_ascii_uppercase).then_some(letters)
}

impl Geo {
    /// Finds an address. An IPv4 address is looked up as such however it came.
    ///
    /// Files of two forms are understood: `country.iso_code` and `continent.code` inside, or `country_code`
    /// and `continent_code` flat.
    #[must_use]
    pub fn find(&self, address: IpAddr) -> Whereabouts {
        let address = address.to_canonical();
        let mut found = Whereabouts::default();
        let [is_country_silent, is_asn_silent] =
            self.is_silent.each_ref().map(|is_silent| is_silent.load(Ordering::Relaxed));
        // A file was looked at whole before; what it has in another form after all is not known.
        if let Some(file) = self.country.as_ref().filter(|_| !is_country_silent)
            && let Ok(record) = file.reader.lookup(address)
        {
            found = country_of(&record).unwrap_or_default();
        }
        if let Some(file) = self.asn.as_ref().filter(|_| !is_asn_silent)
            && let Ok(record) = file.reader.lookup(address)
        {
            found.asn = asn_of(&record).unwrap_or(0);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use testkit::mmdb::{Mmdb, Value};

    use super::*;

    fn database(file: &Mmdb, asked: Asked) -> Option<Arc<Database>> {
        Some(Arc::new(Database::new(&file.to_bytes(), asked).expect("a good file")))
    }

    fn find(geo: &Geo, address: &str) -> Whereabouts {
        geo.find(address.parse().expect("an address"))
    }

    #[test]
    fn both_usual_forms_of_files_are_understood() {
        let deep = Value::map([
            ("continent", Value::map([("code", Value::text("EU"))])),
            (
                "country",
                Value::map([("iso_code", Value::text("FR")), ("is_in_european_union", Value::Bool(true))]),
            ),
        ]);
        let flat = Value::map([("country_code", Value::text("GB"))]);
        let wrong = Value::map([("country_code", Value::text("Great Britain"))]);
        let countries = Mmdb::new()
            .entry("192.0.2.0/24", deep)
            .entry("198.51.100.0/25", flat)
            .entry("198.51.100.128/25", wrong)
            .entry("2001:db8::/32", Value::map([("country_code", Value::text("JP"))]));
        let numbers = Mmdb::new()
            .entry("192.0.2.128/25", Value::map([("autonomous_system_number", Value::Number(64_500))]));
        let geo = Geo {
            country: database(&countries, Asked::Country),
            asn: database(&numbers, Asked::Asn),
            ..Geo::default()
        };
        let france = Whereabouts {
            country: Some(*b"FR"),
            continent: Some(*b"EU"),
            is_in_european_union: true,
            asn: 0,
        };
        assert_eq!(find(&geo, "192.0.2.1"), france);
        assert_eq!(find(&geo, "192.0.2.200"), Whereabouts { asn: 64_500, ..france });
        assert_eq!(find(&geo, "::ffff:192.0.2.1"), france);
        assert_eq!(find(&geo, "198.51.100.1").country(), Some("GB"));
        assert_eq!(find(&geo, "198.51.100.129").country(), None, "two letters or nothing");
        assert_eq!(find(&geo, "2001:db8:1::1").country(), Some("JP"));
        assert_eq!(find(&geo, "203.0.113.1"), Whereabouts::default());
        assert_eq!(find(&Geo::default(), "192.0.2.1"), Whereabouts::default());
    }

    #[test]
    fn damaged_files_are_refused_whole() {
        let good = Mmdb::new().entry("192.0.2.0/24", Value::map([("country_code", Value::text("GB"))]));
        let bytes = good.to_bytes();
        assert!(Database::new(&bytes, Asked::Country).is_ok());
        for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            assert!(Database::new(&bytes[..cut], Asked::Country).is_err(), "cut at {cut}");
        }
        assert!(Database::new(&vec![b'x'; 4096], Asked::Country).is_err());
        assert!(matches!(Database::new(&bytes, Asked::Asn), Err(GeoFault::Nothing(Asked::Asn))));
        // Whatever byte is changed, the file is refused or gives something; it never panics.
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 0x55;
            if let Ok(file) = Database::new(&changed, Asked::Country) {
                let geo = Geo { country: Some(Arc::new(file)), ..Geo::default() };
                let _ = find(&geo, "192.0.2.1");
            }
        }
    }
}

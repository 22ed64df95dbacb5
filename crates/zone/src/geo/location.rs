//! What the firewall's `@geoLookup` is told of an address: all that a file of `[geo]` has of it.
//!
//! Files with countries alone fill the code, the name and the continent; files with cities the rest. Fields
//! are those of MaxMind's City files, and of files that are written like them. Called by `seclang`.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use maxminddb::{LookupResult, PathElement};
use seclang::{Location, Locator};

use super::{Geo, country_of};

type Record<'a> = LookupResult<'a, Vec<u8>>;

/// A text at a path; empty where there is none, or no text.
fn text(record: &Record<'_>, path: &[PathElement<'static>]) -> String {
    let found: Option<&str> = record.decode_path(path).ok().flatten();
    found.unwrap_or_default().to_owned()
}

/// A number with six decimals, as ModSecurity writes places.
fn degrees(record: &Record<'_>, key: &'static str) -> String {
    let path = [PathElement::Key("location"), PathElement::Key(key)];
    let found: Option<f64> = record.decode_path(&path).ok().flatten();
    found.filter(|degrees| degrees.is_finite()).map(|degrees| format!("{degrees:.6}")).unwrap_or_default()
}

fn letters(found: Option<[u8; 2]>) -> String {
    found.map(|letters| String::from_utf8_lossy(&letters).into_owned()).unwrap_or_default()
}

impl Locator for Geo {
    fn locate(&self, address: IpAddr) -> Option<Location> {
        use PathElement::{Index, Key};
        let is_silent = self.is_silent.first().is_some_and(|silent| silent.load(Ordering::Relaxed));
        let file = self.country.as_ref().filter(|_| !is_silent)?;
        let record = file.reader.lookup(address.to_canonical()).ok().filter(LookupResult::has_data)?;
        let codes = country_of(&record).unwrap_or_default();
        let metro = [Key("location"), Key("metro_code")];
        let metro: Option<u32> = record.decode_path(&metro).ok().flatten();
        Some(Location {
            country_code: letters(codes.country),
            country_name: text(&record, &[Key("country"), Key("names"), Key("en")]),
            country_continent: letters(codes.continent),
            region: text(&record, &[Key("subdivisions"), Index(0), Key("iso_code")]),
            city: text(&record, &[Key("city"), Key("names"), Key("en")]),
            postal_code: text(&record, &[Key("postal"), Key("code")]),
            latitude: degrees(&record, "latitude"),
            longitude: degrees(&record, "longitude"),
            dma_code: metro.map(|code| code.to_string()).unwrap_or_default(),
            // No file of this format has them.
            ..Location::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use testkit::mmdb::{Mmdb, Value};

    use super::super::{Asked, Database};
    use super::*;

    fn named(name: &str) -> Value {
        Value::map([("names", Value::map([("en", Value::text(name))]))])
    }

    #[test]
    fn all_that_a_file_of_cities_has_is_told() {
        let london = Value::map([
            ("city", named("London")),
            ("continent", Value::map([("code", Value::text("EU"))])),
            (
                "country",
                Value::map([
                    ("iso_code", Value::text("GB")),
                    ("names", Value::map([("en", Value::text("United Kingdom"))])),
                ]),
            ),
            (
                "location",
                Value::map([
                    ("latitude", Value::Double(51.5142)),
                    ("longitude", Value::Double(-0.0931)),
                    ("metro_code", Value::Number(501)),
                ]),
            ),
            ("postal", Value::map([("code", Value::text("EC1A"))])),
            ("subdivisions", Value::List(vec![Value::map([("iso_code", Value::text("ENG"))])])),
        ]);
        let odd = Value::map([
            ("city", Value::Number(7)),
            ("country_code", Value::text("FR")),
            ("location", Value::map([("latitude", Value::text("north"))])),
        ]);
        let file = Mmdb::new().entry("192.0.2.0/24", london).entry("2001:db8::/32", odd);
        let file = Database::new(&file.to_bytes(), Asked::Country).expect("a good file");
        let geo = Geo { country: Some(Arc::new(file)), ..Geo::default() };
        let find = |address: &str| geo.locate(address.parse().expect("an address"));
        let london = Location {
            country_code: "GB".to_owned(),
            country_name: "United Kingdom".to_owned(),
            country_continent: "EU".to_owned(),
            region: "ENG".to_owned(),
            city: "London".to_owned(),
            postal_code: "EC1A".to_owned(),
            latitude: "51.514200".to_owned(),
            longitude: "-0.093100".to_owned(),
            dma_code: "501".to_owned(),
            ..Location::default()
        };
        assert_eq!(find("192.0.2.9"), Some(london.clone()));
        assert_eq!(find("::ffff:192.0.2.9"), Some(london));
        let france = Location { country_code: "FR".to_owned(), ..Location::default() };
        assert_eq!(find("2001:db8::1"), Some(france), "what is in another form is not known");
        assert_eq!(find("198.51.100.1"), None);
        geo.is_silent[0].store(true, Ordering::Relaxed);
        assert_eq!(find("192.0.2.9"), None, "a file past its horizon knows no address");
        assert_eq!(Geo::default().locate(IpAddr::from([192, 0, 2, 9])), None);
    }
}

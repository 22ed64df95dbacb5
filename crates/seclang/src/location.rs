//! Where an address is: what `@geoLookup` asks for and `GEO` holds.
//!
//! This crate has no database: a caller who has one lends it to transactions
//! ([`crate::Transaction::set_locator`]). Asked by [`crate::engine`]. Read next: [`Location`].

use std::fmt;
use std::net::IpAddr;

/// Who knows where addresses are.
pub trait Locator: fmt::Debug + Send + Sync {
    /// Says where an address is; nothing if it is in no record.
    ///
    /// It is asked while a visitor waits, so it answers from memory.
    fn locate(&self, address: IpAddr) -> Option<Location>;
}

/// Where an address is, each part empty where that is not known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Location {
    /// `COUNTRY_CODE`: two capital letters (ISO 3166-1).
    pub country_code: String,
    /// `COUNTRY_CODE3`: three capital letters.
    pub country_code3: String,
    /// `COUNTRY_NAME`, in English.
    pub country_name: String,
    /// `COUNTRY_CONTINENT`: two capital letters.
    pub country_continent: String,
    /// `REGION`: the code of a state or province within its country (ISO 3166-2).
    pub region: String,
    /// `CITY`, in English.
    pub city: String,
    /// `POSTAL_CODE`.
    pub postal_code: String,
    /// `LATITUDE`, in degrees with six decimals.
    pub latitude: String,
    /// `LONGITUDE`, in degrees with six decimals.
    pub longitude: String,
    /// `DMA_CODE`: the market area, in the United States.
    pub dma_code: String,
    /// `AREA_CODE`: the telephone's, in the United States.
    pub area_code: String,
}

impl Location {
    /// The parts that are known, each with its name in `GEO`.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("COUNTRY_CODE", &self.country_code),
            ("COUNTRY_CODE3", &self.country_code3),
            ("COUNTRY_NAME", &self.country_name),
            ("COUNTRY_CONTINENT", &self.country_continent),
            ("REGION", &self.region),
            ("CITY", &self.city),
            ("POSTAL_CODE", &self.postal_code),
            ("LATITUDE", &self.latitude),
            ("LONGITUDE", &self.longitude),
            ("DMA_CODE", &self.dma_code),
            ("AREA_CODE", &self.area_code),
        ]
        .into_iter()
        .map(|(name, text)| (name, text.as_str()))
        .filter(|(_, text)| !text.is_empty())
    }

    /// A part by its name, in any case.
    pub(crate) fn part(&self, name: &[u8]) -> Option<&str> {
        self.parts().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name)).map(|(_, text)| text)
    }
}

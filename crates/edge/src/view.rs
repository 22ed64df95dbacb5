//! A request, and its answer once there is one, as the rule language sees them.
//!
//! Everything is a slice of the heads or a fact of the connection; what can be derived from these is the
//! language's own doing. Fields without a source here give their empty value, as
//! `docs/reference/rules.md` says. Called by `shield.rs`.

use std::net::IpAddr;

use exchange::{BodySize, Connection, Request, RequestId, Response, Scheme, TlsVersion, Version};
use rules::{Field, Side, View};
use zone::Whereabouts;

use crate::course::Course;

/// What rules ask about, apart from the heads.
pub(crate) struct Asked<'a> {
    pub(crate) connection: &'a Connection,
    /// The visitor behind trusted proxies.
    pub(crate) visitor: IpAddr,
    /// Where the visitor is.
    pub(crate) whereabouts: Whereabouts,
    /// How the visitor reached the first trusted proxy, or us.
    pub(crate) scheme: Scheme,
    id_hex: [u8; 32],
    pub(crate) zone_name: &'a str,
    /// Calendar time when the request came, in microseconds since 1970.
    pub(crate) unix_us: u64,
    /// Microseconds the exchange has taken so far.
    pub(crate) edge_us: u64,
    /// Microseconds the origin took to its answer.
    pub(crate) origin_us: Option<u64>,
}

impl<'a> Asked<'a> {
    /// The facts of a request that came at `unix_us`.
    pub(crate) fn new(
        connection: &'a Connection,
        (visitor, scheme): (IpAddr, Scheme),
        id: RequestId,
        zone_name: &'a str,
        unix_us: u64,
    ) -> Self {
        let id_hex = id.hex();
        let whereabouts = Whereabouts::default();
        Self {
            connection,
            visitor,
            whereabouts,
            scheme,
            id_hex,
            zone_name,
            unix_us,
            edge_us: 0,
            origin_us: None,
        }
    }

    /// The facts of a course under way.
    pub(crate) fn of(
        course: &Course,
        connection: &'a Connection,
        zone_name: &'a str,
        unix_us: u64,
        now_us: u64,
    ) -> Self {
        let mut asked =
            Self::new(connection, (course.visitor.ip(), course.scheme), course.id, zone_name, unix_us);
        asked.whereabouts = course.whereabouts;
        asked.edge_us = now_us.saturating_sub(course.began_us);
        asked.origin_us = course.origin_us;
        asked
    }
}

/// The heads and the facts together.
pub(crate) struct RequestView<'a> {
    pub(crate) asked: &'a Asked<'a>,
    pub(crate) request: &'a Request,
    /// Path and query after the rules of an earlier phase.
    pub(crate) rewritten: Option<&'a [u8]>,
    pub(crate) response: Option<&'a Response>,
    /// What kind of error page of ours the answer is.
    pub(crate) error_type: &'static str,
}

impl<'a> RequestView<'a> {
    /// A request without an answer.
    pub(crate) fn of(asked: &'a Asked<'a>, request: &'a Request, rewritten: Option<&'a [u8]>) -> Self {
        Self { asked, request, rewritten, response: None, error_type: "" }
    }
}

impl View for RequestView<'_> {
    fn bytes(&self, field: Field) -> Option<&[u8]> {
        let tls = self.asked.connection.tls.as_ref();
        match field {
            Field::HttpHost => Some(self.request.host()),
            Field::Method => Some(self.request.method_token()),
            Field::Version => Some(self.request.version.as_str().as_bytes()),
            Field::Uri => Some(self.rewritten.unwrap_or_else(|| self.request.target())),
            Field::RawUri => Some(self.request.sent_target()),
            Field::Ja4 => tls.and_then(|tls| tls.ja4.as_deref()).map(str::as_bytes),
            Field::TlsVersion => tls.map(|tls| match tls.version {
                TlsVersion::V1_2 => &b"TLSv1.2"[..],
                TlsVersion::V1_3 => b"TLSv1.3",
            }),
            Field::RayId | Field::RandomSeed => Some(&self.asked.id_hex),
            Field::Country => self.asked.whereabouts.country.as_ref().map(|letters| &letters[..]),
            Field::Continent => self.asked.whereabouts.continent.as_ref().map(|letters| &letters[..]),
            Field::ResponseErrorType => self.response.map(|_| self.error_type.as_bytes()),
            Field::ZoneName => Some(self.asked.zone_name.as_bytes()),
            _ => None,
        }
    }

    fn int(&self, field: Field) -> Option<i64> {
        let whole = |number: u64| i64::try_from(number).ok();
        match field {
            Field::TimestampSec => whole(self.asked.unix_us / 1_000_000),
            Field::TimestampMsec => whole(self.asked.unix_us / 1_000 % 1_000),
            Field::BodySize => match self.request.body {
                BodySize::Length(length) => whole(length),
                _ => None,
            },
            Field::Asnum => Some(i64::from(self.asked.whereabouts.asn)),
            Field::ServerPort => Some(i64::from(self.asked.connection.local.port())),
            Field::TimingEdge => whole(self.asked.edge_us / 1_000),
            Field::TimingOriginTtfb => self.asked.origin_us.and_then(|us| whole(us / 1_000)),
            Field::ResponseCode => self.response.map(|response| i64::from(response.status)),
            _ => None,
        }
    }

    fn bool(&self, field: Field) -> Option<bool> {
        let tls = self.asked.connection.tls.as_ref();
        match field {
            Field::EuropeanUnion => Some(self.asked.whereabouts.is_in_european_union),
            Field::Ssl => Some(self.asked.scheme == Scheme::Https),
            Field::ClientTcp => Some(self.request.version != Version::Http3),
            Field::CertPresented | Field::CertVerified => tls.map(|tls| tls.has_client_certificate),
            _ => None,
        }
    }

    fn ip(&self, field: Field) -> Option<IpAddr> {
        match field {
            Field::Ip => Some(self.asked.visitor),
            Field::ServerIp => Some(self.asked.connection.local.ip()),
            _ => None,
        }
    }

    fn header(&self, side: Side, place: usize) -> Option<(&[u8], &[u8])> {
        let fields = match side {
            Side::Request => &self.request.fields,
            // Rules are asked before anything is added to the answer.
            Side::Response | Side::RawResponse => &self.response?.fields,
        };
        fields.at(place).map(|field| (field.name, field.value))
    }
}

#[cfg(test)]
mod tests;

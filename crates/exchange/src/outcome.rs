//! Every way an exchange can end other than by an answer from the origin, by name.
//!
//! A [`Refusal`] is a decision: we said no on purpose. A [`Fault`] is something that broke; its names are the
//! error types of `Proxy-Status` (RFC 9209 §2.3), so that header, log, metric and enum share one word.
//! One function each maps them to a status, and one to words that a visitor may see.

/// Whose doing it is, said on the page a visitor gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The request itself.
    Visitor,
    /// This node.
    Edge,
    /// The customer's server.
    Origin,
}

impl Cause {
    /// As written on pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Visitor => "visitor",
            Self::Edge => "edge",
            Self::Origin => "origin",
        }
    }
}

macro_rules! outcomes {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])+ $variant:ident = $word:literal, $status:literal,
        $cause:ident, $message:literal;)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum $name { $($(#[$doc])+ $variant,)+ }

        impl $name {
            /// Every variant, in order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// The words of all variants, in the same order: the labels of metrics.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The one word for it in headers, logs and metrics.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// The status a visitor gets.
            pub fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)+ }
            }

            /// Whose doing it is.
            pub fn cause(self) -> Cause {
                match self { $(Self::$variant => Cause::$cause,)+ }
            }

            /// What a visitor is told; internals go to the log under the request id.
            pub fn public_message(self) -> &'static str {
                match self { $(Self::$variant => $message,)+ }
            }
        }
    };
}

outcomes! {
    /// Why we said no.
    Refusal {
        /// The request breaks the protocol's grammar or framing.
        Malformed = "malformed_request", 400, Visitor, "The request could not be understood.";
        /// No zone serves the host asked for (RFC 9110 §15.5.20).
        NoZone = "no_zone", 421, Visitor, "No site of that name is served here.";
        /// The connection's handshake does not meet the TLS settings of the zone asked for.
        StricterTls = "stricter_tls", 421, Visitor, "This site asks for a connection of its own.";
        /// `CDN-Loop` names this node already (RFC 8586).
        Loop = "loop_detected", 508, Origin, "The request came back to where it had been.";
        /// No route of the zone takes the request, and it has no pool.
        NoRoute = "no_route", 404, Visitor, "There is nothing at this address.";
        /// The request's head passes the limits.
        HeadTooLarge = "head_too_large", 431, Visitor, "The request's header fields are too large.";
        /// The request's target passes the limits.
        TargetTooLong = "target_too_long", 414, Visitor, "The address asked for is too long.";
        /// The body passes the zone's `max_body_bytes`.
        BodyTooLarge = "body_too_large", 413, Visitor, "The request's body is larger than this site accepts.";
        /// The visitor did not finish the head in time.
        HeadTimeout = "head_timeout", 408, Visitor, "The request did not arrive in time.";
        /// The body stood still, or came slower than the zone's minimum rate.
        BodyTimeout = "body_timeout", 408, Visitor, "The request's body did not arrive in time.";
        /// `Expect` names something other than `100-continue`.
        Expectation = "expectation_failed", 417, Visitor, "The expectation of the request cannot be met.";
        /// A method that is not served: TRACE, and CONNECT without a protocol.
        Method = "method_not_allowed", 405, Visitor, "This method is not served here.";
        /// A transfer coding that is not implemented.
        NotImplemented = "not_implemented", 501, Visitor, "The request asks for something not implemented.";
        /// An HTTP version that is not spoken.
        Version = "version_not_supported", 505, Visitor, "This version of HTTP is not spoken here.";
        /// The zone does not allow a change of protocol.
        Upgrade = "upgrade_refused", 403, Visitor, "This site does not change protocols.";
        /// The node has as many connections or exchanges as it may.
        Overload = "overload", 503, Edge, "This node is busy; please try again shortly.";
        /// The request cost more work or memory than one request may.
        TooCostly = "too_costly", 403, Visitor, "The request asks for more work than one request may.";
        /// The visitor's address is on the emergency block list.
        Blocked = "blocked", 403, Visitor, "Requests from your address are not served for now.";
        /// A rule of the zone says no.
        RuleBlocked = "rule_blocked", 403, Visitor, "This site does not answer such requests.";
        /// A rule of the zone asks for a challenge, and there are none yet.
        ChallengeRequired = "challenge_required", 403, Visitor,
            "This site asks for a proof that you are a person, which cannot be given here yet.";
        /// A rule of the zone's web application firewall says no to the request.
        WafBlocked = "waf_blocked", 403, Visitor, "This site does not answer such requests.";
        /// A rule of the zone's web application firewall keeps the origin's answer back.
        WafWithheld = "waf_withheld", 403, Origin, "The site's answer is not shown.";
        /// The body is larger than the zone's web application firewall inspects, and the zone refuses what is
        /// not inspected.
        Uninspected = "uninspected", 413, Visitor, "The request's body is too large to be inspected.";
        /// The request takes nothing but what is stored, and nothing that may be used is (RFC 9111 §5.2.1.7).
        OnlyIfCached = "only_if_cached", 504, Visitor, "Nothing of this is stored here.";
        /// Requests like this one have ended a serving process twice; it comes in again after a while.
        DeadlyRequest = "deadly_request", 503, Edge, "This request cannot be served for now.";
        /// More requests in a time than a rate limit of the zone lets through.
        RateLimited = "rate_limited", 429, Visitor, "You have sent too many requests; please wait a little.";
        /// More requests at once than a concurrency limit of the zone lets through.
        ConcurrencyLimited = "concurrency_limited", 429, Visitor,
            "You have too many requests under way at once; please wait for some of them.";
        /// As many requests under way as a concurrency limit lets the whole zone have.
        ZoneFull = "zone_full", 503, Edge, "This site is busy; please try again shortly.";
        /// A generated limit of a zone whose load has left what is usual.
        FloodLimited = "flood_limited", 429, Visitor,
            "This site gets too many requests of this kind; please wait a little.";
    }
}

outcomes! {
    /// What broke, in the words of RFC 9209 §2.3.
    Fault {
        /// The origin's name was not resolved in time.
        DnsTimeout = "dns_timeout", 504, Origin, "The site's server could not be found in time.";
        /// The origin's name does not resolve.
        DnsError = "dns_error", 502, Origin, "The site's server could not be found.";
        /// No origin can be chosen: the pool has none that may be used.
        DestinationUnavailable = "destination_unavailable", 503, Origin,
            "The site's servers are not available.";
        /// No route to the origin's address.
        DestinationIpUnroutable = "destination_ip_unroutable", 502, Origin,
            "The site's server cannot be reached.";
        /// The origin refused the connection.
        ConnectionRefused = "connection_refused", 502, Origin, "The site's server refused the connection.";
        /// The connection ended before the answer was complete.
        ConnectionTerminated = "connection_terminated", 502, Origin,
            "The site's server closed the connection before it had answered.";
        /// The connection to the origin was not made in time.
        ConnectionTimeout = "connection_timeout", 504, Origin,
            "The site's server could not be reached in time.";
        /// The origin stood still in the middle of its answer.
        ConnectionReadTimeout = "connection_read_timeout", 504, Origin, "The site's server stopped sending.";
        /// The origin did not take the request in time.
        ConnectionWriteTimeout = "connection_write_timeout", 504, Origin,
            "The site's server stopped reading.";
        /// The pool's origins have as many requests or connections as they may, and no place became free in
        /// time.
        ConnectionLimitReached = "connection_limit_reached", 503, Origin, "The site's servers are busy.";
        /// TLS with the origin failed.
        TlsProtocolError = "tls_protocol_error", 502, Origin,
            "No secure connection to the site's server could be made.";
        /// The origin's certificate was not accepted.
        TlsCertificateError = "tls_certificate_error", 502, Origin,
            "The certificate of the site's server was not accepted.";
        /// The origin ended TLS with an alert.
        TlsAlertReceived = "tls_alert_received", 502, Origin,
            "The site's server refused the secure connection.";
        /// The answer ended too early.
        HttpResponseIncomplete = "http_response_incomplete", 502, Origin, "The site's answer was cut short.";
        /// The answer's header section is too large.
        HttpResponseHeaderSectionSize = "http_response_header_section_size", 502, Origin,
            "The header of the site's answer is too large.";
        /// The answer uses a transfer coding that is not understood.
        HttpResponseTransferCoding = "http_response_transfer_coding", 502, Origin,
            "The site's answer could not be understood.";
        /// No answer began in time.
        HttpResponseTimeout = "http_response_timeout", 504, Origin,
            "The site's server did not answer in time.";
        /// A change of protocol did not come about.
        HttpUpgradeFailed = "http_upgrade_failed", 502, Origin, "The site's server did not change protocols.";
        /// The origin's answer breaks the protocol.
        HttpProtocolError = "http_protocol_error", 502, Origin, "The site's answer could not be understood.";
        /// Something broke in this node.
        ProxyInternalError = "proxy_internal_error", 500, Edge, "Something went wrong in this node.";
        /// The configuration does not say what to do with this request.
        ProxyConfigurationError = "proxy_configuration_error", 500, Edge,
            "This site is not set up completely.";
    }
}

impl From<http1::Malformed> for Refusal {
    /// The refusal for a head or body that `http1` would not read.
    fn from(malformed: http1::Malformed) -> Self {
        match malformed.status() {
            408 => Self::HeadTimeout,
            413 => Self::BodyTooLarge,
            414 => Self::TargetTooLong,
            417 => Self::Expectation,
            431 => Self::HeadTooLarge,
            501 => Self::NotImplemented,
            505 => Self::Version,
            _ => Self::Malformed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_statuses_are_errors() {
        let mut words: Vec<_> = Refusal::WORDS.iter().chain(Fault::WORDS).collect();
        let all = words.len();
        words.sort();
        words.dedup();
        assert_eq!(words.len(), all);
        assert!(Refusal::ALL.iter().all(|r| (400..600).contains(&r.status())));
        assert!(Fault::ALL.iter().all(|f| (500..600).contains(&f.status())));
    }
}

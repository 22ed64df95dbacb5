//! The table of fields. Kept by hand; one entry makes the variant, its name and its row in the reference.
//!
//! It decides nothing. Read next: `derive.rs`, which makes the derived ones.

use super::{Row, Source, When};
use crate::kind::{Scalar, Shape, Type};

macro_rules! fields {
    ($($variant:ident $name:literal $ty:ident $source:ident $when:ident $(= $empty:literal)?
        $meaning:literal;)*) => {
        /// A field of the language.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Field {
            $(#[doc = $meaning] $variant,)*
        }

        impl Field {
            /// All fields, in the order of the reference.
            pub const ALL: &'static [Field] = &[$(Field::$variant),*];

            /// Its line of the table.
            #[must_use]
            pub fn row(self) -> &'static Row {
                static ROWS: &[Row] = &[$(Row {
                    name: $name,
                    ty: $ty,
                    source: Source::$source,
                    when: When::$when,
                    empty_int: 0 $(+ $empty)?,
                    meaning: $meaning,
                }),*];
                let row = ROWS.get(self as usize);
                row.expect("the table has one row for each variant, in the same order")
            }
        }
    };
}

const BOOL: Type = Type::BOOL;
const INT: Type = Type::INT;
const BYTES: Type = Type::BYTES;
const IP: Type = Type::IP;
const LIST: Type = Type::array(Scalar::Bytes);
const INTS: Type = Type::array(Scalar::Int);
const LISTS: Type = Type { scalar: Scalar::Bytes, shape: Shape::ArrayOfArrays };
const MAP: Type = Type { scalar: Scalar::Bytes, shape: Shape::MapOfArrays };
const INT_LISTS: Type = Type { scalar: Scalar::Int, shape: Shape::MapOfArrays };
const INT_MAP: Type = Type { scalar: Scalar::Int, shape: Shape::Map };

fields! {
    Cookie "http.cookie" BYTES Derived Request
        "The whole Cookie header, several joined by \"; \".";
    HttpHost "http.host" BYTES Given Request
        "The host the visitor asked for, without port; else the Host header.";
    Referer "http.referer" BYTES Derived Request
        "The Referer header.";
    UserAgent "http.user_agent" BYTES Derived Request
        "The User-Agent header.";
    XForwardedFor "http.x_forwarded_for" BYTES Derived Request
        "The whole X-Forwarded-For header, several joined by \", \".";
    Method "http.request.method" BYTES Given Request
        "The method, as sent.";
    Version "http.request.version" BYTES Given Request
        "`HTTP/1.1`, `HTTP/2` or `HTTP/3`.";
    FullUri "http.request.full_uri" BYTES Derived Request
        "Scheme, host, path and query.";
    Uri "http.request.uri" BYTES Given Request
        "Path and query.";
    Path "http.request.uri.path" BYTES Derived Request
        "The path.";
    Extension "http.request.uri.path.extension" BYTES Derived Request
        "What follows the last dot of the last segment, in lower case.";
    Query "http.request.uri.query" BYTES Derived Request
        "The query string, without the question mark.";
    Args "http.request.uri.args" MAP Derived Request
        "Arguments of the query string by name, neither names nor values decoded.";
    ArgNames "http.request.uri.args.names" LIST Derived Request
        "Names of arguments, in order, repeated ones too.";
    ArgValues "http.request.uri.args.values" LIST Derived Request
        "Values of arguments, in order.";
    Headers "http.request.headers" MAP Given Request
        "Header fields by name in lower case.";
    HeaderNames "http.request.headers.names" LIST Derived Request
        "Names of header fields, in order and as sent.";
    HeaderValues "http.request.headers.values" LIST Derived Request
        "Values of header fields, in order.";
    HeadersTruncated "http.request.headers.truncated" BOOL Given Request
        "Whether there were more header fields than are looked at.";
    Cookies "http.request.cookies" MAP Derived Request
        "Cookies by name; names are URL-decoded, values are not.";
    AcceptedLanguages "http.request.accepted_languages" LIST Derived Request
        "Language tags of Accept-Language by falling weight, without `*`.";
    BodyRaw "http.request.body.raw" BYTES Absent Request
        "The part of the body that was inspected.";
    BodySize "http.request.body.size" INT Given Request
        "The size of the whole body in bytes, as far as it is known.";
    BodyTruncated "http.request.body.truncated" BOOL Absent Request
        "Whether the body is longer than the part that was inspected.";
    BodyMime "http.request.body.mime" BYTES Absent Request
        "The media type the body looks like.";
    Form "http.request.body.form" MAP Absent Request
        "Fields of an urlencoded form by name, not decoded.";
    FormNames "http.request.body.form.names" LIST Absent Request
        "Names of form fields, in order.";
    FormValues "http.request.body.form.values" LIST Absent Request
        "Values of form fields, in order.";
    Multipart "http.request.body.multipart" MAP Absent Request
        "Parts of a multipart body by name.";
    MultipartNames "http.request.body.multipart.names" LISTS Absent Request
        "Names of each part.";
    MultipartValues "http.request.body.multipart.values" LIST Absent Request
        "Content of each part.";
    MultipartFilenames "http.request.body.multipart.filenames" LISTS Absent Request
        "File names of each part.";
    MultipartContentTypes "http.request.body.multipart.content_types" LISTS Absent Request
        "Content-Type headers of each part.";
    MultipartDispositions "http.request.body.multipart.content_dispositions" LISTS Absent Request
        "Content-Disposition headers of each part.";
    MultipartEncodings "http.request.body.multipart.content_transfer_encodings" LISTS Absent Request
        "Content-Transfer-Encoding headers of each part.";
    TimestampSec "http.request.timestamp.sec" INT Given Request
        "When the request came, in seconds since 1970.";
    TimestampMsec "http.request.timestamp.msec" INT Given Request
        "The milliseconds of that second, 0 to 999.";
    JwtAud "http.request.jwt.claims.aud" MAP Absent Request
        "The audience of each token, by the name of its configuration.";
    JwtAudNames "http.request.jwt.claims.aud.names" LIST Absent Request
        "Names of configurations whose tokens have this claim (audience).";
    JwtAudValues "http.request.jwt.claims.aud.values" LIST Absent Request
        "The audience of all tokens.";
    JwtIss "http.request.jwt.claims.iss" MAP Absent Request
        "The issuer of each token, by the name of its configuration.";
    JwtIssNames "http.request.jwt.claims.iss.names" LIST Absent Request
        "Names of configurations whose tokens have this claim (issuer).";
    JwtIssValues "http.request.jwt.claims.iss.values" LIST Absent Request
        "The issuer of all tokens.";
    JwtJti "http.request.jwt.claims.jti" MAP Absent Request
        "The identifier of each token, by the name of its configuration.";
    JwtJtiNames "http.request.jwt.claims.jti.names" LIST Absent Request
        "Names of configurations whose tokens have this claim (identifier).";
    JwtJtiValues "http.request.jwt.claims.jti.values" LIST Absent Request
        "The identifier of all tokens.";
    JwtSub "http.request.jwt.claims.sub" MAP Absent Request
        "The subject of each token, by the name of its configuration.";
    JwtSubNames "http.request.jwt.claims.sub.names" LIST Absent Request
        "Names of configurations whose tokens have this claim (subject).";
    JwtSubValues "http.request.jwt.claims.sub.values" LIST Absent Request
        "The subject of all tokens.";
    JwtIatSec "http.request.jwt.claims.iat.sec" INT_LISTS Absent Request
        "The time of issue in seconds of each token, by the name of its configuration.";
    JwtIatSecNames "http.request.jwt.claims.iat.sec.names" LIST Absent Request
        "Names of configurations whose tokens have this claim (time of issue in seconds).";
    JwtIatSecValues "http.request.jwt.claims.iat.sec.values" INTS Absent Request
        "The time of issue in seconds of all tokens.";
    JwtNbfSec "http.request.jwt.claims.nbf.sec" INT_LISTS Absent Request
        "The first second of validity of each token, by the name of its configuration.";
    JwtNbfSecNames "http.request.jwt.claims.nbf.sec.names" LIST Absent Request
        "Names of configurations whose tokens have this claim (first second of validity).";
    JwtNbfSecValues "http.request.jwt.claims.nbf.sec.values" INTS Absent Request
        "The first second of validity of all tokens.";
    RawFullUri "raw.http.request.full_uri" BYTES Derived Request
        "Scheme, host, path and query as they came, before any rewrite.";
    RawUri "raw.http.request.uri" BYTES Given Request
        "Path and query as they came.";
    RawPath "raw.http.request.uri.path" BYTES Derived Request
        "The path as it came.";
    RawExtension "raw.http.request.uri.path.extension" BYTES Derived Request
        "The extension of the path as it came, case kept.";
    RawQuery "raw.http.request.uri.query" BYTES Derived Request
        "The query string as it came.";
    RawArgs "raw.http.request.uri.args" MAP Derived Request
        "Arguments as they came, by name.";
    RawArgNames "raw.http.request.uri.args.names" LIST Derived Request
        "Names of arguments as they came.";
    RawArgValues "raw.http.request.uri.args.values" LIST Derived Request
        "Values of arguments as they came.";
    ResponseCode "http.response.code" INT Given Response
        "The status of the response.";
    ResponseHeaders "http.response.headers" MAP Given Response
        "Header fields of the response by name in lower case.";
    ResponseHeaderNames "http.response.headers.names" LIST Derived Response
        "Names of header fields of the response.";
    ResponseHeaderValues "http.response.headers.values" LIST Derived Response
        "Values of header fields of the response.";
    ResponseMediaType "http.response.content_type.media_type" BYTES Derived Response
        "The response's media type in lower case, without parameters.";
    RawResponseHeaders "raw.http.response.headers" MAP Given Response
        "Header fields as the origin sent them, by name in lower case.";
    RawResponseHeaderNames "raw.http.response.headers.names" LIST Derived Response
        "Names of header fields as the origin sent them.";
    RawResponseHeaderValues "raw.http.response.headers.values" LIST Derived Response
        "Values of header fields as the origin sent them.";
    ResponseErrorType "cf.response.error_type" BYTES Given Response
        "What kind of error page this is (`waf`, `ratelimit`, `5xx`, …); empty for none.";
    Response1xxxCode "cf.response.1xxx_code" INT Absent Response
        "The code of a 1xxx error page of other products.";
    Ip "ip.src" IP Given Request
        "The visitor's address.";
    Asnum "ip.src.asnum" INT Given Request
        "The number of the visitor's network.";
    Country "ip.src.country" BYTES Given Request
        "Country in two letters (ISO 3166-1), such as `GB`.";
    Continent "ip.src.continent" BYTES Given Request
        "Continent in two letters, such as `EU`.";
    City "ip.src.city" BYTES Absent Request
        "Name of the city.";
    PostalCode "ip.src.postal_code" BYTES Absent Request
        "Postal code.";
    MetroCode "ip.src.metro_code" BYTES Absent Request
        "Code of the media market.";
    Region "ip.src.region" BYTES Absent Request
        "Name of the region.";
    RegionCode "ip.src.region_code" BYTES Absent Request
        "Code of the region.";
    Subdivision1 "ip.src.subdivision_1_iso_code" BYTES Absent Request
        "First-level region (ISO 3166-2), such as `GB-ENG`.";
    Subdivision2 "ip.src.subdivision_2_iso_code" BYTES Absent Request
        "Second-level region (ISO 3166-2).";
    Latitude "ip.src.lat" BYTES Absent Request
        "Latitude in degrees, as text.";
    Longitude "ip.src.lon" BYTES Absent Request
        "Longitude in degrees, as text.";
    Timezone "ip.src.timezone.name" BYTES Absent Request
        "Name of the time zone, such as `Europe/London`.";
    EuropeanUnion "ip.src.is_in_european_union" BOOL Given Request
        "Whether the visitor's country is in the European Union.";
    Ssl "ssl" BOOL Given Request
        "Whether the visitor came over TLS.";
    BotScore "cf.bot_management.score" INT Absent Request = 99
        "1 (surely a bot) to 99 (surely a person). Without a score: 99.";
    VerifiedBot "cf.bot_management.verified_bot" BOOL Absent Request
        "Whether this is a known good bot.";
    StaticResource "cf.bot_management.static_resource" BOOL Absent Request
        "Whether a static file was asked for.";
    JsPassed "cf.bot_management.js_detection.passed" BOOL Absent Request
        "Whether the visitor passed a test by script.";
    CorporateProxy "cf.bot_management.corporate_proxy" BOOL Absent Request
        "Whether this is a known proxy of a company.";
    SignedAgent "cf.bot_management.signed_agent" BOOL Absent Request
        "Whether this is an agent that signs its requests.";
    Ja3 "cf.bot_management.ja3_hash" BYTES Absent Request
        "JA3 fingerprint of the TLS hello.";
    Ja4 "cf.bot_management.ja4" BYTES Given Request
        "JA4 fingerprint of the TLS hello.";
    DetectionIds "cf.bot_management.detection_ids" INTS Absent Request
        "Numbers of the bot heuristics that hold.";
    ClientBot "cf.client.bot" BOOL Absent Request
        "Whether this is a known good bot.";
    VerifiedBotCategory "cf.verified_bot_category" BYTES Absent Request
        "Purpose of a known good bot.";
    ThreatScore "cf.threat_score" INT Absent Request
        "Always 0, as elsewhere by now.";
    WafScore "cf.waf.score" INT Absent Request = 100
        "1 (surely an attack) to 99 (surely none); 100: not scored.";
    WafScoreSqli "cf.waf.score.sqli" INT Absent Request = 100
        "The same for SQL injection.";
    WafScoreXss "cf.waf.score.xss" INT Absent Request = 100
        "The same for cross-site scripting.";
    WafScoreRce "cf.waf.score.rce" INT Absent Request = 100
        "The same for code execution.";
    WafScoreClass "cf.waf.score.class" BYTES Absent Request
        "`attack`, `likely_attack`, `likely_clean` or `clean`; empty: not scored.";
    WafAuthDetected "cf.waf.auth_detected" BOOL Absent Request
        "Whether the request carries credentials.";
    CredPasswordLeaked "cf.waf.credential_check.password_leaked" BOOL Absent Request
        "A finding about credentials: password leaked.";
    CredUsernameLeaked "cf.waf.credential_check.username_leaked" BOOL Absent Request
        "A finding about credentials: username leaked.";
    CredUsernameAndPasswordLeaked "cf.waf.credential_check.username_and_password_leaked" BOOL Absent Request
        "A finding about credentials: username and password leaked.";
    CredUsernamePasswordSimilar "cf.waf.credential_check.username_password_similar" BOOL Absent Request
        "A finding about credentials: username password similar.";
    ScanHasObj "cf.waf.content_scan.has_obj" BOOL Absent Request
        "A finding about uploaded files: has object.";
    ScanHasMaliciousObj "cf.waf.content_scan.has_malicious_obj" BOOL Absent Request
        "A finding about uploaded files: has malicious object.";
    ScanHasFailed "cf.waf.content_scan.has_failed" BOOL Absent Request
        "A finding about uploaded files: has failed.";
    ScanNumObj "cf.waf.content_scan.num_obj" INT Absent Request
        "A finding about uploaded files: number of object.";
    ScanNumMaliciousObj "cf.waf.content_scan.num_malicious_obj" INT Absent Request
        "A finding about uploaded files: number of malicious object.";
    ScanObjSizes "cf.waf.content_scan.obj_sizes" INTS Absent Request
        "A finding about uploaded files: object sizes.";
    ScanObjTypes "cf.waf.content_scan.obj_types" LIST Absent Request
        "A finding about uploaded files: object types.";
    ScanObjResults "cf.waf.content_scan.obj_results" LIST Absent Request
        "A finding about uploaded files: object results.";
    PromptDetected "cf.llm.prompt.detected" BOOL Absent Request
        "A finding about a prompt: detected.";
    PromptPiiDetected "cf.llm.prompt.pii_detected" BOOL Absent Request
        "A finding about a prompt: pii detected.";
    PromptPiiCategories "cf.llm.prompt.pii_categories" LIST Absent Request
        "A finding about a prompt: pii categories.";
    PromptUnsafeTopicDetected "cf.llm.prompt.unsafe_topic_detected" BOOL Absent Request
        "A finding about a prompt: unsafe topic detected.";
    PromptUnsafeTopicCategories "cf.llm.prompt.unsafe_topic_categories" LIST Absent Request
        "A finding about a prompt: unsafe topic categories.";
    PromptInjectionScore "cf.llm.prompt.injection_score" INT Absent Request = 100
        "A finding about a prompt: injection score; 100: not scored.";
    PromptTokenCount "cf.llm.prompt.token_count" INT Absent Request
        "A finding about a prompt: token count.";
    PromptCustomTopicCategories "cf.llm.prompt.custom_topic_categories" INT_MAP Absent Request
        "A finding about a prompt: custom topic categories.";
    ApiAuthIdPresent "cf.api_gateway.auth_id_present" BOOL Absent Request
        "A finding about an API: auth id present.";
    ApiRequestViolatesSchema "cf.api_gateway.request_violates_schema" BOOL Absent Request
        "A finding about an API: request violates schema.";
    ApiFallthroughDetected "cf.api_gateway.fallthrough_detected" BOOL Absent Request
        "A finding about an API: fallthrough detected.";
    SchemaLearnedViolated "cf.schema_validation.learned.violated" BOOL Absent Request
        "Whether the request violates the learned schema.";
    SchemaUploadedViolated "cf.schema_validation.uploaded.violated" BOOL Absent Request
        "Whether the request violates the uploaded schema.";
    ServerIp "cf.edge.server_ip" IP Given Request
        "The address of ours the visitor came to.";
    ServerPort "cf.edge.server_port" INT Given Request
        "The port of ours the visitor came to.";
    ClientTcp "cf.edge.client_tcp" BOOL Given Request
        "Whether the visitor came over TCP (false: QUIC).";
    DeliveryRate "cf.edge.l4.delivery_rate" INT Absent Request
        "Delivery rate of the connection in bytes per second.";
    HostnameMetadata "cf.hostname.metadata" BYTES Absent Request
        "Metadata of the hostname as JSON.";
    RandomSeed "cf.random_seed" BYTES Given Request
        "Random bytes of this request, for uuidv4().";
    RayId "cf.ray_id" BYTES Given Request
        "The request's id.";
    TlsVersion "cf.tls_version" BYTES Given Request
        "`TLSv1.2` or `TLSv1.3`; empty without TLS.";
    TlsCipher "cf.tls_cipher" BYTES Absent Request
        "The cipher suite of the connection.";
    TlsHelloLength "cf.tls_client_hello_length" INT Absent Request
        "Length of the TLS hello in bytes.";
    TlsRandom "cf.tls_client_random" BYTES Absent Request
        "The random of the TLS hello in Base64.";
    TlsExtensionsSha1 "cf.tls_client_extensions_sha1" BYTES Absent Request
        "SHA-1 of the extensions of the TLS hello in Base64.";
    TlsExtensionsSha1Le "cf.tls_client_extensions_sha1_le" BYTES Absent Request
        "The same, little-endian.";
    TlsCiphersSha1 "cf.tls_ciphers_sha1" BYTES Absent Request
        "SHA-1 of the cipher suites of the TLS hello in Base64.";
    CertPresented "cf.tls_client_auth.cert_presented" BOOL Given Request
        "Of the visitor's certificate: presented.";
    CertVerified "cf.tls_client_auth.cert_verified" BOOL Given Request
        "Of the visitor's certificate: verified.";
    CertRevoked "cf.tls_client_auth.cert_revoked" BOOL Absent Request
        "Of the visitor's certificate: revoked.";
    CertIssuerDn "cf.tls_client_auth.cert_issuer_dn" BYTES Absent Request
        "Of the visitor's certificate: issuer name.";
    CertSubjectDn "cf.tls_client_auth.cert_subject_dn" BYTES Absent Request
        "Of the visitor's certificate: subject name.";
    CertIssuerDnRfc2253 "cf.tls_client_auth.cert_issuer_dn_rfc2253" BYTES Absent Request
        "Of the visitor's certificate: issuer name as of RFC 2253.";
    CertSubjectDnRfc2253 "cf.tls_client_auth.cert_subject_dn_rfc2253" BYTES Absent Request
        "Of the visitor's certificate: subject name as of RFC 2253.";
    CertIssuerDnLegacy "cf.tls_client_auth.cert_issuer_dn_legacy" BYTES Absent Request
        "Of the visitor's certificate: issuer name legacy.";
    CertSubjectDnLegacy "cf.tls_client_auth.cert_subject_dn_legacy" BYTES Absent Request
        "Of the visitor's certificate: subject name legacy.";
    CertSerial "cf.tls_client_auth.cert_serial" BYTES Absent Request
        "Of the visitor's certificate: serial.";
    CertIssuerSerial "cf.tls_client_auth.cert_issuer_serial" BYTES Absent Request
        "Of the visitor's certificate: issuer serial.";
    CertFingerprintSha256 "cf.tls_client_auth.cert_fingerprint_sha256" BYTES Absent Request
        "Of the visitor's certificate: fingerprint SHA-256.";
    CertFingerprintSha1 "cf.tls_client_auth.cert_fingerprint_sha1" BYTES Absent Request
        "Of the visitor's certificate: fingerprint SHA-1.";
    CertNotBefore "cf.tls_client_auth.cert_not_before" BYTES Absent Request
        "Of the visitor's certificate: not before.";
    CertNotAfter "cf.tls_client_auth.cert_not_after" BYTES Absent Request
        "Of the visitor's certificate: not after.";
    CertSki "cf.tls_client_auth.cert_ski" BYTES Absent Request
        "Of the visitor's certificate: key identifier.";
    CertIssuerSki "cf.tls_client_auth.cert_issuer_ski" BYTES Absent Request
        "Of the visitor's certificate: issuer key identifier.";
    CertRfc9440 "cf.tls_client_auth.cert_rfc9440" BYTES Absent Request
        "Of the visitor's certificate: as of RFC 9440.";
    CertRfc9440TooLarge "cf.tls_client_auth.cert_rfc9440_too_large" BOOL Absent Request
        "Of the visitor's certificate: as of RFC 9440 too large.";
    CertChainRfc9440 "cf.tls_client_auth.cert_chain_rfc9440" BYTES Absent Request
        "Of the visitor's certificate: chain as of RFC 9440.";
    CertChainRfc9440TooLarge "cf.tls_client_auth.cert_chain_rfc9440_too_large" BOOL Absent Request
        "Of the visitor's certificate: chain as of RFC 9440 too large.";
    TimingClientTcpRtt "cf.timings.client_tcp_rtt_msec" INT Absent Request
        "Round-trip time over TCP in milliseconds.";
    TimingClientQuicRtt "cf.timings.client_quic_rtt_msec" INT Absent Request
        "Round-trip time over QUIC in milliseconds.";
    TimingEdge "cf.timings.edge_msec" INT Given Request
        "Time spent here in milliseconds.";
    TimingOriginTtfb "cf.timings.origin_ttfb_msec" INT Given Request
        "Time to the origin's first byte in milliseconds.";
    TimingWorker "cf.timings.worker_msec" INT Absent Request
        "Time spent in a script in milliseconds.";
    WorkerZone "cf.worker.upstream_zone" BYTES Absent Request
        "Zone of the script that made the request.";
    ZoneName "cf.zone.name" BYTES Given Request
        "Name of the zone.";
    ZonePlan "cf.zone.plan" BYTES Absent Request
        "Plan of the zone, in other products.";
}

//! Directives that set the engine: their values, and which of them have an effect here.
//!
//! Files, logs and limits of memory are the proxy's own business, so many directives are read, checked for
//! their name and left without effect, each with the reason; what would need a program, a server or a store
//! is an error. Called by [`crate::load`]. Read next: [`Settings`].

use crate::body::XmlArguments;
use crate::limits::{REQUEST_BODY_INSPECTED_BYTES, RESPONSE_BODY_INSPECTED_BYTES, UPLOAD_FILES_MAX};
use crate::model::EngineMode;
use crate::parse::actions::{engine_mode, xml_arguments};
use crate::problem::Wrong;

/// What the rules say about the engine; callers may override it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// `SecRuleEngine`; default `DetectionOnly`. A zone's own mode goes before it.
    pub mode: EngineMode,
    /// `SecRequestBodyAccess`; default on.
    pub request_body_access: bool,
    /// `SecResponseBodyAccess`; default off, as in ModSecurity.
    pub response_body_access: bool,
    /// Bytes of a request's body that are inspected, file parts not counted: `SecRequestBodyNoFilesLimit`;
    /// default and most [`REQUEST_BODY_INSPECTED_BYTES`].
    pub request_body_bytes: usize,
    /// Bytes of a response's body that are inspected: `SecResponseBodyLimit`; default and most
    /// [`RESPONSE_BODY_INSPECTED_BYTES`].
    pub response_body_bytes: usize,
    /// `SecResponseBodyMimeType`; default `text/plain`, `text/html`, `text/xml`; lower case.
    pub response_body_types: Vec<String>,
    /// `SecRequestBodyJsonDepthLimit`; default 512.
    pub json_depth: usize,
    /// `SecArgumentsLimit`; default 1,000.
    pub arguments: usize,
    /// `SecArgumentSeparator`; default `&`.
    pub argument_separator: u8,
    /// `SecParseXmlIntoArgs`; default off.
    pub xml_arguments: XmlArguments,
    /// Files of a multipart body: `SecUploadFileLimit`; default and most 1,000.
    pub upload_files: usize,
    /// `SecHttpBlKey`: what questions to `dnsbl.httpbl.org` begin with.
    pub http_bl_key: Option<String>,
    /// `SecWebAppId`.
    pub web_app_id: String,
    /// `SecComponentSignature`, in order.
    pub components: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: EngineMode::default(),
            request_body_access: true,
            response_body_access: false,
            request_body_bytes: REQUEST_BODY_INSPECTED_BYTES,
            response_body_bytes: RESPONSE_BODY_INSPECTED_BYTES,
            response_body_types: ["text/plain", "text/html", "text/xml"].map(str::to_owned).to_vec(),
            json_depth: 512,
            arguments: 1_000,
            argument_separator: b'&',
            xml_arguments: XmlArguments::Off,
            upload_files: UPLOAD_FILES_MAX,
            http_bl_key: None,
            web_app_id: "default".to_owned(),
            components: Vec::new(),
        }
    }
}

/// Directives that set the engine; those of code pages are read by [`crate::load`].
pub(crate) const APPLIED: &[&str] = &[
    "SecArgumentSeparator",
    "SecArgumentsLimit",
    "SecComponentSignature",
    "SecHttpBlKey",
    "SecParseXmlIntoArgs",
    "SecRequestBodyAccess",
    "SecRequestBodyJsonDepthLimit",
    "SecRequestBodyNoFilesLimit",
    "SecResponseBodyAccess",
    "SecResponseBodyLimit",
    "SecResponseBodyMimeType",
    "SecResponseBodyMimeTypesClear",
    "SecRuleEngine",
    "SecUnicodeCodePage",
    "SecUnicodeMapFile",
    "SecUploadFileLimit",
    "SecWebAppId",
];

/// Directives that are read by [`crate::load`].
pub(crate) const RULES: &[&str] = &[
    "Include",
    "IncludeOptional",
    "SecAction",
    "SecDefaultAction",
    "SecMarker",
    "SecRule",
    "SecRuleRemoveById",
    "SecRuleRemoveByMsg",
    "SecRuleRemoveByTag",
    "SecRuleUpdateActionById",
    "SecRuleUpdateTargetById",
    "SecRuleUpdateTargetByMsg",
    "SecRuleUpdateTargetByTag",
];

/// Directives without effect, each with what does their work here, or why nothing is lost.
pub(crate) const IDLE: &[(&[&str], &str)] = &[
    (
        &[
            "SecAuditEngine",
            "SecAuditLog",
            "SecAuditLog2",
            "SecAuditLogDirMode",
            "SecAuditLogFileMode",
            "SecAuditLogFormat",
            "SecAuditLogParts",
            "SecAuditLogPrefix",
            "SecAuditLogRelevantStatus",
            "SecAuditLogStorageDir",
            "SecAuditLogType",
            "SecSensorId",
        ],
        "the access log has each request with the rules it matched, and `rempart trace` what they matched \
         on; no log holds bodies",
    ),
    (&["SecCacheTransformations"], "results of transformations are shared by all rules, always"),
    (&["SecCollectionTimeout", "SecDataDir"], "no collection outlives a transaction"),
    (
        &["SecContentInjection", "SecStreamInBodyInspection", "SecStreamOutBodyInspection"],
        "bodies are not rewritten, and a rule that names what these fill is a load error",
    ),
    (&["SecDebugLog", "SecDebugLogLevel"], "`rempart trace` tells of one request what every phase did"),
    (
        &["SecDisableBackendCompression"],
        "origins are asked for answers without compression where answers are inspected",
    ),
    (&["SecGeoLookupDb"], "`@geoLookup` asks the file `country` of `[geo]` in the node file"),
    (&["SecInterceptOnError"], "what becomes of a request when rules break is `waf` in `[fail_modes]`"),
    (
        &["SecPcreMatchLimit", "SecPcreMatchLimitRecursion"],
        "patterns run in linear time, and each request has a budget of steps",
    ),
    (
        &[
            "SecRequestBodyInMemoryLimit",
            "SecTmpDir",
            "SecTmpSaveUploadedFiles",
            "SecUploadDir",
            "SecUploadFileMode",
            "SecUploadKeepFiles",
        ],
        "bodies stream and are never written to disk; who wants uploads kept keeps them at the origin",
    ),
    (
        &["SecRequestBodyLimit", "SecRequestBodyLimitAction"],
        "a bound on bodies is `max_body_bytes` in `[http]`, and what is larger than the window is let by or \
         refused as `uninspected` in `[waf]` says",
    ),
    (
        &["SecResponseBodyLimitAction"],
        "what of an answer lies behind the window streams by (`ProcessPartial`), and is marked",
    ),
    (&["SecRuleInheritance"], "a zone has one list of rules"),
    (&["SecRulePerfTime"], "`rempart_rule_steps_total` counts the work of rules"),
    (&["SecServerSignature"], "a rule of the phase `http_response_headers_transform` sets `Server`"),
    (&["SecStatusEngine"], "nothing is reported to anybody"),
    (
        &["SecXmlExternalEntity"],
        "nothing outside a document is ever read, and a reference to such an entity is an error of the body",
    ),
];

/// Values that a directive may have although it has no effect: all others would have one that there is not.
const HARMLESS: &[(&str, &str)] = &[("SecCookieFormat", "0"), ("SecCookieV0Separator", ";")];

/// Directives of ModSecurity that cannot be had, with the reason.
pub(crate) const REFUSED: &[(&str, &str)] = &[
    ("SecChrootDir", "the process is confined by the service manager"),
    ("SecConnEngine", "connections are limited by the node"),
    ("SecConnReadStateLimit", "connections are limited by the node"),
    ("SecConnWriteStateLimit", "connections are limited by the node"),
    ("SecReadStateLimit", "connections are limited by the node"),
    ("SecWriteStateLimit", "connections are limited by the node"),
    ("SecGsbLookupDb", "no server is asked while a visitor waits"),
    ("SecGuardianLog", "rules may not run programs"),
    ("SecHashEngine", "pages are not rewritten"),
    ("SecHashKey", "pages are not rewritten"),
    ("SecHashMethodPm", "pages are not rewritten"),
    ("SecHashMethodRx", "pages are not rewritten"),
    ("SecHashParam", "pages are not rewritten"),
    ("SecReadStateLimit", "connections are limited by the node"),
    (
        "SecRemoteRules",
        "rules are files, so that what is published is what was checked; fetch them, and publish",
    ),
    ("SecRemoteRulesFailAction", "rules are files; fetch them, and publish"),
    ("SecRuleScript", "there is no Lua"),
];

impl Settings {
    /// Applies a directive that is none of [`RULES`].
    pub(crate) fn apply(&mut self, name: &str, words: &[String]) -> Result<(), Wrong> {
        let known =
            |list: &[&'static str]| list.iter().find(|known| known.eq_ignore_ascii_case(name)).copied();
        let idle = || IDLE.iter().flat_map(|(names, _)| names.iter()).copied();
        if idle().any(|known| known.eq_ignore_ascii_case(name)) {
            return match words {
                [] => Err(Wrong::new(format!("`{name}` lacks its value"))),
                _ => Ok(()),
            };
        }
        if let Some((_, only)) = HARMLESS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            let has_it = words.iter().map(String::as_str).eq([*only]);
            let what = format!("`{name}` is `{only}` here, as in ModSecurity 3");
            return if has_it { Ok(()) } else { Err(Wrong::new(what)) };
        }
        // What is off is off here too.
        let is_engine = ["SecConnEngine", "SecHashEngine"].iter().any(|one| one.eq_ignore_ascii_case(name));
        if is_engine && words.iter().map(String::as_str).eq(["Off"]) {
            return Ok(());
        }
        if let Some((refused, why)) = REFUSED.iter().find(|(refused, _)| refused.eq_ignore_ascii_case(name)) {
            return Err(Wrong::with(format!("`{refused}` is a directive that there is not"), *why));
        }
        let Some(directive) = known(APPLIED) else {
            let all = APPLIED.iter().chain(RULES).copied().chain(idle());
            return Err(Wrong::unknown("directive", name, all));
        };
        if directive == "SecResponseBodyMimeTypesClear" {
            self.response_body_types.clear();
            return Ok(());
        }
        let [value, others @ ..] = words else {
            return Err(Wrong::new(format!("`{directive}` lacks its value")));
        };
        if !others.is_empty() && directive != "SecResponseBodyMimeType" {
            return Err(Wrong::with(format!("`{directive}` takes one value"), "put it in quotes"));
        }
        let switch = || match value.to_ascii_lowercase().as_str() {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err(Wrong::new(format!("`{directive}` is On or Off, not `{value}`"))),
        };
        let number = |max: usize| {
            value
                .parse::<usize>()
                .map(|number| number.min(max))
                .map_err(|_| Wrong::new(format!("`{directive}` is a number, not `{value}`")))
        };
        match directive {
            "SecRuleEngine" => self.mode = engine_mode(value)?,
            "SecRequestBodyAccess" => self.request_body_access = switch()?,
            "SecResponseBodyAccess" => self.response_body_access = switch()?,
            "SecRequestBodyNoFilesLimit" => self.request_body_bytes = number(REQUEST_BODY_INSPECTED_BYTES)?,
            "SecResponseBodyLimit" => self.response_body_bytes = number(RESPONSE_BODY_INSPECTED_BYTES)?,
            "SecRequestBodyJsonDepthLimit" => self.json_depth = number(10_000)?,
            "SecArgumentsLimit" => self.arguments = number(1_000_000)?,
            "SecResponseBodyMimeType" => {
                self.response_body_types = words.iter().map(|word| word.to_ascii_lowercase()).collect();
            }
            "SecArgumentSeparator" => match value.as_bytes() {
                [one] => self.argument_separator = *one,
                _ => return Err(Wrong::new("`SecArgumentSeparator` is one character")),
            },
            "SecHttpBlKey" => {
                let is_key =
                    (1..=63).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_alphanumeric());
                if !is_key {
                    return Err(Wrong::new("`SecHttpBlKey` is 1 to 63 letters and digits"));
                }
                self.http_bl_key = Some(value.to_ascii_lowercase());
            }
            "SecParseXmlIntoArgs" => self.xml_arguments = xml_arguments(value)?,
            // 0 is no limit of its own, as in ModSecurity.
            "SecUploadFileLimit" => match number(UPLOAD_FILES_MAX)? {
                0 => self.upload_files = UPLOAD_FILES_MAX,
                files => self.upload_files = files,
            },
            "SecWebAppId" => self.web_app_id.clone_from(value),
            _ => self.components.push(value.clone()),
        }
        Ok(())
    }
}

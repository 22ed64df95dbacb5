//! The variables of the language: their names, whether they take a selector, and what they are made of.
//!
//! Data only; values live in [`crate::transaction`], and the ones that are made when asked (`TX`,
//! `MATCHED_VAR`, `TIME`) in [`crate::engine`]. The list is the one of ModSecurity 3's reference manual.
//! Variables of persistent collections are known by name only, so that naming one is a clear error.

/// How a variable gets its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One value, set by the transaction.
    Scalar,
    /// Named values, set by the transaction.
    Collection,
    /// One value, made when asked.
    MadeScalar,
    /// Named values, made when asked or changed by rules.
    MadeCollection,
    /// Would need a store that outlives the transaction.
    Persistent,
}

macro_rules! variables {
    ($($variant:ident $name:literal $kind:ident,)*) => {
        /// A variable of the language.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub(crate) enum Variable { $($variant,)* }

        /// Every variable with its name.
        pub(crate) const VARIABLES: &[(Variable, &str, Kind)] =
            &[$((Variable::$variant, $name, Kind::$kind),)*];
    };
}

variables! {
    Args "ARGS" Collection,
    ArgsCombinedSize "ARGS_COMBINED_SIZE" Scalar,
    ArgsGet "ARGS_GET" Collection,
    ArgsGetNames "ARGS_GET_NAMES" Collection,
    ArgsNames "ARGS_NAMES" Collection,
    ArgsPath "ARGS_PATH" Collection,
    ArgsPost "ARGS_POST" Collection,
    ArgsPostNames "ARGS_POST_NAMES" Collection,
    AuthType "AUTH_TYPE" Scalar,
    Duration "DURATION" MadeScalar,
    Env "ENV" MadeCollection,
    Files "FILES" Collection,
    FilesCombinedSize "FILES_COMBINED_SIZE" Scalar,
    FilesNames "FILES_NAMES" Collection,
    FilesSizes "FILES_SIZES" Collection,
    FilesTmpContent "FILES_TMP_CONTENT" Collection,
    FilesTmpnames "FILES_TMPNAMES" Collection,
    FullRequest "FULL_REQUEST" MadeScalar,
    FullRequestLength "FULL_REQUEST_LENGTH" MadeScalar,
    Geo "GEO" MadeCollection,
    Global "GLOBAL" Persistent,
    HighestSeverity "HIGHEST_SEVERITY" MadeScalar,
    InboundDataError "INBOUND_DATA_ERROR" Scalar,
    Ip "IP" Persistent,
    MatchedVar "MATCHED_VAR" MadeScalar,
    MatchedVarName "MATCHED_VAR_NAME" MadeScalar,
    MatchedVars "MATCHED_VARS" MadeCollection,
    MatchedVarsNames "MATCHED_VARS_NAMES" MadeCollection,
    ModsecBuild "MODSEC_BUILD" Scalar,
    MscPcreError "MSC_PCRE_ERROR" Scalar,
    MscPcreLimitsExceeded "MSC_PCRE_LIMITS_EXCEEDED" Scalar,
    MultipartBoundaryQuoted "MULTIPART_BOUNDARY_QUOTED" Scalar,
    MultipartBoundaryWhitespace "MULTIPART_BOUNDARY_WHITESPACE" Scalar,
    MultipartCrlfLfLines "MULTIPART_CRLF_LF_LINES" Scalar,
    MultipartDataAfter "MULTIPART_DATA_AFTER" Scalar,
    MultipartDataBefore "MULTIPART_DATA_BEFORE" Scalar,
    MultipartFileLimitExceeded "MULTIPART_FILE_LIMIT_EXCEEDED" Scalar,
    MultipartFilename "MULTIPART_FILENAME" Collection,
    MultipartHeaderFolding "MULTIPART_HEADER_FOLDING" Scalar,
    MultipartInvalidHeaderFolding "MULTIPART_INVALID_HEADER_FOLDING" Scalar,
    MultipartInvalidPart "MULTIPART_INVALID_PART" Scalar,
    MultipartInvalidQuoting "MULTIPART_INVALID_QUOTING" Scalar,
    MultipartLfLine "MULTIPART_LF_LINE" Scalar,
    MultipartMissingSemicolon "MULTIPART_MISSING_SEMICOLON" Scalar,
    MultipartName "MULTIPART_NAME" Collection,
    MultipartPartHeaders "MULTIPART_PART_HEADERS" Collection,
    MultipartSemicolonMissing "MULTIPART_SEMICOLON_MISSING" Scalar,
    MultipartStrictError "MULTIPART_STRICT_ERROR" Scalar,
    MultipartUnmatchedBoundary "MULTIPART_UNMATCHED_BOUNDARY" Scalar,
    OutboundDataError "OUTBOUND_DATA_ERROR" Scalar,
    PathInfo "PATH_INFO" Scalar,
    QueryString "QUERY_STRING" Scalar,
    RemoteAddr "REMOTE_ADDR" Scalar,
    RemoteHost "REMOTE_HOST" Scalar,
    RemotePort "REMOTE_PORT" Scalar,
    RemoteUser "REMOTE_USER" Scalar,
    ReqbodyError "REQBODY_ERROR" Scalar,
    ReqbodyErrorMsg "REQBODY_ERROR_MSG" Scalar,
    ReqbodyProcessor "REQBODY_PROCESSOR" MadeScalar,
    ReqbodyProcessorError "REQBODY_PROCESSOR_ERROR" Scalar,
    ReqbodyProcessorErrorMsg "REQBODY_PROCESSOR_ERROR_MSG" Scalar,
    RequestBasename "REQUEST_BASENAME" Scalar,
    RequestBody "REQUEST_BODY" Scalar,
    RequestBodyLength "REQUEST_BODY_LENGTH" Scalar,
    RequestCookies "REQUEST_COOKIES" Collection,
    RequestCookiesNames "REQUEST_COOKIES_NAMES" Collection,
    RequestFilename "REQUEST_FILENAME" Scalar,
    RequestHeaders "REQUEST_HEADERS" Collection,
    RequestHeadersNames "REQUEST_HEADERS_NAMES" Collection,
    RequestLine "REQUEST_LINE" Scalar,
    RequestMethod "REQUEST_METHOD" Scalar,
    RequestProtocol "REQUEST_PROTOCOL" Scalar,
    RequestUri "REQUEST_URI" Scalar,
    RequestUriRaw "REQUEST_URI_RAW" Scalar,
    Resource "RESOURCE" Persistent,
    ResponseBody "RESPONSE_BODY" Scalar,
    ResponseContentLength "RESPONSE_CONTENT_LENGTH" Scalar,
    ResponseContentType "RESPONSE_CONTENT_TYPE" Scalar,
    ResponseHeaders "RESPONSE_HEADERS" Collection,
    ResponseHeadersNames "RESPONSE_HEADERS_NAMES" Collection,
    ResponseProtocol "RESPONSE_PROTOCOL" Scalar,
    ResponseStatus "RESPONSE_STATUS" Scalar,
    Rule "RULE" MadeCollection,
    ServerAddr "SERVER_ADDR" Scalar,
    ServerName "SERVER_NAME" Scalar,
    ServerPort "SERVER_PORT" Scalar,
    Session "SESSION" Persistent,
    Sessionid "SESSIONID" Persistent,
    Status "STATUS" Scalar,
    StatusLine "STATUS_LINE" Scalar,
    Time "TIME" MadeScalar,
    TimeDay "TIME_DAY" MadeScalar,
    TimeEpoch "TIME_EPOCH" MadeScalar,
    TimeHour "TIME_HOUR" MadeScalar,
    TimeMin "TIME_MIN" MadeScalar,
    TimeMon "TIME_MON" MadeScalar,
    TimeSec "TIME_SEC" MadeScalar,
    TimeWday "TIME_WDAY" MadeScalar,
    TimeYear "TIME_YEAR" MadeScalar,
    Tx "TX" MadeCollection,
    UniqueId "UNIQUE_ID" Scalar,
    UrlencodedError "URLENCODED_ERROR" Scalar,
    User "USER" Persistent,
    Userid "USERID" Persistent,
    UseragentIp "USERAGENT_IP" Scalar,
    Webappid "WEBAPPID" Scalar,
    WebserverErrorLog "WEBSERVER_ERROR_LOG" Scalar,
    Xml "XML" Collection,
    XmlDocument "XML:(DOCUMENT)" Collection,
    XmlText "XML:/*" Collection,
    XmlAttributes "XML://@*" Collection,
    XmlPath "XML:/XPATH" Collection,
}

/// How many variables there are.
pub(crate) const COUNT: usize = VARIABLES.len();

impl Variable {
    /// Finds a variable by its name, in any case.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let upper = name.to_ascii_uppercase();
        VARIABLES
            .binary_search_by(|(_, known, _)| known.cmp(&upper.as_str()))
            .ok()
            .and_then(|at| VARIABLES.get(at).map(|(variable, _, _)| *variable))
            .or_else(|| {
                VARIABLES.iter().find(|(_, known, _)| *known == upper).map(|(variable, _, _)| *variable)
            })
    }

    /// Its name, as in rules.
    pub(crate) fn name(self) -> &'static str {
        VARIABLES.get(self as usize).map_or("", |(_, name, _)| name)
    }

    /// How it gets its values.
    pub(crate) fn kind(self) -> Kind {
        VARIABLES.get(self as usize).map_or(Kind::Scalar, |(_, _, kind)| *kind)
    }

    /// The variables its values are stored as: several for unions such as `ARGS`, else itself.
    pub(crate) fn sources(self) -> &'static [Self] {
        match self {
            // Arguments out of JSON are in no other collection.
            Self::Args => &[Self::ArgsGet, Self::ArgsPost, Self::ArgsPath, Self::Args],
            Self::ArgsNames => &[Self::ArgsGetNames, Self::ArgsPostNames, Self::ArgsNames],
            Self::Xml => &[Self::XmlDocument, Self::XmlText, Self::XmlAttributes, Self::XmlPath],
            _ => match ITSELF.get(self as usize) {
                Some(itself) => std::slice::from_ref(itself),
                None => &[],
            },
        }
    }

    /// Says whether its values are stored by the transaction, and so can be scanned ahead of the rules.
    pub(crate) fn is_stored(self) -> bool {
        matches!(self.kind(), Kind::Scalar | Kind::Collection)
    }

    /// Says whether its values have names.
    pub(crate) fn is_collection(self) -> bool {
        matches!(self.kind(), Kind::Collection | Kind::MadeCollection)
    }
}

/// Each variable alone, so that a slice of one can be borrowed for ever.
static ITSELF: [Variable; COUNT] = {
    let mut all = [Variable::Args; COUNT];
    let mut at = 0;
    while at < COUNT {
        all[at] = VARIABLES[at].0;
        at += 1;
    }
    all
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_is_found_by_its_name_and_stands_at_its_place() {
        for (at, (variable, name, _)) in VARIABLES.iter().enumerate() {
            assert_eq!(*variable as usize, at);
            assert_eq!(Variable::from_name(&name.to_ascii_lowercase()), Some(*variable));
        }
    }
}

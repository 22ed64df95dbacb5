//! The functions of the language: names, signatures, where they may stand, what they cost.
//!
//! The table is what the reference shows and what names are looked up in; the rules for arguments are in
//! `check/call.rs`, the work in `eval/call.rs`. Read next: [`Function::ALL`].

/// A function of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is described by its row, which the reference shows")]
pub enum Function {
    Any,
    All,
    Cidr,
    Cidr6,
    Concat,
    DecodeBase64,
    EncodeBase64,
    EndsWith,
    HasKey,
    HasValue,
    IsTimedHmacValidV0,
    Join,
    Len,
    LookupJsonInteger,
    LookupJsonString,
    Lower,
    RegexReplace,
    RemoveBytes,
    RemoveQueryArgs,
    Sha256,
    Split,
    StartsWith,
    Substring,
    ToString,
    Upper,
    UrlDecode,
    Uuidv4,
    WildcardReplace,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct FunctionRow {
    /// Which function.
    pub function: Function,
    /// As written in expressions.
    pub name: &'static str,
    /// Arguments and result; `"…"` and `1…` stand for literals, brackets for what may be left out.
    pub signature: &'static str,
    /// Whether it may stand in values of rewrites and redirects only.
    pub rewrites_only: bool,
    /// What it does, in one sentence or two.
    pub meaning: &'static str,
    /// What it costs in steps; `n` is the length of its input in bytes.
    pub price: &'static str,
}

const fn row(
    function: Function,
    name: &'static str,
    signature: &'static str,
    rewrites_only: bool,
    price: &'static str,
    meaning: &'static str,
) -> FunctionRow {
    FunctionRow { function, name, signature, rewrites_only, meaning, price }
}

impl Function {
    /// All functions, by name.
    #[rustfmt::skip]
    pub const ALL: &'static [FunctionRow] = &[
        row(Function::All, "all", "Array(Bool) → Bool", false, "4 + items",
            "Whether all items are true; true of none."),
        row(Function::Any, "any", "Array(Bool) → Bool", false, "4 + items",
            "Whether an item is true."),
        row(Function::Cidr, "cidr", "Ip, 1…32, 1…128 → Ip", false, "4",
            "The first address of the prefix of that length, by the address's family."),
        row(Function::Cidr6, "cidr6", "Ip, 1…128 → Ip", false, "4",
            "The same for IPv6; an IPv4 address stays as it is."),
        row(Function::Concat, "concat", "Bytes or Int, … → Bytes; Array, … → Array", false, "4 + n/4",
            "All arguments in a row. What is missing counts as empty; the result is missing when all are."),
        row(Function::DecodeBase64, "decode_base64", "Bytes → Bytes", false, "4 + 2n",
            "Decodes Base64, standard or URL-safe, padded or not; missing when it is not Base64."),
        row(Function::EncodeBase64, "encode_base64", "Bytes, [\"up\"] → Bytes", false, "4 + 2n",
            "Encodes as Base64 without padding; `u`: URL-safe, `p`: padded."),
        row(Function::EndsWith, "ends_with", "Bytes, Bytes → Bool", false, "4 + n/16",
            "Whether the first ends with the second."),
        row(Function::HasKey, "has_key", "Map, Bytes → Bool", false, "4 + keys",
            "Whether the map has the key; names of headers are in lower case."),
        row(Function::HasValue, "has_value", "Map(T) or Array(T), T → Bool", false, "4 + n/16 + items",
            "Whether a value of the collection is equal."),
        row(Function::IsTimedHmacValidV0, "is_timed_hmac_valid_v0",
            "\"key\", Bytes, ttl, Int, [separator length], [\"s\"] → Bool", false, "4000 + 16n",
            "Whether `message separator timestamp-mac` carries a valid and current HMAC-SHA256 of \
             message and timestamp."),
        row(Function::Join, "join", "Array(Bytes), Bytes → Bytes", false, "4 + n/4",
            "The items with the separator between them."),
        row(Function::Len, "len", "Bytes or Array → Int", false, "4",
            "Length in bytes or number of items; 0 when missing."),
        row(Function::LookupJsonInteger, "lookup_json_integer", "Bytes, Bytes or Int, … → Int", false,
            "4 + 4n",
            "The integer at that path of keys and places; missing when there is none."),
        row(Function::LookupJsonString, "lookup_json_string", "Bytes, Bytes or Int, … → Bytes", false,
            "4 + 4n",
            "The string at that path of keys and places; missing when there is none."),
        row(Function::Lower, "lower", "Bytes → Bytes", false, "4 + n/4",
            "ASCII letters in lower case."),
        row(Function::RegexReplace, "regex_replace", "Bytes, \"pattern\", \"replacement\" → Bytes", true,
            "as `matches`, 4 times",
            "The first match replaced; `${1}` to `${8}` are its groups. Once in an expression."),
        row(Function::RemoveBytes, "remove_bytes", "Bytes, \"bytes\" → Bytes", false, "4 + n",
            "Without any of these bytes."),
        row(Function::RemoveQueryArgs, "remove_query_args", "query, Bytes, … → Bytes", true, "4 + 2n",
            "The query string without the arguments of these names."),
        row(Function::Sha256, "sha256", "Bytes → Bytes", false, "500 + 8n",
            "The 32 bytes of the SHA-256 digest."),
        row(Function::Split, "split", "Bytes, \"separator\", 1…128 → Array(Bytes)", false, "4 + n",
            "The parts between separators; the last of so many holds the rest."),
        row(Function::StartsWith, "starts_with", "Bytes, Bytes → Bool", false, "4 + n/16",
            "Whether the first begins with the second."),
        row(Function::Substring, "substring", "Bytes, Int, [Int] → Bytes", false, "4",
            "From the first place up to the second; negative places count from the end."),
        row(Function::ToString, "to_string", "Int, Bool or Ip → Bytes", true, "32",
            "As text."),
        row(Function::Upper, "upper", "Bytes → Bytes", false, "4 + n/4",
            "ASCII letters in upper case."),
        row(Function::UrlDecode, "url_decode", "Bytes, [\"ru\"] → Bytes", false, "4 + 2n for each pass",
            "Decodes `%HH` and `+`; `r`: until nothing changes, `u`: `%uHHHH` too."),
        row(Function::Uuidv4, "uuidv4", "Bytes → Bytes", true, "64",
            "A random identifier (RFC 9562 §5.4) from random bytes, such as cf.random_seed."),
        row(Function::WildcardReplace, "wildcard_replace",
            "Bytes, \"wildcard\", \"replacement\", [\"s\"] → Bytes", true, "16 + 3n",
            "Replaced as a whole if the wildcard matches; `${1}` to `${8}` are its stars; `s`: case counts. \
             Once in an expression."),
    ];

    /// Finds a function by its name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static FunctionRow> {
        Self::ALL.iter().find(|row| row.name == name)
    }
}

//! The reference of the language, made from the tables that the parser reads by, so that it cannot lie.
//!
//! `docs/reference/seclang.md` is this text; a test compares them, and the example `reference` prints it.

use std::fmt::Write as _;

use crate::limits::{
    ARENA_BYTES_MAX, BODY_VALUES_TIMES_MAX, CODE_PAGES_BYTES_MAX, FUZZY_HASHES_MAX, INCLUDE_DEPTH_MAX,
    ITEMS_MAX, LOOKUPS_MAX, MADE_PATTERN_BYTES_MAX, MADE_PATTERNS_MAX, MADE_PROGRAM_BYTES_MAX,
    PATTERN_BYTES_MAX, REQUEST_BODY_INSPECTED_BYTES, RESPONSE_BODY_INSPECTED_BYTES, RULES_MAX,
    UPLOAD_FILES_MAX,
};
use crate::parse::{actions, operator};
use crate::settings;
use crate::transform::Transformation;
use crate::variable::{Kind, VARIABLES, Variable};

const BEGIN: &str = "\
# SecLang, as Rempart reads it

The rule language of ModSecurity 3: OWASP CRS loads unchanged. Made from the code (`cargo run -p seclang
--example reference`). Whatever is not on this page is a load error with file, line and, where it can be
guessed, what was meant; all errors are reported at once.

## Files

A line that ends in `\\` goes on in the next; `#` begins a comment line; words stand between blanks or in
quotes, where `\\\"` is a quote. `Include` and `IncludeOptional` take a path, or wildcards in its last part,
relative to the file they stand in; so do data files of operators. Files are UTF-8; data files are bytes.
";

const DIFFERENCES: &str = "
## What differs from ModSecurity

- No Lua, no `exec`, no collection that outlives a transaction (`IP`, `GLOBAL`, `SESSION`, `USER`,
  `RESOURCE`, `expirevar`, `setuid`…): each is an error. `initcol` is read, since CRS has it, and does
  nothing. Count and limit with the rate limits of the zone.
- `@inspectFile` is an error, since it runs a program. `@gsbLookup`, `@validateHash` and `@rsub` are errors in
  ModSecurity 3 too.
- `@rbl` asks the node's name servers, or those of `list_servers`, and the visitor waits for them: 1 s at
  most in all, however many rules ask. It asks for an address turned round, of IPv6 by its nibbles, or for a
  name as it is. Listed is what has an address in 127.0.0.0/8; 127.0.0.1 and 127.255.255.0/24 are the answer
  of a list that answers not this asker, but for `dnsbl.httpbl.org`, which `SecHttpBlKey` is for. Without an
  answer the rule does not match, nor does `!@rbl`; that is counted, and no fail mode.
- `@geoLookup` asks the file `country` of `[geo]` in the node file, whatever `SecGeoLookupDb` names; without
  one it matches nothing, and a publish warns. A part that the file has not is no value of `GEO`: no file of
  this format has `COUNTRY_CODE3` and `AREA_CODE`. `COUNTRY_CONTINENT` is the code (`EU`), as documented,
  where ModSecurity 3 has the name. `REGION` is the code of the first subdivision.
- `@fuzzyHash` compares as `ssdeep` does, and takes a threshold from 1 to 100. A line that is no hash is a
  load error. Files of a request are compared as far as `FILES_TMP_CONTENT` shows them.
- `SecUnicodeMapFile` takes a file of code pages and the number of one, relative to the file it stands in; the
  number may stand in `SecUnicodeCodePage` too, as in ModSecurity 2. `t:urlDecodeUni` then makes of `%uHHHH`
  the byte that the page has for it, and else what it makes without a map. A page is found by the line that
  begins it, where ModSecurity takes any word that begins with its number. One page holds for all rules of a
  set; the last directive counts. A missing file or page, and a line that is no pairs, is a load error.
- Regular expressions run in linear time over bytes: `.` matches every byte, `$` only the very end, there
  are no look-around, back references, atomic groups or possessive repetitions.
- A macro in `@rx` is text of the pattern, which is compiled when it is asked. What then is no pattern, or a
  larger one than below, finds nothing, as in ModSecurity: `!@rx` matches then. It is counted.
- `XML:/*` is the text of the document in one piece, `XML://@*` all values of attributes. Other paths of
  XPath 1.0 (`XML:/s:Envelope/s:Body//id[@x='1']`) begin with `/`; their prefixes are those of the rule's
  `xmlns:s=…`. Read are the axes `child`, `descendant`, `self`, `parent`, `ancestor`, `attribute` and their
  abbreviations, `node()` and `text()`, unions (in single quotes around the path), and predicates of
  comparisons, `and`, `or`, `boolean`, `contains`, `count`, `last`, `local-name`, `name`, `namespace-uri`,
  `normalize-space`, `not`, `number`, `position`, `starts-with`, `string`, `string-length`. A predicate
  looks at its node and below, and holds no further predicate. CDATA is text, and divides none. What else
  there is of XPath is a load error.
- `@validateDTD` and `@validateSchema` take `XML` as their target and match a document that is not valid or
  not well-formed, and where XML is read a body that is none; where rules chose no reader of XML, they are
  not asked. Nothing outside the rules' own files is fetched, the document's own `<!DOCTYPE` is passed by, a
  reference to an entity of it is not well-formed. A document cut at the ceiling of inspected bytes is
  judged as far as it was read: what is open at the cut is not held against it, and `uninspected =
  \"refuse\"` of the zone refuses such bodies. Any element that is declared may be the root; content models
  must be deterministic (XML 1.0 §3.2.1).
- A document that is kept for rules is charged to the zone's share of `memory_budget_bytes` before it is read,
  by its tags and attributes: some 240 bytes for a tag; without room for it the request is refused with 503
  (`overload`), or not inspected where the zone only logs.
- Of XML Schema 1.0 is read: elements, complex and simple types, `sequence`, `choice`, `all`, groups,
  attributes, wildcards, extension and restriction, all facets and built-in types but `NOTATION`,
  substitution groups, `xsi:type`, `nillable`, `key`, `unique`, `keyref`, `include` and `import` of files
  beside it. `redefine`, counts within counts that cannot be told apart, an enumeration of `QName`, and a
  model that is ambiguous are load errors. That a restriction only restricts (part 1 §3.9.6) is not checked,
  a default of an attribute is no field of a key, and of an `xs:QName` its form alone is judged.
- `REQUEST_BODY` is filled for forms, and for others after `ctl:forceRequestBodyVariable=On`, as in
  ModSecurity 2, by which the rules' own cases are written. ModSecurity 3 always fills it, and then finds
  tag names of XML in it.
- `ctl:requestBodyProcessor` shows in `REQBODY_PROCESSOR` at once. The readers of forms are chosen by
  `Content-Type` before phase 1; JSON and XML by rules.
- `MATCHED_VAR` holds the value after transformations; `MATCHED_VARS` gathers over the whole chain.
- `SecRuleRemoveBy…` and `SecRuleUpdate…` reach rules wherever they stand; one that meets no rule is a note,
  no error.
- Logs, temporary files, uploads and limits of memory are the proxy's: their directives are read and have no
  effect. The list above says for each what does its work.
- `SecRemoteRules` is an error by principle: rules that a server hands out change without a publish, so that
  what was checked, compared on live requests and can be taken back is not what runs, and whoever holds that
  server holds the site. Fetch them with a timer of your own, and run `rempart publish`: a broken or harmful
  change is then refused or withdrawn.
- `SecCookieFormat` may be 0 and `SecCookieV0Separator` a `;`, which is what ModSecurity 3 does; other
  values are an error there too.
- `SecUploadFileLimit` bounds the files of a body; 0, as in ModSecurity, leaves it to the limit below.
- `SecParseXmlIntoArgs` (and `ctl:parseXmlIntoArgs`, in phase 1) makes an argument of each element of XML
  that holds no element: `<a><b>1</b></a>` is `xml.a.b=1`, names without prefixes. Neither attributes nor
  text beside elements become one, so **`OnlyArgs`, which leaves `XML` without values, lets an attack by
  that stands there**; `On` does not. Each counts for `SecArgumentsLimit`, and more are an error of the
  body, where ModSecurity passes them by. What was read of a document that is broken, or cut, is handed
  over, where ModSecurity hands over nothing. With `OnlyArgs` `@validateDTD` and `@validateSchema` still
  judge the document; in ModSecurity they then match every one.
- Bodies are inspected up to a ceiling and never cut or refused for their length; file content is passed by.
  `INBOUND_DATA_ERROR` and `OUTBOUND_DATA_ERROR` say that something was left out.
- `TIME…` are UTC. `PATH_INFO` is `REQUEST_FILENAME`; both have `%HH` decoded once.
- Data of a record is masked (`*`) where the name of a header, cookie or argument speaks of a secret, or a
  rule said `sanitise…`.
";

/// Writes a list of names under a title.
fn list(page: &mut String, title: &str, words: &mut dyn Iterator<Item = String>) {
    let words: Vec<String> = words.map(|word| format!("`{word}`")).collect();
    let text = format!("{}.", words.join(", "));
    let _ = write!(page, "\n{title}\n\n{}\n", wrapped(&text, ""));
}

/// An item of a list: names, and what is said of them.
fn item(names: &[&str], why: &str) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    format!("{}\n", wrapped(&format!("- {}: {why}.", names.join(", ")), "  "))
}

/// The reference as Markdown.
#[must_use]
pub fn reference() -> String {
    let mut page = BEGIN.to_owned();
    let own = |names: &'static [&'static str]| names.iter().map(|name| (*name).to_owned());
    list(&mut page, "## Directives\n\nOf rules:", &mut own(settings::RULES));
    list(&mut page, "That set the engine:", &mut own(settings::APPLIED));
    page.push_str("\nWithout effect, each with what does its work, or why nothing is lost:\n\n");
    for (names, why) in settings::IDLE {
        page.push_str(&item(names, why));
    }
    page.push_str("\nErrors, each with the reason (`SecConnEngine` and `SecHashEngine` may be `Off`):\n\n");
    for same in settings::REFUSED.chunk_by(|(_, one), (_, other)| one == other) {
        let names: Vec<&str> = same.iter().map(|(name, _)| *name).collect();
        page.push_str(&item(&names, same.first().map_or("", |(_, why)| why)));
    }
    let variables = |wanted: fn(Kind) -> bool| {
        let shown = move |(variable, _, kind): &&(Variable, &str, Kind)| {
            wanted(*kind) && *variable != Variable::XmlDocument
        };
        VARIABLES.iter().filter(shown).map(|(_, name, _)| (*name).to_owned())
    };
    list(
        &mut page,
        "## Variables\n\nWith one value:",
        &mut variables(|kind| matches!(kind, Kind::Scalar | Kind::MadeScalar)),
    );
    list(
        &mut page,
        "With named values, chosen by `:name`, `:/pattern/` or all; `&` counts, `!` leaves out:",
        &mut variables(|kind| matches!(kind, Kind::Collection | Kind::MadeCollection)),
    );
    list(
        &mut page,
        "Refused, since they would need a store:",
        &mut variables(|kind| kind == Kind::Persistent),
    );
    list(&mut page, "## Operators\n\n`!` turns a result round.", &mut own(operator::KNOWN));
    list(&mut page, "## Transformations", &mut Transformation::names().map(str::to_owned));
    list(&mut page, "## Actions", &mut own(actions::KNOWN));
    list(&mut page, "Of `ctl`:", &mut own(actions::CTLS));
    let _ = write!(
        page,
        "\n## Limits\n\n\
         | what | limit | beyond |\n| --- | --- | --- |\n\
         | rules of one set, chained ones counted | {RULES_MAX} | load error |\n\
         | bytes of one compiled pattern | {PATTERN_BYTES_MAX} | load error |\n\
         | bytes of a pattern that macros made | {MADE_PATTERN_BYTES_MAX} | finds nothing, counted |\n\
         | bytes that it compiles to | {MADE_PROGRAM_BYTES_MAX} | finds nothing, counted |\n\
         | such patterns kept by a thread | {MADE_PATTERNS_MAX} | the first is compiled again |\n\
         | bytes of a file of code pages | {CODE_PAGES_BYTES_MAX} | load error |\n\
         | names that `@rbl` asks for in one transaction | {LOOKUPS_MAX} | no match, counted |\n\
         | files of one body, at most | {UPLOAD_FILES_MAX} | an error of the body |\n\
         | hashes of one `@fuzzyHash` | {FUZZY_HASHES_MAX} | load error |\n\
         | files open around an included one | {INCLUDE_DEPTH_MAX} | load error |\n\
         | bytes of a request body inspected | {REQUEST_BODY_INSPECTED_BYTES} | passed by, marked |\n\
         | bytes of a response body inspected | {RESPONSE_BODY_INSPECTED_BYTES} | passed by, marked |\n\
         | values of one transaction | {ITEMS_MAX} | left out, marked |\n\
         | bytes of names and values of one body, by what is inspected of it | \
         {BODY_VALUES_TIMES_MAX} times as many | left out, marked |\n\
         | bytes of names and values of one transaction, of larger bodies more | \
         {ARENA_BYTES_MAX} | left out, marked |\n"
    );
    page.push_str(DIFFERENCES);
    page
}

/// Breaks a text at blanks into lines of at most 110 characters; all but the first begin so.
fn wrapped(text: &str, indent: &str) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > 110 {
            out.push('\n');
            out.push_str(indent);
            column = indent.len();
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out
}

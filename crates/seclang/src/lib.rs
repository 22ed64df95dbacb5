//! The ModSecurity rule language and its engine: loads OWASP CRS, inspects a transaction, returns matches and
//! scores.
//!
//! [`Loader`] turns files of rules into a [`RuleSet`], which all zones share; a [`Transaction`] is fed with
//! one request and its response and evaluates the rules phase by phase, in fuel. The language is that of
//! ModSecurity 3, without Lua, programs and collections that outlive a transaction. The engine is fast
//! because it asks of all rules together what can match ([`Transaction`] and the module `prefilter`); that
//! this changes nothing is proven against plain evaluation. It knows neither zones nor sockets nor a runtime
//! nor the clock. Read next: `transaction.rs`, then `engine.rs`.

pub mod body;
pub mod check;
mod code_page;
mod engine;
mod exclusion;
mod files;
pub mod injection;
pub mod limits;
mod load;
mod location;
mod model;
mod outcome;
mod parse;
mod pattern;
mod prefilter;
mod problem;
mod reference;
mod ruleset;
mod settings;
mod source;
mod tally;
mod template;
mod transaction;
pub mod transform;
mod variable;
mod xml;

pub use engine::Progress;
pub use engine::lists::Question;
pub use exclusion::{Exclusion, NoVariable};
pub use files::{Files, MemoryFiles, Named, named_by, normal};
pub use load::Loader;
pub use location::{Location, Locator};
pub use model::EngineMode;
pub use outcome::{Action, Interruption, Match, MatchedVariable, Scores, Uninspected};
pub use problem::{LoadError, Place, Problem};
pub use reference::reference;
pub use ruleset::RuleSet;
pub use settings::Settings;
pub use transaction::{Connection, Options, Phase, Transaction, Workspace};

/// Rules to load before others where a zone brings no engine settings of its own: the readers of JSON and XML
/// by content type, and a refusal of bodies that cannot be read. Ids 200000 to 200006, as in ModSecurity's
/// recommended configuration, which a zone may bring instead.
pub const RECOMMENDED: &str = r#"
SecRequestBodyAccess On
SecRule REQUEST_HEADERS:Content-Type "@rx ^(?:application(?:/soap\+|/)|text/)xml" \
    "id:200000,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=XML"
SecRule REQUEST_HEADERS:Content-Type "@rx ^application/json" \
    "id:200001,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
SecRule REQBODY_ERROR "!@eq 0" \
    "id:200002,phase:2,t:none,deny,status:400,log,msg:'The body of the request cannot be read',\
    logdata:'%{REQBODY_ERROR_MSG}',severity:2"
SecRule MULTIPART_STRICT_ERROR "@eq 1" \
    "id:200003,phase:2,t:none,deny,status:400,log,msg:'The multipart body breaks its format',severity:2"
SecRule REQUEST_HEADERS:Content-Type "@rx ^application/[a-z0-9.-]+[+]json" \
    "id:200006,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
"#;

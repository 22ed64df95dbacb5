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
mod engine;
mod files;
pub mod injection;
pub mod limits;
mod load;
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
mod template;
mod transaction;
pub mod transform;
mod variable;

pub use engine::Progress;
pub use files::{Files, MemoryFiles};
pub use load::Loader;
pub use model::EngineMode;
pub use outcome::{Action, Interruption, Match, MatchedVariable, Scores, Uninspected};
pub use problem::{LoadError, Place, Problem};
pub use reference::reference;
pub use ruleset::RuleSet;
pub use settings::Settings;
pub use transaction::{Connection, Options, Phase, Transaction, Workspace};

//! Compiles a zone's `[waf]`: finds the files of its rules in the bundle, and loads each set of files once.
//!
//! Loading takes hundreds of milliseconds and tens of megabytes, so sets are kept on a [`Shelf`] by the hash
//! of what they are made of: zones of one bundle share them, and so does the next bundle. What rules mean is
//! crate `seclang`'s. Called by [`super::compile`]; read next: [`crate::waf`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use seclang::{Files, Loader, RECOMMENDED, RuleSet};
use sha2::{Digest, Sha256};

use super::Compiler;
use crate::bundle::Bundle;
use crate::limits::{WAF_EXCEPTIONS_MAX, WAF_RULES_MAX, WAF_WINDOW_BYTES};
use crate::problem::{Problem, Severity};
use crate::read::Placed;
use crate::read::values::{Count, FilePath, List, Size, quoted};
use crate::spec::ZoneSpec;
use crate::waf::{
    PRESETS, UninspectedWord, Waf, WafException, WafExceptionSpec, WafPath, WafRules, WafShadowSpec, WafSpec,
    WafWord,
};
use crate::zone::Zone;

/// Settings of the engine that come before a zone's files, which may change them: answers are inspected where
/// the zone says so, by types that hold text.
const ENGINE: &str = "\
SecResponseBodyAccess On
SecResponseBodyMimeType text/plain text/html text/xml application/json application/xml
";

/// Rule sets by the hash of what they are made of; none for one that did not load and was told of.
#[derive(Default)]
pub(super) struct Shelf(HashMap<[u8; 32], Option<Arc<RuleSet>>>);

impl Shelf {
    /// The sets of zones that run.
    pub(super) fn of<'a>(zones: impl Iterator<Item = &'a Arc<Zone>>) -> Self {
        let wafs = zones.filter_map(|zone| zone.waf.as_ref());
        let rules = wafs.flat_map(|waf| [Some(&waf.rules), waf.shadow.as_ref()]).flatten();
        Self(rules.map(|rules| (rules.key, Some(Arc::clone(&rules.set)))).collect())
    }
}

/// The files that some paths of rules stand for.
pub(super) struct Made {
    /// Files of rules, in the order they are loaded.
    ordered: Vec<String>,
    /// These, and all that they name.
    files: BTreeSet<String>,
    /// SHA-256 over all of it.
    key: [u8; 32],
}

/// Calls `each` for every folder and file of rules that a zone names and wants.
pub(super) fn named(spec: &WafSpec, each: &mut dyn FnMut(&Placed<FilePath>)) {
    if spec.mode.value != WafWord::Off {
        spec.rules.0.iter().for_each(&mut *each);
        spec.shadow.iter().flat_map(|shadow| &shadow.rules.0).for_each(each);
    }
}

/// The files of a bundle, as the loader asks for them.
struct Bundled<'a>(&'a BTreeMap<String, Vec<u8>>);

/// A folder may hold folders, whose files come in between.
impl Files for Bundled<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        self.0.get(path).cloned().ok_or_else(|| "there is no such file".to_owned())
    }

    fn list(&self, folder: &str) -> Vec<String> {
        let start = format!("{folder}/");
        let from = self.0.range(start.clone()..).map(|(path, _)| path);
        let below = from.map_while(|path| Some((path, path.strip_prefix(&start)?)));
        below.filter(|(_, rest)| !rest.contains('/')).map(|(path, _)| path.clone()).collect()
    }
}

/// The files of rules that a path stands for, in the order they are loaded: the file itself; of a folder with
/// `rules/` what CRS's own instructions include, in their order; of another folder its `*.conf`.
fn in_order(bundle: &Bundle, path: &str) -> Vec<String> {
    let files = bundle.files();
    if files.contains_key(path) {
        return vec![path.to_owned()];
    }
    let bundled = Bundled(files);
    let conf = |folder: &str, end: &str| {
        let mut found: Vec<String> =
            bundled.list(folder).into_iter().filter(|path| path.ends_with(end)).collect();
        found.sort();
        found
    };
    let rules = conf(&format!("{path}/rules"), ".conf");
    if rules.is_empty() {
        return conf(path, ".conf");
    }
    let setup = ["crs-setup.conf", "crs-setup.conf.example"].map(|name| format!("{path}/{name}"));
    let plugins = format!("{path}/plugins");
    let mut ordered: Vec<String> =
        setup.into_iter().find(|path| files.contains_key(path)).into_iter().collect();
    ordered.extend(conf(&plugins, "-config.conf"));
    ordered.extend(conf(&plugins, "-before.conf"));
    ordered.extend(rules);
    ordered.extend(conf(&plugins, "-after.conf"));
    ordered
}

/// Every file that files of rules are made of: themselves, and those that they name, to the end.
fn closure(bundle: &Bundle, ordered: &[String]) -> BTreeSet<String> {
    let files = bundle.files();
    let mut found: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<String> = ordered.to_vec();
    while let Some(path) = open.pop() {
        let Some(bytes) = files.get(&path) else { continue };
        if !found.insert(path.clone()) {
            continue;
        }
        for named in seclang::named_by(&path, bytes) {
            match (named.is_pattern, named.has_rules) {
                (true, _) => {
                    let fitting = Bundled(files).list(named.folder());
                    open.extend(fitting.into_iter().filter(|path| named.fits(path)));
                }
                (false, true) => open.push(named.path),
                (false, false) => {
                    if files.contains_key(&named.path) {
                        found.insert(named.path);
                    }
                }
            }
        }
    }
    found
}

/// Whether files bring the readers of bodies that ModSecurity's recommended settings have.
fn bring_own_readers(bundle: &Bundle, files: &BTreeSet<String>) -> bool {
    let is_own = |path: &String| {
        let bytes = bundle.files().get(path).map_or(&b""[..], Vec::as_slice);
        ["id:20000", "id:'20000"].iter().any(|id| memchr::memmem::find(bytes, id.as_bytes()).is_some())
    };
    files.iter().any(is_own)
}

/// The rules by which a zone's levels go before those of CRS's setup file.
fn levels() -> String {
    let rule = |(number, (own, theirs)): (usize, &(&str, &str))| {
        format!(
            "SecRule &TX:{own} \"@eq 1\" \\\n  \"id:{},phase:1,pass,nolog,t:none,\\\n  \
             setvar:tx.{theirs}=%{{tx.{own}}}\"\n",
            199_990 + number
        )
    };
    PRESETS.iter().enumerate().map(rule).collect()
}

fn load(
    bundle: &Bundle,
    ordered: &[String],
    files: &BTreeSet<String>,
) -> Result<RuleSet, seclang::LoadError> {
    let bundled = Bundled(bundle.files());
    let mut loader = Loader::new(&bundled);
    loader.text("rempart-engine", ENGINE);
    if !bring_own_readers(bundle, files) {
        loader.text("rempart-readers", RECOMMENDED);
    }
    // CRS reads its levels in this file, after its setup.
    let is_reader =
        |path: &String| path.rsplit('/').next().is_some_and(|name| name.starts_with("REQUEST-901"));
    let reader = ordered.iter().position(is_reader).unwrap_or(0);
    for (place, path) in ordered.iter().enumerate() {
        if place == reader {
            loader.text("rempart-levels", &levels());
        }
        loader.file(path);
    }
    loader.finish()
}

fn presets(
    paranoia: Option<&Placed<Count<1, 4>>>,
    detection: Option<&Placed<Count<1, 4>>>,
    thresholds: [Option<&Placed<Count<1, 10_000>>>; 2],
) -> Vec<(&'static str, u64)> {
    let paranoia = paranoia.map(|level| level.0);
    let values = [
        paranoia,
        // CRS refuses a detection level below the other, which a setup file may say.
        detection.map(|level| level.0).or(paranoia),
        thresholds[0].map(|score| score.0),
        thresholds[1].map(|score| score.0),
    ];
    PRESETS.iter().zip(values).filter_map(|((name, _), value)| Some((*name, value?))).collect()
}

impl Compiler<'_> {
    /// Compiles the firewall of a zone that has one.
    pub(super) fn waf(&mut self, spec: &ZoneSpec, same: Option<&Zone>) -> Option<Arc<Waf>> {
        if let Some(same) = same {
            return same.waf.clone();
        }
        let spec = &spec.waf;
        let body_window_bytes = self.window(&spec.body_window_bytes);
        let response_window_bytes = self.window(&spec.response_window_bytes);
        if spec.mode.value == WafWord::Off {
            return None;
        }
        if spec.rules.0.is_empty() {
            let what = "the web application firewall has no rules";
            let remedy = "write rules = [\"…\"] with the folder of OWASP CRS, or mode = \"off\"".to_owned();
            self.report.missing(spec.mode.place, what, remedy);
            return None;
        }
        if let (Some(level), Some(detection)) = (&spec.paranoia, &spec.detection_paranoia)
            && detection.0 < level.0
        {
            let what = "detection_paranoia is below paranoia: rules that count are asked in any case";
            self.report.error_with(detection.place, what, "leave it out, or write a higher level");
        }
        let thresholds = [spec.inbound_threshold.as_ref(), spec.outbound_threshold.as_ref()];
        let own = presets(spec.paranoia.as_ref(), spec.detection_paranoia.as_ref(), thresholds);
        let rules = self.waf_rules(&spec.rules, own.clone());
        let shadow = spec.shadow.as_ref().map(|shadow| self.shadow(shadow, spec, &own));
        let rules = rules?;
        let shadow = match shadow {
            Some(shadow) => Some(shadow?),
            None => None,
        };
        let exceptions = self.exceptions(&spec.exception, &rules.set, shadow.as_ref().map(|one| &*one.set));
        Some(Arc::new(Waf {
            is_blocking: spec.mode.value == WafWord::Block,
            rules,
            shadow,
            exceptions,
            body_window_bytes,
            refuses_uninspected: spec.uninspected.value == UninspectedWord::Refuse,
            response_window_bytes: spec.inspect_responses.value.then_some(response_window_bytes),
        }))
    }

    fn window(&mut self, size: &Placed<Size>) -> usize {
        if !WAF_WINDOW_BYTES.contains(&size.0) {
            self.report.error(size.place, "this must be from 8KiB to 1MiB");
        }
        usize::try_from(size.0).unwrap_or(usize::MAX)
    }

    fn shadow(
        &mut self,
        shadow: &Placed<WafShadowSpec>,
        spec: &WafSpec,
        own: &[(&'static str, u64)],
    ) -> Option<WafRules> {
        let thresholds = [shadow.inbound_threshold.as_ref(), shadow.outbound_threshold.as_ref()];
        let mut levels = presets(shadow.paranoia.as_ref(), None, thresholds);
        // What it does not say is as in the zone.
        for (name, value) in own {
            if !levels.iter().any(|(known, _)| known == name) {
                levels.push((name, *value));
            }
        }
        let rules = if shadow.rules.0.is_empty() { &spec.rules } else { &shadow.rules };
        self.waf_rules(rules, levels)
    }

    /// The rule set of these paths; loaded if it was not before.
    fn waf_rules(
        &mut self,
        paths: &Placed<List<FilePath>>,
        presets: Vec<(&'static str, u64)>,
    ) -> Option<WafRules> {
        if paths.0.len() > WAF_RULES_MAX {
            self.report.error(paths.place, format!("more than {WAF_RULES_MAX} paths of rules in one zone"));
            return None;
        }
        let mut whole = Vec::new();
        for path in &paths.0 {
            let shown = seclang::normal(&self.path(path));
            if in_order(self.bundle, &shown).is_empty() {
                let what = format!("the rules {} could not be read", quoted(&shown));
                let remedy = "name a file of rules, or a folder with rules/*.conf or *.conf";
                self.report.error_with(path.place, what, remedy);
                return None;
            }
            whole.push(shown);
        }
        let made = self.made_of(whole);
        let (ordered, files, key) = (&made.ordered, &made.files, made.key);
        let known = self.shelf.0.get(&key).cloned();
        let set = match known {
            Some(known) => known?,
            None => {
                let loaded = load(self.bundle, ordered, files);
                let set = match loaded {
                    Ok(set) => Some(Arc::new(set)),
                    Err(error) => {
                        for problem in error.problems {
                            self.report.elsewhere(Problem {
                                file: problem.place.file.to_string(),
                                line: problem.place.line as usize,
                                column: 1,
                                message: problem.what,
                                suggestion: problem.remedy,
                                severity: Severity::Error,
                            });
                        }
                        if error.left_out > 0 {
                            let what =
                                format!("{} more problems of these rules are not shown", error.left_out);
                            self.report.error(paths.place, what);
                        }
                        None
                    }
                };
                self.shelf.0.insert(key, set.clone());
                set?
            }
        };
        self.judge_setup(paths, &made, &set);
        if set.asks_locations() && !self.knows_countries {
            let what = "these rules ask where addresses are (@geoLookup), and the node does not know";
            self.report.warning(
                paths.place,
                what,
                "name an MMDB file with country in [geo] of the node file",
            );
        }
        Some(WafRules { key, set, presets })
    }

    /// Tells what makes a whole set of rules useless: that there is none, or that CRS is without its setup,
    /// whose absence it answers by refusing every request.
    fn judge_setup(&mut self, paths: &Placed<List<FilePath>>, made: &Made, set: &RuleSet) {
        /// The rule of CRS that refuses everything while the version of the setup is not set.
        const NOT_SET_UP: u64 = 901_001;
        let files = self.bundle.files();
        let has = |path: &String, words: &str| {
            let bytes = files.get(path).map_or(b"".as_slice(), Vec::as_slice);
            memchr::memmem::find(bytes, words.as_bytes()).is_some()
        };
        if !made.files.iter().any(|path| has(path, "SecRule") || has(path, "SecAction")) {
            self.report.warning(paths.place, "there is no rule in these files", "name the folder of CRS");
        }
        if !set.ids().any(|id| id == NOT_SET_UP) {
            return;
        }
        if !made.files.iter().any(|path| has(path, "tx.crs_setup_version=")) {
            let what = "CRS without its setup refuses every request: no file sets tx.crs_setup_version";
            let remedy =
                "name the folder that has rules/ and crs-setup.conf.example, or a setup before the rules";
            self.report.error_with(paths.place, what, remedy);
        }
    }

    fn waf_key(&self, ordered: &[String], files: &BTreeSet<String>) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        ordered.iter().for_each(|path| part(path.as_bytes()));
        for path in files {
            part(path.as_bytes());
            part(self.bundle.files().get(path).map_or(b"", Vec::as_slice));
        }
        hash.finalize().into()
    }

    /// What these paths of rules are made of; looked into once, since many zones name the same.
    fn made_of(&self, paths: Vec<String>) -> Arc<Made> {
        if let Some(known) = self.made.borrow().get(&paths) {
            return Arc::clone(known);
        }
        let ordered: Vec<String> = paths.iter().flat_map(|path| in_order(self.bundle, path)).collect();
        let files = closure(self.bundle, &ordered);
        let key = self.waf_key(&ordered, &files);
        let made = Arc::new(Made { ordered, files, key });
        self.made.borrow_mut().insert(paths, Arc::clone(&made));
        made
    }

    /// A hash of all that a path of rules may stand for, for the zone's fingerprint.
    pub(super) fn waf_content(&self, path: &str) -> [u8; 32] {
        self.made_of(vec![path.to_owned()]).key
    }

    fn exceptions(
        &mut self,
        written: &Placed<List<WafExceptionSpec>>,
        set: &RuleSet,
        shadow: Option<&RuleSet>,
    ) -> Vec<WafException> {
        if written.0.len() > WAF_EXCEPTIONS_MAX {
            let message = format!("more than {WAF_EXCEPTIONS_MAX} exceptions in one zone");
            self.report.error(written.place, message);
        }
        let all = written.0.iter().take(WAF_EXCEPTIONS_MAX);
        all.filter_map(|one| self.exception(one, set, shadow)).collect()
    }

    fn exception(
        &mut self,
        one: &Placed<WafExceptionSpec>,
        set: &RuleSet,
        shadow: Option<&RuleSet>,
    ) -> Option<WafException> {
        let path = match (&one.path, &one.path_prefix) {
            (Some(_), Some(prefix)) => {
                let what = "an exception has either path or path_prefix";
                self.report.error_with(prefix.place, what, "leave one out");
                return None;
            }
            (Some(path), None) => WafPath::Exact(path.0.clone()),
            (None, Some(prefix)) => WafPath::Prefix(prefix.0.clone()),
            (None, None) => WafPath::Any,
        };
        if let Some(path) = one.path.as_ref().or(one.path_prefix.as_ref())
            && !path.0.starts_with('/')
        {
            self.report.error(path.place, "a path begins with a slash");
        }
        let is_all = one.rules.0.is_empty() && one.tags.0.is_empty() && one.variables.0.is_empty();
        if is_all && path == WafPath::Any {
            let what = "an exception of everything everywhere leaves nothing to inspect";
            self.report.error_with(
                one.place,
                what,
                "write mode = \"off\", or a path, rules, tags or variables",
            );
            return None;
        }
        let ids: Vec<(u64, u64)> = one.rules.0.iter().map(|ids| (ids.first, ids.last)).collect();
        let tags: Vec<&str> = one.tags.0.iter().map(|tag| tag.0.as_str()).collect();
        let variables: Vec<&str> = one.variables.0.iter().map(|text| text.0.as_str()).collect();
        let mut of = |set: &RuleSet| {
            for text in &one.variables.0 {
                if let Err(wrong) = set.exclusion(&ids, &tags, &[&text.0]) {
                    match wrong.remedy {
                        Some(remedy) => self.report.error_with(text.place, wrong.what, remedy),
                        None => self.report.error(text.place, wrong.what),
                    }
                }
            }
            set.exclusion(&ids, &tags, &variables).ok()
        };
        let (effect, shadow_effect) = match is_all {
            true => (None, None),
            false => (Some(of(set)?), shadow.and_then(of)),
        };
        if effect.as_ref().is_some_and(|effect| effect.rules_count() == 0) {
            let what = "no rule has one of these ids or tags: the exception does nothing";
            self.report.warning(one.place, what, "correct them, or leave the exception out");
        }
        let list = |name: &str, texts: Vec<String>| match texts.is_empty() {
            true => String::new(),
            false => format!(", {name} {}", texts.join(" ")),
        };
        let shown = format!(
            "{}{}{}{}",
            match &path {
                WafPath::Any => "everywhere".to_owned(),
                WafPath::Exact(path) => path.clone(),
                WafPath::Prefix(path) => format!("below {path}"),
            },
            list("rules", one.rules.0.iter().map(|ids| ids.to_string()).collect()),
            list("tags", tags.iter().map(ToString::to_string).collect()),
            list("variables", variables.iter().map(ToString::to_string).collect()),
        );
        Some(WafException { path, effect: effect.map(Arc::new), shadow: shadow_effect.map(Arc::new), shown })
    }
}

/// The files that a node must read for a path of rules: by the path itself when it is a file, else by folder
/// and ending.
///
/// A folder's own rules and lists, and those of its folders `rules` and `plugins`, are its files.
#[must_use]
pub fn belongs_to_rules(name: &str) -> bool {
    name == "crs-setup.conf.example" || [".conf", ".data"].iter().any(|end| name.ends_with(end))
}

/// Folders below a folder of rules that are read too.
pub const RULE_FOLDERS: [&str; 2] = ["rules", "plugins"];

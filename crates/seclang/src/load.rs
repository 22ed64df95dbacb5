//! Loading: from files of rules to a [`RuleSet`], or to every problem at once.
//!
//! Directives are read in order, `Include` in place; updates and removals of rules are applied when all are
//! read, so that their order among the files does not matter. Then ids, chains and markers are resolved,
//! rules are put into the lists of their phases, and the prefilter is built. No I/O: files come from a
//! [`Files`]. Read next: [`Loader`].

mod finish;

use std::sync::Arc;

use crate::code_page::CodePage;
use crate::files::{Files, fits, folder_of, resolve};
use crate::limits::{
    CODE_PAGES_BYTES_MAX, DATA_FILE_BYTES_MAX, FILE_BYTES_MAX, FILES_MAX, INCLUDE_DEPTH_MAX, RULES_MAX,
};
use crate::model::{Operator, Selector, Target, Which};
use crate::parse::actions::{self, Actions};
use crate::parse::{operator, targets};
use crate::pattern;
use crate::problem::{LoadError, Place, Problem, Report, Wrong};
use crate::ruleset::RuleSet;
use crate::settings::{RULES, Settings};
use crate::source::{Statement, split};
use crate::template::TxNames;
use crate::variable::Variable;
use crate::xml::Path;
use crate::xml::limits::PATHS_MAX;

/// Reads files of rules, in the order they are given.
#[derive(Debug)]
pub struct Loader<'a> {
    files: FilesRef<'a>,
    files_read: usize,
    report: Report,
    notes: Report,
    settings: Settings,
    names: TxNames,
    /// What `SecDefaultAction` says for each phase from here on.
    defaults: [Arc<Actions>; 5],
    entries: Vec<Entry>,
    rules: Vec<Raw>,
    /// Whether the last rule awaits the next of its chain.
    chain_open: bool,
    updates: Vec<(Place, Which, u32, Update)>,
    rules_seen: usize,
    /// XPaths of targets, by the name their values have.
    paths: Vec<(Box<[u8]>, Path)>,
    code_pages: CodePages,
}

/// Which code page is wanted, out of which file; the last word of each counts.
#[derive(Debug, Default)]
struct CodePages {
    file: Option<(Place, String, Option<u32>)>,
    /// `SecUnicodeCodePage`, where the other names the file alone.
    number: Option<u32>,
}

struct FilesRef<'a>(&'a dyn Files);

impl std::fmt::Debug for FilesRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Files")
    }
}

/// A rule or marker, in the order of the files.
#[derive(Debug)]
enum Entry {
    /// A rule that begins a chain or stands alone, as its place in `rules`.
    Rule(usize),
    Marker(String),
}

/// A rule as written.
#[derive(Debug)]
struct Raw {
    place: Place,
    targets: Vec<Target>,
    operator: Operator,
    is_negated: bool,
    actions: Actions,
    defaults: Arc<Actions>,
    /// Chained rules follow their first one at once.
    is_chained: bool,
    is_removed: bool,
}

/// A change of rules that stand elsewhere.
#[derive(Debug)]
enum Update {
    Remove,
    Targets(Vec<Target>),
    /// A target in place of another.
    Replace(Vec<Target>, Box<str>),
    Actions(Box<Actions>),
}

impl<'a> Loader<'a> {
    /// Begins with no rules and the engine's defaults.
    #[must_use]
    pub fn new(files: &'a dyn Files) -> Self {
        Self {
            files: FilesRef(files),
            files_read: 0,
            report: Report::default(),
            notes: Report::default(),
            settings: Settings::default(),
            names: TxNames::default(),
            defaults: Default::default(),
            entries: Vec::new(),
            rules: Vec::new(),
            chain_open: false,
            updates: Vec::new(),
            rules_seen: 0,
            paths: Vec::new(),
            code_pages: CodePages::default(),
        }
    }

    /// Reads a file, or all files that fit wildcards in the last part of its path, in the order of their
    /// names.
    pub fn file(&mut self, path: &str) -> &mut Self {
        let place = Place { file: Arc::from(path), line: 0 };
        let found = self.include(&place, path, false, 0);
        self.run(found);
        self
    }

    /// Reads rules from a text, under a name for problems; its relative paths begin in the name's folder.
    pub fn text(&mut self, name: &str, text: &str) -> &mut Self {
        let statements = split(&Arc::from(name), text, &mut self.report);
        self.run(vec![statements.into_iter()]);
        self
    }

    /// Runs the statements of files beside each other; included files are put on a stack with their depth, so
    /// that depth costs no recursion.
    fn run(&mut self, files: Vec<std::vec::IntoIter<Statement>>) {
        // How many files are open around each; those that only wait for their turn do not count.
        let mut stack: Vec<(usize, std::vec::IntoIter<Statement>)> =
            files.into_iter().rev().map(|file| (0, file)).collect();
        while let Some((depth, top)) = stack.last_mut() {
            let Some(statement) = top.next() else {
                stack.pop();
                continue;
            };
            let optional = statement.name.eq_ignore_ascii_case("IncludeOptional");
            if optional || statement.name.eq_ignore_ascii_case("Include") {
                if let [path] = statement.words.as_slice() {
                    let path = resolve(&statement.place.file, path);
                    let depth = *depth + 1;
                    let found = self.include(&statement.place, &path, optional, depth);
                    stack.extend(found.into_iter().rev().map(|file| (depth, file)));
                } else {
                    self.report.add(&statement.place, Wrong::new("`Include` takes one path"));
                }
            } else {
                self.statement(statement);
            }
        }
    }

    /// Yields the statements of the files at `path`.
    fn include(
        &mut self,
        place: &Place,
        path: &str,
        optional: bool,
        depth: usize,
    ) -> Vec<std::vec::IntoIter<Statement>> {
        let has_wildcards = path.contains(['*', '?']);
        let paths = if has_wildcards {
            let mut paths: Vec<String> =
                self.files.0.list(folder_of(path)).into_iter().filter(|name| fits(path, name)).collect();
            paths.sort();
            paths
        } else {
            vec![path.to_owned()]
        };
        if paths.is_empty() && !optional {
            let what = format!("no file fits `{path}`");
            self.report.add(place, Wrong::with(what, "correct the path, or write IncludeOptional"));
        }
        let mut found = Vec::new();
        for path in paths {
            let text = if depth > INCLUDE_DEPTH_MAX {
                Err(Wrong::with("files include each other in a circle", "leave one Include out"))
            } else {
                self.read(&path, FILE_BYTES_MAX)
            };
            let text = text.and_then(|bytes| {
                String::from_utf8(bytes).map_err(|_| {
                    Wrong::with(format!("`{path}` is not UTF-8"), "write other bytes in patterns as \\xHH")
                })
            });
            match text {
                Ok(text) => found.push(split(&Arc::from(path.as_str()), &text, &mut self.report).into_iter()),
                Err(_) if optional && !has_wildcards && depth <= INCLUDE_DEPTH_MAX => {}
                Err(wrong) => self.report.add(place, wrong),
            }
        }
        found
    }

    fn read(&mut self, path: &str, bytes_max: usize) -> Result<Vec<u8>, Wrong> {
        self.files_read += 1;
        if self.files_read > FILES_MAX {
            return Err(Wrong::new(format!("more than {FILES_MAX} files are read")));
        }
        let bytes =
            self.files.0.read(path).map_err(|why| Wrong::new(format!("`{path}` cannot be read: {why}")))?;
        if bytes.len() > bytes_max {
            return Err(Wrong::new(format!("`{path}` is longer than {bytes_max} bytes")));
        }
        Ok(bytes)
    }

    fn statement(&mut self, statement: Statement) {
        let Statement { place, name, words } = statement;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let known = RULES.iter().find(|known| known.eq_ignore_ascii_case(&name)).copied().unwrap_or_default();
        if self.chain_open && !matches!(known, "SecRule" | "SecAction") {
            self.close_chain(&place);
        }
        match (known, words.as_slice()) {
            ("SecRule", [targets, operator]) => self.rule(place, targets, operator, ""),
            ("SecRule", [targets, operator, actions]) => self.rule(place, targets, operator, actions),
            ("SecRule", _) => self.report.add(
                &place,
                Wrong::with(
                    format!("`SecRule` takes targets, an operator and actions, not {} words", words.len()),
                    "put each in double quotes",
                ),
            ),
            ("SecAction", [actions]) => self.rule(place, "", "@unconditionalMatch", actions),
            ("SecMarker", [marker]) => self.entries.push(Entry::Marker((*marker).to_owned())),
            ("SecDefaultAction", [actions]) => self.default_action(&place, actions),
            ("SecRuleRemoveById", [_, ..]) => {
                let ids = actions::ids(&words.join(" "));
                self.update(place, ids.map(Which::Ids), 0, Update::Remove);
            }
            ("SecRuleRemoveByTag", [tag]) => {
                self.update(place, pattern::compile(tag).map(Which::Tag), 0, Update::Remove);
            }
            ("SecRuleRemoveByMsg", [msg]) => {
                self.update(place, pattern::compile(msg).map(Which::Msg), 0, Update::Remove);
            }
            ("SecRuleUpdateActionById", [id, actions]) => {
                let (actions, problems) = actions::parse(actions, &mut self.names);
                for wrong in problems {
                    self.report.add(&place, wrong);
                }
                let has_namespaces = !actions.namespaces.is_empty();
                if actions.id.is_some() || actions.phase.is_some() || actions.chain || has_namespaces {
                    self.report.add(
                        &place,
                        Wrong::new("an update changes neither id nor phase nor chain nor xmlns"),
                    );
                }
                let (which, offset) = self.id_and_offset(id);
                self.update(place, which, offset, Update::Actions(Box::new(actions)));
            }
            ("SecRuleUpdateTargetById", [id, targets]) => {
                let (which, offset) = self.id_and_offset(id);
                self.update_targets(place, which, offset, targets, None);
            }
            ("SecRuleUpdateTargetById", [id, targets, replaced]) => {
                let (which, offset) = self.id_and_offset(id);
                self.update_targets(place, which, offset, targets, Some(replaced));
            }
            ("SecRuleUpdateTargetByTag", [tag, targets]) => {
                let which = pattern::compile(tag).map(Which::Tag);
                self.update_targets(place, which, 0, targets, None);
            }
            ("SecRuleUpdateTargetByMsg", [msg, targets]) => {
                let which = pattern::compile(msg).map(Which::Msg);
                self.update_targets(place, which, 0, targets, None);
            }
            ("", words) if is_of_code_pages(&name) => {
                let kept = self.code_pages.take(&place, &name, words);
                self.report.keep(&place, kept);
            }
            ("", _) => {
                let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
                if let Err(wrong) = self.settings.apply(&name, &words) {
                    self.report.add(&place, wrong);
                }
            }
            (known, _) => {
                let what = format!("`{known}` does not take {} words", words.len());
                self.report.add(&place, Wrong::with(what, "put texts with blanks in double quotes"));
            }
        }
    }

    /// Reads an id, or ids, with the place within a chain that may follow after a colon.
    fn id_and_offset(&self, text: &str) -> (Result<Which, Wrong>, u32) {
        let (ids, offset) = text.split_once(':').unwrap_or((text, "0"));
        let offset = offset
            .trim()
            .parse::<u32>()
            .map_err(|_| Wrong::new(format!("`{offset}` is no place in a chain")));
        match offset {
            Ok(offset) => (actions::ids(ids).map(Which::Ids), offset),
            Err(wrong) => (Err(wrong), 0),
        }
    }

    fn update_targets(
        &mut self,
        place: Place,
        which: Result<Which, Wrong>,
        offset: u32,
        text: &str,
        replaced: Option<&str>,
    ) {
        let targets = targets::parse(text, &mut self.names);
        let replaced = match replaced {
            Some(text) => {
                targets::parse(text, &mut self.names).map(|list| list.first().map(ToString::to_string))
            }
            None => Ok(None),
        };
        let targets = targets.and_then(|mut list| {
            targets::documents(&mut list, false)?;
            self.compile_paths(&mut list, &[])?;
            Ok(list)
        });
        match (targets, replaced) {
            (Ok(targets), Ok(None)) => self.update(place, which, offset, Update::Targets(targets)),
            (Ok(targets), Ok(Some(old))) => {
                self.update(place, which, offset, Update::Replace(targets, old.into()))
            }
            (Err(wrong), _) | (_, Err(wrong)) => self.report.add(&place, wrong),
        }
    }

    fn update(&mut self, place: Place, which: Result<Which, Wrong>, offset: u32, update: Update) {
        match which {
            Ok(which) => self.updates.push((place, which, offset, update)),
            Err(wrong) => self.report.add(&place, wrong),
        }
    }

    fn close_chain(&mut self, place: &Place) {
        self.chain_open = false;
        let begun = self.rules.last().map_or(place, |rule| &rule.place);
        self.report.add(
            begun,
            Wrong::with("the chain is not finished", "a SecRule must follow a rule with `chain`"),
        );
    }

    fn default_action(&mut self, place: &Place, text: &str) {
        let (actions, problems) = actions::parse(text, &mut self.names);
        for wrong in problems {
            self.report.add(place, wrong);
        }
        let Some(phase) = actions.phase else {
            self.report.add(place, Wrong::with("`SecDefaultAction` names no phase", "begin it with phase:1"));
            return;
        };
        if actions.disruptive.is_none() {
            self.report.add(place, Wrong::with("`SecDefaultAction` says neither pass nor deny", "add pass"));
        }
        let has_namespaces = !actions.namespaces.is_empty();
        let skips = actions.skip.is_some() || actions.skip_after.is_some();
        if actions.id.is_some() || actions.chain || skips || has_namespaces {
            self.report.add(place, Wrong::new("`SecDefaultAction` takes no id, chain, skip or xmlns"));
        }
        if let Some(slot) = self.defaults.get_mut(usize::from(phase.saturating_sub(1))) {
            *slot = Arc::new(actions);
        }
    }

    fn rule(&mut self, place: Place, target_text: &str, operator_text: &str, action_text: &str) {
        self.rules_seen += 1;
        if self.rules_seen > RULES_MAX {
            if self.rules_seen == RULES_MAX + 1 {
                self.report.add(&place, Wrong::new(format!("there are more than {RULES_MAX} rules")));
            }
            return;
        }
        let is_action = target_text.is_empty() && operator_text == "@unconditionalMatch";
        let targets = if is_action {
            Some(Vec::new())
        } else {
            self.report.keep(&place, targets::parse(target_text, &mut self.names))
        };
        let mut names = std::mem::take(&mut self.names);
        let parsed = operator::parse(operator_text, &mut names, &mut |path| {
            self.read(&resolve(&place.file, path), DATA_FILE_BYTES_MAX)
        });
        self.names = names;
        let parsed = self.report.keep(&place, parsed);
        let (actions, problems) = actions::parse(action_text, &mut self.names);
        for wrong in problems {
            self.report.add(&place, wrong);
        }
        let mut targets = targets.unwrap_or_default();
        if let Some((operator, _)) = &parsed {
            let judged = targets::documents(&mut targets, matches!(operator, Operator::Document(_)));
            let judged = judged.and_then(|()| self.compile_paths(&mut targets, &actions.namespaces));
            self.report.keep(&place, judged);
        }
        let is_chained = std::mem::replace(&mut self.chain_open, actions.chain);
        let phase = actions.phase.unwrap_or(2);
        let defaults = self.defaults.get(usize::from(phase.saturating_sub(1))).cloned().unwrap_or_default();
        // A rule with a problem is kept, so that its chain and its id are judged too.
        let (operator, is_negated) = parsed.unwrap_or((Operator::Never, false));
        if !is_chained {
            self.entries.push(Entry::Rule(self.rules.len()));
        }
        self.rules.push(Raw {
            place,
            targets,
            operator,
            is_negated,
            actions,
            defaults,
            is_chained,
            is_removed: false,
        });
    }

    /// Compiles the XPaths among a rule's targets, and names each as its values will be.
    fn compile_paths(
        &mut self,
        targets: &mut [Target],
        namespaces: &[(String, String)],
    ) -> Result<(), Wrong> {
        for target in targets.iter_mut().filter(|target| target.variable == Variable::XmlPath) {
            let Selector::Name(text) = &target.selector else { continue };
            if target.is_excluded {
                continue;
            }
            let path = Path::parse(&String::from_utf8_lossy(text), namespaces)?;
            let mut name = text.clone();
            let mut number = 1;
            // Names are compared in any case, and one text can mean several paths by its prefixes.
            let known = loop {
                let same = self.paths.iter().find(|(known, _)| known.eq_ignore_ascii_case(&name));
                match same {
                    Some((_, known)) if *known != path => {
                        number += 1;
                        name = [text, format!(" ({number})").as_bytes()].concat().into();
                    }
                    other => break other.is_some(),
                }
            };
            if !known {
                if self.paths.len() >= PATHS_MAX {
                    return Err(Wrong::new(format!("more than {PATHS_MAX} different XPaths")));
                }
                self.paths.push((name.clone(), path));
            }
            target.selector = Selector::Name(name);
        }
        Ok(())
    }

    /// Puts the rules together.
    ///
    /// # Errors
    ///
    /// Every problem of every file read, with its place.
    pub fn finish(mut self) -> Result<RuleSet, LoadError> {
        if self.chain_open {
            let place = Place { file: Arc::from(""), line: 0 };
            self.close_chain(&place);
        }
        self.build()
    }

    /// What was remarkable but no problem so far: updates that meet no rule.
    fn note(&mut self, place: &Place, wrong: Wrong) {
        self.notes.add(place, wrong);
    }

    fn take_notes(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.notes).into_problems()
    }
}

/// Says whether a directive is one of [`CodePages`].
fn is_of_code_pages(name: &str) -> bool {
    ["SecUnicodeMapFile", "SecUnicodeCodePage"].iter().any(|one| name.eq_ignore_ascii_case(one))
}

impl CodePages {
    /// Takes `SecUnicodeMapFile FILE NUMBER`, the same without a number, or `SecUnicodeCodePage NUMBER`.
    fn take(&mut self, place: &Place, name: &str, words: &[&str]) -> Result<(), Wrong> {
        let number = |word: &str| word.parse::<u32>().ok().filter(|number| *number > 0);
        let no_number = |word: &str| {
            Wrong::with(format!("`{word}` is no number of a code page"), "write it as the file does: 20127")
        };
        match words {
            [] => return Err(Wrong::new(format!("`{name}` lacks its value"))),
            [word] if name.eq_ignore_ascii_case("SecUnicodeCodePage") => {
                self.number = Some(number(word).ok_or_else(|| no_number(word))?);
            }
            _ if name.eq_ignore_ascii_case("SecUnicodeCodePage") => {
                return Err(Wrong::new(format!("`{name}` takes one number")));
            }
            [file] => self.file = Some((place.clone(), (*file).to_owned(), None)),
            [file @ .., last] => {
                let number = number(last).ok_or_else(|| no_number(last))?;
                self.file = Some((place.clone(), file.join(" "), Some(number)));
            }
        }
        Ok(())
    }
}

impl Loader<'_> {
    /// Reads the code page that the rules want; none where they want none.
    fn code_page(&mut self) -> Option<CodePage> {
        let CodePages { file, number } = std::mem::take(&mut self.code_pages);
        let (place, file, own) = file?;
        let Some(number) = own.or(number) else {
            let what = "`SecUnicodeMapFile` names no code page";
            self.report.add(&place, Wrong::with(what, "write its number behind the file: 20127 is US-ASCII"));
            return None;
        };
        let path = resolve(&place.file, &file);
        let read = self.read(&path, CODE_PAGES_BYTES_MAX);
        let bytes = self.report.keep(&place, read)?;
        CodePage::read(&Arc::from(path), &bytes, number, &place, &mut self.report)
    }
}

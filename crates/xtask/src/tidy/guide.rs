//! Rules for the guide: what it names is there. Metrics stand in their reference, commands and flags on the
//! command line; on the pages for whoever runs a node, events, fields and settings stand in the product's
//! sources or in a reference.
//!
//! It does not know what kind of thing a word is: a word of code that stands nowhere is a mistake whatever it
//! means. Other pages name other programs' settings too. Read next: [`check`].

use std::collections::BTreeSet;

use super::Problem;
use crate::tree::{SourceFile, Tree};

/// The page on faults: of its tables the cells that say what one sees are read word by word.
const FAULTS: &str = "docs/guide/when-things-break.md";

/// The page on running a node.
const OPERATING: &str = "docs/guide/operate.md";

/// The cell of a fault's row that says what the owner sees.
const SEEN: usize = 3;

pub(super) fn check(tree: &Tree, problems: &mut Vec<Problem>) {
    let known = Known::of(tree);
    for file in tree.files.iter().filter(|file| is_page(file)) {
        let is_known_word = [FAULTS, OPERATING].contains(&file.path.as_str());
        for (place, line) in file.text.lines().enumerate() {
            let seen = line.split(" | ").nth(SEEN - 1).filter(|_| file.path == FAULTS);
            for code in codes(line) {
                let is_seen = seen.is_some_and(|cell| cell.contains(code));
                let wrong =
                    known.judge(code).or_else(|| known.judge_word(code, is_seen).filter(|_| is_known_word));
                let remedy = "write what the product says, or mend that";
                problems.extend(wrong.map(|what| Problem::new(&file.path, place + 1, what, remedy)));
            }
        }
    }
}

fn is_page(file: &SourceFile) -> bool {
    file.path.starts_with("docs/guide/") && file.path.ends_with(".md")
}

/// What there is.
struct Known {
    /// Words in the product's texts.
    words: BTreeSet<String>,
    /// Everything that references say.
    references: String,
    commands: BTreeSet<String>,
    flags: BTreeSet<String>,
}

impl Known {
    fn of(tree: &Tree) -> Self {
        let mut words = BTreeSet::new();
        for file in tree.files.iter().filter(|file| is_product(file)) {
            let text = file.text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
            words.extend(text.split('"').filter(|word| is_word(word)).map(str::to_owned));
        }
        let references = tree.files.iter().filter(|file| file.path.starts_with("docs/reference/"));
        let references = references.map(|file| file.text.as_str()).collect();
        let line = tree.text("crates/rempart/src/flags.rs").unwrap_or_default();
        Self { words, references, commands: commands(line), flags: flags(line) }
    }

    /// What is wrong with a command, a flag or a metric of the guide, if anything is.
    fn judge(&self, code: &str) -> Option<String> {
        if let Some(order) = code.strip_prefix("rempart ") {
            let command = order.split(' ').next().unwrap_or_default();
            if is_command(command) && !self.commands.contains(command) {
                return Some(format!("there is no command `rempart {command}`"));
            }
        }
        let is_ours = code.starts_with("rempart ") || code.starts_with("--");
        for flag in code.split(' ').filter(|_| is_ours).filter_map(|word| word.strip_prefix("--")) {
            let flag = flag.split(['=', ',']).next().unwrap_or_default();
            if is_command(flag) && !self.flags.contains(flag) {
                return Some(format!("no command has the flag `--{flag}`"));
            }
        }
        let word = first_word(code);
        let is_there = || self.references.contains(&format!("`{word}`"));
        (word.starts_with("rempart_") && !is_there()).then(|| format!("there is no metric `{word}`"))
    }

    /// What is wrong with a word, if anything is. In a `seen` cell each counts, also one that could be plain
    /// English.
    fn judge_word(&self, code: &str, is_seen: bool) -> Option<String> {
        let word = first_word(code);
        let counts = is_word(word) && (word.contains('_') || is_seen && word == code);
        let is_there = || {
            self.words.contains(word) || self.commands.contains(word) || holds_word(&self.references, word)
        };
        (counts && !is_there()).then(|| format!("nothing in the product is called `{word}`"))
    }
}

/// A piece of code up to its labels, its value or its arguments.
fn first_word(code: &str) -> &str {
    code.split(['{', ' ', '=']).next().unwrap_or_default()
}

pub(super) fn is_product(file: &SourceFile) -> bool {
    let in_crates = file.path.strip_prefix("crates/").and_then(|path| path.split_once('/'));
    in_crates.is_some_and(|(name, path)| {
        path.starts_with("src/")
            && file.is_rust()
            && !["testkit", "xtask"].contains(&name)
            && !path.ends_with("tests.rs")
    })
}

/// Whether it is one word in lower case, as names of events, fields and settings are.
pub(super) fn is_word(text: &str) -> bool {
    let is_part = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    text.starts_with(|letter: char| letter.is_ascii_lowercase()) && text.chars().all(is_part)
}

fn is_command(text: &str) -> bool {
    let is_part = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    text.starts_with(|letter: char| letter.is_ascii_lowercase()) && text.chars().all(is_part)
}

fn holds_word(text: &str, word: &str) -> bool {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    text.match_indices(word).any(|(place, _)| {
        let before = text.get(..place).and_then(|before| before.chars().next_back());
        let behind = text.get(place + word.len()..).and_then(|behind| behind.chars().next());
        !before.is_some_and(is_part) && !behind.is_some_and(is_part)
    })
}

/// What stands between back-ticks in a line, and a whole line that is a command.
fn codes(line: &str) -> impl Iterator<Item = &str> {
    let whole = line.starts_with("rempart ").then_some(line);
    line.split('`').skip(1).step_by(2).chain(whole)
}

/// The commands: variants of the command line's enum, as clap spells them.
fn commands(flags: &str) -> BTreeSet<String> {
    let body =
        flags.split("enum Command {").nth(1).and_then(|rest| rest.split("\n}").next()).unwrap_or_default();
    let names =
        body.lines().map(str::trim).filter(|line| line.starts_with(|it: char| it.is_ascii_uppercase()));
    names.map(|line| spelled(line.split(['(', ',', ' ']).next().unwrap_or_default())).collect()
}

/// The flags: members with `long`, or named by it.
fn flags(text: &str) -> BTreeSet<String> {
    let mut all: BTreeSet<String> = BTreeSet::from(["help".to_owned(), "version".to_owned()]);
    let mut is_flag = false;
    for line in text.lines().map(str::trim) {
        if let Some((_, named)) = line.split_once("long = \"") {
            all.extend(named.split('"').next().map(str::to_owned));
        } else if line.contains("arg(long") || line == "long," {
            is_flag = true;
        } else if let Some((name, _)) = line.strip_prefix("pub(crate) ").unwrap_or(line).split_once(": ")
            && is_word(name)
            && std::mem::take(&mut is_flag)
        {
            all.insert(name.replace('_', "-"));
        }
    }
    all
}

/// A variant's name as clap spells it.
fn spelled(variant: &str) -> String {
    let mut text = String::new();
    for letter in variant.chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "enum Command {\n    Serve(NodeFile),\n    EdgeRole,\n}\n\n    \
                        #[arg(long, value_name = \"X\")]\n    pub(crate) dry_run: bool,\n    \
                        #[arg(long = \"for\")]\n    pub(crate) for_s: u64,\n";

    fn found(guide: &str) -> Vec<String> {
        let file = |path: &str, text: &str| SourceFile { path: path.into(), text: text.into() };
        let files = vec![
            file("crates/rempart/src/flags.rs", LINE),
            file(
                "crates/edge/src/a.rs",
                "tell(\"edge_died\"); tell(\"ready\");\n#[cfg(test)]\nmod tests { \"gone_by\" }",
            ),
            file("docs/reference/metrics.md", "| `rempart_panics_total` | counter |"),
            file("docs/reference/settings.md", "`node.linger_ms`"),
            file(FAULTS, guide),
        ];
        let tree = Tree { root: env!("CARGO_MANIFEST_DIR").into(), files };
        let mut problems = Vec::new();
        check(&tree, &mut problems);
        problems.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn what_is_there_is_no_problem() {
        let row = "| it died | nothing | `edge_died`, then `ready`; `rempart_panics_total{x=\"y\"}` | \
                   `rempart serve --dry-run` | D1 |";
        assert!(found(row).is_empty(), "{:?}", found(row));
        assert!(found("`linger_ms`, `edge-role`, `--for 3`, `some text`, `Name`").is_empty());
    }

    #[test]
    fn a_word_that_stands_nowhere_is_found() {
        for (text, part) in [
            ("an event `edge_gone`", "`edge_gone`"),
            ("only a test says `gone_by`", "`gone_by`"),
            ("`rempart_panic_total` rises", "no metric `rempart_panic_total`"),
            ("do `rempart sarve`", "no command `rempart sarve`"),
            ("```\nrempart sarve --config x", "no command `rempart sarve`"),
            ("do `rempart serve --dry`", "the flag `--dry`"),
            ("| it | nothing | `reddy` | x | D1 |", "`reddy`"),
        ] {
            let problems = found(text);
            assert!(problems.iter().any(|problem| problem.contains(part)), "{text}: {problems:?}");
        }
        assert!(found("plain `reddy` elsewhere").is_empty());
    }
}

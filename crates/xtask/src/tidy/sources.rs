//! Rules for the text of one file: lengths, module docs, names, marks left behind, paths of somebody's
//! machine.
//!
//! Looks at lines, not at syntax: a rule that needs more than a line belongs to clippy. Read next: [`check`].

use super::Problem;
use crate::tree::SourceFile;

#[cfg(test)]
mod tests;

const COLUMNS_MAX: usize = 110;
const LINES_MAX: usize = 800;

/// Words that say nothing about the thing named.
const EMPTY_WORDS: [&str; 8] =
    ["Manager", "Handler", "Helper", "Helpers", "Processor", "Info", "Data", "Util"];

/// Files that become drawers, by name.
const DRAWERS: [&str; 8] = ["util", "utils", "helper", "helpers", "common", "misc", "types", "core"];

/// Marks of work left undone, spelled in two parts so that this file has none.
const MARKS: [&str; 3] = [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X:")];

/// Beginnings of paths that exist on one person's machine only.
const PRIVATE_PATHS: [&str; 3] = [concat!("/ho", "me/"), concat!("/Us", "ers/"), concat!("C:\\", "Users")];

pub(super) fn check(file: &SourceFile, problems: &mut Vec<Problem>) {
    let is_prose = file.path.ends_with(".md");
    for (line, text) in numbered(&file.text) {
        if !is_prose && let Some(mark) = MARKS.iter().find(|mark| has_word(text, mark)) {
            problems.push(Problem::new(
                &file.path,
                line,
                format!("`{mark}` marks work left undone"),
                "do it, or open an issue and say plainly what is missing",
            ));
        }
        if let Some(start) = PRIVATE_PATHS.iter().find(|start| text.contains(**start)) {
            let what = format!("`{start}` begins a path of somebody's machine");
            problems.push(Problem::new(&file.path, line, what, "use a relative path or an invented one"));
        }
    }
    if file.is_rust() {
        check_rust(file, problems);
    }
}

fn check_rust(file: &SourceFile, problems: &mut Vec<Problem>) {
    check_file_name(file, problems);
    if !file.text.starts_with("//! ") {
        problems.push(Problem::new(
            &file.path,
            1,
            "the file does not begin with a module doc",
            "begin with `//!`: what it is, what it does not do, who calls it, where to read next",
        ));
    }
    let product_lines = lines_without_tests(file);
    if product_lines > LINES_MAX {
        let what = format!("{product_lines} lines without tests, {LINES_MAX} allowed");
        problems.push(Problem::new(
            &file.path,
            0,
            what,
            "split it by subject, or move tests to `foo/tests.rs`",
        ));
    }
    for (line, text) in numbered(&file.text) {
        let columns = text.chars().count();
        if columns > COLUMNS_MAX && !text.split_whitespace().any(|word| word.contains("://")) {
            let what = format!("{columns} columns, {COLUMNS_MAX} allowed");
            problems.push(Problem::new(&file.path, line, what, "break the line"));
        }
        check_names(&file.path, line, text, problems);
        if text.trim_start().starts_with(concat!("#[", "ignore]")) {
            let remedy = "write `#[ignore = \"reason\"]`";
            problems.push(Problem::new(&file.path, line, "a test is ignored without a reason", remedy));
        }
    }
}

fn check_file_name(file: &SourceFile, problems: &mut Vec<Problem>) {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    let stem = name.strip_suffix(".rs").unwrap_or(name);
    if name == "mod.rs" {
        problems.push(Problem::new(&file.path, 0, "`mod.rs`", "name it `foo.rs` beside the folder `foo/`"));
    }
    if DRAWERS.contains(&stem) {
        let what = format!("`{name}` is a drawer's name");
        problems.push(Problem::new(&file.path, 0, what, "name it after the one thing it holds"));
    }
    if stem.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_') {
        let what = format!("`{name}` is a number");
        problems.push(Problem::new(&file.path, 0, what, "name it after what it shows"));
    }
}

fn check_names(path: &str, line: usize, text: &str, problems: &mut Vec<Problem>) {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    if !text.trim_start().starts_with(is_part) {
        return;
    }
    // A declaration begins its line, after words of visibility and the like.
    let before = ["pub", "crate", "super", "const", "async", "extern"];
    let words = text.split(|character| !is_part(character)).filter(|word| !word.is_empty());
    let mut words = words.skip_while(|word| before.contains(word));
    let (Some(keyword), Some(name)) = (words.next(), words.next()) else { return };
    match keyword {
        "struct" | "enum" | "trait" | "type" | "union" => {
            if let Some(empty) = camel_words(name).find(|part| EMPTY_WORDS.contains(part)) {
                let what = format!("`{name}` holds the empty word `{empty}`");
                problems.push(Problem::new(path, line, what, "name it after the thing: see docs/lexicon.md"));
            }
        }
        // In tests `get_` is the method GET.
        "fn" if name.starts_with("get_") && !is_test(path) => {
            let what = format!("`{name}` begins with `get_`");
            problems.push(Problem::new(path, line, what, "leave the prefix out"));
        }
        _ => {}
    }
}

/// The words of a name in camel case.
fn camel_words(name: &str) -> impl Iterator<Item = &str> {
    let mut rest = name;
    std::iter::from_fn(move || {
        let next = rest.char_indices().skip(1).find(|(_, character)| character.is_uppercase());
        let (word, after) = rest.split_at(next.map_or(rest.len(), |(at, _)| at));
        rest = after;
        (!word.is_empty()).then_some(word)
    })
}

/// True when `text` holds `mark` and no letter touches it.
fn has_word(text: &str, mark: &str) -> bool {
    text.match_indices(mark).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + mark.len()..].chars().next();
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
    })
}

/// Lines of the product: a file of tests has none, and tests at the end of a file do not count.
fn lines_without_tests(file: &SourceFile) -> usize {
    if is_test(&file.path) {
        return 0;
    }
    let lines: Vec<&str> = file.text.lines().collect();
    lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{'))
        .unwrap_or(lines.len())
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.split('/').any(|folder| folder == "tests")
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(place, line)| (place + 1, line))
}

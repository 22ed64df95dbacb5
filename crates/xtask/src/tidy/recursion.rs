//! No recursion over hostile or tenant input: a function of a crate that reads such input does not call
//! itself.
//!
//! What is approximated: only direct recursion is seen, by name and within the file's text. Two functions
//! that call each other pass unseen; a method that calls a function of its own name elsewhere is spared
//! because only `self.name(`, `Self::name(` and, for functions without `self`, a bare `name(` count.
//! Read next: [`check`].

use super::Problem;
use crate::tree::SourceFile;

#[cfg(test)]
mod tests;

/// Crates that read bytes from visitors or origins, or files from tenants.
const FACING: [&str; 10] =
    ["rules", "seclang", "http1", "http3", "exchange", "zone", "wire", "origin", "telemetry", "edge"];

/// Functions that may call themselves, with the bound: (path, function, reason).
const BOUNDED: [(&str, &str, &str); 0] = [];

pub(super) fn check(file: &SourceFile, problems: &mut Vec<Problem>) {
    let facing = FACING.iter().any(|name| file.path.starts_with(&format!("crates/{name}/src/")));
    if !facing || !file.is_rust() || file.path.ends_with("/tests.rs") {
        return;
    }
    for (line, name) in self_calls(&file.text) {
        if BOUNDED.iter().any(|(path, function, _)| *path == file.path && *function == name) {
            continue;
        }
        let what = format!("`{name}` calls itself in a crate that reads hostile or tenant input");
        problems.push(Problem::new(&file.path, line, what, "use a loop with a bounded stack of its own"));
    }
}

/// A function whose body is being read.
struct Open<'a> {
    name: &'a str,
    is_method: bool,
    depth_outside: usize,
    body_begun: bool,
}

/// Line and name of every function that calls itself.
fn self_calls(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut functions: Vec<Open<'_>> = Vec::new();
    let mut depth = 0_usize;
    for (place, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        if let Some(name) = declared(code) {
            functions.push(Open { name, is_method: false, depth_outside: depth, body_begun: false });
        }
        if let Some(function) = functions.last_mut() {
            if !function.body_begun {
                function.is_method |= code.contains("self");
            }
            let call_outside_declaration = declared(code).is_none() && function.body_begun;
            if call_outside_declaration && calls(code, function.name, function.is_method) {
                found.push((place + 1, function.name.to_owned()));
            }
        }
        for byte in code.bytes() {
            match byte {
                b'{' => {
                    depth += 1;
                    if let Some(function) = functions.last_mut() {
                        function.body_begun = true;
                    }
                }
                b'}' => depth = depth.saturating_sub(1),
                b';' => {
                    // A declaration without a body, in a trait.
                    functions.pop_if(|function| !function.body_begun && function.depth_outside == depth);
                }
                _ => {}
            }
        }
        while functions.pop_if(|function| function.body_begun && depth <= function.depth_outside).is_some() {}
    }
    found
}

/// The name that a line declares with `fn`.
fn declared(code: &str) -> Option<&str> {
    let after = code.strip_prefix("fn ").or_else(|| code.split_once(" fn ").map(|(_, after)| after))?;
    let end = after.find(|character: char| !character.is_alphanumeric() && character != '_')?;
    (end > 0).then(|| &after[..end])
}

fn calls(code: &str, name: &str, is_method: bool) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + name.len()..]);
        let touched = |character: char| character.is_alphanumeric() || "_.:!$".contains(character);
        after.starts_with('(')
            && if is_method {
                before.ends_with("self.") && !before.ends_with("_self.") || before.ends_with("Self::")
            } else {
                before.ends_with("Self::") || !before.ends_with(touched)
            }
    })
}

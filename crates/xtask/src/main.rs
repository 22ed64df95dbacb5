//! Tasks about the repository itself: `cargo xtask tidy` and `cargo xtask references`.
//!
//! `tidy` holds the rules of STYLE.md that compiler and clippy do not know; it is also a test of this crate,
//! so a plain test run holds them. `references` writes the pages under `docs/reference/` that are made from
//! code. Nothing of the product depends on this crate. Read next: [`tidy::check`].

#[cfg(test)]
mod examples;
mod references;
mod tidy;
mod tree;

use std::process::ExitCode;

use anyhow::Result;

const USAGE: &str = "usage: cargo xtask tidy | cargo xtask references";

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let tree = tree::Tree::read()?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["tidy"] => {
            let problems = tidy::check(&tree)?;
            for problem in &problems {
                eprintln!("{problem}");
            }
            eprintln!("tidy: {} files, {} problems", tree.files.len(), problems.len());
            Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        ["references"] => {
            references::write(&tree)?;
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            eprintln!("{USAGE}");
            Ok(ExitCode::from(2))
        }
    }
}

//! The files of the repository: everything git knows or would add, and without git everything but what is
//! built.
//!
//! Reads text files whole; others are left out. Called by both tasks. Read next: [`Tree::read`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// Folders never looked into when there is no git to ask.
const NOT_OURS: [&str; 6] = [".git", ".venv", "target", "rempart-data", "corpus", "artifacts"];

/// One text file.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// Path relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl SourceFile {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// The repository.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) root: PathBuf,
    pub(crate) files: Vec<SourceFile>,
}

impl Tree {
    /// Reads the repository that this crate was built from.
    pub(crate) fn read() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let root = root.canonicalize().with_context(|| format!("{} is gone", root.display()))?;
        let mut paths = match listed_by_git(&root) {
            Some(paths) => paths,
            None => walked(&root)?,
        };
        paths.sort();
        let mut files = Vec::new();
        for path in paths {
            // A file that git lists and somebody just removed, and files that are no text, are left out.
            if let Ok(text) = fs::read_to_string(root.join(&path)) {
                files.push(SourceFile { path, text });
            }
        }
        Ok(Self { root, files })
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|file| file.path == path).map(|file| file.text.as_str())
    }

    /// The crates' names: the folders below `crates/` with a manifest.
    pub(crate) fn crates(&self) -> impl Iterator<Item = &str> {
        self.files.iter().filter_map(|file| {
            let name = file.path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml")?;
            (!name.contains('/')).then_some(name)
        })
    }
}

fn listed_by_git(root: &Path) -> Option<Vec<String>> {
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(arguments).current_dir(root).output().ok()?;
    if !output.status.success() {
        return None;
    }
    let listed = String::from_utf8(output.stdout).ok()?;
    let paths: Vec<String> = listed.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect();
    // An export inside some other repository lists nothing: then git is no help.
    (!paths.is_empty()).then_some(paths)
}

fn walked(root: &Path) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() && !NOT_OURS.iter().any(|name| entry.file_name() == *name) {
                folders.push(entry.path());
            } else if kind.is_file() {
                let path = entry.path();
                paths.push(path.strip_prefix(root)?.to_string_lossy().into_owned());
            }
        }
    }
    Ok(paths)
}

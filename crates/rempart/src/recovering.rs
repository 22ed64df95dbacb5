//! `rempart recover`: writes the zone files of a kept generation into a folder, for whoever has lost their
//! own.
//!
//! It reads the data folder alone: no node need run, and a node that runs is not touched. What a generation
//! does not have is told: private keys, and the tables of the node file beside those that zones are compiled
//! with. Called by `main`; read next: [`crate::generations`], and `zone`'s `bundle.rs` for what is kept.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use zone::{Bundle, FileKind};

use crate::commands::{counted, tell};
use crate::configuration::{data_dir, read_node_file};
use crate::files::write_whole;
use crate::flags::Recover;
use crate::generations::{Generation, Generations};

/// Where files are put that were not below the folder that the zones folder was in.
const ELSEWHERE: &str = "elsewhere";

/// The tables of the node file that a generation has.
const TABLES: &str = "node-file-tables.toml";

/// Writes them, and says where what went.
///
/// # Errors
/// When no generation can be read, or the folder is not empty or not writable.
pub(crate) fn run(wanted: &Recover) -> Result<ExitCode> {
    let data = match &wanted.data_dir {
        Some(data) => std::path::absolute(data)?,
        None => {
            let path = wanted.node.find()?;
            let file = read_node_file(&path).map_err(|problems| {
                anyhow::anyhow!("{}: name the data folder with --data-dir", problems.lines().trim_end())
            })?;
            data_dir(&file.node)
        }
    };
    ensure!(
        data.join("generations").is_dir(),
        "{} has no generations: name the data folder of a node with --data-dir",
        data.display()
    );
    let (generation, bundle) = choose(&Generations::open(&data)?, wanted.generation)?;
    let laid = lay_out(&bundle);
    make_empty(&wanted.into)?;
    for (path, (bytes, changed)) in &laid.files {
        let path = wanted.into.join(path);
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        write_whole(&path, bytes, 0o600).with_context(|| format!("{} cannot be written", path.display()))?;
        if let Some(changed) = changed {
            // A list that does not say when it was made is no newer for being written again.
            fs::File::options().write(true).open(&path)?.set_modified(*changed)?;
        }
    }
    let (zones, all) = (counted(bundle.specs().len(), "zone"), counted(laid.files.len(), "file"));
    let place = wanted.into.display();
    writeln!(io::stdout(), "generation {} is in {place}: {zones}, {all}", generation.number)?;
    if bundle.defaults().is_some() {
        tell(&format!("{TABLES} has [zone_defaults] and [geo] of the node file: put them back there"));
    }
    for path in &laid.elsewhere {
        tell(&format!("{} was elsewhere: {ELSEWHERE}{0} has what it was", path.display()));
    }
    for path in keys(&bundle) {
        tell(&format!("{path} is a private key: generations have none, put it there yourself"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes the generation that was named, or the one that a node would start from.
fn choose(generations: &Generations, number: Option<u64>) -> Result<(Generation, Bundle)> {
    if let Some(number) = number {
        let named = generations.numbered(number);
        let generation = named.with_context(|| format!("no generation {number} is kept"))?;
        let bundle = read(generations, &generation)?;
        return Ok((generation, bundle));
    }
    let mut broken = Vec::new();
    for generation in generations.to_try() {
        match read(generations, &generation) {
            Ok(bundle) => return Ok((generation, bundle)),
            Err(error) => broken.push(format!("{error:#}")),
        }
    }
    bail!(
        "no generation can be used: {}",
        if broken.is_empty() { "none is kept".into() } else { broken.join("; ") }
    )
}

fn read(generations: &Generations, generation: &Generation) -> Result<Bundle> {
    let bytes = generations.read(generation)?;
    Bundle::from_bytes(&bytes).map_err(|fault| anyhow::anyhow!("generation {}: {fault}", generation.number))
}

/// What is written where.
#[derive(Debug, Default)]
struct Laid {
    /// By path below the folder, without `..`: the bytes, and when the file was changed where that counts.
    files: BTreeMap<PathBuf, (Vec<u8>, Option<SystemTime>)>,
    /// Where files were that are not below the zones' surroundings.
    elsewhere: Vec<PathBuf>,
}

/// Lays files out as they were to each other, so that what they name by relative paths is where it was.
fn lay_out(bundle: &Bundle) -> Laid {
    let mut laid = Laid::default();
    let zones =
        bundle.specs().first().and_then(|spec| normal(Path::new(&spec.name)).parent().map(Path::to_owned));
    let around = zones.as_deref().and_then(Path::parent).unwrap_or(Path::new("/"));
    let specs = bundle.specs().iter().map(|spec| (spec.name.as_str(), spec.bytes.as_slice()));
    let named = bundle.files().iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice()));
    for (name, bytes) in specs.chain(named) {
        let path = normal(Path::new(name));
        let below = path.strip_prefix(around).map_or_else(
            |_| {
                laid.elsewhere.push(path.clone());
                Path::new(ELSEWHERE).join(path.strip_prefix("/").unwrap_or(&path))
            },
            Path::to_owned,
        );
        let unix_s = bundle.changed().get(name).copied().map(Duration::from_secs);
        let changed = unix_s.and_then(|since| UNIX_EPOCH.checked_add(since));
        laid.files.insert(below, (bytes.to_vec(), changed));
    }
    if let Some(tables) = bundle.defaults() {
        let text = String::from_utf8_lossy(&tables.bytes);
        let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        laid.files.insert(TABLES.into(), ((lines.join("\n") + "\n").into_bytes(), None));
    }
    laid
}

/// A path without `.` and `..`: what `..` leads out of is left.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(_) | Component::RootDir => normal.push(part),
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    normal
}

/// The private keys that a bundle names.
fn keys(bundle: &Bundle) -> Vec<String> {
    let named = zone::files_named(bundle.specs(), bundle.defaults());
    let mut keys: Vec<String> = named
        .into_iter()
        .filter(|named| named.kind == FileKind::PrivateKey)
        .map(|named| named.path)
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn make_empty(folder: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("{} cannot be made", folder.display()))?;
    let is_empty = fs::read_dir(folder)?.next().is_none();
    ensure!(is_empty, "{} is not empty: name a folder that is, or is not there yet", folder.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use zone::Source;

    use super::*;

    fn bundle() -> Bundle {
        let spec = |name: &str| Source { name: name.to_owned(), bytes: format!("# {name}\n").into_bytes() };
        let defaults = Source { name: "/etc/r/rempart.toml".into(), bytes: b"     \n[geo]  \n".to_vec() };
        let files = [("/etc/r/zones/../list.txt", "one"), ("/srv/page.html", "two")];
        let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
        let specs = vec![spec("/etc/r/zones/a.toml"), spec("/etc/r/zones/b.toml")];
        Bundle::new(specs, Some(defaults), files.into_iter().collect())
    }

    #[test]
    fn files_are_to_each_other_as_they_were() {
        let laid = lay_out(&bundle());
        let paths: Vec<&str> = laid.files.keys().filter_map(|path| path.to_str()).collect();
        let all =
            ["elsewhere/srv/page.html", "list.txt", "node-file-tables.toml", "zones/a.toml", "zones/b.toml"];
        assert_eq!(paths, all);
        assert_eq!(laid.elsewhere, [Path::new("/srv/page.html")]);
        assert_eq!(laid.files[Path::new(TABLES)].0, b"[geo]\n");
    }

    #[test]
    fn no_path_leads_out_of_the_folder() {
        assert_eq!(normal(Path::new("/a/../../../etc/./x")), Path::new("/etc/x"));
        let file = [("/../../x".to_owned(), Vec::new())].into_iter().collect();
        let spec = Source { name: "../../../a.toml".into(), bytes: Vec::new() };
        let laid = lay_out(&Bundle::new(vec![spec], None, file));
        let is_inside = |path: &PathBuf| path.components().all(|part| matches!(part, Component::Normal(_)));
        assert!(laid.files.len() == 2 && laid.files.keys().all(is_inside), "{laid:?}");
    }

    #[test]
    fn a_folder_that_has_something_is_left_alone() {
        let folder = testkit::folder::Folder::new().unwrap();
        make_empty(&folder.path().join("new/deep")).unwrap();
        let error = make_empty(folder.path()).unwrap_err().to_string();
        assert!(error.contains("is not empty"), "{error}");
    }
}

//! A folder of its own for each test, removed when the test ends.
//!
//! It does not share anything between tests and never reuses a folder it finds. Called by [`crate::node`],
//! [`crate::authority`] and tests. Read next: [`crate::node`].

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A new folder only its owner may enter (mode 0700), removed with all in it on drop.
pub struct Folder {
    path: PathBuf,
    kept: bool,
}

impl Folder {
    /// Makes a folder whose name begins with `testkit-`.
    ///
    /// # Errors
    /// When the system's temporary folder cannot be written.
    pub fn new() -> io::Result<Folder> {
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("testkit-{}-{number}", std::process::id()));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Folder { path, kept: false }),
                Err(found) if found.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file below it, making folders as needed, and returns its whole path.
    ///
    /// # Errors
    /// As [`std::fs::write`].
    pub fn write(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, bytes)?;
        Ok(path)
    }

    /// Leaves the folder behind, to look at after a failure.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.kept {
            // A failure here leaves rubbish in the temporary folder and harms no test.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_folders_differ_and_vanish_when_dropped() {
        let (one, two) = (Folder::new().unwrap(), Folder::new().unwrap());
        assert_ne!(one.path(), two.path());
        let file = one.write("a/b.txt", "x").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"x");
        drop(one);
        assert!(!file.exists());
        assert!(two.path().exists());
    }
}

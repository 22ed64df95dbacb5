//! Where the programs are that nobody here wrote, and that tests compare with.
//!
//! `tests/prepare` installs them, which `make test` calls. Read next: [`crate::compare::foreign`].

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

/// The root of this checkout.
pub fn checkout() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The Python with the clients: that of `.venv` at the checkout's root, or of the folder in `REMPART_VENV`.
///
/// # Errors
/// It is not installed.
pub fn python() -> Result<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "a test has no flags to name the folder by")]
    let named = std::env::var("REMPART_VENV").ok().map(PathBuf::from);
    let python = named.unwrap_or_else(|| checkout().join(".venv")).join("bin/python");
    ensure!(
        python.exists(),
        "no Python clients at {}: run `make test` or `tests/prepare` first",
        python.display()
    );
    Ok(python)
}

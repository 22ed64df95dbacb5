//! Files that are whole or not there: writing by a temporary name, and reading with a bound.
//!
//! It knows nothing of what the bytes mean. Called by [`crate::generations`], [`crate::supervisor`],
//! [`crate::demo`] and [`crate::configuration`].

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Writes a file so that a reader, or a machine that loses power, sees the old bytes or the new, never a
/// part: a temporary file beside it, fsync, rename, fsync of the folder.
///
/// `mode` is that of the new file, for example 0o600. Two writers of one path must not run at once.
///
/// # Errors
/// When the folder is missing, full or not writable; the old file is then untouched.
pub(crate) fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(ErrorKind::InvalidInput, "a file needs a folder and a name"));
    };
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(".new");
    let beside = folder.join(beside);
    let written = write_synced(&beside, bytes, mode).and_then(|()| fs::rename(&beside, path));
    if let Err(error) = written {
        // What is left of it would only take room; the first error is the one to tell.
        let _ = fs::remove_file(&beside);
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

fn write_synced(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// What to do about something that could not be read from the data folder, or written there.
pub(crate) fn remedy_for(error: &anyhow::Error) -> &'static str {
    let kind = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    match kind {
        Some(ErrorKind::PermissionDenied) => {
            "give all that is in the data folder to the user the node runs as (`chown -R USER DATA_DIR`)"
        }
        Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => "make room in the data folder",
        Some(ErrorKind::ReadOnlyFilesystem) => "let the data folder be written to",
        _ => "look at the disk of the data folder",
    }
}

/// Reads a file of at most `bytes_max` bytes.
///
/// # Errors
/// When it cannot be read, or is longer; a device or pipe in its place is never read without end.
pub(crate) fn read_bounded(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new()
        .read(true)
        // A named pipe in the place of a file must not make us wait for its writer.
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("it has over {bytes_max} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use testkit::folder::Folder;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_with_the_mode_asked_for_and_nothing_left_beside_it() {
        let folder = Folder::new().unwrap();
        let path = folder.write("key", "old").unwrap();
        write_whole(&path, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_half_written_file_of_a_crashed_run_is_no_obstacle() {
        let folder = Folder::new().unwrap();
        folder.write(".state.new", "half").unwrap();
        let path = folder.path().join("state");
        write_whole(&path, b"whole", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let folder = Folder::new().unwrap();
        let path = folder.path().join("missing").join("state");
        assert!(write_whole(&path, b"x", 0o600).is_err());
        let taken = folder.path().join("taken");
        fs::create_dir(&taken).unwrap();
        folder.write("taken/inside", "x").unwrap();
        assert!(write_whole(&taken, b"x", 0o600).is_err());
        assert!(taken.join("inside").exists());
        assert!(!folder.path().join(".taken.new").exists());
    }

    #[test]
    fn what_to_do_depends_on_what_is_wrong_with_the_disk() {
        let remedy =
            |kind| remedy_for(&anyhow::Error::new(io::Error::from(kind)).context("it cannot be written"));
        assert!(remedy(ErrorKind::PermissionDenied).contains("chown -R"));
        assert!(remedy(ErrorKind::StorageFull).contains("make room"));
        assert!(!remedy(ErrorKind::Other).contains("make room"));
    }

    #[test]
    fn a_file_over_the_bound_is_refused_and_one_at_the_bound_is_read() {
        let folder = Folder::new().unwrap();
        let path = folder.write("four", "1234").unwrap();
        assert_eq!(read_bounded(&path, 4).unwrap(), b"1234");
        assert_eq!(read_bounded(&path, 3).unwrap_err().kind(), ErrorKind::FileTooLarge);
    }

    #[test]
    fn devices_and_folders_are_not_read() {
        let folder = Folder::new().unwrap();
        assert!(read_bounded(Path::new("/dev/zero"), 10).is_err());
        assert!(read_bounded(folder.path(), 10).is_err());
    }
}

//! Files of the disk tier, behind a trait: so that tests can fail, tear, stall and flip them.
//!
//! [`Folder`] is the real one. Paths are names in one folder. Called on the disk's own threads alone.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

/// One file, read and written at offsets.
pub trait StoredFile: Send + Sync {
    /// Reads at an offset; fewer bytes than wanted at the end.
    ///
    /// # Errors
    ///
    /// Of the system.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at an offset; may write less.
    ///
    /// # Errors
    ///
    /// Of the system; some of it may be written nevertheless.
    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<usize>;

    /// Bytes of the file.
    ///
    /// # Errors
    ///
    /// Of the system.
    fn bytes(&self) -> io::Result<u64>;

    /// Waits until what was written survives a loss of power.
    ///
    /// # Errors
    ///
    /// Of the system.
    fn sync(&self) -> io::Result<()>;
}

/// A folder of files.
pub trait Files: Send + Sync {
    /// Takes the right to write in the folder, for as long as what is given lives. `None`: another process
    /// has it. Makes the folder if it is missing.
    ///
    /// # Errors
    ///
    /// Of the system.
    fn claim(&self) -> io::Result<Option<Box<dyn Send>>>;

    /// Names of all files.
    ///
    /// # Errors
    ///
    /// Of the system.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Opens a file for reading and writing; `create`: makes it if it is missing.
    ///
    /// # Errors
    ///
    /// Of the system.
    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn StoredFile>>;

    /// Removes a file; whoever has it open reads on.
    ///
    /// # Errors
    ///
    /// Of the system.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Puts a file in the place of another, at once.
    ///
    /// # Errors
    ///
    /// Of the system.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Waits until names made, changed and removed survive a loss of power.
    ///
    /// # Errors
    ///
    /// Of the system.
    fn sync(&self) -> io::Result<()>;
}

/// A folder of the file system, claimed by a lock on its file `lock`.
#[derive(Debug, Clone)]
pub struct Folder(pub PathBuf);

impl StoredFile for File {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, into, offset)
    }

    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(self, from, offset)
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

impl Files for Folder {
    fn claim(&self) -> io::Result<Option<Box<dyn Send>>> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let mut options = OpenOptions::new();
        let lock = options.create(true).truncate(false).write(true).mode(0o600).open(self.0.join("lock"))?;
        // The kernel gives it up with the process, however that ends.
        match lock.try_lock() {
            Ok(()) => Ok(Some(Box::new(lock))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(cause)) => Err(cause),
        }
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.0)? {
            // A name that is no text is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn StoredFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(create).truncate(false).mode(0o600);
        Ok(Arc::new(options.open(self.0.join(name))?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.0.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.0.join(from), self.0.join(to))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

/// Writes all of it, whatever a single write takes.
///
/// # Errors
///
/// Of the system; some of it may be written.
pub(crate) fn write_all_at(file: &dyn StoredFile, mut from: &[u8], mut offset: u64) -> io::Result<()> {
    while !from.is_empty() {
        match file.write_at(from, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                from = from.get(written..).unwrap_or_default();
                offset += written as u64;
            }
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(())
}

/// Reads up to `bytes` from an offset; fewer when the file ends before.
///
/// # Errors
///
/// Of the system.
pub(crate) fn read_up_to(file: &dyn StoredFile, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut into = vec![0; bytes];
    let mut there = 0;
    while let Some(rest) = into.get_mut(there..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + there as u64) {
            Ok(0) => break,
            Ok(read) => there += read,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    into.truncate(there);
    Ok(into)
}

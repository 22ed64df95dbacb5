//! Fault points of the cache's disk: a file named `fault` in its folder says what goes wrong for as long as
//! it is there.
//!
//! `stall`: every read, write and look at a file waits. `full`: whatever would take room fails as it does
//! when none is left. The store never touches files of other names, so that it does not see it. Wraps
//! [`disk::Folder`]; made by `cache/tier.rs`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cache::store::disk::{self, Files, StoredFile};

/// How often a stalled operation looks whether the stall is over.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Where the file is that says what goes wrong.
#[derive(Clone)]
struct Fault(PathBuf);

impl Fault {
    /// Waits while the disk stalls.
    ///
    /// # Errors
    /// When the disk is full and this would take room.
    fn pass(&self, takes_room: bool) -> io::Result<()> {
        loop {
            let Ok(word) = std::fs::read(&self.0) else { return Ok(()) };
            match word.trim_ascii() {
                b"stall" => std::thread::sleep(LOOK_EVERY),
                b"full" if takes_room => return Err(io::ErrorKind::StorageFull.into()),
                _ => return Ok(()),
            }
        }
    }
}

struct FaultyFolder {
    folder: disk::Folder,
    fault: Fault,
}

struct FaultyFile {
    file: Arc<dyn StoredFile>,
    fault: Fault,
}

/// The files of a folder, which go wrong as the folder says.
pub(crate) fn cache_files(folder: disk::Folder) -> Arc<dyn Files> {
    let fault = Fault(folder.0.join("fault"));
    Arc::new(FaultyFolder { folder, fault })
}

impl Files for FaultyFolder {
    fn claim(&self) -> io::Result<Option<Box<dyn Send>>> {
        self.folder.claim()
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.fault.pass(false)?;
        self.folder.names()
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn StoredFile>> {
        self.fault.pass(create)?;
        let file = self.folder.open(name, create)?;
        Ok(Arc::new(FaultyFile { file, fault: self.fault.clone() }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.fault.pass(false)?;
        self.folder.remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.fault.pass(false)?;
        self.folder.rename(from, to)
    }

    fn sync(&self) -> io::Result<()> {
        self.fault.pass(false)?;
        self.folder.sync()
    }
}

impl StoredFile for FaultyFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.fault.pass(false)?;
        self.file.read_at(into, offset)
    }

    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<usize> {
        self.fault.pass(true)?;
        self.file.write_at(from, offset)
    }

    fn bytes(&self) -> io::Result<u64> {
        self.fault.pass(false)?;
        self.file.bytes()
    }

    fn sync(&self) -> io::Result<()> {
        self.fault.pass(false)?;
        self.file.sync()
    }
}

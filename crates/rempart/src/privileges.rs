//! Giving root up: which user the node becomes, and how.
//!
//! The supervisor binds as root where ports need it and then becomes the target user for good; its children
//! are born as that user, and without the rights that a service manager gives for binding. Nothing here
//! grants anything. Called by [`crate::supervisor`].

use std::ffi::{CStr, CString};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown, fchown};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use nix::unistd::{Gid, Uid, User, geteuid, initgroups, setgid, setuid};
use rustix::fs::{Dir, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};
use telemetry::events::Events;

/// The user whose rights a node takes when root starts it and the node file names nobody.
const USUAL_USER: &str = "rempart";

/// The user to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    name: String,
    user: Uid,
    group: Gid,
}

/// Finds the user to become: the named one, else `rempart` where it exists. `None` keeps the present one,
/// which is the case for everybody but root.
///
/// # Errors
/// When the named user does not exist, or when this process is not root and not that user either.
pub(crate) fn target(named: Option<&str>) -> Result<Option<Target>> {
    let present = geteuid();
    let name = named.unwrap_or(USUAL_USER);
    let found = User::from_name(name)
        .with_context(|| format!("the user `{name}` cannot be looked up in the system's user database"))?;
    let found = match (found, named) {
        (Some(found), _) => found,
        (None, None) => return Ok(None),
        (None, Some(name)) => {
            bail!("[node] user: there is no user `{name}`; make one with `useradd --system {name}`")
        }
    };
    if found.uid == present {
        return Ok(None);
    }
    if !present.is_root() {
        ensure!(
            named.is_none(),
            "[node] user: only root can become `{name}`; start as root or as `{name}`, or remove the setting"
        );
        return Ok(None);
    }
    Ok(Some(Target { name: found.name, user: found.uid, group: found.gid }))
}

/// Whether this machine has a user of that name, as far as it can be said.
pub(crate) fn is_known(name: &str) -> bool {
    !matches!(User::from_name(name), Ok(None))
}

/// Tells plainly that the node runs on as root, where it does: nothing it parses should be able to do what
/// root can. A notice and not a warning, since whoever starts it so may have no other user.
pub(crate) fn tell_root(target: Option<&Target>, events: &Events) {
    if target.is_none() && geteuid().is_root() {
        let remedy = "make a user with `useradd --system rempart`, or name one by [node] user";
        events.info("root_kept", &[("remedy", remedy.into())]);
    }
}

impl Target {
    /// Gives an open file to the user.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn give(&self, file: &File) -> io::Result<()> {
        fchown(file, Some(self.user.as_raw()), Some(self.group.as_raw()))
    }

    /// Becomes the user, with its own groups, for good. The process must have one thread.
    ///
    /// # Errors
    /// When the system refuses, or when root could be had back afterwards.
    pub(crate) fn become_user(&self) -> Result<()> {
        let what = || format!("the rights of the user `{}` cannot be taken", self.name);
        let name = CString::new(self.name.as_str()).context("a user's name has no zero byte")?;
        initgroups(&name, self.group).with_context(what)?;
        setgid(self.group).with_context(what)?;
        setuid(self.user).with_context(what)?;
        ensure!(
            self.user.is_root() || setuid(Uid::from_raw(0)).is_err(),
            "root was given up but can be had back: this system cannot be trusted to drop rights"
        );
        Ok(())
    }
}

/// Gives up what a service manager gave for binding (capabilities(7)): children would be born with it.
/// Whoever is root goes on as root, who has all of them by name. The process must have one thread.
pub(crate) fn give_up_capabilities() {
    if geteuid().is_root() {
        return;
    }
    // A service manager's filter may forbid the second; without the first, children are born with none.
    let _refused_where_there_are_none = rustix::thread::clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    let _refused_by_a_filter = rustix::thread::set_capabilities(None, none);
}

/// Makes sure that no child is born with more than this process has, not even of a binary that has rights of
/// its own (file capabilities, setuid). The process must have one thread.
pub(crate) fn gain_nothing_more() {
    let _refused_by_a_filter = rustix::thread::set_no_new_privs(true);
}

/// What a node keeps right in its data folder. Nothing else there is given away, so that a setting that names
/// the wrong folder costs little.
const KEPT: [&str; 12] = [
    "addresses.json",
    "cache",
    "commands",
    "generations",
    "keys",
    "last-good",
    "quic-0.lock",
    "quic-1.lock",
    "rejected",
    "soaking",
    "splice.table",
    "usual",
];

/// Folders in folders that are looked into: as deep as anything here is.
const DEPTH_MAX: usize = 4;

/// Gives what a node kept when it ran as somebody else to the user it becomes: what that could not read or
/// write would keep it from publishing, and a spare from standing. A folder without generations is none that
/// a node has run with.
///
/// # Errors
/// When the system refuses: it says what a person can do.
fn give_kept(data_dir: &Path, owner: &Target) -> Result<()> {
    if !data_dir.join("generations").is_dir() {
        return Ok(());
    }
    let all = || -> io::Result<()> {
        let mut folders = vec![(0, File::open(data_dir)?)];
        while let Some((depth, folder)) = folders.pop() {
            let names = match depth {
                0 => KEPT.iter().filter_map(|name| CString::new(*name).ok()).collect(),
                _ => names_in(&folder)?,
            };
            for name in names {
                if let Some(inner) = give_one(&folder, &name, owner)?.filter(|_| depth < DEPTH_MAX) {
                    folders.push((depth + 1, inner));
                }
            }
        }
        Ok(())
    };
    all().with_context(|| {
        let (name, folder) = (&owner.name, data_dir.display());
        format!(
            "what is in {folder} cannot be given to `{name}`: run `chown -R {name} {folder}`, and start again"
        )
    })
}

fn names_in(folder: &File) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_owned();
        if ![c".", c".."].contains(&name.as_c_str()) {
            names.push(name);
        }
    }
    Ok(names)
}

/// Gives one file or folder away; gives the folder back. It runs as root in a folder that belongs to somebody
/// else: so it follows no link, and leaves alone what has a second name, which may be anybody's file.
fn give_one(folder: &File, name: &CStr, owner: &Target) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = match openat(folder, name, flags, Mode::empty()) {
        Ok(opened) => File::from(opened),
        // It is not there, or it is a link or a socket.
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let found = opened.metadata()?;
    if found.is_dir() || (found.is_file() && found.nlink() == 1) {
        owner.give(&opened)?;
    }
    Ok(found.is_dir().then_some(opened))
}

/// Makes the data folder, for its owner alone, and gives it to the user the node becomes; where it was
/// root's, with what a node kept there.
///
/// # Errors
/// When it cannot be made or given away, or when it is something else.
pub(crate) fn make_data_dir(path: &Path, owner: Option<&Target>) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(|| {
        format!("the data folder {} cannot be made: choose another [node] data_dir", path.display())
    })?;
    let found = fs::metadata(path).with_context(|| format!("{} cannot be looked at", path.display()))?;
    ensure!(found.is_dir(), "{} is not a folder: choose another [node] data_dir", path.display());
    if let Some(owner) = owner {
        // While the folder is root's nobody else can have put anything into it.
        if found.uid() == 0 {
            give_kept(path, owner)?;
        }
        chown(path, Some(owner.user.as_raw()), Some(owner.group.as_raw())).with_context(|| {
            format!("the data folder {} cannot be given to `{}`", path.display(), owner.name)
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use testkit::folder::Folder;

    use super::*;

    #[test]
    fn a_user_that_does_not_exist_is_an_error_that_says_how_to_make_it() {
        let error = target(Some("no-such-user-of-rempart")).unwrap_err().to_string();
        assert!(error.contains("useradd"), "{error}");
    }

    #[test]
    fn the_present_user_is_kept_when_it_is_the_one_named() {
        let present = User::from_uid(geteuid()).unwrap().unwrap();
        assert_eq!(target(Some(&present.name)).unwrap(), None);
    }

    /// Somebody else, where a test may give files away.
    fn somebody() -> Option<Target> {
        let nobody = User::from_name("nobody").unwrap()?;
        let target = Target { name: nobody.name, user: nobody.uid, group: nobody.gid };
        geteuid().is_root().then_some(target)
    }

    #[test]
    fn what_was_kept_is_given_to_the_user_and_nothing_else_is() {
        let Some(somebody) = somebody() else { return };
        let folder = Folder::new().unwrap();
        let given = ["keys", "generations", "generations/1.bundle", "cache", "cache/a", "cache/a/b"];
        let kept = ["notes.txt", "linked", "outside/secret", "outside"];
        for file in ["keys", "generations/1.bundle", "cache/a/b", "notes.txt", "linked", "outside/secret"] {
            folder.write(file, "x").unwrap();
        }
        let path = |name: &str| folder.path().join(name);
        std::os::unix::fs::symlink(path("outside"), path("generations/link")).unwrap();
        std::os::unix::fs::symlink(path("outside/secret"), path("usual")).unwrap();
        fs::hard_link(path("linked"), path("generations/hard")).unwrap();
        give_kept(&path("generations"), &somebody).unwrap();
        make_data_dir(folder.path(), Some(&somebody)).unwrap();
        let owner = |name: &&str| fs::symlink_metadata(path(name)).unwrap().uid();
        assert!(given.iter().all(|name| owner(name) == somebody.user.as_raw()));
        assert!(kept.iter().all(|name| owner(name) == 0), "{:?}", kept.map(|name| owner(&name)));
        // It is theirs by now, and so may be what stands there.
        folder.write("last-good", "x").unwrap();
        make_data_dir(folder.path(), Some(&somebody)).unwrap();
        assert_eq!(owner(&"last-good"), 0);
    }

    #[test]
    fn the_data_folder_is_for_its_owner_alone() {
        let folder = Folder::new().unwrap();
        let path = folder.path().join("a/b");
        make_data_dir(&path, None).unwrap();
        make_data_dir(&path, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_file_in_the_place_of_the_data_folder_is_an_error() {
        let folder = Folder::new().unwrap();
        let path = folder.write("taken", "").unwrap();
        assert!(make_data_dir(&path, None).is_err());
    }
}

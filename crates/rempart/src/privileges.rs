//! Giving root up: which user the node becomes, and how.
//!
//! The supervisor binds as root where ports need it and then becomes the target user for good; its children
//! are born as that user, and without the rights that a service manager gives for binding. Nothing here
//! grants anything. Called by [`crate::supervisor`].

use std::ffi::CString;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, chown, fchown};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use nix::unistd::{Gid, Uid, User, geteuid, initgroups, setgid, setuid};
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

/// Makes the data folder, for its owner alone, and gives it to the user the node becomes.
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

//! Where things are: profiles and their folders, after the XDG base directory specification.
//!
//! Owns: the names of profiles, and which one is meant. A profile is one user of one organization on this device, with a
//! folder of its own in `$XDG_DATA_HOME/countersign` that only its owner can read.
//!
//! Refuses to know: what is in that folder.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The profile that is used where none is named.
pub const DEFAULT_PROFILE: &str = "default";

/// The folders in which profiles lie.
#[derive(Clone, Debug)]
pub struct Directories {
    data: PathBuf,
    config: PathBuf,
}

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Neither `XDG_DATA_HOME` nor `HOME` is set.
    #[error("neither HOME nor the XDG_* variables say where your files are")]
    NoHome,
    /// A name that cannot be a folder's.
    #[error("a profile's name has letters, digits, '-' and '_' only, and at most 64 of them: not {0:?}")]
    Name(String),
    /// There is no such profile.
    #[error("there is no profile {0:?}; `countersign profile list` says which there are")]
    Unknown(String),
    /// There is such a profile.
    #[error("the profile {0:?} exists already; choose another name with --profile")]
    Exists(String),
    /// A file or folder cannot be used.
    #[error("cannot use {}", .path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Directories {
    /// Takes the folders from the environment: `XDG_DATA_HOME` and `XDG_CONFIG_HOME`, or their places under `HOME`.
    ///
    /// # Errors
    /// [`ProfileError::NoHome`].
    pub fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, ProfileError> {
        // The specification: a relative path is invalid and ignored.
        let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = absolute("HOME");
        let folder = |name: &str, below_home: &str| {
            let base = absolute(name).or_else(|| home.as_ref().map(|home| home.join(below_home)));
            base.map(|base| base.join("countersign")).ok_or(ProfileError::NoHome)
        };
        Ok(Self { data: folder("XDG_DATA_HOME", ".local/share")?, config: folder("XDG_CONFIG_HOME", ".config")? })
    }

    /// Takes one folder for everything.
    #[must_use]
    pub fn below(folder: &Path) -> Self {
        Self { data: folder.join("data"), config: folder.join("config") }
    }

    /// Returns the name of the profile in use: what `profile use` chose, or `default`.
    #[must_use]
    pub fn current(&self) -> String {
        let chosen = std::fs::read_to_string(self.config.join("profile")).unwrap_or_default();
        let chosen = chosen.trim();
        if is_name(chosen) { chosen.to_owned() } else { DEFAULT_PROFILE.to_owned() }
    }

    /// Chooses the profile in use.
    ///
    /// # Errors
    /// [`ProfileError`].
    pub fn choose(&self, name: &str) -> Result<(), ProfileError> {
        self.profile(name)?.existing()?;
        make_private_folder(&self.config)?;
        let path = self.config.join("profile");
        std::fs::write(&path, format!("{name}\n")).map_err(|source| ProfileError::File { path, source })
    }

    /// Returns a profile, which need not exist.
    ///
    /// # Errors
    /// [`ProfileError::Name`].
    pub fn profile(&self, name: &str) -> Result<Profile, ProfileError> {
        if !is_name(name) {
            return Err(ProfileError::Name(name.to_owned()));
        }
        Ok(Profile { name: name.to_owned(), folder: self.data.join(name) })
    }

    /// Returns the existing profiles, by name.
    #[must_use]
    pub fn profiles(&self) -> BTreeMap<String, Profile> {
        let entries = std::fs::read_dir(&self.data).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let profiles = names.filter_map(|name| self.profile(&name).ok());
        profiles.filter(Profile::exists).map(|profile| (profile.name.clone(), profile)).collect()
    }
}

/// One user of one organization on this device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    name: String,
    folder: PathBuf,
}

impl Profile {
    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the file that the store is in.
    #[must_use]
    pub fn store_path(&self) -> PathBuf {
        self.folder.join("store.sqlite")
    }

    /// Returns the folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Tells whether there is such a profile.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.store_path().is_file()
    }

    /// Insists that the profile exists.
    ///
    /// # Errors
    /// [`ProfileError::Unknown`].
    pub fn existing(&self) -> Result<&Self, ProfileError> {
        if self.exists() { Ok(self) } else { Err(ProfileError::Unknown(self.name.clone())) }
    }

    /// Makes the folder of a new profile, which only its owner can read.
    ///
    /// # Errors
    /// [`ProfileError`].
    pub fn make_folder(&self) -> Result<(), ProfileError> {
        if self.exists() {
            return Err(ProfileError::Exists(self.name.clone()));
        }
        make_private_folder(&self.folder)
    }

    /// Removes a profile with all that is in it.
    ///
    /// # Errors
    /// [`ProfileError::File`].
    pub fn remove(&self) -> Result<(), ProfileError> {
        let path = self.folder.clone();
        std::fs::remove_dir_all(&path).map_err(|source| ProfileError::File { path, source })
    }

    /// Takes a lock that other processes respect; waits for it. It ends with the returned value or with the process.
    ///
    /// # Errors
    /// [`ProfileError::File`].
    pub async fn lock(&self, name: &'static str) -> Result<Lock, ProfileError> {
        let file = self.lock_file(name)?;
        let locked = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await;
        let locked = locked.unwrap_or_else(|panic| Err(io::Error::other(panic)));
        locked.map(Lock).map_err(|source| ProfileError::File { path: self.lock_path(name), source })
    }

    /// Takes a lock together with others that take it so.
    ///
    /// # Errors
    /// [`ProfileError::File`].
    pub async fn lock_shared(&self, name: &'static str) -> Result<Lock, ProfileError> {
        let file = self.lock_file(name)?;
        let locked = tokio::task::spawn_blocking(move || file.lock_shared().map(|()| file)).await;
        let locked = locked.unwrap_or_else(|panic| Err(io::Error::other(panic)));
        locked.map(Lock).map_err(|source| ProfileError::File { path: self.lock_path(name), source })
    }

    /// Takes a lock if nobody has it.
    #[must_use]
    pub fn try_lock(&self, name: &'static str) -> Option<Lock> {
        let file = self.lock_file(name).ok()?;
        file.try_lock().ok().map(|()| Lock(file))
    }

    fn lock_path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.lock"))
    }

    fn lock_file(&self, name: &str) -> Result<std::fs::File, ProfileError> {
        let path = self.lock_path(name);
        let opened = std::fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        opened.map_err(|source| ProfileError::File { path, source })
    }
}

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock is the open file's")] std::fs::File);

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !name.is_empty() && name.len() <= 64 && name.bytes().all(allowed)
}

fn make_private_folder(path: &Path) -> Result<(), ProfileError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| ProfileError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xdg_variables_win_over_home() {
        let only_home = |name: &str| (name == "HOME").then(|| OsString::from("/home/a"));
        let directories = Directories::from_environment(only_home).unwrap();
        let store = directories.profile("work").unwrap().store_path();
        assert_eq!(store, Path::new("/home/a/.local/share/countersign/work/store.sqlite"));

        let data = |name: &str| match name {
            "HOME" => Some(OsString::from("/home/a")),
            "XDG_DATA_HOME" => Some(OsString::from("/data")),
            "XDG_CONFIG_HOME" => Some(OsString::from("relative")),
            _ => None,
        };
        let directories = Directories::from_environment(data).unwrap();
        assert_eq!(directories.profile("a").unwrap().folder(), Path::new("/data/countersign/a"));
        assert_eq!(directories.config, Path::new("/home/a/.config/countersign"));
        assert!(matches!(Directories::from_environment(|_| None), Err(ProfileError::NoHome)));
    }

    #[test]
    fn a_name_cannot_leave_the_folder() {
        let directories = Directories::below(Path::new("/x"));
        for name in ["", ".", "..", "a/b", "a b", "ä", &"a".repeat(65)] {
            assert!(matches!(directories.profile(name), Err(ProfileError::Name(_))), "{name:?}");
        }
    }
}

//! What can go wrong around a virtual card. It is read by who runs tests, so it says what to do.

use std::io;
use std::path::PathBuf;

/// Why a virtual card, or a GnuPG home for it, could not be set up or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program is not installed.
    #[error("{program} is not installed: run scripts/install-packages.sh, or install the Debian package {package}")]
    Missing {
        /// The program's name.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// A file or folder of the card's own could not be made.
    #[error("cannot use {}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program could not be started.
    #[error("cannot run {program}")]
    Run {
        /// The program's name.
        program: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// pcscd ended, or did not find the reader in time.
    #[error("pcscd did not come up with the virtual reader{hint}. It said:\n{log}")]
    Reader {
        /// What may help; empty where nothing is known.
        hint: &'static str,
        /// pcscd's own words.
        log: String,
    },
    /// GnuPG refused.
    #[error("{command} failed. It said:\n{said}")]
    Gnupg {
        /// What was asked of it.
        command: String,
        /// Its own words.
        said: String,
    },
}

impl Error {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::File { path, source }
    }
}

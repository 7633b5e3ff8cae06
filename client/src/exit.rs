//! Exit codes. They are documented in docs/client.md and in `countersign --help`: scripts rely on them.

use countersign_client::connection::{ServerError, TransportError};
use countersign_client::gnupg::GnupgError;
use countersign_client::profile::ProfileError;
use countersign_client::{Error, Refused};

use crate::output::Output;

/// Done.
pub(crate) const DONE: u8 = 0;
/// Something else failed.
pub(crate) const FAILED: u8 = 1;
/// Some of it was done, and some was not.
pub(crate) const PARTLY: u8 = 10;
/// The command was not understood (`EX_USAGE`).
pub(crate) const USAGE: u8 = 64;
/// An invitation, a change or a picture cannot be read (`EX_DATAERR`).
pub(crate) const DATA: u8 = 65;
/// What was named is not there (`EX_NOINPUT`).
pub(crate) const NOT_FOUND: u8 = 66;
/// The server cannot be reached (`EX_UNAVAILABLE`).
pub(crate) const UNREACHABLE: u8 = 69;
/// A file cannot be read or written (`EX_IOERR`).
pub(crate) const FILE: u8 = 74;
/// It is in the outbox and not sent yet; the next run sends it (`EX_TEMPFAIL`).
pub(crate) const QUEUED: u8 = 75;
/// The server did what it must not do: it was refused, and the evidence is kept (`EX_PROTOCOL`).
pub(crate) const REFUSED: u8 = 76;
/// The server does not allow it, or GnuPG was not allowed to use the key (`EX_NOPERM`).
pub(crate) const NOT_ALLOWED: u8 = 77;
/// The profile is missing or cannot be used (`EX_CONFIG`).
pub(crate) const PROFILE: u8 = 78;

/// The table of exit codes, as `--help` shows it.
pub(crate) const TABLE: &str = "\
Exit codes:
   0  done
   1  something else failed
  10  some of it was done, and some was not
  64  the command was not understood
  65  an invitation, a change or a picture cannot be read
  66  what was named is not there: a person, a message, a file
  69  the server cannot be reached
  74  a file cannot be read or written
  75  it is in the outbox and not sent yet; the next run sends it
  76  the server did what it must not do: it was refused, and the evidence is kept
  77  the server does not allow it, or GnuPG was not allowed to use the key
  78  the profile is missing or cannot be used";

/// How a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    text: String,
    refused: Option<Box<Refused>>,
}

impl Failure {
    pub(crate) fn new(code: u8, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), refused: None }
    }

    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::new(USAGE, text)
    }

    pub(crate) fn data(error: &dyn std::error::Error) -> Self {
        Self::new(DATA, chain(error))
    }

    pub(crate) fn show(&self, output: Output) {
        match &self.refused {
            Some(refused) => output.refused(refused),
            None => output.error(&self.text, self.code),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Refused(_) => REFUSED,
            Error::Profile(ProfileError::File { .. }) | Error::File { .. } => FILE,
            Error::Profile(_) | Error::Store(_) | Error::Log(_) => PROFILE,
            Error::Gnupg(error) => of_gnupg(error),
            Error::Server(error) => of_server(error),
            Error::Usage(_) => USAGE,
            Error::NotFound(_) => NOT_FOUND,
            Error::Encryption { .. } => FAILED,
        };
        let text = chain(&error);
        match error {
            Error::Refused(refused) => Self { code, text, refused: Some(refused) },
            _ => Self::new(code, text),
        }
    }
}

const fn of_gnupg(error: &GnupgError) -> u8 {
    match error {
        GnupgError::Cancelled | GnupgError::NoSecretKey(_) => NOT_ALLOWED,
        GnupgError::Missing { .. }
        | GnupgError::Undecryptable(_)
        | GnupgError::Failed { .. }
        | GnupgError::Certificate { .. } => FAILED,
    }
}

fn of_server(error: &ServerError) -> u8 {
    match error {
        ServerError::Unreachable(TransportError::Trust { .. }) => FILE,
        ServerError::Unreachable(_) | ServerError::Busy(_) => UNREACHABLE,
        ServerError::Problem(_) => NOT_ALLOWED,
        ServerError::NotCountersign(_) | ServerError::WrongSession | ServerError::Open(_) => REFUSED,
        ServerError::Gnupg(error) => of_gnupg(error),
        ServerError::Store(_) | ServerError::Profile(_) => PROFILE,
    }
}

/// Writes an error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

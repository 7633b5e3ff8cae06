//! Saving what arrived as a file: whole or not at all, and never over another file.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use countersign_client::store::{MessageNumber, StoredMessage};
use countersign_client::{Account, Error, Result};
use countersign_protocol::digest::Sha256Digest;
use sha2::{Digest as _, Sha256};

/// Saves a message's content to a file, or under its own name into a folder. Returns where it is.
pub(super) fn save(account: &Account, number: MessageNumber, path: &Path) -> Result<PathBuf> {
    let message = account.message(number)?;
    let target = if path.is_dir() {
        let name = message.file_name.clone().unwrap_or_else(|| format!("message-{}", number.0));
        path.join(name)
    } else {
        path.to_owned()
    };
    if target.exists() {
        return Err(Error::Usage(format!("{} exists already; give another name", target.display())));
    }
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let unfinished = target.with_file_name(name);
    let written = write(account, &message, &unfinished, &target);
    written.inspect_err(|_| drop(std::fs::remove_file(&unfinished)))?;
    Ok(target)
}

fn write(account: &Account, message: &StoredMessage, unfinished: &Path, target: &Path) -> Result<()> {
    let failed = |source| Error::File { path: target.to_owned(), source };
    let mut file = std::fs::File::create(unfinished).map_err(failed)?;
    let mut hash = Sha256::new();
    for part in 0..message.parts {
        let content = account.content(message.number, part)?;
        let content = content.ok_or_else(|| Error::NotFound("not all of it is here yet".to_owned()))?;
        hash.update(&content);
        file.write_all(&content).map_err(failed)?;
    }
    let sha256 = Sha256Digest::from_bytes(hash.finalize().into());
    if message.sha256.is_some_and(|signed| signed != sha256) {
        return Err(Error::Usage(
            "the parts do not make the whole that their sender signed; it was not saved".to_owned(),
        ));
    }
    file.sync_all().map_err(failed)?;
    // Somebody else's file may have come there meanwhile: a link is made only where nothing is.
    std::fs::hard_link(unfinished, target)
        .or_else(|_| {
            if target.exists() {
                Err(std::io::ErrorKind::AlreadyExists.into())
            } else {
                std::fs::rename(unfinished, target)
            }
        })
        .map_err(failed)?;
    let _ = std::fs::remove_file(unfinished);
    Ok(())
}

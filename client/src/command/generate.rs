//! `countersign completions` and `countersign man`.

use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;
use countersign_client::Error;
use serde_json::json;

use super::Ended;
use crate::cli::Cli;
use crate::exit::DONE;
use crate::output::Output;

pub(super) fn completions(shell: Shell) -> Ended {
    let mut written = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "countersign", &mut written);
    let shown = std::io::Write::write_all(&mut std::io::stdout(), &written);
    shown.map_err(|source| Error::File { path: "-".into(), source })?;
    Ok(DONE)
}

pub(super) fn manual_pages(output: Output, folder: &Path) -> Ended {
    let failed = |source| Error::File { path: folder.to_owned(), source };
    std::fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), folder).map_err(failed)?;
    output.either(&json!({"folder": folder}), |output| {
        output.line(&format!("Manual pages are in {}.", folder.display()));
    });
    Ok(DONE)
}

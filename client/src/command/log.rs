//! `countersign log`.

use serde_json::json;

use super::{Context, Ended};
use crate::exit::DONE;
use crate::output::{bold, dim, good};
use crate::progress::shown;

pub(super) async fn show(context: &Context, offline: bool) -> Ended {
    let account = context.account()?;
    if !offline {
        shown(&account, context.output, account.extend_log()).await?;
    }
    let entries = account.log_lines()?;
    context.output.either(&json!({"organization": account.organization(), "entries": entries}), |output| {
        for entry in &entries {
            let (first, rest) =
                entry.change.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
            output.line(&format!("{:>4}  {}", entry.sequence, bold(first)));
            for line in rest.iter().chain(&entry.signatures) {
                output.line(&format!("      {line}"));
            }
            output.line(&dim(&format!("      {}", entry.hash)));
        }
    });
    Ok(DONE)
}

pub(super) async fn verify(context: &Context) -> Ended {
    let account = context.account()?;
    let head = shown(&account, context.output, account.verify_log()).await?;
    context.output.either(&json!({"verified": true, "head": head}), |output| {
        output.line(&good(&format!("All {} entries satisfy the two-man rule.", head.sequence + 1)));
        output.line("The server's listing of users is what the log says.");
        output.line(&dim(&format!("head {}", head.hash)));
    });
    Ok(DONE)
}

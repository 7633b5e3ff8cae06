//! `countersign evidence`.

use std::io::Write as _;

use countersign_client::store::Evidence as Kept;
use serde_json::{Value, json};

use super::{Context, Ended};
use crate::cli::Evidence;
use crate::exit::{DONE, Failure, NOT_FOUND};
use crate::output::{bold, dim};

pub(super) fn run(context: &Context, evidence: &Evidence) -> Ended {
    let account = context.account()?;
    let all = account.evidence()?;
    let output = context.output;
    let Some(number) = evidence.number else {
        let values: Vec<Value> = all.iter().map(|kept| value(kept, false)).collect();
        output.either(&json!({"evidence": values}), |output| {
            if all.is_empty() {
                output.note("No server has done anything that it must not do.");
            }
            for kept in &all {
                let kind = kept.what.kind.name();
                output.line(&format!(
                    "{:>4}  {}  {}  {}",
                    kept.number,
                    dim(&kept.time.to_string()),
                    bold(kind),
                    kept.what.summary
                ));
            }
        });
        return Ok(DONE);
    };
    let kept = all.into_iter().find(|kept| kept.number == number);
    let kept = kept.ok_or_else(|| Failure::new(NOT_FOUND, format!("there is no evidence {number}")))?;
    if evidence.raw {
        let written = std::io::stdout().write_all(&kept.what.raw);
        written.map_err(|source| countersign_client::Error::File { path: "-".into(), source })?;
        return Ok(DONE);
    }
    output.either(&value(&kept, true), |output| {
        output.line(&bold(&kept.what.summary));
        output.line(&dim(&format!("{}  {}", kept.time, kept.what.kind.name())));
        output.line(&format!("asked: {}", kept.what.request));
        for line in &kept.what.details {
            output.line(&format!("  {line}"));
        }
        output.line(&format!("answered: {} bytes; see them with --raw", kept.what.raw.len()));
    });
    Ok(DONE)
}

fn value(kept: &Kept, raw: bool) -> Value {
    let what = &kept.what;
    let mut value = json!({
        "number": kept.number, "time": kept.time.to_string(), "kind": what.kind, "summary": what.summary,
        "details": what.details, "request": what.request, "bytes": what.raw.len(),
    });
    if raw {
        use base64::Engine as _;
        value["raw"] = json!(base64::engine::general_purpose::STANDARD.encode(&what.raw));
    }
    value
}

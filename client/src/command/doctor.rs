//! `countersign doctor`.

use std::os::unix::fs::PermissionsExt as _;

use countersign_client::{Account, Error};
use serde::Serialize;
use serde_json::json;

use super::{Context, Ended};
use crate::exit::{DONE, FAILED};
use crate::output::{Output, doubtful, good};

/// Furthest that the machine's clock may be off before it is worth saying.
const CLOCK_MICROS: u64 = 5_000_000;

#[derive(Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    text: String,
}

struct Checks {
    output: Output,
    all: Vec<Check>,
}

impl Checks {
    fn note(&mut self, name: &'static str, result: Result<String, String>) {
        let ok = result.is_ok();
        let (Ok(text) | Err(text)) = result;
        if !self.output.is_json() {
            let mark = if ok { good("ok     ") } else { doubtful("PROBLEM") };
            self.output.line(&format!("{mark}  {name}: {text}"));
        }
        self.all.push(Check { name, ok, text });
    }
}

pub(super) async fn run(context: &Context) -> Ended {
    let mut checks = Checks { output: context.output, all: Vec::new() };
    let gnupg = &context.environment.gnupg;
    checks.note("gnupg", gnupg.version().await.map_err(|error| error.to_string()));
    match context.profile().and_then(|_| context.account()) {
        Ok(account) => {
            checks.note(
                "profile",
                Ok(format!("{:?} in {}", account.profile().name(), account.profile().folder().display())),
            );
            checks.note("store", store(&account));
            checks.note("key", key(context, &account).await);
            checks.note("server", server(&account).await);
            checks.note("clock", clock(&account));
            checks.note(
                "log",
                account.verify_log().await.map_err(|error| text(&error)).map(|head| {
                    format!("{} entries, all in order; the listing of users is the same", head.sequence + 1)
                }),
            );
            checks.note("outbox", outbox(&account));
            checks.note("evidence", evidence(&account));
        }
        Err(_) => checks.note("profile", Err("there is none; begin with countersign join --help".to_owned())),
    }
    let all_well = checks.all.iter().all(|check| check.ok);
    if context.output.is_json() {
        context.output.value(&json!({"ok": all_well, "checks": checks.all}));
    }
    Ok(if all_well { DONE } else { FAILED })
}

fn text(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn store(account: &Account) -> Result<String, String> {
    let path = account.profile().store_path();
    let mode = std::fs::metadata(&path).map_err(|error| error.to_string())?.permissions().mode() & 0o777;
    if mode.trailing_zeros() >= 6 {
        Ok(format!("only you can read it ({mode:o})"))
    } else {
        Err(format!("others can read it ({mode:o}): chmod 600 {}", path.display()))
    }
}

async fn key(context: &Context, account: &Account) -> Result<String, String> {
    let certificate = account.certificate().map_err(|error| text(&error))?;
    let now = account.now().map_err(|error| text(&error))?;
    certificate.check_usable(now).map_err(|fault| fault.to_string())?;
    let keys = context.environment.gnupg.secret_keys().await.map_err(|error| error.to_string())?;
    let signing = certificate.signing_keys(now);
    let found = keys.iter().find(|key| signing.iter().any(|signing| key.available.contains(signing)));
    match found {
        Some(key) => {
            let place = key.card.as_ref().map_or_else(|| "in GnuPG".to_owned(), |card| format!("on card {card}"));
            Ok(format!("{} is {place}", certificate.fingerprint()))
        }
        None => Err(format!(
            "GnuPG has no secret key of {}; is the card plugged in, and GNUPGHOME the right one?",
            certificate.fingerprint()
        )),
    }
}

async fn server(account: &Account) -> Result<String, String> {
    match account.extend_log().await {
        Ok(_) => Ok(account.membership().server.clone()),
        Err(error) => Err(text(&error)),
    }
}

fn clock(account: &Account) -> Result<String, String> {
    let offset = account.clock_offset().map_err(|error| text(&error))?;
    let seconds = offset.unsigned_abs() / 1_000_000;
    let direction = if offset > 0 { "behind" } else { "ahead of" };
    if offset.unsigned_abs() < CLOCK_MICROS {
        Ok("as the server's".to_owned())
    } else {
        Err(format!("{seconds} s {direction} the server's; that is corrected, and yet: set it"))
    }
}

fn outbox(account: &Account) -> Result<String, String> {
    let waiting = account.outbox().map_err(|error| text(&error))?.len();
    if waiting == 0 {
        Ok("empty".to_owned())
    } else {
        Err(format!("{waiting} message(s) wait: countersign inbox sends them"))
    }
}

fn evidence(account: &Account) -> Result<String, String> {
    let count = account.evidence().map_err(|error| text(&error))?.len();
    if count == 0 {
        Ok("none".to_owned())
    } else {
        Err(format!("{count}: a server did what it must not do; see countersign evidence"))
    }
}

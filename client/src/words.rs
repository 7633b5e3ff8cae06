//! What a change says, in words: for those who sign it, and for those to whom a server proposed it.

use countersign_protocol::log::LogEntry;
use countersign_protocol::openpgp::{Certificate, SignatureEncoding, SignatureTerms, verify_detached};
use countersign_protocol::organization::Organization;
use countersign_protocol::statement::{Change, Statement};
use countersign_protocol::time::UnixMicros;

/// Describes a certificate: its first user id and its fingerprint.
#[must_use]
pub fn certificate(certificate: &Certificate, now: UnixMicros) -> String {
    let fingerprint = certificate.fingerprint();
    match certificate.user_ids(now).into_iter().next() {
        Some(id) => format!("{} ({fingerprint})", printable(&id)),
        None => fingerprint.to_string(),
    }
}

/// Returns a text without what could rule a terminal.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

/// Says what a statement changes, line by line, compared with the organization as it is known.
#[must_use]
pub fn change(statement: &Statement, known: &Organization, now: UnixMicros) -> Vec<String> {
    let armored = |text: &str| match Certificate::parse(text) {
        Ok(parsed) => self::certificate(&parsed, now),
        Err(fault) => format!("a certificate that cannot be used: {fault}"),
    };
    let name = |user| known.certificate(user).map(|known| self::certificate(known, now));
    let mut lines = Vec::new();
    match &statement.change {
        Change::CreateOrganization { user, certificate } => {
            lines.push(format!("create organization {}", statement.organization));
            lines.push(format!("its first administrator: {}", armored(certificate)));
            lines.push(format!("user id: {user}"));
        }
        Change::AddUser { user, certificate, administrator, client_limit } => {
            let role = if *administrator { "administrator" } else { "user" };
            lines.push(format!("add {role} {}", armored(certificate)));
            lines.push(format!("user id: {user}"));
            lines.extend(client_limit.map(|limit| format!("clients allowed: {limit}")));
        }
        Change::UpdateUser { user, certificate, administrator, active, client_limit } => {
            lines.push(format!(
                "change {}",
                name(user).unwrap_or_else(|| format!("user {user}, who is unknown here"))
            ));
            lines.push(format!("user id: {user}"));
            lines.extend(certificate.as_deref().map(|text| format!("new certificate: {}", armored(text))));
            lines.extend(
                administrator.map(|yes| {
                    if yes { "becomes an administrator" } else { "is no administrator any more" }.to_owned()
                }),
            );
            lines.extend(active.map(|yes| {
                if yes { "is active again" } else { "is deactivated: all their sessions end" }.to_owned()
            }));
            lines.extend(client_limit.map(|limit| format!("clients allowed: {limit}")));
        }
    }
    lines.push(format!("dated {}, number {} of the log", statement.time, statement.sequence));
    lines
}

/// Says of each signature under an entry whose it is, as far as that is known.
#[must_use]
pub fn signatures(entry: &LogEntry, known: &Organization, others: &[Certificate], now: UnixMicros) -> Vec<String> {
    let time = Statement::parse(&entry.statement).map_or(now, |statement| statement.time);
    let skew = countersign_protocol::limits::Limits::STATEMENT_SKEW;
    let terms = SignatureTerms { certificate_at: time, not_before: time.minus(skew), not_after: now.plus(skew) };
    let users: Vec<(&Certificate, &str)> = known
        .users()
        .filter_map(|record| {
            let role = match (record.active, record.administrator) {
                (true, true) => "an administrator",
                (true, false) => "a user, not an administrator",
                (false, _) => "a user who is not active",
            };
            known.certificate(&record.user).map(|certificate| (&**certificate, role))
        })
        .chain(others.iter().map(|certificate| (certificate, "a super-administrator")))
        .collect();
    let certificates: Vec<&Certificate> = users.iter().map(|(certificate, _)| *certificate).collect();
    let document = entry.statement.as_bytes();
    let describe = |signature: &String| {
        let verified =
            verify_detached(signature.as_bytes(), SignatureEncoding::Armored, document, &certificates, &terms);
        match verified.ok().and_then(|index| users.get(index)) {
            Some((certificate, role)) => format!("signed by {}, {role}", self::certificate(certificate, now)),
            None => format!(
                "has a signature that does not count: {}",
                verified.err().map_or_else(|| "unknown".to_owned(), |fault| fault.to_string())
            ),
        }
    };
    if entry.signatures.is_empty() {
        vec!["signed by nobody".to_owned()]
    } else {
        entry.signatures.iter().map(describe).collect()
    }
}

/// Says that messages may be missing, since a device was away for too long.
#[must_use]
pub fn gap(from: &str) -> String {
    format!(
        "this device was away for longer than the server keeps messages: some that were sent to you from {from} on may be \
         missing here; ask their senders"
    )
}

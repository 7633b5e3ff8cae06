//! Receipts: judging those that arrive, and signing those that are owed.

use bytes::Bytes;
use countersign_protocol::body::Item;
use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::limits::Limits;
use countersign_protocol::message_id::MessageId;
use countersign_protocol::openpgp::{SignatureEncoding, SignatureFault, SignatureTerms, verify_detached};
use countersign_protocol::problem::ProblemType;
use countersign_protocol::receipt::receipt_text;
use countersign_protocol::time::UnixMicros;
use http::Method;
use std::time::Duration;

use super::inbox::SyncReport;
use super::{Account, Event, Progress};
use crate::connection::{Call, ServerError};
use crate::error::{Error, Result};
use crate::store::{Acknowledgement, EvidenceKind, NewEvidence, ReceiptState, StoredReceipt};

/// How long a receipt's id is used.
const ID_AGE: Duration = Duration::from_secs(45);

impl Account {
    /// Judges a receipt that arrived and stores it. Returns whether it is held now.
    pub(super) fn take_receipt(&self, item: &Item, signature: &Bytes, report: &mut SyncReport) -> Result<bool> {
        let request = format!("GET {}/message/{}", self.user_path(), item.id);
        let from = self.name_of(&item.from);
        let organization = self.organization();
        let digest = Sha256Digest::of(signature);
        let bound = |of: &MessageId| MessageId::of_receipt(&organization, &item.from, item.id.time(), of, &digest);
        let Some(of) = item.of.filter(|of| bound(of) == item.id) else {
            let evidence = NewEvidence {
                kind: EvidenceKind::Content,
                summary: format!("the receipt {} is not the one that its id was made for", item.id),
                details: vec![
                    format!("the server says that {from} signed it"),
                    "it does not count; the server is asked for it again".to_owned(),
                ],
                request,
                raw: signature.to_vec(),
            };
            report.refused.push(self.refuse(evidence)?);
            self.store.note_refused(&item.id)?;
            return Ok(false);
        };
        let receipt = StoredReceipt {
            id: item.id,
            of,
            recipient: item.from,
            signature: signature.to_vec(),
            state: ReceiptState::Pending,
            stored: self.environment.clock.now(),
        };
        self.settle(receipt, &request, report)?;
        report.receipts += 1;
        Ok(true)
    }

    /// Judges again the receipts for messages that were not known here, such as those of this user's other clients.
    pub(super) fn judge_pending_receipts(&self, report: &mut SyncReport) -> Result<()> {
        for receipt in self.store.pending_receipts()? {
            let request = format!("GET {}/message/{}", self.user_path(), receipt.id);
            self.settle(receipt, &request, report)?;
        }
        Ok(())
    }

    fn settle(&self, receipt: StoredReceipt, request: &str, report: &mut SyncReport) -> Result<()> {
        let (state, message) = match self.store.sent_content(&receipt.of)? {
            None => (ReceiptState::Pending, None),
            Some((message, content)) => match self.verify_receipt(&receipt, &content)? {
                Ok(()) => (ReceiptState::Good, Some(message)),
                Err(fault) => {
                    let from = self.name_of(&receipt.recipient);
                    let evidence = NewEvidence {
                        kind: EvidenceKind::Receipt,
                        summary: format!("a receipt that {from} did not sign was passed off as theirs"),
                        details: vec![
                            format!("it is for message {}", receipt.of),
                            format!("why it is refused: {fault}"),
                            "the message is not marked as received".to_owned(),
                        ],
                        request: request.to_owned(),
                        raw: receipt.signature.clone(),
                    };
                    report.refused.push(self.refuse(evidence)?);
                    (ReceiptState::Bad, None)
                }
            },
        };
        self.store.add_receipt(&StoredReceipt { state, ..receipt })?;
        if let Some(message) = message {
            self.emit(Event::Changed(message));
        }
        Ok(())
    }

    fn verify_receipt(&self, receipt: &StoredReceipt, content: &Sha256Digest) -> Result<Result<(), SignatureFault>> {
        let text = receipt_text(&self.organization(), &self.user(), &receipt.recipient, &receipt.of, content);
        let made = UnixMicros::from(receipt.id.time());
        let signers = self.log().certificates_of(&receipt.recipient, made);
        let skew = Limits::STATEMENT_SKEW;
        let terms = SignatureTerms {
            certificate_at: made,
            not_before: UnixMicros::from(receipt.of.time()).minus(skew),
            not_after: self.now()?.plus(skew),
        };
        let (encoding, text) = (SignatureEncoding::Binary, text.as_bytes());
        Ok(verify_detached(&receipt.signature, encoding, text, &signers, &terms).map(|_| ()))
    }

    /// Signs and sends the receipts that are owed. Returns how many.
    pub(super) async fn acknowledge(&self) -> Result<usize> {
        if !self.store.preferences()?.receipts {
            return Ok(0);
        }
        let due = self.store.due_acknowledgements()?;
        let total = u64::try_from(due.len()).unwrap_or(u64::MAX);
        let mut count = 0;
        for (done, acknowledgement) in (0..).zip(due) {
            self.progress(Progress::Acknowledging, done, total);
            match self.send_receipt(&acknowledgement).await {
                Ok(()) => count += 1,
                // It is no reason to lose what was fetched: the next run signs it.
                Err(Error::Gnupg(_)) => break,
                // The message is past its retention, or the sender has left.
                Err(Error::Server(ServerError::Problem(problem)))
                    if matches!(problem.kind, ProblemType::NotFound | ProblemType::Forbidden) => {}
                Err(error) => return Err(error),
            }
            self.store.acknowledged(&acknowledgement.of)?;
        }
        self.progress(Progress::Acknowledging, total, total);
        Ok(count)
    }

    async fn send_receipt(&self, due: &Acknowledgement) -> Result<()> {
        let Acknowledgement { of, sender, sha256, signature, id } = due;
        let organization = self.organization();
        let signature = if let Some(signature) = signature {
            signature.clone()
        } else {
            let text = receipt_text(&organization, sender, &self.user(), of, sha256);
            self.environment.gnupg.sign(&*self.certificate()?, text.as_bytes(), self.now()?).await?
        };
        let digest = Sha256Digest::of(&signature);
        let mut id = *id;
        let mut renewed = 0;
        loop {
            let now = self.now()?.to_millis();
            let usable = id.filter(|id| now.since(id.time()) < ID_AGE && id.time().since(now) < ID_AGE);
            let current =
                usable.unwrap_or_else(|| MessageId::of_receipt(&organization, &self.user(), now, of, &digest));
            self.store.sign_acknowledgement(of, &signature, &current)?;
            let target = format!("{}/message/{of}?receipt={current}", self.user_path());
            let body = Bytes::copy_from_slice(&signature);
            let call = Call::with_body(Method::PUT, target, body, "application/octet-stream");
            match self.server.call(&call, &*self.certificate()?).await {
                Ok(_) => return Ok(()),
                Err(ServerError::Problem(problem)) if problem.kind == ProblemType::IdOutOfWindow && renewed < 5 => {
                    renewed += 1;
                    id = None;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

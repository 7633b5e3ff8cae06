//! Reading the account's store into plain values. Nothing here asks the server.

use countersign_client::envelope::{CHANGE, ConversationId};
use countersign_client::store::{ConversationSummary, MessageState, StoredMessage};
use countersign_client::{Account, Result};

use super::model::{Content, Conversation, Loaded, Message, OpenConversation, printed, printed_lines};

/// Longest text that is shown, in bytes: what is longer is a file in all but name.
const TEXT_MAX: u64 = 256 * 1024;

/// Reads what is to be shown: at most `limit` messages of the conversation that is open.
pub(super) fn load(account: &Account, open: Option<ConversationId>, limit: u32) -> Result<Loaded> {
    let conversations = account.conversations()?.into_iter().map(|summary| conversation(account, summary)).collect();
    let open = open.map(|id| messages(account, id, limit)).transpose()?;
    Ok(Loaded { people: account.people(), conversations, open, head: account.log().head().map(|head| head.sequence) })
}

fn conversation(account: &Account, summary: ConversationSummary) -> Conversation {
    let ConversationSummary { conversation, mut people, last, unseen, .. } = summary;
    people.retain(|user| *user != account.user());
    Conversation { id: conversation, people, last: Some(last), unseen }
}

fn messages(account: &Account, id: ConversationId, limit: u32) -> Result<OpenConversation> {
    let stored = account.messages(Some(id), None, limit)?;
    let older = stored.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    let messages = stored.into_iter().map(|message| self::message(account, message)).collect::<Result<_>>()?;
    Ok(OpenConversation { id, messages, older })
}

fn message(account: &Account, stored: StoredMessage) -> Result<Message> {
    let content = content(account, &stored)?;
    let StoredMessage {
        number, sender, outgoing, time, state, note, mut recipients, parts, parts_done, seen, ..
    } = stored;
    if recipients.iter().any(|recipient| recipient.user != account.user()) {
        recipients.retain(|recipient| recipient.user != account.user());
    }
    let note = note.map(|note| printed(&note));
    Ok(Message { number, sender, outgoing, time, content, state, note, recipients, parts: (parts_done, parts), seen })
}

fn content(account: &Account, stored: &StoredMessage) -> Result<Content> {
    if matches!(stored.state, MessageState::Refused | MessageState::Sealed) {
        return Ok(Content::Nothing);
    }
    let file = || Content::File {
        name: printed(stored.file_name.as_deref().unwrap_or(&stored.content_type)),
        size: stored.size,
    };
    if stored.file_name.is_some() {
        return Ok(file());
    }
    if stored.content_type == CHANGE {
        return Ok(Content::Change);
    }
    let is_text = stored.content_type.starts_with("text/") && stored.parts == 1 && stored.size <= TEXT_MAX;
    let bytes = if is_text { account.content(stored.number, 0)? } else { None };
    Ok(match bytes.map(String::from_utf8) {
        Some(Ok(text)) => Content::Text(printed_lines(&text)),
        Some(Err(_)) | None => file(),
    })
}

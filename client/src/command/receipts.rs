//! `countersign receipts`.

use countersign_client::store::{MessageNumber, ReceiptState, StoredMessage};
use countersign_client::{Account, Error};
use serde_json::{Value, json};

use super::{Context, Ended, inbox};
use crate::cli::Receipts;
use crate::exit::{DONE, UNREACHABLE};
use crate::output::{Output, dim, good};
use crate::progress::shown;

pub(super) async fn run(context: &Context, receipts: &Receipts) -> Ended {
    let account = context.account()?;
    let output = context.output;
    let mut code = DONE;
    if !receipts.offline {
        match shown(&account, output, account.sync()).await {
            Ok(report) => code = inbox::refusals(output, &report),
            Err(Error::Server(error)) if error.is_passing() => {
                output.warn(&error.to_string());
                code = UNREACHABLE;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let messages = match receipts.number {
        Some(number) => vec![account.message(MessageNumber(number))?],
        None => account.messages(None, None, 50)?.into_iter().filter(|message| message.outgoing).collect(),
    };
    if output.is_json() {
        let values: Vec<Value> = messages.iter().map(|message| value(&account, message)).collect::<Result<_, _>>()?;
        output.value(&json!({"messages": values}));
        return Ok(code);
    }
    for message in &messages {
        print(output, &account, message, receipts.number.is_some())?;
    }
    Ok(code)
}

fn value(account: &Account, message: &StoredMessage) -> Result<Value, Error> {
    let mut value = inbox::value(account, message);
    value["receipts"] = json!(account.receipts(message.number)?);
    Ok(value)
}

fn print(output: Output, account: &Account, message: &StoredMessage, whole: bool) -> Result<(), Error> {
    output.line(&inbox::line(account, message));
    let receipts = account.receipts(message.number)?;
    let others = message.recipients.iter().filter(|recipient| recipient.user != account.user());
    let mut others: Vec<_> = others.map(|recipient| (account.name_of(&recipient.user), recipient)).collect();
    // By name, as everywhere: in the order of ids it would be another one in each organization.
    others.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (name, recipient) in others {
        if recipient.received {
            output.line(&format!("      {}", good(&format!("{name} has received it"))));
        } else {
            output.line(&format!("      {}", dim(&format!("{name}: no receipt yet"))));
        }
        let of_them = receipts.iter().filter(|receipt| whole && receipt.recipient == recipient.user);
        for receipt in of_them {
            let state = match receipt.state {
                ReceiptState::Good => "its signature is good",
                ReceiptState::Pending => "not judged yet",
                ReceiptState::Bad => "its signature is NOT theirs",
            };
            output.line(&format!("        receipt {} of {}: {state}", receipt.id, receipt.stored));
        }
    }
    Ok(())
}

//! The driver of Countersign: [`Device`], which is how the ledger's readers and writers ask too.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use countersign_client::clock::Clock;
use countersign_client::entropy::Entropy;
use countersign_protocol::body::Listing;
use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::UserId;
use countersign_protocol::message_id::MessageId;
use http::StatusCode;

use super::driver::{Client, Failure, Item};
use super::exchange::{PATIENCE, parse};
use crate::people::Organization;
use crate::random::Random;
use crate::wire::{Device, Reply, Targets};

/// How many items a listing has at most.
const PAGE: usize = 100;

/// A user of Countersign.
#[derive(Debug)]
struct User {
    device: Device,
    users: Arc<Vec<UserId>>,
}

/// Makes a client for each user of an organization.
pub(super) fn clients(
    organization: &Organization,
    targets: &Targets,
    clock: &Arc<dyn Clock>,
    entropy: &dyn Entropy,
    random: &mut Random,
) -> Vec<Box<dyn Client>> {
    let users: Arc<Vec<UserId>> = Arc::new(organization.users.iter().map(|user| user.id).collect());
    let client = |user: &crate::people::User| -> Box<dyn Client> {
        let address = organization.new_client(user.id, entropy);
        let person = Arc::clone(&user.person);
        let device = Device::new(address, person, targets.clone(), Arc::clone(clock), random.split(), PATIENCE);
        Box::new(User { device, users: Arc::clone(&users) })
    };
    organization.users.iter().map(client).collect()
}

/// Returns the body of what was done.
fn done(reply: Reply) -> Result<Bytes, Failure> {
    match reply {
        Reply::Done(answer) => Ok(answer.body),
        Reply::Again(why) => Err(Failure::Again(why.name())),
        Reply::Refused(problem) => Err(Failure::Refused {
            status: StatusCode::from_u16(problem.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            text: problem.detail,
        }),
    }
}

/// Reads an id that was listed.
fn id_of(item: &Item) -> Result<MessageId, Failure> {
    item.id.parse().map_err(|_| Failure::Unreadable(format!("{} is no message's id", item.id)))
}

/// Reads a listing.
fn listed(body: &[u8]) -> Result<Vec<Item>, Failure> {
    let listing: Listing = parse(body)?;
    Ok(listing.messages.iter().map(|item| Item { id: item.id.to_string(), content: None }).collect())
}

#[async_trait]
impl Client for User {
    async fn send(&mut self, to: usize, content: Bytes) -> Result<(), Failure> {
        let address = *self.device.address();
        let to = [*self.users.get(to).ok_or_else(|| Failure::Unreadable(format!("there is no user {to}")))?];
        let time = self.device.now().to_millis();
        let digest = Sha256Digest::of(&content);
        let id = MessageId::of_message(&address.organization, &address.user, time, &to, &digest);
        done(self.device.send(&id, &to, content).await).map(|_| ())
    }

    async fn check(&mut self) -> Result<Vec<Item>, Failure> {
        listed(&done(self.device.list(PAGE, None).await)?)
    }

    async fn read(&mut self, item: &Item) -> Result<Bytes, Failure> {
        done(self.device.read(&id_of(item)?).await)
    }

    async fn confirm(&mut self, items: &[Item]) -> Result<(), Failure> {
        let ids: Vec<MessageId> = items.iter().map(id_of).collect::<Result<_, _>>()?;
        done(self.device.confirm(&ids).await).map(|_| ())
    }
}

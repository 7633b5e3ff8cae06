//! The drivers of Matrix Synapse, by the client-server API: one that sends into rooms, as people's messages go, and one
//! that sends to devices, which is the nearest that Matrix has to a mailbox. Neither encrypts: a content is what a
//! ciphertext would be, in base64, since everything is JSON there.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use countersign_client::connection::HttpClient;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::driver::{Client, Failure, Item};
use super::exchange::{Ask, parse};

/// What messages are: the type of those that clients encrypt.
const KIND: &str = "m.room.encrypted";
/// How many messages of one room a listing has at most. More are no listing that this driver believes.
const ROOM_PAGE: usize = 1_000;

/// How messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Into the room that sender and recipient share.
    Rooms,
    /// Into the recipient's device's inbox.
    ToDevice,
}

/// A user of Synapse.
struct User {
    http: HttpClient,
    /// `Bearer <access token>`.
    authorization: String,
    way: Way,
    filter: String,
    /// Of those that this user writes to: the room, or user and device.
    partners: BTreeMap<usize, Partner>,
    transactions: u64,
    /// Where the listing after what was confirmed begins, and where the one after what was listed does.
    since: Option<String>,
    next: Option<String>,
}

#[derive(Clone, Debug)]
enum Partner {
    Room(String),
    Device { user: String, device: String },
}

/// What registering answers.
#[derive(Clone, Debug, Deserialize)]
struct Registered {
    user_id: String,
    device_id: String,
    access_token: String,
}

impl Registered {
    fn authorization(&self) -> String {
        format!("Bearer {}", self.access_token)
    }
}

/// Registers users, has those who write to each other share a room, and makes a client for each.
pub(super) async fn clients(http: &HttpClient, way: Way, partners: &[Vec<usize>]) -> Result<Vec<Box<dyn Client>>> {
    let mut users = Vec::with_capacity(partners.len());
    for number in 0..partners.len() {
        let name = format!("{}{number}", if way == Way::Rooms { "room" } else { "device" });
        let body = json!({"username": name, "password": name, "auth": {"type": "m.login.dummy"}});
        let register = Ask::json(Method::POST, "/_matrix/client/v3/register", None, &body);
        let answer = register.send(http).await.context("Synapse registers nobody")?;
        users.push(parse::<Registered>(&answer)?);
    }
    let mut rooms: BTreeMap<(usize, usize), String> = BTreeMap::new();
    let mut clients: Vec<Box<dyn Client>> = Vec::with_capacity(users.len());
    for (number, user) in users.iter().enumerate() {
        let mut reached = BTreeMap::new();
        for &to in &partners[number] {
            let other = users.get(to).with_context(|| format!("there is no user {to}"))?;
            let partner = match way {
                Way::ToDevice => Partner::Device { user: other.user_id.clone(), device: other.device_id.clone() },
                Way::Rooms => {
                    let pair = (number.min(to), number.max(to));
                    let room = match rooms.get(&pair) {
                        Some(room) => room.clone(),
                        None => share_room(http, user, other).await.context("Synapse makes no room")?,
                    };
                    Partner::Room(rooms.entry(pair).or_insert(room).clone())
                }
            };
            reached.insert(to, partner);
        }
        let filter = upload_filter(http, user).await.context("Synapse takes no filter")?;
        clients.push(Box::new(User {
            http: http.clone(),
            authorization: user.authorization(),
            way,
            filter,
            partners: reached,
            transactions: 0,
            since: None,
            next: None,
        }));
    }
    Ok(clients)
}

/// Has one user open a room, and another join it.
async fn share_room(http: &HttpClient, user: &Registered, other: &Registered) -> Result<String, Failure> {
    #[derive(Deserialize)]
    struct Created {
        room_id: String,
    }
    let body = json!({"preset": "trusted_private_chat", "invite": [other.user_id], "is_direct": true});
    let create = Ask::json(Method::POST, "/_matrix/client/v3/createRoom", Some(&user.authorization()), &body)
        .send(http)
        .await?;
    let Created { room_id } = parse(&create)?;
    let target = format!("/_matrix/client/v3/join/{}", escape(&room_id));
    Ask::json(Method::POST, &target, Some(&other.authorization()), &json!({})).send(http).await?;
    Ok(room_id)
}

/// Has listings leave out everything but others' messages.
async fn upload_filter(http: &HttpClient, user: &Registered) -> Result<String, Failure> {
    #[derive(Deserialize)]
    struct Uploaded {
        filter_id: String,
    }
    let nothing = json!({"types": []});
    let body = json!({
        "account_data": nothing,
        "presence": nothing,
        "room": {
            "account_data": nothing,
            "ephemeral": nothing,
            "state": {"types": [], "lazy_load_members": true},
            "timeline": {"types": [KIND], "not_senders": [user.user_id], "limit": ROOM_PAGE},
        },
    });
    let target = format!("/_matrix/client/v3/user/{}/filter", escape(&user.user_id));
    let answer = Ask::json(Method::POST, &target, Some(&user.authorization()), &body).send(http).await?;
    Ok(parse::<Uploaded>(&answer)?.filter_id)
}

/// Writes a user's or room's id so that it can stand in a path.
fn escape(id: &str) -> String {
    id.replace('!', "%21").replace('@', "%40").replace(':', "%3A").replace('$', "%24")
}

/// What `/sync` answers, as far as it is of interest.
#[derive(Debug, Default, Deserialize)]
struct Sync {
    next_batch: String,
    #[serde(default)]
    rooms: Rooms,
    #[serde(default)]
    to_device: Events,
}

#[derive(Debug, Default, Deserialize)]
struct Rooms {
    #[serde(default)]
    join: BTreeMap<String, Room>,
}

#[derive(Debug, Deserialize)]
struct Room {
    timeline: Events,
}

#[derive(Debug, Default, Deserialize)]
struct Events {
    #[serde(default)]
    events: Vec<Event>,
    #[serde(default)]
    limited: bool,
}

#[derive(Debug, Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    /// Messages to devices have none.
    #[serde(default, rename = "event_id")]
    id: String,
    content: Value,
}

/// Reads what a listing says is new, and where the next one begins.
fn listed(body: &[u8]) -> Result<(Vec<Item>, String), Failure> {
    let sync: Sync = parse(body)?;
    let rooms = sync.rooms.join.into_values().map(|room| room.timeline);
    let mut items = Vec::new();
    for events in rooms.chain([sync.to_device]) {
        if events.limited {
            return Err(Failure::Unreadable(format!("more than {ROOM_PAGE} messages of a room at once")));
        }
        for event in events.events.into_iter().filter(|event| event.kind == KIND) {
            let text = event.content["ciphertext"].as_str().unwrap_or_default();
            let content = STANDARD_NO_PAD.decode(text).map_err(|error| Failure::Unreadable(error.to_string()))?;
            items.push(Item { id: event.id, content: Some(content.into()) });
        }
    }
    Ok((items, sync.next_batch))
}

#[async_trait]
impl Client for User {
    async fn send(&mut self, to: usize, content: Bytes) -> Result<(), Failure> {
        let partner = self.partners.get(&to);
        let partner = partner.ok_or_else(|| Failure::Unreadable(format!("user {to} is no partner")))?;
        self.transactions += 1;
        let transaction = self.transactions;
        let message = json!({"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": STANDARD_NO_PAD.encode(&content)});
        let (target, body) = match partner {
            Partner::Room(room) => {
                (format!("/_matrix/client/v3/rooms/{}/send/{KIND}/{transaction}", escape(room)), message)
            }
            Partner::Device { user, device } => (
                format!("/_matrix/client/v3/sendToDevice/{KIND}/{transaction}"),
                json!({"messages": {user: {device: message}}}),
            ),
        };
        Ask::json(Method::PUT, &target, Some(&self.authorization), &body).send(&self.http).await.map(|_| ())
    }

    async fn check(&mut self) -> Result<Vec<Item>, Failure> {
        let since = self.since.as_ref().map(|since| format!("&since={since}")).unwrap_or_default();
        let target = format!("/_matrix/client/v3/sync?timeout=0&set_presence=offline&filter={}{since}", self.filter);
        let ask = Ask::json(Method::GET, &target, Some(&self.authorization), &"");
        let (items, next) = listed(&ask.send(&self.http).await?)?;
        self.next = Some(next);
        // There is nothing to confirm, so the next listing begins here.
        if items.is_empty() {
            self.since.clone_from(&self.next);
        }
        Ok(items)
    }

    async fn read(&mut self, item: &Item) -> Result<Bytes, Failure> {
        item.content.clone().ok_or_else(|| Failure::Unreadable(format!("{:?} has no content", self.way)))
    }

    /// Asks nothing: the next listing begins later, which is how Matrix confirms.
    async fn confirm(&mut self, _: &[Item]) -> Result<(), Failure> {
        self.since.clone_from(&self.next);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_rooms_and_of_devices_are_listed_and_nothing_else() {
        let text = json!({
            "next_batch": "s2",
            "rooms": {"join": {"!a:localhost": {"timeline": {"limited": false, "events": [
                {"type": "m.room.member", "event_id": "$0", "content": {}},
                {"type": KIND, "event_id": "$1", "content": {"ciphertext": "AQID"}},
            ]}}}},
            "to_device": {"events": [{"type": KIND, "content": {"ciphertext": "BA"}}]},
        });

        let (items, next) = listed(text.to_string().as_bytes()).unwrap();

        let contents: Vec<Bytes> = items.into_iter().filter_map(|item| item.content).collect();
        assert_eq!(contents, [Bytes::from_static(&[1, 2, 3]), Bytes::from_static(&[4])]);
        assert_eq!(next, "s2");
    }

    #[test]
    fn a_listing_that_leaves_messages_out_is_not_believed() {
        let text = json!({"next_batch": "s", "rooms": {"join": {"!a:b": {"timeline": {"limited": true}}}}});

        let refused = listed(text.to_string().as_bytes());

        assert!(refused.is_err_and(|failure| failure.to_string().contains("at once")));
    }

    #[test]
    fn a_listing_without_news_has_neither_rooms_nor_devices() {
        let (items, next) = listed(br#"{"next_batch": "s3"}"#).unwrap();

        assert_eq!((items.len(), next.as_str()), (0, "s3"));
    }
}

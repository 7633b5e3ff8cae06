//! The driver of the article's server as `peers/article/server.py` rebuilds it. A user remembers the time of the last
//! message that it was told of, and asks for later ones: that is the article's client.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use bytes::Bytes;
use countersign_client::clock::Clock;
use countersign_client::connection::HttpClient;
use countersign_client::entropy::{Entropy, random_id};
use countersign_protocol::digest::Sha256Digest;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::Method;
use serde::Deserialize;
use sha2::Sha256;

use super::driver::{Client, Failure, Item};
use super::exchange::{Ask, parse};
use crate::keys::Person;

/// A user of the article's server.
struct User {
    http: HttpClient,
    /// `/<organization>/<user>`.
    path: String,
    users: Arc<Vec<String>>,
    clock: Arc<dyn Clock>,
    /// The session key, to be cloned for each request.
    keyed: Hmac<Sha256>,
    last_nonce: u64,
    /// The time of the last message that was confirmed.
    since: u64,
    /// The time of the last message that was listed.
    listed_until: u64,
}

/// What is new.
#[derive(Debug, Deserialize)]
struct Listing {
    messages: Vec<Listed>,
}

#[derive(Debug, Deserialize)]
struct Listed {
    id: String,
    /// Microseconds since 1970, by the server's clock.
    time: u64,
}

/// Puts users in place, has each fetch its session key, and makes a client for each.
pub(super) async fn clients(
    http: &HttpClient,
    secret: &str,
    people: &[Arc<Person>],
    clock: &Arc<dyn Clock>,
    entropy: &dyn Entropy,
) -> Result<Vec<Box<dyn Client>>> {
    let organization = random_id(entropy);
    let users: Arc<Vec<String>> = Arc::new(people.iter().map(|_| random_id(entropy).to_string()).collect());
    let mut clients: Vec<Box<dyn Client>> = Vec::with_capacity(people.len());
    for (person, user) in people.iter().zip(users.iter()) {
        let path = format!("/{organization}/{user}");
        let add = Ask {
            method: Method::POST,
            target: &path,
            authorization: Some(&format!("Bearer {secret}")),
            content_type: "application/pgp-keys",
            body: person.certificate().to_owned().into(),
        };
        add.send(http).await.context("the article's server takes no user")?;
        let password = format!("{path}/password");
        let fetch = Ask::json(Method::GET, &password, None, &"");
        let encrypted = fetch.send(http).await.context("the article's server gives no session key")?;
        let keyed = Hmac::new_from_slice(&person.decrypt(&encrypted)?)?;
        clients.push(Box::new(User {
            http: http.clone(),
            path,
            users: Arc::clone(&users),
            clock: Arc::clone(clock),
            keyed,
            last_nonce: 0,
            since: 0,
            listed_until: 0,
        }));
    }
    Ok(clients)
}

/// Signs a request: method, target, nonce and the digest of its body.
fn authorization(keyed: &Hmac<Sha256>, method: &Method, target: &str, nonce: u64, body: &[u8]) -> String {
    let signed = format!("{method}\n{target}\n{nonce}\n{}", Sha256Digest::of(body));
    let signature = keyed.clone().chain_update(signed).finalize().into_bytes();
    format!("Session {nonce} {}", hex::encode(signature))
}

impl User {
    async fn ask(&mut self, method: Method, rest: &str, body: Bytes) -> Result<Bytes, Failure> {
        self.last_nonce = self.clock.now().0.max(self.last_nonce + 1);
        let target = format!("{}/{rest}", self.path);
        let authorization = authorization(&self.keyed, &method, &target, self.last_nonce, &body);
        let ask = Ask {
            method,
            target: &target,
            authorization: Some(&authorization),
            content_type: "application/octet-stream",
            body,
        };
        ask.send(&self.http).await
    }
}

#[async_trait]
impl Client for User {
    async fn send(&mut self, to: usize, content: Bytes) -> Result<(), Failure> {
        let to = self.users.get(to).ok_or_else(|| Failure::Unreadable(format!("there is no user {to}")))?;
        let rest = format!("message?to={to}");
        self.ask(Method::POST, &rest, content).await.map(|_| ())
    }

    async fn check(&mut self) -> Result<Vec<Item>, Failure> {
        let rest = format!("message?since={}", self.since);
        let listing: Listing = parse(&self.ask(Method::GET, &rest, Bytes::new()).await?)?;
        self.listed_until = listing.messages.iter().map(|listed| listed.time).max().unwrap_or(self.since);
        Ok(listing.messages.into_iter().map(|listed| Item { id: listed.id, content: None }).collect())
    }

    async fn read(&mut self, item: &Item) -> Result<Bytes, Failure> {
        self.ask(Method::GET, &format!("message/{}", item.id), Bytes::new()).await
    }

    async fn confirm(&mut self, items: &[Item]) -> Result<(), Failure> {
        for item in items {
            self.ask(Method::PUT, &format!("message/{}", item.id), Bytes::new()).await?;
        }
        self.since = self.listed_until;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_signed_as_the_server_verifies_it() {
        let keyed = Hmac::new_from_slice(&[7; 32]).unwrap();

        let signed = authorization(&keyed, &Method::POST, "/o/u/message?to=v", 5, b"content");

        // By Python's hmac and hashlib, as peers/article/server.py uses them.
        let expected = "d72d09622019572434e03df63179fedc73c6085725264d745ea0a3097e483361";
        assert_eq!(signed, format!("Session 5 {expected}"));
    }
}

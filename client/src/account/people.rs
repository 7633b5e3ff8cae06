//! People, by the names that their certificates have. The log says who they are; a name only finds them.

use countersign_protocol::id::UserId;
use countersign_protocol::two_man_rule::UserRecord;
use serde::Serialize;

use super::Account;
use crate::error::{Error, Result};
use crate::words::printable;

/// A user of the organization.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Person {
    /// Who.
    pub user: UserId,
    /// The first user id of their certificate without its address, such as `Alice`.
    pub name: String,
    /// That user id, such as `Alice <alice@example.org>`.
    pub user_id: String,
    /// Their certificate's fingerprint.
    pub fingerprint: String,
    /// Whether they are an administrator.
    pub administrator: bool,
    /// Whether they are active.
    pub active: bool,
    /// How many clients they may have, if a statement says so.
    pub client_limit: Option<u32>,
    /// Whether that is this account's user.
    pub me: bool,
}

impl Account {
    /// Returns everyone in the organization, by name.
    #[must_use]
    pub fn people(&self) -> Vec<Person> {
        let log = self.log();
        let mut people: Vec<Person> = log.organization().users().map(|record| self.describe(record)).collect();
        people.sort_by(|one, other| (&one.name, one.user).cmp(&(&other.name, other.user)));
        people
    }

    /// Returns a user of the organization; none if the log does not know them.
    #[must_use]
    pub fn person(&self, user: &UserId) -> Option<Person> {
        self.log().organization().user(user).map(|record| self.describe(record))
    }

    /// Returns what to call a user: their name, or their id if the log does not know them.
    #[must_use]
    pub fn name_of(&self, user: &UserId) -> String {
        self.person(user).map_or_else(|| user.to_string(), |person| person.name)
    }

    /// Returns what to call several users, in the order of their names.
    #[must_use]
    pub fn names_of(&self, users: impl IntoIterator<Item = UserId>) -> String {
        let mut names: Vec<String> = users.into_iter().map(|user| self.name_of(&user)).collect();
        names.sort();
        names.join(", ")
    }

    /// Finds the one person that a text means: `me`, a user id, a fingerprint, or part of a name or address.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Usage`] if it means several, and names them.
    pub fn find_person(&self, text: &str) -> Result<Person> {
        let lower = text.trim().to_lowercase();
        if lower.is_empty() {
            return Err(Error::Usage("name somebody".to_owned()));
        }
        let people = self.people();
        let exact = |person: &&Person| {
            (lower == "me" && person.me)
                || person.user.to_string() == lower
                || person.fingerprint.to_lowercase() == lower
        };
        if let Some(person) = people.iter().find(exact) {
            return Ok(person.clone());
        }
        let is_hex = lower.len() >= 6 && lower.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        let means = |person: &&Person| {
            person.user_id.to_lowercase().contains(&lower)
                || (is_hex && person.user.to_string().starts_with(&lower))
                || (is_hex && person.fingerprint.to_lowercase().ends_with(&lower))
        };
        let mut found: Vec<&Person> = people.iter().filter(means).collect();
        // Whole names win over parts of others, and the active over those who left.
        for prefer in [
            (|person: &Person, lower: &str| person.name.to_lowercase() == lower) as fn(&Person, &str) -> bool,
            |person, _| person.active,
        ] {
            if found.iter().any(|person| prefer(person, &lower)) {
                found.retain(|person| prefer(person, &lower));
            }
        }
        match found.as_slice() {
            [person] => Ok((*person).clone()),
            [] => Err(Error::NotFound(format!(
                "nobody in the organization is called {text:?}; see `countersign user list`"
            ))),
            several => {
                let names: Vec<String> =
                    several.iter().map(|person| format!("{} ({})", person.user_id, person.user)).collect();
                Err(Error::Usage(format!("{text:?} means several: {}", names.join(", "))))
            }
        }
    }

    fn describe(&self, record: &UserRecord) -> Person {
        let log = self.log();
        let now = self.environment.clock.now();
        let id =
            log.organization().certificate(&record.user).and_then(|known| known.user_ids(now).into_iter().next());
        let user_id = id.map_or_else(|| record.user.to_string(), |id| printable(&id));
        let name = user_id.split(['<', '(']).next().unwrap_or_default().trim();
        let name = if name.is_empty() { user_id.as_str() } else { name };
        Person {
            user: record.user,
            name: name.to_owned(),
            fingerprint: record.fingerprint.to_string(),
            administrator: record.administrator,
            active: record.active,
            client_limit: record.client_limit,
            me: record.user == self.user(),
            user_id,
        }
    }
}

//! An organization of Alice (its administrator), Bob and Carol, on a service behind a server that may lie.

use super::processes::Service;
use super::{LyingServer, Person, keys};

pub(crate) struct World {
    pub(crate) service: Service,
    pub(crate) server: LyingServer,
    pub(crate) alice: Person,
    pub(crate) bob: Person,
    pub(crate) carol: Person,
}

impl World {
    /// A service, and people who have not joined anything.
    pub(crate) fn empty() -> Self {
        Self::empty_with(&[])
    }

    fn empty_with(settings: &[(&str, &str)]) -> Self {
        let keys = keys();
        let service = Service::start(&keys.super_certificates(), settings);
        let server = LyingServer::start(&service.url);
        let [alice, bob, carol] = [&keys.alice, &keys.bob, &keys.carol].map(Person::new);
        Self { service, server, alice, bob, carol }
    }

    /// Everyone has joined.
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// Everyone has joined, on a service with further settings, as [`Service::start`] takes them.
    pub(crate) fn with(settings: &[(&str, &str)]) -> Self {
        let mut world = Self::empty_with(settings);
        let invitation = world.create_organization();
        world.alice.user = String::from(world.alice.json(&["join", &invitation])["user"].as_str().unwrap());
        let World { alice, bob, carol, .. } = &mut world;
        for person in [bob, carol] {
            Self::add(alice, person);
        }
        world
    }

    /// Both super-administrators sign, each on their own device. Returns Alice's invitation.
    pub(crate) fn create_organization(&self) -> String {
        create_organization(&["--server", &self.server.url])
    }

    /// Alice adds somebody and invites them.
    pub(crate) fn add(alice: &Person, person: &mut Person) {
        let certificate = alice.write("new.asc", &person.key.certificate);
        let added = alice.json(&["user", "add", &certificate]);
        assert_eq!(added["state"], "done");
        person.user = String::from(added["user"].as_str().unwrap());
        let invitation = alice.json(&["invite", &person.user]);
        person.json(&["join", invitation["text"].as_str().unwrap()]);
    }

    /// A second device of somebody, with the same key.
    pub(crate) fn second_device(&self, person: &Person) -> Person {
        let mut second = Person::new(&person.key);
        let invitation = self.alice.json(&["invite", &person.user]);
        second.json(&["join", invitation["short"].as_str().unwrap()]);
        second.user.clone_from(&person.user);
        second
    }
}

/// Both super-administrators sign, each on their own device. `server` says how to reach it. Returns Alice's invitation.
pub(crate) fn create_organization(server: &[&str]) -> String {
    let keys = keys();
    let [one, two] = [&keys.supers[0], &keys.supers[1]].map(Person::new);
    let certificates = keys.super_certificates();
    let (of_one, of_two) = (one.write("supers.asc", &certificates), two.write("supers.asc", &certificates));
    let alice = one.write("alice.asc", &keys.alice.certificate);
    let draft = one.path("acme.change");
    let draft = draft.to_str().unwrap();
    let create = [&["organization", "create"], server, &["--super-administrators"]].concat();
    let drafted = one.json(&[&create[..], &[of_one.as_str(), "--administrator", &alice, "--output", draft]].concat());
    assert_eq!((&drafted["signatures"], &drafted["needed"]), (&1.into(), &2.into()));
    let created = two.json(&[&create[..], &[of_two.as_str(), "--draft", draft]].concat());
    created["invitation"].as_str().unwrap().to_owned()
}

//! A server behind TLS, with an authority of its own.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::support::{Person, Service, World, create_organization, keys};

/// Makes an authority, and a certificate for 127.0.0.1 that it vouches for: all in PEM, with the certificate's key.
fn issue() -> [String; 3] {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    [authority_pem, certificate.pem(), key.serialize_pem()]
}

#[test]
fn an_authority_of_ones_own_vouches_for_the_server_and_no_other_does() {
    let [authority, certificate, key] = issue();
    let [other, ..] = issue();
    let mut alice = Person::new(&keys().alice);
    let authority = alice.write("authority.pem", authority);
    let other = alice.write("other.pem", other);
    let (certificate, key) = (alice.write("tls.pem", certificate), alice.write("tls.key", key));
    let settings = [("TLS_CERTIFICATE", certificate.as_str()), ("TLS_KEY", key.as_str())];
    let service = Service::start(&keys().super_certificates(), &settings);
    let invitation = create_organization(&["--server", &service.url, "--authorities", &authority]);

    for (authorities, code, said) in [
        (&["--authorities", &other][..], 69, "no authority that is believed here issued it"),
        (&[], 69, "--authorities"),
        (&["--authorities", &key], 74, "it has no certificate"),
        (&["--authorities", "missing.pem"], 74, "missing.pem"),
    ] {
        let ended = alice.run(&[&["join", &invitation], authorities].concat()).expect(code);
        assert!(ended.stderr.contains(said), "{authorities:?}: {}", ended.stderr);
        alice.run(&["inbox"]).expect(78);
    }

    alice.user =
        String::from(alice.json(&["join", &invitation, "--authorities", &authority])["user"].as_str().unwrap());
    // The profile remembers it.
    let mut bob = Person::new(&keys().bob);
    let certificate = alice.write("bob.asc", &bob.key.certificate);
    bob.user = String::from(alice.json(&["user", "add", &certificate])["user"].as_str().unwrap());
    let invitation = alice.json(&["invite", "bob"]);
    let own = bob.write("authority.pem", std::fs::read(&authority).unwrap());
    bob.json(&["join", invitation["text"].as_str().unwrap(), "--authorities", &own]);
    let number = alice.send(&["bob"], "through TLS");
    assert_eq!(bob.texts(), ["through TLS"]);
    assert_eq!(alice.received_by(number), std::slice::from_ref(&bob.user));
}

#[test]
fn a_profile_moves_to_another_server_with_the_same_log() {
    let world = World::new();
    let number = world.alice.send(&["bob"], "through the first");

    // The same service, without the proxy in front of it.
    let moved = world.bob.json(&["profile", "set", "--server", &world.service.url]);
    assert_eq!(moved["server"], *world.service.url);
    assert_eq!(world.bob.texts(), ["through the first"]);
    assert_eq!(world.alice.received_by(number), std::slice::from_ref(&world.bob.user));

    // One that does not know the organization cannot pass for it.
    let stranger = World::empty();
    world.bob.json(&["profile", "set", "--server", &stranger.service.url]);
    let code = world.bob.run(&["inbox"]).code;
    assert!([76, 77].contains(&code), "{code}");
    world.bob.run(&["profile", "set", "--server", "ftp://a"]).expect(64);
    world.bob.run(&["profile", "set", "--authorities", "missing.pem"]).expect(74);
    world.bob.json(&["profile", "set", "--server", &world.server.url, "--authorities", "system"]);
    assert_eq!(world.bob.texts(), ["through the first"]);
}

//! The command itself: help, exit codes, JSON, generated files, the store's file.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::{Person, World, keys};

#[test]
fn every_command_has_help_with_an_example() {
    let person = Person::new(&keys().alice);
    let folder = person.path("man");
    person.run(&["man", folder.to_str().unwrap()]).expect(0);
    let pages: Vec<String> =
        std::fs::read_dir(&folder).unwrap().map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
    assert!(pages.len() > 25, "{pages:?}");
    for page in pages {
        let name = page.strip_suffix(".1").unwrap();
        let mut arguments: Vec<&str> = name.split('-').skip(1).collect();
        // Groups show their commands, and `help` is clap's own.
        let groups = ["profile", "organization", "user", "change", "client", "log"];
        if arguments.contains(&"help")
            || arguments.is_empty()
            || (arguments.len() == 1 && groups.contains(&arguments[0]))
        {
            continue;
        }
        if arguments[..] == ["change", "draft"] || arguments[0] == "change" && arguments.len() == 3 {
            arguments.truncate(2);
        }
        arguments.push("--help");
        let help = person.run(&arguments).expect(0).text();
        assert!(help.contains("Example"), "{arguments:?}: {help}");
    }
    let help = person.run(&["--help"]).expect(0).text();
    assert!(help.contains("76  the server did what it must not do"), "{help}");
}

#[test]
fn completions_are_written_for_every_shell() {
    let person = Person::new(&keys().alice);
    for shell in ["bash", "zsh", "fish"] {
        let completions = person.run(&["completions", shell]).expect(0).text();
        assert!(completions.contains("countersign") && completions.contains("receipts"), "{shell}");
    }
}

#[test]
fn exit_codes_are_those_of_the_documentation() {
    let person = Person::new(&keys().alice);
    person.run(&["no-such-command"]).expect(64);
    person.run(&["join", "countersign:join?version=1"]).expect(65);
    person.run(&["join", "no-such-file"]).expect(74);
    person.run(&["inbox"]).expect(78);
    person.run(&["--gpg", "/nonexistent", "doctor"]).expect(1);
    let json = person.run(&["--json", "inbox"]).json(78);
    assert_eq!(json["code"], 78);
    assert!(json["error"].as_str().unwrap().contains("no profile"), "{json}");

    let world = World::new();
    world.alice.run(&["send", "nobody", "--message", "x"]).expect(66);
    world.alice.run(&["read", "99"]).expect(66);
    world.bob.run(&["user", "update", "alice", "--active", "no"]).expect(64);
    let documented = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/client.md")).unwrap();
    let help = person.run(&["--help"]).expect(0).text();
    for line in help.lines().skip_while(|line| *line != "Exit codes:").skip(1) {
        let (code, meaning) = line.trim().split_once("  ").unwrap();
        assert!(documented.contains(&format!("| {code} | {} |", meaning.trim())), "{line}");
    }
}

#[test]
fn a_server_that_is_gone_has_a_code_of_its_own() {
    let world = World::new();
    let World { alice, server, service, .. } = world;
    drop(server);
    drop(service);
    // A few attempts, with pauses that grow.
    alice.run(&["client", "list"]).expect(69);
    let queued = alice.run(&["--json", "send", "bob", "--later", "--message", "x"]).json(75);
    assert_eq!(queued["messages"][0]["state"], "queued");
}

#[test]
fn only_the_owner_can_read_a_profile() {
    let world = World::new();
    let folder = world.alice.folder().join(".local/share/countersign/default");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for file in std::fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn the_doctor_finds_nothing_where_all_is_well_and_says_what_is_not() {
    let world = World::new();
    let all_well = world.alice.json(&["doctor"]);
    assert_eq!(all_well["ok"], true, "{all_well}");
    world.server.lie("fork");
    let ill = world.alice.run(&["--json", "doctor"]).json(1);
    let log = ill["checks"].as_array().unwrap().iter().find(|check| check["name"] == "log").unwrap();
    assert_eq!(log["ok"], false, "{ill}");
}

#[test]
fn profiles_are_listed_and_chosen() {
    let world = World::new();
    let invitation = world.alice.json(&["invite", "bob"])["text"].as_str().unwrap().to_owned();
    world.bob.json(&["--profile", "second", "join", &invitation]);
    world.bob.run(&["--profile", "second", "join", &invitation]).expect(78);
    world.bob.run(&["profile", "use", "third"]).expect(78);
    world.bob.json(&["profile", "use", "second"]);
    let profiles = world.bob.json(&["profile", "list"]);
    let names: Vec<_> = profiles["profiles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["profile"].as_str().unwrap(), row["current"].as_bool().unwrap()))
        .collect();
    assert_eq!(names, [("default", false), ("second", true)]);
    let mut other = world.bob.command(&["--json", "profile", "list"]);
    let listed = String::from_utf8(other.env("COUNTERSIGN_PROFILE", "default").output().unwrap().stdout).unwrap();
    assert!(listed.contains(r#""current":true"#));
    world.bob.json(&["client", "remove", world.bob.json(&["client", "list"])["this"].as_str().unwrap()]);
}

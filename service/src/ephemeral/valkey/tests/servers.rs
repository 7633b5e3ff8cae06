//! TLS, permissions, and what the doctor sees of servers.

use super::*;
use crate::ephemeral::valkey::{ARRIVALS_MAX, Finding};

/// The rules that `docs/valkey.md` tells operators to give.
fn documented_rules() -> Vec<String> {
    let guide = include_str!("../../../../../docs/valkey.md");
    let line = guide.lines().find(|line| line.starts_with("ACL SETUSER countersign ")).unwrap();
    line.split(' ').map(|word| word.replace(">…", ">secret")).collect()
}

#[tokio::test]
async fn the_documented_permissions_suffice_and_tls_is_checked() {
    let directory = tempfile::tempdir().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let issuer = rcgen::CertifiedIssuer::self_signed(authority, authority_key).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let files =
        [write("ca.pem", &issuer.pem()), write("cert.pem", &leaf.pem()), write("key.pem", &key.serialize_pem())];
    let [ca, certificate, key] = files.each_ref().map(String::as_str);
    let options = [
        "--tls-port",
        "@",
        "--tls-ca-cert-file",
        ca,
        "--tls-cert-file",
        certificate,
        "--tls-key-file",
        key,
        "--tls-auth-clients",
        "no",
    ];
    let valkey = Valkey::start(Mode::Single, &options);
    let port = valkey.ports()[0];
    let rules = documented_rules();
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    assert_eq!(valkey.command(port, &rules), "OK");
    let with = |user: &str, authority: Option<&str>| {
        let settings = settings(&format!("valkeys://{user}@localhost:{}", port + 10_000));
        let access = Access {
            password: Some(Zeroizing::new("secret".to_owned())),
            certificate_authority: authority.map(|path| std::fs::read(path).unwrap()),
            connect_timeout: Duration::from_secs(10),
            ..settings.access
        };
        ValkeySettings { access, ..settings }
    };
    let good = with("countersign", Some(ca));

    let findings = check(good.clone(), &SystemClock).await;
    assert!(findings.len() == 4 && findings.iter().all(|finding| finding.passed), "{findings:#?}");
    for refused in [with("countersign", None), with("nobody", Some(ca))] {
        let findings = check(refused, &SystemClock).await;
        assert!(findings.len() == 1 && !findings[0].passed, "{findings:#?}");
    }

    // Everything that a pod does, with these permissions.
    let pod = pod_with(good).await;
    let client = client();
    let session = begin(&pod, &client).await;
    catch_up(&pod, &client, session).await;
    pod.admit_password(&client, nonce(), now()).await.unwrap();
    let waiter = pod.wake_up(client.organization, client.user).await.unwrap();
    for number in 0..=ARRIVALS_MAX {
        arrive(&pod, &client, &item(&client, &number.to_be_bytes())).await;
    }
    assert!(matches!(admit(&pod, &client, session).await, Admission::Admitted(_)));
    assert!(pod.session(&client, now(), Recency::Now).await.unwrap().is_some());
    drop(waiter);
    pod.sweep(now()).await;
    pod.end_session(&client).await.unwrap();
    pod.end_sessions(client.organization, client.user).await.unwrap();
    let denied = valkey.command(port, &["ACL", "LOG"]);
    assert!(!denied.contains("command"), "{denied}");
}

#[tokio::test]
async fn the_doctor_finds_a_cluster_in_order_and_an_evicting_server_not() {
    let cluster = check(settings(&Valkey::shared(Mode::Cluster).url()), &SystemClock).await;
    let evicting = Valkey::start(Mode::Single, &["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let evicts = check(settings(&evicting.url()), &SystemClock).await;
    let late = crate::clock::ManualClock::at(now().minus(Duration::from_secs(60)));
    let apart = check(settings(&Valkey::shared(Mode::Single).url()), &late).await;
    let failed = |findings: &[Finding]| -> Vec<String> {
        findings.iter().filter(|finding| !finding.passed).map(|finding| finding.text.clone()).collect()
    };

    assert_eq!(failed(&cluster), Vec::<String>::new());
    assert_eq!(cluster.len(), 1 + 3 * 3 + 1);
    assert_eq!(failed(&evicts).len(), 1);
    assert!(failed(&evicts)[0].contains("noeviction"));
    assert_eq!(failed(&apart).len(), 1);
    assert!(failed(&apart)[0].contains("clock"));
}

#[tokio::test]
async fn several_single_servers_are_no_cluster() {
    let (one, other) = (Valkey::shared(Mode::Single), Valkey::start(Mode::Single, &[]));
    let both = format!("{},127.0.0.1:{}", one.url(), other.ports()[0]);

    let findings = check(settings(&both), &SystemClock).await;

    assert!(findings.len() == 1 && findings[0].text.contains("several hosts"), "{findings:?}");
}

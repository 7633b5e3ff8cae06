"""Who is who: one certificate of every kind that the protocol has an opinion about."""

import base64
import dataclasses

import gnupg

# 2026-11-23T05:30:01Z, when most certificates are made, and the length of a day.
BEGIN = 1795411801
DAY = 86_400


@dataclasses.dataclass
class Person:
    """A certificate and with which of its keys GnuPG is to sign."""

    fingerprint: str
    certificate: str
    signer: str


def make_people(home):
    people = {}

    def add(name, signer=None, **options):
        fingerprint = home.make(options.pop("at", BEGIN), name, **options)
        certificate = home.public(BEGIN, fingerprint)
        people[name] = Person(fingerprint, certificate, signer or fingerprint)
        return fingerprint

    for name in ("super1", "alice", "alice-next", "dave", "erin", "stranger"):
        add(name)
    rsa = {"primary": "rsa3072", "usage": "sign", "subkeys": ("rsa3072 encr",)}
    add("super2", **rsa)
    add("bob", **rsa)

    # A primary key that certifies only, and two subkeys of each kind.
    several = ("ed25519 sign", "ed25519 sign", "cv25519 encr", "rsa3072 encr", "ed25519 auth")
    for name in ("super3", "carol"):
        fingerprint = add(name, usage="cert", subkeys=several)
        people[name].signer = home.subkeys(BEGIN, fingerprint)[2] + "!"

    add("nistp256", primary="nistp256", subkeys=("nistp256 encr",))
    add("without-encryption", subkeys=())
    add("without-signing", usage="cert")
    add("encryption-subkey-expired", subkeys=("cv25519 encr 1d",), at=BEGIN - 10 * DAY)
    add("expired", expire="1d", at=BEGIN - 10 * DAY)
    add("expires-tomorrow", expire="1d")
    add("from-the-future", at=BEGIN + 30 * DAY)

    for name, at, reason in (
        ("compromised-later", BEGIN + 10 * DAY, 1),
        ("superseded-later", BEGIN + 10 * DAY, 2),
        ("retired-later", BEGIN + 10 * DAY, 3),
        ("superseded-before", BEGIN - DAY, 2),
    ):
        fingerprint = add(name, at=BEGIN - 10 * DAY)
        people[name].certificate = home.revoked(at, fingerprint, reason)
    fingerprint = add("signing-subkey-compromised", usage="cert", subkeys=("ed25519 sign", "cv25519 encr"))
    people["signing-subkey-compromised"].signer = home.subkeys(BEGIN, fingerprint)[1] + "!"
    people["signing-subkey-compromised"].certificate = home.revoked_subkey(BEGIN + 10 * DAY, fingerprint, 1, 1)

    people["secret"] = Person(
        people["erin"].fingerprint, home.secret(BEGIN, people["erin"].fingerprint), people["erin"].fingerprint
    )
    return people


def vectors(people):
    certificates = []

    def case(name, days, usable, why=None):
        person = people[name]
        certificates.append({
            "name": name,
            "certificate": person.certificate,
            "fingerprint": person.fingerprint,
            "at": BEGIN + days * DAY,
            "usable": usable,
            "why": why,
        })

    for name in ("alice", "bob", "carol", "nistp256", "expires-tomorrow"):
        case(name, 0, True)
    case("alice", -1, False, "not made yet")
    case("expires-tomorrow", 2, False, "expired")
    case("expired", 0, False, "expired")
    case("from-the-future", 0, False, "not made yet")
    case("from-the-future", 31, True)
    case("without-encryption", 0, False, "no encryption key")
    case("without-signing", 0, False, "no signing key")
    case("encryption-subkey-expired", 0, False, "its one encryption key is expired")
    case("encryption-subkey-expired", -10, True)
    for days in (-9, 0, 11):
        case("compromised-later", days, False, "a hard revocation counts at any time")
    for name in ("superseded-later", "retired-later"):
        case(name, 0, True)
        case(name, 11, False, "a soft revocation counts from its time")
    case("superseded-before", 0, False, "a soft revocation counts from its time")
    case("superseded-before", -5, True)
    case("signing-subkey-compromised", 0, False, "its one signing key is revoked, hard")

    alice = people["alice"].certificate
    packets = gnupg.dearmor(alice)
    malformed = [
        {"why": "secret key material", "text": people["secret"].certificate},
        {"why": "a public certificate, then the secret key", "text": alice + people["secret"].certificate},
        {"why": "two certificates", "text": alice + people["bob"].certificate},
        {"why": "two certificates in one armor", "text": gnupg.armor(
            "PUBLIC KEY BLOCK", packets + gnupg.dearmor(people["dave"].certificate))},
        {"why": "nothing", "text": ""},
        {"why": "not armored", "text": base64.b64encode(packets).decode()},
        {"why": "an armor around nothing", "text": gnupg.armor("PUBLIC KEY BLOCK", b"")},
        {"why": "cut off", "text": gnupg.armor("PUBLIC KEY BLOCK", packets[:40])},
    ]
    return {"certificates": certificates, "malformed": malformed}

"""Whole logs: what each entry makes of the organization, and what must be refused after which entry."""

import dataclasses

import gnupg
from certificates import BEGIN, DAY
from statements import ORGANIZATION, compose, named, sha256


@dataclasses.dataclass
class Signature:
    """Who signs, when, with what GnuPG options, and perhaps other bytes."""

    who: str
    at: int = None
    options: tuple = ()
    instead: str = None


class Log:
    """A log that grows; `refuse` tries an entry beside it."""

    def __init__(self, home, people, name, supers, organization=ORGANIZATION):
        self.home, self.people, self.organization = home, people, organization
        self.texts, self.times, self.users = [], [], {}
        self.json = {
            "name": name,
            "organization": organization,
            "super_administrators": [people[who].certificate for who in supers],
            "accepted": [],
            "refused": [],
        }

    def text(self, change, at, sequence=None, previous=..., **options):
        sequence = len(self.texts) if sequence is None else sequence
        if previous is ...:
            previous = sha256(self.texts[-1].encode()) if self.texts else None
        return compose(sequence, previous, at, change, options.get("organization", self.organization))

    def signed(self, text, at, signers):
        signatures = []
        for signer in signers:
            signer = Signature(signer) if isinstance(signer, str) else signer
            person, when = self.people[signer.who], at + 5 if signer.at is None else signer.at
            data = (signer.instead or text).encode()
            signatures.append(self.home.sign(when, person.signer, data, *signer.options))
        return signatures

    def accept(self, why, change, *signers, at=None, now=None):
        at = BEGIN + 60 * len(self.texts) if at is None else at
        text = self.text(change, at)
        fields = {key: value for key, value in change.items() if key not in ("kind", "user")}
        user = self.users.setdefault(change["user"], {
            "user": change["user"], "administrator": change["kind"] == "create-organization", "active": True,
            "client_limit": None, "certificate": None,
        })
        user.update(fields)
        self.texts.append(text)
        self.times.append(at)
        self.json["accepted"].append({
            "why": why,
            "now_us": (at + 30 if now is None else now) * 1_000_000,
            "statement": text,
            "signatures": self.signed(text, at, signers),
            "hash": sha256(text.encode()),
            "users": [dict(user) for _, user in sorted(self.users.items())],
        })

    def refuse(self, why, problem, change, *signers, at=None, now=None, text=None, signatures=None, **options):
        at = BEGIN + 60 * len(self.texts) if at is None else at
        signed = text or self.text(change, at, **options)
        signatures = self.signed(signed, at, signers) if signatures is None else signatures
        self.json["refused"].append({
            "why": why,
            "after_entries": len(self.texts),
            "now_us": (at + 30 if now is None else now) * 1_000_000,
            "statement": options.get("sent", signed),
            "signatures": signatures,
            "problem": problem,
        })
        return signed


def vectors(home, people):
    def certificate(who):
        return people[who].certificate

    def create(who="alice"):
        return {"kind": "create-organization", "user": named("alice"), "certificate": certificate(who)}

    def add(user, who=None, administrator=False, **fields):
        return {"kind": "add-user", "user": named(user), "certificate": certificate(who or user),
                "administrator": administrator, **fields}

    def update(user, **fields):
        return {"kind": "update-user", "user": named(user), **fields}

    rule, bad, malformed = "two-man-rule", "bad-certificate", "malformed-request"
    log = Log(home, people, "an organization's life", ("super1", "super2", "super3"))

    # Its creation.
    first = create()
    log.refuse("unsigned", rule, first)
    log.refuse("one super-administrator", rule, first, "super1")
    log.refuse("the same super-administrator twice", rule, first, "super1", Signature("super1", BEGIN + 6))
    log.refuse("a stranger beside both", rule, first, "super1", "super2", "stranger")
    log.refuse("a stranger instead of one", rule, first, "super1", "stranger")
    log.refuse("the first administrator signs too", rule, first, "super1", "super2", "alice")
    log.refuse("one signature is over other bytes", rule, first, "super1", Signature("super2", instead="other"))
    text = log.text(first, BEGIN)
    log.refuse("the statement was altered", rule, first, "super1", "super2", sent=text.replace("\n", "\n ", 1))
    log.refuse("a line feed was appended", rule, first, "super1", "super2", sent=text + "\n")
    log.refuse("a certificate without an encryption key", bad, create("without-encryption"), "super1", "super2")
    log.refuse("sequence 1 of nothing", rule, update("alice", active=False), "super1", "super2",
               sequence=1, previous="0" * 64)
    log.accept("two of three super-administrators, one with a subkey and one with RSA", first, "super3", "super2")

    # One administrator.
    log.refuse("created twice", "exists", first, "super1", "super2", sequence=0, previous=None)
    log.refuse("create-organization at sequence 1", malformed, first, "alice")
    log.refuse("one of the super-administrators joins in", rule, add("bob"), "alice", "super1")
    log.refuse("super-administrators have no say later", rule, add("bob"), "super1", "super2")
    log.refuse("the user who is added signs", rule, add("bob"), "bob")
    log.refuse("the last administrator is deactivated", "last-administrator", update("alice", active=False), "alice")
    log.refuse("the last administrator is demoted", "last-administrator", update("alice", administrator=False), "alice")
    log.refuse("update-user of nothing", malformed, update("alice"), "alice")
    log.refuse("another organization", None, add("bob"), "alice", organization=named("other"))
    log.accept("the one administrator adds a second", add("bob", administrator=True), "alice")

    # Two administrators.
    dave = add("dave", client_limit=2)
    log.refuse("one administrator of two", rule, dave, "alice")
    log.refuse("two signatures by the same administrator", rule, dave, "alice", Signature("alice", BEGIN + 130))
    log.refuse("a plain stranger beside both", rule, dave, "alice", "bob", "stranger")
    log.refuse("a text-mode signature", rule, dave, "alice", Signature("bob", options=("--textmode",)))
    at = BEGIN + 120
    text = log.text(dave, at)
    alice, bob = log.signed(text, at, ("alice", "bob"))
    both = gnupg.armor("SIGNATURE", gnupg.dearmor(alice) + gnupg.dearmor(bob))
    log.refuse("two packets in one armor", rule, dave, text=text, signatures=[both])
    log.refuse("two packets in one armor, beside a good one", rule, dave, text=text, signatures=[alice, both])
    log.refuse("two armors in one string", rule, dave, text=text, signatures=[alice + bob])
    log.refuse("two armors in one string, beside a good one", rule, dave, text=text, signatures=[alice, bob + alice])
    log.refuse("an armor of the wrong kind", rule, dave, text=text,
               signatures=[alice, bob.replace("PGP SIGNATURE", "PGP MESSAGE")])
    log.refuse("a signature without armor", rule, dave, text=text,
               signatures=[alice, bob.split("\n\n")[1].split("\n=")[0]])
    log.refuse("a clear-signed message", rule, dave, text=text,
               signatures=[alice, home.clear_sign(at, people["bob"].signer, text.encode())])
    log.refuse("an empty signature", rule, dave, text=text, signatures=[alice, bob, ""])
    log.refuse("a certificate as a signature", rule, dave, text=text, signatures=[alice, certificate("bob")])
    log.refuse("a signature made 31 s before the statement's time", rule, dave, "alice", Signature("bob", at - 31))
    log.refuse("a signature made 31 s in the verifier's future", rule, dave, "alice", Signature("bob", at + 131),
               now=at + 100)
    expiring = ("--default-sig-expire", "1d")
    log.refuse("a signature that had an end, on a statement dated after it", rule, dave, "alice",
               Signature("bob", at - 10, ("--default-sig-expire", "seconds=5")))
    log.refuse("unknown field", malformed, None, "alice", "bob",
               text=text.replace('"sequence"', '"comment": "harmless",\n "sequence"'))
    log.refuse("duplicate key", malformed, None, "alice", "bob",
               text=text.replace('"sequence": 2', '"sequence": 2,\n "sequence": 2'))
    log.refuse("wrong previous", "log-moved", dave, "alice", "bob", previous=sha256(log.texts[0].encode()))
    log.refuse("a gap in the sequence", "log-moved", dave, "alice", "bob", sequence=3)
    log.refuse("a repeated sequence", "log-moved", dave, "alice", "bob", sequence=1,
               previous=sha256(log.texts[0].encode()))
    log.refuse("a time before the previous statement's", "statement-expired", dave, "alice", "bob", at=BEGIN + 59)
    log.refuse("adds an existing user", "exists", add("bob", "dave"), "alice", "bob")
    log.refuse("updates an unknown user", "not-found", update("nobody", active=False), "alice", "bob")
    log.refuse("a certificate of another user", bad, add("dave", "alice"), "alice", "bob")
    log.refuse("a user takes another's certificate", bad, update("alice", certificate=certificate("bob")), "alice", "bob")
    for why, who in (("no encryption key", "without-encryption"), ("no signing key", "without-signing"),
                     ("secret key material", "secret"), ("expired", "expired"),
                     ("not made yet", "from-the-future"), ("superseded before", "superseded-before"),
                     ("compromised, though found out later", "compromised-later"),
                     ("its one signing subkey is compromised", "signing-subkey-compromised")):
        log.refuse(f"a certificate: {why}", bad, add("dave", who), "alice", "bob")
    log.refuse("a certificate: not one", bad, dict(add("dave"), certificate="alice"), "alice", "bob")
    log.refuse("a certificate: two", bad, dict(add("dave"), certificate=certificate("dave") + certificate("erin")),
               "alice", "bob")
    log.accept("signatures 30 s before the statement's time and 30 s in the verifier's future", dave,
               Signature("alice", at - 30), Signature("bob", at + 60), at=at, now=at + 30)
    log.accept("a subkey's owner becomes an administrator", add("carol", administrator=True), "alice", "bob")

    # Three administrators.
    log.refuse("an administrator and a plain user", rule, update("dave", active=False), "alice", "dave")
    log.accept("a user's certificate is replaced; two of three sign",
               update("alice", certificate=certificate("alice-next")), "bob", "carol")
    promote = update("dave", administrator=True)
    log.refuse("a certificate that was replaced earlier", rule, promote, "alice", "bob")
    log.accept("all three sign, at the same time as the statement before", promote, "bob", "carol", "alice-next",
               at=BEGIN + 240)
    log.accept("a replaced certificate may go to another user", add("zoe", "alice"), "alice-next", "dave")
    log.accept("an administrator is deactivated, and signs that", update("bob", active=False), "bob", "carol")
    log.refuse("a deactivated administrator signs", rule, update("dave", client_limit=9), "carol", "bob")
    log.refuse("a deactivated user's certificate", bad, add("erin", "bob"), "carol", "dave")
    log.accept("several fields at once", update("dave", client_limit=9, administrator=False), "carol", "dave")
    log.refuse("a demoted administrator signs", rule, update("bob", active=True), "carol", "dave")
    log.accept("a deactivated administrator comes back", update("bob", active=True), "alice-next", "carol")
    late = BEGIN + 10 * DAY
    log.accept("countersigned days later, one signature with an end that has not come", update("zoe", active=False),
               Signature("bob", late + 3 * DAY, expiring), Signature("carol", late), at=late, now=late + 3 * DAY)

    logs = [log.json]

    def small(name, supers, accepted, *signers, why, **options):
        log = Log(home, people, name, supers)
        if accepted:
            log.accept(why, create(), *signers, **options)
        else:
            log.refuse(why, rule, create(), *signers, **options)
        logs.append(log.json)

    pair = ("super1", "compromised-later")
    small("a compromised super-administrator", pair, False, *pair, why="a hard revocation counts at any time")
    for who in ("superseded-later", "retired-later"):
        pair = ("super1", who)
        small(f"a super-administrator {who}", pair, True, *pair, why="a soft revocation counts from its time")
    pair = ("super1", "signing-subkey-compromised")
    small("a compromised subkey", pair, False, *pair, why="a hard revocation of the subkey that signed")
    pair = ("super1", "expires-tomorrow")
    small("signed before the end", pair, True, *pair, why="its certificate expires later")
    small("dated after the end", pair, False, "super1", Signature("expires-tomorrow", BEGIN + DAY - 10),
          at=BEGIN + DAY + 10, why="its certificate expired before the statement's time")
    small("one super-administrator configured", ("super1",), False, "super1", why="two are needed, always")
    small("one configured twice", ("super1", "super1"), False, "super1", "super1", why="they are one signer")
    small("none configured", (), False, "super1", "super2", why="nobody may create")

    log = Log(home, people, "administrators whose keys end", ("super1", "super2"))
    log.accept("created", create("expires-tomorrow"), "super1", "super2")
    log.refuse("the one administrator's certificate is past its end", rule, add("bob"),
               Signature("expires-tomorrow", BEGIN + DAY - 10), at=BEGIN + DAY + 10)
    log.accept("before its end", add("bob", administrator=True), "expires-tomorrow")
    logs.append(log.json)
    return {"logs": logs}

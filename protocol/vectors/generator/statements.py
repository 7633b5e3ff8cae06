"""Statements: what is one, what its hash is, and what is none."""

import hashlib
import json
import uuid

NAMES = uuid.UUID("8f0c1a52-7d3e-5b44-9c6a-2f1d0e9b7a61")


def named(name):
    """A fixed UUID for a name."""
    return str(uuid.uuid5(NAMES, name))


ORGANIZATION = named("organization")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def rfc3339(seconds):
    import time

    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def compose(sequence, previous, seconds, change, organization=ORGANIZATION):
    """The text of a statement as most signers would write it."""
    value = {
        "countersign": 1,
        "organization": organization,
        "sequence": sequence,
        "previous": previous,
        "time": seconds if isinstance(seconds, str) else rfc3339(seconds),
        "change": change,
    }
    return json.dumps(value, indent=1)


def vectors(people):
    from certificates import BEGIN

    certificate = people["alice"].certificate
    previous = sha256(b"the statement before")
    add = {"kind": "add-user", "user": named("dave"), "certificate": certificate, "administrator": False}
    update = {"kind": "update-user", "user": named("dave"), "active": False}
    create = {"kind": "create-organization", "user": named("alice"), "certificate": certificate}

    valid = []

    def good(name, text, micros=BEGIN * 1_000_000):
        parsed = json.loads(text)
        valid.append({
            "name": name,
            "text": text,
            "hash": sha256(text.encode()),
            "sequence": parsed["sequence"],
            "previous": parsed["previous"],
            "time_us": micros,
            "change": parsed["change"],
        })

    good("create-organization", compose(0, None, BEGIN, create))
    good("add-user", compose(1, previous, BEGIN, add))
    good("add-user with a client limit", compose(2, previous, BEGIN, dict(add, client_limit=3)))
    good("a client limit of none", compose(2, previous, BEGIN, dict(add, client_limit=0)))
    good("update-user: activity", compose(3, previous, BEGIN, update))
    for field, value in (("administrator", True), ("client_limit", 4294967295), ("certificate", certificate)):
        good(f"update-user: {field}", compose(4, previous, BEGIN, {"kind": "update-user", "user": named("x"), field: value}))
    good("update-user: everything", compose(4, previous, BEGIN, dict(
        update, administrator=False, client_limit=7, certificate=certificate)))
    text = compose(3, previous, BEGIN, update)
    good("another order of the fields", json.dumps(dict(reversed(json.loads(text).items()))))
    good("no white space", json.dumps(json.loads(text), separators=(",", ":")))
    good("white space around", "\r\n\t " + text + "\n\n")
    good("escaped letters", text.replace("update-user", "\\u0075pdate-user").replace('"time"', '"\\u0074ime"'))
    good("a fraction of a second", compose(3, previous, "2026-11-23T05:30:01.25Z", update), BEGIN * 1_000_000 + 250_000)
    good("another time zone", compose(3, previous, "2026-11-23T11:00:01+05:30", update))
    good("a large sequence", compose(2**53 - 1, previous, BEGIN, update))

    invalid = []

    def bad(why, text):
        invalid.append({"why": why, "text": text, "problem": "malformed-request"})

    def altered(why, *, drop=None, **fields):
        value = json.loads(text)
        value.update(fields)
        if drop:
            del value[drop]
        bad(why, json.dumps(value, indent=1))

    bad("nothing", "")
    bad("not JSON", "countersign")
    bad("cut off", text[:-2])
    bad("something after it", text + "{}")
    bad("a byte order mark", "\ufeff" + text)
    bad("a comment", text + " // please sign")
    bad("a trailing comma", text.rstrip("}") + ",}")
    bad("an array of the values", json.dumps(list(json.loads(text).values())))
    bad("a change that is an array", text.replace(json.dumps(update, indent=1).replace("\n", "\n "), json.dumps(list(update.values()))))
    bad("a string", json.dumps(text))
    bad("null", "null")
    for field in json.loads(text):
        altered(f"without {field}", drop=field)
    altered("unknown field", comment="harmless")
    altered("unknown field in the change", change=dict(update, note="harmless"))
    bad("duplicate key", text.replace('"sequence": 3', '"sequence": 3,\n "sequence": 3'))
    bad("duplicate key in the change", text.replace('"active": false', '"active": true,\n  "active": false'))
    bad("duplicate kind", text.replace('"kind": ', '"kind": "update-user", "kind": '))
    bad("duplicate key, escaped", text.replace('"sequence": 3', '"sequence": 3,\n "sequenc\\u0065": 3'))
    altered("another version", countersign=2)
    altered("version 0", countersign=0)
    altered("a version that is a string", countersign="1")
    altered("a version with a fraction", countersign=1.0)
    altered("a negative sequence", sequence=-1)
    altered("a sequence with a fraction", sequence=3.5)
    altered("a sequence that is a string", sequence="3")
    altered("a sequence beyond 64 bits", sequence=2**64)
    altered("previous is null after sequence 0", previous=None)
    altered("previous in upper case", previous=previous.upper())
    altered("previous is too short", previous=previous[:-2])
    altered("sequence 0 with a previous", sequence=0, change=create)
    altered("sequence 0 that adds", sequence=0, previous=None, change=add)
    altered("create-organization at sequence 1", sequence=1, change=create)
    altered("create-organization with an administrator field", sequence=0, previous=None, change=dict(create, administrator=True))
    altered("update-user of nothing", change={"kind": "update-user", "user": named("dave")})
    altered("an unknown kind", change=dict(update, kind="remove-user"))
    altered("a kind in upper case", change=dict(update, kind="Update-User"))
    altered("no kind", change={"user": named("dave"), "active": False})
    altered("add-user without administrator", change={k: v for k, v in add.items() if k != "administrator"})
    altered("add-user that is inactive", change=dict(add, active=False))
    altered("a client limit below 0", change=dict(add, client_limit=-1))
    altered("a client limit beyond 32 bits", change=dict(add, client_limit=2**32))
    altered("active is not a boolean", change=dict(update, active=0))
    altered("an organization in upper case", organization=ORGANIZATION.upper())
    altered("an organization without hyphens", organization=ORGANIZATION.replace("-", ""))
    altered("a user in braces", change=dict(update, user="{" + named("dave") + "}"))
    for time in ("2026-11-23", "2026-11-23T05:30:01", "2026-11-23 05:30:01Z", "2026-11-23T05:30:01z", "1795411801",
                 "2026-11-31T05:30:01Z", "1969-12-31T23:59:59Z", "2106-02-07T06:28:16Z", ""):
        altered(f"time {time!r}", time=time)
    altered("a time that is a number", time=BEGIN)
    return {"organization": ORGANIZATION, "valid": valid, "invalid": invalid}

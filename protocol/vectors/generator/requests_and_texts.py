"""Requests under a session key, signed texts, and every small spelling of the protocol."""

import base64
import hashlib
import hmac
import json

import gnupg
from certificates import BEGIN, DAY
from statements import ORGANIZATION, named, sha256

KEY = hashlib.sha256(b"a session key").digest()
CLIENT = named("client")
ADDRESS = f"{ORGANIZATION}#{named('alice')}#{CLIENT}"
NONCE = f"{BEGIN}123456"
PARAMETERS = {"created": str(BEGIN), "nonce": f'"{NONCE}"', "keyid": f'"{ADDRESS}"', "alg": '"hmac-sha256"'}
USER_PATH = f"/{ORGANIZATION}/{named('alice')}"
COMPONENTS = ("@method", "@path", "@query")


def encoded(data):
    return base64.b64encode(data).decode()


def content_digest(body):
    return f"sha-256=:{encoded(hashlib.sha256(body).digest())}:"


def input_value(order="created nonce keyid alg", components=COMPONENTS, **changed):
    names = " ".join(f'"{component}"' for component in components)
    parameters = dict(PARAMETERS, **changed)
    return f"({names})" + "".join(f";{name}={parameters[name]}" for name in order.split() if parameters[name])


def base_of(method, target, components, parameters, digest=None):
    path, _, query = target.partition("?")
    values = {"@method": method, "@path": path, "@query": "?" + query, "content-digest": digest,
              "@authority": "example.org"}
    lines = [f'"{component}": {values[component]}' for component in components]
    return "\n".join(lines + [f'"@signature-params": {parameters}'])


def request(method, target, body=None, components=None, parameters=None, **changed):
    digest = None if body is None else content_digest(body)
    if components is None:
        components = COMPONENTS + (() if body is None else ("content-digest",))
    parameters = parameters or input_value(components=components, **changed)
    base = base_of(method, target, components, parameters, digest)
    signature = hmac.new(KEY, base.encode(), hashlib.sha256).digest()
    headers = {"Signature-Input": "countersign=" + parameters, "Signature": f"countersign=:{encoded(signature)}:"}
    if body is not None:
        headers["Content-Digest"] = digest
    return {
        "method": method,
        "target": target,
        "body_base64": None if body is None else encoded(body),
        "key_base64": encoded(KEY),
        "headers": headers,
    }, base


def signature_bases():
    cases = []

    def case(name, *arguments, **options):
        value, base = request(*arguments, **options)
        cases.append({"name": name, **value, "base": base})

    fetched = json.dumps({"messages": [named("message")]}).encode()
    case("no query", "GET", USER_PATH)
    case("a query", "GET", USER_PATH + "/message?limit=10")
    case("an empty query", "GET", USER_PATH + "/message?")
    case("a query with a question mark", "GET", USER_PATH + "/message?limit=1?2")
    case("percent-encoding stays as it is", "GET", USER_PATH + "/message?a=%2f%2F+%20&b")
    case("a body", "POST", USER_PATH + f"/client/{CLIENT}/fetched", fetched)
    case("an empty body with a digest", "POST", USER_PATH + f"/client/{CLIENT}/fetched", b"")
    case("a binary body", "PUT", USER_PATH + "/message", bytes(range(256)))
    for order in ("alg keyid nonce created", "keyid created alg nonce", "nonce alg created keyid"):
        case(f"parameters: {order}", "DELETE", USER_PATH + f"/client/{CLIENT}", order=order)
    return {"client": {"organization": ORGANIZATION, "user": named("alice"), "client": CLIENT},
            "created": BEGIN, "nonce": NONCE, "requests": cases}


def refused_requests():
    cases = []
    target = USER_PATH + "/message?limit=10"
    body = b"content"

    def case(why, refused_by, value, **headers):
        for name, text in headers.items():
            name = name.replace("_", "-").title()
            if text is None:
                del value["headers"][name]
            else:
                value["headers"][name] = text
        cases.append({"why": why, "refused_by": refused_by, **value})

    def get(**options):
        return request("GET", target, **options)[0]

    def post(**options):
        return request("POST", target, body, **options)[0]

    def signed_input(text, body=None):
        """Signs whatever input it is, so that only the profile can be what refuses it."""
        components = COMPONENTS if body is None else COMPONENTS + ("content-digest",)
        return request("GET" if body is None else "POST", target, body, components, text)[0]

    for method in ("POST", "get", "GET "):
        case(f"the method became {method!r}", "verification", dict(get(), method=method))
    for other in (target + "0", target.replace("limit", "Limit"), target.replace("?", "/?"), USER_PATH + "/message",
                  target.replace("/message", "/%6dessage")):
        case("the target changed", "verification", dict(get(), target=other))
    case("another key", "verification", dict(get(), key_base64=encoded(hashlib.sha256(b"another").digest())))
    case("a changed signature", "verification", get(), signature=f"countersign=:{encoded(bytes(32))}:")
    case("the parameters stand in another order than signed", "verification", get(),
         signature_input="countersign=" + input_value(order="alg created nonce keyid"))
    for name, value in (("created", str(BEGIN + 1)), ("nonce", f'"{BEGIN}123457"'),
                        ("keyid", f'"{ADDRESS.replace(CLIENT, named("other"))}"')):
        case(f"{name} is not the signed one", "verification", get(),
             signature_input="countersign=" + input_value(**{name: value}))
    case("a digest that was not signed", "verification", post(), content_digest=content_digest(b"other"))
    case("a body that was changed", "content-digest", dict(post(), body_base64=encoded(b"other")))
    case("the digest of another algorithm", "content-digest", post(),
         content_digest=f"sha-512=:{encoded(hashlib.sha512(body).digest())}:")
    case("two digests", "content-digest", post(), content_digest=content_digest(body) + ", " + content_digest(body))
    case("a body whose digest is not covered", "coverage", request("POST", target, body, COMPONENTS)[0])
    uncovered = post()
    uncovered["body_base64"] = None
    case("a digest covered, but no body and no digest", "coverage", uncovered, content_digest=None)

    for why, text in (
        ("no created", input_value("nonce keyid alg")),
        ("no nonce", input_value("created keyid alg")),
        ("no keyid", input_value("created nonce alg")),
        ("no alg", input_value("created nonce keyid")),
        ("another algorithm", input_value(alg='"hmac-sha512"')),
        ("alg in upper case", input_value(alg='"HMAC-SHA256"')),
        ("alg is a token", input_value(alg="hmac-sha256")),
        ("an unknown parameter", input_value() + ';tag="x"'),
        ("expires", input_value() + f";expires={BEGIN + 60}"),
        ("created is a string", input_value(created=f'"{BEGIN}"')),
        ("created has a fraction", input_value(created=f"{BEGIN}.5")),
        ("created is negative", input_value(created="-1")),
        ("created is a date", input_value(created=f"@{BEGIN}")),
        ("nonce is a number", input_value(nonce=f"{BEGIN}12345")),
        ("nonce with a leading zero", input_value(nonce=f'"0{NONCE}"')),
        ("nonce is not decimal", input_value(nonce='"5d41402abc4b2a76"')),
        ("keyid in upper case", input_value(keyid=f'"{ADDRESS.upper()}"')),
        ("keyid without client", input_value(keyid=f'"{ORGANIZATION}#{named("alice")}"')),
        ("keyid with a fourth part", input_value(keyid=f'"{ADDRESS}#{CLIENT}"')),
        ("no components", input_value(components=())),
        ("without @query", input_value(components=COMPONENTS[:2])),
        ("another order of components", input_value(components=("@path", "@method", "@query"))),
        ("@authority too", input_value(components=COMPONENTS + ("@authority",))),
        ("@method twice", input_value(components=("@method",) + COMPONENTS)),
        ("a component with a parameter", input_value().replace('"@query"', '"@query";req')),
        ("components as tokens", input_value().replace('"', "", 2)),
    ):
        value = signed_input(input_value())
        value["headers"]["Signature-Input"] = "countersign=" + text
        case(why, "signature-input", value)
    good = get()["headers"]["Signature-Input"]
    for why, text in (("another label", good.replace("countersign=", "sig1=", 1)),
                      ("a second signature", good + ", sig1=()"),
                      ("empty", ""), ("cut off", good[:-1]), ("no list", "countersign"),
                      ("an item", 'countersign="@method"'), ("not ASCII", good + ";x=\"\u00e9\"")):
        case(why, "signature-input", get(), signature_input=text)
    good = get()["headers"]["Signature"]
    for why, text in (("another label", good.replace("countersign=", "sig1=", 1)),
                      ("a second signature", good + ", sig1=:AA==:"),
                      ("31 bytes", f"countersign=:{encoded(bytes(31))}:"),
                      ("33 bytes", f"countersign=:{encoded(bytes(33))}:"),
                      ("a string", f'countersign="{encoded(bytes(32))}"'),
                      ("a parameter", good + ";x"), ("a list", good.replace("=:", "=(:", 1) + ")"),
                      ("empty", ""), ("not base64", "countersign=:*:")):
        case(why, "signature", get(), signature=text)
    return {"requests": cases}


def message_id(label, organization, user, time_ms, rest):
    time = time_ms.to_bytes(6, "big")
    digest = hashlib.sha256(label + bytes.fromhex((organization + user).replace("-", "")) + time + rest).digest()
    value = bytearray(time + digest[:10])
    value[6] = value[6] & 0x0F | 0x80
    value[8] = value[8] & 0x3F | 0x80
    text = value.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def receipts(home, people):
    cases, refused = [], []
    for number, who in enumerate(("alice", "bob", "carol")):
        sender, recipient, content = named("dave"), named(who), bytes(range(number * 50))
        time = BEGIN * 1000 + 7
        rest = bytes.fromhex(recipient.replace("-", "")) + hashlib.sha256(content).digest()
        message = message_id(b"countersign 1 message\n", ORGANIZATION, sender, time, rest)
        text = f"countersign 1 receipt\n{ORGANIZATION}\n{sender}\n{recipient}\n{message}\n{sha256(content)}\n"
        signature = home.sign_binary(BEGIN + 1, people[who].signer, text.encode())
        rest = bytes.fromhex(message.replace("-", "")) + hashlib.sha256(signature).digest()
        case = {
            "organization": ORGANIZATION, "sender": sender, "recipient": recipient, "message_time_ms": time,
            "content_base64": encoded(content), "message": message, "text": text,
            "certificate": people[who].certificate, "signature_base64": encoded(signature),
            "signed_at": BEGIN + 1, "receipt_time_ms": time + 1000,
            "receipt": message_id(b"countersign 1 receipt\n", ORGANIZATION, recipient, time + 1000, rest),
        }
        cases.append(case)
        refused += [
            {"why": "another content", **case, "text": text.replace(sha256(content), sha256(b"other"))},
            {"why": "another recipient's certificate", **case, "certificate": people["erin"].certificate},
            {"why": "no line feed at the end", **case, "text": text[:-1]},
        ]
    return {"receipts": cases, "refused": refused}


def password_text(user, nonce, client=CLIENT):
    return f"countersign 1 password\n{ORGANIZATION}\n{user}\n{client}\n{nonce}\n"


def password_signatures(home, people):
    good, refused = [], []

    def case(cases, why, who, text=None, at=BEGIN, certificate=None, signed=None, **options):
        text = text or password_text(named(who), NONCE)
        signature = options.get("signature") or home.sign_binary(
            at, people[who].signer, (signed or text).encode(), *options.get("gpg", ()))
        cases.append({
            "why": why, "organization": ORGANIZATION, "user": named(who), "client": CLIENT, "nonce": NONCE,
            "text": text, "certificate": people[certificate or who].certificate,
            "signature_base64": encoded(signature), "at": BEGIN,
        })

    for who in ("alice", "bob", "carol", "expires-tomorrow", "nistp256"):
        case(good, f"signed by {who}", who)
    case(refused, "another user's signature", "alice", certificate="erin")
    for why, text in (("another client", password_text(named("alice"), NONCE, named("other"))),
                      ("another nonce", password_text(named("alice"), f"{BEGIN}123457")),
                      ("without the last line feed", password_text(named("alice"), NONCE)[:-1]),
                      ("carriage returns", password_text(named("alice"), NONCE).replace("\n", "\r\n"))):
        case(refused, why, "alice", signed=text)
    case(refused, "text mode", "alice", gpg=("--textmode",))
    case(refused, "an expired certificate", "expired", at=BEGIN - 10 * DAY + 60)
    case(refused, "a compromised certificate", "compromised-later")
    case(refused, "armored", "alice", signature=home.sign(
        BEGIN, people["alice"].signer, password_text(named("alice"), NONCE).encode()).encode())
    text = password_text(named("alice"), NONCE).encode()
    twice = home.sign_binary(BEGIN, people["alice"].signer, text) * 2
    case(refused, "two packets", "alice", signature=twice)
    return {"accepted": good, "refused": refused}


def authorizations(home, people):
    text = password_text(named("alice"), NONCE)
    signature = encoded(home.sign_binary(BEGIN, people["alice"].signer, text.encode()))
    valid = [
        f'OpenPGP nonce="{NONCE}", signature="{signature}"',
        f'openpgp nonce="{NONCE}", signature="{signature}"',
        f'OpenPGP signature="{signature}", nonce="{NONCE}"',
        f'OpenPGP nonce="{NONCE}",signature="{signature}"',
        f'OpenPGP  Nonce = "{NONCE}" , SIGNATURE="{signature}" ',
    ]
    invalid = [
        ("nothing", ""), ("another scheme", "Bearer " + signature), ("only the scheme", "OpenPGP"),
        ("no signature", f'OpenPGP nonce="{NONCE}"'), ("no nonce", f'OpenPGP signature="{signature}"'),
        ("the nonce twice", valid[0] + f', nonce="{NONCE}"'), ("unknown parameter", valid[0] + ', realm="x"'),
        ("without quotes", f"OpenPGP nonce={NONCE}, signature={signature}"),
        ("not base64", f'OpenPGP nonce="{NONCE}", signature="*"'),
        ("without padding", f'OpenPGP nonce="{NONCE}", signature="aGVsbG8"'),
        ("base64 of URLs", f'OpenPGP nonce="{NONCE}", signature="-_-_"'),
        ("nonce with a leading zero", f'OpenPGP nonce="0{NONCE}", signature="{signature}"'),
        ("empty nonce", f'OpenPGP nonce="", signature="{signature}"'),
        ("no comma", valid[0].replace(",", "")), ("a comma at the end", valid[0] + ","),
    ]
    return {
        "nonce": NONCE, "signature_base64": signature, "valid": valid,
        "invalid": [{"why": why, "header": header} for why, header in invalid],
    }


def identifiers():
    uuid = named("alice")
    message = message_id(b"countersign 1 message\n", ORGANIZATION, uuid, BEGIN * 1000, bytes(32))

    def refused(*cases):
        return [{"why": why, "text": text} for why, text in cases]

    spellings = [("upper case", str.upper), ("no hyphens", lambda text: text.replace("-", "")),
                 ("braces", lambda text: "{" + text + "}"), ("a URN", lambda text: "urn:uuid:" + text),
                 ("white space before", lambda text: " " + text), ("white space after", lambda text: text + "\n"),
                 ("too short", lambda text: text[:-1]), ("too long", lambda text: text + "0"),
                 ("another letter", lambda text: "g" + text[1:]),
                 ("hyphens elsewhere", lambda text: text[:7] + "-" + text[7] + text[9:]),
                 ("full-width digits", lambda text: "\uff11" + text[1:]), ("nothing", lambda _: "")]
    other = named("other")
    version_8 = message[:14] + "8" + message[15:]
    return {
        "ids": {
            "valid": [uuid, other, "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff",
                      "01890a5d-ac96-774b-bcce-b302099a8057", message],
            "invalid": refused(*((why, change(uuid)) for why, change in spellings)),
        },
        "message_ids": {
            "valid": [
                {"text": message, "time_ms": BEGIN * 1000},
                {"text": "00000000-0000-8000-8000-000000000000", "time_ms": 0},
                {"text": "ffffffff-ffff-8fff-bfff-ffffffffffff", "time_ms": 2**48 - 1},
            ],
            "invalid": refused(
                *((why, change(message)) for why, change in spellings),
                *((f"version {version}", message[:14] + version + message[15:]) for version in "01234567"),
                *((f"variant {variant}", version_8[:19] + variant + version_8[20:]) for variant in "07cdef")),
        },
        "client_addresses": {
            "valid": [{"text": ADDRESS, "organization": ORGANIZATION, "user": uuid, "client": CLIENT}],
            "invalid": refused(
                ("two parts", f"{ORGANIZATION}#{uuid}"), ("four parts", f"{ADDRESS}#{CLIENT}"),
                ("another separator", ADDRESS.replace("#", "/")), ("an empty part", f"{ORGANIZATION}##{CLIENT}"),
                ("a # at the end", ADDRESS + "#"), ("upper case", ADDRESS.upper()), ("nothing", "")),
        },
    }


def nonces():
    invalid = [("nothing", ""), ("a leading zero", "01"), ("two zeros", "00"), ("a sign", "+1"), ("negative", "-1"),
               ("white space", " 1"), ("a fraction", "1.0"), ("an exponent", "1e6"), ("hexadecimal", "0x1"),
               ("separators", "1_000"), ("other digits", "\u0661"), ("beyond 64 bits", str(2**64))]
    return {
        "valid": ["0", "1", NONCE, str(2**64 - 1)],
        "invalid": [{"why": why, "text": text} for why, text in invalid],
        "next": [
            {"now_us": 1000, "last": None, "next": "1000"}, {"now_us": 1000, "last": "999", "next": "1000"},
            {"now_us": 1000, "last": "1000", "next": "1001"}, {"now_us": 1000, "last": "2000", "next": "2001"},
        ],
        "window": [
            {"nonce": str(BEGIN * 1_000_000 + offset), "now_us": BEGIN * 1_000_000, "window_s": 30, "within": within}
            for offset, within in ((0, True), (30_000_000, True), (-30_000_000, True), (30_000_001, False),
                                   (-30_000_001, False))
        ],
    }


def times():
    begin = BEGIN * 1_000_000
    valid = {
        "1970-01-01T00:00:00Z": 0, "2026-11-23T05:30:01Z": begin, "2026-11-23T05:30:01.5Z": begin + 500_000,
        "2026-11-23T05:30:01.000001Z": begin + 1, "2026-11-23T05:30:01+00:00": begin,
        "2026-11-23T00:30:01-05:00": begin, "2026-11-23T11:15:01.25+05:45": begin + 250_000,
        "2024-02-29T00:00:00Z": 1709164800 * 1_000_000, "2106-02-07T06:28:15Z": (2**32 - 1) * 1_000_000,
    }
    invalid = [
        "", "2026-11-23", "2026-11-23T05:30Z", "2026-11-23T05:30:01", "2026-11-23 05:30:01Z", "2026-11-23t05:30:01Z",
        "2026-11-23T05:30:01z", "2026-11-23T05:30:01.Z", "2026-11-23T05:30:01,5Z", "2026-11-23T05:30:01+0000",
        "2026-11-23T05:30:01+00", "2026-11-23T05:30:01+00:00:00", "2026-11-23T053001.000Z", "20261123T05:30:01.00Z",
        "2026-11-23T24:00:00Z", "2026-11-23T05:60:01Z", "2026-13-01T05:30:01Z", "2025-02-29T00:00:00Z",
        "2026-11-23T05:30:01Z ", " 2026-11-23T05:30:01Z", "2026-11-23T05:30:01Z[UTC]", "+002026-11-23T05:30:01Z",
        "1969-12-31T23:59:59Z", "1969-12-31T23:59:59.9999999Z", "2106-02-07T06:28:16Z", "1795411801",
        "2026-11-23T5:30:01.00Z", "2026-11-23T05:30:01+24:00", "2026-11-23T05:30:01.5",
    ]
    return {"valid": [{"text": text, "time_us": micros} for text, micros in valid.items()], "invalid": invalid}


def digests():
    bodies = [b"", b"hello", bytes(range(256)) * 5]
    good = content_digest(b"hello")
    raw = encoded(hashlib.sha256(b"hello").digest())
    invalid = [
        ("nothing", ""), ("without colons", f"sha-256={raw}"), ("another algorithm", good.replace("256", "512")),
        ("upper case", good.replace("sha", "SHA")), ("two", f"{good}, {good}"), ("a parameter", good + ";x=1"),
        ("hexadecimal", f"sha-256=:{sha256(b'hello')}:"), ("31 bytes", f"sha-256=:{encoded(bytes(31))}:"),
        ("33 bytes", f"sha-256=:{encoded(bytes(33))}:"), ("no padding", good.replace("=:", ":", 2).replace("sha-256:", "sha-256=:")),
        ("base64 of URLs", "sha-256=:" + raw.replace("+", "-").replace("/", "_") + ":"),
        ("bits after the end", "sha-256=:" + raw[:-2] + chr(ord(raw[-2]) + 1) + "=:"),
    ]
    hexadecimal = sha256(b"hello")
    return {
        "content_digests": [{"body_base64": encoded(body), "header": content_digest(body), "sha256": sha256(body)}
                            for body in bodies],
        "invalid_content_digests": [{"why": why, "header": header} for why, header in invalid],
        "invalid_sha256": [
            {"why": why, "text": text} for why, text in (
                ("upper case", hexadecimal.upper()), ("too short", hexadecimal[:-1]), ("a byte short", hexadecimal[:-2]),
                ("too long", hexadecimal + "00"), ("base64", raw), ("nothing", ""), ("a prefix", "0x" + hexadecimal[2:]))
        ],
    }

#!/usr/bin/env python3
"""Makes the golden vectors of this folder that its README calls ours.

    cd protocol/vectors && python3 make.py

Needs Python 3.9 and GnuPG 2.2, nothing else. It shares no code with the Rust crate: signatures come from GnuPG, HMACs,
hashes and signature bases from Python's standard library, so that the two check each other. Every run makes new keys and
so other bytes; the tests read only the committed JSON.
"""

import json
import pathlib
import sys

FOLDER = pathlib.Path(__file__).parent
sys.path.insert(0, str(FOLDER / "generator"))
sys.dont_write_bytecode = True

import certificates  # noqa: E402
import gnupg  # noqa: E402
import logs  # noqa: E402
import requests_and_texts  # noqa: E402
import statements  # noqa: E402


def main():
    with gnupg.Home() as home:
        people = certificates.make_people(home)
        files = {
            "certificates.json": certificates.vectors(people),
            "logs.json": logs.vectors(home, people),
            "statements.json": statements.vectors(people),
            "receipts.json": requests_and_texts.receipts(home, people),
            "authorizations.json": requests_and_texts.authorizations(home, people),
            "password-signatures.json": requests_and_texts.password_signatures(home, people),
            "signature-bases.json": requests_and_texts.signature_bases(),
            "refused-requests.json": requests_and_texts.refused_requests(),
            "identifiers.json": requests_and_texts.identifiers(),
            "nonces.json": requests_and_texts.nonces(),
            "times.json": requests_and_texts.times(),
            "digests.json": requests_and_texts.digests(),
        }
    for name, value in files.items():
        (FOLDER / name).write_text(json.dumps(value, indent=1, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    main()

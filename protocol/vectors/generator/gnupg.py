"""A throw-away GnuPG 2.2 home whose clock stands wherever a case wants it."""

import base64
import os
import shutil
import subprocess
import tempfile
import time


def compact(seconds):
    """GnuPG's own spelling of a time, with the `!` that keeps the clock from running on."""
    return time.strftime("%Y%m%dT%H%M%S!", time.gmtime(seconds))


class Home:
    """One keyring. Use it in a `with`: it is deleted afterwards, and so are all secret keys."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="vectors-")
        os.chmod(self.path, 0o700)
        return self

    def __exit__(self, *_):
        subprocess.run(["gpgconf", "--homedir", self.path, "--kill", "all"], check=False)
        shutil.rmtree(self.path, ignore_errors=True)

    def gpg(self, at, *arguments, stdin=b"", batch=True):
        command = ["gpg", "--homedir", self.path, "--quiet", "--yes", "--no-tty", "--no-auto-check-trustdb"]
        command += ["--pinentry-mode", "loopback", "--passphrase", "", "--faked-system-time", compact(at)]
        command += ["--ignore-time-conflict", "--ignore-valid-from", "--no-emit-version", "--no-comments"]
        command += ["--trust-model", "always"] + (["--batch"] if batch else []) + list(arguments)
        done = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{command}\n{done.stderr.decode()}")
        return done.stdout

    def make(self, at, name, primary="ed25519", usage="sign", subkeys=("cv25519 encr",), expire="never"):
        """Makes a certificate and returns its fingerprint; a subkey is `<algorithm> <usage> [<expire>]`."""
        self.gpg(at, "--quick-generate-key", f"{name} <{name}@example.org>", primary, usage, expire)
        listing = self.gpg(at, "--with-colons", "--list-keys", f"<{name}@example.org>").decode()
        fingerprint = next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr"))
        for subkey in subkeys:
            self.gpg(at, "--quick-add-key", fingerprint, *(subkey.split() + ["never"])[:3])
        return fingerprint

    def subkeys(self, at, fingerprint):
        """Fingerprints of the primary key and the subkeys, in their order."""
        listing = self.gpg(at, "--with-colons", "--list-keys", fingerprint).decode()
        return [line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr")]

    def public(self, at, fingerprint):
        return self.gpg(at, "--armor", "--export", fingerprint).decode()

    def secret(self, at, fingerprint):
        return self.gpg(at, "--armor", "--export-secret-keys", fingerprint).decode()

    def revoked(self, at, fingerprint, reason):
        """The certificate with a revocation: 1 is compromised (hard), 2 superseded and 3 no longer used (soft).

        The keyring forgets the revocation, since GnuPG refuses to sign with a revoked key even where the faked clock
        stands before its revocation.
        """
        secret = self.gpg(at, "--export-secret-keys", fingerprint)
        answers = f"y\n{reason}\n\ny\n".encode()
        revocation = self.gpg(at, "--command-fd", "0", "--gen-revoke", fingerprint, stdin=answers, batch=False)
        self.gpg(at, "--import", stdin=revocation)
        return self._export_and_restore(at, fingerprint, secret)

    def revoked_subkey(self, at, fingerprint, number, reason):
        """The certificate with a revocation of its subkey of that number."""
        secret = self.gpg(at, "--export-secret-keys", fingerprint)
        answers = f"key {number}\nrevkey\ny\n{reason}\n\ny\nsave\n".encode()
        self.gpg(at, "--command-fd", "0", "--edit-key", fingerprint, stdin=answers, batch=False)
        return self._export_and_restore(at, fingerprint, secret)

    def _export_and_restore(self, at, fingerprint, secret):
        certificate = self.public(at, fingerprint)
        self.gpg(at, "--delete-secret-and-public-key", fingerprint)
        self.gpg(at, "--import", stdin=secret)
        return certificate

    def sign(self, at, key, data, *options):
        """An armored detached signature; `key` may name a subkey with a `!` after it."""
        return self.gpg(at, *options, "--local-user", key, "--armor", "--detach-sign", stdin=data).decode()

    def sign_binary(self, at, key, data, *options):
        return self.gpg(at, *options, "--local-user", key, "--detach-sign", stdin=data)

    def clear_sign(self, at, key, data):
        return self.gpg(at, "--local-user", key, "--clear-sign", stdin=data).decode()


def dearmor(armored):
    """The packets inside an armor."""
    body = armored.split("\n\n", 1)[1].split("\n=", 1)[0]
    return base64.b64decode(body)


def armor(kind, packets):
    """An armor without a checksum (RFC 9580 says to leave it out)."""
    text = base64.b64encode(packets).decode()
    lines = "\n".join(text[start:start + 64] for start in range(0, len(text), 64))
    return f"-----BEGIN PGP {kind}-----\n\n{lines}\n-----END PGP {kind}-----\n"

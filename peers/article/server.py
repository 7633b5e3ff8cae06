"""The article's server, rebuilt as a baseline to measure against. Not a part of Countersign.

Owns: the article's protocol as far as it is known. Users have a session key, which they fetch encrypted to their
OpenPGP certificate; every other request is signed with it by HMAC, under a nonce that is strictly greater than the one
before. Session keys and nonces are in Valkey, users and messages in MariaDB. "What is new" is `time > since`, where
`time` is the clock's when the request was handled: that is the design's fault which the measurement shows, and it is
left as it is.

Leaves out what is not measured: the two-man rule (users are put in place at set-up), and changes of users.

Each thread keeps one connection to each server, and each statement is a transaction of its own.
"""

import hashlib
import hmac
import os
import secrets
import sys
import threading
import time
import uuid
from pathlib import Path

import pymysql
import pysequoia
import valkey
from flask import Flask, Response, abort, jsonify, request

SESSION_SECONDS = 24 * 60 * 60
PAGE = 100

# Takes a nonce if it is greater than the last one. One step for Valkey, so that no two requests pass with one nonce.
TAKE_NONCE = """
local last = redis.call('GET', KEYS[1])
if last and tonumber(ARGV[1]) <= tonumber(last) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""

app = Flask(__name__)
memory = valkey.Valkey(port=int(os.environ["ARTICLE_VALKEY_PORT"]))
take_nonce = memory.register_script(TAKE_NONCE)
of_thread = threading.local()


def connect() -> pymysql.Connection:
    """Opens a connection, on which each statement commits by itself."""
    return pymysql.connect(unix_socket=os.environ["ARTICLE_DATABASE"], user="root", database="article", autocommit=True)


def query(statement: str, arguments: tuple) -> list[tuple]:
    """Runs a statement on this thread's connection, and returns its rows."""
    with of_thread.connection.cursor() as cursor:
        cursor.execute(statement, arguments)
        return list(cursor.fetchall())


@app.before_request
def have_connection() -> None:
    """Opens this thread's connection, before the request takes its time: opening it would take most of that."""
    if not hasattr(of_thread, "connection"):
        of_thread.connection = connect()


def session_name(organization: uuid.UUID, user: uuid.UUID) -> str:
    """Returns the name of a user's session key in Valkey."""
    return f"session:{organization}:{user}"


def authenticate(organization: uuid.UUID, user: uuid.UUID) -> None:
    """Ends the request unless the user has signed it, under a nonce that was never used."""
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    nonce, _, signature = credentials.partition(" ")
    if scheme != "Session" or not nonce.isdecimal():
        abort(401)
    key = memory.get(session_name(organization, user))
    if key is None:
        abort(401)
    digest = hashlib.sha256(request.get_data()).hexdigest()
    target = request.full_path.rstrip("?")
    signed = f"{request.method}\n{target}\n{nonce}\n{digest}".encode()
    expected = hmac.new(key, signed, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, signature):
        abort(401)
    if not take_nonce(keys=[f"nonce:{organization}:{user}"], args=[nonce, SESSION_SECONDS]):
        abort(409)


@app.post("/<uuid:organization>/<uuid:user>")
def add_user(organization: uuid.UUID, user: uuid.UUID) -> tuple[str, int]:
    """Puts a user in place, by the secret of whoever sets this server up. The body is the certificate."""
    given = request.headers.get("Authorization", "")
    if not hmac.compare_digest(given, f"Bearer {os.environ['ARTICLE_SETUP_SECRET']}"):
        abort(401)
    query(
        "INSERT INTO user (organization, id, certificate) VALUES (%s, %s, %s)",
        (organization.bytes, user.bytes, request.get_data(as_text=True)),
    )
    return "", 201


@app.get("/<uuid:organization>/<uuid:user>/password")
def password(organization: uuid.UUID, user: uuid.UUID) -> Response:
    """Answers with the user's session key, which only the user can read."""
    rows = query("SELECT certificate FROM user WHERE organization = %s AND id = %s", (organization.bytes, user.bytes))
    if not rows:
        abort(404)
    name = session_name(organization, user)
    # Whoever asks gets the key that there is: a stranger who asks ends nobody's session.
    memory.set(name, secrets.token_bytes(32), nx=True, ex=SESSION_SECONDS)
    certificate = pysequoia.Cert.from_bytes(rows[0][0].encode())
    encrypted = pysequoia.encrypt(recipients=[certificate], bytes=memory.get(name))
    return Response(encrypted, mimetype="application/pgp-encrypted")


@app.post("/<uuid:organization>/<uuid:user>/message")
def send(organization: uuid.UUID, user: uuid.UUID) -> tuple[Response, int]:
    """Keeps a message for a user."""
    authenticate(organization, user)
    recipient = uuid.UUID(request.args["to"])
    message = uuid.uuid4()
    now = time.time_ns() // 1000
    query(
        "INSERT INTO message (organization, id, sender, recipient, time, content) VALUES (%s, %s, %s, %s, %s, %s)",
        (organization.bytes, message.bytes, user.bytes, recipient.bytes, now, request.get_data()),
    )
    return jsonify(id=str(message), time=now), 201


@app.get("/<uuid:organization>/<uuid:user>/message")
def check(organization: uuid.UUID, user: uuid.UUID) -> Response:
    """Lists what is new for a user: what has a later time than the last one that the user knows."""
    authenticate(organization, user)
    rows = query(
        "SELECT id, sender, time FROM message WHERE organization = %s AND recipient = %s AND time > %s"
        " ORDER BY time LIMIT %s",
        (organization.bytes, user.bytes, int(request.args["since"]), PAGE),
    )
    listed = [
        {"id": str(uuid.UUID(bytes=message)), "from": str(uuid.UUID(bytes=sender)), "time": at}
        for message, sender, at in rows
    ]
    return jsonify(messages=listed)


@app.get("/<uuid:organization>/<uuid:user>/message/<uuid:message>")
def fetch(organization: uuid.UUID, user: uuid.UUID, message: uuid.UUID) -> Response:
    """Answers with a message's content."""
    authenticate(organization, user)
    rows = query(
        "SELECT content FROM message WHERE organization = %s AND id = %s AND recipient = %s",
        (organization.bytes, message.bytes, user.bytes),
    )
    if not rows:
        abort(404)
    return Response(rows[0][0], mimetype="application/octet-stream")


@app.put("/<uuid:organization>/<uuid:user>/message/<uuid:message>")
def acknowledge(organization: uuid.UUID, user: uuid.UUID, message: uuid.UUID) -> tuple[str, int]:
    """Notes that the user holds a message."""
    authenticate(organization, user)
    query(
        "UPDATE message SET acknowledged = TRUE WHERE organization = %s AND id = %s AND recipient = %s",
        (organization.bytes, message.bytes, user.bytes),
    )
    return "", 204


def create_tables(files: list[str]) -> None:
    """Creates the database, and in it what the files say."""
    connection = pymysql.connect(unix_socket=os.environ["ARTICLE_DATABASE"], user="root", autocommit=True)
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE article")
        cursor.execute("USE article")
        for file in files:
            for statement in Path(file).read_text().split(";"):
                if statement.strip():
                    cursor.execute(statement)


if __name__ == "__main__":
    create_tables(sys.argv[1:])

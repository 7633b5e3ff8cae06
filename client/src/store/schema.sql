-- The store of one profile. Times are Unix microseconds; identifiers and digests are their raw bytes.

CREATE TABLE setting (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The session of this client, and the nonces that it used. One row.
CREATE TABLE session (
    only           INTEGER PRIMARY KEY CHECK (only = 1),
    key            BLOB,
    expires        INTEGER NOT NULL DEFAULT 0,
    nonce          INTEGER NOT NULL DEFAULT 0,
    password_nonce INTEGER NOT NULL DEFAULT 0,
    clock_offset   INTEGER NOT NULL DEFAULT 0 -- what to add to this machine's clock to get the server's
) STRICT;
INSERT INTO session (only) VALUES (1);

-- The organization's log as this client verified it.
CREATE TABLE log_entry (
    sequence   INTEGER PRIMARY KEY,
    hash       BLOB NOT NULL,
    statement  TEXT NOT NULL,
    signatures TEXT NOT NULL -- a JSON list
) STRICT;

-- What people wrote each other: a text, or a file however many parts it travelled in.
CREATE TABLE message (
    number       INTEGER PRIMARY KEY AUTOINCREMENT,
    sender       BLOB NOT NULL,
    name         BLOB NOT NULL, -- the sender's name for it, from the envelope
    conversation BLOB NOT NULL,
    recipients   TEXT NOT NULL, -- a JSON list
    time         INTEGER NOT NULL,
    content_type TEXT NOT NULL,
    file_name    TEXT,
    size         INTEGER NOT NULL,
    parts        INTEGER NOT NULL,
    sha256       BLOB, -- of the whole, where there are several parts
    outgoing     INTEGER NOT NULL,
    state        TEXT NOT NULL,
    note         TEXT,
    seen         INTEGER NOT NULL DEFAULT 0,
    stored       INTEGER NOT NULL,
    UNIQUE (sender, name)
) STRICT;
CREATE INDEX message_of_conversation ON message (conversation, time);

-- What travelled: one ciphertext each.
CREATE TABLE part (
    message           INTEGER NOT NULL REFERENCES message ON DELETE CASCADE,
    part              INTEGER NOT NULL,
    sender            BLOB NOT NULL,
    ciphertext_sha256 BLOB NOT NULL,
    ciphertext        BLOB, -- until it is sent or opened
    content           BLOB, -- once it is opened
    sent              INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (message, part),
    UNIQUE (sender, ciphertext_sha256)
) STRICT;

-- The ids under which a part travelled. One that was sent again later has several. What the server still lists and has
-- its id here is confirmed again: no need to remember whether it was.
CREATE TABLE wire (
    id      BLOB PRIMARY KEY,
    message INTEGER NOT NULL REFERENCES message ON DELETE CASCADE,
    part    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX wire_of_part ON wire (message, part);

-- Receipts of others, for what this user sent.
CREATE TABLE receipt (
    id        BLOB PRIMARY KEY,
    of        BLOB NOT NULL,
    recipient BLOB NOT NULL,
    signature BLOB NOT NULL,
    state     TEXT NOT NULL, -- good, pending (for a message that is not known here yet), bad
    stored    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX receipt_of ON receipt (of);

-- Receipts that this user owes.
CREATE TABLE acknowledgement (
    of        BLOB PRIMARY KEY,
    sender    BLOB NOT NULL,
    sha256    BLOB NOT NULL,
    signature BLOB,
    id        BLOB,
    state     TEXT NOT NULL -- due, sent
) STRICT, WITHOUT ROWID;

-- What a server did that it must not do.
CREATE TABLE evidence (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    time    INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    summary TEXT NOT NULL,
    details TEXT NOT NULL, -- a JSON list of lines
    request TEXT NOT NULL,
    raw     BLOB NOT NULL,
    digest  BLOB NOT NULL UNIQUE
) STRICT;

-- Ids whose content did not fit. The server is asked for it again.
CREATE TABLE refused (
    id BLOB PRIMARY KEY
) STRICT, WITHOUT ROWID;

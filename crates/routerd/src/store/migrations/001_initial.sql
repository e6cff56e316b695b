-- Every configuration that was ever tried. The last verified one is booted from.
CREATE TABLE generations (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    state      TEXT NOT NULL CHECK (state IN ('pending', 'verified', 'reverted', 'failed')),
    digest     TEXT NOT NULL,      -- SHA-256 over the files' texts, hexadecimal
    config     TEXT NOT NULL,      -- JSON of api::control::Config, inline keys replaced by references
    created_at INTEGER NOT NULL,   -- milliseconds since the epoch
    settled_at INTEGER,
    message    TEXT                -- why it did not become verified
) STRICT;

-- What routerd changed on the host, one row an entry of a section of routerd_core::Ledger.
CREATE TABLE ledger (
    section TEXT NOT NULL,
    entry   TEXT NOT NULL,         -- JSON
    PRIMARY KEY (section, entry)
) STRICT, WITHOUT ROWID;

-- How often a captured address was taken off the operating system again, by claim.
CREATE TABLE removals (
    kind    TEXT NOT NULL,
    name    TEXT NOT NULL,
    count   INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

-- What happened, for people; the oldest rows go.
CREATE TABLE events (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    at   INTEGER NOT NULL,
    kind TEXT NOT NULL,
    text TEXT NOT NULL
) STRICT;

-- Observed facts, ours and those of other nodes.
CREATE TABLE federation_events (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of arrival here
    grp        TEXT NOT NULL,                     -- EventGroup
    id         TEXT NOT NULL,
    source     TEXT NOT NULL,                     -- the node that observed it
    type       TEXT NOT NULL,
    subject    TEXT NOT NULL,
    event      TEXT NOT NULL,                     -- JSON of api::event::Event
    digest     BLOB NOT NULL,                     -- SHA-256, tells two events under one id apart
    stored_at  INTEGER NOT NULL,                  -- milliseconds since the epoch
    expires_at INTEGER NOT NULL,
    UNIQUE (grp, id)
) STRICT;

-- For retention by age.
CREATE INDEX federation_events_age ON federation_events (grp, stored_at);

-- Messages that were taken, until the same message would be refused for its time.
CREATE TABLE federation_nonces (
    grp    TEXT NOT NULL,
    sender TEXT NOT NULL,
    nonce  TEXT NOT NULL,
    until  INTEGER NOT NULL,
    PRIMARY KEY (grp, sender, nonce)
) STRICT, WITHOUT ROWID;

CREATE INDEX federation_nonces_until ON federation_nonces (until);

-- Who reads the events in their order, and how far: a peer's outbox, or a subscription.
CREATE TABLE federation_readers (
    kind         TEXT NOT NULL CHECK (kind IN ('peer', 'subscription')),
    name         TEXT NOT NULL,
    matcher      TEXT NOT NULL,               -- what it reads; another matcher starts over
    seq          INTEGER NOT NULL DEFAULT 0,  -- the last event that was looked at
    failures     INTEGER NOT NULL DEFAULT 0,  -- attempts in a row that failed
    not_before   INTEGER NOT NULL DEFAULT 0,
    attempted_at INTEGER,
    succeeded_at INTEGER,
    error        TEXT,                        -- of the last attempt
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

-- What goes to which peer, and what became of it.
CREATE TABLE federation_deliveries (
    seq        INTEGER NOT NULL REFERENCES federation_events (seq) ON DELETE CASCADE,
    peer       TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'refused', 'dead')),
    settled_at INTEGER,
    detail     TEXT,
    PRIMARY KEY (seq, peer)
) STRICT, WITHOUT ROWID;

CREATE INDEX federation_deliveries_pending ON federation_deliveries (peer, seq) WHERE state = 'pending';

-- Which event is for which subscription. A row outlives its event, until the event could not come again.
CREATE TABLE federation_work (
    subscription TEXT NOT NULL,
    grp          TEXT NOT NULL,
    id           TEXT NOT NULL,
    seq          INTEGER NOT NULL,
    stored_at    INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('pending', 'running', 'succeeded', 'expired')),
    run          INTEGER,
    attempts     INTEGER NOT NULL DEFAULT 0,
    not_before   INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (subscription, grp, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX federation_work_open ON federation_work (subscription, seq) WHERE state = 'pending';
CREATE INDEX federation_work_run ON federation_work (run) WHERE state = 'running';
CREATE INDEX federation_work_done ON federation_work (expires_at);

-- Runs of plugins for events; the oldest rows go.
CREATE TABLE federation_runs (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    subscription TEXT NOT NULL,
    plugin       TEXT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('running', 'succeeded', 'failed', 'interrupted')),
    events       INTEGER NOT NULL,
    began_at     INTEGER NOT NULL,
    ended_at     INTEGER,
    error        TEXT
) STRICT;

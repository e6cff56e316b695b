-- What plugins said, by source. Of each source the newest generations are kept.
CREATE TABLE dynamic_parts (
    source     TEXT NOT NULL,
    generation INTEGER NOT NULL,
    part       TEXT NOT NULL,   -- JSON of routerd_core::dynamic::Part
    gone_at    INTEGER,         -- milliseconds since the epoch; from then on it counts no more
    PRIMARY KEY (source, generation)
) STRICT, WITHOUT ROWID;

CREATE INDEX dynamic_parts_gone ON dynamic_parts (gone_at);

-- How the sources that run by themselves ran last, so that a restart makes none of them run too early.
CREATE TABLE dynamic_runs (
    source   TEXT PRIMARY KEY,
    began_at INTEGER NOT NULL,  -- milliseconds since the epoch
    failures INTEGER NOT NULL,  -- runs in a row that failed
    message  TEXT               -- why the last one failed
) STRICT, WITHOUT ROWID;

-- Whether a fact about a subject is over.
CREATE INDEX federation_events_subject ON federation_events (grp, subject, type);

-- What was done to clouds: one row a transition of an action, each with the hash of the row before.
-- Rows are only ever added, one after the other; an edited, deleted or moved one shows in the chain.
CREATE TABLE action_journal (
    seq      INTEGER PRIMARY KEY,
    at       TEXT NOT NULL,         -- RFC 3339
    action   INTEGER NOT NULL,
    event    TEXT NOT NULL,         -- canonical JSON of api::action::journal::Event
    previous TEXT NOT NULL,         -- hash of the row before; 64 zeros before the first
    hash     TEXT NOT NULL          -- see api::action::journal::JournalRow
) STRICT;

CREATE INDEX action_journal_by_action ON action_journal (action);

CREATE TRIGGER action_journal_is_not_edited BEFORE UPDATE ON action_journal
BEGIN
    SELECT RAISE(ABORT, 'the action journal is only added to');
END;

CREATE TRIGGER action_journal_is_not_shortened BEFORE DELETE ON action_journal
BEGIN
    SELECT RAISE(ABORT, 'the action journal is only added to');
END;

-- Also against INSERT OR REPLACE, and against a second writer who does not know the last row.
CREATE TRIGGER action_journal_grows_at_its_end BEFORE INSERT ON action_journal
WHEN NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM action_journal)
    OR (NEW.seq > 1 AND NEW.previous <> (SELECT hash FROM action_journal WHERE seq = NEW.seq - 1))
BEGIN
    SELECT RAISE(ABORT, 'the row does not follow the last one of the action journal');
END;

-- How plugins ran, for people; the oldest rows go.
CREATE TABLE plugin_runs (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    plugin     TEXT NOT NULL,
    reason     TEXT NOT NULL,
    started_at INTEGER NOT NULL,    -- milliseconds since the epoch
    millis     INTEGER NOT NULL,
    ok         INTEGER NOT NULL,
    outcome    TEXT NOT NULL,
    stderr     TEXT NOT NULL,       -- its end, secrets removed
    sandbox    TEXT NOT NULL
) STRICT;

CREATE INDEX plugin_runs_by_plugin ON plugin_runs (plugin, id);

-- Uses themselves are in the ledger, beside this database; here is what has become
-- of them: which credentials they are of, what did not match, how much of what.

-- Where uses are read from. One source is one book.
CREATE TABLE sources (
    id         {{id}},
    name       TEXT NOT NULL UNIQUE,
    kind       TEXT NOT NULL,             -- file, directory, http, otlp, syslog
    side       TEXT NOT NULL,             -- holder or relying
    format     TEXT NOT NULL,             -- of package uses, '' is recognised
    path       TEXT NOT NULL DEFAULT '',  -- of a file or a directory
    token_hash TEXT NOT NULL DEFAULT '',  -- of what a sender shows, SHA-256 in hexadecimal
    once       BOOLEAN NOT NULL DEFAULT FALSE, -- read to its end and no further
    settle     BIGINT NOT NULL DEFAULT 0, -- microseconds after which nothing earlier will come; 0: it says so itself
    silence    BIGINT NOT NULL DEFAULT 0, -- microseconds after which it should have been heard again; 0 is never
    keep_raw   BIGINT NOT NULL DEFAULT 0, -- microseconds for which what it wrote is kept as it was; 0 is not
    created    BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    paused     BOOLEAN NOT NULL DEFAULT FALSE,
    done       BIGINT NOT NULL DEFAULT 0, -- when one that is read once was read
    position   TEXT NOT NULL DEFAULT '',  -- JSON: how far each of its files is read
    heard      BIGINT NOT NULL DEFAULT 0, -- when it last gave anything
    records    BIGINT NOT NULL DEFAULT 0,
    duplicates BIGINT NOT NULL DEFAULT 0,
    malformed  BIGINT NOT NULL DEFAULT 0,
    wrong      TEXT NOT NULL DEFAULT '[]', -- JSON: the newest malformed records, by file and line
    error      TEXT NOT NULL DEFAULT ''   -- why it cannot be read now
);

-- A credential as its uses name it: all names that were ever seen together.
CREATE TABLE used (
    id            {{id}},
    credential_id BIGINT NOT NULL DEFAULT 0, -- of credentials
    state         BYTEA NOT NULL,            -- what the tally must know of its books, and how it was used
    UNIQUE (credential_id, id)
);
CREATE TABLE used_names (
    name    TEXT PRIMARY KEY, -- in the normal form
    used_id BIGINT NOT NULL
);
CREATE INDEX used_names_used ON used_names (used_id);

-- Who accepted it, since when, and how often each side said so.
CREATE TABLE connections (
    used_id   BIGINT NOT NULL,
    party     TEXT NOT NULL,
    first_use BIGINT NOT NULL,
    last_use  BIGINT NOT NULL,
    holder    BIGINT NOT NULL,
    relying   BIGINT NOT NULL,
    told      BIGINT NOT NULL DEFAULT 0, -- since when it tells of uses; 0: it does not
    PRIMARY KEY (used_id, party)
){{clustered}};
CREATE INDEX connections_party ON connections (party, used_id);

-- How many uses each side recorded in an hour.
CREATE TABLE use_hours (
    hour    BIGINT NOT NULL, -- when it began
    used_id BIGINT NOT NULL,
    side    TEXT NOT NULL,
    uses    BIGINT NOT NULL,
    PRIMARY KEY (used_id, hour, side)
){{clustered}};
CREATE INDEX use_hours_hour ON use_hours (hour, side, uses);

-- Records that are not matched, each with what was said of it last.
CREATE TABLE verdicts (
    id          {{id}},
    record      TEXT NOT NULL UNIQUE, -- a hash of what makes it this record and no other
    used_id     BIGINT NOT NULL,
    verdict     TEXT NOT NULL,        -- foreign, unconfirmed or attempt
    reason      TEXT NOT NULL,
    uses        BIGINT NOT NULL,      -- how many of a counted record
    time        BIGINT NOT NULL,
    side        TEXT NOT NULL,
    source      TEXT NOT NULL,
    party       TEXT NOT NULL,
    address     TEXT NOT NULL,
    said        BIGINT NOT NULL,      -- when
    incident_id BIGINT NOT NULL DEFAULT 0,
    use_record  TEXT NOT NULL         -- version 1 of the use record, JSON
);
CREATE INDEX verdicts_time     ON verdicts (verdict, time, id);
CREATE INDEX verdicts_at       ON verdicts (time, id);
CREATE INDEX verdicts_used     ON verdicts (used_id, verdict, time, id);
CREATE INDEX verdicts_incident ON verdicts (incident_id, time, id) WHERE incident_id > 0;

-- Foreign uses of one credential that are less than a day apart.
CREATE TABLE incidents (
    id        {{id}},
    used_id   BIGINT NOT NULL,
    opened    BIGINT NOT NULL,  -- when it was first told
    first_use BIGINT NOT NULL,
    last_use  BIGINT NOT NULL,
    uses      BIGINT NOT NULL,  -- 0: all of it was taken back
    parties   BIGINT NOT NULL,
    addresses BIGINT NOT NULL
);
CREATE INDEX incidents_used ON incidents (used_id, last_use);
CREATE INDEX incidents_last ON incidents (last_use, id);

-- Changes of who gets in, as logs have them; see type Change.
CREATE TABLE access_changes (
    id        {{id}},
    record    TEXT NOT NULL UNIQUE, -- a hash of what makes it this record and no other
    time      BIGINT NOT NULL,
    kind      TEXT NOT NULL,
    failed    BOOLEAN NOT NULL,
    source    TEXT NOT NULL,
    actor     TEXT NOT NULL,
    target    TEXT NOT NULL,
    account   TEXT NOT NULL DEFAULT '', -- under which uses of it are recorded; '' is not known
    expected  TEXT NOT NULL DEFAULT '', -- who expected it, and why; '' is nobody
    used_at   BIGINT NOT NULL DEFAULT 0, -- when the target was first used after it
    used_from TEXT NOT NULL DEFAULT '',
    judged    BOOLEAN NOT NULL DEFAULT FALSE, -- whether the rules have seen it
    change    TEXT NOT NULL              -- JSON
);
CREATE INDEX access_changes_judged  ON access_changes (id) WHERE judged = FALSE;
CREATE INDEX access_changes_time   ON access_changes (time, id);
CREATE INDEX access_changes_target ON access_changes (target, time, id);
CREATE INDEX access_changes_kind   ON access_changes (kind, time, id);
CREATE INDEX access_changes_account ON access_changes (account, time, id) WHERE account > '';

-- Changes that somebody expected before they were made.
CREATE TABLE access_expectations (
    id      {{id}},
    target  TEXT NOT NULL,
    kind    TEXT NOT NULL, -- '' is any
    actor   TEXT NOT NULL, -- '' is anybody
    since   BIGINT NOT NULL,
    until   BIGINT NOT NULL,
    by_whom TEXT NOT NULL,
    reason  TEXT NOT NULL
);
CREATE INDEX access_expectations_target ON access_expectations (target, until);

-- Books whose writers are gone for good: no verdict waits for them.
CREATE TABLE ended_books (
    source TEXT NOT NULL,
    side   TEXT NOT NULL,
    ended  BIGINT NOT NULL,
    author TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (source, side)
);

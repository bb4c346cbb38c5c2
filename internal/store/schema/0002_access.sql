-- The audit log. Row n of audit_log is leaf n-1 of a Merkle tree whose hashes
-- stand in audit_hashes by their stored-hash index (golang.org/x/mod/sumdb/tlog).
-- record is the text that is hashed; the columns beside it repeat parts of it
-- for searching, and are checked against it when the log is verified.
CREATE TABLE audit_log (
    id      {{id}},
    time    BIGINT NOT NULL,
    actor   TEXT NOT NULL,
    action  TEXT NOT NULL,
    allowed BOOLEAN NOT NULL,
    record  TEXT NOT NULL
);
CREATE INDEX audit_log_time   ON audit_log (time, id);
CREATE INDEX audit_log_actor  ON audit_log (actor, id);
CREATE INDEX audit_log_action ON audit_log (action, id);

CREATE TABLE audit_hashes (
    position {{id}},
    hash     BYTEA NOT NULL
);

-- One row; who appends holds its lock, so that nodes append one after the other.
CREATE TABLE audit_head (
    id         {{id}},
    size       BIGINT NOT NULL,
    checkpoint TEXT NOT NULL
);
INSERT INTO audit_head (id, size, checkpoint) VALUES (1, 0, '');

CREATE TABLE people (
    name       TEXT PRIMARY KEY,
    role       TEXT NOT NULL,
    created    BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    signed_in  BIGINT NOT NULL DEFAULT 0, -- last time
    disabled   BIGINT NOT NULL DEFAULT 0  -- since when
);

-- Of what lets somebody in, only the SHA-256 is kept, in hexadecimal. The
-- secrets have 256 random bits, so that no slow hash is needed.
CREATE TABLE links (
    hash       TEXT PRIMARY KEY,
    person     TEXT NOT NULL,
    created    BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    expires    BIGINT NOT NULL
);
CREATE INDEX links_person ON links (person);

CREATE TABLE sessions (
    hash    TEXT PRIMARY KEY,
    person  TEXT NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL
);
CREATE INDEX sessions_person ON sessions (person);

CREATE TABLE tokens (
    id         {{id}},
    hash       TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    role       TEXT NOT NULL,
    created    BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    expires    BIGINT NOT NULL,
    last_used  BIGINT NOT NULL DEFAULT 0,
    revoked    BIGINT NOT NULL DEFAULT 0
);

-- Times are microseconds since 1970 UTC, 0 for none; not_after of what never
-- ends is the largest BIGINT, so that sorting by it needs no special case.
-- {{id}} is the engine's 64-bit integer primary key; ids are made in Go.
-- {{clustered}} stores a table in the order of its key where the engine can.

CREATE TABLE counters (name TEXT PRIMARY KEY, next BIGINT NOT NULL);
INSERT INTO counters (name, next) VALUES ('id', 1);

CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);

CREATE TABLE credentials (
    id               {{id}},
    fingerprint      TEXT NOT NULL UNIQUE,
    kind             TEXT NOT NULL,
    key_id           TEXT NOT NULL,
    algorithm        TEXT NOT NULL,
    bits             BIGINT NOT NULL,
    subject          TEXT NOT NULL,
    issuer           TEXT NOT NULL,
    serial           TEXT NOT NULL,
    names            TEXT NOT NULL,             -- JSON array
    not_before       BIGINT NOT NULL,
    not_after        BIGINT NOT NULL,
    signature        TEXT NOT NULL,
    is_ca            BOOLEAN NOT NULL,
    self_issued      BOOLEAN NOT NULL,
    logged           BOOLEAN NOT NULL,
    usages           TEXT NOT NULL,             -- JSON array
    subject_key_id   TEXT NOT NULL,
    authority_key_id TEXT NOT NULL,
    read_error       TEXT NOT NULL,
    first_seen       BIGINT NOT NULL,
    search           TEXT NOT NULL,             -- its terms, each behind a line feed
    present          BOOLEAN NOT NULL,          -- whether places > 0
    places           BIGINT NOT NULL,           -- current sightings
    findings         BIGINT NOT NULL DEFAULT 0, -- open and not accepted
    severity         BIGINT NOT NULL DEFAULT 0, -- the worst of those
    recheck_at       BIGINT NOT NULL DEFAULT 0, -- when the rules must look again; 0 is now
    version          BIGINT NOT NULL DEFAULT 0, -- counts what the rules have to know of
    owner            TEXT NOT NULL DEFAULT '',
    environment      TEXT NOT NULL DEFAULT '',
    tags             TEXT NOT NULL DEFAULT '[]',
    notes            TEXT NOT NULL DEFAULT ''
);
-- Each index serves one sort order, or one filter in the order of expiry, over
-- what is somewhere now. They hang on present and not on places, which changes
-- with every sighting: an engine rewrites every index whose columns it sets.
CREATE INDEX credentials_expiry    ON credentials (not_after, id) WHERE present;
CREATE INDEX credentials_subject   ON credentials (subject, id) WHERE present;
CREATE INDEX credentials_places    ON credentials (places, id);
CREATE INDEX credentials_severity  ON credentials (severity, id) WHERE present;
CREATE INDEX credentials_algorithm ON credentials (algorithm, not_after, id) WHERE present;
CREATE INDEX credentials_issuer    ON credentials (issuer, not_after, id) WHERE present;
CREATE INDEX credentials_owner     ON credentials (owner, not_after, id) WHERE present;
CREATE INDEX credentials_kind      ON credentials (kind, is_ca, not_after, id) WHERE present;
CREATE INDEX credentials_key       ON credentials (key_id, present);
CREATE INDEX credentials_ski       ON credentials (subject_key_id) WHERE is_ca;
CREATE INDEX credentials_ca        ON credentials (subject) WHERE is_ca;
CREATE INDEX credentials_due       ON credentials (recheck_at);

-- What no list shows stands apart, so that lists read narrow rows.
CREATE TABLE bodies (
    credential_id {{id}},
    raw           BYTEA NOT NULL,
    spki          BYTEA NOT NULL
);

-- Words that a search finds a credential by, lower case; a search is a prefix.
CREATE TABLE terms (
    term          TEXT NOT NULL,
    credential_id BIGINT NOT NULL,
    PRIMARY KEY (term, credential_id)
){{clustered}};

CREATE TABLE tags (
    tag           TEXT NOT NULL,
    credential_id BIGINT NOT NULL,
    PRIMARY KEY (tag, credential_id)
){{clustered}};

-- Who said what about a credential, and when; the newest stands in credentials.
CREATE TABLE annotations (
    id            {{id}},
    credential_id BIGINT NOT NULL,
    time          BIGINT NOT NULL,
    author        TEXT NOT NULL,
    owner         TEXT NOT NULL,
    environment   TEXT NOT NULL,
    tags          TEXT NOT NULL,
    notes         TEXT NOT NULL
);
CREATE INDEX annotations_credential ON annotations (credential_id, id);

CREATE TABLE places (
    id         {{id}},
    uri        TEXT NOT NULL UNIQUE,
    scheme     TEXT NOT NULL,
    first_seen BIGINT NOT NULL,
    present    BIGINT NOT NULL DEFAULT 0 -- current sightings
);
CREATE INDEX places_scheme ON places (scheme, uri);

-- One row is one period in which a credential was at a place. A credential
-- that comes back has a further row; gone_since is 0 while it is there.
CREATE TABLE sightings (
    id             {{id}},
    credential_id  BIGINT NOT NULL,
    place_id       BIGINT NOT NULL,
    source         TEXT NOT NULL,
    role           TEXT NOT NULL,
    scheme         TEXT NOT NULL,            -- of the place
    first_seen     BIGINT NOT NULL,
    last_seen      BIGINT NOT NULL,
    gone_since     BIGINT NOT NULL DEFAULT 0,
    first_run      BIGINT NOT NULL,
    last_run       BIGINT NOT NULL,
    gone_run       BIGINT NOT NULL DEFAULT 0,
    facts          TEXT NOT NULL,
    previous_facts TEXT NOT NULL DEFAULT '', -- set by the last write when it changed facts
    -- In this order it also answers whether a credential is at a place of a scheme now.
    UNIQUE (credential_id, gone_since, scheme, place_id, source, role)
);
CREATE INDEX sightings_place     ON sightings (place_id, gone_since);
CREATE INDEX sightings_first_run ON sightings (first_run, id);
CREATE INDEX sightings_gone_run  ON sightings (gone_run, id) WHERE gone_run > 0;

-- Facts as they were before they changed.
CREATE TABLE past_facts (
    sighting_id BIGINT NOT NULL,
    until       BIGINT NOT NULL,
    facts       TEXT NOT NULL,
    PRIMARY KEY (sighting_id, until)
);

CREATE TABLE runs (
    id          {{id}},
    source      TEXT NOT NULL,
    driver      TEXT NOT NULL,
    targets     TEXT NOT NULL,             -- JSON array
    requested   TEXT NOT NULL,             -- by whom
    state       TEXT NOT NULL,             -- waiting, running, done, failed, cancelled
    queued      BIGINT NOT NULL,
    started     BIGINT NOT NULL DEFAULT 0,
    finished    BIGINT NOT NULL DEFAULT 0,
    attempt     BIGINT NOT NULL DEFAULT 0,
    node        TEXT NOT NULL DEFAULT '',
    lease_until BIGINT NOT NULL DEFAULT 0,
    done        BIGINT NOT NULL DEFAULT 0,
    total       BIGINT NOT NULL DEFAULT 0,
    sightings   BIGINT NOT NULL DEFAULT 0,
    misses      BIGINT NOT NULL DEFAULT 0,
    appeared    BIGINT NOT NULL DEFAULT 0,
    vanished    BIGINT NOT NULL DEFAULT 0,
    error       TEXT NOT NULL DEFAULT ''
);
CREATE INDEX runs_source ON runs (source, id);
CREATE INDEX runs_state  ON runs (state, id);

CREATE TABLE misses (
    run_id BIGINT NOT NULL,
    place  TEXT NOT NULL,
    error  TEXT NOT NULL,
    detail TEXT NOT NULL,
    seen   BIGINT NOT NULL,
    PRIMARY KEY (run_id, place, error)
);

CREATE TABLE findings (
    id              {{id}},
    rule            TEXT NOT NULL,
    severity        BIGINT NOT NULL,
    credential_id   BIGINT NOT NULL,
    place           TEXT NOT NULL,
    evidence        TEXT NOT NULL,
    opened          BIGINT NOT NULL,
    closed          BIGINT NOT NULL DEFAULT 0,
    assignee        TEXT NOT NULL DEFAULT '',
    accepted_by     TEXT NOT NULL DEFAULT '',
    accepted_reason TEXT NOT NULL DEFAULT '',
    accepted_until  BIGINT NOT NULL DEFAULT 0,
    UNIQUE (credential_id, rule, place, closed)
);
CREATE INDEX findings_worst ON findings (closed, severity, id);
CREATE INDEX findings_rule  ON findings (rule, closed, id);

-- What surveys keep from one time to the next; it may be emptied at any time.
CREATE TABLE kept (name TEXT PRIMARY KEY, value BYTEA NOT NULL);

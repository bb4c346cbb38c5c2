-- Issuing: secrets in custody, CAs and what they signed, revocation, the protocols
-- that are served, and what is renewed. No private key or secret stands here in clear.

-- The keys that wrap the keys of secrets: where each is, never what it is.
CREATE TABLE wrapping_keys (
    id         TEXT PRIMARY KEY,          -- "file:3f9a...", made from a fingerprint where there is one
    kind       TEXT NOT NULL,             -- passphrase, file, tpm, pkcs11, transit
    about      TEXT NOT NULL,             -- where it is, for people
    parameters TEXT NOT NULL DEFAULT '{}',-- JSON: what is needed to use it again, such as a salt
    proof      BYTEA NOT NULL,            -- a known value under it: a wrong key is noticed at the start
    since      BIGINT NOT NULL,
    retired    BIGINT NOT NULL DEFAULT 0
);

-- What is kept under an envelope, and keys that never leave a device.
CREATE TABLE secrets (
    id           TEXT PRIMARY KEY,
    kind         TEXT NOT NULL,           -- ca-key, ocsp-key, account-key, certificate-key, eab-key ...
    owner        TEXT NOT NULL,           -- what it belongs to, such as "ca/lab"
    wrapping_key TEXT NOT NULL,           -- of wrapping_keys; for a key in a device, that of its wrapper
    version      BIGINT NOT NULL,         -- counts rewraps
    wrapped      BYTEA NOT NULL,          -- the data key, under the wrapping key
    sealed       BYTEA NOT NULL,          -- nonce and ciphertext, AES-256-GCM
    device       TEXT NOT NULL DEFAULT '',-- of a key in a device: its URI, which is what is sealed then
    public       BYTEA NOT NULL,          -- of a key: its SubjectPublicKeyInfo
    created      BIGINT NOT NULL,
    rewrapped    BIGINT NOT NULL DEFAULT 0,
    destroyed    BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX secrets_owner ON secrets (owner, kind);
CREATE INDEX secrets_wrapping_key ON secrets (wrapping_key, id);
-- Under which wrapping keys secrets were before: whoever had one of those, and a
-- copy of the database from then, could read them.
CREATE TABLE past_wrappings (
    wrapping_key TEXT NOT NULL,
    secret_id    TEXT NOT NULL,
    since        BIGINT NOT NULL,
    until        BIGINT NOT NULL,
    PRIMARY KEY (wrapping_key, secret_id)
){{clustered}};

-- CAs. A rollover makes a new one of the next generation beside the old.
CREATE TABLE authorities (
    id          {{id}},
    name        TEXT NOT NULL UNIQUE,     -- "lab", "lab-2" after a rollover
    kind        TEXT NOT NULL,            -- x509 or ssh
    parent_id   BIGINT NOT NULL DEFAULT 0,-- of the one that signed it; 0: a root, or somebody else's
    follows_id  BIGINT NOT NULL DEFAULT 0,-- the one that it takes over from
    state       TEXT NOT NULL,            -- see package ca
    subject     TEXT NOT NULL,
    spki        TEXT NOT NULL,            -- SHA-256, in hexadecimal
    algorithm   TEXT NOT NULL,            -- ecdsa-p256 ...
    key_id      TEXT NOT NULL,            -- of secrets; '' while its key is offline
    certificate BYTEA NOT NULL,           -- DER; of kind ssh: the public key in wire format
    chain       BYTEA NOT NULL,           -- DER, one after the other, from its issuer to the root
    not_before  BIGINT NOT NULL,
    not_after   BIGINT NOT NULL,
    settings    TEXT NOT NULL,            -- JSON
    created     BIGINT NOT NULL,
    created_by  TEXT NOT NULL
);

-- Further certificates of a CA's key: cross-signed ones, in either direction.
CREATE TABLE cross_certificates (
    sha256       TEXT PRIMARY KEY,
    authority_id BIGINT NOT NULL,         -- whose key it is of
    issuer_id    BIGINT NOT NULL,         -- who signed it
    certificate  BYTEA NOT NULL,
    not_after    BIGINT NOT NULL,
    created      BIGINT NOT NULL
);

-- Everything that was signed. The serial number begins with the time, so that
-- rows are added at the end, and is unique over all CAs.
CREATE TABLE issued (
    serial       BYTEA PRIMARY KEY,       -- 16 bytes; of SSH: 8
    authority_id BIGINT NOT NULL,
    profile      TEXT NOT NULL,
    via          TEXT NOT NULL,           -- api, acme, est, ssh, spiffe, renewal, local
    requester    TEXT NOT NULL,
    subject      TEXT NOT NULL,
    names        TEXT NOT NULL,           -- JSON
    spki         BYTEA NOT NULL,          -- SHA-256
    sha256       BYTEA NOT NULL,          -- of the certificate
    certificate  BYTEA NOT NULL,
    issued_at    BIGINT NOT NULL,
    not_before   BIGINT NOT NULL,
    not_after    BIGINT NOT NULL,
    replaces     BYTEA NOT NULL,          -- the serial of the one before it; empty without one
    replaced     BIGINT NOT NULL DEFAULT 0, -- when another one took its place
    recalled     BIGINT NOT NULL DEFAULT 0, -- since when clients are told to renew now
    recall_url   TEXT NOT NULL DEFAULT '',  -- where people read why
    asked        BIGINT NOT NULL DEFAULT 0  -- when its client last asked for its renewal window
){{clustered}};
CREATE INDEX issued_spki ON issued (spki);
CREATE INDEX issued_replaces ON issued (replaces) WHERE length(replaces) > 0;
CREATE INDEX issued_end ON issued (not_after, authority_id);
CREATE INDEX issued_recalled ON issued (recalled, serial) WHERE recalled > 0;
CREATE TABLE issued_names (
    name   TEXT NOT NULL,
    serial BYTEA NOT NULL,
    PRIMARY KEY (name, serial)
){{clustered}};

CREATE TABLE revocations (
    serial        BYTEA NOT NULL,
    authority_id  BIGINT NOT NULL,
    shard         BIGINT NOT NULL,        -- that the certificate names; -1: it names the complete list
    at            BIGINT NOT NULL,
    reason        BIGINT NOT NULL,        -- RFC 5280 section 5.3.1
    invalid_since BIGINT NOT NULL DEFAULT 0, -- section 5.3.2; 0: not known
    not_after     BIGINT NOT NULL,        -- of the certificate: it leaves the list some time later
    by_whom       TEXT NOT NULL,
    note          TEXT NOT NULL DEFAULT '',
    revision      BIGINT NOT NULL,        -- of revocation_revisions, when this row was last changed
    PRIMARY KEY (serial, authority_id)
){{clustered}};
CREATE INDEX revocations_revision ON revocations (authority_id, revision);

-- How often revocations of a CA were added or changed. Whoever changes some holds
-- its row until they are committed, so that revisions appear in their order.
CREATE TABLE revocation_revisions (
    authority_id BIGINT PRIMARY KEY,
    revision     BIGINT NOT NULL
);

-- CRLs and KRLs as they are served. Shard -1 is the complete one.
CREATE TABLE crls (
    authority_id BIGINT NOT NULL,
    shard        BIGINT NOT NULL,
    number       BIGINT NOT NULL,
    this_update  BIGINT NOT NULL,
    next_update  BIGINT NOT NULL,
    entries      BIGINT NOT NULL,
    revision     BIGINT NOT NULL,         -- it holds every revocation up to this one
    size         BIGINT NOT NULL,
    sha256       TEXT NOT NULL,
    PRIMARY KEY (authority_id, shard)
);
-- What they hold, in pieces, because a list may have a hundred megabytes.
CREATE TABLE crl_pieces (
    authority_id BIGINT NOT NULL,
    shard        BIGINT NOT NULL,
    piece        BIGINT NOT NULL,
    bytes        BYTEA NOT NULL,
    PRIMARY KEY (authority_id, shard, piece)
);

-- Keys that nobody gets a certificate for, ever.
CREATE TABLE blocked_keys (
    spki    BYTEA PRIMARY KEY,            -- SHA-256
    reason  TEXT NOT NULL,
    at      BIGINT NOT NULL,
    by_whom TEXT NOT NULL
){{clustered}};

-- What was asked for and waits for somebody's word, or was refused.
CREATE TABLE issue_requests (
    id           {{id}},
    authority    TEXT NOT NULL,
    profile      TEXT NOT NULL,
    via          TEXT NOT NULL,
    requester    TEXT NOT NULL,
    request      TEXT NOT NULL,           -- JSON: all that was asked for
    names        TEXT NOT NULL,           -- JSON
    state        TEXT NOT NULL,           -- waiting, approved, issued, refused, failed
    why          TEXT NOT NULL,
    at           BIGINT NOT NULL,
    decided_by   TEXT NOT NULL DEFAULT '',
    decided      BIGINT NOT NULL DEFAULT 0,
    serial       BYTEA NOT NULL
);
CREATE INDEX issue_requests_state ON issue_requests (state, id);
CREATE INDEX issue_requests_of ON issue_requests (requester, state, at);

-- ACME (RFC 8555).
CREATE TABLE acme_accounts (
    id         TEXT PRIMARY KEY,
    thumbprint TEXT NOT NULL UNIQUE,      -- of its key, RFC 7638
    key        TEXT NOT NULL,             -- JWK
    contact    TEXT NOT NULL,             -- JSON
    status     TEXT NOT NULL,             -- valid, deactivated, revoked
    eab        TEXT NOT NULL DEFAULT '',  -- of acme_bindings
    address    TEXT NOT NULL,             -- where it came from
    created    BIGINT NOT NULL,
    used       BIGINT NOT NULL DEFAULT 0  -- when it last ordered, to the hour
){{clustered}};
-- Keys for external account binding, section 7.3.4.
CREATE TABLE acme_bindings (
    id         TEXT PRIMARY KEY,
    secret_id  TEXT NOT NULL,             -- of secrets
    authority  TEXT NOT NULL DEFAULT '',
    profiles   TEXT NOT NULL DEFAULT '[]',-- JSON; empty: those that the configuration serves
    names      TEXT NOT NULL DEFAULT '[]',-- JSON: patterns; empty: any that is proven
    note       TEXT NOT NULL DEFAULT '',
    reusable   BOOLEAN NOT NULL DEFAULT FALSE,
    created    BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    expires    BIGINT NOT NULL,
    used       BIGINT NOT NULL DEFAULT 0,
    revoked    BIGINT NOT NULL DEFAULT 0
);
-- Ids of accounts, orders and authorizations begin with the time, so that rows are
-- added at the end and lists are in their order.
CREATE TABLE acme_orders (
    id          TEXT PRIMARY KEY,
    account     TEXT NOT NULL,
    authority   TEXT NOT NULL,            -- that was asked
    status      TEXT NOT NULL,            -- pending (or ready: its authorizations tell), processing, valid, invalid
    profile     TEXT NOT NULL,
    identifiers TEXT NOT NULL,            -- JSON
    authorizations TEXT NOT NULL,         -- JSON: ids
    not_after   BIGINT NOT NULL DEFAULT 0,-- that was asked for
    replaces    TEXT NOT NULL DEFAULT '', -- RFC 9773: as it was accepted
    note        TEXT NOT NULL DEFAULT '', -- for people: why a hint was not taken
    csr         BYTEA NOT NULL,           -- of finalize
    waiting     BIGINT NOT NULL DEFAULT 0,-- of issue_requests: while somebody must approve it
    serial      TEXT NOT NULL DEFAULT '', -- what came of it, in hexadecimal
    error       TEXT NOT NULL DEFAULT '', -- JSON: a problem document
    created     BIGINT NOT NULL,
    expires     BIGINT NOT NULL
){{clustered}};
CREATE INDEX acme_orders_account ON acme_orders (account, id);
CREATE INDEX acme_orders_open ON acme_orders (account, expires) WHERE status = 'pending';
CREATE INDEX acme_orders_expires ON acme_orders (expires);
CREATE TABLE acme_authorizations (
    id         TEXT PRIMARY KEY,
    account    TEXT NOT NULL,
    kind       TEXT NOT NULL,             -- dns or ip
    value      TEXT NOT NULL,             -- without "*."
    wildcard   BOOLEAN NOT NULL,
    status     TEXT NOT NULL,             -- pending, processing (a challenge is being tried), valid, invalid, deactivated
    challenges TEXT NOT NULL,             -- JSON
    created    BIGINT NOT NULL,
    expires    BIGINT NOT NULL
){{clustered}};
CREATE INDEX acme_authorizations_of ON acme_authorizations (account, kind, value);
CREATE INDEX acme_authorizations_processing ON acme_authorizations (id) WHERE status = 'processing';

-- What is renewed here: a certificate for some names from some issuer.
CREATE TABLE renewals (
    id          {{id}},
    name        TEXT NOT NULL UNIQUE,
    issuer      TEXT NOT NULL,            -- "ca/lab", or the name of an issuer of the configuration
    profile     TEXT NOT NULL,
    names       TEXT NOT NULL,            -- JSON, sorted
    algorithm   TEXT NOT NULL,            -- of its keys
    lifetime    BIGINT NOT NULL,          -- microseconds asked for; 0: what the issuer gives
    share       BIGINT NOT NULL,          -- of the lifetime after which it is renewed, in thousandths
    keep_key    BOOLEAN NOT NULL DEFAULT FALSE,
    directory   TEXT NOT NULL DEFAULT '', -- where its files are written
    hook        TEXT NOT NULL DEFAULT '', -- JSON: a command to run afterwards
    paused      BOOLEAN NOT NULL DEFAULT FALSE,
    issued_by   TEXT NOT NULL DEFAULT '', -- which issuer made the newest certificate
    certificate BYTEA NOT NULL,           -- the newest chain, PEM; empty while there is none
    key_id      TEXT NOT NULL DEFAULT '', -- of secrets
    not_before  BIGINT NOT NULL DEFAULT 0,
    not_after   BIGINT NOT NULL DEFAULT 0,
    due         BIGINT NOT NULL,          -- when to begin the next order
    why         TEXT NOT NULL DEFAULT '', -- new, life, window, recall, moved, asked
    look        BIGINT NOT NULL DEFAULT 0,-- when to ask the issuer again for the window
    explanation TEXT NOT NULL DEFAULT '', -- a URL of the issuer about the window
    failures    BIGINT NOT NULL DEFAULT 0,-- in a row
    refused     BOOLEAN NOT NULL DEFAULT FALSE, -- the CA said no
    error       TEXT NOT NULL DEFAULT '',
    created     BIGINT NOT NULL,
    created_by  TEXT NOT NULL,
    declared    BOOLEAN NOT NULL DEFAULT FALSE  -- in the configuration
);
CREATE INDEX renewals_due ON renewals (paused, due);
CREATE INDEX renewals_look ON renewals (look) WHERE look > 0;
CREATE UNIQUE INDEX renewals_same ON renewals (issuer, profile, names, directory);
CREATE UNIQUE INDEX renewals_directory ON renewals (directory) WHERE directory <> '';
-- One attempt to get one certificate, step by step; each step can be repeated.
CREATE TABLE renewal_orders (
    id          {{id}},
    renewal_id  BIGINT NOT NULL,
    issuer      TEXT NOT NULL,
    profile     TEXT NOT NULL,
    why         TEXT NOT NULL,
    step        TEXT NOT NULL,            -- key, request, issue, deliver, hook, done, failed
    key_id      TEXT NOT NULL DEFAULT '',
    csr         BYTEA NOT NULL,
    state       TEXT NOT NULL DEFAULT '', -- what the issuer's driver wants to be told again
    chain       BYTEA NOT NULL,           -- PEM
    failures    BIGINT NOT NULL DEFAULT 0,-- in a row
    attempt     BIGINT NOT NULL DEFAULT 0,-- the fence: counts those who took it up
    next        BIGINT NOT NULL,          -- when to go on
    urgency     BIGINT NOT NULL,          -- the smallest goes first
    owner       TEXT NOT NULL DEFAULT '', -- the node that works at it
    lease       BIGINT NOT NULL DEFAULT 0,
    error       TEXT NOT NULL DEFAULT '',
    began       BIGINT NOT NULL,
    ended       BIGINT NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX renewal_orders_open ON renewal_orders (renewal_id) WHERE ended = 0;
CREATE INDEX renewal_orders_next ON renewal_orders (next) WHERE ended = 0;
CREATE INDEX renewal_orders_of ON renewal_orders (renewal_id, id);
-- Renewals on their way from one issuer to another, in waves.
CREATE TABLE moves (
    id         {{id}},
    target     TEXT NOT NULL,             -- the issuer
    plan       TEXT NOT NULL,             -- JSON: what was asked for
    state      TEXT NOT NULL,             -- running, done, stopped
    wave       BIGINT NOT NULL,           -- the one that is under way, from 1
    waves      BIGINT NOT NULL,
    error      TEXT NOT NULL DEFAULT '',
    created    BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    ended      BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX moves_state ON moves (state, id);
CREATE TABLE move_items (
    move_id    BIGINT NOT NULL,
    renewal_id BIGINT NOT NULL,
    name       TEXT NOT NULL,             -- of the renewal
    wave       BIGINT NOT NULL,
    state      TEXT NOT NULL,             -- waiting, running, done, failed, refused
    before     TEXT NOT NULL,             -- JSON: issuer, profile and names to go back to
    after      TEXT NOT NULL,             -- JSON
    began      BIGINT NOT NULL DEFAULT 0,
    error      TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (move_id, renewal_id)
);
CREATE INDEX move_items_state ON move_items (move_id, wave, state);
CREATE INDEX move_items_of ON move_items (renewal_id);
-- How much was asked of an issuer, for its limits.
CREATE TABLE issuer_hours (
    issuer TEXT NOT NULL,
    hour   BIGINT NOT NULL,
    orders BIGINT NOT NULL,
    PRIMARY KEY (issuer, hour)
){{clustered}};

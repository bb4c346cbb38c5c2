-- The vault: credentials that customers have entrusted to us. No value stands here in clear.

-- Which state of the vault this is: a copy of the database from before shows by it.
CREATE TABLE vault_head (
    id     BIGINT PRIMARY KEY,            -- 1
    vault  TEXT NOT NULL,                 -- random: which vault it is
    number BIGINT NOT NULL,               -- counts changes
    mark   TEXT NOT NULL                  -- random: which change the newest one is
);

CREATE TABLE vault_secrets (
    id         {{id}},
    ref        TEXT NOT NULL UNIQUE,      -- random: what people and programs call it
    customer   TEXT NOT NULL,             -- whose it is
    system     TEXT NOT NULL,             -- what it opens: a system of the customer,
    account    TEXT NOT NULL,             -- and an account or a connection there
    kind       TEXT NOT NULL,             -- password, client-secret, api-key, certificate, other
    opens      TEXT NOT NULL DEFAULT '',  -- what it opens, in words
    origin     TEXT NOT NULL DEFAULT '',  -- where it was brought from
    max_age    BIGINT NOT NULL DEFAULT 0, -- seconds; 0 is any
    newest     BIGINT NOT NULL,           -- number of the version that counts
    since      BIGINT NOT NULL,           -- when that one was entrusted
    due        BIGINT NOT NULL,           -- when to replace it
    due_why    TEXT NOT NULL DEFAULT '',  -- who said so, and why; '' is its age
    changed    BIGINT NOT NULL,           -- vault_head.number of its last change
    lost       BIGINT NOT NULL DEFAULT 0, -- newest version that is known from a witness and is not here
    created    BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    destroyed  BIGINT NOT NULL DEFAULT 0,
    UNIQUE (customer, system, account, kind)
);
CREATE INDEX vault_secrets_due ON vault_secrets (due, id);
CREATE INDEX vault_secrets_since ON vault_secrets (since, id);
CREATE INDEX vault_secrets_changed ON vault_secrets (changed);

CREATE TABLE vault_versions (
    id           {{id}},
    secret_id    BIGINT NOT NULL,         -- of vault_secrets
    number       BIGINT NOT NULL,         -- from 1
    key_id       TEXT NOT NULL,           -- of secrets: the customer's data key
    holder       TEXT NOT NULL,           -- who alone is given it: token:7, person:ada, local:root; '' is nobody
    created      BIGINT NOT NULL,
    entrusted_by TEXT NOT NULL,
    destroyed    BIGINT NOT NULL DEFAULT 0,
    sealed       BYTEA NOT NULL,          -- nonce and ciphertext, AES-256-GCM; zeros when it was destroyed
    UNIQUE (secret_id, number)
);
-- With all that the questions of lineage count by.
CREATE INDEX vault_versions_key ON vault_versions (key_id, id, created, destroyed);

-- Which version was given to its holder, and when.
CREATE TABLE vault_handouts (
    id         {{id}},
    version_id BIGINT NOT NULL,           -- of vault_versions
    holder     TEXT NOT NULL,
    time       BIGINT NOT NULL
);
CREATE INDEX vault_handouts_version ON vault_handouts (version_id, time);

-- Which hosts can use which wrapping keys.
CREATE TABLE vault_readers (
    host         TEXT NOT NULL,
    wrapping_key TEXT NOT NULL,
    since        BIGINT NOT NULL,
    heard        BIGINT NOT NULL,         -- when it last said so
    until        BIGINT NOT NULL,         -- when somebody said that it no longer can
    PRIMARY KEY (host, wrapping_key, since)
){{clustered}};

-- Secrets that a witness knows of and this database never had, or no longer has.
CREATE TABLE vault_missing (
    ref     TEXT PRIMARY KEY,
    version BIGINT NOT NULL,
    found   BIGINT NOT NULL
);
CREATE INDEX past_wrappings_secret ON past_wrappings (secret_id);
DROP INDEX secrets_wrapping_key;
CREATE INDEX secrets_wrapping_key ON secrets (wrapping_key, id, created, rewrapped);

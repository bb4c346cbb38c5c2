-- Recalls: one plan of targets and steps each. How they are worked at is in recalls_*.go.
CREATE TABLE recalls (
    id          {{id}},
    name        TEXT NOT NULL UNIQUE,
    kind        TEXT NOT NULL,            -- what is burnt: a word and a value
    value       TEXT NOT NULL,
    why         TEXT NOT NULL,
    since       BIGINT NOT NULL,
    deadline    BIGINT NOT NULL,
    at_deadline TEXT NOT NULL,
    quiet       BIGINT NOT NULL,          -- microseconds
    canary      BIGINT NOT NULL,
    growth      BIGINT NOT NULL,
    errors      BIGINT NOT NULL,          -- thousandths of a wave
    rehearse    BIGINT NOT NULL,          -- microseconds; 0: in earnest
    state       TEXT NOT NULL,
    reason      TEXT NOT NULL DEFAULT '',
    needs       BIGINT NOT NULL,          -- how many must approve
    wanted      BIGINT NOT NULL DEFAULT 0,  -- the deadline that somebody asks for; 0: nobody does
    wanted_by   TEXT NOT NULL DEFAULT '',
    reminded    BIGINT NOT NULL DEFAULT 0,  -- how many reminders of the deadline were given
    events      BIGINT NOT NULL DEFAULT 0,  -- the number of the latest event
    opened_by   TEXT NOT NULL,
    opened      BIGINT NOT NULL,
    started     BIGINT NOT NULL DEFAULT 0,
    ended       BIGINT NOT NULL DEFAULT 0,
    blocked     BIGINT NOT NULL DEFAULT 0, -- when the deadline acted
    forced      BIGINT NOT NULL DEFAULT 0, -- when what could not be held was left behind
    forgotten   BIGINT NOT NULL DEFAULT 0  -- when its secrets were destroyed
);
CREATE INDEX recalls_state ON recalls (state, id);
CREATE INDEX recalls_kept ON recalls (id) WHERE forgotten = 0;
-- Who begins a recall or opens one has this row until it is done, so that of two that
-- overlap the second sees the first.
INSERT INTO counters (name, next) VALUES ('recall', 0);
-- An approval is for one deadline.
CREATE TABLE recall_approvals (
    recall_id BIGINT NOT NULL,
    deadline  BIGINT NOT NULL,
    who       TEXT NOT NULL,
    at        BIGINT NOT NULL,
    PRIMARY KEY (recall_id, deadline, who)
){{clustered}};
CREATE TABLE recall_targets (
    id            {{id}},
    recall_id     BIGINT NOT NULL,
    kind          TEXT NOT NULL,
    wave          BIGINT NOT NULL,
    holder        TEXT NOT NULL,
    relying       TEXT NOT NULL,
    relying_party TEXT NOT NULL,
    customer      TEXT NOT NULL,
    owner         TEXT NOT NULL,
    grants        TEXT NOT NULL,           -- JSON
    old           TEXT NOT NULL,
    subject       TEXT NOT NULL,
    instructions  TEXT NOT NULL,
    facts         TEXT NOT NULL,           -- JSON: what all steps of it are told
    state         TEXT NOT NULL,
    late          BOOLEAN NOT NULL DEFAULT FALSE,
    error         TEXT NOT NULL DEFAULT '',
    fresh         TEXT NOT NULL DEFAULT '', -- the name of the new credential, once it is there
    -- How many steps of each phase are not done; the state follows from them.
    prepare_left  BIGINT NOT NULL,
    activate_left BIGINT NOT NULL,
    drain_left    BIGINT NOT NULL,
    revoke_left   BIGINT NOT NULL,
    prove_left    BIGINT NOT NULL
);
CREATE INDEX recall_targets_wave ON recall_targets (recall_id, wave, state, id);
CREATE INDEX recall_targets_at ON recall_targets (holder, relying);
CREATE TABLE recall_steps (
    id        {{id}},
    recall_id BIGINT NOT NULL,
    target_id BIGINT NOT NULL,            -- the first of its targets; 0: of the recall as a whole
    shared    BOOLEAN NOT NULL,           -- it has more: see recall_shared
    phase     TEXT NOT NULL,
    act       TEXT NOT NULL,
    wave      BIGINT NOT NULL,
    door      TEXT NOT NULL,
    agent     TEXT NOT NULL,
    counted   TEXT NOT NULL,              -- by what it is counted for limits
    alone     BOOLEAN NOT NULL,           -- no other such step goes on at its door
    restores  BOOLEAN NOT NULL,           -- it takes back what another did: also when the recall does not run
    source    BIGINT NOT NULL,            -- the step that gives the new credential; 0 without one
    state     TEXT NOT NULL,
    waits     BIGINT NOT NULL,
    fence     BIGINT NOT NULL DEFAULT 0,
    round     BIGINT NOT NULL DEFAULT 0,  -- how often it was begun anew
    failures  BIGINT NOT NULL DEFAULT 0,
    trouble   BIGINT NOT NULL DEFAULT 0,  -- when the failures in a row began
    error     TEXT NOT NULL DEFAULT '',
    owner     TEXT NOT NULL DEFAULT '',
    lease     BIGINT NOT NULL DEFAULT 0,
    next      BIGINT NOT NULL,            -- a time, or a small number: at once, the smallest first
    began     BIGINT NOT NULL DEFAULT 0,
    ended     BIGINT NOT NULL DEFAULT 0,
    task      TEXT NOT NULL,              -- JSON
    progress  TEXT NOT NULL DEFAULT '',   -- what the issuer's driver wants to be told again
    result    TEXT NOT NULL DEFAULT ''    -- JSON
);
CREATE INDEX recall_steps_ready ON recall_steps (agent, recall_id, next, id, counted) WHERE state = 'ready';
CREATE INDEX recall_steps_running ON recall_steps (agent, lease) WHERE state = 'running';
CREATE UNIQUE INDEX recall_steps_alone ON recall_steps (door) WHERE state = 'running' AND alone = TRUE;
CREATE INDEX recall_steps_gates ON recall_steps (recall_id, wave) WHERE act = 'gate';
CREATE INDEX recall_steps_restores ON recall_steps (agent, next, id) WHERE restores = TRUE AND state = 'ready';
CREATE INDEX recall_steps_of ON recall_steps (recall_id, target_id, id);
-- The targets of steps that several share.
CREATE TABLE recall_shared (
    step_id   BIGINT NOT NULL,
    target_id BIGINT NOT NULL,
    PRIMARY KEY (step_id, target_id)
){{clustered}};
CREATE INDEX recall_shared_target ON recall_shared (target_id, step_id);
-- Which steps wait for a step.
CREATE TABLE recall_after (
    step_id BIGINT NOT NULL,
    behind  BIGINT NOT NULL,
    PRIMARY KEY (step_id, behind)
){{clustered}};
CREATE INDEX recall_after_behind ON recall_after (behind);
CREATE TABLE recall_events (
    recall_id BIGINT NOT NULL,
    n         BIGINT NOT NULL,            -- from 1 without gaps
    at        BIGINT NOT NULL,
    target_id BIGINT NOT NULL,            -- 0: of the recall as a whole
    kind      TEXT NOT NULL,              -- people, step, failure, wave, deadline
    text      TEXT NOT NULL,
    PRIMARY KEY (recall_id, n)
){{clustered}};

-- What secrets are called by those who work at doors; a large one has several parts.
CREATE TABLE secret_names (
    name      TEXT NOT NULL,              -- "recall/7/new/3"
    part      BIGINT NOT NULL,            -- from 0
    secret_id TEXT NOT NULL,              -- of secrets
    PRIMARY KEY (name, part)
){{clustered}};
-- Who works at doors on other machines. A name is one agent's for good.
CREATE TABLE agents (
    name        TEXT PRIMARY KEY,
    created     BIGINT NOT NULL,
    created_by  TEXT NOT NULL,
    token       TEXT NOT NULL,            -- SHA-256 of the one-time token, in hexadecimal; '' when there is none
    expires     BIGINT NOT NULL,          -- of the token
    token_key   TEXT NOT NULL DEFAULT '', -- the key that the token was used for
    key         TEXT NOT NULL DEFAULT '', -- SHA-256 of the key that its certificate is for, in hexadecimal
    key_before  TEXT NOT NULL DEFAULT '', -- until key was first used: nobody may have received that certificate
    not_after   BIGINT NOT NULL DEFAULT 0,-- of its certificate
    enrolled    BIGINT NOT NULL DEFAULT 0,
    seen        BIGINT NOT NULL DEFAULT 0,
    address     TEXT NOT NULL DEFAULT '', -- that it came from
    version     TEXT NOT NULL DEFAULT '',
    wanted      BIGINT NOT NULL DEFAULT 0,-- when somebody last asked for a look at its doors
    removed     BIGINT NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX agents_token ON agents (token) WHERE token <> '';
CREATE TABLE agent_doors (
    agent  TEXT NOT NULL,
    name   TEXT NOT NULL,                 -- as the agent calls it
    about  TEXT NOT NULL,                 -- JSON: what the agent says of it
    view   TEXT NOT NULL DEFAULT '',      -- JSON: how it stood; '' before the first look
    looked BIGINT NOT NULL DEFAULT 0,     -- when it was last looked at
    error  TEXT NOT NULL DEFAULT '',      -- of that look
    PRIMARY KEY (agent, name)
){{clustered}};

-- A run can be paused, and taken up where it stood; position is what the driver
-- said last, for the plan (targets and options) that it belongs to.
ALTER TABLE runs ADD COLUMN position    TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN rate        DOUBLE PRECISION NOT NULL DEFAULT 0; -- of done, a second
ALTER TABLE runs ADD COLUMN expected    BIGINT NOT NULL DEFAULT 0;           -- when it ends, by its rate
ALTER TABLE runs ADD COLUMN missed      TEXT NOT NULL DEFAULT '';            -- JSON object: misses by their word
-- What a run changed, counted once when it has ended: a JSON object, and its sum.
ALTER TABLE runs ADD COLUMN changes     TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN differences BIGINT NOT NULL DEFAULT 0;

-- By which run facts changed, so that it can be told.
ALTER TABLE past_facts ADD COLUMN run_id BIGINT NOT NULL DEFAULT 0;
CREATE INDEX past_facts_run ON past_facts (run_id, sighting_id) WHERE run_id > 0;

-- The network that a place is in, as networkOf writes it; '' is none.
ALTER TABLE places ADD COLUMN network TEXT NOT NULL DEFAULT '';
CREATE INDEX places_network ON places (network, present) WHERE network > '';
ALTER TABLE misses ADD COLUMN network TEXT NOT NULL DEFAULT '';
CREATE INDEX misses_network ON misses (run_id, network) WHERE network > '';

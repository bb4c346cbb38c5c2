-- What came with reading Microsoft 365: sources that drivers read, and people who are asked.
-- Sources of kind driver: real systems whose logs are read by a driver.
ALTER TABLE sources ADD COLUMN driver TEXT NOT NULL DEFAULT '';
ALTER TABLE sources ADD COLUMN options TEXT NOT NULL DEFAULT '{}'; -- JSON: by name; none is a secret

-- Recalls: the accounts behind those who open and approve, and what doors deny us.
ALTER TABLE recalls ADD COLUMN wanted_as TEXT NOT NULL DEFAULT '[]'; -- JSON: the accounts behind wanted_by
ALTER TABLE recalls ADD COLUMN opened_as TEXT NOT NULL DEFAULT '[]'; -- JSON: the accounts behind opened_by
ALTER TABLE recall_approvals ADD COLUMN accounts TEXT NOT NULL DEFAULT '[]'; -- JSON: those behind who
ALTER TABLE recall_targets ADD COLUMN asked BOOLEAN NOT NULL DEFAULT FALSE; -- a step of it is
ALTER TABLE recall_steps ADD COLUMN asked BOOLEAN NOT NULL DEFAULT FALSE; -- the door denies it to us, and its people are to do it
ALTER TABLE agent_doors ADD COLUMN size BIGINT NOT NULL DEFAULT 0; -- of view, in bytes
CREATE INDEX recall_targets_asked ON recall_targets (recall_id) WHERE asked = TRUE;
CREATE INDEX recall_steps_installs ON recall_steps (recall_id) WHERE act = 'install' AND state = 'waiting';

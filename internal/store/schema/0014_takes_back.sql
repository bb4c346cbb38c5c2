-- The change that this one takes back, as Undo was asked to; 0 is none.
ALTER TABLE access_changes ADD COLUMN takes_back BIGINT NOT NULL DEFAULT 0;
CREATE INDEX access_changes_takes_back ON access_changes (takes_back) WHERE takes_back > 0;

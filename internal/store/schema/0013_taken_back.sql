-- The change that is taken back, of which only the very opposite is expected; 0 is none.
ALTER TABLE access_expectations ADD COLUMN takes_back BIGINT NOT NULL DEFAULT 0;

-- What was accepted beneath a place stands open again when its credential turns
-- up elsewhere; '' is accepted wherever it is.
ALTER TABLE findings ADD COLUMN accepted_within TEXT NOT NULL DEFAULT '';

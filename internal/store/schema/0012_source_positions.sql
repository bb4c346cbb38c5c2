-- How far sources are read stands by itself: it is tens of kilobytes for each, and sources are
-- listed every second.
CREATE TABLE source_positions (
    source   BIGINT PRIMARY KEY,
    position TEXT NOT NULL -- of each of its files, JSON, or as its driver says
);
INSERT INTO source_positions (source, position) SELECT id, position FROM sources WHERE position <> '';
ALTER TABLE sources DROP COLUMN position;

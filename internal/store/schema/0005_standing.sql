-- What changes with every sighting stands apart from the wide rows that never
-- do: a look at what is known writes narrow rows, many to a page.
CREATE TABLE standing (
    credential_id {{id}},
    places        BIGINT NOT NULL,           -- current sightings
    version       BIGINT NOT NULL DEFAULT 0, -- counts what the rules have to know of
    recheck_at    BIGINT NOT NULL DEFAULT 0  -- when the rules must look again; 0 is now
);
INSERT INTO standing (credential_id, places, version, recheck_at) SELECT id, places, version, recheck_at FROM credentials ORDER BY id;
CREATE INDEX standing_places ON standing (places, credential_id);
CREATE INDEX standing_due    ON standing (recheck_at, credential_id);
DROP INDEX credentials_places;
DROP INDEX credentials_due;
ALTER TABLE credentials DROP COLUMN places;
ALTER TABLE credentials DROP COLUMN version;
ALTER TABLE credentials DROP COLUMN recheck_at;

-- The timeline of endings is counted from the index alone.
DROP INDEX credentials_expiry;
CREATE INDEX credentials_expiry ON credentials (not_after, id, kind, is_ca, sample) WHERE present;

-- Filters that let few through, which a walk over the others would not find.
CREATE INDEX credentials_gone        ON credentials (not_after, id) WHERE NOT present;
CREATE INDEX credentials_sample      ON credentials (not_after, id) WHERE present AND sample;
CREATE INDEX credentials_environment ON credentials (environment, not_after, id) WHERE present AND environment <> '';

-- A place begins with its scheme, so places_scheme repeated the index of uri.
DROP INDEX places_scheme;
CREATE INDEX places_present ON places (present, id);

-- Sightings come place by place: the key that every one of them is looked up by
-- begins with the place, so that neighbours meet, and the index that they meet
-- in no order is a narrow one.
CREATE TABLE sightings_by_place (
    id            {{id}},
    credential_id BIGINT NOT NULL,
    place_id      BIGINT NOT NULL,
    source        TEXT NOT NULL,
    role          TEXT NOT NULL,
    scheme        TEXT NOT NULL, -- of the place
    first_seen    BIGINT NOT NULL,
    last_seen     BIGINT NOT NULL,
    gone_since    BIGINT NOT NULL DEFAULT 0,
    first_run     BIGINT NOT NULL,
    last_run      BIGINT NOT NULL,
    gone_run      BIGINT NOT NULL DEFAULT 0,
    facts         TEXT NOT NULL,
    UNIQUE (place_id, gone_since, credential_id, role, source)
);
INSERT INTO sightings_by_place (id, credential_id, place_id, source, role, scheme, first_seen, last_seen, gone_since, first_run, last_run, gone_run, facts)
    SELECT id, credential_id, place_id, source, role, scheme, first_seen, last_seen, gone_since, first_run, last_run, gone_run, facts FROM sightings ORDER BY id;
DROP TABLE sightings;
ALTER TABLE sightings_by_place RENAME TO sightings;
CREATE INDEX sightings_credential ON sightings (credential_id, gone_since, scheme);
CREATE INDEX sightings_first_run  ON sightings (first_run, id);
CREATE INDEX sightings_role       ON sightings (role, credential_id) WHERE gone_since = 0 AND role <> 'presents';
CREATE INDEX sightings_gone_run   ON sightings (gone_run, id) WHERE gone_run > 0;

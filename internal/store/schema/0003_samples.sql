-- Whether a credential is nowhere but in packages that bring it along, and
-- nothing uses it. The rules say so, and are asked anew.
ALTER TABLE credentials ADD COLUMN sample BOOLEAN NOT NULL DEFAULT FALSE;
UPDATE credentials SET version = version + 1, recheck_at = 0;

-- Sources of kind driver: real systems whose logs are read by a driver.
ALTER TABLE sources ADD COLUMN driver TEXT NOT NULL DEFAULT '';
ALTER TABLE sources ADD COLUMN options TEXT NOT NULL DEFAULT '{}'; -- JSON: by name; none is a secret

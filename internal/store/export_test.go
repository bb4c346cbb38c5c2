// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io/fs"
	"time"

	"github.com/tallystick/tallystick"
)

// NewIDs is newIDs for tests of package store_test, which storetest needs.
func NewIDs(ctx context.Context, db *DB, n int64) (int64, error) { return db.newIDs(ctx, n) }

// Wrap is wrap for tests.
func Wrap(db *DB, doing string, err error) error { return db.wrap(doing, err) }

// Write returns the pool for writing.
func Write(db *DB) *sql.DB { return db.write }

// NetworkOf and what is beside it make the names of networks.
func NetworkOf(p tallystick.Place) string { return networkOf(p) }

func NetworkName(key string) string { return networkName(key) }

func NetworkKey(name string) (string, error) { return networkKey(name) }

// PlaceNetworks is a step of an upgrade.
func PlaceNetworks(ctx context.Context, db *DB) error { return db.placeNetworks(ctx) }

// MakeOld makes a store as programs had it that knew the first schema files alone.
func MakeOld(ctx context.Context, url string, version int) error {
	db, err := connect(url)
	if err != nil {
		return err
	}
	files, err := fs.Glob(schemaFiles, "schema/*.sql")
	if err != nil {
		return err
	}
	_, err = db.write.ExecContext(ctx, versionTable)
	for i, file := range files[:version] {
		if err == nil {
			err = db.migrateTo(ctx, i+1, file)
		}
	}
	return errors.Join(err, db.Close())
}

// RecordInterrupted records a batch, once, and does something between looking
// up what is known and writing.
func RecordInterrupted(ctx context.Context, db *DB, b Batch, between func()) error {
	r := newRecording(b)
	if err := db.lookUp(ctx, r); err != nil {
		return err
	}
	between()
	return db.tx(ctx, func(tx *writing) error { return r.write(ctx, tx) })
}

// BroadTerm is broadTerm.
const BroadTerm = broadTerm

// VanishPage is vanishPage.
const VanishPage = vanishPage

// A PastFact is what was noticed at a place until it changed.
type PastFact struct {
	Place tallystick.Place `json:"place"`
	Until time.Time        `json:"until"`
	tallystick.Facts
}

// PastFacts returns what was noticed of a credential before, newest first.
func PastFacts(ctx context.Context, db *DB, credential tallystick.Fingerprint, limit int) ([]PastFact, error) {
	const query = `SELECT p.uri, o.until, o.facts FROM past_facts o JOIN sightings s ON s.id = o.sighting_id
		JOIN places p ON p.id = s.place_id JOIN credentials c ON c.id = s.credential_id
		WHERE c.fingerprint = $1 ORDER BY o.until DESC, p.uri LIMIT $2`
	rows, err := db.read.QueryContext(ctx, query, string(credential), limit)
	return collect(db, "couldn't read what was noticed before", rows, err, func(rows *sql.Rows) (PastFact, error) {
		var f PastFact
		var until int64
		var facts string
		if err := rows.Scan(&f.Place, &until, &facts); err != nil {
			return f, err
		}
		f.Until = timeOf(until)
		return f, json.Unmarshal([]byte(facts), &f.Facts)
	})
}

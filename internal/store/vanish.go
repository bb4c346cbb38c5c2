// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"time"
)

// vanishPage is how many sightings one transaction of Vanish ends.
const vanishPage = 4096

// Vanish ends the sightings of a source that its run, which must have looked
// at everything, did not see again: they are gone since now. Sightings at or
// below a place that the run missed stay, because not being able to look is
// not the same as seeing nothing. It returns how many it ended; calling it
// again goes on where an interrupted call stopped.
func (db *DB) Vanish(ctx context.Context, run int64, source string, now time.Time) (int64, error) {
	missed, err := db.missedPlaces(ctx, run)
	if err != nil {
		return 0, err
	}
	var total, after int64
	for {
		page, last, err := db.unseen(ctx, run, source, after, missed)
		if err != nil || last == 0 {
			return total, err
		}
		if err := db.end(ctx, run, page, now); err != nil {
			return total, err
		}
		total, after = total+int64(len(page)), last
	}
}

// missedPlaces returns the places of a run's misses, sorted.
func (db *DB) missedPlaces(ctx context.Context, run int64) ([]string, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT DISTINCT place FROM misses WHERE run_id = $1`, run)
	places, err := collect(db, "couldn't read what was missed", rows, err, func(rows *sql.Rows) (string, error) {
		var place string
		return place, rows.Scan(&place)
	})
	slices.Sort(places)
	return places, err
}

// unseenSighting is one that has to be ended.
type unseenSighting struct{ id, credential, place int64 }

// unseen returns a page of those with ids after one, and the last id looked
// at, which is 0 at the end.
func (db *DB) unseen(ctx context.Context, run int64, source string, after int64, missed []string) ([]unseenSighting, int64, error) {
	const query = `SELECT s.id, s.credential_id, s.place_id, p.uri FROM sightings s JOIN places p ON p.id = s.place_id
		WHERE s.id > $1 AND s.source = $2 AND s.gone_since = 0 AND s.last_run <> $3 ORDER BY s.id LIMIT $4`
	rows, err := db.read.QueryContext(ctx, query, after, source, run, vanishPage)
	var page []unseenSighting
	var last int64
	err = each(rows, err, func(rows *sql.Rows) error {
		var s unseenSighting
		var uri string
		if err := rows.Scan(&s.id, &s.credential, &s.place, &uri); err != nil {
			return err
		}
		last = s.id
		if !beneathAny(uri, missed) {
			page = append(page, s)
		}
		return nil
	})
	return page, last, db.wrap("couldn't find what is gone", err)
}

// beneathAny says whether a place or one that it lies within is in the sorted list.
func beneathAny(uri string, sorted []string) bool {
	start := strings.Index(uri, "://") + len("://")
	for end := len(uri); end >= start; end = strings.LastIndexByte(uri[:end], '/') {
		if _, ok := slices.BinarySearch(sorted, uri[:end]); ok {
			return true
		}
	}
	return false
}

// end ends sightings and keeps the counts.
func (db *DB) end(ctx context.Context, run int64, page []unseenSighting, now time.Time) error {
	var ids []any
	credentials, places := map[int64]int64{}, map[int64]int64{}
	for _, s := range page {
		ids = append(ids, s.id)
		credentials[s.credential]--
		places[s.place]--
	}
	err := db.tx(ctx, func(tx *writing) error {
		query := `UPDATE sightings SET gone_since = ` + itoa(micros(now)) + `, gone_run = ` + itoa(run) + ` WHERE id IN `
		if err := in(ctx, once{tx}, query, ids, func(*sql.Rows) error { return nil }); err != nil {
			return err
		}
		if err := addToStanding(ctx, tx, credentials); err != nil {
			return err
		}
		_, err := addToPlaces.exec(ctx, tx, pairs(places))
		return err
	})
	return db.wrap("couldn't record what is gone", err)
}

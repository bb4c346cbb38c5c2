// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
)

// bigints are the types of two columns behind FROM (VALUES ...).
var bigints = []string{"BIGINT", "BIGINT"}

var addToPlaces = bulk{
	head:  `UPDATE places SET present = present + v.column2 FROM (VALUES `,
	tail:  `) AS v WHERE places.id = v.column1`,
	width: 2, cast: bigints,
}

// upsertStanding gives new credentials their row. The version keeps a judgement
// of what was there before from taking it for what is there now.
var upsertStanding = bulk{
	head:  `INSERT INTO standing (credential_id, places) VALUES `,
	tail:  ` ON CONFLICT (credential_id) DO UPDATE SET places = standing.places + excluded.places, version = standing.version + 1`,
	width: 2,
}

// makeDue puts before the rules the credentials that a condition names, which follows.
const makeDue = `UPDATE standing SET version = version + 1, recheck_at = 0 WHERE credential_id `

// addToStanding adds to the numbers of places of credentials, by their ids, and
// makes them due, also those to which it adds 0.
func addToStanding(ctx context.Context, tx *writing, counts map[int64]int64) error {
	rows := pairs(counts)
	if _, err := upsertStanding.exec(ctx, tx, rows); err != nil {
		return err
	}
	ids := make([]any, 0, len(rows))
	for _, row := range rows {
		ids = append(ids, row[0])
	}
	// What hardly ever changes is compared first: an engine rewrites every
	// index whose columns a statement sets, and a row of credentials is wide.
	var settled, here, gone []any
	const query = `SELECT credential_id, places, recheck_at FROM standing WHERE credential_id IN `
	err := in(ctx, tx, query, ids, func(rows *sql.Rows) error {
		var id, places, recheck int64
		err := rows.Scan(&id, &places, &recheck)
		if recheck > 0 {
			settled = append(settled, id)
		}
		switch added := counts[id]; {
		case added > 0 && places == added:
			here = append(here, id)
		case added < 0 && places == 0:
			gone = append(gone, id)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, change := range []struct {
		query string
		ids   []any
	}{
		{`UPDATE standing SET recheck_at = 0 WHERE credential_id IN `, settled},
		{`UPDATE credentials SET present = TRUE WHERE NOT present AND id IN `, here},
		{`UPDATE credentials SET present = FALSE WHERE present AND id IN `, gone},
	} {
		if err := in(ctx, tx, change.query, change.ids, func(*sql.Rows) error { return nil }); err != nil {
			return err
		}
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/tallystick/tallystick"
)

// write is the transaction.
func (r *recording) write(ctx context.Context, tx *writing) error {
	for _, step := range []func(context.Context, *writing) error{
		r.writeCredentials, r.writePlaces, r.writeSightings, r.writeCounts, r.writeMisses,
	} {
		if err := step(ctx, tx); err != nil {
			return err
		}
	}
	return nil
}

func (r *recording) writePlaces(ctx context.Context, tx *writing) error {
	var rows [][]any
	for _, p := range r.places {
		if p.isNew {
			s := p.last
			rows = append(rows, []any{p.id, p.name, s.Place.Scheme(), micros(s.Seen), r.addedAt[p.id], networkOf(s.Place)})
			delete(r.addedAt, p.id)
		}
	}
	_, err := bulk{head: `INSERT INTO places (id, uri, scheme, first_seen, present, network) VALUES `, width: 6}.exec(ctx, tx, rows)
	return err
}

var (
	insertSightings = bulk{
		head: `INSERT INTO sightings (id, credential_id, place_id, source, role, scheme, first_seen, last_seen, first_run, last_run, facts) VALUES `, width: 11,
	}
	// Those that somebody has ended meanwhile are not touched, which shows in
	// the number of rows that changed.
	touchSightings = bulk{
		head:  `UPDATE sightings SET last_seen = v.column2, last_run = v.column3 FROM (VALUES `,
		tail:  `) AS v WHERE sightings.id = v.column1 AND sightings.gone_since = 0`,
		width: 3, cast: []string{"BIGINT", "BIGINT", "BIGINT"},
	}
	changeSightings = bulk{
		head:  `UPDATE sightings SET last_seen = v.column2, last_run = v.column3, facts = v.column4 FROM (VALUES `,
		tail:  `) AS v WHERE sightings.id = v.column1 AND sightings.gone_since = 0`,
		width: 4, cast: []string{"BIGINT", "BIGINT", "BIGINT", "TEXT"},
	}
	insertPastFacts = bulk{
		head: `INSERT INTO past_facts (sighting_id, until, facts, run_id) VALUES `, tail: ` ON CONFLICT (sighting_id, until) DO NOTHING`, width: 4,
	}
)

func (r *recording) writeSightings(ctx context.Context, tx *writing) error {
	if _, err := insertSightings.exec(ctx, tx, r.fresh); err != nil {
		return err
	}
	touched, err := touchSightings.exec(ctx, tx, r.again)
	if err != nil {
		return err
	}
	changed, err := changeSightings.exec(ctx, tx, r.changed)
	if err != nil {
		return err
	}
	if touched+changed != int64(len(r.again)+len(r.changed)) {
		return fmt.Errorf("%w: a sighting has ended meanwhile", tallystick.ErrConflict)
	}
	_, err = insertPastFacts.exec(ctx, tx, r.pastFacts)
	return err
}

// writeCounts keeps the numbers of current sightings, and puts the credentials
// that changed before the rules.
func (r *recording) writeCounts(ctx context.Context, tx *writing) error {
	if err := addToStanding(ctx, tx, r.added); err != nil {
		return err
	}
	_, err := addToPlaces.exec(ctx, tx, pairs(r.addedAt))
	return err
}

// pairs are the rows of some counts, in the order of ids.
func pairs(counts map[int64]int64) [][]any {
	rows := make([][]any, 0, len(counts))
	for _, id := range slices.Sorted(maps.Keys(counts)) {
		rows = append(rows, []any{id, counts[id]})
	}
	return rows
}

func (r *recording) writeMisses(ctx context.Context, tx *writing) error {
	type key struct {
		place tallystick.Place
		word  string
	}
	seen := map[key]bool{}
	var rows [][]any
	for _, m := range r.batch.Misses {
		if k := (key{m.Place, m.Error}); !seen[k] {
			seen[k] = true
			rows = append(rows, []any{r.batch.Run, string(m.Place), m.Error, cleanText(m.Detail), micros(m.Seen), networkOf(m.Place)})
		}
	}
	_, err := bulk{
		head:  `INSERT INTO misses (run_id, place, error, detail, seen, network) VALUES `,
		tail:  ` ON CONFLICT (run_id, place, error) DO NOTHING`,
		width: 6,
	}.exec(ctx, tx, rows)
	return err
}

// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// A Used is a credential as its uses name it.
type Used struct {
	ID         int64
	Credential tallystick.Fingerprint // in the inventory; "" when that is not known yet
	Names      []string               // in the normal form
	State      []byte                 // of package watch
}

// Watched is what package watch remembers, at an instant at which it had seen
// every record of the segments up to Segment and none after.
type Watched struct {
	Segment     uint32
	Books       []byte           // of package watch: what the books lost, and what else is of no credential
	States      map[int64][]byte // of the credentials that have changed
	Hours       []UseHour        // to be added
	Connections []UseConnection  // to be added
}

// A UseHour is how many uses one side recorded in an hour.
type UseHour struct {
	Used int64
	Hour time.Time // when it began
	Side tallystick.Side
	Uses int64
}

// A UseConnection is how often a credential was used with a relying party.
type UseConnection struct {
	Used            int64
	Party           string
	First, Last     time.Time
	Holder, Relying int64 // uses
	// Told is since when the relying party tells of uses; zero: it does not.
	Told time.Time
}

// Settings of SaveWatched and SaveCounts.
const watchedSegment, watchedBooks, watchedCounted = "watched-segment", "watched-books", "watched-counted"

// EachUsed calls fn for every credential that was used.
func (db *DB) EachUsed(ctx context.Context, fn func(Used) error) error {
	names := map[int64][]string{}
	rows, err := db.read.QueryContext(ctx, `SELECT name, used_id FROM used_names ORDER BY name`)
	err = each(rows, err, func(rows *sql.Rows) error {
		var name string
		var id int64
		err := rows.Scan(&name, &id)
		names[id] = append(names[id], name)
		return err
	})
	if err != nil {
		return db.wrap("couldn't read the names that uses have", err)
	}
	rows, err = db.read.QueryContext(ctx, `SELECT u.id, COALESCE(c.fingerprint, ''), u.state FROM used u LEFT JOIN credentials c ON c.id = u.credential_id ORDER BY u.id`)
	return db.wrap("couldn't read what was used", each(rows, err, func(rows *sql.Rows) error {
		var u Used
		if err := rows.Scan(&u.ID, &u.Credential, &u.State); err != nil {
			return err
		}
		u.Names = names[u.ID]
		return fn(u)
	}))
}

// WatchedUpTo returns what SaveWatched said last of the ledger as a whole, and how
// many records that came since have been counted by SaveCounts.
func (db *DB) WatchedUpTo(ctx context.Context) (segment uint32, counted int64, books []byte, err error) {
	for name, value := range map[string]any{watchedSegment: &segment, watchedCounted: &counted, watchedBooks: &books} {
		err = db.read.QueryRowContext(ctx, `SELECT value FROM settings WHERE name = $1`, name).Scan(value)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return 0, 0, nil, db.wrap("couldn't read how far the ledger was watched", err)
		}
	}
	return segment, counted, books, nil
}

// SaveCounts adds to what was counted, so that it can be seen before the next
// SaveWatched; counted is how many records since the last one it is of in all.
func (db *DB) SaveCounts(ctx context.Context, hours []UseHour, connections []UseConnection, counted int64) error {
	return db.wrap("couldn't save what was counted", db.tx(ctx, func(tx *writing) error {
		if err := addCounts(ctx, tx, hours, connections); err != nil {
			return err
		}
		return setSetting(ctx, tx, watchedCounted, itoa(counted))
	}))
}

func setSetting(ctx context.Context, tx *writing, name, value string) error {
	const remember = `INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value`
	_, err := tx.ExecContext(ctx, remember, name, value)
	return err
}

func addCounts(ctx context.Context, tx *writing, list []UseHour, used []UseConnection) error {
	var hours, connections [][]any
	for _, h := range list {
		hours = append(hours, []any{h.Used, micros(h.Hour), string(h.Side), h.Uses})
	}
	for _, c := range used {
		connections = append(connections, []any{c.Used, IndexText(c.Party), micros(c.First), micros(c.Last), c.Holder, c.Relying, micros(c.Told)})
	}
	if _, err := addHours.exec(ctx, tx, inOrder(hours)); err != nil {
		return err
	}
	_, err := addConnections.exec(ctx, tx, inOrder(connections))
	return err
}

// NewUsedIDs returns the first of n ids in a row for credentials that are used.
func (db *DB) NewUsedIDs(ctx context.Context, n int64) (int64, error) { return db.newIDs(ctx, n) }

var (
	upsertUsed = bulk{
		head:  `INSERT INTO used (id, credential_id, state) VALUES `,
		tail:  ` ON CONFLICT (id) DO UPDATE SET credential_id = excluded.credential_id`,
		width: 3,
	}
	upsertUsedNames = bulk{
		head:  `INSERT INTO used_names (name, used_id) VALUES `,
		tail:  ` ON CONFLICT (name) DO UPDATE SET used_id = excluded.used_id`,
		width: 2,
	}
	addHours = bulk{
		head:  `INSERT INTO use_hours (used_id, hour, side, uses) VALUES `,
		tail:  ` ON CONFLICT (used_id, hour, side) DO UPDATE SET uses = use_hours.uses + excluded.uses`,
		width: 4,
	}
	addConnections = bulk{
		head: `INSERT INTO connections (used_id, party, first_use, last_use, holder, relying, told) VALUES `,
		tail: ` ON CONFLICT (used_id, party) DO UPDATE SET
			first_use = CASE WHEN excluded.first_use < connections.first_use THEN excluded.first_use ELSE connections.first_use END,
			last_use = CASE WHEN excluded.last_use > connections.last_use THEN excluded.last_use ELSE connections.last_use END,
			holder = connections.holder + excluded.holder, relying = connections.relying + excluded.relying,
			told = CASE WHEN connections.told = 0 OR excluded.told > 0 AND excluded.told < connections.told THEN excluded.told ELSE connections.told END`,
		width: 7,
	}
)

// SaveUsed writes down which credentials there are: by what names they go, and
// what the inventory calls them. In each pair of merged, the first has gone into the
// second: all that is known of it goes there.
func (db *DB) SaveUsed(ctx context.Context, list []Used, merged [][2]int64) error {
	var fingerprints []tallystick.Fingerprint
	for _, u := range list {
		if u.Credential != "" {
			fingerprints = append(fingerprints, u.Credential)
		}
	}
	ids, err := db.RowIDs(ctx, fingerprints)
	if err != nil {
		return err
	}
	return db.wrap("couldn't write down what was used", db.tx(ctx, func(tx *writing) error {
		for _, pair := range merged {
			if err := mergeUsed(ctx, tx, pair[0], pair[1]); err != nil {
				return err
			}
		}
		var used, names [][]any
		for _, u := range list {
			used = append(used, []any{u.ID, ids[u.Credential], []byte{}})
			for _, name := range u.Names {
				names = append(names, []any{IndexText(name), u.ID})
			}
		}
		if _, err := upsertUsed.exec(ctx, tx, used); err != nil {
			return err
		}
		_, err := upsertUsedNames.exec(ctx, tx, names)
		return err
	}))
}

// SaveWatched remembers what was watched, all of it or nothing.
func (db *DB) SaveWatched(ctx context.Context, w Watched) error {
	return db.wrap("couldn't save what was watched", db.tx(ctx, func(tx *writing) error {
		if err := addCounts(ctx, tx, w.Hours, w.Connections); err != nil {
			return err
		}
		for id, state := range w.States {
			const save = `INSERT INTO used (id, state) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET state = excluded.state`
			if _, err := tx.ExecContext(ctx, save, id, notNil(state)); err != nil {
				return err
			}
		}
		if err := setSetting(ctx, tx, watchedBooks, string(w.Books)); err != nil {
			return err
		}
		if err := setSetting(ctx, tx, watchedCounted, "0"); err != nil {
			return err
		}
		return setSetting(ctx, tx, watchedSegment, itoa(int64(w.Segment)))
	}))
}

// EachParty calls fn for every relying party that tells of uses, of which
// credential and since when.
func (db *DB) EachParty(ctx context.Context, fn func(used int64, party string, told time.Time) error) error {
	rows, err := db.read.QueryContext(ctx, `SELECT used_id, party, told FROM connections WHERE told > 0`)
	return db.wrap("couldn't read relying parties", each(rows, err, func(rows *sql.Rows) error {
		var used, told int64
		var party string
		if err := rows.Scan(&used, &party, &told); err != nil {
			return err
		}
		return fn(used, party, timeOf(told))
	}))
}

// inOrder sorts rows by their first two columns, the beginning of their key.
func inOrder(rows [][]any) [][]any {
	slices.SortFunc(rows, func(a, b []any) int {
		if c := cmp.Compare(a[0].(int64), b[0].(int64)); c != 0 {
			return c
		}
		if x, ok := a[1].(int64); ok {
			return cmp.Compare(x, b[1].(int64))
		}
		return strings.Compare(a[1].(string), b[1].(string))
	})
	return rows
}

// mergeUsed gives all that is known of one to another.
func mergeUsed(ctx context.Context, tx *writing, from, into int64) error {
	for _, query := range []string{
		`INSERT INTO use_hours (used_id, hour, side, uses) SELECT $2, hour, side, uses FROM use_hours WHERE used_id = $1` + addHours.tail,
		`DELETE FROM use_hours WHERE used_id = $1 AND used_id <> $2`,
		`INSERT INTO connections (used_id, party, first_use, last_use, holder, relying, told)
			SELECT $2, party, first_use, last_use, holder, relying, told FROM connections WHERE used_id = $1` + addConnections.tail,
		`DELETE FROM connections WHERE used_id = $1 AND used_id <> $2`,
		`UPDATE verdicts SET used_id = $2 WHERE used_id = $1`,
		`UPDATE incidents SET used_id = $2 WHERE used_id = $1`,
		`UPDATE used_names SET used_id = $2 WHERE used_id = $1`,
		`DELETE FROM used WHERE id = $1 AND id <> $2`,
	} {
		if _, err := tx.ExecContext(ctx, query, from, into); err != nil {
			return err
		}
	}
	return nil
}

// EachUseHour calls fn for each hour of each credential and side.
func (db *DB) EachUseHour(ctx context.Context, fn func(UseHour) error) error {
	rows, err := db.read.QueryContext(ctx, `SELECT used_id, hour, side, uses FROM use_hours ORDER BY used_id, hour, side`)
	return db.wrap("couldn't read how much was used", each(rows, err, func(rows *sql.Rows) error {
		var h UseHour
		var hour int64
		if err := rows.Scan(&h.Used, &hour, &h.Side, &h.Uses); err != nil {
			return err
		}
		h.Hour = timeOf(hour)
		return fn(h)
	}))
}

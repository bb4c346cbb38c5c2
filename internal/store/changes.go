// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// What a look can find to be different. All of it is read from the periods of
// the sightings, so that nothing can disagree with them.
const (
	ChangeNew      = "new"       // a credential at a place where it had not been
	ChangeRenewed  = "renewed"   // a certificate in place of an older one for the same names
	ChangeWentBack = "went-back" // a certificate in place of a newer one for the same names
	ChangeReturned = "returned"  // a credential where it had been before
	ChangeGone     = "gone"      // a credential that is there no more, and nothing in its place
	ChangeReplaced = "replaced"  // one that is there no more, for what was renewed or went back
	ChangeFacts    = "changed"   // a credential that is still there, and something about it is not as it was
)

// ChangeCounts are how many of each there are. What was replaced is told with
// what replaced it, and is not counted.
type ChangeCounts struct {
	// First says that nothing was known of the source before: all is new.
	First    bool  `json:"first,omitempty"`
	New      int64 `json:"new"`
	Renewed  int64 `json:"renewed"`
	WentBack int64 `json:"went_back"`
	Returned int64 `json:"returned"`
	Gone     int64 `json:"gone"`
	Changed  int64 `json:"changed"`
	// Kinds are the kinds of credentials that are new.
	Kinds map[tallystick.Kind]int64 `json:"kinds,omitempty"`
}

// Sum returns how many differences there are.
func (c *ChangeCounts) Sum() int64 {
	return c.New + c.Renewed + c.WentBack + c.Returned + c.Gone + c.Changed
}

// A RunChange is one difference.
type RunChange struct {
	Kind       string                 `json:"kind"` // one of the words above
	Credential tallystick.Fingerprint `json:"credential"`
	Subject    string                 `json:"subject"`
	CredKind   tallystick.Kind        `json:"credential_kind"`
	NotBefore  time.Time              `json:"not_before,omitzero"`
	Place      tallystick.Place       `json:"place"`
	Time       time.Time              `json:"time"`
	// Replaces is the certificate that stood there before one that was renewed
	// or went back.
	Replaces          tallystick.Fingerprint `json:"replaces,omitempty"`
	ReplacesNotBefore time.Time              `json:"replaces_not_before,omitzero"`
	// Before and After are what was noticed of one that changed.
	Before *tallystick.Facts `json:"before,omitempty"`
	After  *tallystick.Facts `json:"after,omitempty"`

	id int64 // of the sighting
}

// A Between is the time from the end of one run of a source to the end of a
// later one. What a single run changed is from the run before it, whichever that
// was: from its own id less one.
type Between struct {
	Source   string
	From, To int64
}

// The queries below have the arguments From, To and Source first. A period began
// or ended between the two when it was so at one end of the time and not at the
// other; what went and came back meanwhile did neither.
const (
	betweenBegan = `s.first_run > $1 AND s.first_run <= $2 AND s.source = $3 AND (s.gone_run = 0 OR s.gone_run > $2)`
	betweenEnded = `s.gone_run > 0 AND s.gone_run > $1 AND s.gone_run <= $2 AND s.first_run <= $1 AND s.source = $3`

	// What of a place did, for telling what took the place of what. These are
	// lists to look up in, and no joins, because the engines make an index of a
	// list whatever they believe its length to be. A list is asked in a CASE:
	// SQLite reads all of one behind NOT, to make sure that nothing is NULL, and
	// PostgreSQL would make a join of it.
	whereEnded     = `CASE WHEN s.place_id IN (SELECT s.place_id FROM sightings s WHERE ` + betweenEnded + `) THEN 1 ELSE 0 END = 1`
	endedHere      = `(s.credential_id, s.place_id, s.role) IN (SELECT s.credential_id, s.place_id, s.role FROM sightings s WHERE ` + betweenEnded + `)`
	beganHere      = `(s.credential_id, s.place_id, s.role) IN (SELECT s.credential_id, s.place_id, s.role FROM sightings s WHERE ` + betweenBegan + ` AND ` + whereEnded + `)`
	endedBySubject = `(s.place_id, s.role, c.subject) IN (SELECT s.place_id, s.role, c.subject FROM ` + sightingOfCredential + `
		WHERE ` + betweenEnded + ` AND c.kind = 'certificate' AND c.subject <> '')`
	endedByNames = `(s.place_id, s.role, c.names) IN (SELECT s.place_id, s.role, c.names FROM ` + sightingOfCredential + `
		WHERE ` + betweenEnded + ` AND c.kind = 'certificate' AND c.names <> '[]')`
	beganBySubject = `(s.place_id, s.role, c.subject) IN (SELECT s.place_id, s.role, c.subject FROM ` + sightingOfCredential + `
		WHERE ` + betweenBegan + ` AND ` + whereEnded + ` AND c.kind = 'certificate' AND c.subject <> '')`
	beganByNames = `(s.place_id, s.role, c.names) IN (SELECT s.place_id, s.role, c.names FROM ` + sightingOfCredential + `
		WHERE ` + betweenBegan + ` AND ` + whereEnded + ` AND c.kind = 'certificate' AND c.names <> '[]')`

	// The certificates g of the periods o that ended where s is, for the same
	// names. The plus signs keep SQLite to the few rows of the place, from the
	// many that ended.
	inItsPlace = `o.place_id = s.place_id AND o.gone_since > 0 AND o.role = s.role
		AND +o.gone_run > $1 AND +o.gone_run <= $2 AND o.first_run <= $1 AND o.source = $3
		AND g.kind = 'certificate' AND (g.subject = c.subject AND c.subject <> '' OR g.names = c.names AND c.names <> '[]') `
)

// A side is one of the three sets that differences come from.
type side struct {
	class string // the expression for the kind, over sightings s and credentials c
	where string
	time  string // column
	kinds []string
}

const sightingOfCredential = `sightings s JOIN credentials c ON c.id = s.credential_id`

var sides = [...]side{
	{
		class: `CASE WHEN c.kind = 'certificate' AND (` + endedBySubject + ` OR ` + endedByNames + `)
			THEN CASE WHEN (SELECT MAX(g.not_before) FROM sightings o JOIN credentials g ON g.id = o.credential_id WHERE ` + inItsPlace + `) > c.not_before THEN 'went-back' ELSE 'renewed' END
			WHEN EXISTS (SELECT 1 FROM sightings o WHERE o.place_id = s.place_id AND o.gone_since > 0 AND +o.credential_id = s.credential_id
				AND o.role = s.role AND o.gone_run <= $1) THEN 'returned' ELSE 'new' END`,
		where: betweenBegan + ` AND CASE WHEN ` + endedHere + ` THEN 0 ELSE 1 END = 1`,
		time:  `s.first_seen`, kinds: []string{ChangeNew, ChangeRenewed, ChangeWentBack, ChangeReturned},
	},
	{
		class: `CASE WHEN c.kind = 'certificate' AND (` + beganBySubject + ` OR ` + beganByNames + `) THEN 'replaced' ELSE 'gone' END`,
		where: betweenEnded + ` AND CASE WHEN ` + beganHere + ` THEN 0 ELSE 1 END = 1`,
		time:  `s.gone_since`, kinds: []string{ChangeGone, ChangeReplaced},
	},
	{
		class: `'changed'`,
		where: `s.id IN (SELECT f.sighting_id FROM past_facts f WHERE f.run_id > 0 AND f.run_id > $1 AND f.run_id <= $2)
			AND s.source = $3 AND s.first_run <= $1 AND (s.gone_run = 0 OR s.gone_run > $2)`,
		time: `s.last_seen`, kinds: []string{ChangeFacts},
	},
}

func (b Between) args() []any { return []any{b.From, b.To, cleanText(b.Source)} }

// countChanges counts those of a side. The list is materialised because SQLite would sort the rows
// with all that their kind is made of, such as all names of each certificate.
func (s side) countChanges() string {
	return `WITH changes AS MATERIALIZED (SELECT ` + s.class + ` AS kind, c.kind AS credential_kind FROM ` + sightingOfCredential + ` WHERE ` + s.where + `)
		SELECT kind, credential_kind, COUNT(*) FROM changes GROUP BY kind, credential_kind`
}

// CountChanges counts what is different. It reads each difference.
func (db *DB) CountChanges(ctx context.Context, b Between) (ChangeCounts, error) {
	var n ChangeCounts
	into := map[string]*int64{
		ChangeNew: &n.New, ChangeRenewed: &n.Renewed, ChangeWentBack: &n.WentBack, ChangeReturned: &n.Returned, ChangeGone: &n.Gone, ChangeFacts: &n.Changed,
	}
	for _, side := range sides {
		rows, err := db.read.QueryContext(ctx, side.countChanges(), b.args()...)
		err = each(rows, err, func(rows *sql.Rows) error {
			var kind string
			var of tallystick.Kind
			var count int64
			if err := rows.Scan(&kind, &of, &count); err != nil {
				return err
			}
			if into[kind] != nil {
				*into[kind] += count
			}
			if kind == ChangeNew {
				if n.Kinds == nil {
					n.Kinds = map[tallystick.Kind]int64{}
				}
				n.Kinds[of] += count
			}
			return nil
		})
		if err != nil {
			return n, db.wrap("couldn't count what is different", err)
		}
	}
	const before = `SELECT NOT EXISTS (SELECT 1 FROM runs WHERE source = $2 AND id <= $1 AND state = 'done')`
	err := db.read.QueryRowContext(ctx, before, b.From, cleanText(b.Source)).Scan(&n.First)
	return n, db.wrap("couldn't look for an earlier run", err)
}

// CountPeriods counts the sightings that a run began and those that it ended.
func (db *DB) CountPeriods(ctx context.Context, run int64) (began, ended int64, err error) {
	const query = `SELECT (SELECT COUNT(*) FROM sightings WHERE first_run = $1), (SELECT COUNT(*) FROM sightings WHERE gone_run > 0 AND gone_run = $1)`
	err = db.read.QueryRowContext(ctx, query, run).Scan(&began, &ended)
	return began, ended, db.wrap("couldn't count what a run changed", err)
}

const changeColumns = `c.fingerprint, c.subject, c.kind, c.not_before, p.uri, s.id, `

const placeOfSighting = ` JOIN places p ON p.id = s.place_id`

func scanChange(row scanner, more ...any) (RunChange, error) {
	var c RunChange
	var notBefore, at int64
	err := row.Scan(append([]any{&c.Credential, &c.Subject, &c.CredKind, &notBefore, &c.Place, &c.id, &c.Kind, &at}, more...)...)
	c.NotBefore, c.Time = timeOf(notBefore), timeOf(at)
	return c, err
}

// Changes returns a page of the differences of a kind, sorted by "place" (the
// default), "credential" or "found".
func (db *DB) Changes(ctx context.Context, b Between, kind string, page PageRequest) (Page[RunChange], error) {
	column, err := page.column(map[string]string{"place": "p.uri", "credential": "c.subject", "found": "s.id"}, "place")
	if err != nil {
		return Page[RunChange]{}, err
	}
	side, err := sideOf(kind)
	if err != nil {
		return Page[RunChange]{}, err
	}
	where := &conditions{args: b.args(), parts: []string{side.where}}
	where.add(`(`+side.class+`) = ?`, kind)
	list := listing[RunChange]{
		columns: changeColumns + side.class + `, ` + side.time, from: sightingOfCredential + placeOfSighting, where: where,
		sort: column, text: column != "s.id", id: `s.id`, scan: scanChange,
	}
	result, err := list.page(ctx, db, page)
	for i := range result.Items {
		if err == nil {
			err = db.fillChange(ctx, b, &result.Items[i])
		}
	}
	return result, err
}

func sideOf(kind string) (side, error) {
	var known []string
	for _, side := range sides {
		for _, k := range side.kinds {
			if k == kind {
				return side, nil
			}
			known = append(known, k)
		}
	}
	return side{}, fmt.Errorf("%w: unknown kind of change %.40q: it is one of %s", tallystick.ErrInvalid, kind, strings.Join(known, ", "))
}

// EachChange calls fn for everything that is different, in no order.
func (db *DB) EachChange(ctx context.Context, b Between, fn func(RunChange) error) error {
	for _, side := range sides {
		query := `SELECT ` + changeColumns + side.class + `, ` + side.time + ` FROM ` + sightingOfCredential + placeOfSighting + ` WHERE ` + side.where
		rows, err := db.read.QueryContext(ctx, query, b.args()...)
		err = each(rows, err, func(rows *sql.Rows) error {
			change, err := scanChange(rows)
			if err == nil {
				err = db.fillChange(ctx, b, &change)
			}
			if err != nil {
				return err
			}
			return fn(change)
		})
		if err != nil {
			return db.wrap("couldn't list what is different", err)
		}
	}
	return nil
}

// fillChange reads what a difference has to be held against.
func (db *DB) fillChange(ctx context.Context, b Between, c *RunChange) error {
	switch c.Kind {
	case ChangeRenewed, ChangeWentBack:
		// Of several that stood there, the one with the same sort of key.
		const query = `SELECT g.fingerprint, g.not_before FROM ` + sightingOfCredential + ` CROSS JOIN sightings o JOIN credentials g ON g.id = o.credential_id
			WHERE s.id = $4 AND ` + inItsPlace + ` ORDER BY CASE WHEN g.algorithm = c.algorithm THEN 0 ELSE 1 END, g.not_before DESC, g.id LIMIT 1`
		var notBefore int64
		err := db.read.QueryRowContext(ctx, query, append(b.args(), c.id)...).Scan(&c.Replaces, &notBefore)
		c.ReplacesNotBefore = timeOf(notBefore)
		return db.wrap("couldn't read what was replaced", err)
	case ChangeFacts:
		return db.fillFacts(ctx, b, c)
	}
	return nil
}

// fillFacts reads the facts of a sighting as they were at both ends of a time.
func (db *DB) fillFacts(ctx context.Context, b Between, c *RunChange) error {
	const query = `SELECT f.facts, f.until, COALESCE((SELECT l.facts FROM past_facts l WHERE l.sighting_id = s.id AND l.run_id > $2 ORDER BY l.until LIMIT 1), s.facts)
		FROM past_facts f JOIN sightings s ON s.id = f.sighting_id WHERE f.sighting_id = $3 AND f.run_id > $1 AND f.run_id <= $2 ORDER BY f.until LIMIT 1`
	var before, after string
	var until int64
	if err := db.read.QueryRowContext(ctx, query, b.From, b.To, c.id).Scan(&before, &until, &after); err != nil {
		return db.wrap("couldn't read what changed", err)
	}
	c.Time = timeOf(until)
	if err := json.Unmarshal([]byte(before), &c.Before); err != nil {
		return fmt.Errorf("couldn't read what was noticed: %w", err)
	}
	if err := json.Unmarshal([]byte(after), &c.After); err != nil {
		return fmt.Errorf("couldn't read what was noticed: %w", err)
	}
	return nil
}

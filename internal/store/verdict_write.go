// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/tallystick/tallystick"
)

// A Verdict is what was said last of a record that is not matched.
type Verdict struct {
	ID       int64
	Record   string // see tally.Key
	Used     int64
	Verdict  tallystick.Verdict
	Reason   string
	Uses     int64
	Time     time.Time
	Side     tallystick.Side
	Source   string
	Party    string
	Address  string
	Said     time.Time
	Incident int64
	Use      string // version 1 of the use record, JSON
}

// IncidentGap is how long after a foreign use of a credential the next one is of
// another incident.
const IncidentGap = 24 * time.Hour

var upsertVerdicts = bulk{
	head: `INSERT INTO verdicts (id, record, used_id, verdict, reason, uses, time, side, source, party, address, said, use_record) VALUES `,
	tail: ` ON CONFLICT (record) DO UPDATE SET used_id = excluded.used_id, verdict = excluded.verdict, reason = excluded.reason,
		uses = excluded.uses, said = excluded.said`,
	width: 13,
}

// SaveVerdicts writes down what is said of records that are not matched, and
// forgets what was said of those in matched, which are now. It keeps the incidents.
func (db *DB) SaveVerdicts(ctx context.Context, list []Verdict, matched []string) error {
	if len(list) == 0 && len(matched) == 0 {
		return nil
	}
	next, err := db.newIDs(ctx, int64(2*len(list)+1))
	if err != nil {
		return err
	}
	return db.wrap("couldn't write down verdicts", db.tx(ctx, func(tx *writing) error {
		touched := map[int64]bool{}
		for _, record := range matched {
			var incident int64
			err := tx.QueryRowContext(ctx, `DELETE FROM verdicts WHERE record = $1 RETURNING incident_id`, record).Scan(&incident)
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return err
			}
			touched[incident] = true
		}
		var rows [][]any
		for _, v := range list {
			rows = append(rows, []any{
				next, v.Record, v.Used, string(v.Verdict), v.Reason, v.Uses, micros(v.Time), string(v.Side), cleanText(v.Source),
				IndexText(v.Party), cleanText(v.Address), micros(v.Said), cleanText(v.Use),
			})
			next++
		}
		if _, err := upsertVerdicts.exec(ctx, tx, rows); err != nil {
			return err
		}
		for i := range list {
			if err := giveIncident(ctx, tx, &list[i], next, touched); err != nil {
				return err
			}
			next++
		}
		delete(touched, 0)
		for incident := range touched {
			if err := countIncident(ctx, tx, incident); err != nil {
				return err
			}
		}
		return nil
	}))
}

// giveIncident puts a foreign use with those that it belongs to, and takes any
// other verdict out.
func giveIncident(ctx context.Context, tx *writing, v *Verdict, id int64, touched map[int64]bool) error {
	var old int64
	if err := tx.QueryRowContext(ctx, `SELECT incident_id FROM verdicts WHERE record = $1`, v.Record).Scan(&old); err != nil {
		return err
	}
	touched[old] = true
	if v.Verdict != tallystick.VerdictForeign {
		_, err := tx.ExecContext(ctx, `UPDATE verdicts SET incident_id = 0 WHERE record = $1 AND incident_id > 0`, v.Record)
		return err
	}
	if v.Incident = old; old > 0 {
		return nil
	}
	const near = `SELECT id FROM incidents WHERE used_id = $1 AND first_use <= $2 AND last_use >= $3 ORDER BY id LIMIT 1`
	err := tx.QueryRowContext(ctx, near, v.Used, micros(v.Time.Add(IncidentGap)), micros(v.Time.Add(-IncidentGap))).Scan(&v.Incident)
	if errors.Is(err, sql.ErrNoRows) {
		v.Incident = id
		const open = `INSERT INTO incidents (id, used_id, opened, first_use, last_use, uses, parties, addresses) VALUES ($1, $2, $3, $4, $4, 0, 0, 0)`
		_, err = tx.ExecContext(ctx, open, id, v.Used, micros(v.Said), micros(v.Time))
	}
	if err != nil {
		return err
	}
	touched[v.Incident] = true
	// The span grows at once, for the next use of the same batch.
	const grow = `UPDATE incidents SET first_use = CASE WHEN first_use > $2 THEN $2 ELSE first_use END,
		last_use = CASE WHEN last_use < $2 THEN $2 ELSE last_use END WHERE id = $1`
	if _, err := tx.ExecContext(ctx, grow, v.Incident, micros(v.Time)); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE verdicts SET incident_id = $1 WHERE record = $2`, v.Incident, v.Record)
	return err
}

// countIncident settles the numbers of an incident. One whose last use was taken
// back stays, with none.
func countIncident(ctx context.Context, tx *writing, incident int64) error {
	const count = `UPDATE incidents SET
		uses = (SELECT COALESCE(SUM(uses), 0) FROM verdicts WHERE incident_id = $1),
		parties = (SELECT COUNT(DISTINCT party) FROM verdicts WHERE incident_id = $1),
		addresses = (SELECT COUNT(DISTINCT address) FROM verdicts WHERE incident_id = $1),
		first_use = COALESCE((SELECT MIN(time) FROM verdicts WHERE incident_id = $1), first_use),
		last_use = COALESCE((SELECT MAX(time) FROM verdicts WHERE incident_id = $1), last_use)
		WHERE id = $1`
	_, err := tx.ExecContext(ctx, count, incident)
	return err
}

// VerdictsWithin returns what was said of the records of a credential between
// two times, the second included, by record: the verdict, and of how many uses.
func (db *DB) VerdictsWithin(ctx context.Context, used int64, from, to time.Time) (map[string]Verdict, error) {
	said := map[string]Verdict{}
	rows, err := db.read.QueryContext(ctx, `SELECT record, verdict, uses FROM verdicts WHERE used_id = $1 AND time >= $2 AND time <= $3`, used, micros(from), micros(to))
	return said, db.wrap("couldn't read verdicts", each(rows, err, func(rows *sql.Rows) error {
		var v Verdict
		err := rows.Scan(&v.Record, &v.Verdict, &v.Uses)
		said[v.Record] = v
		return err
	}))
}

// ClearedOfForeign returns the credentials that have open findings of some rules,
// which speak of foreign uses, and no foreign use.
func (db *DB) ClearedOfForeign(ctx context.Context, rules []string) ([]tallystick.Fingerprint, error) {
	var keys []any
	for _, rule := range rules {
		keys = append(keys, rule)
	}
	var list []tallystick.Fingerprint
	const query = `SELECT DISTINCT c.fingerprint FROM findings f JOIN credentials c ON c.id = f.credential_id
		WHERE f.closed = 0 AND NOT EXISTS (SELECT 1 FROM verdicts v JOIN used u ON u.id = v.used_id WHERE u.credential_id = c.id AND v.verdict = 'foreign')
		AND f.rule IN `
	err := in(ctx, db, query, keys, func(rows *sql.Rows) error {
		var f tallystick.Fingerprint
		err := rows.Scan(&f)
		list = append(list, f)
		return err
	})
	return list, db.wrap("couldn't read whom foreign uses were taken back from", err)
}

// AllVerdicts returns all that is said with one verdict, in order of time: for
// tests, and for those who export.
func (db *DB) AllVerdicts(ctx context.Context, verdict tallystick.Verdict) ([]Verdict, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT record, used_id, reason, uses, time, said, incident_id FROM verdicts WHERE verdict = $1 ORDER BY time, id`, string(verdict))
	return collect(db, "couldn't read verdicts", rows, err, func(rows *sql.Rows) (Verdict, error) {
		v := Verdict{Verdict: verdict}
		var at, said int64
		err := rows.Scan(&v.Record, &v.Used, &v.Reason, &v.Uses, &at, &said, &v.Incident)
		v.Time, v.Said = timeOf(at), timeOf(said)
		return v, err
	})
}

// A ForeignUse is a use that is foreign, and why.
type ForeignUse struct {
	Use    tallystick.Use
	Reason string
}

// ForeignUsesOf returns the newest foreign uses of a credential, at most a hundred
// for each reason.
func (db *DB) ForeignUsesOf(ctx context.Context, used int64) ([]ForeignUse, error) {
	const most = 100
	rows, err := db.read.QueryContext(ctx, `SELECT reason, use_record FROM verdicts WHERE used_id = $1 AND verdict = 'foreign' ORDER BY time DESC, id DESC LIMIT $2`, used, 10*most)
	seen := map[string]int{}
	var list []ForeignUse
	err = each(rows, err, func(rows *sql.Rows) error {
		var f ForeignUse
		var text string
		if err := rows.Scan(&f.Reason, &text); err != nil {
			return err
		}
		if seen[f.Reason]++; seen[f.Reason] > most {
			return nil
		}
		if err := json.Unmarshal([]byte(text), &f.Use); err != nil {
			return err
		}
		list = append(list, f)
		return nil
	})
	return list, db.wrap("couldn't read foreign uses", err)
}

// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
)

// A VerdictRow is a record that is not matched, with what was said of it last.
type VerdictRow struct {
	ID       int64
	Record   string // see tally.Key
	Used     int64
	Verdict  tallystick.Verdict
	Reason   string
	Uses     int64 // how many of a counted record
	Incident int64 // 0 is none
	Said     time.Time
	Use      tallystick.Use
}

// A VerdictFilter narrows a list of verdicts; what is zero does not.
type VerdictFilter struct {
	Used     []int64 // of these credentials; empty but not nil lets nothing through
	Verdict  tallystick.Verdict
	Side     tallystick.Side
	Source   string
	Party    string
	Address  string
	Incident int64
	From, To time.Time // To is not included
}

func (f VerdictFilter) where() *conditions {
	w := &conditions{}
	switch {
	case f.Used == nil:
	case len(f.Used) == 0:
		w.add(`FALSE`)
	default:
		w.addAny(`v.used_id`, f.Used)
	}
	for _, c := range []struct{ column, value string }{
		{`v.verdict`, string(f.Verdict)}, {`v.side`, string(f.Side)}, {`v.source`, f.Source}, {`v.party`, f.Party}, {`v.address`, f.Address},
	} {
		if c.value != "" {
			w.add(c.column+` = ?`, c.value)
		}
	}
	if f.Incident > 0 {
		w.add(`v.incident_id > 0`) // says which index serves
		w.add(`v.incident_id = ?`, f.Incident)
	}
	if !f.From.IsZero() {
		w.add(`v.time >= ?`, micros(f.From))
	}
	if !f.To.IsZero() {
		w.add(`v.time < ?`, micros(f.To))
	}
	return w
}

const verdictColumns = `v.id, v.record, v.used_id, v.verdict, v.reason, v.uses, v.incident_id, v.said, v.use_record`

func scanVerdict(row scanner, more ...any) (VerdictRow, error) {
	var v VerdictRow
	var said int64
	var use string
	err := row.Scan(append([]any{&v.ID, &v.Record, &v.Used, &v.Verdict, &v.Reason, &v.Uses, &v.Incident, &said, &use}, more...)...)
	if err != nil {
		return v, err
	}
	v.Said = timeOf(said)
	if err := json.Unmarshal([]byte(use), &v.Use); err != nil {
		return v, fmt.Errorf("couldn't read the use of verdict %d: %w: %w", v.ID, tallystick.ErrDamaged, err)
	}
	return v, nil
}

func scanVerdictRow(rows *sql.Rows) (VerdictRow, error) { return scanVerdict(rows) }

// Verdicts returns a page of the verdicts that a filter lets through, by the time
// of the use.
func (db *DB) Verdicts(ctx context.Context, f VerdictFilter, page PageRequest) (Page[VerdictRow], error) {
	if _, err := page.column(map[string]string{"time": `v.time`}, "time"); err != nil {
		return Page[VerdictRow]{}, err
	}
	return listing[VerdictRow]{
		columns: verdictColumns, from: `verdicts v`, where: f.where(), sort: `v.time`, id: `v.id`, scan: scanVerdict,
	}.page(ctx, db, page)
}

// CountVerdicts counts what a filter lets through, up to CountCap.
func (db *DB) CountVerdicts(ctx context.Context, f VerdictFilter) (int64, error) {
	return db.count(ctx, `verdicts v`, f.where())
}

// VerdictsOn returns what was said of these records, by record; a record that is
// not there is matched, or nothing was said of it yet.
func (db *DB) VerdictsOn(ctx context.Context, records []string) (map[string]VerdictRow, error) {
	found := map[string]VerdictRow{}
	var keys []any
	for _, record := range records {
		keys = append(keys, cleanText(record))
	}
	err := in(ctx, db, `SELECT `+verdictColumns+` FROM verdicts v WHERE v.record IN `, keys, func(rows *sql.Rows) error {
		v, err := scanVerdict(rows)
		found[v.Record] = v
		return err
	})
	return found, db.wrap("couldn't look up verdicts", err)
}

// NewVerdicts returns the verdicts that came after one, in the order in which they
// came; after -1 there are none, and the answer is the number of the newest.
func (db *DB) NewVerdicts(ctx context.Context, after int64, limit int) ([]VerdictRow, int64, error) {
	if after < 0 {
		var newest int64
		err := db.read.QueryRowContext(ctx, `SELECT COALESCE(MAX(id), 0) FROM verdicts`).Scan(&newest)
		return nil, newest, db.wrap("couldn't look for the newest verdict", err)
	}
	const query = `SELECT ` + verdictColumns + ` FROM verdicts v WHERE v.id > $1 ORDER BY v.id LIMIT $2`
	rows, err := db.read.QueryContext(ctx, query, after, limit)
	list, err := collect(db, "couldn't read new verdicts", rows, err, scanVerdictRow)
	if len(list) > 0 {
		after = list[len(list)-1].ID
	}
	return list, after, err
}

// A VerdictCount is how many uses have a verdict in a step of time.
type VerdictCount struct {
	Step    int64 // from 0
	Verdict tallystick.Verdict
	Side    tallystick.Side
	Uses    int64
}

// VerdictCounts counts uses by verdict, in steps that begin with from. Used nil is
// of every credential.
func (db *DB) VerdictCounts(ctx context.Context, used []int64, from, to time.Time, step time.Duration) ([]VerdictCount, error) {
	w := &conditions{args: []any{micros(from), step.Microseconds()}}
	w.add(`time >= ?`, micros(from))
	w.add(`time < ?`, micros(to))
	w.parts = append(w.parts, `verdict IN ('foreign', 'unconfirmed', 'attempt')`) // which the indices begin with
	if used != nil {
		w.addAny(`used_id`, used)
	}
	query := `SELECT (time - $1) / $2, verdict, side, SUM(uses) FROM verdicts WHERE ` + w.String() + ` GROUP BY 1, 2, 3 ORDER BY 1, 2, 3`
	rows, err := db.read.QueryContext(ctx, query, w.args...)
	return collect(db, "couldn't count verdicts", rows, err, func(rows *sql.Rows) (VerdictCount, error) {
		var c VerdictCount
		return c, rows.Scan(&c.Step, &c.Verdict, &c.Side, &c.Uses)
	})
}

// VerdictTotals counts the records of each verdict, each up to CountCap.
func (db *DB) VerdictTotals(ctx context.Context) (map[tallystick.Verdict]int64, error) {
	totals := map[tallystick.Verdict]int64{}
	for _, verdict := range []tallystick.Verdict{tallystick.VerdictForeign, tallystick.VerdictUnconfirmed, tallystick.VerdictAttempt} {
		n, err := db.CountVerdicts(ctx, VerdictFilter{Verdict: verdict})
		if err != nil {
			return nil, err
		}
		totals[verdict] = n
	}
	return totals, nil
}

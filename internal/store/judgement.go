// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/tallystick/tallystick"
)

// A Judgement is what some rules found of one credential.
type Judgement struct {
	RowID    int64 // of the credential
	Findings []tallystick.Finding
	// Whole says that every Check judged it: it is then next due at Recheck,
	// unless something about it has changed since it was read with Due. A
	// survey leaves these zero, and the date alone.
	Version int64
	Whole   bool
	Recheck time.Time // when time alone may change the answer; zero is never
	Sample  bool      // it is nowhere but in packages that bring it along, and nothing uses it
}

// Judge replaces the open findings of some rules about some credentials: those
// that are there again stay open with their history, those that are not are
// closed, new ones open. It settles what each credential's lists show.
func (db *DB) Judge(ctx context.Context, rules []string, judgements []Judgement, now time.Time) error {
	n := int64(0)
	for _, j := range judgements {
		n += int64(len(j.Findings))
	}
	next, err := db.newIDs(ctx, max(n, 1))
	if err != nil {
		return err
	}
	return db.wrap("couldn't record findings", db.tx(ctx, func(tx *writing) error {
		w := judging{tx: tx, rules: map[string]bool{}, next: next, now: now}
		for _, rule := range rules {
			w.rules[rule] = true
		}
		for _, j := range judgements {
			if err := w.judge(ctx, j); err != nil {
				return err
			}
		}
		return nil
	}))
}

// A judging is the work of one Judge.
type judging struct {
	tx    *writing
	rules map[string]bool
	next  int64
	now   time.Time
}

// An openFinding is one as the store has it.
type openFinding struct {
	id       int64
	evidence string
	severity tallystick.Severity
	accepted int64            // until when, in microseconds
	within   tallystick.Place // beneath which; "" is everywhere
}

// findingKey says which finding of a credential is the same one again.
type findingKey struct{ rule, place string }

// judge settles one credential.
func (w *judging) judge(ctx context.Context, j Judgement) error {
	open, err := w.open(ctx, j.RowID)
	if err != nil {
		return err
	}
	recheck, changed := endMicros(j.Recheck), false
	for k, f := range open {
		if f.accepted > micros(w.now) && f.within != "" && k.place == "" {
			ended, err := w.endAcceptance(ctx, j.RowID, f)
			if err != nil {
				return err
			}
			if ended {
				f.accepted, changed = 0, true
			}
		}
		switch {
		case f.accepted > micros(w.now):
			recheck = min(recheck, f.accepted) // the day it counts again
		case f.accepted > 0:
			changed = true
		}
		if !w.rules[k.rule] {
			delete(open, k)
		}
	}
	replaced, err := w.replace(ctx, j, open)
	if err != nil {
		return err
	}
	if changed || replaced || j.Whole { // whole ones also settle what was closed behind them
		if err := countFindings(ctx, w.tx, j.RowID, w.now); err != nil {
			return err
		}
	}
	if !j.Whole {
		return nil
	}
	const settle = `UPDATE standing SET recheck_at = $1 WHERE credential_id = $2 AND version = $3`
	result, err := w.tx.ExecContext(ctx, settle, recheck, j.RowID, j.Version)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return err // it has changed meanwhile, and is judged again
	}
	const sample = `UPDATE credentials SET sample = $1 WHERE id = $2 AND sample <> $1`
	_, err = w.tx.ExecContext(ctx, sample, j.Sample, j.RowID)
	return err
}

// endAcceptance takes back what was accepted beneath a place only, when the
// credential is elsewhere too, and says whether it did.
func (w *judging) endAcceptance(ctx context.Context, credential int64, f openFinding) (bool, error) {
	within, args := beneath(`p.uri`, f.within)
	where := conditions{}
	where.add(`id = ? AND EXISTS (SELECT 1 FROM sightings s JOIN places p ON p.id = s.place_id
		WHERE s.credential_id = ? AND s.gone_since = 0 AND NOT `+within+`)`, append([]any{f.id, credential}, args...)...)
	result, err := w.tx.ExecContext(ctx, `UPDATE findings SET accepted_by = '', accepted_reason = '', accepted_until = 0, accepted_within = '' WHERE `+where.String(), where.args...)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

// open returns the open findings of a credential, of all rules.
func (w *judging) open(ctx context.Context, credential int64) (map[findingKey]openFinding, error) {
	open := map[findingKey]openFinding{}
	const query = `SELECT id, rule, place, evidence, severity, accepted_until, accepted_within FROM findings WHERE credential_id = $1 AND closed = 0`
	rows, err := w.tx.QueryContext(ctx, query, credential)
	return open, each(rows, err, func(rows *sql.Rows) error {
		var k findingKey
		var f openFinding
		err := rows.Scan(&f.id, &k.rule, &k.place, &f.evidence, &f.severity, &f.accepted, &f.within)
		open[k] = f
		return err
	})
}

// replace makes the open findings of the rules into those of the judgement,
// and says whether that changed any.
func (w *judging) replace(ctx context.Context, j Judgement, open map[findingKey]openFinding) (bool, error) {
	changed := false
	for _, f := range j.Findings {
		k := findingKey{f.Rule, string(f.Place)}
		old, ok := open[k]
		delete(open, k)
		if ok && old.evidence == cleanText(f.Evidence) && old.severity == f.Severity {
			continue
		}
		changed = true
		if err := w.write(ctx, j.RowID, f, old.id); err != nil {
			return changed, err
		}
	}
	for _, f := range open {
		changed = true
		if _, err := w.tx.ExecContext(ctx, `UPDATE findings SET closed = $1 WHERE id = $2`, micros(w.now), f.id); err != nil {
			return changed, err
		}
	}
	return changed, nil
}

// write opens a finding, or renews the words of an open one.
func (w *judging) write(ctx context.Context, credential int64, f tallystick.Finding, old int64) error {
	evidence := cleanText(f.Evidence)
	if old != 0 {
		const update = `UPDATE findings SET evidence = $1, severity = $2 WHERE id = $3`
		_, err := w.tx.ExecContext(ctx, update, evidence, int64(f.Severity), old)
		return err
	}
	const insert = `INSERT INTO findings (id, rule, severity, credential_id, place, evidence, opened) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (credential_id, rule, place, closed) DO NOTHING`
	w.next++
	_, err := w.tx.ExecContext(ctx, insert, w.next-1, f.Rule, int64(f.Severity), credential, string(f.Place), evidence, micros(w.now))
	return err
}

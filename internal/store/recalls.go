// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// A RecallRow is a recall with what the store keeps besides.
type RecallRow struct {
	tallystick.Recall
	Needs    int       // how many must approve
	Wanted   time.Time // the deadline that somebody asks for; zero: nobody does
	WantedBy string
	WantedAs []string // the accounts behind them; see SamePerson
	OpenedAs []string // those behind who opened it
	Reminded int      // how many reminders of the deadline were given
	Forced   bool     // what could not be held by some time after the deadline was left behind
}

const recallColumns = `id, name, kind, value, why, since, deadline, at_deadline, quiet, canary, growth, errors, rehearse, state, reason, needs, wanted, wanted_by, wanted_as, reminded, opened_by, opened_as, opened, started, ended, blocked, forced`

func scanRecall(row scanner) (RecallRow, error) {
	var r RecallRow
	var since, deadline, quiet, rehearse, wanted, opened, started, ended, blocked, forced int64
	var wantedAs, openedAs string
	err := row.Scan(&r.ID, &r.Name, &r.What.Kind, &r.What.Value, &r.Why, &since, &deadline, &r.AtDeadline, &quiet, &r.Waves.Canary, &r.Waves.Growth, &r.Waves.Errors, &rehearse,
		&r.State, &r.Reason, &r.Needs, &wanted, &r.WantedBy, &wantedAs, &r.Reminded, &r.OpenedBy, &openedAs, &opened, &started, &ended, &blocked, &forced)
	r.Since, r.Deadline, r.Wanted, r.Opened, r.Started, r.Ended, r.Blocked = timeOf(since), timeOf(deadline), timeOf(wanted), timeOf(opened), timeOf(started), timeOf(ended), timeOf(blocked)
	r.Forced = forced != 0
	r.Quiet, r.Rehearse = time.Duration(quiet)*time.Microsecond, time.Duration(rehearse)*time.Microsecond
	if err == nil {
		r.WantedAs, err = stringsOf(wantedAs)
	}
	if err == nil {
		r.OpenedAs, err = stringsOf(openedAs)
	}
	return r, err
}

// Recall returns a recall with those who approved the deadline that stands now.
func (db *DB) Recall(ctx context.Context, id int64) (RecallRow, error) {
	return db.recallWhere(ctx, `id = $1`, id)
}

// RecallByName is Recall for a name.
func (db *DB) RecallByName(ctx context.Context, name string) (RecallRow, error) {
	return db.recallWhere(ctx, `name = $1`, name)
}

func (db *DB) recallWhere(ctx context.Context, where string, arg any) (RecallRow, error) {
	r, err := scanRecall(db.one(ctx, `SELECT `+recallColumns+` FROM recalls WHERE `+where, arg))
	if err == nil {
		r.ApprovedBy, err = db.approvedBy(ctx, r.ID, r.Deadline)
	}
	return r, db.wrap("couldn't read the recall", err)
}

func (db *DB) approvedBy(ctx context.Context, recall int64, deadline time.Time) ([]string, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT who FROM recall_approvals WHERE recall_id = $1 AND deadline = $2 ORDER BY at, who`, recall, micros(deadline))
	var who []string
	err = each(rows, err, func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		who = append(who, name)
		return err
	})
	return who, err
}

// Recalls returns at most limit recalls whose number is below before, the newest
// first; before 0 is from the newest on.
func (db *DB) Recalls(ctx context.Context, before int64, limit int) ([]RecallRow, error) {
	if before <= 0 {
		before = forever
	}
	rows, err := db.read.QueryContext(ctx, `SELECT `+recallColumns+` FROM recalls WHERE id < $1 ORDER BY id DESC LIMIT $2`, before, limit)
	return collect(db, "couldn't list the recalls", rows, err, func(rows *sql.Rows) (RecallRow, error) { return scanRecall(rows) })
}

// BegunRecalls returns those that have begun and are not over, the oldest first.
func (db *DB) BegunRecalls(ctx context.Context) ([]RecallRow, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT `+recallColumns+` FROM recalls WHERE state IN ('running', 'paused', 'stopped') ORDER BY id`)
	return collect(db, "couldn't list the recalls", rows, err, func(rows *sql.Rows) (RecallRow, error) { return scanRecall(rows) })
}

// A RecallEvent is something worth telling of a recall, in plain words.
type RecallEvent struct {
	Recall int64     `json:"recall"`
	N      int64     `json:"n"` // from 1 without gaps
	At     time.Time `json:"at"`
	Target int64     `json:"target,omitempty"` // 0: of the recall as a whole
	Kind   string    `json:"kind"`             // one of the words below
	Text   string    `json:"text"`
}

// The words of RecallEvent.Kind.
const (
	EventPeople   = "people"   // somebody did something
	EventStep     = "step"     // a target is further
	EventFailure  = "failure"  // something failed
	EventWave     = "wave"     // a gate opened, the recall stopped or is done
	EventDeadline = "deadline" // a reminder, or the deadline itself
)

// addEvents has events of a recall written with the change that they tell of.
func addEvents(tx *writing, recall int64, list ...RecallEvent) {
	if len(list) == 0 {
		return
	}
	if tx.last.events == nil {
		tx.last.events = map[int64][]RecallEvent{}
	}
	tx.last.events[recall] = append(tx.last.events[recall], list...)
}

// writeEvents gives events their numbers.
func writeEvents(ctx context.Context, tx *writing, recall int64, list []RecallEvent) error {
	count, err := tx.prepared(ctx, `UPDATE recalls SET events = events + $1 WHERE id = $2 RETURNING events`)
	if err != nil {
		return err
	}
	var last int64
	if err := count.QueryRowContext(context.WithoutCancel(ctx), len(list), recall).Scan(&last); err != nil {
		return err
	}
	rows := make([][]any, len(list))
	for i, e := range list {
		rows[i] = []any{recall, last - int64(len(list)) + 1 + int64(i), micros(e.At), e.Target, e.Kind, cleanText(e.Text)}
	}
	insert := bulk{head: `INSERT INTO recall_events (recall_id, n, at, target_id, kind, text) VALUES `, width: 6}
	_, err = insert.exec(ctx, tx, rows)
	return err
}

// AddRecallEvents writes events that no change goes with.
func (db *DB) AddRecallEvents(ctx context.Context, recall int64, list ...RecallEvent) error {
	err := db.grouped(ctx, func(tx *writing) error {
		addEvents(tx, recall, list...)
		return nil
	})
	return db.wrap("couldn't write the log of the recall", err)
}

// RecallEvents returns at most limit events of a recall behind the nth, in their order.
func (db *DB) RecallEvents(ctx context.Context, recall, after int64, limit int) ([]RecallEvent, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT recall_id, n, at, target_id, kind, text FROM recall_events WHERE recall_id = $1 AND n > $2 ORDER BY n LIMIT $3`, recall, after, limit)
	return collect(db, "couldn't read the log of the recall", rows, err, func(rows *sql.Rows) (RecallEvent, error) {
		var e RecallEvent
		var at int64
		err := rows.Scan(&e.Recall, &e.N, &at, &e.Target, &e.Kind, &e.Text)
		e.At = timeOf(at)
		return e, err
	})
}

// A RecallMove takes a recall from one state to another.
type RecallMove struct {
	From   []tallystick.RecallState
	To     tallystick.RecallState
	Reason string
	At     time.Time
	Event  string // who did it, in plain words
}

// MoveRecall takes a recall from a state to another. ErrConflict: it is in none that it
// may come from, or, when it is to begin, another is at work at one of its doors.
func (db *DB) MoveRecall(ctx context.Context, id int64, m RecallMove) error {
	err := db.tx(ctx, func(tx *writing) error {
		begins := m.To == tallystick.RecallRunning
		if begins {
			if err := oneRecallAtATime(ctx, tx); err != nil {
				return err
			}
		}
		if err := moveRecall(ctx, tx, id, m); err != nil {
			return err
		}
		if begins {
			return overlapping(ctx, tx, id)
		}
		return nil
	})
	return db.wrap("couldn't change the recall", err)
}

func moveRecall(ctx context.Context, tx *writing, id int64, m RecallMove) error {
	from := make([]string, len(m.From))
	for i, s := range m.From {
		from[i] = "'" + string(s) + "'"
	}
	unless := ""
	if m.To == tallystick.RecallStopped { // also when its deadline acts at this very moment
		unless = ` AND NOT (blocked > 0 AND at_deadline = '` + tallystick.AtDeadlineBlock + `')`
	}
	result, err := tx.ExecContext(ctx, `UPDATE recalls SET state = $1, reason = $2,
		started = CASE WHEN $1 = 'running' AND started = 0 THEN $3 ELSE started END,
		ended = CASE WHEN $1 IN ('done', 'cancelled') THEN $3 ELSE 0 END
		WHERE id = $4 AND state IN (`+strings.Join(from, ", ")+`)`+unless, string(m.To), cleanText(m.Reason), micros(m.At), id)
	if err := changedOne(result, err); err != nil {
		return err
	}
	addEvents(tx, id, RecallEvent{At: m.At, Kind: eventOfMove(m.To), Text: m.Event})
	return nil
}

func eventOfMove(to tallystick.RecallState) string {
	if to == tallystick.RecallStopped || to == tallystick.RecallDone {
		return EventWave
	}
	return EventPeople
}

// RecallOver says whether nothing more will happen of a recall: it is over, and so are
// the undoing of its blocks, the rolling back of its targets, and what the server does at
// the moment; or there is none of the number.
func (db *DB) RecallOver(ctx context.Context, id int64) (bool, error) {
	const query = `SELECT NOT EXISTS (SELECT 1 FROM recalls WHERE id = $1 AND state NOT IN ('done', 'cancelled'))
		AND NOT EXISTS (SELECT 1 FROM recall_steps WHERE recall_id = $1
			AND (phase = '' AND state IN ('waiting', 'ready', 'running') OR act = 'lift' AND state IN ('ready', 'running') OR agent = '' AND state = 'running'))`
	var over bool
	err := db.one(ctx, query, id).Scan(&over)
	return over, db.wrap("couldn't look whether a recall is over", err)
}

// KeptRecalls returns the recalls that are over and whose secrets may still be there.
func (db *DB) KeptRecalls(ctx context.Context) ([]int64, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT id FROM recalls WHERE forgotten = 0 AND state IN ('done', 'cancelled') ORDER BY id`)
	ids, err := idsOf(rows, err)
	return ids, db.wrap("couldn't list the recalls that are over", err)
}

// ForgotRecall notes that the secrets of a recall are destroyed.
func (db *DB) ForgotRecall(ctx context.Context, id int64, at time.Time) error {
	err := db.grouped(ctx, func(tx *writing) error {
		_, err := tx.ExecContext(ctx, `UPDATE recalls SET forgotten = $1 WHERE id = $2`, micros(at), id)
		return err
	})
	return db.wrap("couldn't note that the secrets of a recall are destroyed", err)
}

// OverBudget says which wave of a recall has more failures than it may have; "" none.
func (db *DB) OverBudget(ctx context.Context, id int64) (string, error) {
	var why string
	err := db.tx(ctx, func(tx *writing) error {
		var err error
		why, err = overBudget(ctx, tx, id)
		return err
	})
	return why, db.wrap("couldn't count the failures", err)
}

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

// States of a Move and of its items.
const (
	MoveRunning = "running"
	MoveDone    = "done"
	MoveStopped = "stopped" // by a failure, or by a person

	ItemWaiting = "waiting" // for its wave
	ItemRunning = "running"
	ItemDone    = "done"
	ItemFailed  = "failed"  // and back at the issuer from before
	ItemRefused = "refused" // left out, because the new issuer would refuse it
)

// A Move takes renewals to another issuer, in waves.
type Move struct {
	ID        int64
	Target    string // the issuer
	Plan      string // JSON: what was asked for
	State     string
	Wave      int64 // the one that is under way, from 1
	Waves     int64
	Error     string
	Created   time.Time
	CreatedBy string
	Ended     time.Time
}

// A Home is where a renewal gets its certificate.
type Home struct {
	Issuer  string   `json:"issuer"`
	Profile string   `json:"profile"`
	Names   []string `json:"names"`
}

// A MoveItem is one renewal of a Move.
type MoveItem struct {
	Move, Renewal int64
	Name          string // of the renewal
	Wave          int64
	State         string
	Before, After Home
	Began         time.Time
	Error         string
}

// AddMove keeps a move with its items, all or nothing. A renewal that another move
// has under way is ErrConflict.
func (db *DB) AddMove(ctx context.Context, m Move, items []MoveItem) (Move, error) {
	var err error
	if m.ID, err = db.newIDs(ctx, 1); err != nil {
		return m, err
	}
	err = db.tx(ctx, func(tx *writing) error {
		const insert = `INSERT INTO moves (id, target, plan, state, wave, waves, created, created_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`
		if _, err := tx.ExecContext(ctx, insert, m.ID, m.Target, m.Plan, m.State, m.Wave, m.Waves, micros(m.Created), m.CreatedBy); err != nil {
			return err
		}
		rows := make([][]any, len(items))
		for i, item := range items {
			rows[i] = []any{m.ID, item.Renewal, item.Name, item.Wave, item.State, jsonText(item.Before), jsonText(item.After), cleanText(item.Error)}
		}
		b := bulk{head: `INSERT INTO move_items (move_id, renewal_id, name, wave, state, before, after, error) VALUES `, width: 8}
		if _, err := b.exec(ctx, tx, rows); err != nil {
			return err
		}
		var busy int64
		const others = `SELECT COUNT(*) FROM move_items a JOIN move_items b ON b.renewal_id = a.renewal_id AND b.move_id <> a.move_id JOIN moves m ON m.id = b.move_id
			WHERE a.move_id = $1 AND a.state = 'waiting' AND b.state IN ('waiting', 'running') AND m.state = 'running'`
		if err := tx.QueryRowContext(ctx, others, m.ID).Scan(&busy); err != nil {
			return err
		}
		if busy > 0 {
			return tallystick.ErrConflict
		}
		return nil
	})
	return m, db.wrap("couldn't keep the move", err)
}

const moveColumns = `id, target, plan, state, wave, waves, error, created, created_by, ended`

func scanMove(row scanner) (Move, error) {
	var m Move
	var created, ended int64
	err := row.Scan(&m.ID, &m.Target, &m.Plan, &m.State, &m.Wave, &m.Waves, &m.Error, &created, &m.CreatedBy, &ended)
	m.Created, m.Ended = timeOf(created), timeOf(ended)
	return m, err
}

// Move returns one.
func (db *DB) Move(ctx context.Context, id int64) (Move, error) {
	m, err := scanMove(db.read.QueryRowContext(ctx, `SELECT `+moveColumns+` FROM moves WHERE id = $1`, id))
	return m, db.wrap("couldn't read the move", err)
}

// Moves returns the newest, or those in a state when it is not "".
func (db *DB) Moves(ctx context.Context, state string, limit int) ([]Move, error) {
	where, args := `1 = 1`, []any{limit}
	if state != "" {
		where, args = `state = $2`, append(args, state)
	}
	rows, err := db.read.QueryContext(ctx, `SELECT `+moveColumns+` FROM moves WHERE `+where+` ORDER BY id DESC LIMIT $1`, args...)
	return collect(db, "couldn't list the moves", rows, err, func(rows *sql.Rows) (Move, error) { return scanMove(rows) })
}

// MoveItems returns at most limit items of a move in the order of waves and names,
// from behind a wave and a name on; of one wave and state when state is not "".
func (db *DB) MoveItems(ctx context.Context, move, wave int64, after, state string, limit int) ([]MoveItem, error) {
	const columns = `SELECT move_id, renewal_id, name, wave, state, before, after, began, error FROM move_items WHERE move_id = $1 AND `
	query, args := columns+`(wave > $2 OR wave = $2 AND name > $3) ORDER BY wave, name LIMIT $4`, []any{move, wave, after, limit}
	if state != "" {
		query, args = columns+`wave = $2 AND name > $3 AND state = $5 ORDER BY name LIMIT $4`, append(args, state)
	}
	rows, err := db.read.QueryContext(ctx, query, args...)
	return collect(db, "couldn't list what moves", rows, err, func(rows *sql.Rows) (MoveItem, error) {
		var i MoveItem
		var before, after string
		var began int64
		err := rows.Scan(&i.Move, &i.Renewal, &i.Name, &i.Wave, &i.State, &before, &after, &began, &i.Error)
		i.Began = timeOf(began)
		return i, errors.Join(err, json.Unmarshal([]byte(before), &i.Before), json.Unmarshal([]byte(after), &i.After))
	})
}

// CountMoveItems returns how many items of a move are in each state, by wave.
func (db *DB) CountMoveItems(ctx context.Context, move int64) (map[int64]map[string]int64, error) {
	counts := map[int64]map[string]int64{}
	rows, err := db.read.QueryContext(ctx, `SELECT wave, state, COUNT(*) FROM move_items WHERE move_id = $1 GROUP BY wave, state`, move)
	err = each(rows, err, func(rows *sql.Rows) error {
		var wave, n int64
		var state string
		err := rows.Scan(&wave, &state, &n)
		if counts[wave] == nil {
			counts[wave] = map[string]int64{}
		}
		counts[wave][state] = n
		return err
	})
	return counts, db.wrap("couldn't count what moves", err)
}

// BeginItem gives a renewal its new home and makes it due, once. ErrConflict: it
// was begun before, its move no longer runs, or the renewal is not what it was.
func (db *DB) BeginItem(ctx context.Context, i MoveItem, now time.Time) error {
	err := db.tx(ctx, func(tx *writing) error {
		const begin = `UPDATE move_items SET state = 'running', began = $1 WHERE move_id = $2 AND renewal_id = $3 AND state = 'waiting'
			AND EXISTS (SELECT 1 FROM moves m WHERE m.id = $2 AND m.state = 'running' AND m.wave = $4)`
		result, err := tx.ExecContext(ctx, begin, micros(now), i.Move, i.Renewal, i.Wave)
		if err := changedOne(result, err); err != nil {
			return err
		}
		return moveHome(ctx, tx, i.Renewal, i.Before, i.After, DueMoved, now)
	})
	return db.wrap("couldn't move "+i.Name, err)
}

// moveHome takes a renewal from one home to another. An order that is under way
// there ends: it would certify for the home that was left.
func moveHome(ctx context.Context, tx *writing, renewal int64, from, to Home, why string, due time.Time) error {
	const move = `UPDATE renewals SET issuer = $1, profile = $2, names = $3, due = $4, why = $5, failures = 0, refused = FALSE
		WHERE id = $6 AND issuer = $7 AND profile = $8 AND names = $9`
	result, err := tx.ExecContext(ctx, move, to.Issuer, to.Profile, stringsText(to.Names), micros(due), why, renewal, from.Issuer, from.Profile, stringsText(from.Names))
	if err := changedOne(result, err); err != nil {
		return err
	}
	const end = `UPDATE renewal_orders SET step = 'failed', ended = $1, attempt = attempt + 1, owner = '', lease = 0, error = 'the renewal has another issuer now'
		WHERE renewal_id = $2 AND ended = 0`
	_, err = tx.ExecContext(ctx, end, micros(due), renewal)
	return err
}

// EndItem ends an item that runs, or leaves one out that waits. One that has
// failed goes back to where it was before, as far as it is still where the move
// took it.
func (db *DB) EndItem(ctx context.Context, i MoveItem, due time.Time) error {
	err := db.tx(ctx, func(tx *writing) error {
		const end = `UPDATE move_items SET state = $1, error = $2 WHERE move_id = $3 AND renewal_id = $4 AND state IN ('waiting', 'running')`
		result, err := tx.ExecContext(ctx, end, i.State, cleanText(i.Error), i.Move, i.Renewal)
		if err := changedOne(result, err); err != nil {
			return err
		}
		if i.State != ItemFailed || i.Began.IsZero() {
			return nil
		}
		var n int64
		const there = `SELECT COUNT(*) FROM renewals WHERE id = $1 AND issuer = $2 AND profile = $3 AND names = $4`
		if err := tx.QueryRowContext(ctx, there, i.Renewal, i.After.Issuer, i.After.Profile, stringsText(i.After.Names)).Scan(&n); err != nil || n == 0 {
			return err
		}
		return moveHome(ctx, tx, i.Renewal, i.After, i.Before, DueLife, due)
	})
	return db.wrap("couldn't end the move of "+i.Name, err)
}

// TurnMove takes a move from one state and wave to another; ErrConflict when it is
// not there any more.
func (db *DB) TurnMove(ctx context.Context, from Move, to Move) error {
	const query = `UPDATE moves SET state = $1, wave = $2, error = $3, ended = $4 WHERE id = $5 AND state = $6 AND wave = $7`
	return db.ownRun(ctx, "couldn't change the move", query, to.State, to.Wave, cleanText(to.Error), micros(to.Ended), from.ID, from.State, from.Wave)
}

// RetryMove lets the items of a move wait again that have failed, and makes the
// move go on with the wave of the first of them.
func (db *DB) RetryMove(ctx context.Context, m Move) error {
	err := db.tx(ctx, func(tx *writing) error {
		var first sql.NullInt64
		const wave = `SELECT MIN(wave) FROM move_items WHERE move_id = $1 AND state IN ('failed', 'waiting')`
		if err := tx.QueryRowContext(ctx, wave, m.ID).Scan(&first); err != nil {
			return err
		}
		if !first.Valid {
			first.Int64 = m.Wave
		}
		if _, err := tx.ExecContext(ctx, `UPDATE move_items SET state = 'waiting', began = 0, error = '' WHERE move_id = $1 AND state = 'failed'`, m.ID); err != nil {
			return err
		}
		result, err := tx.ExecContext(ctx, `UPDATE moves SET state = 'running', wave = $1, error = '', ended = 0 WHERE id = $2 AND state = 'stopped'`, first.Int64, m.ID)
		return changedOne(result, err)
	})
	return db.wrap("couldn't let the move go on", err)
}

// A RunningItem is one that is under way, with the newest order that was begun for it.
type RunningItem struct {
	MoveItem
	Step       string // "" before there is an order
	Failures   int64
	OrderError string
}

// RunningItems returns the items of a wave that are under way.
func (db *DB) RunningItems(ctx context.Context, move, wave int64) ([]RunningItem, error) {
	const query = `SELECT i.move_id, i.renewal_id, i.name, i.wave, i.state, i.before, i.after, i.began, COALESCE(o.step, ''), COALESCE(o.failures, 0), COALESCE(o.error, '')
		FROM move_items i LEFT JOIN renewal_orders o ON o.id = (SELECT MAX(l.id) FROM renewal_orders l WHERE l.renewal_id = i.renewal_id AND l.began >= i.began)
		WHERE i.move_id = $1 AND i.wave = $2 AND i.state = 'running' ORDER BY i.name`
	rows, err := db.read.QueryContext(ctx, query, move, wave)
	return collect(db, "couldn't list what moves", rows, err, func(rows *sql.Rows) (RunningItem, error) {
		var i RunningItem
		var before, after string
		var began int64
		err := rows.Scan(&i.Move, &i.Renewal, &i.Name, &i.Wave, &i.State, &before, &after, &began, &i.Step, &i.Failures, &i.OrderError)
		i.Began = timeOf(began)
		return i, errors.Join(err, json.Unmarshal([]byte(before), &i.Before), json.Unmarshal([]byte(after), &i.After))
	})
}

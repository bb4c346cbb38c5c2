// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"math"
	"time"
)

// The steps of a RenewalOrder, in their order. It stands at the one that is to be
// done next; done and failed are the ends.
const (
	StepKey     = "key"     // a key is made, and kept before anything else is done
	StepRequest = "request" // a certificate request is made of it
	StepIssue   = "issue"   // the issuer is asked
	StepDeliver = "deliver" // the certificate is kept, its files are written
	StepHook    = "hook"    // those who use it are told
	StepDone    = "done"
	StepFailed  = "failed"
)

// A RenewalOrder is one attempt to get one certificate. Who works at it holds a
// lease; Attempt grows with each who does and is the fence: nothing is written by
// one who has lost it.
type RenewalOrder struct {
	ID, Renewal     int64
	Issuer, Profile string
	Why             string
	Step            string
	KeyID           string
	CSR             []byte
	State           string // of the issuer's driver
	Chain           []byte // PEM
	Failures        int64
	Attempt         int64
	Next            time.Time
	Owner           string
	Error           string
	Began, Ended    time.Time
}

const orderColumns = `id, renewal_id, issuer, profile, why, step, key_id, csr, state, chain, failures, attempt, next, owner, error, began, ended`

func scanOrder(row scanner) (RenewalOrder, error) {
	var o RenewalOrder
	var next, began, ended int64
	err := row.Scan(&o.ID, &o.Renewal, &o.Issuer, &o.Profile, &o.Why, &o.Step, &o.KeyID, &o.CSR, &o.State, &o.Chain, &o.Failures, &o.Attempt, &next, &o.Owner, &o.Error, &began, &ended)
	o.Next, o.Began, o.Ended = timeOf(next), timeOf(began), timeOf(ended)
	return o, err
}

// urgency is when a renewal must be through at the latest, for the order in which
// renewals go: recalls first, then those that end first. What has no certificate
// yet waits like one that ends a week after it was added, so that it neither goes
// before those that would expire, nor waits for ever.
const urgency = `CASE WHEN r.why = 'recall' THEN 0 WHEN r.not_after = 0 THEN r.created + 604800000000 ELSE r.not_after END`

const hourMicros = int64(time.Hour / time.Microsecond)

// A Budget is how many orders an issuer may be asked for; 0 is without limit.
type Budget struct{ PerHour, PerWeek int }

// left returns how many are left now. Hours are those of the clock: what was asked
// for in the hour before counts by the share of it that is less than an hour ago.
func (b Budget) left(tx *writing, ctx context.Context, issuer string, now int64) (int, error) {
	if b == (Budget{}) {
		return math.MaxInt, nil
	}
	hour := now / hourMicros
	left := math.MaxInt
	var current, before, week int64
	const query = `SELECT hour, orders FROM issuer_hours WHERE issuer = $1 AND hour > $2 AND hour <= $3`
	rows, err := tx.QueryContext(ctx, query, issuer, hour-168, hour)
	err = each(rows, err, func(rows *sql.Rows) error {
		var h, n int64
		err := rows.Scan(&h, &n)
		switch h {
		case hour:
			current = n
		case hour - 1:
			before = n
		}
		week += n
		return err
	})
	if err != nil {
		return 0, err
	}
	if b.PerHour > 0 {
		rest := hourMicros - now%hourMicros
		left = b.PerHour - int(current) - int((before*rest+hourMicros-1)/hourMicros)
	}
	if b.PerWeek > 0 {
		left = min(left, b.PerWeek-int(week))
	}
	return max(left, 0), nil
}

// OpenOrders begins orders for the renewals of an issuer that are due, at most
// limit and no more than the budget has left, the most urgent first. A renewal has
// one order at a time; one whose certificate is there and could not be delivered
// gives way to the next.
func (db *DB) OpenOrders(ctx context.Context, issuer string, budget Budget, now time.Time, limit int) (int, error) {
	ids, err := db.newIDs(ctx, int64(limit))
	if err != nil {
		return 0, err
	}
	opened := 0
	err = db.tx(ctx, func(tx *writing) error {
		opened = 0
		at := micros(now)
		// Who has this row counts; others wait for it.
		const count = `INSERT INTO issuer_hours (issuer, hour, orders) VALUES ($1, $2, $3) ON CONFLICT (issuer, hour) DO UPDATE SET orders = issuer_hours.orders + excluded.orders`
		if _, err := tx.ExecContext(ctx, count, issuer, at/hourMicros, 0); err != nil {
			return err
		}
		left, err := budget.left(tx, ctx, issuer, at)
		if err != nil || left == 0 {
			return err
		}
		if err := supersede(ctx, tx, issuer, at); err != nil {
			return err
		}
		due, err := dueOf(ctx, tx, issuer, at, min(left, limit))
		if err != nil || len(due) == 0 {
			return err
		}
		rows := make([][]any, len(due))
		for i, o := range due {
			rows[i] = []any{ids + int64(i), o.Renewal, issuer, o.Profile, o.Why, StepKey, []byte{}, []byte{}, at, o.urgency, at, o.Failures}
		}
		insert := bulk{head: `INSERT INTO renewal_orders (id, renewal_id, issuer, profile, why, step, csr, chain, next, urgency, began, failures) VALUES `, width: 12}
		if _, err := insert.exec(ctx, tx, rows); err != nil {
			return err
		}
		opened = len(due)
		_, err = tx.ExecContext(ctx, count, issuer, at/hourMicros, len(due))
		return err
	})
	return opened, db.wrap("couldn't begin orders", err)
}

// supersede ends orders whose renewals are due again: those that have their
// certificate, and those that would certify a key once more that is recalled.
func supersede(ctx context.Context, tx *writing, issuer string, now int64) error {
	const query = `UPDATE renewal_orders SET step = 'failed', ended = $1, attempt = attempt + 1, owner = '', lease = 0,
		error = CASE WHEN error = '' THEN 'a newer order takes its place' ELSE error END
		WHERE ended = 0 AND renewal_id IN (SELECT r.id FROM renewals r WHERE r.issuer = $2 AND r.paused = FALSE AND r.due <= $1)
		AND (step IN ('deliver', 'hook') OR renewal_id IN (SELECT r.id FROM renewals r WHERE r.id = renewal_orders.renewal_id AND r.why = 'recall' AND r.key_id <> '' AND r.key_id = renewal_orders.key_id))`
	_, err := tx.ExecContext(ctx, query, now, issuer)
	return err
}

// A dueRenewal is one that gets an order.
type dueRenewal struct {
	RenewalOrder
	urgency int64
}

func dueOf(ctx context.Context, tx *writing, issuer string, now int64, limit int) ([]dueRenewal, error) {
	query := `SELECT r.id, r.profile, r.why, r.failures, ` + urgency + ` AS u FROM renewals r WHERE r.issuer = $1 AND r.paused = FALSE AND r.due <= $2
		AND NOT EXISTS (SELECT 1 FROM renewal_orders o WHERE o.renewal_id = r.id AND o.ended = 0) ORDER BY u, r.due, r.id LIMIT $3` + tx.db.engine.locking()
	rows, err := tx.QueryContext(ctx, query, issuer, now, limit)
	var due []dueRenewal
	err = each(rows, err, func(rows *sql.Rows) error {
		var d dueRenewal
		err := rows.Scan(&d.Renewal, &d.Profile, &d.Why, &d.Failures, &d.urgency)
		due = append(due, d)
		return err
	})
	return due, err
}

// longestRest is the farthest that an order is put off: what is farther was put
// off by a clock that was wrong.
const longestRest = 25 * time.Hour

// ClaimOrders takes at most limit orders for a node and for a time, the most
// urgent first: those whose time has come and that nobody holds. Those of the
// issuers that are busy are left. A lease that ends later than any that is given
// now was given by a wrong clock, and has run out as well.
func (db *DB) ClaimOrders(ctx context.Context, node string, now time.Time, lease time.Duration, limit int, busy ...string) ([]RenewalOrder, error) {
	args := []any{micros(now), micros(now.Add(2 * lease)), micros(now.Add(longestRest)), limit}
	others := ""
	for _, issuer := range busy {
		args = append(args, issuer)
		others += " AND o.issuer <> $" + itoa(int64(len(args)))
	}
	var claimed []RenewalOrder
	err := db.tx(ctx, func(tx *writing) error {
		claimed = nil
		pick := `SELECT o.id FROM renewal_orders o WHERE o.ended = 0 AND (o.next <= $1 OR o.next > $3) AND (o.lease < $1 OR o.lease > $2)` + others + `
			AND NOT EXISTS (SELECT 1 FROM renewals r WHERE r.id = o.renewal_id AND r.paused = TRUE) ORDER BY o.urgency, o.next, o.id LIMIT $4` + tx.db.engine.locking()
		rows, err := tx.QueryContext(ctx, pick, args...)
		var ids []int64
		err = each(rows, err, func(rows *sql.Rows) error {
			var id int64
			err := rows.Scan(&id)
			ids = append(ids, id)
			return err
		})
		if err != nil {
			return err
		}
		const claim = `UPDATE renewal_orders SET owner = $1, lease = $2, attempt = attempt + 1 WHERE id = $3 RETURNING ` + orderColumns
		for _, id := range ids {
			stmt, err := tx.prepared(ctx, claim)
			if err != nil {
				return err
			}
			o, err := scanOrder(stmt.QueryRowContext(ctx, node, micros(now.Add(lease)), id))
			if err != nil {
				return err
			}
			claimed = append(claimed, o)
		}
		return nil
	})
	return claimed, db.wrap("couldn't take up orders", err)
}

// fenced is the condition under which an order may be written by who took it up.
const fenced = ` WHERE id = $1 AND owner = $2 AND attempt = $3 AND ended = 0`

// ownOrder changes an order of the caller's and what hangs on it, together.
func (db *DB) ownOrder(ctx context.Context, doing string, o RenewalOrder, set string, args []any, more func(*writing) error) error {
	ctx = context.WithoutCancel(ctx)
	err := db.grouped(ctx, func(tx *writing) error {
		stmt, err := tx.prepared(ctx, `UPDATE renewal_orders SET `+set+fenced)
		if err != nil {
			return err
		}
		result, err := stmt.ExecContext(ctx, append([]any{o.ID, o.Owner, o.Attempt}, args...)...)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n == 0 {
			return orConflict(err)
		}
		if more == nil {
			return nil
		}
		return more(tx)
	})
	return db.wrap(doing, err)
}

// KeepOrder writes how far an order has come: its step, its key, its request and
// what its issuer's driver wants to be told. ErrConflict when it is somebody else's.
func (db *DB) KeepOrder(ctx context.Context, o RenewalOrder, lease time.Time) error {
	const set = `step = $4, key_id = $5, csr = $6, state = $7, lease = $8`
	return db.ownOrder(ctx, "couldn't keep an order", o, set, []any{o.Step, o.KeyID, orEmpty(o.CSR), o.State, micros(lease)}, nil)
}

// LeaseOrder keeps the claim on an order. ErrConflict when it is somebody else's.
func (db *DB) LeaseOrder(ctx context.Context, o RenewalOrder, lease time.Time) error {
	return db.ownOrder(ctx, "couldn't keep the claim on an order", o, `lease = $4`, []any{micros(lease)}, nil)
}

// RestOrder puts an order down until o.Next. With an error it has failed, which is
// told of the renewal as well.
func (db *DB) RestOrder(ctx context.Context, o RenewalOrder) error {
	const set = `step = $4, state = $5, failures = $6, next = $7, error = $8, owner = '', lease = 0`
	return db.ownOrder(ctx, "couldn't put an order down", o, set, []any{o.Step, o.State, o.Failures, micros(o.Next), cleanText(o.Error)}, func(tx *writing) error {
		_, err := tx.ExecContext(ctx, `UPDATE renewals SET failures = $1, error = $2 WHERE id = $3`, o.Failures, cleanText(o.Error), o.Renewal)
		return err
	})
}

// CertifyOrder keeps the certificate that came of an order, in one change with
// the renewal, which has it from then on. With o.Ended nothing more is to be done.
func (db *DB) CertifyOrder(ctx context.Context, o RenewalOrder, r Renewal) error {
	const set = `step = $4, chain = $5, state = '', failures = 0, error = '', ended = $6`
	return db.ownOrder(ctx, "couldn't keep a certificate", o, set, []any{o.Step, o.Chain, micros(o.Ended)}, func(tx *writing) error {
		const query = `UPDATE renewals SET issued_by = $1, certificate = $2, key_id = $3, not_before = $4, not_after = $5, due = $6, why = $7, look = $8,
			explanation = '', failures = 0, refused = FALSE, error = '' WHERE id = $9`
		stmt, err := tx.prepared(ctx, query)
		if err != nil {
			return err
		}
		result, err := stmt.ExecContext(ctx, o.Issuer, o.Chain, o.KeyID, micros(r.NotBefore), micros(r.NotAfter), micros(r.Due), r.Why, micros(r.Look), o.Renewal)
		return changedOne(result, err)
	})
}

// FinishOrder ends an order that is done.
func (db *DB) FinishOrder(ctx context.Context, o RenewalOrder, now time.Time) error {
	const set = `step = 'done', ended = $4, failures = 0, error = '', owner = '', lease = 0`
	return db.ownOrder(ctx, "couldn't finish an order", o, set, []any{micros(now)}, func(tx *writing) error {
		stmt, err := tx.prepared(ctx, `UPDATE renewals SET failures = 0, error = '' WHERE id = $1`)
		if err != nil {
			return err
		}
		_, err = stmt.ExecContext(ctx, o.Renewal)
		return err
	})
}

// FailOrder ends an order that comes to nothing, and says when the renewal begins
// another one.
func (db *DB) FailOrder(ctx context.Context, o RenewalOrder, now time.Time, r Renewal) error {
	const set = `step = 'failed', ended = $4, error = $5, failures = $6, owner = '', lease = 0`
	return db.ownOrder(ctx, "couldn't end an order", o, set, []any{micros(now), cleanText(o.Error), o.Failures}, func(tx *writing) error {
		const query = `UPDATE renewals SET due = $1, failures = $2, refused = $3, error = $4 WHERE id = $5`
		_, err := tx.ExecContext(ctx, query, micros(r.Due), r.Failures, r.Refused, cleanText(o.Error), o.Renewal)
		return err
	})
}

// RenewalOrders returns at most limit orders of a renewal, or of all when it is 0,
// whose number is below before, the newest first; before 0 is from the newest on.
func (db *DB) RenewalOrders(ctx context.Context, renewal, before int64, limit int) ([]RenewalOrder, error) {
	if before <= 0 {
		before = forever
	}
	where, args := `id < $1`, []any{before, limit}
	if renewal != 0 {
		where, args = where+` AND renewal_id = $3`, append(args, renewal)
	}
	rows, err := db.read.QueryContext(ctx, `SELECT `+orderColumns+` FROM renewal_orders WHERE `+where+` ORDER BY id DESC LIMIT $2`, args...)
	return collect(db, "couldn't list the orders", rows, err, func(rows *sql.Rows) (RenewalOrder, error) { return scanOrder(rows) })
}

// keptOrders is how many orders of a renewal are kept after they have ended.
const keptOrders = 10

// ForgetOrders drops the orders of a renewal that ended long ago, and returns their
// keys, as far as nothing else uses them.
func (db *DB) ForgetOrders(ctx context.Context, renewal int64) ([]string, error) {
	const old = `SELECT id FROM renewal_orders WHERE renewal_id = $1 AND ended > 0 ORDER BY id DESC LIMIT 1 OFFSET $2`
	stmt, err := db.prepared(ctx, old)
	if err != nil {
		return nil, db.wrap("couldn't forget old orders", err)
	}
	var newest int64
	if err := stmt.QueryRowContext(ctx, renewal, keptOrders).Scan(&newest); err == sql.ErrNoRows {
		return nil, nil
	} else if err != nil {
		return nil, db.wrap("couldn't forget old orders", err)
	}
	var keys []string
	err = db.tx(ctx, func(tx *writing) error {
		keys = nil
		const unused = `SELECT DISTINCT o.key_id FROM renewal_orders o WHERE o.renewal_id = $1 AND o.id <= $2 AND o.ended > 0 AND o.key_id <> ''
			AND NOT EXISTS (SELECT 1 FROM renewals r WHERE r.id = $1 AND r.key_id = o.key_id)
			AND NOT EXISTS (SELECT 1 FROM renewal_orders l WHERE l.renewal_id = $1 AND l.id > $2 AND l.key_id = o.key_id)`
		rows, err := tx.QueryContext(ctx, unused, renewal, newest)
		err = each(rows, err, func(rows *sql.Rows) error {
			var key string
			err := rows.Scan(&key)
			keys = append(keys, key)
			return err
		})
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM renewal_orders WHERE renewal_id = $1 AND id <= $2 AND ended > 0`, renewal, newest)
		return err
	})
	return keys, db.wrap("couldn't forget old orders", err)
}

// IssuerHours returns how many orders were begun at each issuer in the last hour
// of the clock and in the last 168.
func (db *DB) IssuerHours(ctx context.Context, now time.Time) (hour, week map[string]int64, err error) {
	hour, week = map[string]int64{}, map[string]int64{}
	current := micros(now) / hourMicros
	rows, err := db.read.QueryContext(ctx, `SELECT issuer, hour, orders FROM issuer_hours WHERE hour > $1 AND hour <= $2`, current-168, current)
	err = each(rows, err, func(rows *sql.Rows) error {
		var issuer string
		var h, n int64
		err := rows.Scan(&issuer, &h, &n)
		if h == current {
			hour[issuer] += n
		}
		week[issuer] += n
		return err
	})
	return hour, week, db.wrap("couldn't read what issuers were asked", err)
}

// DueIssuers returns the issuers of renewals that are due and have no order.
func (db *DB) DueIssuers(ctx context.Context, now time.Time) ([]string, error) {
	stmt, err := db.prepared(ctx, `SELECT DISTINCT issuer FROM renewals WHERE paused = FALSE AND due <= $1`)
	if err != nil {
		return nil, db.wrap("couldn't look for renewals that are due", err)
	}
	rows, err := stmt.QueryContext(ctx, micros(now))
	return collect(db, "couldn't look for renewals that are due", rows, err, func(rows *sql.Rows) (string, error) {
		var issuer string
		return issuer, rows.Scan(&issuer)
	})
}

// CountReady returns how many orders ClaimOrders could take now.
func (db *DB) CountReady(ctx context.Context, now time.Time, lease time.Duration) (int, error) {
	const query = `SELECT COUNT(*) FROM renewal_orders o WHERE o.ended = 0 AND (o.next <= $1 OR o.next > $3) AND (o.lease < $1 OR o.lease > $2)
		AND NOT EXISTS (SELECT 1 FROM renewals r WHERE r.id = o.renewal_id AND r.paused = TRUE)`
	stmt, err := db.prepared(ctx, query)
	if err != nil {
		return 0, db.wrap("couldn't look for orders", err)
	}
	var n int
	err = stmt.QueryRowContext(ctx, micros(now), micros(now.Add(2*lease)), micros(now.Add(longestRest))).Scan(&n)
	return n, db.wrap("couldn't look for orders", err)
}

// AccountKey returns the key by which we are known to an issuer, by its id in
// custody. The first that is proposed stays; "" proposes none.
func (db *DB) AccountKey(ctx context.Context, issuer, proposed string) (string, error) {
	name := "account key of issuer " + issuer
	if proposed != "" {
		_, err := db.write.ExecContext(ctx, `INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`, name, proposed)
		if err != nil {
			return "", db.wrap("couldn't keep the account key of "+issuer, err)
		}
	}
	var id string
	err := db.read.QueryRowContext(ctx, `SELECT value FROM settings WHERE name = $1`, name).Scan(&id)
	if err == sql.ErrNoRows {
		return "", nil
	}
	return id, db.wrap("couldn't read the account key of "+issuer, err)
}

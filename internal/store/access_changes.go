// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// An AccessChange is a change of who gets in with what has become of it here.
type AccessChange struct {
	ID int64 `json:"id"`
	tallystick.Change
	// RecordID is the record's own, Change.ID, for programs: they see ID as id.
	RecordID string `json:"record_id,omitempty"`
	// Expected is who expected it, and why; "" is nobody.
	Expected string `json:"expected,omitempty"`
	// TakenBackBy is the change by which Undo took it back, once a directory has told of that; 0 is not, or not any more, or not told yet.
	TakenBackBy int64     `json:"taken_back_by,omitempty"`
	UsedAt      time.Time `json:"used_at,omitzero"` // when the target was first used after it
	UsedFrom    string    `json:"used_from,omitempty"`
}

// An AccessExpectation says that a change is expected: whoever sees it is not to be alarmed.
type AccessExpectation struct {
	ID     int64                 `json:"id"`
	Target string                `json:"target"`
	Kind   tallystick.ChangeKind `json:"kind,omitempty"`  // "" is any
	Actor  string                `json:"actor,omitempty"` // also without "account:"; "" is anybody
	Since  time.Time             `json:"since"`
	Until  time.Time             `json:"until"`
	By     string                `json:"by"`
	Reason string                `json:"reason"`
	// TakesBack is the change whose very opposite is expected, and nothing else; 0 is none.
	TakesBack int64 `json:"-"`
}

// accessRecord is what makes a change this one and no other. The same record may
// come by several ways, so that its source is not part of it; one without an id
// is itself.
func accessRecord(c tallystick.Change) string {
	identity := []any{c.ID, c.Kind, c.Target, c.Credential, c.Grants, c.Before, c.After}
	if c.ID == "" {
		c.Source = ""
		identity = []any{c}
	}
	sum := sha256.Sum256([]byte(jsonText(identity)))
	return hex.EncodeToString(sum[:])
}

const accessColumns = `id, change, expected, used_at, used_from,
	COALESCE((SELECT MIN(b.id) FROM access_changes b WHERE b.takes_back = access_changes.id AND b.takes_back > 0
		AND NOT EXISTS (SELECT 1 FROM access_changes c WHERE c.takes_back = b.id AND c.takes_back > 0)), 0)`

func scanAccessChange(row *sql.Rows) (AccessChange, error) {
	var c AccessChange
	var text string
	var used int64
	if err := row.Scan(&c.ID, &text, &c.Expected, &used, &c.UsedFrom, &c.TakenBackBy); err != nil {
		return c, err
	}
	c.UsedAt = timeOf(used)
	err := json.Unmarshal([]byte(text), &c.Change)
	c.RecordID = c.Change.ID
	return c, err
}

// RecordAccessChanges keeps changes and returns those that were not known, each
// with who expected it. A change that is known already is dropped.
func (db *DB) RecordAccessChanges(ctx context.Context, list []tallystick.Change) ([]AccessChange, error) {
	if len(list) == 0 {
		return nil, nil
	}
	id, err := db.newIDs(ctx, int64(len(list)))
	if err != nil {
		return nil, err
	}
	var fresh []AccessChange
	err = db.tx(ctx, func(tx *writing) error {
		fresh = nil
		for i, c := range list {
			expected, takesBack, err := explained(ctx, tx, c)
			if err != nil {
				return err
			}
			account := ""
			if len(c.Accounts) > 0 {
				account = tallystick.NormalName(c.Accounts[0])
			}
			const insert = `INSERT INTO access_changes (id, record, time, kind, failed, source, actor, target, account, expected, change, takes_back)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (record) DO NOTHING`
			done, err := tx.ExecContext(ctx, insert, id+int64(i), accessRecord(c), micros(c.Time), string(c.Kind), c.Failed, cleanText(c.Source),
				cleanText(c.Actor), IndexText(c.Target), IndexText(account), expected, cleanText(jsonText(c)), takesBack)
			if err != nil {
				return err
			}
			if n, err := done.RowsAffected(); err != nil {
				return err
			} else if n > 0 {
				fresh = append(fresh, AccessChange{ID: id + int64(i), Change: c, RecordID: c.ID, Expected: expected})
			}
		}
		return nil
	})
	return fresh, db.wrap("couldn't record changes of who gets in", err)
}

// announced returns who announced a change, and why; "" is nobody. An expectation holds for what
// happens after it was made and not after its end.
func announced(ctx context.Context, tx *writing, c tallystick.Change) (string, error) {
	const query = `SELECT by_whom, reason FROM access_expectations WHERE takes_back = 0 AND (target = $1 OR target LIKE $5 ESCAPE '!') AND since <= $2 AND until >= $2
		AND (kind = '' OR kind = $3) AND (actor = '' OR actor = $4 OR '` + accountPrefix + `' || actor = $4) ORDER BY id LIMIT 1`
	var by, reason string
	err := tx.QueryRowContext(ctx, query, IndexText(c.Target), micros(c.Time), string(c.Kind), cleanText(c.Actor), inAnyTenant(c.Target)).Scan(&by, &reason)
	if err == sql.ErrNoRows {
		return "", nil
	}
	return by + ": " + reason, err
}

// inAnyTenant returns the pattern of a target in any tenant for one whose record
// names none, as Graph's directoryAudit does not: "entra-app:/OBJECT" is the
// object that was announced as "entra-app:TENANT/OBJECT", since its id is unique
// among all tenants. Of any other target it is "", which nothing is like.
func inAnyTenant(target string) string {
	kind, object, ok := strings.Cut(IndexText(target), ":/")
	if !ok || object == "" || !strings.HasPrefix(kind, "entra-") || strings.ContainsAny(kind, ":/") || strings.Contains(object, "/") {
		return ""
	}
	escape := strings.NewReplacer("!", "!!", "%", "!%", "_", "!_")
	// A tenant is a GUID: that many characters, and no more, keep the pattern from
	// taking in what merely ends alike.
	return escape.Replace(kind) + ":" + strings.Repeat("_", 36) + "/" + escape.Replace(object)
}

// ExpectAccessChange keeps an expectation and returns it with its id.
func (db *DB) ExpectAccessChange(ctx context.Context, e AccessExpectation) (AccessExpectation, error) {
	id, err := db.newIDs(ctx, 1)
	if err != nil {
		return e, err
	}
	e.ID = id
	const insert = `INSERT INTO access_expectations (id, target, kind, actor, since, until, by_whom, reason, takes_back) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`
	_, err = db.write.ExecContext(ctx, insert, id, IndexText(e.Target), string(e.Kind), cleanText(e.Actor), micros(e.Since), micros(e.Until), cleanText(e.By), cleanText(e.Reason), e.TakesBack)
	return e, db.wrap("couldn't keep what is expected", err)
}

// AccessExpectations returns the expectations that have not ended at a time, the
// soonest to end first.
func (db *DB) AccessExpectations(ctx context.Context, now time.Time) ([]AccessExpectation, error) {
	const query = `SELECT id, target, kind, actor, since, until, by_whom, reason, takes_back FROM access_expectations WHERE until >= $1 ORDER BY until, id LIMIT 1000`
	rows, err := db.read.QueryContext(ctx, query, micros(now))
	return collect(db, "couldn't list what is expected", rows, err, func(rows *sql.Rows) (AccessExpectation, error) {
		var e AccessExpectation
		var since, until int64
		err := rows.Scan(&e.ID, &e.Target, &e.Kind, &e.Actor, &since, &until, &e.By, &e.Reason, &e.TakesBack)
		e.Since, e.Until = timeOf(since), timeOf(until)
		return e, err
	})
}

// aroundAccess finds the changes of a target, or of what signs in under the same account.
const aroundAccess = `SELECT ` + accessColumns + ` FROM access_changes WHERE (target = $1 OR account > '' AND account = $2) AND time <= $3 `

// AccessChangesAround returns the newest changes of a target, or of what signs in
// under the same account, between two times, both inclusive, the newest first.
func (db *DB) AccessChangesAround(ctx context.Context, target, account string, from, to time.Time, limit int) ([]AccessChange, error) {
	query := aroundAccess + `AND time >= $4 ORDER BY time DESC, id DESC LIMIT ` + itoa(int64(limit))
	rows, err := db.read.QueryContext(ctx, query, IndexText(target), IndexText(tallystick.NormalName(account)), micros(to), micros(from))
	return collect(db, "couldn't look for changes nearby", rows, err, scanAccessChange)
}

// AccessChangesAfter returns such changes behind one, in the order of time and
// then of ids; of that one only its time and its id count.
func (db *DB) AccessChangesAfter(ctx context.Context, target, account string, after AccessChange, to time.Time, limit int) ([]AccessChange, error) {
	query := aroundAccess + `AND (time > $4 OR time = $4 AND id > $5) AND time >= $4 ORDER BY time, id LIMIT ` + itoa(int64(limit))
	rows, err := db.read.QueryContext(ctx, query, IndexText(target), IndexText(tallystick.NormalName(account)), micros(to), micros(after.Time), after.ID)
	return collect(db, "couldn't look for changes nearby", rows, err, scanAccessChange)
}

// UnjudgedAccessChanges returns changes that the rules have not seen, in the order
// in which they came.
func (db *DB) UnjudgedAccessChanges(ctx context.Context, limit int) ([]AccessChange, error) {
	query := `SELECT ` + accessColumns + ` FROM access_changes WHERE judged = FALSE ORDER BY id LIMIT ` + itoa(int64(limit))
	rows, err := db.read.QueryContext(ctx, query)
	return collect(db, "couldn't look for changes to judge", rows, err, scanAccessChange)
}

// AccessChangesJudged records that the rules have seen changes.
func (db *DB) AccessChangesJudged(ctx context.Context, list []AccessChange) error {
	return db.wrap("couldn't record what was judged", db.tx(ctx, func(tx *writing) error {
		for _, c := range list {
			if _, err := tx.ExecContext(ctx, `UPDATE access_changes SET judged = TRUE WHERE id = $1`, c.ID); err != nil {
				return err
			}
		}
		return nil
	}))
}

// UseAccessChange records when a target was first used after a change: the
// earliest that is told counts. It says whether that is news.
func (db *DB) UseAccessChange(ctx context.Context, id int64, at time.Time, from string) (bool, error) {
	const query = `UPDATE access_changes SET used_at = $1, used_from = $2 WHERE id = $3 AND (used_at = 0 OR used_at > $1)`
	done, err := db.write.ExecContext(ctx, query, micros(at), cleanText(from), id)
	if err != nil {
		return false, db.wrap("couldn't record that a change was used", err)
	}
	n, err := done.RowsAffected()
	return n > 0, db.wrap("couldn't record that a change was used", err)
}

// accountPrefix is what the names of most actors begin with, and what people leave
// out.
const accountPrefix = "account:"

// An AccessFilter narrows the list of changes; the zero value is all.
type AccessFilter struct {
	Target     string // "entra-app:" is all that begin so
	Kind       tallystick.ChangeKind
	Actor      string    // also without "account:"
	From, To   time.Time // From is included, To is not
	Unexpected bool      // only what nobody expected, and what did not fail
}

func (f AccessFilter) where() *conditions {
	w := &conditions{}
	if target := strings.ToLower(f.Target); strings.HasSuffix(target, ":") {
		w.add(`target >= ?`, target)
		w.add(`target < ?`, prefixEnd(target))
	} else if target != "" {
		w.add(`target = ?`, target)
	}
	if f.Kind != "" {
		w.add(`kind = ?`, string(f.Kind))
	}
	if f.Actor != "" {
		w.add(`(actor = ? OR actor = ?)`, f.Actor, accountPrefix+f.Actor)
	}
	if !f.From.IsZero() {
		w.add(`time >= ?`, micros(f.From))
	}
	if !f.To.IsZero() {
		w.add(`time < ?`, micros(f.To))
	}
	if f.Unexpected {
		w.add(`expected = '' AND failed = FALSE`)
	}
	return w
}

// AccessChanges returns a page of changes, the newest first, and how many there
// are in all, counted up to CountCap.
func (db *DB) AccessChanges(ctx context.Context, f AccessFilter, r PageRequest) (Page[AccessChange], int64, error) {
	var page Page[AccessChange]
	w := f.where()
	total, err := db.count(ctx, `access_changes`, w)
	if err != nil {
		return page, 0, err
	}
	if r.After != "" {
		at, id, err := accessAfter(r.After)
		if err != nil {
			return page, 0, err
		}
		w.add(`(time < ? OR time = ? AND id < ?)`, at, at, id)
	}
	query := `SELECT ` + accessColumns + ` FROM access_changes WHERE ` + w.String() + ` ORDER BY time DESC, id DESC LIMIT ` + itoa(int64(r.Limit)+1)
	rows, err := db.read.QueryContext(ctx, query, w.args...)
	page.Items, err = collect(db, "couldn't list changes of who gets in", rows, err, scanAccessChange)
	if err == nil && len(page.Items) > r.Limit {
		page.Items = page.Items[:r.Limit]
		last := page.Items[r.Limit-1]
		page.Next = fmt.Sprintf("%d.%d", micros(last.Time), last.ID)
	}
	return page, total, err
}

// accessAfter reads what AccessChanges returned as Next.
func accessAfter(after string) (at, id int64, err error) {
	when, which, ok := strings.Cut(after, ".")
	at, err = strconv.ParseInt(when, 10, 64)
	if err == nil && ok {
		id, err = strconv.ParseInt(which, 10, 64)
	}
	if err != nil || !ok {
		return 0, 0, fmt.Errorf("%w: %q is not where a page ended", tallystick.ErrInvalid, after)
	}
	return at, id, nil
}

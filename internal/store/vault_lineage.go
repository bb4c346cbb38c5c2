// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"time"
)

// A Reader is a host that could use a wrapping key, from when to when.
type Reader struct {
	Host        string    `json:"host"`
	WrappingKey string    `json:"wrapping_key"`
	Since       time.Time `json:"since"`
	Heard       time.Time `json:"heard" doc:"when it last said so"`
	Until       time.Time `json:"until,omitzero" doc:"when somebody said that it no longer can"`
}

// ReportReader writes down that a host can use wrapping keys now. It is taken to be able
// to from then on, until EndReader: a key stays on its disk when its process ends.
func (db *DB) ReportReader(ctx context.Context, host string, keys []string, at time.Time) error {
	err := db.tx(ctx, func(tx *writing) error {
		for _, key := range keys {
			const update = `UPDATE vault_readers SET heard = $1 WHERE host = $2 AND wrapping_key = $3 AND until = $4`
			result, err := tx.ExecContext(ctx, update, micros(at), host, key, int64(forever))
			if err != nil {
				return err
			}
			if n, err := result.RowsAffected(); err != nil || n > 0 {
				if err != nil {
					return err
				}
				continue
			}
			const insert = `INSERT INTO vault_readers (host, wrapping_key, since, heard, until) VALUES ($1, $2, $3, $4, $5)`
			if _, err := tx.ExecContext(ctx, insert, host, key, micros(at), micros(at), int64(forever)); err != nil {
				return err
			}
		}
		return nil
	})
	return db.wrap("couldn't write down what this host can read", err)
}

// EndReader says that a host can no longer use any wrapping key, from a time on. A host
// that is not on record, or has ended before, is ErrNotFound.
func (db *DB) EndReader(ctx context.Context, host string, at time.Time) error {
	err := db.tx(ctx, func(tx *writing) error {
		result, err := tx.ExecContext(ctx, `UPDATE vault_readers SET until = $1 WHERE host = $2 AND until = $3`, micros(at), host, int64(forever))
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n > 0 {
			return err
		}
		return errNoReader(host)
	})
	return db.wrap("couldn't end a host", err)
}

// Readers returns the hosts that could use wrapping keys; a host or "" for all.
func (db *DB) Readers(ctx context.Context, host string) ([]Reader, error) {
	const query = `SELECT host, wrapping_key, since, heard, until FROM vault_readers WHERE host = $1 OR $1 = '' ORDER BY host, wrapping_key, since`
	rows, err := db.read.QueryContext(ctx, query, cleanText(host))
	return collect(db, "couldn't list hosts", rows, err, func(rows *sql.Rows) (r Reader, err error) {
		var since, heard, until int64
		err = rows.Scan(&r.Host, &r.WrappingKey, &since, &heard, &until)
		r.Since, r.Heard, r.Until = timeOf(since), timeOf(heard), timeOf(until)
		return r, err
	})
}

// A Reach is a wrapping key and when somebody had it.
type Reach struct {
	WrappingKey string
	From, To    time.Time // zero is any
}

// An Exposure is a version of a secret that could be read, from when to when.
type Exposure struct {
	ID          string    `json:"id"`
	Customer    string    `json:"customer"`
	System      string    `json:"system"`
	Account     string    `json:"account"`
	Kind        string    `json:"kind"`
	Version     int64     `json:"version"`
	Current     bool      `json:"current" doc:"nothing has replaced it yet"`
	Due         bool      `json:"due" doc:"it is to be replaced"`
	WrappingKey string    `json:"wrapping_key"`
	Since       time.Time `json:"since" doc:"from when on it could be read"`
	Until       time.Time `json:"until,omitzero" doc:"absent is still"`
}

// An exposureCursor is where a page of exposures ended.
type exposureCursor struct {
	Reach int    `json:"r"` // which of the reaches
	Past  bool   `json:"p,omitempty"`
	Key   string `json:"k,omitempty"`
	ID    int64  `json:"i,omitempty"`
}

// exposureNow and exposurePast are what was under a wrapping key: what is under it now, and then what was
// before. Both go along an index and need no sort, so that a page costs the same
// whatever lies behind it.
const (
	underSince  = `COALESCE(p.since, CASE WHEN s.rewrapped > 0 THEN s.rewrapped ELSE s.created END)`
	exposureNow = ` FROM secrets s LEFT JOIN past_wrappings p ON p.wrapping_key = $1 AND p.secret_id = s.id CROSS JOIN vault_versions v
		WHERE s.wrapping_key = $1 AND v.key_id = s.id AND s.id >= $2 AND (s.id > $2 OR v.id > $3)
		AND s.created < $5 AND ` + underSince + ` < $5 AND v.created < $5 AND (v.destroyed = 0 OR v.destroyed > $4 AND v.destroyed > ` + underSince + `)`
	exposurePast = ` FROM past_wrappings p CROSS JOIN vault_versions v
		WHERE p.wrapping_key = $1 AND NOT EXISTS (SELECT 1 FROM secrets s WHERE s.wrapping_key = $1 AND s.id = p.secret_id) AND v.key_id = p.secret_id AND p.secret_id >= $2 AND (p.secret_id > $2 OR v.id > $3)
		AND p.since < $5 AND p.until > $4 AND v.created < $5 AND v.created < p.until AND (v.destroyed = 0 OR v.destroyed > $4 AND v.destroyed > p.since)`
	exposureColumns = `SELECT x.key_id, x.id, e.ref, e.customer, e.system, e.account, e.kind, v.number, e.newest, e.due, x.created, x.destroyed, x.since, x.until
		FROM (SELECT v.key_id, v.id, v.created, v.destroyed, `
	exposureNames = `) AS x JOIN vault_versions v ON v.id = x.id JOIN vault_secrets e ON e.id = v.secret_id ORDER BY x.key_id, x.id`
)

// exposureQuery returns the query of a stage.
func exposureQuery(past bool) (columns, from, order string) {
	if past {
		return `p.since, p.until`, exposurePast, ` ORDER BY p.secret_id, v.id`
	}
	return underSince + ` AS since, 0 AS until`, exposureNow, ` ORDER BY s.id, v.id`
}

// Exposures lists which versions of secrets could be read with wrapping keys while
// somebody had them.
func (db *DB) Exposures(ctx context.Context, reaches []Reach, now time.Time, page PageRequest) (Page[Exposure], error) {
	result := Page[Exposure]{Items: []Exposure{}}
	var at exposureCursor
	if page.After != "" {
		text, err := base64.RawURLEncoding.DecodeString(page.After)
		if err != nil || json.Unmarshal(text, &at) != nil || at.Reach < 0 || at.Reach >= len(reaches) {
			return result, errNoPlace
		}
	}
	for at.Reach < len(reaches) && result.Next == "" {
		end, err := db.exposureStage(ctx, reaches[at.Reach], at, now, page.limit(), &result)
		if err != nil {
			return result, db.wrap("couldn't list what could be read", err)
		}
		switch {
		case end != nil:
			result.Next = base64.RawURLEncoding.EncodeToString([]byte(jsonText(end)))
		case at.Past:
			at = exposureCursor{Reach: at.Reach + 1}
		default:
			at = exposureCursor{Reach: at.Reach, Past: true}
		}
	}
	return result, nil
}

// exposureStage adds to a page what one stage has behind a place; it returns where the
// page is full, or nil.
func (db *DB) exposureStage(ctx context.Context, r Reach, at exposureCursor, now time.Time, limit int, result *Page[Exposure]) (*exposureCursor, error) {
	columns, from, order := exposureQuery(at.Past)
	rows, err := db.read.QueryContext(ctx, exposureColumns+columns+from+order+` LIMIT $6`+exposureNames, r.WrappingKey, cleanText(at.Key), at.ID, micros(r.From), endMicros(r.To), limit-len(result.Items)+1)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	last := at
	for rows.Next() {
		if len(result.Items) == limit {
			return &last, nil
		}
		var x Exposure
		var newest, due, created, destroyed, since, until int64
		if err := rows.Scan(&last.Key, &last.ID, &x.ID, &x.Customer, &x.System, &x.Account, &x.Kind, &x.Version, &newest, &due, &created, &destroyed, &since, &until); err != nil {
			return nil, err
		}
		x.Current, x.Due, x.WrappingKey = x.Version == newest && destroyed == 0, due <= micros(now), r.WrappingKey
		x.Since = timeOf(max(created, since, micros(r.From)))
		x.Until = timeOf(min(orForever(destroyed), orForever(until), endMicros(r.To)))
		result.Items = append(result.Items, x)
	}
	return nil, rows.Err()
}

// orForever returns an end as it is compared; 0 is none.
func orForever(us int64) int64 {
	if us == 0 {
		return forever
	}
	return us
}

// CountExposures counts what Exposures lists, up to CountCap.
func (db *DB) CountExposures(ctx context.Context, reaches []Reach) (total int64, err error) {
	for _, r := range reaches {
		for _, past := range []bool{false, true} {
			if total >= CountCap {
				return CountCap, nil
			}
			_, from, _ := exposureQuery(past)
			query := `SELECT COUNT(*) FROM (SELECT 1` + from + ` LIMIT $6) AS counted`
			var n int64
			err := db.read.QueryRowContext(ctx, query, r.WrappingKey, "", 0, micros(r.From), endMicros(r.To), CountCap-total).Scan(&n)
			if err != nil {
				return 0, db.wrap("couldn't count what could be read", err)
			}
			total += n
		}
	}
	return total, nil
}

// A KeySpan is from when to when a data key was under a wrapping key.
type KeySpan struct {
	WrappingKey  string
	Since, Until time.Time // Until is zero while it is
}

// KeySpans returns which wrapping keys a data key is and was under.
func (db *DB) KeySpans(ctx context.Context, key string) ([]KeySpan, error) {
	// One that came back under a key has a row of the past as well: then it is from its start on.
	const query = `SELECT s.wrapping_key, COALESCE(p.since, CASE WHEN s.rewrapped > 0 THEN s.rewrapped ELSE s.created END), 0
		FROM secrets s LEFT JOIN past_wrappings p ON p.wrapping_key = s.wrapping_key AND p.secret_id = s.id WHERE s.id = $1
		UNION ALL SELECT p.wrapping_key, p.since, p.until FROM secrets s JOIN past_wrappings p ON p.secret_id = s.id AND p.wrapping_key <> s.wrapping_key WHERE s.id = $1`
	rows, err := db.read.QueryContext(ctx, query, key)
	return collect(db, "couldn't read what a data key was under", rows, err, func(rows *sql.Rows) (k KeySpan, err error) {
		var since, until int64
		err = rows.Scan(&k.WrappingKey, &since, &until)
		k.Since, k.Until = timeOf(since), timeOf(until)
		return k, err
	})
}

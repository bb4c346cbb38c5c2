// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/tallystick/tallystick"
)

// A Count is a word and how many there are of it.
type Count struct {
	Name  string `json:"name"`
	Count int64  `json:"count"`
}

// A Day is how many certificates end on a day, in UTC.
type Day struct {
	Date  time.Time `json:"date"` // midnight
	Count int64     `json:"count"`
}

// A Summary is the estate in numbers. It reads every credential's row, about a
// second for a million, so callers keep it for a while.
type Summary struct {
	Credentials int64   `json:"credentials"` // that are somewhere now
	Keys        int64   `json:"keys"`        // distinct ones
	Places      int64   `json:"places"`      // with something there
	Kinds       []Count `json:"kinds"`
	Algorithms  []Count `json:"algorithms"`
	Schemes     []Count `json:"schemes"` // places
	Owners      []Count `json:"owners"`  // the ten with the most; "" is nobody
	Ending      []Day   `json:"ending"`  // end-entity certificates, for days that have any
	Expired     int64   `json:"expired"` // end-entity certificates that are still somewhere
	// Samples are those that have ended but are counted neither in Expired nor
	// in Ending: packages bring them along, and nothing uses them.
	Samples    int64                         `json:"samples"`
	Severities map[tallystick.Severity]int64 `json:"severities"`
}

// endEntity is what an expiry means an outage for: not the roots of trust stores.
const endEntity = `kind <> 'key' AND NOT is_ca AND present`

// inUse are those of them that somebody may have to renew.
const inUse = endEntity + ` AND NOT sample`

// Summary returns the numbers, with the certificates that end from now for a
// number of days.
func (db *DB) Summary(ctx context.Context, now time.Time, days int) (Summary, error) {
	s := Summary{Severities: map[tallystick.Severity]int64{}}
	numbers := []struct {
		into  *int64
		query string
	}{
		{&s.Credentials, `SELECT COUNT(*) FROM credentials WHERE present`},
		{&s.Keys, `SELECT COUNT(DISTINCT key_id) FROM credentials WHERE present AND key_id > ''`},
		{&s.Expired, `SELECT COUNT(*) FROM credentials WHERE not_after < ` + itoa(micros(now)) + ` AND ` + inUse},
		{&s.Samples, `SELECT COUNT(*) FROM credentials WHERE not_after < ` + itoa(micros(now)) + ` AND sample AND ` + endEntity},
	}
	for _, n := range numbers {
		if err := db.read.QueryRowContext(ctx, n.query).Scan(n.into); err != nil {
			return s, db.wrap("couldn't count", err)
		}
	}
	lists := []struct {
		into  *[]Count
		query string
	}{
		{&s.Kinds, `SELECT kind, COUNT(*) FROM credentials WHERE present GROUP BY kind ORDER BY 2 DESC, 1`},
		{&s.Algorithms, `SELECT algorithm, COUNT(*) FROM credentials WHERE present GROUP BY algorithm ORDER BY 2 DESC, 1`},
		{&s.Schemes, `SELECT scheme, COUNT(*) FROM places WHERE present > 0 GROUP BY scheme ORDER BY 2 DESC, 1`},
		{&s.Owners, `SELECT owner, COUNT(*) FROM credentials WHERE present GROUP BY owner ORDER BY 2 DESC, 1 LIMIT 10`},
	}
	for _, l := range lists {
		if err := db.counts(ctx, l.into, l.query); err != nil {
			return s, err
		}
	}
	for _, scheme := range s.Schemes {
		s.Places += scheme.Count
	}
	if err := db.ending(ctx, &s, now, days); err != nil {
		return s, err
	}
	return s, db.severities(ctx, &s, now)
}

func (db *DB) counts(ctx context.Context, into *[]Count, query string) error {
	rows, err := db.read.QueryContext(ctx, query)
	*into, err = collect(db, "couldn't count", rows, err, func(rows *sql.Rows) (Count, error) {
		var c Count
		return c, rows.Scan(&c.Name, &c.Count)
	})
	return err
}

func (db *DB) ending(ctx context.Context, s *Summary, now time.Time, days int) error {
	const day = 24 * 3600 * 1_000_000
	const query = `SELECT not_after / 86400000000, COUNT(*) FROM credentials
		WHERE not_after >= $1 AND not_after < $2 AND ` + inUse + ` GROUP BY 1 ORDER BY 1`
	rows, err := db.read.QueryContext(ctx, query, micros(now), micros(now.AddDate(0, 0, days)))
	s.Ending, err = collect(db, "couldn't count what ends", rows, err, func(rows *sql.Rows) (Day, error) {
		var d Day
		var at int64
		err := rows.Scan(&at, &d.Count)
		d.Date = time.UnixMicro(at * day).UTC()
		return d, err
	})
	return err
}

func (db *DB) severities(ctx context.Context, s *Summary, now time.Time) error {
	const query = `SELECT severity, COUNT(*) FROM findings WHERE closed = 0 AND accepted_until <= $1 GROUP BY severity`
	rows, err := db.read.QueryContext(ctx, query, micros(now))
	return db.wrap("couldn't count findings", each(rows, err, func(rows *sql.Rows) error {
		var severity tallystick.Severity
		var n int64
		err := rows.Scan(&severity, &n)
		s.Severities[severity] = n
		return err
	}))
}

// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// A Network is a block of addresses or a domain, with what is in it now.
type Network struct {
	Name        string              `json:"network"`     // "10.0.2.0/24", "2001:db8:0:1::/64", "example.net"
	Endpoints   int64               `json:"endpoints"`   // places where something is
	Credentials int64               `json:"credentials"` // that are there
	Worst       tallystick.Severity `json:"worst,omitempty"`
	Protocols   []string            `json:"protocols"` // that endpoints accept: "tls1.2", "ssh" ...
	// Missed are the places that did not answer the last look of each job.
	Missed []MissCount `json:"missed"`
	// Counted is when these numbers were counted; none are while it is zero.
	Counted time.Time `json:"counted,omitzero" doc:"when; a large network has no numbers until it has been counted"`
}

// A MissCount is how many places did not answer a run, for one reason.
type MissCount struct {
	Run    int64  `json:"run"`
	Source string `json:"job"`
	Word   string `json:"error"`
	Count  int64  `json:"count"`
}

// protocolMarks are the words of TLSFacts.Protocols as they stand in stored facts.
var protocolMarks = [...]string{"ssl3", "tls1.0", "tls1.1", "tls1.2", "tls1.3"}

// protocolColumns say for a group of sightings which protocols any of them has.
func protocolColumns() string {
	var columns strings.Builder
	for _, word := range protocolMarks {
		columns.WriteString(`, MAX(CASE WHEN s.facts LIKE '%"` + word + `"%' THEN 1 ELSE 0 END)`)
	}
	return columns.String() + `, MAX(CASE WHEN p.scheme = 'ssh' THEN 1 ELSE 0 END)`
}

// protocolsOf names the columns that are set.
func protocolsOf(set []sql.NullInt64) []string {
	words := []string{}
	for i, word := range append(protocolMarks[:len(protocolMarks):len(protocolMarks)], "ssh") {
		if set[i].Int64 == 1 {
			words = append(words, word)
		}
	}
	return words
}

const joinPlaces = `JOIN sightings s ON s.place_id = p.id AND s.gone_since = 0 JOIN credentials c ON c.id = s.credential_id`

const atPlaces = ` FROM places p ` + joinPlaces + `
	WHERE p.present > 0 AND p.network > '' AND `

// lastDone are the last runs of each source that looked at everything.
const lastDone = `(SELECT MAX(id) FROM runs WHERE state = 'done' GROUP BY source)`

// NetworkNames returns the names of the networks in which something is, or did
// not answer the last look, in their order after one; "" begins.
func (db *DB) NetworkNames(ctx context.Context, after string, limit int) ([]string, error) {
	start := ""
	if after != "" {
		var err error
		if start, err = networkKey(after); err != nil {
			return nil, err
		}
	}
	// One after the other, because a network may have a million places that
	// DISTINCT would read.
	var keys []string
	for key := start; len(keys) < limit; keys = append(keys, key) {
		const next = `SELECT network FROM places WHERE network > '' AND network > $1 AND present > 0 ORDER BY network LIMIT 1`
		err := db.read.QueryRowContext(ctx, next, key).Scan(&key)
		if errors.Is(err, sql.ErrNoRows) {
			break
		}
		if err != nil {
			return nil, db.wrap("couldn't list the networks", err)
		}
	}
	const silent = `SELECT DISTINCT network FROM misses WHERE network > '' AND network > $1 AND run_id IN ` + lastDone + ` ORDER BY network LIMIT $2`
	rows, err := db.read.QueryContext(ctx, silent, start, limit)
	missed, err := collect(db, "couldn't list the networks that did not answer", rows, err, func(rows *sql.Rows) (string, error) {
		var key string
		return key, rows.Scan(&key)
	})
	if err != nil {
		return nil, err
	}
	keys = append(keys, missed...)
	slices.Sort(keys)
	keys = slices.Compact(keys)
	keys = keys[:min(len(keys), limit)]
	for i, key := range keys {
		keys[i] = networkName(key)
	}
	return keys, nil
}

// Network counts what is in a network; it is empty when nothing is known of it.
// It reads every sighting there: of a million that takes seconds.
func (db *DB) Network(ctx context.Context, name string) (Network, error) {
	n := Network{Name: name, Missed: []MissCount{}}
	key, err := networkKey(name)
	if err != nil {
		return n, err
	}
	n.Name = networkName(key)
	query := `SELECT COUNT(DISTINCT p.id), COUNT(DISTINCT s.credential_id), COALESCE(MAX(c.severity), 0)` + protocolColumns() + atPlaces + `p.network = $1`
	marks := make([]sql.NullInt64, len(protocolMarks)+1)
	into := []any{&n.Endpoints, &n.Credentials, &n.Worst}
	for i := range marks {
		into = append(into, &marks[i])
	}
	if err := db.read.QueryRowContext(ctx, query, key).Scan(into...); err != nil {
		return n, db.wrap("couldn't count a network", err)
	}
	n.Protocols = protocolsOf(marks)
	const missed = `SELECT m.run_id, r.source, m.error, COUNT(*) FROM misses m JOIN runs r ON r.id = m.run_id
		WHERE m.run_id IN ` + lastDone + ` AND m.network > '' AND m.network = $1 GROUP BY m.run_id, r.source, m.error ORDER BY 4 DESC, 3, 1`
	rows, err := db.read.QueryContext(ctx, missed, key)
	n.Missed, err = collect(db, "couldn't read what did not answer", rows, err, func(rows *sql.Rows) (MissCount, error) {
		var m MissCount
		return m, rows.Scan(&m.Run, &m.Source, &m.Word, &m.Count)
	})
	return n, err
}

// An Endpoint is a place of a network.
type Endpoint struct {
	Place       tallystick.Place    `json:"place"`
	Credentials int64               `json:"credentials"`
	Worst       tallystick.Severity `json:"worst,omitempty"`
	Protocols   []string            `json:"protocols"`
}

// Endpoints returns places of a network where something is, in no order: all of
// them, or limit when there are more.
func (db *DB) Endpoints(ctx context.Context, network string, limit int) ([]Endpoint, error) {
	key, err := networkKey(network)
	if err != nil {
		return nil, err
	}
	query := `SELECT p.uri, COUNT(DISTINCT s.credential_id), MAX(c.severity)` + protocolColumns() + `
		FROM (SELECT id, uri, scheme FROM places WHERE network > '' AND network = $1 AND present > 0 LIMIT $2) p ` + joinPlaces + ` GROUP BY p.uri`
	rows, err := db.read.QueryContext(ctx, query, key, limit)
	return collect(db, "couldn't read a network", rows, err, func(rows *sql.Rows) (Endpoint, error) {
		var e Endpoint
		marks := make([]sql.NullInt64, len(protocolMarks)+1)
		into := []any{&e.Place, &e.Credentials, &e.Worst}
		for i := range marks {
			into = append(into, &marks[i])
		}
		err := rows.Scan(into...)
		e.Protocols = protocolsOf(marks)
		return e, err
	})
}

// placeNetworks gives the places of a store of an older version their networks.
// It may be interrupted and begun again.
func (db *DB) placeNetworks(ctx context.Context) error {
	for after := int64(0); ; {
		const some = `SELECT id, uri FROM places WHERE id > $1 AND network = '' AND scheme NOT IN ('file', 'truststore') ORDER BY id LIMIT $2`
		rows, err := db.read.QueryContext(ctx, some, after, vanishPage)
		networks := map[int64]string{}
		last := after
		err = each(rows, err, func(rows *sql.Rows) error {
			var uri tallystick.Place
			err := rows.Scan(&last, &uri)
			if network := networkOf(uri); network != "" {
				networks[last] = network
			}
			return err
		})
		if err != nil || last == after {
			return err
		}
		after = last
		err = db.tx(ctx, func(tx *writing) error {
			for id, network := range networks {
				if _, err := tx.ExecContext(ctx, `UPDATE places SET network = $1 WHERE id = $2`, network, id); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

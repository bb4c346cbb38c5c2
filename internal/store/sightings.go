// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// A SightingRow is one period of a credential at a place.
type SightingRow struct {
	ID         int64                  `json:"-"`
	Credential tallystick.Fingerprint `json:"credential"`
	Place      tallystick.Place       `json:"place"`
	Role       tallystick.Role        `json:"role"`
	Source     string                 `json:"source"`
	FirstSeen  time.Time              `json:"first_seen"`
	LastSeen   time.Time              `json:"last_seen"`
	GoneSince  time.Time              `json:"gone_since,omitzero"`
	tallystick.Facts
}

const sightingColumns = `s.id, c.fingerprint, p.uri, s.role, s.source, s.first_seen, s.last_seen, s.gone_since, s.facts`

const sightingFrom = ` FROM sightings s JOIN credentials c ON c.id = s.credential_id JOIN places p ON p.id = s.place_id `

// scanSighting reads sightingColumns and then into more.
func scanSighting(row scanner, more ...any) (SightingRow, error) {
	var s SightingRow
	var first, last, gone int64
	var facts string
	err := row.Scan(append([]any{&s.ID, &s.Credential, &s.Place, &s.Role, &s.Source, &first, &last, &gone, &facts}, more...)...)
	if err != nil {
		return s, err
	}
	s.FirstSeen, s.LastSeen, s.GoneSince = timeOf(first), timeOf(last), timeOf(gone)
	return s, json.Unmarshal([]byte(facts), &s.Facts)
}

func (db *DB) sightings(ctx context.Context, query string, args ...any) ([]SightingRow, error) {
	rows, err := db.read.QueryContext(ctx, query, args...)
	list := []SightingRow{}
	err = each(rows, err, func(rows *sql.Rows) error {
		s, err := scanSighting(rows)
		list = append(list, s)
		return err
	})
	return list, db.wrap("couldn't read the sightings", err)
}

// SightingsOf returns the periods of a credential, the current ones first and
// then by when they began, newest first.
func (db *DB) SightingsOf(ctx context.Context, credential tallystick.Fingerprint, limit int) ([]SightingRow, error) {
	const query = `SELECT ` + sightingColumns + sightingFrom +
		`WHERE s.credential_id = (SELECT id FROM credentials WHERE fingerprint = $1) ORDER BY s.gone_since = 0 DESC, s.id DESC LIMIT $2`
	return db.sightings(ctx, query, cleanText(string(credential)), limit)
}

// SightingsOfKey returns where a key is now, by any credential that carries it
// and in one role. Trust stores are left out: there the key opens nothing.
func (db *DB) SightingsOfKey(ctx context.Context, key tallystick.KeyID, role tallystick.Role, limit int) ([]SightingRow, error) {
	const query = `SELECT ` + sightingColumns + sightingFrom +
		`WHERE c.key_id = $1 AND s.role = $2 AND s.gone_since = 0 AND s.scheme <> 'truststore' ORDER BY s.id LIMIT $3`
	return db.sightings(ctx, query, string(key), string(role), limit)
}

// SightingsAt returns what is at a place now and what was, the current ones first.
func (db *DB) SightingsAt(ctx context.Context, place tallystick.Place, limit int) ([]SightingRow, error) {
	const query = `SELECT ` + sightingColumns + sightingFrom +
		`WHERE s.place_id = (SELECT id FROM places WHERE uri = $1) ORDER BY s.gone_since = 0 DESC, s.id DESC LIMIT $2`
	return db.sightings(ctx, query, cleanText(string(place)), limit)
}

// A PlaceRow is a place as a list shows it.
type PlaceRow struct {
	Place     tallystick.Place `json:"place"`
	Scheme    string           `json:"scheme"`
	FirstSeen time.Time        `json:"first_seen"`
	Present   int64            `json:"credentials"` // there now
}

// A PlaceFilter narrows a list of places; the zero value is all.
type PlaceFilter struct {
	Prefix  string // of the place as written: "file:///etc/nginx/"
	Scheme  string
	Network string // as Network.Name has it
	Empty   bool   // those where nothing is any more, instead
}

// Places returns a page of places, sorted by "place" (the default) or "credentials".
func (db *DB) Places(ctx context.Context, f PlaceFilter, page PageRequest) (Page[PlaceRow], error) {
	sorts := map[string]string{"place": "p.uri", "credentials": "p.present"}
	column, err := page.column(sorts, "place")
	if err != nil {
		return Page[PlaceRow]{}, err
	}
	where := f.where()
	if f.Scheme != "" && column == `p.present` {
		start := cutUTF8(f.Scheme, 64) + "://"
		few, err := db.few(ctx, `places`, `uri >= ? AND uri < ?`, start, prefixEnd(start))
		if err != nil {
			return Page[PlaceRow]{}, err
		}
		if !few { // too many to sort: the list is walked in its order
			f.Scheme = ""
			where = f.where()
			where.add(`p.scheme = ?`, strings.TrimSuffix(start, "://"))
		}
	}
	list := listing[PlaceRow]{
		columns: `p.uri, p.scheme, p.first_seen, p.present`, from: `places p`, where: where, sort: column, text: column == `p.uri`, id: `p.id`, scan: scanPlace,
	}
	return list.page(ctx, db, page)
}

// CountPlaces counts what a filter lets through, up to CountCap.
func (db *DB) CountPlaces(ctx context.Context, f PlaceFilter) (int64, error) {
	return db.count(ctx, `places p`, f.where())
}

func (f PlaceFilter) where() *conditions {
	w := &conditions{}
	if f.Empty {
		w.add(`p.present = 0`)
	} else {
		w.add(`p.present > 0`)
	}
	if f.Scheme != "" {
		scheme := cutUTF8(f.Scheme, 64) + "://"
		w.add(`p.uri >= ? AND p.uri < ?`, scheme, prefixEnd(scheme))
	}
	if f.Network != "" {
		w.add(`p.network > '' AND p.network = ?`, keyOrNone(f.Network))
	}
	if f.Prefix != "" {
		prefix := cutUTF8(f.Prefix, 4096)
		w.add(`p.uri >= ? AND p.uri < ?`, prefix, prefixEnd(prefix))
	}
	return w
}

func scanPlace(row scanner, more ...any) (PlaceRow, error) {
	var p PlaceRow
	var first int64
	if err := row.Scan(append([]any{&p.Place, &p.Scheme, &first, &p.Present}, more...)...); err != nil {
		return p, fmt.Errorf("couldn't read a place: %w", err)
	}
	p.FirstSeen = timeOf(first)
	return p, nil
}

// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/tallystick/tallystick"
)

// An IncidentRow is the foreign uses of one credential that are less than a day
// apart.
type IncidentRow struct {
	ID          int64
	Used        int64
	Opened      time.Time // when it was first told
	First, Last time.Time // use
	Uses        int64     // 0: all of it was taken back
	Parties     int64
	Addresses   int64
}

// An IncidentFilter narrows a list of incidents.
type IncidentFilter struct {
	Used []int64 // of these credentials; empty but not nil lets nothing through
	All  bool    // those too that were taken back as a whole
	// From and To let through what has a time in common with them; To is not
	// included.
	From, To time.Time
}

func (f IncidentFilter) where() *conditions {
	w := &conditions{}
	switch {
	case f.Used == nil:
	case len(f.Used) == 0:
		w.add(`FALSE`)
	default:
		w.addAny(`i.used_id`, f.Used)
	}
	if !f.All {
		w.add(`i.uses > 0`)
	}
	if !f.From.IsZero() {
		w.add(`i.last_use >= ?`, micros(f.From))
	}
	if !f.To.IsZero() {
		w.add(`i.first_use < ?`, micros(f.To))
	}
	return w
}

const incidentColumns = `i.id, i.used_id, i.opened, i.first_use, i.last_use, i.uses, i.parties, i.addresses`

func scanIncident(row scanner, more ...any) (IncidentRow, error) {
	var i IncidentRow
	var opened, first, last int64
	err := row.Scan(append([]any{&i.ID, &i.Used, &opened, &first, &last, &i.Uses, &i.Parties, &i.Addresses}, more...)...)
	i.Opened, i.First, i.Last = timeOf(opened), timeOf(first), timeOf(last)
	return i, err
}

// Incidents returns a page of incidents by their last use.
func (db *DB) Incidents(ctx context.Context, f IncidentFilter, page PageRequest) (Page[IncidentRow], error) {
	if _, err := page.column(map[string]string{"last": `i.last_use`}, "last"); err != nil {
		return Page[IncidentRow]{}, err
	}
	return listing[IncidentRow]{
		columns: incidentColumns, from: `incidents i`, where: f.where(), sort: `i.last_use`, id: `i.id`, scan: scanIncident,
	}.page(ctx, db, page)
}

// CountIncidents counts what a filter lets through, up to CountCap.
func (db *DB) CountIncidents(ctx context.Context, f IncidentFilter) (int64, error) {
	return db.count(ctx, `incidents i`, f.where())
}

// Incident returns one incident.
func (db *DB) Incident(ctx context.Context, id int64) (IncidentRow, error) {
	i, err := scanIncident(db.read.QueryRowContext(ctx, `SELECT `+incidentColumns+` FROM incidents i WHERE i.id = $1`, id))
	return i, db.wrap("couldn't read incident "+itoa(id), err)
}

// A NameCount is how many uses there are of something.
type NameCount struct {
	Name string
	Uses int64
}

// mostCounted bounds what is read for the top of an incident: one may have a
// million uses, and who has the most is among the first of them.
const mostCounted = 100_000

// TopOfIncident returns the addresses and the relying parties with the most
// foreign uses among the newest of an incident, at most limit of each.
func (db *DB) TopOfIncident(ctx context.Context, id int64, limit int) (addresses, parties []NameCount, err error) {
	if addresses, err = db.topOfIncident(ctx, `address`, id, limit); err != nil {
		return nil, nil, err
	}
	parties, err = db.topOfIncident(ctx, `party`, id, limit)
	return addresses, parties, err
}

func (db *DB) topOfIncident(ctx context.Context, column string, id int64, limit int) ([]NameCount, error) {
	query := `SELECT name, SUM(uses) FROM (SELECT ` + column + ` AS name, uses FROM verdicts WHERE incident_id > 0 AND incident_id = $1
		AND verdict = '` + string(tallystick.VerdictForeign) + `' ORDER BY time DESC, id DESC LIMIT ` + itoa(mostCounted) + `) AS newest
		GROUP BY name ORDER BY 2 DESC, 1 LIMIT $2`
	rows, err := db.read.QueryContext(ctx, query, id, limit)
	return collect(db, "couldn't count the uses of an incident", rows, err, func(rows *sql.Rows) (NameCount, error) {
		var c NameCount
		return c, rows.Scan(&c.Name, &c.Uses)
	})
}

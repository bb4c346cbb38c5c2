// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/tallystick/tallystick"
)

// A FindingRow is a finding with the credential that it is about.
type FindingRow struct {
	tallystick.Finding
	Subject string          `json:"subject,omitempty"`
	Kind    tallystick.Kind `json:"kind"`
	Owner   string          `json:"owner,omitempty"`
}

const findingColumns = `f.id, f.rule, f.severity, c.fingerprint, f.place, f.evidence, f.opened, f.closed, f.assignee,
	f.accepted_by, f.accepted_reason, f.accepted_until, c.subject, c.kind, c.owner`

const findingFrom = `findings f JOIN credentials c ON c.id = f.credential_id`

func scanFinding(row scanner, more ...any) (FindingRow, error) {
	var f FindingRow
	var opened, closed, until int64
	var by, reason string
	err := row.Scan(append([]any{&f.ID, &f.Rule, &f.Severity, &f.Credential, &f.Place, &f.Evidence, &opened, &closed, &f.Assignee,
		&by, &reason, &until, &f.Subject, &f.Kind, &f.Owner}, more...)...)
	f.Opened, f.Closed = timeOf(opened), timeOf(closed)
	if until > 0 {
		f.Acceptance = &tallystick.Acceptance{By: by, Reason: reason, Until: timeOf(until)}
	}
	return f, err
}

// A FindingFilter narrows a list of findings; the zero value is all open ones
// that are not accepted.
type FindingFilter struct {
	Rule       string
	Severity   tallystick.Severity // at least
	Credential tallystick.Fingerprint
	Owner      string // "-" is nobody
	Assignee   string // "-" is nobody
	Closed     bool   // closed ones, instead
	Accepted   bool   // open ones that are accepted, instead
	All        bool   // open ones, accepted or not
	Now        time.Time
}

func (f FindingFilter) where() *conditions {
	w := &conditions{}
	if f.Closed {
		w.add(`f.closed > 0`)
	} else {
		w.add(`f.closed = 0`)
	}
	switch {
	case f.Closed || f.All:
	case f.Accepted:
		w.add(`f.accepted_until > ?`, micros(f.Now))
	default:
		w.add(`f.accepted_until <= ?`, micros(f.Now))
	}
	if f.Rule != "" {
		w.add(`f.rule = ?`, f.Rule)
	}
	if f.Severity > 0 {
		w.add(`f.severity >= ?`, int64(f.Severity))
	}
	if f.Credential != "" {
		w.add(`f.credential_id = (SELECT id FROM credentials WHERE fingerprint = ?)`, string(f.Credential))
	}
	for _, who := range []struct{ column, value string }{{`c.owner`, f.Owner}, {`f.assignee`, f.Assignee}} {
		if who.value == "-" {
			w.add(who.column + ` = ''`)
		} else if who.value != "" {
			w.add(who.column+` = ?`, who.value)
		}
	}
	return w
}

// Findings returns a page of findings, the worst first, or by "opened".
func (db *DB) Findings(ctx context.Context, f FindingFilter, page PageRequest) (Page[FindingRow], error) {
	if page.Sort == "" {
		page.Desc = true
	}
	column, err := page.column(map[string]string{"severity": "f.severity", "opened": "f.opened"}, "severity")
	if err != nil {
		return Page[FindingRow]{}, err
	}
	list := listing[FindingRow]{
		columns: findingColumns, from: findingFrom, where: f.where(), sort: column, id: `f.id`, scan: scanFinding,
	}
	return list.page(ctx, db, page)
}

// CountFindings counts what a filter lets through, up to CountCap.
func (db *DB) CountFindings(ctx context.Context, f FindingFilter) (int64, error) {
	return db.count(ctx, findingFrom, f.where())
}

// A FindingGroup counts the open findings of one rule that are not accepted.
type FindingGroup struct {
	Rule     string              `json:"rule"`
	Severity tallystick.Severity `json:"severity"` // the worst among them
	Count    int64               `json:"count"`
	Since    time.Time           `json:"since"` // when the first of them opened
}

// FindingGroups returns the groups, the worst first.
func (db *DB) FindingGroups(ctx context.Context, now time.Time) ([]FindingGroup, error) {
	const query = `SELECT rule, MAX(severity), COUNT(*), MIN(opened) FROM findings
		WHERE closed = 0 AND accepted_until <= $1 GROUP BY rule ORDER BY 2 DESC, 3 DESC, rule`
	rows, err := db.read.QueryContext(ctx, query, micros(now))
	return collect(db, "couldn't group the findings", rows, err, func(rows *sql.Rows) (FindingGroup, error) {
		var g FindingGroup
		var since int64
		err := rows.Scan(&g.Rule, &g.Severity, &g.Count, &since)
		g.Since = timeOf(since)
		return g, err
	})
}

// Finding returns one finding.
func (db *DB) Finding(ctx context.Context, id int64) (FindingRow, error) {
	f, err := scanFinding(db.read.QueryRowContext(ctx, `SELECT `+findingColumns+` FROM `+findingFrom+` WHERE f.id = $1`, id))
	return f, db.wrap("couldn't read the finding", err)
}

// AcceptFinding lets an open finding stand until a day; a zero acceptance takes
// that back.
func (db *DB) AcceptFinding(ctx context.Context, id int64, a tallystick.Acceptance, now time.Time) error {
	const query = `UPDATE findings SET accepted_by = $1, accepted_reason = $2, accepted_until = $3 WHERE id = $4 AND closed = 0 RETURNING credential_id`
	return db.changeFinding(ctx, "couldn't accept the finding", now, query, a.By, cleanText(a.Reason), micros(a.Until), id)
}

// AssignFinding says who is to see to an open finding; "" is nobody.
func (db *DB) AssignFinding(ctx context.Context, id int64, assignee string, now time.Time) error {
	const query = `UPDATE findings SET assignee = $1 WHERE id = $2 AND closed = 0 RETURNING credential_id`
	return db.changeFinding(ctx, "couldn't assign the finding", now, query, cleanText(assignee), id)
}

func (db *DB) changeFinding(ctx context.Context, doing string, now time.Time, query string, args ...any) error {
	return db.wrap(doing, db.tx(ctx, func(tx *writing) error {
		var credential int64
		if err := tx.QueryRowContext(ctx, query, args...).Scan(&credential); err != nil {
			return err
		}
		// The rules' next look settles when an acceptance runs out.
		if _, err := tx.ExecContext(ctx, `UPDATE credentials SET `+makeDue+` WHERE id = $1`, credential); err != nil {
			return err
		}
		return countFindings(ctx, tx, credential, now)
	}))
}

// countFindings keeps the numbers that lists of credentials show.
func countFindings(ctx context.Context, tx *writing, credential int64, now time.Time) error {
	const query = `UPDATE credentials SET
		findings = (SELECT COUNT(*) FROM findings WHERE credential_id = $1 AND closed = 0 AND accepted_until <= $2),
		severity = (SELECT COALESCE(MAX(severity), 0) FROM findings WHERE credential_id = $1 AND closed = 0 AND accepted_until <= $2)
		WHERE id = $1`
	_, err := tx.ExecContext(ctx, query, credential, micros(now))
	return err
}

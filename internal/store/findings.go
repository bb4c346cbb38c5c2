// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// A FindingRow is a finding with the credential that it is about.
type FindingRow struct {
	tallystick.Finding
	Subject string          `json:"subject,omitempty"`
	Kind    tallystick.Kind `json:"kind"`
	Owner   string          `json:"owner,omitempty"`
	// Where is one of the places where the credential is, for a finding that is
	// about the credential and not about a place; Places is how many there are.
	Where  tallystick.Place `json:"where,omitempty"`
	Places int64            `json:"places,omitempty"`
}

// At returns the place of the finding, or one of those of its credential.
func (f FindingRow) At() tallystick.Place { return cmp.Or(f.Place, f.Where) }

// A finding about a source or a directory has no credential.
const findingColumns = `f.id, f.rule, f.severity, COALESCE(c.fingerprint, ''), f.place, f.evidence, f.opened, f.closed, f.assignee,
	f.accepted_by, f.accepted_reason, f.accepted_until, COALESCE(c.subject, ''), COALESCE(c.kind, ''), COALESCE(c.owner, ''), COALESCE(st.places, 0)`

const findingFrom = `findings f LEFT JOIN credentials c ON c.id = f.credential_id LEFT JOIN standing st ON st.credential_id = f.credential_id`

func scanFinding(row scanner, more ...any) (FindingRow, error) {
	var f FindingRow
	var opened, closed, until int64
	var by, reason string
	err := row.Scan(append([]any{&f.ID, &f.Rule, &f.Severity, &f.Credential, &f.Place, &f.Evidence, &opened, &closed, &f.Assignee,
		&by, &reason, &until, &f.Subject, &f.Kind, &f.Owner, &f.Places}, more...)...)
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
	// Place is where the finding is, or what that lies beneath; a path without
	// a scheme is a file's and a trust store's. A finding that is about its
	// credential, wherever that is, is at all of its places.
	Place    tallystick.Place
	Within   bool   // with Place: not those whose credential is elsewhere too
	Owner    string // "-" is nobody
	Assignee string // "-" is nobody
	Closed   bool   // closed ones, instead
	Accepted bool   // open ones that are accepted, instead
	All      bool   // open ones, accepted or not
	Now      time.Time
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
			w.add(`COALESCE(` + who.column + `, '') = ''`)
		} else if who.value != "" {
			w.add(who.column+` = ?`, who.value)
		}
	}
	return w
}

// findingsWhere returns the conditions of a filter with that of its place. Where
// there are few places, what is there is looked up first; where there are many
// the list is walked in its own order, because a page is full long before all
// that is at a hundred thousand places is gathered (see broadTerm).
func (db *DB) findingsWhere(ctx context.Context, f FindingFilter) (*conditions, error) {
	w := f.where()
	if f.Place == "" {
		return w, nil
	}
	own, ownArgs := beneath(`f.place`, f.Place)
	all, allArgs := beneath(`p.uri`, f.Place)
	places := &conditions{}
	places.add(all, allArgs...)
	n, err := db.countTo(ctx, `places p`, places, broadTerm)
	if err != nil {
		return w, err
	}
	const sightings = `(SELECT s.credential_id FROM sightings s JOIN places p ON p.id = s.place_id WHERE s.gone_since = 0 AND `
	here := `f.credential_id IN ` + sightings + all + `)`
	if n == broadTerm {
		here = `EXISTS ` + sightings + `s.credential_id = f.credential_id AND ` + all + `)`
	}
	w.add(`(f.place > '' AND `+own+` OR f.place = '' AND `+here+`)`, append(ownArgs, allArgs...)...)
	if f.Within {
		w.add(`(f.place > '' OR NOT EXISTS `+sightings+`s.credential_id = f.credential_id AND NOT `+all+`))`, allArgs...)
	}
	return w, nil
}

// beneath is the condition that a column holds a place or what lies beneath it:
// files of a directory, ports of a host.
func beneath(column string, place tallystick.Place) (string, []any) {
	places := []tallystick.Place{place}
	if strings.HasPrefix(string(place), "/") {
		places = []tallystick.Place{tallystick.FilePlace(string(place)), tallystick.TrustStorePlace(string(place))}
	}
	var parts []string
	var args []any
	for _, place := range places {
		whole := strings.TrimRight(string(place), "/")
		parts = append(parts, column+` = ?`, `(`+column+` >= ? AND `+column+` < ?)`)
		args = append(args, whole, whole+"/", prefixEnd(whole+"/"))
		if scheme := place.Scheme(); scheme == "tls" || scheme == "ssh" {
			parts = append(parts, `(`+column+` >= ? AND `+column+` < ?)`)
			args = append(args, whole+":", prefixEnd(whole+":"))
		}
	}
	return `(` + strings.Join(parts, ` OR `) + `)`, args
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
	where, err := db.findingsWhere(ctx, f)
	if err != nil {
		return Page[FindingRow]{}, err
	}
	list := listing[FindingRow]{
		columns: findingColumns, from: findingFrom, where: where, sort: column, id: `f.id`, scan: scanFinding,
	}
	found, err := list.page(ctx, db, page)
	if err != nil {
		return found, err
	}
	return found, db.findPlaces(ctx, found.Items, f.Place)
}

// findPlaces fills in where findings are that are about no place in particular:
// beneath the place that was asked for, or at an endpoint, if they are there.
func (db *DB) findPlaces(ctx context.Context, list []FindingRow, asked tallystick.Place) error {
	order := &conditions{}
	order.args = append(order.args, "") // the credential's fingerprint
	if asked != "" {
		of, args := beneath(`p.uri`, asked)
		order.add(of, args...)
	} else {
		order.add(`s.scheme = 'tls'`)
	}
	query := `SELECT p.uri` + sightingFrom + `WHERE c.fingerprint = $1 AND s.gone_since = 0 ORDER BY (` + order.String() + `) DESC, s.place_id LIMIT 1`
	known := map[tallystick.Fingerprint]tallystick.Place{}
	for i := range list {
		f := &list[i]
		if f.Place != "" || f.Places == 0 {
			continue
		}
		place, ok := known[f.Credential]
		if !ok {
			order.args[0] = string(f.Credential)
			err := db.read.QueryRowContext(ctx, query, order.args...).Scan(&place)
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return db.wrap("couldn't read where findings are", err)
			}
			known[f.Credential] = place
		}
		f.Where = place
	}
	return nil
}

// CountFindings counts what a filter lets through, up to CountCap.
func (db *DB) CountFindings(ctx context.Context, f FindingFilter) (int64, error) {
	where, err := db.findingsWhere(ctx, f)
	if err != nil {
		return 0, err
	}
	return db.count(ctx, findingFrom, where)
}

// A FindingGroup counts the open findings of one rule that are not accepted.
type FindingGroup struct {
	Rule     string              `json:"rule"`
	Severity tallystick.Severity `json:"severity"` // the worst among them
	Count    int64               `json:"count"`
	Since    time.Time           `json:"since"` // when the first of them opened
	// Severities says how many there are of each severity.
	Severities map[tallystick.Severity]int64 `json:"severities"`
}

// Worst returns how many are as bad as the worst among them.
func (g FindingGroup) Worst() int64 { return g.Severities[g.Severity] }

// FindingGroups returns the groups, the worst first, and of those that are
// equally bad the one with more that are so.
func (db *DB) FindingGroups(ctx context.Context, now time.Time) ([]FindingGroup, error) {
	const query = `SELECT rule, severity, COUNT(*), MIN(opened) FROM findings
		WHERE closed = 0 AND accepted_until <= $1 GROUP BY rule, severity ORDER BY rule, severity DESC`
	rows, err := db.read.QueryContext(ctx, query, micros(now))
	var groups []FindingGroup
	err = each(rows, err, func(rows *sql.Rows) error {
		var g FindingGroup
		var since int64
		if err := rows.Scan(&g.Rule, &g.Severity, &g.Count, &since); err != nil {
			return err
		}
		g.Since, g.Severities = timeOf(since), map[tallystick.Severity]int64{g.Severity: g.Count}
		if last := len(groups) - 1; last >= 0 && groups[last].Rule == g.Rule {
			groups[last].add(g)
		} else {
			groups = append(groups, g)
		}
		return nil
	})
	slices.SortStableFunc(groups, func(a, b FindingGroup) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(b.Worst(), a.Worst()))
	})
	return groups, db.wrap("couldn't group the findings", err)
}

// add counts findings of a lesser severity into the group of their rule.
func (g *FindingGroup) add(less FindingGroup) {
	g.Count += less.Count
	g.Severities[less.Severity] = less.Count
	if less.Since.Before(g.Since) {
		g.Since = less.Since
	}
}

// Finding returns one finding.
func (db *DB) Finding(ctx context.Context, id int64) (FindingRow, error) {
	f, err := scanFinding(db.read.QueryRowContext(ctx, `SELECT `+findingColumns+` FROM `+findingFrom+` WHERE f.id = $1`, id))
	if err != nil {
		return f, db.wrap("couldn't read the finding", err)
	}
	found := []FindingRow{f}
	err = db.findPlaces(ctx, found, "")
	return found[0], err
}

// AcceptFindings lets open findings stand until a day; a zero acceptance takes
// that back. It returns how many there were: those that have closed meanwhile
// are left as they are.
func (db *DB) AcceptFindings(ctx context.Context, ids []int64, a tallystick.Acceptance, now time.Time) (int, error) {
	const query = `UPDATE findings SET accepted_by = $1, accepted_reason = $2, accepted_until = $3, accepted_within = $4 WHERE id = $5 AND closed = 0 RETURNING credential_id`
	return db.changeFindings(ctx, "couldn't accept the findings", now, query, ids, a.By, cleanText(a.Reason), micros(a.Until), string(a.Within))
}

// AssignFindings says who is to see to open findings; "" is nobody. It returns
// how many there were.
func (db *DB) AssignFindings(ctx context.Context, ids []int64, assignee string, now time.Time) (int, error) {
	const query = `UPDATE findings SET assignee = $1 WHERE id = $2 AND closed = 0 RETURNING credential_id`
	return db.changeFindings(ctx, "couldn't assign the findings", now, query, ids, cleanText(assignee))
}

// changeFindings runs a query for each finding, all of them or none, with the
// finding's id as its last argument.
func (db *DB) changeFindings(ctx context.Context, doing string, now time.Time, query string, ids []int64, args ...any) (int, error) {
	n := 0
	err := db.tx(ctx, func(tx *writing) error {
		changed := map[int64]bool{}
		for _, id := range ids {
			var credential int64
			err := tx.QueryRowContext(ctx, query, append(slices.Clone(args), id)...).Scan(&credential)
			if errors.Is(err, sql.ErrNoRows) {
				continue
			}
			if err != nil {
				return err
			}
			changed[credential] = true
			n++
		}
		for credential := range changed {
			// The rules' next look settles when an acceptance runs out.
			if _, err := tx.ExecContext(ctx, makeDue+`= $1`, credential); err != nil {
				return err
			}
			if err := countFindings(ctx, tx, credential, now); err != nil {
				return err
			}
		}
		return nil
	})
	return n, db.wrap(doing, err)
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

// KeyFinding returns the rule and the evidence of a finding about any credential with a
// key: one of the rules of ever, whatever became of it, or an open one of the rules of
// open. ErrNotFound without one.
func (db *DB) KeyFinding(ctx context.Context, key tallystick.KeyID, ever, open []string) (rule, evidence string, err error) {
	args := []any{string(key)}
	list := func(names []string) string {
		var marks []string
		for _, name := range names {
			args = append(args, name)
			marks = append(marks, "$"+itoa(int64(len(args))))
		}
		return "(" + strings.Join(marks, ",") + ")"
	}
	query := `SELECT f.rule, f.evidence FROM credentials c JOIN findings f ON f.credential_id = c.id
		WHERE c.key_id = $1 AND (f.rule IN ` + list(ever) + ` OR f.closed = 0 AND f.rule IN ` + list(open) + `) ORDER BY f.id LIMIT 1`
	err = db.one(ctx, query, args...).Scan(&rule, &evidence)
	return rule, evidence, db.wrap("couldn't look what is known of a key", err)
}

// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// Marks beside names of accounts: no name has a line break.
const (
	// MarkLocal is of who came in by the operating system.
	MarkLocal = "\nlocal"
	// MarkFirst is of the account that the first start of a server made, whose link is read by
	// who started it.
	MarkFirst = "\nfirst"
)

// SamePerson says whether two are one person as far as can be told, by the accounts behind
// them: their names, that of who made a token, and the marks.
func SamePerson(a, b []string) bool {
	for _, x := range a {
		for _, y := range b {
			switch {
			case x == MarkLocal && y == MarkFirst, x == MarkFirst && y == MarkLocal:
				return true
			case x != MarkLocal && strings.EqualFold(x, y): // many come in by the operating system
				return true
			}
		}
	}
	return false
}

// An Approval is somebody's word for a deadline of a recall.
type Approval struct {
	Deadline time.Time
	Who      string
	As       []string // the accounts behind them; see SamePerson
	At       time.Time
}

// Approvable says why an approval does not count: the deadline is neither the one that
// waits nor the one that is asked for (ErrConflict), or who opened the recall, or asked for
// the deadline, is the same person (ErrDenied).
func (r RecallRow) Approvable(a Approval) error {
	begins, extends := r.begins(a), r.extends(a)
	switch {
	case !begins && !extends:
		return fmt.Errorf("%w: nothing waits for an approval of this deadline", tallystick.ErrConflict)
	case SamePerson(append(a.As, a.Who), append(r.OpenedAs, r.OpenedBy)):
		return ownApproval(a.Who, r.OpenedBy, "opened it")
	case extends && SamePerson(append(a.As, a.Who), append(r.WantedAs, r.WantedBy)):
		return ownApproval(a.Who, r.WantedBy, "asked for it")
	}
	return nil
}

// ownApproval is the error of who approves what they did.
func ownApproval(who, by, did string) error {
	if !strings.EqualFold(who, by) {
		who += " is " + by + " as far as can be told, who"
	}
	return fmt.Errorf("%w: %s %s, so that somebody else must approve it", tallystick.ErrDenied, who, did)
}

func (r RecallRow) begins(a Approval) bool {
	return r.State == tallystick.RecallWaiting && r.Deadline.Equal(a.Deadline)
}

func (r RecallRow) extends(a Approval) bool {
	return !r.Wanted.IsZero() && r.Wanted.Equal(a.Deadline)
}

// ApproveRecall notes that somebody approves a deadline of a recall, and what that
// brings about: a recall that waits is approved, or a deadline that somebody asked for
// stands, once as many as it needs have said so. Its errors are those of Approvable.
func (db *DB) ApproveRecall(ctx context.Context, id int64, a Approval) error {
	err := db.tx(ctx, func(tx *writing) error {
		// Who has this row counts; others wait for it.
		r, err := scanRecall(tx.QueryRowContext(ctx, `UPDATE recalls SET needs = needs WHERE id = $1 RETURNING `+recallColumns, id))
		if err != nil {
			return err
		}
		if err := r.Approvable(a); err != nil {
			return err
		}
		if err := addApproval(ctx, tx, id, a); err != nil {
			return err
		}
		addEvents(tx, id, RecallEvent{At: a.At, Kind: EventPeople, Text: fmt.Sprintf("%s approved the deadline %s.", a.Who, a.Deadline.UTC().Format(time.DateTime))})
		var given int
		if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM recall_approvals WHERE recall_id = $1 AND deadline = $2`, id, micros(a.Deadline)).Scan(&given); err != nil || given < r.Needs {
			return err
		}
		return approved(ctx, tx, id, r.extends(a))
	})
	return db.wrap("couldn't approve the recall", err)
}

// addApproval notes that somebody approves a deadline, once as whomever they do it.
func addApproval(ctx context.Context, tx *writing, id int64, a Approval) error {
	rows, err := tx.QueryContext(ctx, `SELECT who, accounts FROM recall_approvals WHERE recall_id = $1 AND deadline = $2`, id, micros(a.Deadline))
	there := false
	err = each(rows, err, func(rows *sql.Rows) error {
		var name, text string
		if err := rows.Scan(&name, &text); err != nil {
			return err
		}
		accounts, err := stringsOf(text)
		there = there || SamePerson(append(a.As, a.Who), append(accounts, name))
		return err
	})
	if err != nil || there {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO recall_approvals (recall_id, deadline, who, accounts, at) VALUES ($1, $2, $3, $4, $5)`, id, micros(a.Deadline), a.Who, stringsText(a.As), micros(a.At))
	return err
}

// approved makes what was approved so. A deadline that blocked nothing may still be
// put off: then it is to come once more.
func approved(ctx context.Context, tx *writing, id int64, extends bool) error {
	query := `UPDATE recalls SET state = 'approved' WHERE id = $1 AND state = 'waiting'`
	if extends {
		query = `UPDATE recalls SET deadline = wanted, wanted = 0, wanted_by = '', wanted_as = '[]', reminded = 0, blocked = 0,
			state = CASE WHEN state = 'waiting' THEN 'approved' ELSE state END WHERE id = $1 AND NOT (blocked > 0 AND at_deadline = 'block')`
	}
	result, err := tx.ExecContext(ctx, query, id)
	return changedOne(result, err)
}

// WantDeadline notes that somebody asks for another deadline. When nobody must approve
// it, it stands at once. ErrConflict: the recall is over, or its deadline has blocked.
func (db *DB) WantDeadline(ctx context.Context, id int64, deadline time.Time, who string, as []string, at time.Time) error {
	err := db.tx(ctx, func(tx *writing) error {
		const query = `UPDATE recalls SET wanted = $1, wanted_by = $2, wanted_as = $4 WHERE id = $3 AND NOT (blocked > 0 AND at_deadline = 'block') AND state NOT IN ('done', 'cancelled') RETURNING needs`
		var needs int
		err := tx.QueryRowContext(ctx, query, micros(deadline), who, id, stringsText(as)).Scan(&needs)
		if err == sql.ErrNoRows {
			return fmt.Errorf("%w: it is over, or its deadline has blocked the old one", tallystick.ErrConflict)
		}
		if err != nil {
			return err
		}
		if needs == 0 {
			if err := approved(ctx, tx, id, true); err != nil {
				return err
			}
		}
		// Who approved this deadline before somebody asked for it once more did not approve this.
		if _, err := tx.ExecContext(ctx, `DELETE FROM recall_approvals WHERE recall_id = $1 AND deadline = $2 AND deadline <> (SELECT deadline FROM recalls WHERE id = $1)`, id, micros(deadline)); err != nil {
			return err
		}
		addEvents(tx, id, RecallEvent{At: at, Kind: EventPeople, Text: fmt.Sprintf("%s asked for the deadline %s.", who, deadline.UTC().Format(time.DateTime))})
		return nil
	})
	return db.wrap("couldn't ask for another deadline", err)
}

// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"

	"github.com/tallystick/tallystick"
)

const targetColumns = `id, recall_id, kind, wave, holder, relying, relying_party, customer, owner, grants, old, subject, instructions, state, late, asked, error`

func scanTarget(row scanner) (tallystick.RecallTarget, error) {
	var t tallystick.RecallTarget
	var grants string
	err := row.Scan(&t.ID, &t.Recall, &t.Kind, &t.Wave, &t.Holder, &t.Relying, &t.RelyingParty, &t.Customer, &t.Owner, &grants, &t.Old, &t.Subject, &t.Instructions, &t.State, &t.Late, &t.Asked, &t.Error)
	if err == nil {
		t.Grants, err = stringsOf(grants)
	}
	return t, err
}

// RecallTarget returns a target.
func (db *DB) RecallTarget(ctx context.Context, id int64) (tallystick.RecallTarget, error) {
	t, err := scanTarget(db.one(ctx, `SELECT `+targetColumns+` FROM recall_targets WHERE id = $1`, id))
	return t, db.wrap("couldn't read the target", err)
}

// A TargetFilter picks targets; what is zero picks all.
type TargetFilter struct {
	State string
	Wave  int
	Late  bool
	Asked bool
	Kind  string
	Door  string // as holder or relying
	Owner string
}

// RecallTargets returns at most limit targets of a recall that a filter picks and whose
// number is above after, in the order of their numbers, which is that of the plan.
func (db *DB) RecallTargets(ctx context.Context, recall int64, f TargetFilter, after int64, limit int) ([]tallystick.RecallTarget, error) {
	query, args := `SELECT `+targetColumns+` FROM recall_targets WHERE recall_id = $1 AND id > $2`, []any{recall, after}
	where := func(condition string, value any) {
		args = append(args, value)
		query += ` AND ` + condition + `$` + itoa(int64(len(args)))
	}
	if f.State != "" {
		where(`state = `, f.State)
	}
	if f.Wave != 0 {
		where(`wave = `, f.Wave)
	}
	if f.Late {
		where(`late = `, true)
	}
	if f.Asked {
		where(`asked = `, true)
	}
	if f.Kind != "" {
		where(`kind = `, f.Kind)
	}
	if f.Owner != "" {
		where(`owner = `, f.Owner)
	}
	if f.Door != "" {
		args = append(args, f.Door)
		n := itoa(int64(len(args)))
		query += ` AND (holder = $` + n + ` OR relying = $` + n + `)`
	}
	args = append(args, limit)
	rows, err := db.read.QueryContext(ctx, query+` ORDER BY id LIMIT $`+itoa(int64(len(args))), args...)
	return collect(db, "couldn't list the targets", rows, err, func(rows *sql.Rows) (tallystick.RecallTarget, error) { return scanTarget(rows) })
}

// A StepFilter picks steps; what is zero picks all.
type StepFilter struct {
	Target int64
	State  string
	Act    tallystick.Act
}

// RecallSteps returns at most limit steps of a recall that a filter picks and whose
// number is above after, in the order of their numbers, which is that of the plan.
func (db *DB) RecallSteps(ctx context.Context, recall int64, f StepFilter, after int64, limit int) ([]RecallStepRow, error) {
	query, args := `SELECT `+stepColumns+` FROM recall_steps WHERE recall_id = $1 AND id > $2`, []any{recall, after}
	where := func(condition, behind string, value any) {
		args = append(args, value)
		query += ` AND ` + condition + `$` + itoa(int64(len(args))) + behind
	}
	if f.Target != 0 {
		where(`(target_id = `, ``, f.Target)
		n := itoa(int64(len(args)))
		query += ` OR id IN (SELECT step_id FROM recall_shared WHERE target_id = $` + n + `))`
	}
	if f.State != "" {
		where(`state = `, ``, f.State)
	}
	if f.Act != "" {
		where(`act = `, ``, string(f.Act))
	}
	args = append(args, limit)
	rows, err := db.read.QueryContext(ctx, query+` ORDER BY id LIMIT $`+itoa(int64(len(args))), args...)
	return collect(db, "couldn't list the steps", rows, err, func(rows *sql.Rows) (RecallStepRow, error) { return scanStep(rows) })
}

// StepTargets returns the targets of a step, in the order of their numbers.
func (db *DB) StepTargets(ctx context.Context, s RecallStepRow) ([]int64, error) {
	if !s.Shared {
		return []int64{s.Target}, nil
	}
	rows, err := db.read.QueryContext(ctx, `SELECT target_id FROM recall_shared WHERE step_id = $1 ORDER BY target_id`, s.ID)
	ids, err := idsOf(rows, err)
	return ids, db.wrap("couldn't list the targets of a step", err)
}

// A TargetCount is how many targets of a wave are in a state.
type TargetCount struct {
	Wave  int    `json:"wave"`
	State string `json:"state"`
	Late  bool   `json:"late,omitempty"`
	Count int64  `json:"count"`
}

// CountRecallTargets counts the targets of a recall by wave and state.
func (db *DB) CountRecallTargets(ctx context.Context, recall int64) ([]TargetCount, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT wave, state, late, COUNT(*) FROM recall_targets WHERE recall_id = $1 GROUP BY wave, state, late ORDER BY wave, state, late`, recall)
	return collect(db, "couldn't count the targets", rows, err, func(rows *sql.Rows) (TargetCount, error) {
		var c TargetCount
		err := rows.Scan(&c.Wave, &c.State, &c.Late, &c.Count)
		return c, err
	})
}

// A StepCount is how many steps of an act are in a state, and how many of them have
// failed and are tried again.
type StepCount struct {
	Act     tallystick.Act `json:"act"`
	State   string         `json:"state"`
	Count   int64          `json:"count"`
	Failing int64          `json:"failing,omitempty"`
}

// CountRecallSteps counts the steps of a recall by act and state.
func (db *DB) CountRecallSteps(ctx context.Context, recall int64) ([]StepCount, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT act, state, COUNT(*), SUM(CASE WHEN failures > 0 THEN 1 ELSE 0 END) FROM recall_steps WHERE recall_id = $1 GROUP BY act, state ORDER BY act, state`, recall)
	return collect(db, "couldn't count the steps", rows, err, func(rows *sql.Rows) (StepCount, error) {
		var c StepCount
		err := rows.Scan(&c.Act, &c.State, &c.Count, &c.Failing)
		return c, err
	})
}

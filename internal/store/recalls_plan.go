// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/tallystick/tallystick"
)

// A RecallPlan is a recall with all that it is to do, before it has any number.
type RecallPlan struct {
	Recall tallystick.Recall
	// OpenedAs are the accounts behind who opens it; see SamePerson.
	OpenedAs []string
	Targets  []PlannedTarget
	Steps    []PlannedStep // each behind those that it waits for
}

// A PlannedTarget is a target; its ID, Recall and State are given by the store.
type PlannedTarget struct {
	tallystick.RecallTarget
	// Facts are what all steps of the target are to be told, a JSON object: the fields of a
	// doors.Task such as old, like and listeners. What the Task of a step says besides goes before.
	Facts json.RawMessage
}

// A PlannedStep is one step of a plan. It names targets and other steps by their
// place in the plan.
type PlannedStep struct {
	Act   tallystick.Act
	Phase tallystick.Phase
	Wave  int // 0: of no wave
	// Targets are those that cannot go on without this step: one, or several that share
	// it, or none for a step of the recall as a whole. The facts are those of the first.
	Targets []int
	Door    string // "": it is done by the server itself
	Agent   string // "": the server does it
	// Beside says that it changes the door for one account alone, and goes on beside others there.
	Beside bool
	// Limit is what steps that must not go on in great numbers are counted by: the name of
	// the door's driver; of issue and revoke "issuer/" and the issuer's name.
	Limit string
	// Task is a JSON object that goes over the Facts of the first target; nil without more.
	Task json.RawMessage
	// From is the step that gives the new credential: the issue step, or the key step where
	// there is none; of an issue step it is the key step. -1 without one.
	From int
	// After are the steps that must be done before. A gate names the gate before it at
	// most: it opens when every target of its wave that has not failed is through its phase.
	After []int
}

// stepUrgency is where a step stands in the line of those that can be taken up at once:
// what ends a target goes before what begins another. It is kept as its time, which
// no real time is as small as.
func stepUrgency(act tallystick.Act, phase tallystick.Phase) int64 {
	if act == tallystick.ActLift {
		return 0
	}
	return int64(len(tallystick.Phases()) - slices.Index(tallystick.Phases(), phase))
}

// writesAtDoor are the acts that change a door: one at a time.
func writesAtDoor(act tallystick.Act) bool {
	switch act {
	case tallystick.ActInstall, tallystick.ActTrust, tallystick.ActBlock, tallystick.ActLift:
		return true
	}
	return false
}

// InsertRecall keeps a plan, whose recall then has its number. needs is how many must
// approve it. ErrConflict: there is one of that name, or one that is not over goes to
// one of the same connections or places for the same credential.
func (db *DB) InsertRecall(ctx context.Context, p RecallPlan, needs int) (tallystick.Recall, error) {
	r := p.Recall
	first, err := db.newIDs(ctx, int64(1+len(p.Targets)+len(p.Steps)))
	if err != nil {
		return r, err
	}
	r.ID = first
	rows, err := p.rows(first)
	if err != nil {
		return r, err
	}
	err = db.tx(ctx, func(tx *writing) error {
		if err := oneRecallAtATime(ctx, tx); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO recalls (id, name, kind, value, why, since, deadline, at_deadline, quiet, canary, growth, errors, rehearse, state, needs, opened_by, opened, opened_as)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)`,
			r.ID, r.Name, r.What.Kind, r.What.Value, cleanText(r.Why), micros(r.Since), micros(r.Deadline), r.AtDeadline, r.Quiet.Microseconds(),
			r.Waves.Canary, r.Waves.Growth, r.Waves.Errors, r.Rehearse.Microseconds(), string(r.State), needs, r.OpenedBy, micros(r.Opened), stringsText(p.OpenedAs)); err != nil {
			return err
		}
		if err := rows.insert(ctx, tx); err != nil {
			return err
		}
		return overlapping(ctx, tx, r.ID)
	})
	return r, db.wrap("couldn't keep the recall", err)
}

// oneRecallAtATime makes others wait who begin a recall, until the transaction ends.
func oneRecallAtATime(ctx context.Context, tx *writing) error {
	_, err := tx.ExecContext(ctx, `UPDATE counters SET next = next + 1 WHERE name = 'recall'`)
	return err
}

// overlapping is ErrConflict when another recall in earnest, which is not over, has
// the same credential at the same doors, or is about to put there what this one takes away.
func overlapping(ctx context.Context, tx *writing, recall int64) error {
	const query = `SELECT o.name, a.holder, a.relying, a.relying_party, a.subject, a.old FROM recall_targets a JOIN recall_targets b ON b.holder = a.holder AND b.relying = a.relying
		JOIN recalls o ON o.id = b.recall_id JOIN recalls r ON r.id = a.recall_id
		WHERE a.recall_id = $1 AND b.recall_id <> $1 AND r.rehearse = 0 AND o.rehearse = 0 AND o.state NOT IN ('done', 'cancelled')
		AND a.holder || a.relying <> '' AND (b.old = a.old OR b.fresh = a.old) AND b.state NOT IN ('proven', 'skipped') LIMIT 1`
	var name string
	var t tallystick.RecallTarget
	err := tx.QueryRowContext(ctx, query, recall).Scan(&name, &t.Holder, &t.Relying, &t.RelyingParty, &t.Subject, &t.Old)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: the recall %s is at work at %s", tallystick.ErrConflict, name, labelOf(t))
}

// planRows are the rows of a plan.
type planRows struct{ targets, steps, shared, after [][]any }

// rows numbers everything: the recall, its targets, its steps.
func (p RecallPlan) rows(recall int64) (planRows, error) {
	target := func(i int) int64 { return recall + 1 + int64(i) }
	step := func(i int) int64 { return recall + 1 + int64(len(p.Targets)) + int64(i) }
	var rows planRows
	left := make([]counts, len(p.Targets))
	for i, s := range p.Steps {
		phase := slices.Index(tallystick.Phases(), s.Phase)
		if phase < 0 || s.From >= i || slices.ContainsFunc(s.After, func(a int) bool { return a < 0 || a >= i }) ||
			slices.ContainsFunc(s.Targets, func(t int) bool { return t < 0 || t >= len(p.Targets) }) {
			return rows, fmt.Errorf("couldn't keep the recall: %w: step %d of the plan names what does not stand before it", tallystick.ErrInvalid, i)
		}
		for _, t := range s.Targets {
			left[t][phase]++
			if len(s.Targets) > 1 {
				rows.shared = append(rows.shared, []any{step(i), target(t)})
			}
		}
		after := slices.Compact(slices.Sorted(slices.Values(s.After)))
		for _, a := range after {
			rows.after = append(rows.after, []any{step(a), step(i)})
		}
		rows.steps = append(rows.steps, s.row(recall, step(i), len(after), target, step))
	}
	for i, t := range p.Targets {
		rows.targets = append(rows.targets, t.row(recall, target(i), left[i]))
	}
	return rows, nil
}

// counts are numbers of steps by phase.
type counts [5]int64

// state is that of a target with so many steps left.
func (c counts) state() string {
	for i, phase := range tallystick.Phases() {
		if c[i] > 0 {
			return string(phase)
		}
	}
	return tallystick.TargetProven
}

func (t PlannedTarget) row(recall, id int64, left counts) []any {
	facts := string(t.Facts)
	if facts == "" {
		facts = "{}"
	}
	return []any{id, recall, t.Kind, t.Wave, t.Holder, t.Relying, t.RelyingParty, t.Customer, t.Owner, stringsText(t.Grants), t.Old, cleanText(t.Subject),
		cleanText(t.Instructions), facts, left.state(), left[0], left[1], left[2], left[3], left[4]}
}

func (s PlannedStep) row(recall, id int64, waits int, target, step func(int) int64) []any {
	var first, source int64
	if len(s.Targets) > 0 {
		first = target(s.Targets[0])
	}
	if s.From >= 0 {
		source = step(s.From)
	}
	state := tallystick.StepReady
	if waits > 0 {
		state = tallystick.StepWaiting
	}
	return []any{id, recall, first, len(s.Targets) > 1, string(s.Phase), string(s.Act), s.Wave, s.Door, s.Agent, s.Limit, s.Door != "" && writesAtDoor(s.Act) && !s.Beside, s.Act == tallystick.ActLift, source,
		state, waits, stepUrgency(s.Act, s.Phase), string(s.Task)}
}

func (r planRows) insert(ctx context.Context, tx *writing) error {
	for _, part := range []struct {
		bulk
		rows [][]any
	}{
		{bulk{head: `INSERT INTO recall_targets (id, recall_id, kind, wave, holder, relying, relying_party, customer, owner, grants, old, subject,
			instructions, facts, state, prepare_left, activate_left, drain_left, revoke_left, prove_left) VALUES `, width: 20}, r.targets},
		{bulk{head: `INSERT INTO recall_steps (id, recall_id, target_id, shared, phase, act, wave, door, agent, counted, alone, restores, source, state, waits, next, task) VALUES `, width: 17}, r.steps},
		{bulk{head: `INSERT INTO recall_shared (step_id, target_id) VALUES `, width: 2}, r.shared},
		{bulk{head: `INSERT INTO recall_after (step_id, behind) VALUES `, width: 2}, r.after},
	} {
		if _, err := part.exec(ctx, tx, part.rows); err != nil {
			return err
		}
	}
	return nil
}

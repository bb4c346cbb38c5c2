// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"context"
	"fmt"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// A Report is what one run found to be different, in numbers.
type Report struct {
	Run     store.Run
	Since   *store.Run         // the earlier run that it is compared with; nil is the one before it
	Changes store.ChangeCounts // since then; none are counted of a run that goes on
	Missed  map[string]int64   // by the word
}

// Report returns a run with what it changed. With the number of an earlier run
// of the same job as since, it is what has changed from the end of that to the
// end of this one; 0 is what this one changed itself.
func (d *Discovery) Report(ctx context.Context, actor gate.Actor, id, since int64) (Report, error) {
	r, between, err := d.between(ctx, actor, id, since)
	if err != nil {
		return r, err
	}
	if r.Missed = r.Run.Missed; len(r.Missed) == 0 && r.Run.Misses > 0 {
		if r.Missed, err = d.db.CountMisses(ctx, id); err != nil {
			return r, err
		}
	}
	switch {
	case !r.Run.Ended():
		return r, nil
	case since == 0 && r.Run.Changes != nil:
		r.Changes = *r.Run.Changes
		return r, nil
	}
	r.Changes, err = d.db.CountChanges(ctx, between)
	return r, err
}

// between checks who asks and what for.
func (d *Discovery) between(ctx context.Context, actor gate.Actor, id, since int64) (Report, store.Between, error) {
	var r Report
	err := d.gate.Check(ctx, actor, gate.ReadInventory, runName(id))
	if err != nil {
		return r, store.Between{}, err
	}
	if r.Run, err = d.db.Run(ctx, id); err != nil {
		return r, store.Between{}, err
	}
	between := store.Between{Source: r.Run.Source, From: id - 1, To: id}
	if since == 0 {
		return r, between, nil
	}
	earlier, err := d.db.Run(ctx, since)
	if err != nil {
		return r, between, err
	}
	if earlier.Source != r.Run.Source || since >= id {
		err := fmt.Errorf("%w: run %d cannot be compared with run %d", tallystick.ErrInvalid, id, since)
		return r, between, problem.With(err, "compare a run with an earlier one of the same job")
	}
	r.Since, between.From = &earlier, since
	return r, between, nil
}

// ListChanges returns a page of the differences of one kind, such as
// store.ChangeRenewed; see Report for since.
func (d *Discovery) ListChanges(ctx context.Context, actor gate.Actor, id, since int64, kind string, page store.PageRequest) (store.Page[store.RunChange], error) {
	_, between, err := d.between(ctx, actor, id, since)
	if err != nil {
		return store.Page[store.RunChange]{}, err
	}
	return d.db.Changes(ctx, between, kind, page)
}

// Changes calls fn for every difference; see Report for since.
func (d *Discovery) Changes(ctx context.Context, actor gate.Actor, id, since int64, fn func(store.RunChange) error) error {
	_, between, err := d.between(ctx, actor, id, since)
	if err != nil {
		return err
	}
	return d.db.EachChange(ctx, between, fn)
}

// Misses returns where a run could not see, in the order of places after one. The
// lists are kept for the newest runs of a job; the numbers stay with every run.
func (d *Discovery) Misses(ctx context.Context, actor gate.Actor, id int64, f store.MissFilter, after tallystick.Place, limit int) ([]tallystick.Miss, error) {
	if err := d.gate.Check(ctx, actor, gate.ReadInventory, runName(id)); err != nil {
		return nil, err
	}
	return d.db.Misses(ctx, id, f, after, min(max(limit, 1), 1000))
}

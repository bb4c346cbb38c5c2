// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/usage"
)

// An Exporter makes evidence of recalls for those who may have it.
type Exporter struct {
	DB   *store.DB
	Gate *gate.Gate
	Log  *audit.Log
	// Uses counts what the books have; nil where there are none.
	Uses Books
	Now  func() time.Time
}

// Books are those of both sides, from which uses of a credential are counted: *usage.Usage.
type Books interface {
	Chart(ctx context.Context, actor gate.Actor, f usage.Filter) (usage.Chart, error)
}

// Export writes the evidence of a recall to w. Nothing is written before the gate has
// let who pass, everything is read, and the log has sealed it.
func (e Exporter) Export(ctx context.Context, who gate.Actor, recall int64, w io.Writer) (Manifest, error) {
	r, err := e.DB.Recall(ctx, recall)
	if err != nil {
		return Manifest{}, err
	}
	if err := e.Gate.Check(ctx, who, gate.ExportEvidence, audit.RecallObject(r.Name)); err != nil {
		return Manifest{}, err
	}
	uses, err := e.uses(ctx, who, r.Recall)
	if err != nil {
		return Manifest{}, err
	}
	return Export(ctx, w, Source{
		Recall: r.Recall, Log: e.Log, By: who, Now: e.Now(), Uses: uses,
		Targets: e.targets(ctx, r.ID), Steps: e.steps(ctx, r.ID), Events: e.events(ctx, r.ID),
	})
}

// readAtOnce is how many rows are read together.
const readAtOnce = 500

// pages reads a list to its end; next is what a row is passed by.
func pages[T, U any](read func(after int64) ([]T, error), next func(T) int64, show func(T) (U, error)) iter.Seq2[U, error] {
	return func(yield func(U, error) bool) {
		var none U
		for after := int64(0); ; {
			list, err := read(after)
			if err != nil {
				yield(none, err)
				return
			}
			for _, one := range list {
				after = next(one)
				if shown, err := show(one); !yield(shown, err) || err != nil {
					return
				}
			}
			if len(list) < readAtOnce {
				return
			}
		}
	}
}

func (e Exporter) targets(ctx context.Context, recall int64) iter.Seq2[tallystick.RecallTarget, error] {
	return pages(func(after int64) ([]tallystick.RecallTarget, error) {
		return e.DB.RecallTargets(ctx, recall, store.TargetFilter{}, after, readAtOnce)
	}, func(t tallystick.RecallTarget) int64 { return t.ID },
		func(t tallystick.RecallTarget) (tallystick.RecallTarget, error) { return t, nil })
}

func (e Exporter) steps(ctx context.Context, recall int64) iter.Seq2[Step, error] {
	return pages(func(after int64) ([]store.RecallStepRow, error) {
		return e.DB.RecallSteps(ctx, recall, store.StepFilter{}, after, readAtOnce)
	}, func(s store.RecallStepRow) int64 { return s.ID },
		func(s store.RecallStepRow) (Step, error) {
			step := Step{RecallStep: s.RecallStep}
			if !s.Shared {
				return step, nil
			}
			targets, err := e.DB.StepTargets(ctx, s)
			for _, id := range targets {
				if id != s.Target {
					step.Also = append(step.Also, id)
				}
			}
			return step, err
		})
}

func (e Exporter) events(ctx context.Context, recall int64) iter.Seq2[Event, error] {
	return pages(func(after int64) ([]store.RecallEvent, error) {
		return e.DB.RecallEvents(ctx, recall, after, readAtOnce)
	},
		func(v store.RecallEvent) int64 { return v.N },
		func(v store.RecallEvent) (Event, error) {
			return Event{N: v.N, Time: v.At, Kind: v.Kind, Target: v.Target, Text: v.Text}, nil
		})
}

// Bounds of what is counted: so many credentials, and so long before the recall, unless it
// is known since when the credential was in other hands.
const (
	countedMost  = 50
	countedAhead = 30 * 24 * time.Hour
	countedMax   = 300 * 24 * time.Hour
)

// uses counts what the books have of each burnt credential.
func (e Exporter) uses(ctx context.Context, who gate.Actor, r tallystick.Recall) ([]Uses, error) {
	if e.Uses == nil {
		return nil, nil
	}
	blocked, err := e.blocked(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	var list []Uses
	seen := map[string]bool{}
	for t, err := range e.targets(ctx, r.ID) {
		if err != nil {
			return nil, err
		}
		if t.Old == "" || seen[t.Old] || len(list) == countedMost {
			continue
		}
		seen[t.Old] = true
		one, err := e.usesOf(ctx, who, r, t, blocked)
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, nil
}

// blocked is when the last door began to refuse what was burnt, as far as it has happened.
func (e Exporter) blocked(ctx context.Context, recall int64) (time.Time, error) {
	var last time.Time
	for _, act := range []tallystick.Act{tallystick.ActBlock, tallystick.ActRevoke} {
		for after := int64(0); ; {
			list, err := e.DB.RecallSteps(ctx, recall, store.StepFilter{State: tallystick.StepDone, Act: act}, after, readAtOnce)
			if err != nil {
				return last, err
			}
			for _, s := range list {
				after = s.ID
				if s.Ended.After(last) {
					last = s.Ended
				}
			}
			if len(list) < readAtOnce {
				break
			}
		}
	}
	return last, nil
}

func (e Exporter) usesOf(ctx context.Context, who gate.Actor, r tallystick.Recall, t tallystick.RecallTarget, blocked time.Time) (Uses, error) {
	u := Uses{Credential: t.Old, Subject: t.Subject}
	now := e.Now()
	begun := r.Started
	if begun.IsZero() {
		begun = now
	}
	from := begun.Add(-countedAhead)
	if !r.Since.IsZero() && r.Since.Before(from) {
		from = r.Since
	}
	if from.Before(begun.Add(-countedMax)) {
		from = begun.Add(-countedMax)
		u.Note = "What is older is not counted."
	}
	end := blocked
	if end.Before(begun) {
		end = now
	}
	for _, span := range []struct {
		count    *Count
		from, to time.Time
	}{{&u.Before, from, begun}, {&u.During, begun, end}, {&u.After, end, now}} {
		span.count.From, span.count.To = span.from.UTC(), span.to.UTC()
		if !span.from.Before(span.to) {
			continue
		}
		c, err := e.Uses.Chart(ctx, who, usage.Filter{Credential: usedName(t.Old), From: span.from, To: span.to})
		if errors.Is(err, tallystick.ErrNotFound) {
			u.Note = "No book has told of it."
			return u, nil
		}
		if err != nil {
			return u, fmt.Errorf("couldn't count the uses of %s: %w", t.Old, err)
		}
		span.count.add(c)
	}
	return u, nil
}

// add counts the bins of a chart. Its ends are moved to whole steps, and so is what is
// said of the time that was counted.
func (n *Count) add(c usage.Chart) {
	for _, bin := range c.Bins {
		n.Holder += bin.Holder
		n.Relying += bin.Relying
		n.Foreign += bin.Foreign
		n.Pending += bin.Pending
	}
	n.From, n.To = c.From, c.To
}

// usedName is the name under which people ask for the uses of a credential.
func usedName(old string) string { return strings.TrimPrefix(old, "cert-sha256:") }

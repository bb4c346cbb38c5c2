// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"

	"github.com/tallystick/tallystick/internal/discovery"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
)

// A runLog writes a line to the log for each look that has ended, because who
// watches the log of a server may never open the page of its runs.
type runLog struct {
	ended chan struct{}
}

func newRunLog() *runLog { return &runLog{ended: make(chan struct{}, 1)} }

// wake says that a look may have ended. It does not wait.
func (l *runLog) wake() {
	select {
	case l.ended <- struct{}{}:
	default:
	}
}

// recent is how many runs are looked at for those that have ended.
const recent = 50

// run writes lines until ctx ends. Runs that had ended before are passed over.
func (l *runLog) run(ctx context.Context, d *discovery.Discovery, log *slog.Logger) {
	told := map[int64]bool{}
	l.tell(ctx, d, func(r store.Run) { told[r.ID] = true })
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.ended:
		}
		l.tell(ctx, d, func(r store.Run) {
			if !told[r.ID] {
				told[r.ID] = true
				logRun(log, r)
			}
		})
	}
}

// tell calls fn for the last runs that have ended, the oldest first.
func (l *runLog) tell(ctx context.Context, d *discovery.Discovery, fn func(store.Run)) {
	reader := gate.Actor{Name: "log", Role: gate.Viewer, Via: "local"}
	runs, err := d.Runs(ctx, reader, 0, recent)
	if err != nil {
		return // the next end of a run tries again
	}
	for i := len(runs) - 1; i >= 0; i-- {
		if !runs[i].Finished.IsZero() {
			fn(runs[i])
		}
	}
}

func logRun(log *slog.Logger, r store.Run) {
	took := r.Finished.Sub(r.Started)
	if r.State == store.RunFailed {
		log.Error("a look failed", "run", r.ID, "job", r.Source, "took", took, "error", r.Error)
		return
	}
	log.Info("a look ended", "run", r.ID, "job", r.Source, "state", r.State, "took", took,
		"sightings", r.Sightings, "new", r.Appeared, "gone", r.Vanished, "not_seen", r.Misses)
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"log/slog"

	"github.com/tallystick/tallystick/internal/store"
)

// logRun writes a line for a look that has ended, because who watches the log
// of a server may never open the page of its runs.
func logRun(log *slog.Logger, r store.Run) {
	took := r.Finished.Sub(r.Started)
	if r.State == store.RunFailed {
		log.Error("a look failed", "run", r.ID, "job", r.Source, "took", took, "error", r.Error)
		return
	}
	log.Info("a look ended", "run", r.ID, "job", r.Source, "state", r.State, "took", took,
		"sightings", r.Sightings, "new", r.Appeared, "gone", r.Vanished, "not_seen", r.Misses)
}

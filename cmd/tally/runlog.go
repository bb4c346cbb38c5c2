// SPDX-License-Identifier: Apache-2.0

package main

import (
	"log/slog"

	"github.com/tallystick/tallystick/internal/discovery"
	"github.com/tallystick/tallystick/internal/store"
)

// changesWords is what a look changed, for who reads the log.
func changesWords(r store.Run) string {
	if r.Changes == nil {
		return ""
	}
	return discovery.Sentence(*r.Changes)
}

// logRun writes a line for a look that has ended, because who watches the log
// of a server may never open the page of its runs.
func logRun(log *slog.Logger, r store.Run) {
	took := r.Finished.Sub(r.Started)
	if r.State == store.RunFailed {
		log.Error("a look failed", "run", r.ID, "job", r.Source, "took", took, "error", r.Error)
		return
	}
	log.Info("a look ended", "run", r.ID, "job", r.Source, "state", r.State, "took", took,
		"sightings", r.Sightings, "new", r.Appeared, "gone", r.Vanished, "not_seen", r.Misses, "changes", changesWords(r))
}

// SPDX-License-Identifier: Apache-2.0

package web

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/store"
)

// idleAfter is how long nothing has happened before somebody is said not to work: servers
// and agents look for steps every few seconds.
const idleAfter = time.Minute

// longestAct is after what time no step is under way any more: whoever took it up has gone.
const longestAct = 15 * time.Minute

// idleSteps is how many steps are looked at to find out who does not work.
const idleSteps = 500

// idle says who should take up steps of a recall that runs, and does not: the servers, or
// an agent. When a step that was never tried became ready is not kept, so that the last
// event of the recall stands for it.
func (s *Site) idle(r *http.Request, one tallystick.Recall) ([]string, error) {
	if one.State != tallystick.RecallRunning {
		return nil, nil
	}
	last, err := s.Recalls.DB.LastRecallEvents(r.Context(), one.ID, 0, 1)
	if err != nil {
		return nil, err
	}
	before := s.Now().Add(-idleAfter)
	if slices.ContainsFunc(last, func(event recall.Event) bool { return event.At.After(before) }) {
		return nil, nil
	}
	waiting, err := s.Recalls.DB.RecallSteps(r.Context(), one.ID, store.StepFilter{State: tallystick.StepReady}, 0, idleSteps)
	if err != nil {
		return nil, err
	}
	running, err := s.Recalls.DB.RecallSteps(r.Context(), one.ID, store.StepFilter{State: tallystick.StepRunning}, 0, idleSteps)
	if err != nil {
		return nil, err
	}
	counts, busy := map[string]int64{}, map[string]bool{} // by who should take them up
	for _, step := range waiting {
		// Blocks of a rehearsal that were begun are left to what lifts them.
		undone := step.Act == tallystick.ActBlock && one.Rehearse > 0 && !step.Began.IsZero()
		if step.Act != tallystick.ActGate && step.Act != tallystick.ActPerson && !undone && step.Next.Before(before) {
			counts[step.Agent]++
		}
	}
	for _, step := range running {
		if step.Began.After(s.Now().Add(-longestAct)) {
			busy[step.Agent] = true
		} else {
			counts[step.Agent]++ // whoever was at it has gone
		}
	}
	maps.DeleteFunc(counts, func(who string, _ int64) bool { return busy[who] })
	return idleWords(counts), nil
}

// idleWords say it, servers first.
func idleWords(counts map[string]int64) []string {
	var list []string
	for _, who := range slices.Sorted(maps.Keys(counts)) {
		wait := plural(counts[who], "step waits", "steps wait")
		if who == "" {
			list = append(list, fmt.Sprintf("No server works at it: %s. It goes on by itself as soon as one does; the log of \"tally up\" says what keeps it.", wait))
			continue
		}
		list = append(list, fmt.Sprintf("The agent %s does not work at it: %s for it. See that \"tally agent\" runs there and reaches this server.", clip(60, who), wait))
	}
	return list
}

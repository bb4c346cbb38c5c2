// SPDX-License-Identifier: Apache-2.0

package recall

import (
	"context"
	"slices"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// idle counts the targets of each phase that nobody works at: all of a phase of which no step can be
// taken up now, because the recall has not begun, is paused or is over, or because they wait for other
// phases or for people; and those of later waves, for which a gate is shut.
func (e *Engine) idle(ctx context.Context, s Status) (map[tallystick.Phase]int64, error) {
	working := map[tallystick.Phase]bool{}
	for _, c := range s.Steps {
		if c.State == tallystick.StepRunning || c.State == tallystick.StepReady && s.State == tallystick.RecallRunning {
			working[workOf(c.Act)] = true
		}
	}
	// Of each phase one gate is ready at a time: those behind it wait for it.
	gates, err := e.DB.RecallSteps(ctx, s.ID, store.StepFilter{Act: tallystick.ActGate, State: tallystick.StepReady}, 0, len(tallystick.Phases()))
	if err != nil {
		return nil, err
	}
	open := map[tallystick.Phase]int{} // up to which wave, where a gate is shut
	for _, gate := range gates {
		phase := gate.Phase
		if phase == tallystick.PhaseProve {
			phase = tallystick.PhaseRevoke // what is to be proven is let in to be refused
		}
		open[phase] = gate.Wave
	}
	idle := map[tallystick.Phase]int64{}
	for _, c := range s.Targets {
		phase := tallystick.Phase(c.State)
		if !slices.Contains(tallystick.Phases(), phase) {
			continue // it is through, or fell out
		}
		if last, shut := open[phase]; !working[phase] || shut && c.Wave > last {
			idle[phase] += c.Count
		}
	}
	return idle, nil
}

// workOf is the phase of what servers and agents do; "" is of gates and of people, which may
// be in any.
func workOf(act tallystick.Act) tallystick.Phase {
	switch act {
	case tallystick.ActKey, tallystick.ActIssue, tallystick.ActTrust:
		return tallystick.PhasePrepare
	case tallystick.ActInstall, tallystick.ActProbe:
		return tallystick.PhaseActivate
	case tallystick.ActDrain:
		return tallystick.PhaseDrain
	case tallystick.ActHold, tallystick.ActRevoke, tallystick.ActBlock:
		return tallystick.PhaseRevoke
	case tallystick.ActLift, tallystick.ActProve:
		return tallystick.PhaseProve
	}
	return ""
}

// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"fmt"
	"strings"

	"github.com/tallystick/tallystick"
)

// verdict is the first sentence of the report. It claims of no target more than what was
// done there: a look is no try, and what somebody said is neither.
func (s *summary) verdict(r tallystick.Recall) string {
	proven := s.states[tallystick.TargetProven]
	switch all := int64(len(s.rows)); {
	case all == 0:
		return "This recall has no targets."
	case r.Rehearse > 0:
		return s.rehearsed()
	case proven == all:
		return fmt.Sprintf("%s proven: %s.", allTargets(all), s.provenHow())
	case proven == 0:
		return fmt.Sprintf("0 of %s proven: %s.", targetsAre(all), s.others())
	default:
		return fmt.Sprintf("%d of %s proven: %s. Of the others: %s.", proven, targetsAre(all), s.provenHow(), s.others())
	}
}

func targetsAre(n int64) string {
	if n == 1 {
		return "1 target is"
	}
	return fmt.Sprintf("%d targets are", n)
}

func allTargets(n int64) string {
	if n == 1 {
		return "The only target is"
	}
	return "All " + targetsAre(n)
}

// provenHow says how the proven ones are proven.
func (s *summary) provenHow() string {
	by := map[string]int64{}
	var works int64 // of those that were tried: also the new one was
	for _, one := range s.rows {
		if one.State != tallystick.TargetProven {
			continue
		}
		how := one.ProvenBy()
		by[how]++
		if how == byTry && one.Fresh.Accepted > 0 {
			works++
		}
	}
	var parts []string
	say := func(how, words string) {
		switch n := by[how]; {
		case n > 0 && n == s.states[tallystick.TargetProven]:
			parts = append(parts, words)
		case n > 0:
			parts = append(parts, fmt.Sprintf("at %d %s", n, words))
		}
	}
	say(byTry, "the old credential was tried and is refused, and "+newWorks(works, by[byTry]))
	say(byLook, "it was looked at, not tried: no place shows the old one any more, and no door says that it lets it in")
	say(byHand, "somebody said that it is done, and nothing was tried or looked at")
	say("", "no step says how")
	return strings.Join(parts, "; ")
}

// newWorks says of how many targets the new credential was tried, too.
func newWorks(works, all int64) string {
	switch works {
	case all:
		return "the new one works"
	case 0:
		return "the new one was not tried"
	}
	return fmt.Sprintf("the new one works at %d of these; at the others it was not tried", works)
}

// others counts those that are not proven, by what became of them.
func (s *summary) others() string {
	left := int64(len(s.rows)) - s.states[tallystick.TargetProven]
	var parts []string
	for _, state := range []string{tallystick.TargetFailed, tallystick.TargetSkipped, tallystick.TargetUndone} {
		if n := s.states[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
			left -= n
		}
	}
	if left > 0 {
		parts = append(parts, fmt.Sprintf("%d not finished", left))
	}
	return strings.Join(parts, ", ")
}

// rehearsed is the verdict on a rehearsal, in which doors say that they refuse the old
// one, and nothing is tried.
func (s *summary) rehearsed() string {
	var lifted, blocked, untouched int
	for _, one := range s.rows {
		block, lift := one.Done[tallystick.ActBlock], one.Done[tallystick.ActLift]
		switch {
		case block.IsZero():
			untouched++
		case lift.Before(block):
			blocked++
		default:
			lifted++
		}
	}
	text := fmt.Sprintf("This is a rehearsal, in which nothing is replaced, revoked or proven. Blocked for a while and open again: %d of %s", lifted, connections(len(s.rows)))
	if blocked > 0 {
		text += fmt.Sprintf("; blocked now: %d", blocked)
	}
	if untouched > 0 {
		text += fmt.Sprintf("; not blocked: %d", untouched)
	}
	return text + "."
}

func connections(n int) string {
	if n == 1 {
		return "1 connection"
	}
	return fmt.Sprintf("%d connections", n)
}

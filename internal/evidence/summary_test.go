// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
)

// What steps of a target came to, as it is kept.
const (
	triedBoth = `{"attempts":[{"way":"fresh-tls1.3","outcome":"refused"},{"way":"resumed-tls1.3","outcome":"not-resumed"}],"new_attempts":[{"way":"fresh-tls1.3","outcome":"accepted"}]}`
	triedOld  = `{"attempts":[{"way":"fresh-tls1.3","outcome":"refused"}]}`
	looked    = `{"view":{"listeners":[]},"attempts":[{"way":"fresh-tls1.3","outcome":"accepted","served":"ab"}]}`
	said      = `{"by":"ada","note":"called them"}`
)

// A told is one target with the steps that are done there, in their order.
type told struct {
	kind, state string
	steps       []tallystick.RecallStep
}

func did(act tallystick.Act, result string) tallystick.RecallStep {
	return tallystick.RecallStep{Act: act, State: tallystick.StepDone, Result: json.RawMessage(result)}
}

// proven makes a proven target with one such step.
func proven(kind string, act tallystick.Act, result string) told {
	return told{kind, tallystick.TargetProven, []tallystick.RecallStep{did(act, result)}}
}

func summaryOf(targets ...told) *summary {
	s := newSummary()
	for i, one := range targets {
		id := int64(i + 1)
		s.addTarget(tallystick.RecallTarget{ID: id, Kind: one.kind, State: one.state})
		for n, step := range one.steps {
			step.Target, step.Ended = id, time.Unix(int64(1000+n), 0)
			s.addStep(Step{RecallStep: step})
		}
	}
	return s
}

// The report says of a target what was done there, and nothing better.
func TestProof(t *testing.T) {
	for _, row := range []struct {
		name                                       string
		target                                     told
		proof, refused, notResumed, accepted, news string
		by                                         string
	}{
		{"tried", proven(tallystick.TargetConnection, tallystick.ActProve, triedBoth), "old refused 1× (fresh-tls1.3); old not resumed 1×; new accepted 1×", "1", "1", "0", "1", "try"},
		{"tried before there is a new one", proven(tallystick.TargetConnection, tallystick.ActProve, triedOld), "old refused 1× (fresh-tls1.3)", "1", "0", "0", "0", "try"},
		{
			"a connection that nobody has the old key of", proven(tallystick.TargetConnection, tallystick.ActProve, looked),
			"looked at, not tried: the door does not say that it lets the old one in; what listeners serve looked at 1×", "0", "0", "0", "0", "look",
		},
		{"a place", proven(tallystick.TargetPlace, tallystick.ActProve, looked), "looked at, not tried: nothing shows the old one; what listeners serve looked at 1×", "0", "0", "0", "0", "look"},
		{"a task", proven(tallystick.TargetPerson, tallystick.ActPerson, said), "done by hand, and neither tried nor looked at", "0", "0", "0", "0", "hand"},
		{"a task that goes on", told{kind: tallystick.TargetPerson, state: "activate"}, "", "0", "0", "0", "0", ""},
	} {
		s := summaryOf(row.target)
		var out bytes.Buffer
		if err := s.writeTable(&out); err != nil {
			t.Fatal(err)
		}
		lines, err := csv.NewReader(&out).ReadAll()
		if err != nil || len(lines) != 2 {
			t.Fatalf("%s: %d lines, %v", row.name, len(lines), err)
		}
		have := map[string]string{"proof": s.rows[0].Proof()}
		for i, column := range lines[0] {
			switch column {
			case "old_refused", "old_not_resumed", "old_accepted", "new_accepted", "proven_by":
				have[column] = lines[1][i]
			}
		}
		want := map[string]string{"proof": row.proof, "old_refused": row.refused, "old_not_resumed": row.notResumed, "old_accepted": row.accepted, "new_accepted": row.news, "proven_by": row.by}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("%s: %s", row.name, diff)
		}
	}
}

func TestVerdict(t *testing.T) {
	tried := proven(tallystick.TargetConnection, tallystick.ActProve, triedBoth)
	early := proven(tallystick.TargetConnection, tallystick.ActProve, triedOld)
	place := proven(tallystick.TargetPlace, tallystick.ActProve, looked)
	task := proven(tallystick.TargetPerson, tallystick.ActPerson, said)
	later := told{tallystick.TargetConnection, tallystick.TargetProven, []tallystick.RecallStep{
		did(tallystick.ActProve, triedOld), did(tallystick.ActProbe, `{"attempts":[{"way":"fresh-tls1.3","outcome":"accepted"}]}`),
	}}
	failed := told{kind: tallystick.TargetConnection, state: tallystick.TargetFailed}
	waits := told{kind: tallystick.TargetConnection, state: string(tallystick.PhaseDrain)}
	block, lift := did(tallystick.ActBlock, `{}`), did(tallystick.ActLift, `{}`)
	lifted := told{tallystick.TargetConnection, tallystick.TargetProven, []tallystick.RecallStep{block, lift}}
	blocked := told{tallystick.TargetConnection, string(tallystick.PhaseProve), []tallystick.RecallStep{block}}
	again := told{tallystick.TargetConnection, string(tallystick.PhaseProve), []tallystick.RecallStep{lift, block}}
	untouched := told{kind: tallystick.TargetConnection, state: tallystick.TargetProven}
	const dead = "the old credential was tried and is refused, and the new one works"
	const gone = "it was looked at, not tried: no place shows the old one any more, and no door says that it lets it in"
	const word = "somebody said that it is done, and nothing was tried or looked at"
	for _, row := range []struct {
		name     string
		rehearse time.Duration
		targets  []told
		want     string
	}{
		{"nothing", 0, nil, "This recall has no targets."},
		{"tried", 0, []told{tried, later}, "All 2 targets are proven: " + dead + "."},
		{"looked at", 0, []told{place, place}, "All 2 targets are proven: " + gone + "."},
		{"by hand", 0, []told{task}, "The only target is proven: " + word + "."},
		{"of each", 0, []told{tried, place, task, tried}, "All 4 targets are proven: at 2 " + dead + "; at 1 " + gone + "; at 1 " + word + "."},
		{"at the deadline", 0, []told{early, early}, "All 2 targets are proven: the old credential was tried and is refused, and the new one was not tried."},
		{
			"at the deadline, some", 0, []told{early, tried, tried},
			"All 3 targets are proven: the old credential was tried and is refused, and the new one works at 2 of these; at the others it was not tried.",
		},
		{"not all", 0, []told{tried, failed, waits}, "1 of 3 targets are proven: " + dead + ". Of the others: 1 failed, 1 not finished."},
		{"none", 0, []told{failed, waits}, "0 of 2 targets are proven: 1 failed, 1 not finished."},
		{"without a step", 0, []told{untouched}, "The only target is proven: no step says how."},
		{
			"a rehearsal", time.Minute, []told{lifted, lifted},
			"This is a rehearsal, in which nothing is replaced, revoked or proven. Blocked for a while and open again: 2 of 2 connections.",
		},
		{
			"a rehearsal that goes on", time.Minute, []told{lifted, blocked, again, untouched},
			"This is a rehearsal, in which nothing is replaced, revoked or proven. Blocked for a while and open again: 1 of 4 connections; blocked now: 2; not blocked: 1.",
		},
	} {
		if have := summaryOf(row.targets...).verdict(tallystick.Recall{Rehearse: row.rehearse}); have != row.want {
			t.Errorf("%s:\nhave %s\nwant %s", row.name, have, row.want)
		}
	}
}

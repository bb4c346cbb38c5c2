// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// A saying is what is to be written down after a set was settled.
type saying struct {
	verdicts []store.Verdict
	matched  []string // records of which nothing is said any more
	entries  []*entry // of verdicts, and of matched
	news     []*entry // foreign uses that were not before
}

// changed takes what the entries of a set come to, and compares it with what is
// written down.
func (w *Watch) changed(s *set) saying {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out saying
	closed := closings{}
	for i, e := range s.entries {
		e.outcome = s.outcomes[i]
		if !e.aside && !e.paired {
			w.compare(e, closed, &out)
		}
	}
	return out
}

// closings is up to when all books are closed that speak of a credential: to find it takes a
// look at each of them, of which there can be thousands.
type closings map[*used]int64

func (c closings) of(w *Watch, one *used) int64 {
	closed, known := c[one]
	if !known {
		closed = min(closedBy(w, tallystick.SideRelying, one.relying), w.holdersClosed(one))
		c[one] = closed
	}
	return closed
}

// compare adds to what is to be written down.
func (w *Watch) compare(e *entry, closed closings, out *saying) {
	want := statement{e.verdict, e.left}
	switch e.verdict {
	case tallystick.VerdictForeign:
	case tallystick.VerdictUnconfirmed:
		if !w.confirmable(e, closed) {
			want = statement{}
		}
	default:
		want = statement{}
	}
	if want == e.said {
		return
	}
	e.saying = want
	out.entries = append(out.entries, e)
	if want == (statement{}) {
		out.matched = append(out.matched, e.name())
		return
	}
	out.verdicts = append(out.verdicts, w.verdictOf(e, want, e.reason.String()))
	if want.verdict == tallystick.VerdictForeign && e.said.verdict != want.verdict {
		out.news = append(out.news, e)
	}
}

// confirmable says whether the relying party of a holder's use would have told of
// it by now: its book had begun then, and is closed past it.
func (w *Watch) confirmable(e *entry, closed closings) bool {
	one := e.owner.now()
	since, ok := one.parties[partyHash(e.use.RelyingParty)]
	return ok && since <= micro(e.use.Time) && closed.of(w, one) > until(e.use)+w.Tolerance.Microseconds()
}

// say shows the rules what turned out to be foreign, and writes all of it down. The
// findings come first: a process that is killed between the two finds the same
// again, and with the verdicts first it would not look.
func (w *Watch) say(ctx context.Context, out saying) error {
	if len(out.entries) == 0 {
		return nil
	}
	w.mu.Lock()
	for _, e := range out.news {
		w.judge(e.owner.now(), e.use, tallystick.VerdictForeign, e.reason.String())
	}
	w.mu.Unlock()
	if err := w.writeFindings(ctx); err != nil {
		return err
	}
	if err := w.DB.SaveVerdicts(ctx, out.verdicts, out.matched); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range out.entries {
		if e.said = e.saying; e.said == (statement{}) {
			continue
		}
		w.counts.Said[e.said.verdict]++
		if e.paired { // meanwhile
			w.outbox.unsaid = append(w.outbox.unsaid, e.name())
		}
	}
	w.outbox.takenBack = w.outbox.takenBack || len(out.matched) > 0
	return nil
}

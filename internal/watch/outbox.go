// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// An outbox is what is to be written down, beside what is said of open records.
type outbox struct {
	raise  []finding       // findings
	said   []store.Verdict // attempts
	unsaid []string        // records of which nothing is said any more
	soon   []soon          // uses soon after changes
	// takenBack says that a use is no longer foreign, so that findings may close.
	takenBack bool
}

// A finding waits until its credential has a name in the inventory.
type finding struct {
	one *used
	tallystick.Finding
}

// before puts what could not be written before what has come since.
func (o *outbox) before(since outbox) {
	o.raise, o.said = append(o.raise, since.raise...), append(o.said, since.said...)
	o.unsaid, o.soon = append(o.unsaid, since.unsaid...), append(o.soon, since.soon...)
	o.takenBack = o.takenBack || since.takenBack
}

// write writes down what the outbox has. What could not be written stays there.
func (w *Watch) write(ctx context.Context) error {
	w.mu.Lock()
	out := w.outbox
	w.outbox = outbox{}
	w.mu.Unlock()
	err := w.writeAll(ctx, out)
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		out.before(w.outbox)
		w.outbox = out
	}
	return err
}

func (w *Watch) writeAll(ctx context.Context, out outbox) error {
	if err := w.raiseAll(ctx, out.raise); err != nil {
		return err
	}
	if err := w.DB.SaveVerdicts(ctx, out.said, out.unsaid); err != nil {
		return err
	}
	if err := w.tellDirectory(ctx, out.soon); err != nil {
		return err
	}
	if !out.takenBack && len(out.unsaid) == 0 {
		return nil
	}
	return w.closeCleared(ctx)
}

// writeFindings writes down findings alone.
func (w *Watch) writeFindings(ctx context.Context) error {
	w.mu.Lock()
	raise := w.outbox.raise
	w.outbox.raise = nil
	w.mu.Unlock()
	err := w.raiseAll(ctx, raise)
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.outbox.raise = append(raise, w.outbox.raise...)
	}
	return err
}

func (w *Watch) raiseAll(ctx context.Context, raise []finding) error {
	about := make([]*used, 0, len(raise))
	for i := range raise {
		if raise[i].one != nil { // else it is about its place alone
			about = append(about, raise[i].one)
		}
	}
	if err := w.nameAll(ctx, about); err != nil {
		return err
	}
	list := make([]tallystick.Finding, 0, len(raise))
	w.mu.Lock()
	for i := range raise {
		f := raise[i].Finding
		if raise[i].one != nil {
			f.Credential = raise[i].one.now().fingerprint
		}
		list = append(list, f)
	}
	w.mu.Unlock()
	return w.DB.RaiseFindings(ctx, list, w.Now())
}

// foreignRules returns the rules that speak of foreign uses: what they found is
// closed when all of it was taken back.
func (w *Watch) foreignRules() []string {
	var names []string
	for i := range w.Rules {
		if w.Rules[i].Foreign {
			names = append(names, w.Rules[i].Name)
		}
	}
	return names
}

// closeCleared closes findings of credentials that have no foreign use any more.
func (w *Watch) closeCleared(ctx context.Context) error {
	cleared, err := w.DB.ClearedOfForeign(ctx, w.foreignRules())
	if err != nil {
		return err
	}
	for _, credential := range cleared {
		if err := w.DB.CloseFindings(ctx, credential, w.foreignRules(), w.Now()); err != nil {
			return err
		}
	}
	w.mu.Lock()
	clear(w.raised)
	w.mu.Unlock()
	return nil
}

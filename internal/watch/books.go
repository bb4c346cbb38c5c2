// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/rule"
)

// BookPlace is the place of a finding about a source.
func BookPlace(source string, side tallystick.Side) tallystick.Place {
	return tallystick.Place(fmt.Sprintf("book:%s/%s", side, source))
}

// judgeBooks shows the rules each book as it stands.
func (w *Watch) judgeBooks(ctx context.Context) error {
	silence, err := w.silences(ctx)
	if err != nil {
		return err
	}
	var names []string
	var found []tallystick.Finding
	for _, r := range w.Rules {
		if r.Book == nil {
			continue
		}
		names = append(names, r.Name)
		for _, b := range w.Ledger.Books() {
			for _, hit := range r.Book(w.bookSubject(&b, silence)) {
				f := tallystick.Finding{Rule: r.Name, Severity: r.Severity, Place: BookPlace(b.Source, b.Side), Evidence: hit.Evidence}
				if hit.Severity != 0 {
					f.Severity = hit.Severity
				}
				found = append(found, f)
			}
		}
	}
	if len(names) == 0 {
		return nil
	}
	return w.DB.SettleFindings(ctx, names, found, w.Now())
}

// silences returns after how long each book should have been heard again.
func (w *Watch) silences(ctx context.Context) (map[bookName]time.Duration, error) {
	sources, err := w.DB.Sources(ctx)
	if err != nil {
		return nil, err
	}
	all := map[bookName]time.Duration{}
	for i := range sources {
		s := &sources[i]
		w.mu.Lock()
		ended := w.ended[bookName{s.Name, s.Side}]
		w.mu.Unlock()
		if !ended && !s.Paused && s.Done.IsZero() && !s.Once {
			all[bookName{s.Name, s.Side}] = s.Silence
		}
	}
	return all, nil
}

// endOfTime is up to when a book is closed that has ended: far, and still far from
// where adding to it would overflow.
const endOfTime = noTime / 2

// learnEnded asks which books have ended.
func (w *Watch) learnEnded(ctx context.Context) error {
	list, err := w.DB.EndedBooks(ctx)
	if err != nil {
		return err
	}
	ended := make(map[bookName]bool, len(list))
	for _, b := range list {
		ended[bookName{b.Source, b.Side}] = true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	changed := len(ended) != len(w.ended)
	for name := range ended {
		changed = changed || !w.ended[name]
	}
	if w.ended = ended; changed {
		w.Wake()
	}
	return nil
}

func (w *Watch) bookSubject(b *ledger.Book, silence map[bookName]time.Duration) rule.BookSubject {
	s := rule.BookSubject{
		Source: b.Source, Side: b.Side, Closed: b.Closed, Heard: b.Heard, Silence: silence[bookName{b.Source, b.Side}], Missing: b.MissingCount,
		Broken: b.Chain.BrokenCount, Twice: b.Twice, AfterClose: b.AfterClose, AfterCloseAt: b.AfterCloseAt, Skew: w.skewOf(bookName{b.Source, b.Side}), Now: w.Now(),
	}
	if len(b.Missing) > 0 {
		s.FirstMissing = b.Missing[0].From
	}
	if len(b.Chain.Broken) > 0 {
		s.FirstBroken = b.Chain.Broken[0]
	}
	return s
}

// RecordRoot returns a function for ledger.Options.Sealed that puts the roots of
// segments into the audit log, where nobody can change them.
func RecordRoot(log *audit.Log, now func() time.Time) func(context.Context, ledger.Segment) error {
	return func(ctx context.Context, s ledger.Segment) error {
		return log.Append(ctx, audit.Record{
			Time: now(), Actor: "ledger", Role: "none", Via: "local", Action: "seal-ledger", Object: "segment " + s.Name() + " " + hex.EncodeToString(s.Root), Allowed: true,
		})
	}
}

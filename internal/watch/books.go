// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/rule"
)

// BookPlace is the place of a finding about a source.
func BookPlace(source string, side tallystick.Side) tallystick.Place {
	return tallystick.Place(fmt.Sprintf("book:%s/%s", side, source))
}

// judgeBooks shows the rules each book as it stands, and each source that has said
// nothing yet.
func (w *Watch) judgeBooks(ctx context.Context) error {
	subjects, err := w.bookSubjects(ctx)
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
		for _, s := range subjects {
			for _, hit := range r.Book(s) {
				f := tallystick.Finding{Rule: r.Name, Severity: r.Severity, Place: BookPlace(s.Source, s.Side), Evidence: hit.Evidence}
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

// bookSubjects returns what the rules are shown.
func (w *Watch) bookSubjects(ctx context.Context) ([]rule.BookSubject, error) {
	sources, err := w.DB.Sources(ctx)
	if err != nil {
		return nil, err
	}
	reading := map[bookName]*store.Source{}
	for i := range sources {
		if s := &sources[i]; s.IsRead() {
			reading[bookName{s.Name, s.Side}] = s
		}
	}
	w.mu.Lock()
	ended := w.ended
	w.mu.Unlock()
	skews := w.Skews()
	var list []rule.BookSubject
	for _, b := range w.Ledger.Books() {
		s := subjectOf(&b, w.Now())
		s.Skew = skewOf(skews, bookName{b.Source, b.Side})
		name := bookName{b.Source, b.Side}
		if from := reading[name]; from != nil && !ended[name] {
			s.Silence, s.Heard = from.Silence, from.HeardLast(b.Heard)
		}
		delete(reading, name)
		list = append(list, s)
	}
	for name, from := range reading {
		if !ended[name] {
			list = append(list, rule.BookSubject{Source: name.source, Side: name.side, Silence: from.Silence, Heard: from.HeardLast(time.Time{}), Now: w.Now()})
		}
	}
	return list, nil
}

func subjectOf(b *ledger.Book, now time.Time) rule.BookSubject {
	s := rule.BookSubject{
		Source: b.Source, Side: b.Side, Closed: b.Closed, Heard: b.Heard, Missing: b.MissingCount, Broken: b.Chain.BrokenCount, Twice: b.Twice,
		AfterClose: b.AfterClose, AfterCloseAt: b.AfterCloseAt, Now: now,
	}
	if len(b.Missing) > 0 {
		s.FirstMissing = b.Missing[0].From
	}
	if len(b.Chain.Broken) > 0 {
		s.FirstBroken = b.Chain.Broken[0]
	}
	return s
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

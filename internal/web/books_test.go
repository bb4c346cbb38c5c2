// SPDX-License-Identifier: Apache-2.0

package web

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/usage"
)

// good is a book with which nothing is wrong.
func good() usage.Book {
	b := usage.Book{Reading: &store.Source{Kind: store.SourceHTTP, Silence: time.Hour}}
	b.Source, b.Side, b.Records, b.Closed, b.Heard = "broker", tallystick.SideHolder, 9, chartNow.Add(-3*time.Minute), chartNow.Add(-time.Minute)
	return b
}

func TestTroublesOfBooks(t *testing.T) {
	for want, spoil := range map[string]func(*usage.Book){
		"": func(*usage.Book) {},
		"critical It was last heard 60 seconds ago, and should be every 60 minutes.":                                       func(b *usage.Book) { b.Silent = true },
		"critical It cannot be read: permission denied.":                                                                   func(b *usage.Book) { b.Reading.Error = "permission denied" },
		"critical 2 records do not follow from the one before: it was changed, or one was removed. The first is number 7.": func(b *usage.Book) { b.Chain = ledger.Chain{BrokenCount: 2, Broken: []uint64{7, 9}} },
		"high 4 records are missing: 3–5, 8.":                                                                              func(b *usage.Book) { b.Missing, b.MissingCount = []ledger.Span{{From: 3, To: 5}, {From: 8, To: 8}}, 4 },
		"high 1 number came again with other content, last 12.":                                                            func(b *usage.Book) { b.Twice, b.TwiceAt = 1, 12 },
		"medium 3 records came after the book had said that it was complete.":                                              func(b *usage.Book) { b.AfterClose = 3 },
		"medium 1 record could not be read.":                                                                               func(b *usage.Book) { b.Reading.Malformed = 1 },
		"medium Its clock is 5 minutes slow.":                                                                              func(b *usage.Book) { b.Skew = -5 * time.Minute },
		"medium It never said how far it is complete, so uses wait for it.":                                                func(b *usage.Book) { b.Closed = time.Time{} },
	} {
		b := good()
		spoil(&b)
		var got []string
		for _, w := range viewBook(chartNow, b).Wrong {
			got = append(got, w.Severity.String()+" "+w.What)
			if w.Do == "" {
				t.Errorf("%s: there is nothing to do about it", w.What)
			}
		}
		if d := cmp.Diff(want, strings.Join(got, "; ")); d != "" {
			t.Error(d)
		}
	}
}

func TestTrustInTheSilence(t *testing.T) {
	silent, gaps, read := good(), good(), good()
	silent.Silent = true
	gaps.MissingCount = 1
	read.Reading.Done, read.Closed = chartNow, time.Time{}
	relying := good()
	relying.Side = tallystick.SideRelying
	for want, books := range map[string][]usage.Book{
		"Nobody tells about uses yet.":                                              nil,
		"Yes, up to 3 minutes ago: every holder's book is complete until then.":     {good(), relying, read},
		"No: 2 books are silent. What they would tell is not known.":                {silent, silent, gaps},
		"Not wholly: every book was heard, and something is wrong with 1 of them.":  {good(), gaps},
		"Only in part: no holder's book is read, so nothing can be called foreign.": {relying},
	} {
		var views []bookView
		for _, b := range books {
			views = append(views, viewBook(chartNow, b))
		}
		if got, loud := trustSentence(chartNow, views); got != want || loud != strings.HasPrefix(want, "No") && len(books) > 0 {
			t.Errorf("%q, loud %v; want %q", got, loud, want)
		}
	}
}

func TestMapPutsTogetherWhatTheSameBooksTell(t *testing.T) {
	m := &usage.Map{Books: []usage.Book{good(), {}}}
	m.Books[0].Silent, m.Books[1].Source = true, "unused"
	for range 9 {
		m.Parties = append(m.Parties, usage.Party{Name: "tenant", Holder: 1, Relying: 2, Holders: []string{"broker"}, Relyings: []string{"entra"}})
	}
	m.Parties = append(m.Parties, usage.Party{Name: "lonely", Relying: 1, Relyings: []string{"entra"}})
	groups, unused := groupsOf(m)
	if len(groups) != 2 || groups[0].Whole() || groups[0].Count != 1 || groups[1].Count != 9 || groups[1].Uses != 27 || groups[1].More != 3 || !groups[1].Holders[0].Silent {
		t.Errorf("%+v", groups)
	}
	if len(unused) != 1 || unused[0].Source != "unused" {
		t.Errorf("%+v", unused)
	}
}

// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/holder"
)

func bookOf(t *testing.T, l *Ledger, source string) Book {
	t.Helper()
	for _, b := range l.Books() {
		if b.Source == source {
			return b
		}
	}
	t.Fatalf("there is no book %s", source)
	return Book{}
}

func TestBooksKnowWhatIsMissing(t *testing.T) {
	now := start.Add(time.Hour)
	dir := t.TempDir()
	l := open(t, dir, Options{Now: func() time.Time { return now }})
	add(t, l, holderUse(3), holderUse(4), holderUse(9))
	if _, err := l.Append(t.Context(), Batch{Marks: []Mark{{
		ClosingMark: tallystick.ClosingMark{Source: "broker-eu-1", Side: tallystick.SideHolder, Closed: start.Add(30 * time.Second)}, Last: 12,
	}}}); err != nil {
		t.Fatal(err)
	}
	want := Book{
		Source: "broker-eu-1", Side: tallystick.SideHolder, Records: 3, First: start.Add(3 * time.Second), Last: start.Add(9 * time.Second),
		Closed: start.Add(30 * time.Second), Heard: now, Late: time.Hour - 9*time.Second, MostLate: time.Hour - 3*time.Second,
		FirstSeq: 3, LastSeq: 12, Missing: []Span{{1, 2}, {5, 8}, {10, 12}}, MissingCount: 9,
	}
	if d := cmp.Diff(want, bookOf(t, l, "broker-eu-1")); d != "" {
		t.Fatal(d)
	}
	late, changed := holderUse(6), holderUse(4)
	changed.Address = "198.51.100.1"
	add(t, l, late, changed)
	want.Records, want.Late, want.AfterClose, want.AfterCloseAt = 5, time.Hour-4*time.Second, 2, start.Add(6*time.Second)
	want.Missing, want.MissingCount, want.Twice, want.TwiceAt = []Span{{1, 2}, {5, 5}, {7, 8}, {10, 12}}, 8, 1, 4
	if d := cmp.Diff(want, bookOf(t, l, "broker-eu-1")); d != "" {
		t.Fatal(d)
	}
	seal(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir, Options{})
	if d := cmp.Diff(want, bookOf(t, l, "broker-eu-1")); d != "" {
		t.Fatalf("after a restart: %s", d)
	}
}

func TestNumbersInAnyOrderLeaveTheSameGaps(t *testing.T) {
	var s spans
	for _, n := range []uint64{7, 1, 3, 2, 9, 8, 3, 20} {
		s.add(n)
	}
	if d := cmp.Diff([]Span{{1, 3}, {7, 9}, {20, 20}}, s.List); d != "" {
		t.Error(d)
	}
	var many spans
	for n := range uint64(3 * maxSpans) {
		many.add(2 + 2*n)
	}
	if len(many.List) != maxSpans || many.Forgotten != 2*maxSpans {
		t.Errorf("%d spans, %d forgotten", len(many.List), many.Forgotten)
	}
}

// holderBook writes a book with package holder: records, closing marks between
// them, and returns its lines.
func holderBook(t *testing.T, records int) (lines []Line) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "book")
	for written := 0; written < records; written += 5 { // each opening goes on where the last one ended, and closes at its end
		book, err := holder.Open(holder.Config{Source: "broker", File: path, Credential: []string{"x5t:ab"}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- book.Run(ctx) }()
		for range 5 {
			book.Record(tallystick.Use{Time: start})
		}
		stop()
		<-done
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var r struct {
			Seq, Last uint64
			Closed    string
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, Line{Source: "broker", Side: tallystick.SideHolder, Seq: max(r.Seq, r.Last), Mark: r.Closed != "", Text: []byte(line)})
	}
	return lines
}

func chainOf(t *testing.T, batches ...[]Line) Chain {
	t.Helper()
	dir := t.TempDir()
	l := open(t, dir, Options{})
	for _, lines := range batches {
		if _, err := l.Append(t.Context(), Batch{Lines: lines}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return bookOf(t, open(t, dir, Options{}), "broker").Chain
}

func TestHashesOfABookFollowHoweverItArrives(t *testing.T) {
	lines := holderBook(t, 20)
	n := len(lines)
	if n < 24 {
		t.Fatalf("%d lines", n)
	}
	var single [][]Line
	for i := range lines {
		single = append(single, lines[i:i+1])
	}
	for name, batches := range map[string][][]Line{
		"at once":           {lines},
		"line by line":      single,
		"twice":             {lines, lines},
		"overlapping":       {lines[:10], lines[5:15], lines[12:]},
		"the end first":     {lines[10:], lines[:10]},
		"the middle last":   {lines[:6], lines[14:], lines[6:14]},
		"marks sent again":  {lines[:6], lines[5:6], lines[5:6], lines[6:]},
		"in three, mixed":   {lines[16:], lines[:3], lines[9:16], lines[3:9]},
		"each batch twice":  {lines[:7], lines[:7], lines[7:], lines[7:]},
		"the start again":   {lines, lines[:4], lines[:9]},
		"an empty one also": {nil, lines},
	} {
		if d := cmp.Diff(Chain{Proved: []Span{{1, 20}}}, chainOf(t, batches...)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestBrokenHashesAreFound(t *testing.T) {
	lines := holderBook(t, 20)
	edited := append([]Line{}, lines...)
	edited[2].Text = []byte(strings.Replace(string(edited[2].Text), "x5t:ab", "x5t:ac", 1))
	for name, row := range map[string]struct {
		batches [][]Line
		broken  []uint64
	}{
		"a line edited":                      {[][]Line{edited}, []uint64{3}},
		"a line edited, batches apart":       {[][]Line{edited[:2], edited[2:]}, []uint64{3}},
		"a line edited, the end first":       {[][]Line{edited[2:], edited[:2]}, []uint64{3}},
		"a mark removed":                     {[][]Line{append(append([]Line{}, lines[:5]...), lines[6:]...)}, []uint64{6}},
		"the first line is not the first":    {[][]Line{{relabel(lines[3], 1)}}, []uint64{1}},
		"a line put in the place of another": {[][]Line{{lines[0], relabel(lines[2], 2)}}, []uint64{2}},
	} {
		got := chainOf(t, row.batches...)
		if d := cmp.Diff(row.broken, got.Broken); d != "" || got.BrokenCount != int64(len(row.broken)) {
			t.Errorf("%s: %s (%d)", name, d, got.BrokenCount)
		}
	}
	removed := append(append([]Line{}, lines[:2]...), lines[3:]...)
	if d := cmp.Diff([]Span{{1, 2}, {4, 20}}, chainOf(t, removed).Proved); d != "" {
		t.Errorf("a line removed: %s", d)
	}
}

func relabel(l Line, seq uint64) Line {
	l.Seq = seq
	return l
}

func TestLinesWithoutAHashProveNothing(t *testing.T) {
	if got := follow([]Line{{Source: "a", Seq: 1, Text: []byte(`{"v":1}`)}, {Source: "a", Seq: 2, Text: []byte(`,"hash":"zz"}`)}, {Text: nil}}); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

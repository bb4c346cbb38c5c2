// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"github.com/tallystick/tallystick"
)

// wants is the query as anybody would write it.
func wants(q Query, u *tallystick.Use) bool {
	if len(q.Names) > 0 && !slices.ContainsFunc(q.Names, func(name string) bool {
		return slices.ContainsFunc(u.Credential, func(other string) bool { return tallystick.NormalName(name) == tallystick.NormalName(other) })
	}) {
		return false
	}
	return (q.From.IsZero() || !u.Time.Before(q.From)) && (q.To.IsZero() || u.Time.Before(q.To)) && (q.Side == "" || q.Side == u.Side) &&
		(q.Source == "" || q.Source == u.Source) && (q.RelyingParty == "" || q.RelyingParty == u.RelyingParty)
}

// Records are spread over several segments that overlap in time, and a log that
// is open: whoever asks cannot tell.
func TestQueriesMergeSegmentsAndTheLog(t *testing.T) {
	uses := randomUses(7, 4000)
	l := open(t, t.TempDir(), Options{SealRecords: 700})
	for batch := range slices.Chunk(uses, 130) {
		add(t, l, batch...)
	}
	if n := len(l.Segments()); n < 4 {
		t.Fatalf("%d segments", n)
	}
	for _, q := range []Query{
		{}, {Names: []string{"X5T:ab"}}, {Names: []string{"entra-key:1", "account:ldap/UID=a,DC=\"É\"<&>"}}, {Names: []string{"entra-key:2"}},
		{From: start.Add(10 * time.Minute), To: start.Add(20 * time.Minute)},
		{Names: []string{"x5t:ab"}, From: start.Add(10 * time.Minute), To: start.Add(11 * time.Minute), Side: tallystick.SideRelying},
		{Source: "a", RelyingParty: "ldap:a:389"}, {To: time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)}, {From: start.Add(1000 * time.Hour)},
	} {
		var want []tallystick.Use
		for i := range uses {
			if wants(q, &uses[i]) {
				want = append(want, uses[i])
			}
		}
		t.Run(fmt.Sprintf("%+v", q), func(t *testing.T) { same(t, want, scanAll(t, l, q)) })
	}
}

func TestOrderDoesNotDependOnSegments(t *testing.T) {
	uses := randomUses(8, 1000)
	for i := range uses {
		uses[i].Time = start.Add(time.Duration(i%5) * time.Second)
	}
	var orders [][]uint64
	for _, records := range []int{100, 1 << 20} {
		l := open(t, t.TempDir(), Options{SealRecords: records})
		l.table.key, l.manifest.Key = &hashKey{1, 2, 3, 4}, hashKey{1, 2, 3, 4}
		for batch := range slices.Chunk(uses, 50) {
			add(t, l, batch...)
		}
		var order []uint64
		for _, u := range scanAll(t, l, Query{}) {
			order = append(order, u.Seq)
		}
		orders = append(orders, order)
	}
	if !slices.Equal(orders[0], orders[1]) {
		t.Error("the order is not the same")
	}
}

func TestLateRecordsAreFoundAndKnownAgain(t *testing.T) {
	l := open(t, t.TempDir(), Options{})
	for _, n := range []int{100, 101, 1, 102, 2} {
		add(t, l, holderUse(n))
		seal(t, l)
	}
	var got []uint64
	for _, u := range scanAll(t, l, Query{}) {
		got = append(got, u.Seq)
	}
	if d := cmp.Diff([]uint64{1, 2, 100, 101, 102}, got); d != "" {
		t.Error(d)
	}
	for n, want := range map[int]counts{2: {duplicates: 1}, 101: {duplicates: 1}, 3: {added: 1}} {
		if got := add(t, l, holderUse(n)); got != want {
			t.Errorf("record %d: %+v", n, got)
		}
	}
}

func TestIdentityOfRecords(t *testing.T) {
	base := holderUse(1)
	base.ID = "7f1d5c1e-6a1f-4d0e-9b5e-2f6f3b0a9c11"
	other := func(change func(u *tallystick.Use)) tallystick.Use {
		u := base
		change(&u)
		return u
	}
	for name, row := range map[string]struct {
		u     tallystick.Use
		again bool
	}{
		"the same id with more detail":   {other(func(u *tallystick.Use) { u.Detail = "more" }), true},
		"the same id of another source":  {other(func(u *tallystick.Use) { u.Source = "b" }), false},
		"the same id at another time":    {other(func(u *tallystick.Use) { u.Time = u.Time.Add(1); u.Until = u.Time }), false},
		"another id":                     {other(func(u *tallystick.Use) { u.ID = "7f1d5c1e-6a1f-4d0e-9b5e-2f6f3b0a9c12" }), false},
		"no id":                          {other(func(u *tallystick.Use) { u.ID = "" }), false},
		"the same id in capital letters": {other(func(u *tallystick.Use) { u.ID = "7F1D5C1E-6A1F-4D0E-9B5E-2F6F3B0A9C11" }), false},
	} {
		l := open(t, t.TempDir(), Options{})
		add(t, l, base)
		if got := add(t, l, row.u); (got.duplicates == 1) != row.again {
			t.Errorf("%s: %+v", name, got)
		}
	}
	plain := holderUse(1)
	l := open(t, t.TempDir(), Options{})
	add(t, l, plain)
	for i, change := range []func(u *tallystick.Use){
		func(u *tallystick.Use) { u.Seq = 2 }, func(u *tallystick.Use) { u.Port = 1 }, func(u *tallystick.Use) { u.Detail = "x" },
		func(u *tallystick.Use) { u.Agent = "x" }, func(u *tallystick.Use) { u.Operation = "x" }, func(u *tallystick.Use) { u.Resource = "x" },
		func(u *tallystick.Use) { u.Address = "x" }, func(u *tallystick.Use) { u.Count = 2 }, func(u *tallystick.Use) { u.IDs.UTI = "x" },
		func(u *tallystick.Use) { u.IDs.Queue = "x" }, func(u *tallystick.Use) { u.IDs.Serial = "x" }, func(u *tallystick.Use) { u.Holder = "x" },
		func(u *tallystick.Use) { u.Level = "call" }, func(u *tallystick.Use) { u.Credential = []string{"x"} }, func(u *tallystick.Use) { u.Until = u.Time.Add(1) },
		func(u *tallystick.Use) { u.Other = map[string]string{"a": "1"} }, func(u *tallystick.Use) { u.IDs.Other = map[string]string{"a": "1"} },
		func(u *tallystick.Use) { u.Credential = []string{"x", "y"} }, func(u *tallystick.Use) { u.Credential = []string{"xy"} },
	} {
		u := holderUse(1)
		change(&u)
		if got := add(t, l, u); got.added != 1 {
			t.Errorf("change %d makes no other record: %+v", i, got)
		}
	}
}

func TestByID(t *testing.T) {
	uses := []tallystick.Use{holderUse(1), holderUse(2), holderUse(3), holderUse(4)}
	uses[0].IDs.UTI = "FVsGxYXI30-TuikuuUoFAA"
	uses[1].ID = "c5065b15-c885-4fdf-93ba-292eb94a0500" // the same bytes
	uses[2].ID = "conn=12 op=3"
	uses[3].IDs.Correlation = "c5065b15-c885-4fdf-93ba-292eb94a0500" // chosen by the client
	l := open(t, t.TempDir(), Options{})
	for round := range 2 {
		if round == 0 {
			add(t, l, uses...)
		} else {
			seal(t, l)
		}
		for id, want := range map[string][]uint64{
			"C5065B15-C885-4FDF-93BA-292EB94A0500": {1, 2}, "FVsGxYXI30-TuikuuUoFAA": {1, 2}, "conn=12 op=3": {3},
			"conn=12": nil, "": nil, "c5065b15-c885-4fdf-93ba-292eb94a0501": nil,
		} {
			var got []uint64
			err := l.ByID(t.Context(), id, func(u *tallystick.Use) error {
				got = append(got, u.Seq)
				return nil
			})
			slices.Sort(got)
			if d := cmp.Diff(want, got); d != "" || err != nil {
				t.Errorf("round %d, %q: %v %s", round, id, err, d)
			}
		}
	}
}

func TestExpiredRecordsGoAndStayAway(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	for n := range 3 {
		add(t, l, holderUse(100*n+1), holderUse(100*n+50))
		seal(t, l)
	}
	removed, err := l.Expire(t.Context(), holderUse(160).Time)
	if err != nil || len(removed) != 2 {
		t.Fatal(removed, err)
	}
	if got := scanAll(t, l, Query{}); len(got) != 2 || got[0].Seq != 201 {
		t.Errorf("left are %+v", got)
	}
	if got := add(t, l, holderUse(1), holderUse(201), holderUse(170)); got != (counts{1, 1, 1}) {
		t.Errorf("%+v", got)
	}
	if names, err := filepath.Glob(filepath.Join(dir, "0000000[12].*")); err != nil || len(names) > 0 {
		t.Errorf("files are left: %v %v", names, err)
	}
	if got := bookOf(t, l, "broker-eu-1"); got.Records != 7 || got.FirstSeq != 1 {
		t.Errorf("the book forgot: %+v", got)
	}
	if err := l.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestRunSealsByAgeAndExpires(t *testing.T) {
	now := start
	l := open(t, t.TempDir(), Options{SealAge: time.Minute, Retention: time.Hour, Now: func() time.Time { return now }})
	add(t, l, holderUse(1))
	for _, step := range []struct {
		after    time.Duration
		segments int
	}{{time.Second, 0}, {time.Minute, 1}, {2 * time.Hour, 0}} {
		now = start.Add(step.after)
		if err := l.tick(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := len(l.Segments()); got != step.segments {
			t.Errorf("after %s: %d segments", step.after, got)
		}
	}
}

func TestManyAppendAtOnceAndReadMeanwhile(t *testing.T) {
	l := open(t, t.TempDir(), Options{SealRecords: 500})
	var wait sync.WaitGroup
	const writers, each = 8, 60
	for w := range writers {
		wait.Go(func() {
			for n := range each {
				u := holderUse(n + 1)
				u.Source = fmt.Sprint("writer-", w)
				if got, err := l.Append(t.Context(), Batch{Uses: []tallystick.Use{u, holderUse(n + 1)}}); err != nil || got.Added < 1 {
					t.Error(got, err)
				}
			}
		})
	}
	wait.Go(func() {
		for range 20 {
			scanAll(t, l, Query{Names: []string{"entra-key:00000001"}})
			l.Books()
		}
	})
	wait.Wait()
	if got := len(scanAll(t, l, Query{})); got != (writers+1)*each {
		t.Errorf("%d records", got)
	}
}

func TestTextThatIsNotUTF8IsCleanedAndKnownAgain(t *testing.T) {
	dir := t.TempDir()
	u := holderUse(1)
	u.Source, u.Detail, u.IDs.Queue, u.Credential = "a\xff", "b\xfe", "c\xfd", []string{"d\xfc"}
	l := open(t, dir, Options{})
	add(t, l, u)
	for range 2 {
		if got := add(t, l, u); got.duplicates != 1 {
			t.Errorf("%+v", got)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = open(t, dir, Options{})
		seal(t, l)
	}
	got := scanAll(t, l, Query{})[0]
	if got.Source != "a\ufffd" || got.Detail != "b\ufffd" || got.IDs.Queue != "c\ufffd" || got.Credential[0] != "d\ufffd" {
		t.Errorf("%+v", got)
	}
	if err := l.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

// The file is for other programs as well: package parquet reads it by its schema
// alone, and the text of a column is what the record said.
func TestSegmentsAreParquetForEverybody(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	uses := randomUses(5, 9000) // more than a page
	add(t, l, uses...)
	seal(t, l)
	s := l.Segments()[0]
	type row struct {
		Credential string `parquet:"credential"`
		Source     string `parquet:"source"`
		Time       int64  `parquet:"time,timestamp(microsecond)"`
		Seq        uint64 `parquet:"seq"`
		Port       int64  `parquet:"port"`
	}
	data, err := os.ReadFile(filepath.Join(dir, s.Name()))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := parquet.Read[row](bytes.NewReader(data), int64(len(data)))
	if err != nil || len(rows) != len(uses) {
		t.Fatal(len(rows), err)
	}
	bySeq := map[uint64]*tallystick.Use{}
	for i := range uses {
		bySeq[uses[i].Seq] = &uses[i]
	}
	for i, r := range rows {
		u := bySeq[r.Seq]
		want := row{writeNames(u.Credential), u.Source, u.Time.UnixMicro(), u.Seq, int64(u.Port)}
		if r != want {
			t.Fatalf("row %d is %+v, want %+v", i, r, want)
		}
		if i > 0 && (rows[i-1].Credential > r.Credential || rows[i-1].Credential == r.Credential && rows[i-1].Time > r.Time) {
			t.Fatalf("row %d is not in order", i)
		}
	}
}

func TestCellsComeBackLetterByLetter(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		u := randomUse(r)
		for _, s := range []string{u.ID, u.IDs.UTI, u.IDs.Correlation, u.IDs.Parent} {
			if c, f := spelled(s); f != formText && f.text(c) != s {
				t.Fatalf("%q comes back as %q", s, f.text(c))
			}
		}
	}
	for _, s := range []string{
		"FVsGxYXI30-TuikuuUoFAB", "C5065b15-C885-4FDF-93BA-292EB94A0500", "c5065b15c885-4fdf-93ba-292eb94a0500--", "FVsGxYXI30+TuikuuUo_AA",
		"FVsGxYXI30-TuikuuUoFAA=", "FVsGxYXI30-Tuikuu\nUoFA",
	} {
		if c, f := spelled(s); f != formText && f.text(c) != s {
			t.Errorf("%q comes back as %q", s, f.text(c))
		}
	}
}

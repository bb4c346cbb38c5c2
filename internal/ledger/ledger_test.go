// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
)

var start = time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)

func open(t *testing.T, dir string, options Options) *Ledger {
	t.Helper()
	l, err := Open(dir, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// counts are what became of the uses of a batch.
type counts struct{ added, duplicates, expired int }

func add(t *testing.T, l *Ledger, uses ...tallystick.Use) counts {
	t.Helper()
	n, err := l.Append(t.Context(), Batch{Uses: uses})
	if err != nil {
		t.Fatal(err)
	}
	return counts{n.Added, n.Duplicates, n.Expired}
}

func seal(t *testing.T, l *Ledger) {
	t.Helper()
	if err := l.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func scanAll(t *testing.T, l *Ledger, q Query) []tallystick.Use {
	t.Helper()
	var all []tallystick.Use
	err := l.Scan(context.Background(), q, func(u *tallystick.Use) error {
		all = append(all, *u)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// holderUse is record n of a holder's book.
func holderUse(n int) tallystick.Use {
	at := start.Add(time.Duration(n) * time.Second)
	return tallystick.Use{
		Source: "broker-eu-1", Seq: uint64(n), Side: tallystick.SideHolder, Level: tallystick.LevelToken, Time: at, Until: at, Count: 1,
		Credential: []string{fmt.Sprintf("entra-key:%08d", n%7)}, Holder: "sync-and-recover", RelyingParty: "entra:t/r",
		Outcome: tallystick.OutcomeSuccess, Address: "203.0.113.7",
	}
}

// randomUse has something of everything that a use can have.
func randomUse(r *rand.Rand) tallystick.Use {
	text := func(of ...string) string { return of[r.IntN(len(of))] }
	guid := func() string {
		return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", r.Uint32(), r.IntN(65536), r.IntN(65536), r.IntN(65536), r.Int64N(1<<48))
	}
	id := func() string {
		g := guid()
		c, _ := spelled(g)
		return text("", "", g, formGUIDUpper.text(c), formBase64URL.text(c), formBase64Padded.text(c), formBase64OfGUID.text(c), formHex.text(c), formHexUpper.text(c), "conn=12 op=3", "x", g+"0", "é–")
	}
	at := start.Add(time.Duration(r.Int64N(int64(time.Hour))))
	if r.IntN(20) == 0 {
		at = []time.Time{{}, time.Date(0, 1, 1, 0, 0, 0, 1, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)}[r.IntN(3)]
	}
	u := tallystick.Use{
		ID: id(), Source: text("a", "b", ""), Seq: uint64(r.IntN(3)) * r.Uint64(), Side: tallystick.Side(text("holder", "relying")),
		Level: tallystick.Level(text("token", "request", "call")), Time: at, Until: at, Count: 1,
		Credential: [][]string{nil, {"x5t:AB"}, {"x5t:AB", "entra-key:1"}, {"account:ldap/uid=a, dc=\"é\"<&>"}}[r.IntN(4)],
		Holder:     text("", "h1", "h2"), RelyingParty: text("", "ldap:a:389"), Outcome: tallystick.Outcome(text("success", "refused", "attempt")),
		Address: text("", "192.0.2.1", "2001:db8::1"), Port: r.IntN(2) * r.IntN(65536), Agent: text("", "curl"), Operation: text("", "bind"),
		Resource: text("", "mailbox"), Detail: text("", "a\nb\x00c"),
		IDs: tallystick.UseIDs{UTI: id(), Correlation: id(), Request: id(), Session: id(), Queue: id(), Serial: id(), Parent: id()},
	}
	if r.IntN(4) == 0 {
		u.Count, u.Until = r.Int64N(100), at.Add(time.Duration(r.Int64N(int64(time.Minute))))
	}
	if r.IntN(8) == 0 {
		u.Until = time.Time{}
	}
	if r.IntN(16) == 0 {
		u.Port = []int{-1, 65536, 1 << 40}[r.IntN(3)]
	}
	if r.IntN(4) == 0 {
		u.IDs.Other = map[string]string{"jti": id(), "é": "<>"}
	}
	if r.IntN(4) == 0 {
		u.Other = map[string]string{"x": `{"a" : [1, 2.50]}`, "n": "null", "s": `"\u00e9"`}
	}
	if r.IntN(4) == 0 {
		u.Other = map[string]string{"hash": `"` + formHex.text(cell{1, byte(r.Int())}) + formHex.text(cell{2}) + `"`, "lost": "3"}
	}
	return u
}

func randomUses(seed uint64, n int) []tallystick.Use {
	r := rand.New(rand.NewPCG(seed, 1))
	uses := make([]tallystick.Use, n)
	for i := range uses {
		uses[i] = randomUse(r)
		uses[i].Seq += uint64(i) << 32 // none is another again
		if n := len(uses[i].ID); n > 0 && n < 22 {
			uses[i].ID += strconv.Itoa(i)
		}
	}
	return uses
}

func key(u *tallystick.Use) string { return fmt.Sprintf("%+v", *u) }

// same compares uses as sets, and wants the second in the order of time.
func same(t *testing.T, want, got []tallystick.Use) {
	t.Helper()
	byKey := map[string]tallystick.Use{}
	for i := range want {
		byKey[key(&want[i])] = want[i]
	}
	for i := range got {
		if i > 0 && got[i].Time.Before(got[i-1].Time) {
			t.Fatalf("use %d comes before the one before it", i)
		}
		w, ok := byKey[key(&got[i])]
		if !ok {
			t.Fatalf("nobody appended %+v", got[i])
		}
		if d := cmp.Diff(w, got[i]); d != "" {
			t.Fatal(d)
		}
		delete(byKey, key(&got[i]))
	}
	for _, u := range byKey {
		t.Fatalf("%d are not there, such as %+v", len(byKey), u)
	}
}

func TestEverythingComesBackAsItWas(t *testing.T) {
	for _, n := range []int{1, 300, 9_000} {
		uses := randomUses(uint64(n), n)
		dir := t.TempDir()
		l := open(t, dir, Options{})
		if got := add(t, l, uses...); got != (counts{added: n}) {
			t.Fatalf("%+v", got)
		}
		same(t, uses, scanAll(t, l, Query{}))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = open(t, dir, Options{})
		same(t, uses, scanAll(t, l, Query{}))
		seal(t, l)
		same(t, uses, scanAll(t, l, Query{}))
		if got := add(t, l, uses...); got != (counts{duplicates: n}) {
			t.Fatalf("again: %+v", got)
		}
		if err := l.Verify(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

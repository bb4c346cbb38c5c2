// SPDX-License-Identifier: Apache-2.0

package renewal_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/policy"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/renewal"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

const day = 24 * time.Hour

// One renewal through two certificates, of the private CA, with files and a hook.
func TestARenewalFromItsFirstKeyOn(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db, nil)
		dir := filepath.Join(t.TempDir(), "shop")
		log := filepath.Join(t.TempDir(), "log")
		h.add(renewal.Wanted{Name: "shop", Names: []string{"Shop.example.com.", "10.0.0.1", "shop.example.com"}, Directory: dir,
			Hook: &renewal.Hook{Command: []string{script(t, `echo "$TALLYSTICK_RENEWAL $TALLYSTICK_DIRECTORY $HOME" >>`+log)}}})
		h.expect("shop", "new")
		h.turn()
		first := h.expect("shop", "good")
		one := delivered(t, dir)
		if got := fmt.Sprint(one.DNSNames, one.IPAddresses); got != "[shop.example.com] [10.0.0.1]" {
			t.Errorf("it is for %s", got)
		}
		if life := one.NotAfter.Sub(one.NotBefore); first.Due.Sub(one.NotBefore) > life*67/100 || first.Due.Sub(one.NotBefore) < life*61/100 {
			t.Errorf("a certificate from %s to %s is due on %s", one.NotBefore, one.NotAfter, first.Due)
		}
		h.clock.pass(first.Due.Sub(h.clock.now()) + time.Minute)
		h.turn()
		h.expect("shop", "good")
		two := delivered(t, dir)
		if two.Equal(one) || string(two.RawSubjectPublicKeyInfo) == string(one.RawSubjectPublicKeyInfo) {
			t.Error("it was not renewed with a new key")
		}
		serial := ca.Serial(fmt.Sprintf("%032x", one.SerialNumber))
		if before, err := h.ca.Find(t.Context(), serial); err != nil || before.Replaced.IsZero() || before.Requester != "renewal/shop" || before.Via != ca.ViaRenewal {
			t.Errorf("the CA says %+v, %v", before, err)
		}
		text, err := os.ReadFile(log)
		if want := strings.Repeat("shop "+dir+" \n", 2); err != nil || string(text) != want {
			t.Errorf("the hook wrote %q, %v; want %q", text, err, want)
		}
		for _, o := range h.orders("shop") {
			if o.Step != store.StepDone || o.Failures != 0 {
				t.Errorf("an order is %+v", o)
			}
		}
		if n := h.issued(); n != 2 {
			t.Errorf("%d certificates were made, want 2", n)
		}
	})
}

// A key that is kept is kept, until it is recalled.
func TestAKeptKeyIsGivenUpInARecall(t *testing.T) {
	h := onSQLite(t, nil)
	dir := filepath.Join(t.TempDir(), "mail")
	h.add(renewal.Wanted{Name: "mail", Directory: dir, KeepKey: true})
	h.turn()
	one := delivered(t, dir)
	if err := h.Ask(t.Context(), operator, "mail"); err != nil {
		t.Fatal(err)
	}
	h.turn()
	two := delivered(t, dir)
	if one.Equal(two) || string(one.RawSubjectPublicKeyInfo) != string(two.RawSubjectPublicKeyInfo) {
		t.Fatal("it was not renewed with the key that it has")
	}
	look := func() {
		t.Helper()
		if err := h.LookAgain(t.Context(), "ca/lab"); err != nil {
			t.Fatal(err)
		}
		if err := h.Looks(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.turn()
	}
	look()
	if !delivered(t, dir).Equal(two) || h.expect("mail", "good").Why != store.DueWindow {
		t.Fatal("an ordinary window changed it")
	}
	serial := ca.Serial(fmt.Sprintf("%032x", two.SerialNumber))
	if _, err := h.ca.Recall(t.Context(), admin, []ca.Serial{serial}, "https://example.com/why"); err != nil {
		t.Fatal(err)
	}
	look()
	three := delivered(t, dir)
	if string(three.RawSubjectPublicKeyInfo) == string(two.RawSubjectPublicKeyInfo) {
		t.Fatal("a recalled key is used on")
	}
	if o := h.orders("mail")[0]; o.Why != store.DueRecall {
		t.Errorf("the order was begun for %s", o.Why)
	}
	look()
	if !delivered(t, dir).Equal(three) {
		t.Error("it was renewed once more")
	}
	serial = ca.Serial(fmt.Sprintf("%032x", three.SerialNumber))
	if _, err := h.ca.Revoke(t.Context(), admin, ca.RevokeRequest{Serials: []ca.Serial{serial}, Reason: ca.KeyCompromise, Block: true}); err != nil {
		t.Fatal(err)
	}
	h.clock.pass(2 * time.Minute) // another process is believed after a minute
	look()
	if four := delivered(t, dir); string(four.RawSubjectPublicKeyInfo) == string(three.RawSubjectPublicKeyInfo) {
		t.Error("a revoked certificate was not replaced")
	}
}

func TestWhatACARefusesRestsLong(t *testing.T) {
	h := onSQLite(t, nil)
	h.says(func(policy.Request) ca.Decision { return ca.Decision{Why: "nobody may have shop.example.com"} })
	h.add(renewal.Wanted{Name: "shop"})
	h.turn()
	for n := range 3 {
		r := h.expect("shop", "refused")
		if !strings.Contains(r.Error, "nobody may have shop.example.com") || r.Failures != int64(n+1) {
			t.Errorf("failure %d: %s", r.Failures, r.Error)
		}
		wait := r.Due.Sub(h.clock.now())
		if want := time.Hour << n; wait < want*3/4 || wait > want*5/4 {
			t.Errorf("after failure %d it waits %s", n+1, wait)
		}
		h.clock.pass(wait + time.Second)
		h.turn()
	}
	h.says(nil)
	if err := h.Ask(t.Context(), operator, "shop"); err != nil {
		t.Fatal(err)
	}
	h.turn()
	if r := h.expect("shop", "good"); r.Error != "" || r.Failures != 0 {
		t.Errorf("what was refused stays: %+v", r)
	}
}

func TestSomebodyMustApprove(t *testing.T) {
	h := onSQLite(t, nil)
	h.says(func(policy.Request) ca.Decision { return ca.Decision{Allowed: true, Approval: true} })
	h.add(renewal.Wanted{Name: "shop"})
	h.turn()
	if r := h.expect("shop", "new"); r.Failures != 0 {
		t.Errorf("to wait is no failure: %+v", r)
	}
	h.clock.pass(time.Minute)
	h.turn()
	waiting, err := h.ca.Requests(t.Context(), admin, store.RequestWaiting, 0, 10)
	if err != nil || len(waiting) != 1 {
		t.Fatalf("%d requests wait, %v; want 1", len(waiting), err)
	}
	if _, err := h.ca.Approve(t.Context(), admin, waiting[0].ID); err != nil {
		t.Fatal(err)
	}
	h.clock.pass(time.Minute)
	h.turn()
	if h.expect("shop", "good"); h.issued() != 1 {
		t.Errorf("%d certificates were made", h.issued())
	}
}

// An issuer that takes days is asked again with the same key, and none is lost.
func TestAnIssuerThatTakesDays(t *testing.T) {
	h := onSQLite(t, nil)
	keys := map[string]bool{}
	h.desk.behave(func(d *desk) {
		d.before = func(r driver.IssueRequest) (time.Time, error) {
			keys[string(r.CSR)] = true
			return r.Now().Add(10 * time.Hour), nil
		}
	})
	h.add(renewal.Wanted{Name: "slow", Issuer: "desk"})
	for range 7 {
		h.turn()
		if r := h.expect("slow", "new"); r.Failures != 0 {
			t.Fatalf("to wait is no failure: %+v", r)
		}
		h.clock.pass(11 * time.Hour)
	}
	h.desk.behave(func(d *desk) { d.before = nil })
	h.turn()
	if h.expect("slow", "good"); len(keys) != 1 || len(h.orders("slow")) != 1 {
		t.Errorf("%d requests in %d orders, want one", len(keys), len(h.orders("slow")))
	}
}

// An issuer that is away is left alone for a moment, whatever waits for it, and
// what waited goes through when it is back.
func TestAnIssuerThatIsAway(t *testing.T) {
	h := onSQLite(t, nil)
	h.desk.behave(func(d *desk) {
		d.before = func(driver.IssueRequest) (time.Time, error) {
			return time.Time{}, fmt.Errorf("no route: %w", tallystick.ErrUnavailable)
		}
	})
	for n := range 5 {
		h.add(renewal.Wanted{Name: fmt.Sprint("one-", n), Issuer: "desk"})
	}
	h.turn()
	if r := h.expect("one-0", "failing"); !strings.Contains(r.Error, "no route") {
		t.Errorf("it says %q", r.Error)
	}
	asked := h.desk.asked
	h.add(renewal.Wanted{Name: "later", Issuer: "desk"})
	h.add(renewal.Wanted{Name: "ours"})
	h.turn()
	if h.desk.asked != asked {
		t.Errorf("it was asked %d times more at once", h.desk.asked-asked)
	}
	h.expect("ours", "good")
	h.expect("later", "new")
	h.clock.pass(20 * time.Minute)
	h.desk.behave(func(d *desk) { d.before = nil })
	h.turn()
	for n := range 5 {
		h.expect(fmt.Sprint("one-", n), "good")
	}
	h.expect("later", "good")
}

// An error that says nothing about what happened costs no second certificate.
func TestFailedButHappened(t *testing.T) {
	h := onSQLite(t, nil)
	fails := 3
	h.desk.behave(func(d *desk) {
		d.after = func(driver.IssueRequest) error {
			if fails--; fails >= 0 {
				return errors.New("the connection was reset")
			}
			return nil
		}
	})
	h.add(renewal.Wanted{Name: "shop", Issuer: "desk"})
	for range 4 {
		h.turn()
		h.clock.pass(20 * time.Minute)
	}
	if h.expect("shop", "good"); h.desk.count() != 1 {
		t.Errorf("%d certificates were made", h.desk.count())
	}
}

// What an issuer answers is looked at before it is delivered.
func TestAnswersThatCannotBeUsed(t *testing.T) {
	h := onSQLite(t, nil)
	h.desk.behave(func(d *desk) { d.life = -time.Hour })
	dir := filepath.Join(t.TempDir(), "shop")
	h.add(renewal.Wanted{Name: "shop", Issuer: "desk", Directory: dir})
	h.turn()
	if r := h.expect("shop", "refused"); !strings.Contains(r.Error, "ended on") {
		t.Errorf("it says %q", r.Error)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("something was written")
	}
}

// A hook that hangs is stopped, with all that it started; the certificate is in its
// place, and is not asked for again.
func TestAHookThatHangs(t *testing.T) {
	h := onSQLite(t, nil)
	dir, flag := filepath.Join(t.TempDir(), "shop"), filepath.Join(t.TempDir(), "works")
	hook := script(t, "test -e "+flag+" && exit 0\necho 'waiting for godot' >&2\nsleep 600 & wait\n")
	h.add(renewal.Wanted{Name: "shop", Issuer: "desk", Directory: dir, Hook: &renewal.Hook{Command: []string{hook}, Timeout: 300 * time.Millisecond}})
	began := time.Now()
	h.turn()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	r := h.expect("shop", "failing")
	if !strings.Contains(r.Error, "took longer than 300ms") || !strings.Contains(r.Error, "waiting for godot") {
		t.Errorf("it says %q", r.Error)
	}
	one := delivered(t, dir)
	if o := h.orders("shop")[0]; o.Step != store.StepHook || r.NotAfter.IsZero() {
		t.Errorf("the order stands at %s", o.Step)
	}
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.clock.pass(2 * time.Minute)
	h.turn()
	if h.expect("shop", "good"); !delivered(t, dir).Equal(one) || h.desk.count() != 1 {
		t.Error("another certificate was made for it")
	}
}

// What cannot be written waits, and is written when it can be.
func TestADirectoryThatCannotBeWritten(t *testing.T) {
	h := onSQLite(t, nil)
	file := filepath.Join(t.TempDir(), "in-the-way")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(file, "shop")
	h.add(renewal.Wanted{Name: "shop", Directory: dir})
	h.turn()
	if r := h.expect("shop", "failing"); !strings.Contains(r.Error, "couldn't write to "+dir) || r.Certificate == "" {
		t.Errorf("it says %q", r.Error)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	h.clock.pass(2 * time.Minute)
	h.turn()
	h.expect("shop", "good")
	if delivered(t, dir); h.issued() != 1 {
		t.Errorf("%d certificates were made", h.issued())
	}
}

// When an issuer may be asked for three in an hour, those that end first are.
func TestABudgetGoesToThoseThatEndFirst(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db, func(c *renewal.Config) { c.Issuers[0].Budget = store.Budget{PerHour: 3, PerWeek: 11} })
		h.clock.pass(h.clock.now().Truncate(time.Hour).Add(time.Hour).Sub(h.clock.now())) // a new hour
		for n := range 9 {
			h.desk.behave(func(d *desk) { d.life = time.Duration(90-n) * day })
			h.add(renewal.Wanted{Name: fmt.Sprint("r", n), Issuer: "desk"})
			h.turn()
			if n%3 == 2 {
				h.clock.pass(2 * time.Hour)
			}
		}
		if n := h.desk.count(); n != 9 {
			t.Fatalf("%d certificates, want 9", n)
		}
		// A week later all are due at once, and one that is new.
		h.clock.pass(80 * day)
		h.desk.behave(func(d *desk) { d.made, d.order = map[string][]byte{}, nil })
		h.add(renewal.Wanted{Name: "young", Issuer: "desk"})
		h.turn()
		if got := strings.Join(h.desk.order, " "); len(h.desk.order) != 3 || !strings.HasPrefix(got, "r8.") || !strings.Contains(got, " r7.") || !strings.Contains(got, " r6.") && !strings.Contains(got, " young.") {
			t.Errorf("the first three were %s", got)
		}
		for range 10 {
			h.clock.pass(2 * time.Hour)
			h.turn()
		}
		h.expect("young", "good")
		for n := range 9 {
			h.expect(fmt.Sprint("r", n), "good")
		}
		states, err := h.IssuerStates(t.Context(), viewer)
		if err != nil || len(states) != 2 || states[1].Name != "desk" || states[1].LastWeek != 10 || states[1].Renewals != 10 {
			t.Errorf("the issuers are %+v, %v", states, err)
		}
	})
}

func TestTheSameIsNotRenewedTwice(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db, nil)
		dir := filepath.Join(t.TempDir(), "shop")
		h.add(renewal.Wanted{Name: "shop", Names: []string{"b.example.com", "a.example.com"}})
		h.add(renewal.Wanted{Name: "files", Directory: dir})
		for hint, w := range map[string]renewal.Wanted{
			"There is a renewal called shop already": {Name: "shop", Names: []string{"c.example.com"}},
			"The renewal shop is for the same names": {Name: "again", Names: []string{"A.example.com", "b.example.com"}},
			"The renewal files writes to " + dir:     {Name: "other", Names: []string{"d.example.com"}, Directory: dir + "/"},
		} {
			w.Issuer = "ca/lab"
			_, err := h.Add(t.Context(), admin, w)
			if !errors.Is(err, tallystick.ErrConflict) || !strings.HasPrefix(problem.Of(err).Hint, hint) {
				t.Errorf("%s: %v (%s)", w.Name, err, problem.Of(err).Hint)
			}
		}
		h.turn()
		if n := h.issued(); n != 2 {
			t.Errorf("%d certificates", n)
		}
	})
}

func TestWhatCannotBeARenewal(t *testing.T) {
	h := onSQLite(t, nil)
	good := renewal.Wanted{Name: "shop", Issuer: "ca/lab", Names: []string{"shop.example.com"}}
	for name, change := range map[string]func(*renewal.Wanted){
		"name":      func(w *renewal.Wanted) { w.Name = "../shop" },
		"no names":  func(w *renewal.Wanted) { w.Names = nil },
		"bad name":  func(w *renewal.Wanted) { w.Names = []string{"shop example"} },
		"key":       func(w *renewal.Wanted) { w.Key = "rsa-512" },
		"directory": func(w *renewal.Wanted) { w.Directory = "etc" },
		"root":      func(w *renewal.Wanted) { w.Directory = "/" },
		"share":     func(w *renewal.Wanted) { w.Share = 0.95 },
		"lifetime":  func(w *renewal.Wanted) { w.Lifetime = time.Second },
		"profile":   func(w *renewal.Wanted) { w.Profile = "a b" },
		"shell":     func(w *renewal.Wanted) { w.Hook = &renewal.Hook{Command: []string{"reload nginx"}} },
		"patience":  func(w *renewal.Wanted) { w.Hook = &renewal.Hook{Command: []string{"/bin/true"}, Timeout: time.Hour} },
	} {
		w := good
		change(&w)
		if _, err := h.Add(t.Context(), admin, w); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, issuer := range []string{"", "nobody", "ca/none", "ca/"} {
		w := good
		w.Issuer = issuer
		if _, err := h.Add(t.Context(), admin, w); !errors.Is(err, tallystick.ErrNotFound) {
			t.Errorf("issuer %q: %v", issuer, err)
		}
	}
}

// Who may name files and commands may do what Tallystick may.
func TestWhoMay(t *testing.T) {
	h := onSQLite(t, nil)
	good := renewal.Wanted{Name: "shop", Issuer: "ca/lab", Names: []string{"shop.example.com"}}
	for name, c := range map[string]struct {
		who    gate.Actor
		change func(*renewal.Wanted)
		want   error
	}{
		"viewer":    {viewer, func(*renewal.Wanted) {}, tallystick.ErrDenied},
		"stranger":  {gate.Actor{}, func(*renewal.Wanted) {}, tallystick.ErrUnsigned},
		"hook":      {operator, func(w *renewal.Wanted) { w.Hook = &renewal.Hook{Command: []string{"/bin/true"}} }, tallystick.ErrDenied},
		"directory": {operator, func(w *renewal.Wanted) { w.Directory = "/etc/ssl" }, tallystick.ErrDenied},
		"plain":     {operator, func(*renewal.Wanted) {}, nil},
	} {
		w := good
		w.Name = name
		w.Names = []string{name + ".example.com"}
		c.change(&w)
		if _, err := h.Add(t.Context(), c.who, w); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	for name, act := range map[string]func(context.Context, gate.Actor, string) error{"pause": h.Pause, "resume": h.Resume, "ask": h.Ask, "remove": h.Remove} {
		if err := act(t.Context(), viewer, "plain"); !errors.Is(err, tallystick.ErrDenied) {
			t.Errorf("a viewer may %s: %v", name, err)
		}
		if err := act(t.Context(), operator, "nothing"); !errors.Is(err, tallystick.ErrNotFound) {
			t.Errorf("%s of nothing: %v", name, err)
		}
	}
}

func TestPauseAndRemove(t *testing.T) {
	h := onSQLite(t, nil)
	h.add(renewal.Wanted{Name: "shop"})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(h.Pause(t.Context(), operator, "shop"))
	h.turn()
	h.expect("shop", "paused")
	if err := h.Ask(t.Context(), operator, "shop"); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("what is paused can be asked for: %v", err)
	}
	must(h.Resume(t.Context(), operator, "shop"))
	h.turn()
	h.expect("shop", "good")
	row, err := h.DB.Renewal(t.Context(), "shop")
	must(err)
	must(h.Remove(t.Context(), operator, "shop"))
	if _, err := h.Keys.Get(t.Context(), row.KeyID); !errors.Is(err, tallystick.ErrNotFound) {
		t.Errorf("its key is still there: %v", err)
	}
	if _, err := h.Get(t.Context(), viewer, "shop"); !errors.Is(err, tallystick.ErrNotFound) {
		t.Errorf("it is still there: %v", err)
	}
}

// Old orders are forgotten with their keys, but for the newest, and never the key
// that is in use.
func TestOldKeysAreDestroyed(t *testing.T) {
	h := onSQLite(t, nil)
	h.add(renewal.Wanted{Name: "shop"})
	var keys []string
	for range 14 {
		h.turn()
		row, err := h.DB.Renewal(t.Context(), "shop")
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, row.KeyID)
		if err := h.Ask(t.Context(), operator, "shop"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.Keys.Get(t.Context(), keys[0]); !errors.Is(err, tallystick.ErrNotFound) {
		t.Errorf("the first key is still there: %v", err)
	}
	for _, key := range keys[5:] {
		if _, err := h.Keys.Get(t.Context(), key); err != nil {
			t.Error(err)
		}
	}
}

// What the configuration declares is added, changed and paused, and nothing is
// renewed that stays as it is.
func TestTheConfigurationDeclares(t *testing.T) {
	h := onSQLite(t, nil)
	a := renewal.Wanted{Name: "a", Issuer: "ca/lab", Names: []string{"a.example.com"}}
	b := renewal.Wanted{Name: "b", Issuer: "desk", Names: []string{"b.example.com"}}
	declare := func(list ...renewal.Wanted) {
		t.Helper()
		if err := h.Declare(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		h.turn()
	}
	declare(a, b)
	declare(a, b)
	if n := h.issued() + h.desk.count(); n != 2 {
		t.Fatalf("%d certificates, want 2", n)
	}
	a.Names = append(a.Names, "c.example.com")
	declare(a)
	h.expect("b", "paused")
	if leaf := h.expect("a", "good"); h.issued() != 2 || len(leaf.Names) != 2 {
		t.Errorf("it was not changed: %+v", leaf)
	}
	declare(a, b)
	h.expect("b", "good")
	err := h.Declare(t.Context(), []renewal.Wanted{a, b, {Name: "x", Issuer: "nobody", Names: []string{"x"}}})
	if !errors.Is(err, tallystick.ErrNotFound) || !strings.Contains(err.Error(), `"x" of the configuration`) {
		t.Errorf("what cannot be: %v", err)
	}
}

// Two processes on one store: each order is worked at by one of them.
func TestTwoEnginesShareTheWork(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		h := newHouse(t, db, nil)
		other, err := renewal.New(renewal.Config{
			DB: db, Gate: h.Gate, Keys: h.Keys, Now: h.clock.now, Node: "two", CA: h.ca, Issuers: h.Issuers,
		})
		if err != nil {
			t.Fatal(err)
		}
		const many = 100
		for n := range many {
			h.add(renewal.Wanted{Name: fmt.Sprint("r", n), Issuer: "desk"})
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		done := make(chan error, 2)
		for _, e := range []*renewal.Engine{h.Engine, other} {
			go func() { done <- e.Run(ctx, func(err error) { t.Error(err) }) }()
		}
		for h.desk.count() < many && ctx.Err() == nil {
			time.Sleep(10 * time.Millisecond)
		}
		for ctx.Err() == nil {
			if s, err := h.Stats(ctx); err != nil || len(s.Orders) == 0 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		stop()
		<-done
		<-done
		if h.desk.asked != many {
			t.Errorf("the issuer was asked %d times for %d certificates", h.desk.asked, many)
		}
		for n := range many {
			h.expect(fmt.Sprint("r", n), "good")
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// A RotatorCase is what a driver that rotates secrets brings to the tests: a real system, and
// ways to look at it that are not the driver's.
type RotatorCase struct {
	Rotator driver.Rotator
	// Host is that of all requests; nil where the driver needs none. Each write of a FaultyHost is
	// made to fail.
	Host driver.Host
	// Relay stands between the driver and the system: each answer gets lost, and it goes down.
	// nil where none fits.
	Relay *Relay
	// Down cuts the system off and Up brings it back, where there is no Relay; both may be nil.
	Down, Up func(t *testing.T)

	// Another makes a case with a Relay or FaultyHost of its own, so that the tests that cut things off
	// run in parallel; nil: they run one after the other.
	Another func(t *testing.T) RotatorCase

	// Fresh makes an account that was in no test before, and returns its name and its secret. It is
	// called some dozens of times.
	Fresh func(t *testing.T) (account string, first driver.Secret)
	// Next makes a secret of the account's form; nil makes 24 letters and digits.
	Next func(t *testing.T) driver.Secret
	// SignIn says whether a secret gets in, by a client that shares nothing with the driver. A
	// system that cannot be asked fails the test.
	SignIn func(t *testing.T, account string, secret driver.Secret) bool
	// Wrong returns how many wrong secrets the system counts against an account since a right
	// one; nil where it does not count them.
	Wrong func(t *testing.T, account string) int
	// Missing is an account that is not there.
	Missing string
	// Refused is a secret that the policy refuses; the zero value where there is no policy.
	Refused driver.Secret
	// KeepsHistory says that the policy takes no former secret again, so that Withdraw is
	// ErrInvalid where Overlap is none.
	KeepsHistory bool
	// EndOverlap lets the time of OverlapTimed pass; nil waits for it where it is at most a minute, and
	// does not look otherwise.
	EndOverlap func(t *testing.T, account string)
	// NearLock brings an account to where one more wrong secret locks it; nil where none does.
	NearLock func(t *testing.T, account string)
	// Secrets are further texts that must be said nowhere, such as what the driver signs in with.
	Secrets []string
}

// Rotator runs what all rotators have in common.
func Rotator(t *testing.T, c RotatorCase) {
	t.Run("look", func(t *testing.T) { c.begin(t).looks(t) })
	t.Run("not there", c.notThere)
	t.Run("drop too early", func(t *testing.T) { c.begin(t).dropsTooEarly(t) })
	t.Run("rotation", func(t *testing.T) { c.begin(t).rotates(t) })
	t.Run("set again", func(t *testing.T) { c.begin(t).setsAgain(t) })
	t.Run("withdraw", func(t *testing.T) { c.begin(t).withdraws(t) })
	t.Run("both wrong", func(t *testing.T) { c.begin(t).triesBothWrong(t) })
	t.Run("wrong secret", func(t *testing.T) { c.begin(t).triesWrong(t) })
	t.Run("odd secrets", func(t *testing.T) { c.begin(t).odd(t) })
	t.Run("at once", c.atOnce)
	t.Run("cancelled", func(t *testing.T) { c.begin(t).cancelled(t) })
	if !c.Refused.IsZero() {
		t.Run("policy", func(t *testing.T) { c.begin(t).policy(t) })
	}
	if c.NearLock != nil {
		t.Run("near lock", func(t *testing.T) { c.begin(t).nearLock(t) })
	}
	if c.Relay != nil {
		c.Down, c.Up = func(*testing.T) { c.Relay.Down() }, func(*testing.T) { c.Relay.Up() }
		t.Run("answers lost", func(t *testing.T) { c.lost(t, RotatorCase.relayCut) })
	}
	if c.Down != nil {
		t.Run("away", func(t *testing.T) { c.begin(t).away(t) })
	}
	if _, ok := c.Host.(*FaultyHost); ok {
		t.Run("writes fail", func(t *testing.T) { c.lost(t, RotatorCase.hostCut) })
	}
}

// A rotation is one account that is in a test.
type rotation struct {
	RotatorCase
	account  string
	old, new driver.Secret
	standing driver.Account // as it was at first

	mu    sync.Mutex
	clock time.Time // guarded by mu; each look at it finds a later time
	order string
}

// begin makes an account and a secret to follow its first.
func (c RotatorCase) begin(t *testing.T) *rotation {
	t.Helper()
	r := &rotation{RotatorCase: c, clock: Clock(), order: strings.ToLower(rand.Text())}
	r.account, r.old = c.Fresh(t)
	r.later(t, func() (err error) {
		r.standing, err = r.tryLook(t)
		return err
	})
	if r.standing.Form != driver.FormMade {
		r.new = c.next(t)
	}
	return r
}

func (c RotatorCase) next(t *testing.T) driver.Secret {
	if c.Next != nil {
		return c.Next(t)
	}
	return driver.NewSecret("Aa1" + rand.Text()[:21])
}

func (r *rotation) now() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock = r.clock.Add(time.Second)
	return r.clock
}

// says looks that neither what a driver returns nor its error has a secret in it.
func (r *rotation) says(t *testing.T, what any, err error) {
	t.Helper()
	encoded, failed := json.Marshal(what)
	if failed != nil {
		t.Fatal(failed)
	}
	said := string(encoded) + fmt.Sprintf("\n%+v\n%#v\n%v", what, what, err)
	secrets := append([]string{r.old.Reveal(), r.new.Reveal(), r.Refused.Reveal()}, r.Secrets...)
	for _, secret := range secrets {
		if len(secret) < 6 {
			continue // it may well be part of a word
		}
		for _, form := range []string{secret, url.QueryEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret))} {
			if strings.Contains(said, form) {
				t.Errorf("a secret of %d bytes is said by a %T or the error beside it", len(secret), what)
			}
		}
	}
}

func (r *rotation) used(t *testing.T) func(tallystick.Use) {
	return func(u tallystick.Use) { r.says(t, u, nil) }
}

// later does something that may be out of reach for a moment, because connections were cut that
// the driver has kept.
func (r *rotation) later(t *testing.T, do func() error) {
	t.Helper()
	const tries = 20
	var err error
	for range tries {
		if err = do(); !errors.Is(err, tallystick.ErrUnavailable) {
			break
		}
	}
	if err != nil {
		t.Fatalf("with all in order again: %v", err)
	}
}

// setLater sets New, or withdraws it, as somebody who may have done so.
func (r *rotation) setLater(t *testing.T, withdraw bool) {
	t.Helper()
	r.later(t, func() error {
		_, err := r.set(t.Context(), t, func(s *driver.SecretRequest) { s.Withdraw, s.Again = withdraw, true })
		return err
	})
}

func (r *rotation) tryLook(t *testing.T) (driver.Account, error) {
	t.Helper()
	account, err := r.Rotator.LookAccount(t.Context(), driver.AccountRequest{Host: r.Host, Account: r.account, Now: r.now, Used: r.used(t)})
	r.says(t, account, err)
	return account, err
}

// look asks how the account stands.
func (r *rotation) look(t *testing.T) driver.Account {
	t.Helper()
	account, err := r.tryLook(t)
	if err != nil {
		t.Fatalf("look: %v", err)
	}
	return account
}

// request is one for the secrets of the account.
func (r *rotation) request(t *testing.T) driver.SecretRequest {
	return driver.SecretRequest{Host: r.Host, Account: r.account, Old: r.old, New: r.new, Order: r.order, Now: r.now, Used: r.used(t)}
}

// set calls SetSecret, and takes over what it makes.
func (r *rotation) set(ctx context.Context, t *testing.T, edit func(*driver.SecretRequest)) (driver.SecretSet, error) {
	t.Helper()
	request := r.request(t)
	if edit != nil {
		edit(&request)
	}
	set, err := r.Rotator.SetSecret(ctx, request)
	r.says(t, set.Changed, err)
	r.says(t, set, err)
	if err == nil && r.standing.Form == driver.FormMade && !request.Withdraw {
		if set.Made.IsZero() {
			t.Error("the system makes the secret, and it is not returned")
		}
		r.new = set.Made
	}
	return set, err
}

func (r *rotation) mustSet(t *testing.T, edit func(*driver.SecretRequest)) driver.SecretSet {
	t.Helper()
	set, err := r.set(t.Context(), t, edit)
	if err != nil {
		t.Fatalf("set: %v", err)
	}
	return set
}

func (r *rotation) drop(ctx context.Context, t *testing.T) (driver.Blocked, error) {
	t.Helper()
	blocked, err := r.Rotator.DropSecret(ctx, r.request(t))
	r.says(t, blocked, err)
	return blocked, err
}

func (r *rotation) mustDrop(t *testing.T) driver.Blocked {
	t.Helper()
	blocked, err := r.drop(t.Context(), t)
	if err != nil {
		t.Fatalf("drop: %v", err)
	}
	return blocked
}

// test tries New, and Old where tryOld says so, and looks at what the driver says of it.
func (r *rotation) test(t *testing.T, tryOld bool) driver.Tested {
	t.Helper()
	request := r.request(t)
	request.TryOld = tryOld
	told := map[tallystick.Outcome]int{}
	request.Used = func(u tallystick.Use) {
		r.says(t, u, nil)
		told[u.Outcome]++
	}
	tested, err := r.Rotator.TestSecret(t.Context(), request)
	r.says(t, tested, err)
	if err != nil {
		t.Fatalf("test: %v", err)
	}
	answered := map[string]int{}
	for _, a := range slices.Concat(tested.Old, tested.New) {
		answered[a.Outcome]++
	}
	// Of a New that was tried twice both are told, and there is one attempt.
	if told[tallystick.OutcomeSuccess] < answered[driver.OutcomeAccepted] || told[tallystick.OutcomeRefused] < answered[driver.OutcomeRefused] {
		t.Errorf("of sign-ins %v are told, and there are attempts %v", told, answered)
	}
	r.attempts(t, tested.New)
	if !tryOld {
		if len(tested.Old) > 0 {
			t.Error("Old was tried, and nobody asked for that")
		}
		return tested
	}
	r.attempts(t, tested.Old)
	all := slices.Concat(tested.Old, tested.New)
	slices.SortFunc(all, func(a, b driver.Attempt) int { return a.At.Compare(b.At) })
	for i := 1; i < len(all); i++ {
		if all[i-1].Outcome == driver.OutcomeRefused && all[i].Outcome == driver.OutcomeRefused {
			t.Errorf("two wrong secrets are tried, and no right one between: at %s and %s", all[i-1].Address, all[i].Address)
		}
	}
	return tested
}

// attempts looks that there is one at each listener, and that all is said of each.
func (r *rotation) attempts(t *testing.T, attempts []driver.Attempt) {
	t.Helper()
	at := map[string]bool{}
	for _, a := range attempts {
		at[a.Listener.Protocol+" "+a.Listener.Address] = true
		known := slices.Contains([]string{driver.OutcomeAccepted, driver.OutcomeRefused, driver.OutcomeFailed}, a.Outcome)
		if !known || a.Way != driver.WayFresh || a.Address == "" || a.At.IsZero() {
			t.Errorf("an attempt does not say all: %+v", a)
		}
		if len(a.Answer) > 1024 || strings.ContainsFunc(a.Answer, func(c rune) bool { return !unicode.IsPrint(c) }) {
			t.Errorf("an answer is too long, or not printable: %q", a.Answer)
		}
	}
	if len(r.standing.Listeners) == 0 {
		t.Error("the look names no listener")
	}
	for _, l := range r.standing.Listeners {
		if !at[l.Protocol+" "+l.Address] {
			t.Errorf("nothing was tried at %s by %s", l.Address, l.Protocol)
		}
	}
}

// all looks that each attempt came out alike.
func all(t *testing.T, name, outcome string, attempts []driver.Attempt) {
	t.Helper()
	for _, a := range attempts {
		if a.Outcome != outcome {
			t.Errorf("%s is %s at %s, want %s (%s)", name, a.Outcome, a.Address, outcome, a.Answer)
		}
	}
}

// getsIn looks by the other client that a secret gets in.
func (r *rotation) getsIn(t *testing.T, name string, secret driver.Secret) {
	t.Helper()
	if !r.SignIn(t, r.account, secret) {
		t.Fatalf("%s does not get in", name)
	}
}

// only looks that one secret gets in and the other does not, in the order that leaves no wrong
// one counted.
func (r *rotation) only(t *testing.T, name string, right, wrong driver.Secret) {
	t.Helper()
	if r.SignIn(t, r.account, wrong) {
		t.Errorf("a secret gets in beside %s", name)
	}
	r.getsIn(t, name, right)
}

// counted looks how many wrong secrets are counted.
func (r *rotation) counted(t *testing.T, most int) {
	t.Helper()
	if r.Wrong == nil {
		return
	}
	if n := r.Wrong(t, r.account); n > most {
		t.Errorf("%d wrong secrets are counted, want at most %d", n, most)
	}
}

// same looks that the account stands as at first.
func (r *rotation) same(t *testing.T) {
	t.Helper()
	if d := cmp.Diff(r.standing, r.look(t)); d != "" {
		t.Errorf("the account does not stand as before:\n%s", d)
	}
}

// is fails unless an error is of a kind.
func is(t *testing.T, doing string, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%s: %v, want an error of kind %q", doing, err, kind)
	}
}

// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// looks looks twice, and finds the same.
func (r *rotation) looks(t *testing.T) {
	r.getsIn(t, "the first secret", r.old)
	r.standing = r.look(t)
	if !slices.Contains([]string{driver.OverlapTwo, driver.OverlapTimed, driver.OverlapNone}, r.standing.Overlap) || r.standing.Name == "" {
		t.Errorf("a look says the name and the overlap: %+v", r.standing)
	}
	if (r.standing.Overlap == driver.OverlapTimed) != (r.standing.OverlapTime > 0) {
		t.Errorf("overlap %q takes %v", r.standing.Overlap, r.standing.OverlapTime)
	}
	if r.standing.Barred != "" || len(r.standing.Listeners) == 0 {
		t.Errorf("barred %q, listeners %v", r.standing.Barred, r.standing.Listeners)
	}
	r.same(t)
	r.counted(t, 0)
	r.getsIn(t, "the first secret", r.old)
}

func (c RotatorCase) notThere(t *testing.T) {
	r := &rotation{RotatorCase: c, clock: Clock(), account: c.Missing, old: c.next(t), new: c.next(t)}
	_, err := c.Rotator.LookAccount(t.Context(), driver.AccountRequest{Host: c.Host, Account: c.Missing, Now: r.now})
	is(t, "look", err, tallystick.ErrNotFound)
	_, err = r.set(t.Context(), t, nil)
	is(t, "set", err, tallystick.ErrNotFound)
	_, err = r.drop(t.Context(), t)
	is(t, "drop", err, tallystick.ErrNotFound)
}

// dropsTooEarly drops Old where New does not get in yet, which would leave nobody who does.
func (r *rotation) dropsTooEarly(t *testing.T) {
	dropped, err := r.drop(t.Context(), t)
	is(t, "drop", err, tallystick.ErrConflict)
	if dropped.Changed.Changed {
		t.Errorf("it changes something: %+v", dropped)
	}
	r.counted(t, 1)
	r.getsIn(t, "Old", r.old)
	r.mustSet(t, nil)
	r.whileSet(t)
}

// rotates goes through a whole rotation, and does each step once more.
func (r *rotation) rotates(t *testing.T) {
	if set := r.mustSet(t, nil); !set.Changed.Changed {
		t.Error("the first set changes nothing")
	}
	r.counted(t, 0)
	r.whileSet(t)
	all(t, "New", driver.OutcomeAccepted, r.test(t, false).New)
	tested := r.test(t, true)
	all(t, "New", driver.OutcomeAccepted, tested.New)
	switch r.standing.Overlap {
	case driver.OverlapTwo:
		all(t, "Old", driver.OutcomeAccepted, tested.Old)
	case driver.OverlapNone:
		all(t, "Old", driver.OutcomeRefused, tested.Old)
	}
	r.counted(t, 0)
	r.mustDrop(t)
	if !r.overlapped(t) {
		return
	}
	r.dropped(t)
	if again := r.mustDrop(t); again.Changed.Changed {
		t.Errorf("dropped twice, it changes something: %+v", again)
	}
	r.dropped(t)
	if now := r.look(t); now.Overlap != r.standing.Overlap || now.Barred != "" || now.Changed.Before(r.standing.Changed) {
		t.Errorf("after it the account stands like this: %+v\nat first: %+v", now, r.standing)
	}
	r.old, r.new = r.new, driver.Secret{} // and another one after it
	if r.standing.Form != driver.FormMade {
		r.new = r.next(t)
	}
	r.order += "-2"
	r.mustSet(t, nil)
	r.whileSet(t)
	r.mustDrop(t)
	if r.overlapped(t) {
		r.dropped(t)
	}
}

// whileSet looks, by the other client, that those get in who should between set and drop.
func (r *rotation) whileSet(t *testing.T) {
	t.Helper()
	switch r.standing.Overlap {
	case driver.OverlapNone:
		r.only(t, "New", r.new, r.old)
	default:
		r.getsIn(t, "Old", r.old)
		r.getsIn(t, "New", r.new)
	}
}

// overlapped waits until a timed overlap has ended, and says whether it has.
func (r *rotation) overlapped(t *testing.T) bool {
	switch {
	case r.standing.Overlap != driver.OverlapTimed:
		return true
	case r.EndOverlap != nil:
		r.EndOverlap(t, r.account)
		return true
	case r.standing.OverlapTime > time.Minute:
		return false
	}
	for end := time.Now().Add(r.standing.OverlapTime + time.Minute); time.Now().Before(end); time.Sleep(time.Second) {
		if !r.SignIn(t, r.account, r.old) {
			r.getsIn(t, "New", r.new)
			return true
		}
	}
	t.Fatalf("Old gets in %v after it was to be refused", time.Minute)
	return false
}

// dropped looks, by the driver and by the other client, that New alone gets in.
func (r *rotation) dropped(t *testing.T) {
	t.Helper()
	tested := r.test(t, true)
	all(t, "Old", driver.OutcomeRefused, tested.Old)
	all(t, "New", driver.OutcomeAccepted, tested.New)
	r.counted(t, 0)
	r.only(t, "New", r.new, r.old)
}

// setsAgain repeats a set, as somebody whose answer was lost does.
func (r *rotation) setsAgain(t *testing.T) {
	again := func(s *driver.SecretRequest) { s.Again = true }
	if first := r.mustSet(t, again); !first.Changed.Changed { // it may have been done, and has not
		t.Error("the first set, as if again, changes nothing")
	}
	r.whileSet(t)
	second := r.mustSet(t, again)
	if second.Changed.Changed && r.standing.Form != driver.FormMade {
		t.Errorf("set again, it changes something: %+v", second)
	}
	r.whileSet(t)
	r.counted(t, 1)
	if r.standing.Form != driver.FormMade {
		r.setsTwice(t)
	}
	r.mustDrop(t)
	if !r.overlapped(t) {
		return
	}
	r.dropped(t)
	if r.standing.Form != driver.FormMade {
		late := r.mustSet(t, again) // a set that comes after the drop brings nothing back
		if late.Changed.Changed {
			t.Errorf("set again after the drop, it changes something: %+v", late)
		}
		r.dropped(t)
	}
}

// setsTwice repeats a set and does not say so. A system that knows one secret need not find out that it
// is there, and its policy may take none twice.
func (r *rotation) setsTwice(t *testing.T) {
	set, err := r.set(t.Context(), t, nil)
	refused := errors.Is(err, tallystick.ErrInvalid) || errors.Is(err, tallystick.ErrDenied)
	switch {
	case err == nil && set.Changed.Changed && r.standing.Overlap == driver.OverlapTwo:
		t.Errorf("set a second time, it changes something: %+v", set)
	case err != nil && (!refused || r.standing.Overlap != driver.OverlapNone):
		t.Errorf("set a second time: %v", err)
	}
	r.getsIn(t, "New", r.new)
	r.whileSet(t)
}

// withdraws takes a set back.
func (r *rotation) withdraws(t *testing.T) {
	withdraw := func(s *driver.SecretRequest) { s.Withdraw = true }
	r.mustSet(t, nil)
	set, err := r.set(t.Context(), t, withdraw)
	if r.KeepsHistory && r.standing.Overlap == driver.OverlapNone {
		is(t, "withdraw", err, tallystick.ErrInvalid)
		r.only(t, "New", r.new, r.old)
		return
	}
	if err != nil || !set.Changed.Changed {
		t.Fatalf("withdraw: %+v, %v", set, err)
	}
	if r.standing.Overlap == driver.OverlapTimed {
		r.getsIn(t, "Old", r.old)
	} else {
		r.only(t, "Old", r.old, r.new)
	}
	if again := r.mustSet(t, func(s *driver.SecretRequest) { s.Withdraw, s.Again = true, true }); again.Changed.Changed {
		t.Errorf("withdrawn again, it changes something: %+v", again)
	}
	r.getsIn(t, "Old", r.old)
	r.counted(t, 0)
}

// triesWrong has a secret tried that is wrong: once.
func (r *rotation) triesWrong(t *testing.T) {
	if r.standing.Form == driver.FormMade {
		r.new = r.next(t)
	}
	tested := r.test(t, false)
	refused := 0
	for _, a := range tested.New {
		switch a.Outcome {
		case driver.OutcomeAccepted:
			t.Errorf("a secret that was never set gets in at %s", a.Address)
		case driver.OutcomeRefused:
			refused++
		}
	}
	if refused == 0 || refused > 1 && r.standing.MayTry >= 0 {
		t.Errorf("a wrong secret is refused %d times, want once: %+v", refused, tested.New)
	}
	r.counted(t, 1)
	r.getsIn(t, "Old", r.old)
}

// triesBothWrong has two secrets tried that are wrong, of an account that somebody else has given
// a third one: of a system that counts one is tried.
func (r *rotation) triesBothWrong(t *testing.T) {
	right := r.old
	r.old, r.new = r.next(t), r.next(t)
	tested := r.test(t, true)
	refused := 0
	for _, a := range slices.Concat(tested.Old, tested.New) {
		if a.Outcome == driver.OutcomeAccepted {
			t.Errorf("a secret that was never set gets in at %s", a.Address)
		}
		if a.Outcome == driver.OutcomeRefused {
			refused++
		}
	}
	if refused == 0 || refused > 1 && r.standing.MayTry >= 0 {
		t.Errorf("of two wrong secrets %d tries are refused, want one", refused)
	}
	r.counted(t, 1)
	r.getsIn(t, "the one that stands", right)
}

// odd has secrets tried that no protocol was made for, between right ones.
func (r *rotation) odd(t *testing.T) {
	r.new = r.old
	first := r.old
	for name, text := range map[string]string{
		"empty": "", "nul": "nul\x00in the middle", "bytes": "\xff\xfe\x80", "lines": "a\r\nb\nc", "quotes": `'"\$({*)}`,
		"spaces": "  ", "long": strings.Repeat("l0ng", 16<<10), "wide": "passwörter\u2028\u202e",
	} {
		r.old = driver.NewSecret(text)
		request := r.request(t)
		request.TryOld = true
		tested, err := r.Rotator.TestSecret(t.Context(), request)
		r.says(t, tested, err)
		for _, a := range tested.Old {
			if a.Outcome == driver.OutcomeAccepted {
				t.Errorf("%s: an old secret that was never set gets in at %s", name, a.Address)
			}
		}
		if err != nil && !errors.Is(err, tallystick.ErrInvalid) && !errors.Is(err, tallystick.ErrDenied) {
			t.Errorf("%s: %v, want ErrInvalid or ErrDenied", name, err)
		}
		r.counted(t, 1)
		r.getsIn(t, "the first secret", first)
	}
	r.old, r.new = first, driver.Secret{}
	if set, err := r.set(t.Context(), t, nil); err == nil && r.standing.Form != driver.FormMade {
		t.Errorf("an empty secret is set: %+v", set)
	}
	r.new = driver.Secret{} // where the system makes it, it has made one
	if tested, err := r.Rotator.TestSecret(t.Context(), r.request(t)); err == nil {
		for _, a := range tested.New {
			if a.Outcome == driver.OutcomeAccepted {
				t.Errorf("an empty secret gets in at %s", a.Address)
			}
		}
	}
	r.getsIn(t, "the first secret", first)
}

// atOnce rotates several accounts at the same time.
func (c RotatorCase) atOnce(t *testing.T) {
	var all []*rotation
	for range 6 {
		all = append(all, c.begin(t))
	}
	var group sync.WaitGroup
	failed := make([]error, len(all))
	for i, r := range all {
		group.Go(func() { failed[i] = r.whole(t) })
	}
	group.Wait()
	for i, r := range all {
		if failed[i] != nil {
			t.Errorf("%s: %v", r.account, failed[i])
			continue
		}
		if r.overlapped(t) {
			r.only(t, "New", r.new, r.old)
		}
	}
}

// whole rotates without ending the test, which other goroutines may not.
func (r *rotation) whole(t *testing.T) error {
	if _, err := r.set(t.Context(), t, nil); err != nil {
		return fmt.Errorf("set: %w", err)
	}
	tested, err := r.Rotator.TestSecret(t.Context(), r.request(t))
	if err != nil {
		return fmt.Errorf("test: %w", err)
	}
	for _, a := range tested.New {
		if a.Outcome != driver.OutcomeAccepted {
			return fmt.Errorf("the new one is %s at %s: %s", a.Outcome, a.Address, a.Answer)
		}
	}
	if _, err := r.drop(t.Context(), t); err != nil {
		return fmt.Errorf("drop: %w", err)
	}
	return nil
}

// cancelled calls everything with a context that has ended.
func (r *rotation) cancelled(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Rotator.LookAccount(gone, driver.AccountRequest{Host: r.Host, Account: r.account, Now: r.now}); err == nil {
		t.Error("a look is done for nobody")
	}
	if _, err := r.set(gone, t, nil); err == nil {
		t.Error("a set is done for nobody")
	}
	r.getsIn(t, "Old", r.old)
	r.same(t)
}

// policy offers what the policy does not take.
func (r *rotation) policy(t *testing.T) {
	refused := func(s *driver.SecretRequest) { s.New = r.Refused }
	_, err := r.set(t.Context(), t, refused)
	is(t, "set", err, tallystick.ErrInvalid)
	r.only(t, "Old", r.old, r.Refused)
	if d := cmp.Diff(r.standing.Changed, r.look(t).Changed); d != "" {
		t.Errorf("what was refused has changed something:\n%s", d)
	}
	r.mustSet(t, nil) // and another one is taken
	r.mustDrop(t)
	r.getsIn(t, "New", r.new)
}

// nearLock asks for a try that there is no room for.
func (r *rotation) nearLock(t *testing.T) {
	r.NearLock(t, r.account)
	if now := r.look(t); now.MayTry != 0 {
		t.Errorf("%d more may be tried, want 0", now.MayTry)
	}
	before := 0
	if r.Wrong != nil {
		before = r.Wrong(t, r.account)
	}
	right := r.old
	r.old, r.new = r.new, r.old
	request := r.request(t)
	request.TryOld = true
	tested, err := r.Rotator.TestSecret(t.Context(), request)
	r.says(t, tested, err)
	is(t, "test", err, tallystick.ErrDenied)
	r.counted(t, before)
	r.getsIn(t, "the first secret", right)
}

// away calls everything while the system is cut off.
func (r *rotation) away(t *testing.T) {
	r.Down(t)
	_, err := r.Rotator.LookAccount(t.Context(), driver.AccountRequest{Host: r.Host, Account: r.account, Now: r.now})
	is(t, "look", err, tallystick.ErrUnavailable)
	_, err = r.set(t.Context(), t, nil)
	is(t, "set", err, tallystick.ErrUnavailable)
	_, err = r.drop(t.Context(), t)
	is(t, "drop", err, tallystick.ErrUnavailable)
	tested, err := r.Rotator.TestSecret(t.Context(), r.request(t))
	r.says(t, tested, err)
	if err != nil {
		is(t, "test", err, tallystick.ErrUnavailable)
	}
	all(t, "New", driver.OutcomeFailed, tested.New)
	r.Up(t)
	r.getsIn(t, "Old", r.old)
	r.setLater(t, false)
	r.mustDrop(t)
	r.getsIn(t, "New", r.new)
}

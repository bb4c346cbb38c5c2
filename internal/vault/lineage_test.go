// SPDX-License-Identifier: Apache-2.0

package vault_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
	"github.com/tallystick/tallystick/internal/vault"
)

// readable answers a question, a line each, page by page.
func (f *fixture) readable(q vault.Question) (list []string) {
	f.Helper()
	request := store.PageRequest{Limit: 2}
	for {
		page, total, err := f.Readable(f.Context(), otto, q, request)
		f.must(err)
		for _, x := range page.Items {
			until := ""
			if !x.Until.IsZero() {
				until = x.Until.Sub(noon).String()
			}
			list = append(list, fmt.Sprintf("%s %s %d from %s to %s", x.Customer, x.Account, x.Version, x.Since.Sub(noon), until))
		}
		if page.Next == "" {
			if int(total) != len(list) {
				f.Errorf("%d are counted, and %d listed", total, len(list))
			}
			return list
		}
		request.After = page.Next
	}
}

// has fails the test unless a question has these answers, in any order.
func (f *fixture) has(q vault.Question, want ...string) {
	f.Helper()
	got, need := map[string]int{}, map[string]int{}
	for _, line := range f.readable(q) {
		got[line]++
	}
	for _, line := range want {
		need[line]++
	}
	if diff := cmp.Diff(need, got); diff != "" {
		f.Errorf("%s: %s", q, diff)
	}
}

func hour(n int) time.Time { return noon.Add(time.Duration(n) * time.Hour) }

func TestTheTwoQuestions(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		f := newVault(t, url)
		oldKey := f.wrapper("wrapping.key").Identity().ID
		f.entrust(value("acme", "a", "one")) // at 0 h, on hub
		f.later(time.Hour)
		f.entrust(value("initech", "a", "one")) // at 1 h
		f.later(time.Hour)
		f.open("wrapping.key", "node-2") // at 2 h
		f.must(f.Report(t.Context()))
		f.later(time.Hour)
		f.entrust(value("acme", "a", "two")) // at 3 h
		f.later(time.Hour)
		f.entrust(value("acme", "a", "three")) // at 4 h: the first is destroyed
		f.later(time.Hour)
		to := f.wrapper("new.key") // at 5 h
		f.must(f.custody.Rewrap(t.Context(), to, nil))
		f.open("new.key", "node-3")
		f.must(f.Report(t.Context()))
		f.later(time.Hour)
		f.entrust(value("acme", "b", "one")) // at 6 h, on node-3

		old := []string{"acme a 1 from 0s to 4h0m0s", "acme a 2 from 3h0m0s to 5h0m0s", "acme a 3 from 4h0m0s to 5h0m0s", "initech a 1 from 1h0m0s to 5h0m0s"}
		f.has(vault.Question{Key: oldKey}, old...)
		f.has(vault.Question{Host: "hub"}, old...)
		f.has(vault.Question{Host: "node-2"}, "acme a 1 from 2h0m0s to 4h0m0s", old[1], old[2], "initech a 1 from 2h0m0s to 5h0m0s")
		f.has(vault.Question{Key: to.Identity().ID}, "acme a 2 from 5h0m0s to ", "acme a 3 from 5h0m0s to ", "initech a 1 from 5h0m0s to ", "acme b 1 from 6h0m0s to ")
		f.has(vault.Question{Host: "node-3"}, "acme a 2 from 5h0m0s to ", "acme a 3 from 5h0m0s to ", "initech a 1 from 5h0m0s to ", "acme b 1 from 6h0m0s to ")

		// Between two times.
		f.has(vault.Question{Host: "hub", From: hour(0), To: hour(1)}, "acme a 1 from 0s to 1h0m0s")
		f.has(vault.Question{Host: "hub", From: hour(4), To: hour(9)}, "acme a 2 from 4h0m0s to 5h0m0s", old[2], "initech a 1 from 4h0m0s to 5h0m0s")
		f.has(vault.Question{Host: "node-2", To: hour(2)})
		f.has(vault.Question{Host: "hub", From: hour(5)})

		// A host that can no longer.
		f.must(f.EndHost(t.Context(), ada, "node-3"))
		f.open("new.key", "hub")
		f.later(time.Hour)
		f.entrust(value("acme", "c", "one")) // at 7 h
		f.has(vault.Question{Host: "node-3"}, "acme a 2 from 5h0m0s to 6h0m0s", "acme a 3 from 5h0m0s to 6h0m0s", "initech a 1 from 5h0m0s to 6h0m0s")
		if err := f.EndHost(t.Context(), ada, "node-3"); !errors.Is(err, tallystick.ErrNotFound) {
			t.Error("it has ended before:", err)
		}
	})
}

func TestWhatComesAfterARewrapIsNotUnderTheOldKey(t *testing.T) {
	f := newVault(t, "")
	old := f.wrapper("wrapping.key")
	f.entrust(value("acme", "a", "one"))
	f.must(f.custody.Rewrap(t.Context(), f.wrapper("new.key"), nil))
	s := f.entrust(value("acme", "a", "two"))
	f.reveals(s.ID, "two")
	l, err := f.Lineage(t.Context(), ada, s.ID)
	f.must(err)
	if l.Versions[0].KeyID == l.Versions[1].KeyID {
		t.Error("who has the old wrapping key and an old copy of the data can read what came later")
	}
	for _, x := range f.readable(vault.Question{Key: old.Identity().ID}) {
		if x[:8] == "acme a 2" {
			t.Error(x)
		}
	}
}

func TestARewrapThatIsInterruptedGoesOn(t *testing.T) {
	f := newVault(t, "")
	var all []vault.Entrust
	for i := range 300 {
		all = append(all, value(fmt.Sprintf("customer %d", i), "a", fmt.Sprintf("value %d", i)))
	}
	if n, err := f.EntrustAll(t.Context(), otto, "the test", all); n != len(all) || err != nil {
		t.Fatal(n, err)
	}
	to := f.wrapper("new.key")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := f.custody.Rewrap(ctx, to, func(done, _ int) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Fatal("it was not interrupted:", err)
	}
	// A process that starts now has both keys, as the command does.
	f.open("wrapping.key", "hub", to)
	page, _, err := f.List(t.Context(), otto, store.EntrustedFilter{}, store.PageRequest{Limit: 1000})
	f.must(err)
	under := map[string]int{}
	for _, s := range page.Items {
		under[s.WrappingKey]++
	}
	if len(under) != 2 {
		t.Fatal("it was not half-way:", under)
	}
	f.must(f.custody.Rewrap(t.Context(), to, nil))
	f.open("new.key", "hub")
	for _, s := range page.Items {
		f.reveals(s.ID, "value "+s.Customer[len("customer "):])
	}
}

func TestAllThatIsReadableIsMarked(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		f := newVault(t, url)
		first := f.entrust(value("acme", "a", "one"))
		f.entrust(value("initech", "a", "one"))
		f.later(time.Hour)
		f.entrust(value("acme", "a", "two"))
		f.entrust(value("acme", "b", "one"))
		q := vault.Question{Host: "hub", To: hour(1)}
		n, err := f.MarkReadable(t.Context(), otto, q, "hub was entered")
		f.must(err)
		if n != 1 { // that of initech: the other one was replaced since
			t.Error(n)
		}
		n, err = f.MarkReadable(t.Context(), otto, vault.Question{Host: "hub"}, "hub was entered again")
		f.must(err)
		if n != 3 {
			t.Error(n)
		}
		l, err := f.Lineage(t.Context(), ada, first.ID)
		f.must(err)
		if l.Secret.DueWhy != "otto: hub was entered again" || !l.Secret.Due.Equal(f.now()) {
			t.Errorf("%+v", l.Secret)
		}
		for _, q := range []vault.Question{{Host: "nowhere"}, {Key: "file:00"}} {
			if _, _, err := f.Readable(t.Context(), otto, q, store.PageRequest{}); !errors.Is(err, tallystick.ErrNotFound) {
				t.Errorf("%s: %v", q, err)
			}
		}
		if _, _, err := f.Readable(t.Context(), otto, vault.Question{}, store.PageRequest{}); !errors.Is(err, tallystick.ErrInvalid) {
			t.Error(err)
		}
	})
}

func TestAKindOfAnAccountIsASecretOfItsOwn(t *testing.T) {
	f := newVault(t, "")
	password := f.entrust(value("acme", "a", "one"))
	key := value("acme", "a", "two")
	key.Kind, key.Value = vault.Certificate, driver.NewSecret("-----BEGIN")
	certificate := f.entrust(key)
	if password.ID == certificate.ID {
		t.Error("a certificate has replaced a password")
	}
	strengths, err := f.KeyStrengths(t.Context(), otto)
	f.must(err)
	if len(strengths) != 1 || strengths[0].Customers != 1 || strengths[0].Algorithm != "AES-256-GCM" || len(strengths[0].Weak) > 0 {
		t.Errorf("%+v", strengths)
	}
	f.later(3 * 365 * 24 * time.Hour)
	strengths, err = f.KeyStrengths(t.Context(), otto)
	f.must(err)
	if len(strengths[0].Weak) != 1 {
		t.Errorf("%+v", strengths)
	}
}

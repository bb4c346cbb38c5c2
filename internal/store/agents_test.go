// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

var agentNoon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// A token is good for one key, which may be sent again, and for its time.
func TestTokensOfAgents(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		add := func(name, token string) {
			t.Helper()
			if err := db.AddAgent(t.Context(), store.Agent{Name: name, Created: agentNoon, CreatedBy: "ada", Expires: agentNoon.Add(time.Hour)}, token); err != nil {
				t.Fatal(err)
			}
		}
		add("web1", "t1")
		add("web2", "t2")
		add("web3", "t3")
		if err := db.RemoveAgent(t.Context(), "web3", agentNoon); err != nil {
			t.Fatal(err)
		}
		for _, row := range []struct {
			token, key string
			at         time.Duration
			want       error
		}{
			{"t1", "k1", time.Minute, nil}, {"t1", "k1", 2 * time.Minute, nil}, {"t1", "k2", 2 * time.Minute, tallystick.ErrNotFound},
			{"t2", "k2", time.Hour, tallystick.ErrNotFound}, {"t3", "k3", time.Minute, tallystick.ErrNotFound},
			{"", "k4", time.Minute, tallystick.ErrNotFound}, {"t9", "k4", time.Minute, tallystick.ErrNotFound},
		} {
			if _, err := db.EnrolAgent(t.Context(), row.token, row.key, agentNoon.Add(row.at), agentNoon); !errors.Is(err, row.want) {
				t.Errorf("%+v: %v", row, err)
			}
		}
		var good atomic.Int64
		var group sync.WaitGroup
		for _, key := range []string{"a", "b", "c", "d", "e", "f"} {
			group.Go(func() {
				_, err := db.EnrolAgent(t.Context(), "t2", key, agentNoon, agentNoon)
				if err == nil {
					good.Add(1)
				} else if !errors.Is(err, tallystick.ErrNotFound) && !errors.Is(err, tallystick.ErrConflict) {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if good.Load() != 1 {
			t.Errorf("%d have enrolled with one token", good.Load())
		}
	})
}

// The key before the newest is good until the newest was used, and a removed agent has none,
// also when it is let in again.
func TestKeysOfAgents(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		is := func(key, before string) {
			t.Helper()
			a, err := db.Agent(t.Context(), "web1")
			if err != nil || a.Key != key || a.KeyBefore != before {
				t.Errorf("the keys are %q and %q, want %q and %q, %v", a.Key, a.KeyBefore, key, before, err)
			}
		}
		agent := store.Agent{Name: "web1", Created: agentNoon, Expires: agentNoon.Add(time.Hour)}
		must(db.AddAgent(t.Context(), agent, "t1"))
		_, err := db.EnrolAgent(t.Context(), "t1", "k1", agentNoon, agentNoon)
		must(err)
		must(db.RenewAgent(t.Context(), "web1", "k1", "k2", agentNoon))
		is("k2", "k1")
		must(db.RenewAgent(t.Context(), "web1", "k1", "k2", agentNoon)) // the answer was lost
		must(db.SeeAgent(t.Context(), "web1", "k1", "127.0.0.1", "1.0", agentNoon))
		is("k2", "k1")
		must(db.SeeAgent(t.Context(), "web1", "k2", "127.0.0.1", "", agentNoon))
		is("k2", "")
		if err := db.RenewAgent(t.Context(), "web1", "k1", "k3", agentNoon); !errors.Is(err, tallystick.ErrNotFound) {
			t.Errorf("with an old key: %v", err)
		}
		must(db.AddAgent(t.Context(), agent, "t2"))
		is("k2", "") // it goes on until the token is used
		must(db.RemoveAgent(t.Context(), "web1", agentNoon))
		if err := db.RemoveAgent(t.Context(), "web1", agentNoon); !errors.Is(err, tallystick.ErrNotFound) {
			t.Error(err)
		}
		must(db.AddAgent(t.Context(), agent, "t3"))
		is("", "")
		if list, err := db.Agents(t.Context()); err != nil || len(list) != 1 || list[0].Version != "1.0" || list[0].Address != "127.0.0.1" {
			t.Errorf("%+v, %v", list, err)
		}
	})
}

func TestDoorsOfAgents(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		set := func(names ...string) {
			t.Helper()
			var list []store.AgentDoor
			for _, name := range names {
				list = append(list, store.AgentDoor{Name: name, About: "{}"})
			}
			if err := db.SetAgentDoors(t.Context(), "web1", list); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.AddAgent(t.Context(), store.Agent{Name: "web1", Created: agentNoon}, "t1"); err != nil {
			t.Fatal(err)
		}
		set("a", "b")
		for _, d := range []store.AgentDoor{{Agent: "web1", Name: "a", View: "{1}", Looked: agentNoon}, {Agent: "web1", Name: "a", Error: "away", Looked: agentNoon.Add(1e6)}} {
			if err := db.SetAgentView(t.Context(), d, 10); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.SetAgentView(t.Context(), store.AgentDoor{Agent: "web1", Name: "c"}, 10); !errors.Is(err, tallystick.ErrNotFound) {
			t.Errorf("a door that it has not: %v", err)
		}
		set("a", "c")
		want := []store.AgentDoor{{Agent: "web1", Name: "a", About: "{}", Looked: agentNoon.Add(1e6), Error: "away"}, {Agent: "web1", Name: "c", About: "{}"}}
		got, err := db.AgentDoors(t.Context())
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Error(diff, err)
		}
		if d, err := db.AgentDoor(t.Context(), "web1", "a"); err != nil || d.View != "{1}" {
			t.Errorf("%+v, %v", d, err)
		}
		if err := db.RemoveAgent(t.Context(), "web1", agentNoon); err != nil {
			t.Fatal(err)
		}
		if got, err := db.AgentDoors(t.Context()); err != nil || len(got) != 0 {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// What an agent says of all its doors together is bounded.
func TestViewsOfAnAgentAreBounded(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		if err := db.AddAgent(t.Context(), store.Agent{Name: "web1", Created: agentNoon}, "t1"); err != nil {
			t.Fatal(err)
		}
		if err := db.SetAgentDoors(t.Context(), "web1", []store.AgentDoor{{Name: "a", About: "{}"}, {Name: "b", About: "{}"}}); err != nil {
			t.Fatal(err)
		}
		for _, one := range []struct {
			door, view string
			fits       bool
		}{
			{"a", "{12345}", true}, {"b", "{12345}", false}, {"b", "{1}", true}, {"a", "{123456}", true}, {"a", "{1234567}", false}, {"b", "", true}, {"a", "{1}", true}, {"b", "{12345}", true},
		} {
			err := db.SetAgentView(t.Context(), store.AgentDoor{Agent: "web1", Name: one.door, View: one.view}, 11)
			if one.fits != (err == nil) || err != nil && !errors.Is(err, tallystick.ErrInvalid) {
				t.Errorf("%s of %s: %v", one.view, one.door, err)
			}
		}
	})
}

// The first to give a name has it, and what sorts beside a name is not beneath it.
func TestNamesOfSecrets(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		wrapping := store.WrappingKey{ID: "w", Kind: "file", About: "x", Parameters: "{}", Since: agentNoon}
		if err := db.AddWrappingKey(t.Context(), wrapping); err != nil {
			t.Fatal(err)
		}
		for id, owner := range map[string]string{"s1": "recall/7/a", "s2": "recall/7", "s3": "recall/70", "s4": "recall/7-a", "s5": "recall/7/b"} {
			kind := "door-secret"
			if id == "s5" {
				kind = "ca-key"
			}
			if err := db.AddSecret(t.Context(), store.Secret{ID: id, Kind: kind, Owner: owner, WrappingKey: "w", Version: 1, Wrapped: []byte{1}, Sealed: []byte{1}, Created: agentNoon}); err != nil {
				t.Fatal(err)
			}
		}
		for _, row := range []struct{ ids, want []string }{{[]string{"s1", "s2"}, []string{"s1", "s2"}}, {[]string{"s3"}, []string{"s1", "s2"}}} {
			got, err := db.NameSecret(t.Context(), "recall/7/a", row.ids)
			if diff := cmp.Diff(row.want, got); diff != "" || err != nil {
				t.Error(diff, err)
			}
		}
		before, err := db.RenameSecret(t.Context(), "recall/7/a", []string{"s2"})
		if diff := cmp.Diff([]string{"s1"}, before); diff != "" || err != nil {
			t.Error(diff, err)
		}
		if _, err := db.NameSecret(t.Context(), "recall/70/a", []string{"s3"}); err != nil {
			t.Fatal(err)
		}
		forgotten, err := db.ForgetNames(t.Context(), "recall/7/", "door-secret")
		if diff := cmp.Diff([]string{"s1", "s2"}, forgotten); diff != "" || err != nil {
			t.Error(diff, err)
		}
		if _, err := db.NamedSecrets(t.Context(), "recall/7/a"); !errors.Is(err, tallystick.ErrNotFound) {
			t.Error(err)
		}
		if ids, err := db.NamedSecrets(t.Context(), "recall/70/a"); err != nil || len(ids) != 1 {
			t.Errorf("%v, %v", ids, err)
		}
	})
}

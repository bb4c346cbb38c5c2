// SPDX-License-Identifier: Apache-2.0

package inventory_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/inventory"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

var (
	operator = gate.Actor{Name: "ann", Role: gate.Operator, Via: "test"}
	viewer   = gate.Actor{Name: "vic", Role: gate.Viewer, Via: "test"}
	nobody   = gate.Actor{}
)

func key(n int) tallystick.Credential {
	spki := fmt.Appendf(nil, "key %d", n)
	return tallystick.Credential{
		ID: tallystick.FingerprintOf(spki), Kind: tallystick.KindKey, Raw: spki, Subject: fmt.Sprintf("key %d", n),
		Key: tallystick.Key{ID: tallystick.KeyIDOf(spki), Algorithm: "ed25519", SPKI: spki},
	}
}

// furnish returns an inventory with a key that is held once and accepted twice,
// and its audit log.
func furnish(t *testing.T, db *store.DB) (*inventory.Inventory, *audit.Log) {
	t.Helper()
	log, err := audit.Open(t.Context(), db, filepath.Join(t.TempDir(), "audit.key"))
	if err != nil {
		t.Fatal(err)
	}
	run, err := db.AddRun(t.Context(), store.Run{Source: "files", Driver: "files", Queued: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	sighting := func(n int, place tallystick.Place, role tallystick.Role) tallystick.Sighting {
		return tallystick.Sighting{Credential: key(n), Place: place, Role: role, Seen: time.Now()}
	}
	batch := store.Batch{Run: run.ID, Source: "files", Sightings: []tallystick.Sighting{
		sighting(1, "file:///home/ann/.ssh/id_ed25519", tallystick.RoleHolds),
		sighting(1, "file:///root/.ssh/authorized_keys", tallystick.RoleAccepts),
		sighting(1, "file:///home/bob/.ssh/authorized_keys", tallystick.RoleAccepts),
		sighting(2, "file:///etc/ssh/host.pub", tallystick.RolePresents),
	}}
	if _, err := db.Record(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	return inventory.New(db, gate.New(log, time.Now), time.Now), log
}

func TestDetailSaysWhatAKeyOpens(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		i, _ := furnish(t, db)
		for _, name := range []string{string(key(1).ID), strings.ToUpper(string(key(1).ID)), string(key(1).ID[:8])} {
			d, err := i.Credential(t.Context(), viewer, name)
			if err != nil {
				t.Fatal(err)
			}
			if d.Credential.ID != key(1).ID || len(d.Holders) != 1 || len(d.Opens) != 2 || len(d.Sightings) != 3 {
				t.Errorf("%s: %d holders, %d doors, %d sightings; want 1, 2, 3", name, len(d.Holders), len(d.Opens), len(d.Sightings))
			}
		}
	})
}

func TestNamesThatDoNotName(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		i, _ := furnish(t, db)
		for name, want := range map[string]error{
			"": tallystick.ErrInvalid, "abc": tallystick.ErrInvalid, "0000000000": tallystick.ErrNotFound,
			strings.Repeat("0", 64): tallystick.ErrNotFound, "%%%%%%%%%%": tallystick.ErrInvalid,
		} {
			if _, err := i.Credential(t.Context(), viewer, name); !errors.Is(err, want) {
				t.Errorf("%q gives %v, want %v", name, err, want)
			}
		}
	})
}

// Opening one credential is on record, reading a list is not, and neither is
// for somebody who is not signed in.
func TestWhoReadsIsRecorded(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		i, log := furnish(t, db)
		if _, _, err := i.Credentials(t.Context(), viewer, store.CredentialFilter{}, store.PageRequest{}); err != nil {
			t.Fatal(err)
		}
		if _, err := i.Credential(t.Context(), viewer, string(key(2).ID)); err != nil {
			t.Fatal(err)
		}
		if _, err := i.Credential(t.Context(), nobody, string(key(2).ID)); !errors.Is(err, tallystick.ErrUnsigned) {
			t.Errorf("a stranger gets %v, want ErrUnsigned", err)
		}
		entries, err := log.List(t.Context(), audit.Filter{}, 0, 10)
		if err != nil || len(entries) != 2 {
			t.Fatalf("%d records, %v; want the detail and the refusal", len(entries), err)
		}
		if !entries[1].Allowed || entries[1].Object != string(key(2).ID) || entries[0].Allowed {
			t.Errorf("the records are %+v", entries)
		}
	})
}

func TestAnnotating(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		i, _ := furnish(t, db)
		ids := []tallystick.Fingerprint{key(1).ID, key(2).ID}
		for name, bad := range map[string]tallystick.Annotation{
			"tag with a space": {Tags: []string{"two words"}}, "empty tag": {Tags: []string{""}}, "long owner": {Owner: strings.Repeat("x", 201)},
		} {
			if err := i.Annotate(t.Context(), operator, ids, bad); !errors.Is(err, tallystick.ErrInvalid) {
				t.Errorf("%s: %v, want ErrInvalid", name, err)
			}
		}
		said := tallystick.Annotation{Owner: "web", Tags: []string{"edge"}}
		if err := i.Annotate(t.Context(), viewer, ids, said); !errors.Is(err, tallystick.ErrDenied) {
			t.Errorf("a viewer who annotates gets %v, want ErrDenied", err)
		}
		if err := i.Annotate(t.Context(), operator, ids, said); err != nil {
			t.Fatal(err)
		}
		_, n, err := i.Credentials(t.Context(), viewer, store.CredentialFilter{Owner: "web", Tag: "edge"}, store.PageRequest{})
		if err != nil || n != 2 {
			t.Errorf("%d credentials of web, %v; want 2", n, err)
		}
	})
}

func TestAmendingLeavesTheRest(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		i, log := furnish(t, db)
		ids := []tallystick.Fingerprint{key(1).ID}
		before := tallystick.Annotation{Owner: "web", Notes: "in the rack", Tags: []string{"edge", "old"}}
		if err := i.Annotate(t.Context(), operator, ids, before); err != nil {
			t.Fatal(err)
		}
		nobodys, production, long := "", "production", strings.Repeat("x", 201)
		steps := []struct {
			change inventory.Change
			want   tallystick.Annotation
		}{
			{inventory.Change{Environment: &production}, tallystick.Annotation{Owner: "web", Environment: "production", Notes: "in the rack", Tags: []string{"edge", "old"}}},
			{inventory.Change{AddTags: []string{"dmz", "edge"}, RemoveTags: []string{"old"}}, tallystick.Annotation{Owner: "web", Environment: "production", Notes: "in the rack", Tags: []string{"dmz", "edge"}}},
			{inventory.Change{Owner: &nobodys, Notes: &nobodys, Tags: &[]string{"new"}}, tallystick.Annotation{Environment: "production", Tags: []string{"new"}}},
		}
		for n, step := range steps {
			said, err := i.Amend(t.Context(), operator, ids, step.change)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]tallystick.Annotation{step.want}, said); diff != "" {
				t.Errorf("step %d says (-want +got):\n%s", n, diff)
			}
			d, err := i.Credential(t.Context(), operator, string(key(1).ID))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(step.want, d.Row.Annotation); diff != "" {
				t.Errorf("step %d leaves (-want +got):\n%s", n, diff)
			}
		}
		if _, err := i.Amend(t.Context(), operator, ids, inventory.Change{Owner: &long}); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("a long owner gets %v, want ErrInvalid", err)
		}
		if _, err := i.Amend(t.Context(), viewer, ids, inventory.Change{Owner: &production}); !errors.Is(err, tallystick.ErrDenied) {
			t.Errorf("a viewer who amends gets %v, want ErrDenied", err)
		}
		denied, err := log.List(t.Context(), audit.Filter{Denied: true, Action: string(gate.Annotate)}, 0, 10)
		if err != nil || len(denied) != 1 || denied[0].Actor != viewer.Name {
			t.Errorf("the refusals on record are %+v, %v; want one", denied, err)
		}
	})
}

func TestSummaryIsCountedAgainBehindThePages(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		i, _ := furnish(t, db)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- i.Run(ctx, func(err error) { t.Error(err) }) }()
		s, err := i.Summary(t.Context(), viewer)
		if err != nil || s.Credentials != 2 || s.Keys != 2 || s.Places != 4 {
			t.Errorf("summary is %+v, %v", s, err)
		}
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ends with %v", err)
		}
	})
}

// After a start, the first page of a large estate shows what was counted before
// the stop, and does not wait.
func TestSummaryOutlivesAStart(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		i, _ := furnish(t, db)
		kept := `{"Summary":{"credentials":77,"severities":{"high":3}},"Took":1000000000}`
		if err := db.Keep(t.Context(), inventory.SummaryName, []byte(kept)); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- i.Run(ctx, func(err error) { t.Error(err) }) }()
		for !inventory.Running(i) {
			time.Sleep(time.Millisecond)
		}
		s, err := i.Summary(t.Context(), viewer)
		if err != nil || s.Credentials != 77 || s.Severities[tallystick.SeverityHigh] != 3 {
			t.Errorf("the first summary is %+v, %v; want the one that was kept", s, err)
		}
		for deadline := time.Now().Add(10 * time.Second); s.Credentials != 2; s, err = i.Summary(t.Context(), viewer) {
			if err != nil || time.Now().After(deadline) {
				t.Fatalf("the summary is still %+v, %v", s, err)
			}
			time.Sleep(time.Millisecond)
		}
		stop()
		<-done
	})
}

// SPDX-License-Identifier: Apache-2.0

package inventory_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/inventory"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// furnishNetwork records two endpoints of one network.
func furnishNetwork(t *testing.T, db *store.DB) *inventory.Inventory {
	t.Helper()
	i, _ := furnish(t, db)
	run, err := db.AddRun(t.Context(), store.Run{Source: "front-ends", Driver: "ssh", Queued: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	batch := store.Batch{Run: run.ID, Source: "front-ends"}
	for _, place := range []tallystick.Place{"ssh://10.0.2.7:22", "ssh://10.0.2.8:22"} {
		batch.Sightings = append(batch.Sightings, tallystick.Sighting{Credential: key(3), Place: place, Role: tallystick.RolePresents, Seen: time.Now()})
	}
	if _, err := db.Record(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	return i
}

func TestNetworksAreCountedAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		i := furnishNetwork(t, db)
		list, err := i.Networks(t.Context(), viewer, "", 10)
		if err != nil || len(list) != 1 || list[0].Endpoints != 2 || list[0].Credentials != 1 || list[0].Counted.IsZero() {
			t.Errorf("the networks are %+v, %v", list, err)
		}
		n, places, err := i.Network(t.Context(), viewer, "10.0.2.0/24", 1)
		if err != nil || n.Endpoints != 2 || len(places) != 1 {
			t.Errorf("the network is %+v at %v, %v", n, places, err)
		}
		if _, _, err := i.Network(t.Context(), viewer, "10.0.2.0/8", 1); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("a name of no network gives %v", err)
		}
		if _, err := i.Networks(t.Context(), nobody, "", 10); !errors.Is(err, tallystick.ErrUnsigned) {
			t.Errorf("a stranger gets %v", err)
		}
	})
}

// What takes longer to count than a page waits is counted behind it.
func TestALargeNetworkIsCountedBehindThePage(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		i := furnishNetwork(t, db)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- i.Run(ctx, func(err error) { t.Error(err) }) }()
		defer func() { stop(); <-ended }()
		for !inventory.Running(i) {
			time.Sleep(time.Millisecond)
		}
		n, err := inventory.NetworkWithoutPatience(t.Context(), i, "10.0.2.0/24")
		if err != nil || !n.Counted.IsZero() || n.Name != "10.0.2.0/24" {
			t.Fatalf("a page that does not wait gets %+v, %v", n, err)
		}
		for deadline := time.Now().Add(10 * time.Second); n.Counted.IsZero(); time.Sleep(time.Millisecond) {
			if n, err = inventory.NetworkWithoutPatience(t.Context(), i, "10.0.2.0/24"); err != nil || time.Now().After(deadline) {
				t.Fatalf("it was not counted: %+v, %v", n, err)
			}
		}
		if n.Endpoints != 2 || n.Credentials != 1 {
			t.Errorf("it was counted as %+v", n)
		}
	})
}

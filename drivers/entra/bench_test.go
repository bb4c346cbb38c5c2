// SPDX-License-Identifier: Apache-2.0

package entra_test

import (
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/drivers/entra"
	emulator "github.com/tallystick/tallystick/internal/lab/entra"
)

// BenchmarkDoors does at each of b.N tenants what a recall does there: three looks, a new key
// beside the old one, and the old one taken away, sixteen doors together. The emulator is in the same process.
func BenchmarkDoors(b *testing.B) {
	e := newEstate(b, emulator.Faults{NoThrottling: true})
	next := material(b, e.pki, "vendor 2")
	shared := entra.Driver()
	doors := make([]*entra.Entra, b.N)
	for i := range doors {
		tenant := e.world.AddTenant(emulator.TenantSpec{})
		app := tenant.AddApplication(emulator.AppSpec{
			Certificates: [][]byte{e.old.Chain[0]}, Grants: []emulator.Grant{{API: emulator.Graph, Role: "Application.Read.All"}},
		})
		options := maps.Clone(e.options)
		options["tenant"], options["application"] = tenant.ID, app.Application.AppID
		opened, err := shared.Open(options)
		if err != nil {
			b.Fatal(err)
		}
		doors[i] = opened.(*entra.Entra)
	}
	all := func(do func(*entra.Entra) error) {
		var group sync.WaitGroup
		room := make(chan struct{}, 16)
		for _, d := range doors {
			room <- struct{}{}
			group.Go(func() {
				defer func() { <-room }()
				if err := do(d); err != nil {
					b.Error(err)
				}
			})
		}
		group.Wait()
	}
	see := func(d *entra.Entra) error {
		_, err := d.Look(b.Context(), driver.LookRequest{Host: host.Local(), Now: time.Now})
		return err
	}
	b.ResetTimer()
	all(see)
	all(func(d *entra.Entra) error { _, err := trust(b.Context(), d, next, e.old, false); return err })
	all(see)
	e.holds(b, next)
	all(func(d *entra.Entra) error { _, err := block(b.Context(), d, e.old, false); return err })
	all(see)
}

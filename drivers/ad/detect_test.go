// SPDX-License-Identifier: Apache-2.0

package ad_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
)

// detects measures how soon a change is handed over, by a watch that comes again when it said.
func (e *estate) detects(t *testing.T) {
	d, b := e.open(t, nil), &drivertest.Book{}
	b.Watch(t, d)
	round := func() time.Duration {
		again, err := d.Watch(t.Context(), driver.WatchRequest{Position: b.Position, Now: time.Now, Memory: b}, b)
		if err != nil {
			t.Fatal(err)
		}
		return again
	}
	var times []time.Duration
	for i := range 3 {
		again := round()
		// Just behind a round is the worst time for a change to be seen.
		began := time.Now()
		e.modify(t, "svc1", func(r *ldap.ModifyRequest) { r.Add("servicePrincipalName", []string{fmt.Sprintf("HTTP/seen%d", i)}) })
		for b.Records = nil; len(b.Records) == 0; again = round() {
			if time.Since(began) > 2*time.Minute {
				t.Fatal("it is not seen")
			}
			time.Sleep(again)
		}
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	t.Logf("seen after %v (median of %d, each changed right after a round)", times[1], len(times))
}

// SPDX-License-Identifier: Apache-2.0

package renewal_test

import (
	"crypto"
	"testing"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/order"
	"github.com/tallystick/tallystick/internal/renewal"
)

// FuzzInspect has an issuer answer with anything.
func FuzzInspect(f *testing.F) {
	d := newDesk(f)
	csr, err := renewal.RequestFor([]string{"a.example.com"}, d.key)
	if err != nil {
		f.Fatal(err)
	}
	good, err := d.Issue(f.Context(), driver.IssueRequest{Order: "1", CSR: csr, Account: d.key, State: "asked", Now: time.Now})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good.Chain[0], good.Chain[1])
	f.Add(good.Chain[1], good.Chain[0])
	f.Add([]byte{}, []byte{0x30})
	f.Fuzz(func(t *testing.T, one, two []byte) {
		c, text, err := order.Inspect([][]byte{one, two}, csr, time.Now())
		if err == nil && (c == nil || len(text) == 0) {
			t.Error("neither an answer nor an error")
		}
		if err == nil && !c.PublicKey.(interface{ Equal(crypto.PublicKey) bool }).Equal(d.key.Public()) {
			t.Error("it is of another key")
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package renewal_test

import (
	"crypto/x509"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/drivers/acme"
	"github.com/tallystick/tallystick/drivers/stepca"
	"github.com/tallystick/tallystick/internal/lab"
	"github.com/tallystick/tallystick/internal/renewal"
	"github.com/tallystick/tallystick/internal/store"
)

func issuerOf(t *testing.T, name string, d driver.Driver, options map[string]string) renewal.Issuer {
	t.Helper()
	opened, err := d.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	return renewal.Issuer{Name: name, Driver: d.Name(), Issuer: opened.(driver.Issuer)}
}

// Certificates of a real ACME CA, which wants them renewed when it says so, move
// to a real step-ca, and come back into the same places.
func TestPebbleAndStepCA(t *testing.T) {
	p := lab.StartPebble(t, lab.PebbleSettings{Environ: []string{"PEBBLE_VA_NOSLEEP=1"}})
	s := lab.StartStepCA(t, lab.StepCASettings{})
	h := onSQLite(t, func(c *renewal.Config) {
		c.Issuers = append(c.Issuers,
			issuerOf(t, "pebble", acme.Driver(), map[string]string{"directory": p.Directory, "roots": p.Roots, "agree-terms": "true", "listen": lab.Loopback(p.HTTPPort)}),
			issuerOf(t, "step", stepca.Driver(), map[string]string{"url": s.URL, "fingerprint": s.Fingerprint, "provisioner": s.Provisioner, "key": s.Key}))
	})
	const hosts = 3
	dirs := make([]string, hosts)
	for n := range hosts {
		dirs[n] = filepath.Join(t.TempDir(), "files")
		h.add(renewal.Wanted{Name: fmt.Sprint("web-", n), Issuer: "pebble", Profile: []string{"default", ""}[n%2], Names: []string{fmt.Sprintf("web-%d.lab.test", n), "127.0.0.1"}, Directory: dirs[n]})
	}
	settle := func(what string, is func() bool) {
		t.Helper()
		for end := time.Now().Add(90 * time.Second); !is(); time.Sleep(100 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: %+v", what, h.get("web-0"))
			}
			if err := h.TurnMoves(t.Context()); err != nil {
				t.Fatal(err)
			}
			h.turn()
		}
	}
	by := func(issuer string) func() bool {
		return func() bool {
			for n := range hosts {
				if r := h.get(fmt.Sprint("web-", n)); r.IssuedBy != issuer || r.State != "good" {
					return false
				}
			}
			return true
		}
	}
	settle("pebble", by("pebble"))
	first := make([]*x509.Certificate, hosts)
	for n, dir := range dirs {
		if first[n] = delivered(t, dir); !strings.Contains(first[n].Issuer.CommonName, "Pebble") {
			t.Errorf("it is by %s", first[n].Issuer)
		}
	}
	if p.Issued() != hosts {
		t.Errorf("Pebble has made %d certificates, want %d", p.Issued(), hosts)
	}
	h.clock.pass(20 * time.Minute)
	if err := h.Looks(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.clock.pass(-20 * time.Minute) // step-ca has a clock too
	if r := h.get("web-0"); r.Why != store.DueWindow || !r.Due.After(r.NotBefore) || !r.Due.Before(r.NotAfter) {
		t.Errorf("Pebble's window makes it due on %s for %s", r.Due, r.Why)
	}
	m, err := h.Move(t.Context(), operator, renewal.MoveRequest{To: "step", Selection: renewal.Selection{Issuers: []string{"pebble"}}, ProfilesThere: map[string]string{"default": "server"}})
	if err != nil {
		t.Fatal(err)
	}
	settle("the move", func() bool { return h.move(m.ID).State != store.MoveRunning })
	if m = h.move(m.ID); m.State != store.MoveDone || !by("step")() {
		t.Fatalf("the move ended as %+v", m)
	}
	for n, dir := range dirs {
		c := delivered(t, dir)
		if string(c.RawSubjectPublicKeyInfo) == string(first[n].RawSubjectPublicKeyInfo) || c.DNSNames[0] != fmt.Sprintf("web-%d.lab.test", n) {
			t.Errorf("%s has the key from before", dir)
		}
		if c.CheckSignatureFrom(s.PKI.Sub) != nil {
			t.Errorf("it is by %s", c.Issuer)
		}
	}
	if s.Issued() != hosts || p.Issued() != hosts {
		t.Errorf("step-ca has made %d, and Pebble %d", s.Issued(), p.Issued())
	}
}

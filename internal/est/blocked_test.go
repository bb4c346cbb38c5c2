// SPDX-License-Identifier: Apache-2.0

package est_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"net/http"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/ca/catest"
	"github.com/tallystick/tallystick/internal/est"
)

// Whoever has a key that is blocked does not get a fresh one for it.
func TestABlockedKeyLetsNobodyIn(t *testing.T) {
	lab, url, _ := serveLab(t)
	d := newDevice(t, url+est.Root)
	made, err := lab.Issue(t.Context(), catest.Admin, ca.Request{Authority: "lab", Profile: "mutual", PublicKey: d.key.Public(), Names: &ca.Names{DNS: []string{"victim.lab.test"}}})
	if err != nil {
		t.Fatal(err)
	}
	d.shows = &tls.Certificate{Certificate: [][]byte{made.DER}, PrivateKey: d.key}
	renew := func() int {
		if d.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
		status, _, _ := d.post("lab/simplereenroll", d.request(""))
		return status
	}
	if status := renew(); status != http.StatusOK {
		t.Errorf("before: %d", status)
	}
	if _, err := lab.Block(t.Context(), catest.Admin, []tallystick.KeyID{made.Key}, "stolen"); err != nil {
		t.Fatal(err)
	}
	if status := renew(); status != http.StatusUnauthorized {
		t.Errorf("with a blocked key: %d", status)
	}
}

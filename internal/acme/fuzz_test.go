// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/store"
)

// Whatever is received, reading it neither panics nor lets through what it must not.

func FuzzMessage(f *testing.F) {
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := readMessage(body, outerAlgorithms())
		if err != nil {
			if p := problemOf(err); p.Status < 400 || p.Status > 499 || !strings.HasPrefix(p.Type, typePrefix) {
				t.Errorf("%v is no problem of the client's", err)
			}
			return
		}
		if (m.key == nil) == (m.KeyID == nil) || allowed(m.Algorithm, outerAlgorithms()) != nil {
			t.Errorf("%+v was let through", m.header)
		}
		if m.key != nil {
			_, _ = m.verify(m.key.Key)
			if _, err := thumbprint(m.key.Key); err != nil {
				t.Error(err)
			}
		}
	})
}

func FuzzIdentifiers(f *testing.F) {
	x := &exchange{Server: New(Config{})}
	f.Fuzz(func(t *testing.T, payload []byte) {
		var ask orderRequest
		if strictJSON(payload, &ask) != nil {
			return
		}
		list, err := x.readIdentifiers(ask.Identifiers)
		if err != nil {
			if _, err := json.Marshal(problemOf(err)); err != nil {
				t.Error(err)
			}
			return
		}
		for _, id := range list {
			again, p := readIdentifier(id)
			if p != nil || again != id || len(id.Value) > maxName || strings.ContainsAny(id.Value, "/ \x00") {
				t.Errorf("%q is %q the second time: %v", id, again, p)
			}
			if id.Type == typeIP {
				netip.MustParseAddr(id.Value)
				serverName(id)
			}
		}
		if got := namesOf(list).All(); len(got) != len(list) {
			t.Errorf("%d names of %d identifiers", len(got), len(list))
		}
	})
}

func FuzzCertID(f *testing.F) {
	f.Fuzz(func(t *testing.T, id string) {
		keyID, serial, err := parseCertID(id)
		if err != nil {
			return
		}
		if b, err := hex.DecodeString(string(serial)); len(keyID) == 0 || err != nil || serial != "" && len(b) != 16 {
			t.Errorf("%q: key %x, serial %q", id, keyID, serial)
		}
	})
}

// FuzzCSR holds the names that are read from a request against those of its order.
func FuzzCSR(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	order := store.ACMEOrder{Identifiers: []store.ACMEIdentifier{{Type: typeDNS, Value: "a.lab.test"}, {Type: typeIP, Value: "127.0.0.1"}}}
	x := &exchange{Server: New(Config{}), account: &account{key: key.Public()}}
	f.Fuzz(func(t *testing.T, der []byte) {
		if x.checkCSR(order, der) != nil {
			return
		}
		csr, err := x509.ParseCertificateRequest(der)
		if err != nil {
			t.Fatal(err)
		}
		got := namesOf(csrIdentifiers(csr)).All()
		if want := []string{"a.lab.test", "127.0.0.1"}; !slices.Equal(got, want) || len(csr.URIs) > 0 || len(csr.EmailAddresses) > 0 {
			t.Errorf("a request for %q was let through", got)
		}
		if _, err := ca.ParseCSR(der); err != nil {
			t.Error(err)
		}
	})
}

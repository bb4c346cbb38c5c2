// SPDX-License-Identifier: Apache-2.0

package blocking_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/blocking"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/internal/lab"
)

func merged(t *testing.T, have blocking.Lists, ders [][]byte, p driver.Public, pki *lab.PKI) blocking.Lists {
	t.Helper()
	lists, err := have.Merge(ders, p.Chain, []*x509.Certificate{pki.Root}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	again, err := blocking.ReadLists(lists.PEM())
	if err != nil || len(again) != len(lists) {
		t.Fatalf("%d lists are read again as %d: %v", len(lists), len(again), err)
	}
	return again
}

func TestNewerListsTakeThePlaceOfOlderOnes(t *testing.T) {
	pki := lab.NewPKI(t)
	alice, bob := pki.Client(t, "alice"), pki.Client(t, "bob")
	older := pki.CRLs(t, alice.Public)
	newer := pki.CRLs(t, bob.Public)
	lists := merged(t, nil, newer, alice.Public, pki)
	if again := merged(t, lists, older, alice.Public, pki); !slices.EqualFunc(again, lists, func(a, b *x509.RevocationList) bool { return slices.Equal(a.Raw, b.Raw) }) {
		t.Error("an older list takes the place of a newer one")
	}
	lists = merged(t, merged(t, nil, older, alice.Public, pki), newer, alice.Public, pki)
	leaf := func(m driver.Material) *x509.Certificate {
		c, err := x509.ParseCertificate(m.Chain[0])
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if len(lists) != 2 || lists.Has(leaf(alice)) || !lists.Has(leaf(bob)) {
		t.Errorf("%d lists; they name alice: %v, bob: %v", len(lists), lists.Has(leaf(alice)), lists.Has(leaf(bob)))
	}
	names, all := lists.Names()
	if c := leaf(bob); !all || !slices.Equal(names, []string{driver.SerialName(c.RawIssuer, c.SerialNumber)}) {
		t.Errorf("%q", names)
	}
}

func TestListsOfOtherCAsStay(t *testing.T) {
	pki, other := lab.NewPKI(t), lab.NewPKI(t) // of the same names, with other keys
	alice, carol := pki.Client(t, "alice"), other.Client(t, "carol")
	lists := merged(t, merged(t, nil, other.CRLs(t, carol.Public), carol.Public, other), pki.CRLs(t, alice.Public), alice.Public, pki)
	if names, _ := lists.Names(); len(lists) != 4 || len(names) != 2 {
		t.Errorf("%d lists name %q", len(lists), names)
	}
}

func TestLongListsAreNotListed(t *testing.T) {
	pki := lab.NewPKI(t)
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for i := range 100_001 {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(int64(i + 1)), RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, pki.Sub, pki.SubKey)
	if err != nil {
		t.Fatal(err)
	}
	lists, err := blocking.ReadLists([]byte(lab.CRLPEM(der)))
	if names, all := lists.Names(); err != nil || all || len(names) > 0 {
		t.Errorf("%d names, all: %v, %v", len(names), all, err)
	}
}

// What a server reads can be replaced and put back, however long it is.
func TestLongListsAreReplaced(t *testing.T) {
	pki := lab.NewPKI(t)
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	serial := new(big.Int).Lsh(big.NewInt(1), 150) // as long as serials are
	for i := range 350_000 {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: new(big.Int).Add(serial, big.NewInt(int64(i))), RevocationTime: time.Now(),
		})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, pki.Sub, pki.SubKey)
	if err != nil {
		t.Fatal(err)
	}
	text := lab.CRLPEM(der)
	if len(text) < 17<<20 {
		t.Fatalf("the list has %d bytes alone", len(text))
	}
	path := lab.File(t, "clients.crl", text)
	refused := errors.New("refused")
	change := installing.Change{Host: host.Local(), Files: []installing.File{{Path: path, Content: []byte("next")}}, Check: func(context.Context) error { return refused }}
	if _, err := change.Do(t.Context()); !errors.Is(err, refused) {
		t.Fatal(err)
	}
	again, err := host.Local().ReadFile(t.Context(), path, blocking.MaxFile)
	if err != nil || string(again) != text {
		t.Errorf("%d of %d bytes are there again: %v", len(again), len(text), err)
	}
	if lists, err := blocking.ReadLists(again); err != nil || len(lists) != 1 {
		t.Errorf("%d lists, %v", len(lists), err)
	}
}

// A CA that two credentials need stays for as long as one of them does, and what was there before for good.
func TestAuthoritiesThatWereAdded(t *testing.T) {
	pki, other := lab.NewPKI(t), lab.NewPKI(t)
	before := []byte(lab.CertificatePEM(pki.Root.Raw) + "# ours")
	add := func(text []byte, p driver.Public) []byte {
		t.Helper()
		text, err := blocking.AddAuthorities(text, p, [][]byte{other.Root.Raw}, func(all []*x509.Certificate) error {
			return blocking.Trusted(p.Chain, all, time.Now())
		})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	known, one, two := pki.Client(t, "alice").Public, other.Client(t, "one").Public, other.Client(t, "two").Public
	if got := add(before, known); !slices.Equal(got, before) {
		t.Errorf("for one who gets in: %q", got)
	}
	text := add(add(before, one), two)
	if !slices.Equal(add(text, one), text) {
		t.Error("adding twice adds twice")
	}
	if server := other.Localhost(t).Public; blocking.Trusted(server.Chain, blocking.ReadCertificates(text), time.Now()) == nil {
		t.Error("a server's certificate gets in as a client's")
	}
	for _, gone := range []driver.Public{one, one, two} {
		if blocking.Trusted(two.Chain, blocking.ReadCertificates(text), time.Now()) != nil {
			t.Error("the second one does not get in")
		}
		text = blocking.WithdrawAuthorities(text, gone)
	}
	if want := string(before) + "\n"; string(text) != want {
		t.Errorf("in the end: %q", text)
	}
}

func FuzzFiles(f *testing.F) {
	f.Add([]byte("# tallystick: for cert-sha256:0\n# tallystick: end\n-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if lists, err := blocking.ReadLists(text); err == nil {
			lists.PEM()
			lists.Names()
		}
		blocking.ReadCertificates(text)
		blocking.WithdrawAuthorities(text, driver.Public{})
	})
}

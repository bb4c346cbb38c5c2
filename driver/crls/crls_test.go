// SPDX-License-Identifier: Apache-2.0

package crls_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver/crls"
	"github.com/tallystick/tallystick/internal/lab"
)

func leaf(t *testing.T, der []byte) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestMerge(t *testing.T) {
	p, other := lab.NewPKI(t), lab.NewPKI(t)
	cas := []*x509.Certificate{p.Root, p.Sub}
	alice, bob := p.Client(t, "alice"), p.Client(t, "bob")
	older, newer := p.CRLs(t), p.CRLs(t, alice.Public)
	have, err := crls.Parse([]byte(lab.CRLPEM(append(other.CRLs(t), older...)...)))
	if err != nil {
		t.Fatal(err)
	}
	merged, err := crls.Merge(have, newer, cas, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if len(merged) != len(have) || !crls.Revoked(merged, leaf(t, alice.Chain[0])) || crls.Revoked(merged, leaf(t, bob.Chain[0])) {
		t.Errorf("%d lists of %d CAs; alice is revoked: %v, bob: %v", len(merged), len(have), crls.Revoked(merged, leaf(t, alice.Chain[0])), crls.Revoked(merged, leaf(t, bob.Chain[0])))
	}
	back, err := crls.Merge(merged, older, cas, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(crls.PEM(merged)), string(crls.PEM(back))); diff != "" {
		t.Errorf("an older list took the place of a newer one: %s", diff)
	}
	if bare := crls.Without(merged[len(merged)-1:], cas); len(bare) != 1 || !bare[0].Equal(p.Sub) {
		t.Errorf("without a list: %v", bare)
	}
}

// Each list is refused for its own reason.
func TestMergeRefuses(t *testing.T) {
	p := lab.NewPKI(t)
	now := time.Now()
	list := func(change func(*x509.RevocationList)) []byte {
		template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(time.Hour)}
		change(template)
		der, err := x509.CreateRevocationList(rand.Reader, template, p.Sub, p.SubKey)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	part := pkix.Extension{Id: []int{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 0}}
	for _, row := range []struct {
		says string
		der  []byte
	}{
		{"couldn't read", []byte("no list")},
		{"not signed by it", spoilt(p.CRLs(t)[0])},
		{"ended on", list(func(l *x509.RevocationList) { l.NextUpdate = now.Add(-time.Minute) })},
		{"later than now", list(func(l *x509.RevocationList) { l.ThisUpdate = now.Add(time.Minute) })},
		{"only a part", list(func(l *x509.RevocationList) { l.ExtraExtensions = []pkix.Extension{part} })},
	} {
		_, err := crls.Merge(nil, [][]byte{row.der}, []*x509.Certificate{p.Root, p.Sub}, now)
		if !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%q: %v", row.says, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	p := lab.NewPKI(f)
	f.Add([]byte(lab.CRLPEM(p.CRLs(f, p.Client(f, "alice").Public)...)))
	f.Add([]byte("-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		lists, err := crls.Parse(text)
		if err != nil {
			return
		}
		crls.Names(lists)
		crls.Ended(lists, time.Now())
		again, err := crls.Parse(crls.PEM(lists))
		if err != nil || len(again) != len(lists) {
			t.Errorf("%d lists became %d: %v", len(lists), len(again), err)
		}
	})
}

// spoilt changes the last byte, which belongs to the signature.
func spoilt(der []byte) []byte {
	der[len(der)-1] ^= 1
	return der
}

func TestMergeLeavesOutOthers(t *testing.T) {
	p, other := lab.NewPKI(t), lab.NewPKI(t)
	merged, err := crls.Merge(nil, append(other.CRLs(t), p.CRLs(t)...), []*x509.Certificate{p.Sub}, time.Now())
	if err != nil || len(merged) != 1 || !crls.Of(merged[0], p.Sub) {
		t.Errorf("%d lists, %v", len(merged), err)
	}
}

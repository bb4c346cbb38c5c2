// SPDX-License-Identifier: Apache-2.0

package issuing_test

import (
	"crypto/rand"
	"crypto/x509"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/issuing"
	"github.com/tallystick/tallystick/internal/lab"
)

func TestByList(t *testing.T) {
	pki, now := lab.NewPKI(t), time.Now()
	bad, good := pki.Sign(t, &x509.Certificate{}, lab.NewKey(t).Public()), pki.Sign(t, &x509.Certificate{}, lab.NewKey(t).Public())
	list := func(by *lab.PKI, until time.Time) []byte {
		t.Helper()
		der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
			Number: big.NewInt(1), ThisUpdate: now.Add(-2 * time.Hour), NextUpdate: until,
			RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: bad.SerialNumber, RevocationTime: now.Add(-time.Hour), ReasonCode: 1}},
		}, by.Sub, by.SubKey)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	fresh := list(pki, now.Add(time.Hour))
	if s, err := issuing.ByList(fresh, pki.Sub, bad, now); err != nil || s.Status != driver.StandingRevoked || s.Reason != 1 || s.Revoked.IsZero() {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := issuing.ByList(fresh, pki.Sub, good, now); err != nil || s.Status != driver.StandingGood || s.Again.IsZero() {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := issuing.ByList(list(pki, now.Add(-time.Minute)), pki.Sub, good, now); err != nil || s.Status != driver.StandingUnknown {
		t.Errorf("by an old list: %+v, %v", s, err)
	}
	if _, err := issuing.ByList(list(lab.NewPKI(t), now.Add(time.Hour)), pki.Sub, good, now); err == nil {
		t.Error("a list of somebody else's was believed")
	}
	if _, err := issuing.ByList([]byte("list"), pki.Sub, good, now); err == nil {
		t.Error("no list was believed")
	}
}

func TestIssuerMustHaveSigned(t *testing.T) {
	pki := lab.NewPKI(t)
	c := pki.Sign(t, &x509.Certificate{}, lab.NewKey(t).Public())
	if _, _, err := issuing.Signed(driver.StandingRequest{Certificate: c.Raw, Issuer: lab.NewPKI(t).Sub.Raw}); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("it says %v", err)
	}
}

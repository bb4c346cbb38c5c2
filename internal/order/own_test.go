// SPDX-License-Identifier: Apache-2.0

package order_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/ca/catest"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/order"
)

// newOwn returns an authority as an issuer, and a request for a key.
func newOwn(t *testing.T) (*order.Own, []byte) {
	t.Helper()
	lab := catest.New(t)
	lab.Init(t, ca.InitRequest{Name: "root", CommonName: "Lab Root"})
	lab.Init(t, ca.InitRequest{Name: "lab", CommonName: "Lab CA", Parent: "root"})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"shop.lab.test"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return &order.Own{CA: lab.CA, Authority: "lab", Via: ca.ViaRenewal, Actor: func(string) gate.Actor { return catest.Admin }}, csr
}

// An order is made once, however often it is asked for; another order for the same key gets
// a certificate of its own.
func TestAnOrderIsMadeOnce(t *testing.T) {
	own, csr := newOwn(t)
	state := ""
	request := driver.IssueRequest{Order: "recall-x.1-0", CSR: csr, Profile: "server", Now: time.Now, Keep: func(s string) error { state = s; return nil }}
	issue := func(r driver.IssueRequest) ca.Serial {
		t.Helper()
		made, err := own.Issue(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := order.Inspect(made.Chain, csr, time.Now()); err != nil {
			t.Error(err)
		}
		return order.SerialOf(made.Chain[0])
	}
	first := issue(request)
	if state != order.NoneBefore {
		t.Errorf("the state is %q", state)
	}
	request.State = state
	if again := issue(request); again != first {
		t.Errorf("it was made twice: %s, %s", first, again)
	}
	request.Order, request.State = "recall-x.2-0", ""
	if other := issue(request); other == first {
		t.Error("another order got the certificate of the first")
	}
}

// What cannot be found again is not begun.
func TestNothingIsMadeThatIsNotKept(t *testing.T) {
	own, csr := newOwn(t)
	full := errors.New("the disk is full")
	_, err := own.Issue(t.Context(), driver.IssueRequest{CSR: csr, Profile: "server", Now: time.Now, Keep: func(string) error { return full }})
	if !errors.Is(err, full) {
		t.Errorf("%v", err)
	}
	request := driver.IssueRequest{CSR: csr, Profile: "server", Now: time.Now, State: order.NoneBefore}
	one, err := own.Issue(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]driver.IssueRequest{
		"a request": {CSR: []byte("x"), State: order.NoneBefore, Now: time.Now}, "a state": {CSR: csr, State: "{", Now: time.Now},
	} {
		if _, err := own.Issue(t.Context(), r); !errors.Is(err, tallystick.ErrInvalid) && !errors.Is(err, tallystick.ErrDamaged) {
			t.Errorf("%s that cannot be read: %v", name, err)
		}
	}
	if order.SerialOf(one.Chain[0]) == "" || order.SerialOf(nil) != "" || order.SerialOf([]byte("x")) != "" {
		t.Error("a serial is not what it should be")
	}
}

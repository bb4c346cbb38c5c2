// SPDX-License-Identifier: Apache-2.0

package ca_test

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// verify checks a certificate against one root, with everything else that is at hand.
func verify(t *testing.T, made ca.Certificate, root []byte, others ...[]byte) error {
	t.Helper()
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(parse(t, root))
	for _, der := range slices.Concat(made.Chain, others) {
		between.AddCert(parse(t, der))
	}
	_, err := parse(t, made.DER).Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: made.NotBefore.Add(time.Minute + time.Hour)})
	return err
}

func parse(t *testing.T, der []byte) *x509.Certificate {
	t.Helper()
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// At no step is there a client, with the old root or with the new one, that cannot
// verify what is served.
func TestRolloverOfARoot(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		h := newHouse(t, url)
		old := h.init(ca.InitRequest{Name: "root"})
		ask := func() ca.Certificate {
			request, _ := csr(t, "a.lab.test")
			return h.issue(ca.Request{Authority: "root", CSR: request, Via: ca.ViaACME})
		}
		before := ask()
		next, err := h.Prepare(t.Context(), admin, "root", custody.P384)
		if err != nil {
			t.Fatal(err)
		}
		if next.Name != "root-g2" || next.State != ca.Prepared || next.Algorithm != "ecdsa-p384" {
			t.Errorf("the next one is %s, %s, %s", next.Name, next.State, next.Algorithm)
		}
		if made := ask(); made.Authority != "root" {
			t.Errorf("before it is activated %s signs", made.Authority)
		}
		if _, err := h.Prepare(t.Context(), admin, "root", ""); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("prepared twice: %v", err)
		}
		if _, err := h.Activate(t.Context(), admin, "root"); err != nil {
			t.Fatal(err)
		}
		after := ask()
		if after.Authority != "root-g2" {
			t.Fatalf("after it %s signs", after.Authority)
		}
		var crosses [][]byte
		for _, name := range []string{"root", "root-g2"} {
			chains, err := h.Alternates(t.Context(), name)
			if err != nil || len(chains) != 1 {
				t.Fatalf("chains beside that of %s: %d, %v", name, len(chains), err)
			}
			crosses = append(crosses, chains[0][0])
		}
		for _, root := range [][]byte{old.Certificate, next.Certificate} {
			for _, made := range []ca.Certificate{before, after} {
				if err := verify(t, made, root, crosses...); err != nil {
					t.Errorf("a certificate by %s under %s: %v", made.Authority, parse(t, root).Subject, err)
				}
			}
		}
		if _, err := h.RecallAuthority(t.Context(), operator, "root", ""); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Distrust(t.Context(), admin, "root", false); err == nil || !strings.Contains(err.Error(), "a.lab.test") {
			t.Errorf("distrusted while it is in use, recalled: %v", err)
		}
		h.pass(before.NotAfter.Sub(h.now) + time.Hour)
		if _, err := h.Distrust(t.Context(), admin, "root", false); err != nil {
			t.Error(err)
		}
	})
}

func TestConstraintsOfACA(t *testing.T) {
	h := newHouse(t, filepath.Join(t.TempDir(), "db"))
	root := h.init(ca.InitRequest{Name: "root"})
	h.init(ca.InitRequest{Name: "lab", Parent: "root", PermittedDNS: []string{"lab.test"}, PermittedIPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	for name, good := range map[string]bool{"a.lab.test": true, "a.other.test": false, "10.1.2.3": true, "192.0.2.1": false} {
		request, _ := csr(t, name)
		made, err := h.Issue(t.Context(), operator, ca.Request{Authority: "lab", CSR: request, Via: ca.ViaAPI})
		if good && err != nil || !good && (!errors.Is(err, ca.ErrBadName) || !strings.Contains(err.Error(), "constraint")) {
			t.Errorf("%s: %v", name, err)
		}
		if good {
			if err := verify(t, made, root.Certificate); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if _, err := h.Init(t.Context(), admin, ca.InitRequest{Name: "below", Parent: "lab"}); err == nil || !strings.Contains(err.Error(), "length of its path") {
		t.Errorf("a CA below one whose path has length 0: %v", err)
	}
	next, err := h.Prepare(t.Context(), admin, "lab", "")
	if err != nil {
		t.Fatal(err)
	}
	if got := parse(t, next.Certificate); !slices.Equal(got.PermittedDNSDomains, []string{"lab.test"}) || len(got.PermittedIPRanges) != 1 || !got.MaxPathLenZero {
		t.Errorf("the next generation may do more: %v %v", got.PermittedDNSDomains, got.PermittedIPRanges)
	}
}

// Somebody else's offline root signs an intermediate of ours.
func TestAnOfflineRoot(t *testing.T) {
	h := newHouse(t, filepath.Join(t.TempDir(), "db"))
	pending := h.init(ca.InitRequest{Name: "lab", External: true})
	if pending.State != ca.Pending || pending.Settings.CSR == "" {
		t.Fatalf("it is %s", pending.State)
	}
	request, _ := csr(t, "a.lab.test")
	if _, err := h.Issue(t.Context(), operator, ca.Request{Authority: "lab", CSR: request, Via: ca.ViaAPI}); err == nil {
		t.Error("it signs before it is certified")
	}
	block, _ := pem.Decode([]byte(pending.Settings.CSR))
	sub, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	key, err := makeKey(custody.P256)
	if err != nil {
		t.Fatal(err)
	}
	template := func(isCA bool, name string) *x509.Certificate {
		c := &x509.Certificate{SerialNumber: big.NewInt(7), NotBefore: h.now.Add(-time.Hour), NotAfter: h.now.Add(1000 * time.Hour), IsCA: isCA, BasicConstraintsValid: true,
			KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte(name)}
		c.Subject.CommonName = name
		return c
	}
	root := template(true, "Offline")
	sign := func(t *x509.Certificate, public crypto.PublicKey) []byte {
		der, err := x509.CreateCertificate(rand.Reader, t, root, public, key)
		if err != nil {
			panic(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	rootPEM := sign(root, key.Public())
	for name, chain := range map[string][]byte{
		"another key": slices.Concat(rootPEM, rootPEM), "no CA": slices.Concat(sign(template(false, "lab"), sub.PublicKey), rootPEM),
		"no root": sign(template(true, "lab"), sub.PublicKey), "nothing": nil,
	} {
		if _, err := h.Install(t.Context(), admin, "lab", chain); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := h.Install(t.Context(), admin, "lab", slices.Concat(sign(template(true, "lab"), sub.PublicKey), rootPEM)); err != nil {
		t.Fatal(err)
	}
	made := h.issue(ca.Request{Authority: "lab", CSR: request, Via: ca.ViaAPI})
	rootDER, _ := pem.Decode(rootPEM)
	if err := verify(t, made, rootDER.Bytes); err != nil {
		t.Error(err)
	}
}

// When the key of an intermediate is stolen, all that it signed is recalled, it signs
// nothing more, and its parent says so.
func TestACompromisedIntermediate(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		h := newHouse(t, url)
		h.lab()
		var made []ca.Certificate
		for range 3 {
			request, _ := csr(t, "a.lab.test")
			made = append(made, h.issue(ca.Request{Authority: "lab", CSR: request, Via: ca.ViaACME}))
		}
		n, err := h.Compromise(t.Context(), admin, "lab", "https://lab.test/why", h.now.Add(-24*time.Hour))
		if err != nil || n != 3 {
			t.Fatalf("%d to replace, %v", n, err)
		}
		for _, one := range made {
			if w, err := h.Window(t.Context(), one.Serial); err != nil || !w.End.Before(h.now) {
				t.Errorf("window %v, %v", w, err)
			}
		}
		request, _ := csr(t, "a.lab.test")
		if _, err := h.Issue(t.Context(), operator, ca.Request{Authority: "lab", CSR: request, Via: ca.ViaACME}); err == nil {
			t.Error("it signs still")
		}
		root, err := h.Authority(t.Context(), "root")
		if err != nil {
			t.Fatal(err)
		}
		dead, err := h.Authority(t.Context(), "lab")
		if err != nil {
			t.Fatal(err)
		}
		serial := dead.X509().SerialNumber.FillBytes(make([]byte, 16))
		if r, err := h.db.RevocationOf(t.Context(), serial); err != nil || r.Authority != root.ID || r.Reason != int(ca.CACompromise) {
			t.Errorf("its parent says %+v, %v", r, err)
		}
		next, err := h.Prepare(t.Context(), admin, "lab", "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Activate(t.Context(), admin, "lab"); err != nil {
			t.Fatal(err)
		}
		if made := h.issue(ca.Request{Authority: next.Name, CSR: request, Via: ca.ViaACME}); made.Authority != "lab-g2" {
			t.Errorf("%s signs", made.Authority)
		}
	})
}

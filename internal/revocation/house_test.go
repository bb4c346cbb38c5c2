// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// noon is when the tests begin.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func newKey(t testing.TB, kind string) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch kind {
	case "ecdsa-p256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ecdsa-p384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case "rsa-2048":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	must(t, err)
	return key
}

// newCA makes a certificate of a CA.
func newCA(t testing.TB, name string, key crypto.Signer) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name, Organization: []string{"Tally  Lab"}},
		NotBefore: noon.AddDate(-1, 0, 0), NotAfter: noon.AddDate(40, 0, 0), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	certificate, err := x509.ParseCertificate(der)
	must(t, err)
	return certificate
}

// serialOf is the serial number of the nth certificate; they are not in the order of n.
func serialOf(n int) []byte {
	serial := make([]byte, SerialSize)
	binary.BigEndian.PutUint64(serial, uint64(n)*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(serial[8:], uint64(n))
	serial[0] |= 1 // 0 is no serial number
	return serial
}

// dead is the revocation of the nth certificate.
func dead(n int) store.Revocation {
	r := store.Revocation{Authority: 7, Serial: serialOf(n), Shard: int64(n % 4), At: noon.Add(-time.Minute), NotAfter: noon.AddDate(0, 3, 0), By: "alice"}
	switch n % 3 {
	case 1:
		r.Reason = 1
		r.InvalidSince = noon.Add(-48 * time.Hour)
	case 2:
		r.Reason = 4
	}
	return r
}

// A house is a publisher over a store, whose clock and signer the test has in its hand.
type house struct {
	testing.TB
	db     *store.DB
	p      *Publisher
	ca     *x509.Certificate
	key    crypto.Signer
	clock  atomic.Pointer[time.Time]
	broken atomic.Pointer[error] // what the signer says, when it is set
	signed atomic.Int64          // how often the signer was asked for
	config Config
}

func newHouse(t testing.TB) *house {
	h := &house{TB: t, db: storetest.Open(t, filepath.Join(t.TempDir(), "tally.db")), key: newKey(t, "ecdsa-p256")}
	h.ca = newCA(t, "Lab CA", h.key)
	h.at(noon)
	h.config = Config{
		DB: h.db,
		Authorities: func(context.Context) ([]Authority, error) {
			return []Authority{{ID: 7, Name: "lab", Certificate: h.ca}}, nil
		},
		Signer: func(context.Context, string) (crypto.Signer, error) {
			h.signed.Add(1)
			if err := h.broken.Load(); err != nil {
				return nil, *err
			}
			return h.key, nil
		},
		Issued: func(_ context.Context, authority int64, serial []byte) (bool, error) {
			n := binary.BigEndian.Uint64(serial[8:])
			return authority == 7 && n < 1_000_000, nil
		},
		Now: func() time.Time { return *h.clock.Load() }, URL: "http://pki.example", Lifetime: 168 * time.Hour, OCSP: true,
	}
	h.p = New(h.config)
	return h
}

func (h *house) at(now time.Time) { h.clock.Store(&now) }

func (h *house) pass(d time.Duration) { h.at(h.clock.Load().Add(d)) }

func (h *house) revoke(from, to int) {
	h.Helper()
	var list []store.Revocation
	for n := from; n < to; n++ {
		r := dead(n)
		r.At = *h.clock.Load()
		list = append(list, r)
	}
	_, err := h.db.Revoke(h.Context(), list)
	must(h, err)
}

func (h *house) flush() {
	h.Helper()
	must(h, h.p.Flush(h.Context()))
}

// list returns a list as the standard library reads it, with its signature verified.
func (h *house) list(shard int64) *x509.RevocationList {
	h.Helper()
	l := h.p.authorities[7].lists[shard]
	if l == nil {
		h.Fatalf("there is no list %d", shard)
	}
	parsed, err := x509.ParseRevocationList(l.List)
	must(h, err)
	must(h, parsed.CheckSignatureFrom(h.ca))
	return parsed
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tool runs a program, and returns what it wrote.
func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("this test needs %s: apt-get install -y --no-install-recommends openssl gnutls-bin", name)
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func writePEM(t testing.TB, path, kind string, der []byte) string {
	t.Helper()
	must(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return path
}

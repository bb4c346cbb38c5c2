// SPDX-License-Identifier: Apache-2.0

// Package issuingtest furnishes a store with everything that issuing consists of, for
// the tests of pages and calls: nothing in it is a double.
package issuingtest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"path/filepath"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/acme"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/issuing"
	"github.com/tallystick/tallystick/internal/lint"
	"github.com/tallystick/tallystick/internal/policy"
	"github.com/tallystick/tallystick/internal/renewal"
	"github.com/tallystick/tallystick/internal/revocation"
	"github.com/tallystick/tallystick/internal/store"
)

// Rules are what the policy of New has beside the rules that are built in.
func Rules() []policy.Rule {
	return []policy.Rule{
		{
			Name: "renewals", When: "via == 'renewal'", Require: "dns.all(n, under(n, 'example.net'))", Grants: true,
			Because: "what renews by itself is for our own names", Citation: "house rule 4",
		},
		{
			Name: "mail-needs-a-second-look", When: "profile == 'smtp'", Approve: true,
			Because: "certificates of mail servers need somebody's word", Citation: "house rule 7",
		},
	}
}

// New puts issuing over a store. There is no CA in it yet. issuers are other people's.
func New(t testing.TB, db *store.DB, g *gate.Gate, now func() time.Time, issuers ...renewal.Issuer) *issuing.Issuing {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	wrapper, err := custody.OpenFile(filepath.Join(t.TempDir(), "wrapping.key"), "", "", true)
	must(err)
	keys, err := custody.Open(t.Context(), custody.Config{DB: db, Wrapper: wrapper, Now: now})
	must(err)
	rules, err := policy.Compile(Rules())
	must(err)
	linter, err := lint.New()
	must(err)
	i := &issuing.Issuing{Gate: g, Policy: rules, ACME: acme.NewDesk(db, g, keys, now)}
	i.CA = ca.New(ca.Config{
		DB: db, Gate: g, Keys: keys, Now: now, Decide: issuing.Decide(rules), CheckKey: lint.CheckKey,
		Lint: func(der []byte) error { _, err := linter.Lints(der); return err }, Profiles: ca.BuiltInProfiles(), URL: "http://pki.example.net", Shards: 1,
	})
	i.Lists = revocation.New(revocation.Config{
		DB: db, Now: now, URL: "http://pki.example.net",
		Authorities: func(ctx context.Context) ([]revocation.Authority, error) { return listed(ctx, i.CA) },
		Signer: func(ctx context.Context, name string) (crypto.Signer, error) {
			_, signer, err := i.CA.Signer(ctx, name)
			return signer, err
		},
		Issued: db.IsIssued,
	})
	i.Renewals, err = renewal.New(renewal.Config{DB: db, Gate: g, Keys: keys, Now: now, Node: "test", CA: i.CA, Issuers: issuers})
	must(err)
	return i
}

// listed are the CAs that sign lists.
func listed(ctx context.Context, c *ca.CA) ([]revocation.Authority, error) {
	all, err := c.Authorities(ctx)
	var list []revocation.Authority
	for _, a := range all {
		if a.X509() != nil {
			list = append(list, revocation.Authority{ID: a.ID, Name: a.Name, Certificate: a.X509()})
		}
	}
	return list, err
}

// CSR makes a request with a key of its own, PEM.
func CSR(t testing.TB, names ...string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return CSRFor(t, key, names...)
}

// CSRFor makes a request for a key, PEM. The first name is its common name.
func CSRFor(t testing.TB, key crypto.Signer, names ...string) string {
	t.Helper()
	template := &x509.CertificateRequest{DNSNames: names}
	if len(names) > 0 {
		template.Subject = pkix.Name{CommonName: names[0]}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

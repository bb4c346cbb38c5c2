// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

// now is the instant at which every fixture is judged.
var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// A fixture shows a rule at work on one thing that it must name and one, as
// like to the first as can be, that it must leave alone. A rule with Check has
// Firing and Silent; a rule with Survey has FiringEstate and SilentEstate, and so
// on. Those that take work to make are functions, so that they are made only for
// the rule under test.
type fixture struct {
	Firing, Silent             func(testing.TB) rule.Subject
	FiringEstate, SilentEstate func(testing.TB) rule.Estate
	FiringUse, SilentUse       func() rule.UseSubject
	FiringBook, SilentBook     rule.BookSubject
	FiringChange, SilentChange rule.ChangeSubject
	FiringKey, SilentKey       rule.WrappingSubject
	// Evidence is a text that the evidence of the firing one contains.
	Evidence string
}

// A fakeEstate is an estate in memory. It keeps values where there is a map.
type fakeEstate struct {
	keys         []rule.KeyUse
	certificates []*tallystick.Credential
	kept         map[string][]byte
}

func (e fakeEstate) Kept(_ context.Context, name string) ([]byte, error) { return e.kept[name], nil }

func (e fakeEstate) Keep(_ context.Context, name string, value []byte) error {
	if delete(e.kept, name); e.kept != nil && len(value) > 0 {
		e.kept[name] = slices.Clone(value)
	}
	return nil
}

func (e fakeEstate) Keys(_ context.Context, family string, fn func(rule.KeyUse) error) error {
	for _, k := range e.keys {
		if !strings.HasPrefix(k.Key.Algorithm, family) {
			continue
		}
		if err := fn(k); err != nil {
			return err
		}
	}
	return nil
}

func (e fakeEstate) Certificates(_ context.Context, prefix string, fn func(*tallystick.Credential) error) error {
	for _, c := range e.certificates {
		if !strings.HasPrefix(c.Signature, prefix) {
			continue
		}
		if err := fn(c); err != nil {
			return err
		}
	}
	return nil
}

// An identity is a real certificate with its key, as crypto/x509 made it.
type identity struct {
	key         crypto.Signer
	certificate *x509.Certificate
	*tallystick.Credential
}

// issue has issuer sign a certificate for subject; a nil issuer makes it sign
// itself. It is valid for 90 days from a week ago, unless edits say otherwise.
func issue(t testing.TB, issuer *identity, subject string, edits ...func(*x509.Certificate)) *identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0x41),
		Subject:      pkix.Name{CommonName: subject},
		NotBefore:    now.AddDate(0, 0, -7),
		NotAfter:     now.AddDate(0, 0, 83),
	}
	for _, edit := range edits {
		edit(template)
	}
	parent, signer := template, crypto.Signer(key)
	if issuer != nil {
		parent, signer = issuer.certificate, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &identity{key: key, certificate: certificate, Credential: read(t, der)}
}

func authority(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }

func server(names ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.DNSNames, c.ExtKeyUsage = names, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
}

func valid(from, to time.Time) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = from, to }
}

// endpoint is where fixtures are served, unless a test says otherwise.
const endpoint = tallystick.Place("tls://192.0.2.7:443")

// served is an endpoint that shows c, with extra certificates above it.
func served(c *tallystick.Credential, facts tallystick.TLSFacts, extra ...*identity) tallystick.Sighting {
	seen := tallystick.Sighting{Place: endpoint, Role: tallystick.RolePresents, Seen: now}
	facts.Chain = []tallystick.Fingerprint{c.ID}
	for _, e := range extra {
		facts.Chain = append(facts.Chain, e.ID)
		seen.Chain = append(seen.Chain, *e.Credential)
	}
	seen.TLS = &facts
	return seen
}

// held is a file that holds the private half.
func held(path string, facts tallystick.FileFacts) tallystick.Sighting {
	facts.Private = true
	return tallystick.Sighting{
		Place: tallystick.FilePlace(path), Role: tallystick.RoleHolds, Seen: now,
		Facts: tallystick.Facts{File: &facts},
	}
}

// trusted is an entry of this machine's trust store.
func trusted() tallystick.Sighting {
	return tallystick.Sighting{
		Place: tallystick.TrustStorePlace("/etc/ssl/certs/ca-certificates.crt"), Role: tallystick.RoleAccepts, Seen: now,
	}
}

// subject is c at places, judged now.
func subject(c *tallystick.Credential, sightings ...tallystick.Sighting) rule.Subject {
	return rule.Subject{Credential: c, Sightings: sightings, Now: now}
}

// busySubject is a certificate with everything that rules look at.
func busySubject(t testing.TB) rule.Subject {
	root := issue(t, nil, "Root", authority)
	middle := issue(t, root, "Middle", authority)
	leaf := issue(t, middle, "Leaf", server("www.example.org", "example.org"))
	facts := tallystick.TLSFacts{
		ServerName: "www.example.org", Protocols: []string{"tls1.2", "tls1.3"},
		Suites: []string{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256"},
	}
	s := subject(leaf.Credential, served(leaf.Credential, facts, middle),
		held("/etc/nginx/tls.pem", tallystick.FileFacts{Mode: "0600", Owner: "root", UsedBy: []tallystick.Usage{{Service: "nginx", As: "certificate"}}}))
	s.Issuers = []*tallystick.Credential{middle.Credential, root.Credential}
	s.Annotation.Owner = "web"
	s.Public = true
	return s
}

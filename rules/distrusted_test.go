// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/pem"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/parse"
	"github.com/tallystick/tallystick/rule"
)

// Certificates of the list, as the trust store of Debian 12 names them.
const (
	emSignG3   = tallystick.Fingerprint("86a1ecba089c4a8d3bbe2734c612ba341d813e043cf9e8a862cd5c57a36bbe6b")
	trustCor1  = tallystick.Fingerprint("d40e9c86cd8fe468c1776959f49ea774fa548684b6c406f3909261f4dce2575c")
	eDellRoot  = "CN=eDellRoot"
	emSignG3ID = "7c5d028413d4cc8a9b81ce171c2e291e9c486342"
)

// trustedRoot is a root as an entry of a trust store.
func trustedRoot(id tallystick.Fingerprint) rule.Subject {
	return subject(&tallystick.Credential{ID: id, Kind: tallystick.KindCertificate, IsCA: true, SelfIssued: true}, trusted())
}

func distrustedFixtures() map[string]fixture {
	return map[string]fixture{
		"compromised-ca": {
			Firing:   func(testing.TB) rule.Subject { return trustedRoot(emSignG3) },
			Silent:   func(testing.TB) rule.Subject { return trustedRoot(trustCor1) },
			Evidence: "emSign ECC Root CA - G3 is compromised since 2026-10-20",
		},
		"distrusted-root": {
			Firing: func(testing.TB) rule.Subject { return trustedRoot(trustCor1) },
			Silent: func(testing.TB) rule.Subject { // the same root in a file that nobody is known to trust
				s := trustedRoot(trustCor1)
				s.Sightings[0].Role = tallystick.RolePresents
				return s
			},
			Evidence: "TrustCor RootCert CA-1 is distrusted since 2022-11-30, for what was issued after 2022-11-30",
		},
	}
}

// TestIssuedByCompromisedCA shows the ways in which an issuer is recognised.
func TestIssuedByCompromisedCA(t *testing.T) {
	check := compromisedCA(readDistrust()).Check
	leaf := tallystick.Credential{ID: "00", Kind: tallystick.KindCertificate, Subject: "CN=leaf"}
	root := &tallystick.Credential{ID: emSignG3, Kind: tallystick.KindCertificate}
	for name, c := range map[string]struct {
		edit func(*rule.Subject)
		want tallystick.Severity
	}{
		"no issuer known":          {func(*rule.Subject) {}, 0},
		"chain":                    {func(s *rule.Subject) { s.Issuers = []*tallystick.Credential{{ID: "11"}, root} }, tallystick.SeverityCritical},
		"key identifier":           {func(s *rule.Subject) { s.Credential.AuthorityKeyID = emSignG3ID }, tallystick.SeverityCritical},
		"other key identifier":     {func(s *rule.Subject) { s.Credential.AuthorityKeyID = emSignG3ID[2:] }, 0},
		"issuer name":              {func(s *rule.Subject) { s.Credential.Issuer = eDellRoot }, tallystick.SeverityCritical},
		"issuer name of OneCRL":    {func(s *rule.Subject) { s.Credential.Issuer = "CN=EM DV TLS CA - G3C,O=eMudhra Inc,C=US" }, tallystick.SeverityHigh},
		"distrusted is not enough": {func(s *rule.Subject) { s.Issuers = []*tallystick.Credential{{ID: trustCor1}} }, 0},
		"the key in a new certificate": {func(s *rule.Subject) {
			s.Credential.Key.ID = "1af56c98ff043ef92bebff54cebb4dd67a25ba956c817f3e6dd3c1e52eb584c1"
		}, tallystick.SeverityCritical},
		"not a certificate": {func(s *rule.Subject) {
			s.Credential.Kind, s.Credential.AuthorityKeyID = tallystick.KindKey, emSignG3ID
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			credential := leaf
			s := subject(&credential, served(&credential, tallystick.TLSFacts{}))
			c.edit(&s)
			var got tallystick.Severity
			if hits := check(s); len(hits) > 0 {
				got = hits[0].Severity
			}
			if got != c.want {
				t.Errorf("severity %v, want %v", got, c.want)
			}
		})
	}
}

// TestDistrustList holds the list to its form: what a typing error would break
// is a match that silently never happens.
func TestDistrustList(t *testing.T) {
	list := readDistrust()
	hash, keyID := regexp.MustCompile(`^[0-9a-f]{64}$`), regexp.MustCompile(`^([0-9a-f]{2})+$`)
	date, day := regexp.MustCompile(`^(20\d\d(-\d\d(-\d\d)?)?)?$`), regexp.MustCompile(`^(20\d\d-\d\d-\d\d)?$`)
	statuses := []string{statusCompromised, statusRevoked, statusDistrusted, statusRemoved}
	for key, l := range list.keys {
		c := l.certificate
		if l.Name == "" || l.Reason == "" || l.Source == "" || l.URL == "" || c.Name == "" || !slices.Contains(statuses, l.Status) {
			t.Errorf("entry %q lacks a field or has the status %q", l.Name, l.Status)
		}
		if !date.MatchString(l.Since) || !day.MatchString(c.DistrustAfter) {
			t.Errorf("%s: dates %q and %q", c.Name, l.Since, c.DistrustAfter)
		}
		if !hash.MatchString(string(key)) || c.Fingerprint != "" && !hash.MatchString(string(c.Fingerprint)) ||
			c.KeyID != "" && !keyID.MatchString(c.KeyID) {
			t.Errorf("%s: a hash is not lower-case hexadecimal of the right length", c.Name)
		}
	}
	if len(list.fingerprints) < 80 || len(list.keys) < 70 {
		t.Errorf("%d fingerprints and %d keys; the list has been cut", len(list.fingerprints), len(list.keys))
	}
}

// TestDebianStore judges the trust store of the machine that runs the test. On
// Debian 12 before ca-certificates 20250419~deb12u2 the root of
// CVE-2026-111943 is in it, and must be found.
func TestDebianStore(t *testing.T) {
	store := realStore(t)
	list := readDistrust()
	var compromised, distrusted []string
	for i := range store {
		s := subject(&store[i], trusted())
		for _, hit := range compromisedCA(list).Check(s) {
			compromised = append(compromised, store[i].Subject)
			if hit.Severity != tallystick.SeverityCritical || hit.Place != trusted().Place {
				t.Errorf("%s: %+v", store[i].Subject, hit)
			}
		}
		for range distrustedRoot(list).Check(s) {
			distrusted = append(distrusted, store[i].Subject)
		}
	}
	t.Logf("of %d roots: compromised %q, distrusted %q", len(store), compromised, distrusted)
	var want []string
	for i := range store {
		if store[i].ID == emSignG3 {
			want = append(want, store[i].Subject)
		}
	}
	if d := cmp.Diff(want, compromised); d != "" {
		t.Errorf("compromised roots (-want +got):\n%s", d)
	}
	if len(distrusted) == 0 || len(distrusted) > len(store)/4 {
		t.Errorf("%d of %d roots are distrusted, want a few", len(distrusted), len(store))
	}
}

// TestListAgreesWithTheStore ties the hashes of the list to real certificates:
// where a root of the list is in the store, all that the list says about it
// is what the certificate says.
func TestListAgreesWithTheStore(t *testing.T) {
	list := readDistrust()
	found := 0
	for _, c := range realStore(t) {
		l, ok := list.find(&c)
		if !ok {
			continue
		}
		found++
		got := distrustedCertificate{Fingerprint: c.ID, Key: c.Key.ID, KeyID: c.SubjectKeyID}
		want := *l.certificate
		want.Name, want.DistrustAfter = "", ""
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-list +certificate):\n%s", c.Subject, d)
		}
	}
	if found == 0 {
		t.Error("no root of the store is on the list")
	}
}

// realStore reads the system's bundle.
func realStore(t *testing.T) []tallystick.Credential {
	t.Helper()
	data, err := os.ReadFile("/etc/ssl/certs/ca-certificates.crt")
	if err != nil {
		t.Fatalf("install the package ca-certificates: %v", err)
	}
	var store []tallystick.Credential
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		c, err := parse.Certificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		store = append(store, c)
	}
	if len(store) < 100 {
		t.Fatalf("the store has %d certificates, want at least 100", len(store))
	}
	return store
}

// TestAStoreIsToldOnce shows that a keystore, which is a trust store and a file,
// has one finding, and that the bundle of a package says so.
func TestAStoreIsToldOnce(t *testing.T) {
	check := distrustedRoot(readDistrust()).Check
	at := func(place tallystick.Place) tallystick.Sighting {
		return tallystick.Sighting{Place: place, Role: tallystick.RoleAccepts}
	}
	places := func(sightings ...tallystick.Sighting) []tallystick.Place {
		s := trustedRoot(trustCor1)
		s.Sightings = sightings
		var list []tallystick.Place
		for _, hit := range check(s) {
			list = append(list, hit.Place)
		}
		return list
	}
	const java = "/etc/ssl/certs/java/cacerts"
	got := places(at(tallystick.FilePlace(java)), at(tallystick.TrustStorePlace(java)), at(tallystick.FilePlace("/opt/app/trust.jks")))
	want := []tallystick.Place{tallystick.FilePlace("/opt/app/trust.jks"), tallystick.TrustStorePlace(java)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("told at (-want +got):\n%s", diff)
	}
	s := trustedRoot(trustCor1)
	s.Sightings = []tallystick.Sighting{at(tallystick.TrustStorePlace("/usr/lib/python3/dist-packages/pip/_vendor/certifi/cacert.pem"))}
	if hits := check(s); len(hits) != 1 || !strings.Contains(hits[0].Evidence, "language's package") {
		t.Errorf("the bundle of pip: %+v", hits)
	}
}

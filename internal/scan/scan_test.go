// SPDX-License-Identifier: Apache-2.0

package scan_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/internal/scan"
	"github.com/tallystick/tallystick/rule"
)

// silent shows nothing.
type silent struct{}

func (silent) Phase(string)     {}
func (silent) Set(int64, int64) {}
func (silent) Saw()             {}
func (silent) Missed(string)    {}

// certificate returns a new one in PEM.
func certificate(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(4711), Subject: pkix.Name{CommonName: "one.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// judge scans a directory with a certificate in a.pem and b.pem.
func judge(t *testing.T, rules ...rule.Rule) (a, b tallystick.Place, result scan.Result) {
	t.Helper()
	dir, text := t.TempDir(), certificate(t)
	for _, name := range []string{"a.pem", "b.pem"} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := scan.New(scan.Options{Drivers: drivers.All(), Rules: rules, Now: time.Now, Progress: silent{}})
	if err := s.Look(t.Context(), scan.Targets{Paths: []string{dir}}); err != nil {
		t.Fatal(err)
	}
	result, err := s.Judge(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tallystick.FilePlace(filepath.Join(dir, "a.pem")), tallystick.FilePlace(filepath.Join(dir, "b.pem")), result
}

// broken returns which rules are broken where.
func broken(result scan.Result) map[tallystick.Place][]string {
	found := map[tallystick.Place][]string{}
	for f := range result.All() {
		found[f.Place] = nil
		for _, hit := range f.Findings {
			found[f.Place] = append(found[f.Place], hit.Rule)
		}
	}
	return found
}

func TestACredentialIsJudgedOnceWithAllItsSightings(t *testing.T) {
	var shown [][]tallystick.Place
	a, b, _ := judge(t, rule.Rule{Name: "watches", Check: func(s rule.Subject) []rule.Hit {
		var places []tallystick.Place
		for _, seen := range s.Sightings {
			places = append(places, seen.Place)
		}
		shown = append(shown, places)
		return nil
	}})
	if diff := cmp.Diff([][]tallystick.Place{{a, b}}, shown); diff != "" {
		t.Errorf("the rule was shown (-want +got):\n%s", diff)
	}
}

func TestAHitCountsWhereItIsAbout(t *testing.T) {
	everywhere := rule.Rule{Name: "everywhere", Severity: tallystick.SeverityLow, Check: func(rule.Subject) []rule.Hit {
		return []rule.Hit{{Evidence: "it is"}}
	}}
	second := rule.Rule{Name: "second", Severity: tallystick.SeverityHigh, Check: func(s rule.Subject) []rule.Hit {
		return []rule.Hit{{Place: s.Sightings[1].Place, Evidence: "it is there"}}
	}}
	a, b, result := judge(t, everywhere, second)
	want := map[tallystick.Place][]string{a: {"everywhere"}, b: {"second", "everywhere"}}
	if diff := cmp.Diff(want, broken(result)); diff != "" {
		t.Errorf("broken rules (-want +got):\n%s", diff)
	}
}

func TestEveryPortOfAHostIsAsked(t *testing.T) {
	s := scan.New(scan.Options{Drivers: drivers.All(), Now: time.Now, Progress: silent{}, Settings: map[string]map[string]string{"tls": {"ports": "1,2"}}})
	if err := s.Look(t.Context(), sorted(t, s, "127.0.0.1")); err != nil {
		t.Fatal(err)
	}
	result, err := s.Judge(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var missed []tallystick.Place
	for _, m := range result.Misses {
		missed = append(missed, m.Place)
	}
	if diff := cmp.Diff([]tallystick.Place{"tls://127.0.0.1:1", "tls://127.0.0.1:2"}, missed); diff != "" {
		t.Errorf("not seen (-want +got):\n%s", diff)
	}
}

// sorted reads targets.
func sorted(t *testing.T, s *scan.Scan, texts ...string) scan.Targets {
	t.Helper()
	sorter, err := s.Sorter()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range texts {
		if err := sorter.Add(text); err != nil {
			t.Fatal(err)
		}
	}
	return sorter.Targets
}

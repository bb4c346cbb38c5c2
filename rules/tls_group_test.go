// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

func groupFixtures() map[string]fixture {
	deep := func(groups ...string) func(testing.TB) rule.Subject {
		return accepting(tallystick.TLSFacts{Depth: tallystick.DepthVersions, Groups: groups, Group: groups[0]})
	}
	return map[string]fixture{
		"weak-group": {
			Firing:   deep("x25519", "secp192r1", "dh1024"),
			Silent:   deep("x25519", "secp224r1", "dh2048", "ffdhe2048"),
			Evidence: "accepts dh1024 and secp192r1",
		},
		"no-post-quantum": {
			Firing:   deep("x25519", "secp256r1"),
			Silent:   deep("x25519", "X25519MLKEM768"),
			Evidence: "takes no hybrid",
		},
	}
}

// TestGroups names groups with what is thought of each.
func TestGroups(t *testing.T) {
	for name, want := range map[string]tallystick.Severity{
		"x25519": 0, "x448": 0, "secp256r1": 0, "secp384r1": 0, "secp224k1": 0, "secp256k1": 0, "sect233k1": 0, "brainpoolP256r1": 0,
		"ffdhe2048": 0, "ffdhe8192": 0, "X25519MLKEM768": 0, "MLKEM512": 0, "curveSM2": 0, "0x1234": 0, "dh": 0, "dh2048": 0,
		"sect163k1": tallystick.SeverityMedium, "sect193r2": tallystick.SeverityMedium, "secp160r1": tallystick.SeverityMedium,
		"secp192k1": tallystick.SeverityMedium, "dh1024": tallystick.SeverityMedium, "dh2047": tallystick.SeverityMedium,
		"dh1023": tallystick.SeverityHigh, "dh512": tallystick.SeverityHigh,
	} {
		if got := groupSeverity(name); got != want {
			t.Errorf("%s: severity %v, want %v", name, got, want)
		}
	}
}

func TestPostQuantumIsAskedForFirst(t *testing.T) {
	r := noPostQuantum()
	for what, facts := range map[string]tallystick.TLSFacts{
		"the certificate alone": {Depth: tallystick.DepthCertificate, Groups: []string{"x25519"}},
		"no group":              {Depth: tallystick.DepthSuites},
		"a draft of ML-KEM":     {Depth: tallystick.DepthSuites, Groups: []string{"X25519Kyber768Draft00"}},
	} {
		if hits := r.Check(accepting(facts)(t)); hits != nil {
			t.Errorf("%s: %+v", what, hits)
		}
	}
}

// TestPostQuantumByTheYear follows the dates of NIST IR 8547 by Recheck alone.
func TestPostQuantumByTheYear(t *testing.T) {
	s := groupFixtures()["no-post-quantum"].Firing(t)
	s.Now = s.Credential.NotAfter.Add(time.Minute)
	story := map[string]string{}
	for !s.Now.IsZero() {
		story[s.Now.Format(time.DateOnly)] = noPostQuantum().Check(s)[0].Severity.String()
		s.Now = Recheck(s)
	}
	want := map[string]string{"2027-02-13": "info", "2031-01-01": "low", "2036-01-01": "medium"}
	if diff := cmp.Diff(want, story); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

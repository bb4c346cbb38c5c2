// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

func expiryFixtures() map[string]fixture {
	servedFrom := func(from, to time.Time) func(testing.TB) rule.Subject {
		return func(t testing.TB) rule.Subject {
			leaf := issue(t, nil, "leaf", server("example.org"), valid(from, to))
			s := subject(leaf.Credential, served(leaf.Credential, tallystick.TLSFacts{}))
			s.Public = true
			return s
		}
	}
	return map[string]fixture{
		"expired": {
			Firing:   servedFrom(day(2026, 8, 1), now.Add(-time.Second)),
			Silent:   servedFrom(day(2026, 8, 1), now), // the last second belongs to it
			Evidence: "expired on 2026-11-22",
		},
		"expires-soon": {
			Firing:   servedFrom(now.AddDate(0, 0, -61), now.AddDate(0, 0, 29)),
			Silent:   servedFrom(now.AddDate(0, 0, -59), now.AddDate(0, 0, 31)),
			Evidence: "valid until 2026-12-21, of 90 days in all; renewal was due on 2026-11-21",
		},
		"lifetime-too-long": {
			Firing:   servedFrom(day(2026, 3, 15), day(2026, 3, 15).AddDate(0, 0, 200)),
			Silent:   servedFrom(day(2026, 3, 15), day(2026, 3, 15).AddDate(0, 0, 200).Add(-time.Second)),
			Evidence: "valid for 201 days, issued on 2026-03-15 when 200 days were allowed",
		},
		"not-yet-valid": {
			Firing:   servedFrom(now.Add(time.Second), now.AddDate(0, 0, 90)),
			Silent:   servedFrom(now, now.AddDate(0, 0, 90)),
			Evidence: "valid from 2026-11-22 on",
		},
	}
}

// TestLifetimeLimits has a row for each side of each day on which the limit of
// the Baseline Requirements changed. The last second belongs to a lifetime.
func TestLifetimeLimits(t *testing.T) {
	for _, row := range []struct {
		issued time.Time
		days   int
		fires  bool
	}{
		{day(2018, 2, 28), 1200, false},
		{day(2018, 3, 1), 825, false},
		{day(2018, 3, 1), 826, true},
		{day(2020, 8, 31), 825, false},
		{day(2020, 9, 1), 398, false},
		{day(2020, 9, 1), 399, true},
		{day(2026, 3, 14), 398, false},
		{day(2026, 3, 15), 200, false},
		{day(2026, 3, 15), 201, true},
		{day(2027, 3, 14), 200, false},
		{day(2027, 3, 15), 101, true},
		{day(2029, 3, 14), 100, false},
		{day(2029, 3, 15), 47, false},
		{day(2029, 3, 15), 48, true},
	} {
		c := &tallystick.Credential{
			Kind: tallystick.KindCertificate, NotBefore: row.issued,
			NotAfter: row.issued.AddDate(0, 0, row.days).Add(-time.Second),
		}
		s := rule.Subject{Credential: c, Public: true, Now: now}
		if hits := checkLifetime(s); (len(hits) > 0) != row.fires {
			t.Errorf("%d days from %s: %v", row.days, row.issued.Format(time.DateOnly), hits)
		}
		for reason, other := range map[string]rule.Subject{
			"a private certificate": {Credential: c, Now: now},
			"a CA":                  {Credential: &tallystick.Credential{Kind: c.Kind, IsCA: true, NotBefore: c.NotBefore, NotAfter: c.NotAfter}, Public: true, Now: now},
			"a mail certificate":    {Credential: &tallystick.Credential{Kind: c.Kind, Usages: []string{"email"}, NotBefore: c.NotBefore, NotAfter: c.NotAfter}, Public: true, Now: now},
		} {
			if hits := checkLifetime(other); len(hits) > 0 {
				t.Errorf("%s has no such limit: %v", reason, hits)
			}
		}
	}
}

// TestExpiryGetsWorse follows lives of several lengths to their ends: from
// when on which severity holds, counted back from the end.
func TestExpiryGetsWorse(t *testing.T) {
	for _, row := range []struct {
		life              time.Duration
		low, medium, high time.Duration
	}{
		{6 * aDay, 3 * aDay, 36 * time.Hour, 18 * time.Hour},
		{90 * aDay, 30 * aDay, 15 * aDay, 180 * time.Hour},
		{398 * aDay, 398 * 8 * time.Hour, 30 * aDay, 14 * aDay},
		{3650 * aDay, 365 * aDay, 30 * aDay, 14 * aDay},
	} {
		c := &tallystick.Credential{Kind: tallystick.KindSSHCertificate, NotBefore: now, NotAfter: now.Add(row.life)}
		at := func(left time.Duration) tallystick.Severity {
			s := subject(c, held("/etc/ssh/ssh_host_ed25519_key-cert.pub", tallystick.FileFacts{}))
			s.Now = c.NotAfter.Add(-left)
			if hits := checkExpiresSoon(s); len(hits) > 0 {
				return hits[0].Severity
			}
			return 0
		}
		want := []tallystick.Severity{0, tallystick.SeverityLow, tallystick.SeverityLow, tallystick.SeverityMedium, tallystick.SeverityMedium, tallystick.SeverityHigh, 0}
		got := []tallystick.Severity{at(row.low + 1), at(row.low), at(row.medium + 1), at(row.medium), at(row.high + 1), at(row.high), at(0)}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("a life of %v (-want +got):\n%s", row.life, diff)
		}
	}
}

// TestExpiryMindsThePlace shows how loud the end of one certificate is.
func TestExpiryMindsThePlace(t *testing.T) {
	root := issue(t, nil, "Root", authority, valid(day(2006, 1, 1), day(2026, 1, 1)))
	leaf := issue(t, root, "leaf", server("example.org"), valid(day(2025, 1, 1), day(2026, 1, 1)))
	file := tallystick.Sighting{Place: tallystick.FilePlace("/opt/old.pem"), Role: tallystick.RolePresents, Facts: tallystick.Facts{File: &tallystick.FileFacts{Format: "pem"}}}
	sample := file
	sample.Place = tallystick.FilePlace("/usr/share/doc/old.pem")
	believed := file
	believed.File = &tallystick.FileFacts{Format: "pem", UsedBy: []tallystick.Usage{{Service: "nginx", As: "client-ca"}}}
	for _, row := range []struct {
		what      string
		s         rule.Subject
		want      tallystick.Severity
		announced bool // expires-soon speaks before the end
	}{
		{"served", subject(leaf.Credential, served(leaf.Credential, tallystick.TLSFacts{})), tallystick.SeverityHigh, true},
		{"held", subject(leaf.Credential, held("/opt/app.pem", tallystick.FileFacts{})), tallystick.SeverityMedium, true},
		{"in a file", subject(leaf.Credential, file), tallystick.SeverityLow, true},
		{"a sample", subject(leaf.Credential, sample), tallystick.SeverityInfo, false},
		{"a sample with its key", subject(leaf.Credential, held("/root/go/pkg/mod/example.org/x@v1/key.pem", tallystick.FileFacts{})), tallystick.SeverityInfo, false},
		{"trusted", subject(root.Credential, trusted(), file), tallystick.SeverityLow, false},
		{"trusted by a service", subject(root.Credential, believed), tallystick.SeverityMedium, true},
		{"trusted by all, and a service", subject(root.Credential, trusted(), believed), tallystick.SeverityLow, false},
	} {
		if hits := checkExpired(row.s); len(hits) != 1 || hits[0].Severity != row.want {
			t.Errorf("%s: %+v, want one of severity %v", row.what, hits, row.want)
		}
		row.s.Now = day(2025, 12, 20)
		if hits := checkExpiresSoon(row.s); (len(hits) > 0) != row.announced {
			t.Errorf("%s, before its end: %+v", row.what, hits)
		}
	}
}

// TestLivesWithoutEnd has the dates that stand for "never" and for nothing.
func TestLivesWithoutEnd(t *testing.T) {
	for _, c := range []tallystick.Credential{
		{Kind: tallystick.KindKey},
		{Kind: tallystick.KindCertificate, NotBefore: day(2020, 1, 1), NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)}, // RFC 5280 section 4.1.2.5
		{Kind: tallystick.KindSSHCertificate, NotBefore: time.Unix(0, 0)},
		{Kind: tallystick.KindCertificate, NotAfter: day(2100, 1, 1)},
	} {
		s := subject(&c, held("/etc/x", tallystick.FileFacts{}))
		s.Public = c.Kind != tallystick.KindCertificate
		for _, r := range expiryRules() {
			if hits := r.Check(s); len(hits) > 0 {
				t.Errorf("%s: %+v on %+v", r.Name, hits, c)
			}
		}
	}
}

// TestRecheck draws credentials and two instants between which Recheck promises
// that nothing changes, and lets every rule judge at both.
func TestRecheck(t *testing.T) {
	leaf := issue(t, nil, "leaf", server("example.org"), func(c *x509.Certificate) {})
	rapid.Check(t, func(t *rapid.T) {
		c := *leaf.Credential
		c.Kind = rapid.SampledFrom([]tallystick.Kind{tallystick.KindCertificate, tallystick.KindSSHCertificate}).Draw(t, "kind")
		c.IsCA = rapid.Bool().Draw(t, "ca")
		life := time.Duration(rapid.Int64Range(-10, 20*365*86400).Draw(t, "life")) * time.Second
		if rapid.Bool().Draw(t, "short") {
			life %= 20 * aDay
		}
		c.NotBefore = now
		c.NotAfter = now.Add(life)
		seen := rapid.SampledFrom([]tallystick.Sighting{
			trusted(), served(&c, tallystick.TLSFacts{}), served(&c, tallystick.TLSFacts{Depth: tallystick.DepthVersions, Groups: []string{"x25519"}}), held("/home/a/b.pem", tallystick.FileFacts{}),
		}).Draw(t, "seen")
		s := subject(&c, seen)
		s.Public = rapid.Bool().Draw(t, "public")
		reach := int64(max(life/time.Second, 10))
		s.Now = now.Add(time.Duration(rapid.Int64Range(-reach, 2*reach).Draw(t, "now")) * time.Second)

		next := Recheck(s)
		if !next.IsZero() && !next.After(s.Now) {
			t.Fatalf("recheck at %v, which is not after %v", next, s.Now)
		}
		later := s
		later.Now = s.Now.Add(100 * 365 * aDay)
		if !next.IsZero() {
			within := rapid.Int64Range(1, int64(next.Sub(s.Now))).Draw(t, "within")
			later.Now = next.Add(-time.Duration(within))
		}
		for _, r := range All() {
			if r.Check == nil {
				continue
			}
			if diff := cmp.Diff(r.Check(s), r.Check(later)); diff != "" {
				t.Fatalf("%s changed between %v and %v, before %v:\n%s", r.Name, s.Now, later.Now, next, diff)
			}
		}
	})
}

// TestRecheckIsNotIdle walks one served certificate from before its life to
// after it by Recheck alone, and meets every change on the way.
func TestRecheckIsNotIdle(t *testing.T) {
	leaf := issue(t, nil, "leaf", server("example.org"))
	s := subject(leaf.Credential, served(leaf.Credential, tallystick.TLSFacts{}))
	s.Now = leaf.NotBefore.AddDate(-1, 0, 0)
	var story []string
	for !s.Now.IsZero() {
		words := ""
		for _, r := range expiryRules() {
			for _, hit := range r.Check(s) {
				words += r.Name + " " + hit.Severity.String()
			}
		}
		story = append(story, words)
		s.Now = Recheck(s)
	}
	want := []string{"not-yet-valid high", "", "expires-soon low", "expires-soon medium", "expires-soon high", "expired high"}
	if diff := cmp.Diff(want, story); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

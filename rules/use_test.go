// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/profile"
	"github.com/tallystick/tallystick/internal/tally"
	"github.com/tallystick/tallystick/rule"
)

// used is a use that a tenant accepted from the holder's address at now.
func used(edits ...func(*rule.UseSubject)) func() rule.UseSubject {
	return func() rule.UseSubject {
		s := rule.UseSubject{
			Use: &tallystick.Use{
				Side: tallystick.SideRelying, Level: tallystick.LevelToken, Time: now, Count: 1, Outcome: tallystick.OutcomeSuccess,
				Credential: []string{"x5t:" + strings.Repeat("ab", 20)}, RelyingParty: "entra:tenant-1/exchange", Address: "203.0.113.7",
			},
			Profile:    &rule.Profile{},
			Credential: &tallystick.Credential{Kind: tallystick.KindCertificate},
			Network:    func(a netip.Addr) string { return rule.NetworkOf(a).String() },
		}
		for _, edit := range edits {
			edit(&s)
		}
		return s
	}
}

func from(address string) func(*rule.UseSubject) {
	return func(s *rule.UseSubject) { s.Use.Address = address }
}

func at(t time.Time) func(*rule.UseSubject) {
	return func(s *rule.UseSubject) { s.Use.Time = t }
}

func outcome(o tallystick.Outcome) func(*rule.UseSubject) {
	return func(s *rule.UseSubject) { s.Use.Outcome = o }
}

func foreign(reason string) func(*rule.UseSubject) {
	return func(s *rule.UseSubject) { s.Verdict, s.Reason = tallystick.VerdictForeign, reason }
}

// habit has the holder use it from its address every interval for some days before
// the use; what extra returns is learned last.
func habit(days int, interval time.Duration, extra ...tallystick.Use) func(*rule.UseSubject) {
	return func(s *rule.UseSubject) {
		start := now.AddDate(0, 0, -days)
		for t := start; t.Before(now.Add(-interval / 2)); t = t.Add(interval) {
			u := *s.Use
			u.Time, u.Address = t, "203.0.113.7"
			profile.Learn(s.Profile, &u)
		}
		for _, more := range extra {
			u := *s.Use
			u.Time, u.Address = more.Time, more.Address
			if more.RelyingParty != "" {
				u.RelyingParty = more.RelyingParty
			}
			profile.Learn(s.Profile, &u)
		}
	}
}

func foreignFixtures() map[string]fixture {
	reason := func(n tally.Reason) func(*rule.UseSubject) { return foreign(n.String()) }
	return map[string]fixture{
		"foreign-use":      {FiringUse: used(reason(1)), SilentUse: used(), Evidence: "so the key was used elsewhere"},
		"stolen-token":     {FiringUse: used(reason(4)), SilentUse: used(reason(1)), Evidence: "the token was used elsewhere"},
		"replayed-request": {FiringUse: used(reason(3)), SilentUse: used(reason(2)), Evidence: "the request was replayed"},
	}
}

// TestReasonsAreThoseOfTheTally holds the words by which rules tell reasons apart
// against the tally: each is in one of its reasons.
func TestReasonsAreThoseOfTheTally(t *testing.T) {
	var reasons []string
	for n := tally.Reason(0); n < 13; n++ {
		reasons = append(reasons, n.String())
	}
	for _, words := range []string{saysHoldersToken, saysReplayed, saysLeftOver, saysNoBook, saysBeforeBook} {
		if n := strings.Count(strings.Join(reasons, "\n"), words); n != 1 {
			t.Errorf("%q is in %d reasons of the tally, not in one", words, n)
		}
	}
}

func useLifeFixtures() map[string]fixture {
	blocked := func(s *rule.UseSubject) { s.Blocked = now.Add(-time.Hour) }
	own := func(s *rule.UseSubject) { s.Own = true }
	gone := func(since time.Time) func(*rule.UseSubject) {
		return func(s *rule.UseSubject) { s.Gone = since }
	}
	ended := func(at time.Time) func(*rule.UseSubject) {
		return func(s *rule.UseSubject) {
			s.Credential = &tallystick.Credential{Kind: tallystick.KindCertificate, NotAfter: at, Raw: []byte("der"), ID: tallystick.FingerprintOf([]byte("der"))}
			s.Use.Credential = []string{"x5t#S256:" + string(s.Credential.ID)}
		}
	}
	unknown := func(names ...string) func(*rule.UseSubject) {
		return func(s *rule.UseSubject) { s.Credential, s.Use.Credential = nil, names }
	}
	return map[string]fixture{
		"use-after-block":     {FiringUse: used(blocked), SilentUse: used(blocked, at(now.Add(-2*time.Hour))), Evidence: "accepted after 2026-11-22T11:00:00Z"},
		"blocked-still-tried": {FiringUse: used(blocked, outcome(tallystick.OutcomeRefused)), SilentUse: used(blocked, outcome(tallystick.OutcomeRefused), own), Evidence: "tried after 2026-11-22T11:00:00Z"},
		"use-after-expiry":    {FiringUse: used(ended(now.Add(-25 * time.Hour))), SilentUse: used(ended(now.Add(-23 * time.Hour))), Evidence: "after 2026-11-21"},
		"use-of-gone":         {FiringUse: used(gone(now.AddDate(0, 0, -5))), SilentUse: used(gone(now.AddDate(0, 0, 5))), Evidence: "2026-11-17"},
		"use-never-sighted": {
			FiringUse: used(unknown("account:entra-app/1", "entra-key:7f1d5c1e-6a1f-4d0e-9b5e-2f6f3b0a9c11")),
			SilentUse: used(unknown("account:entra-app/1")), Evidence: "never seen at any place",
		},
	}
}

func useHabitFixtures() map[string]fixture {
	within := func(networks ...string) func(*rule.UseSubject) {
		return func(s *rule.UseSubject) {
			for _, n := range networks {
				s.Networks = append(s.Networks, netip.MustParsePrefix(n))
			}
		}
	}
	turns := func(before time.Duration) []tallystick.Use {
		return []tallystick.Use{
			{Time: now.Add(-before), Address: "203.0.113.7"}, {Time: now.Add(-before + time.Minute), Address: "198.51.100.9"},
			{Time: now.Add(-time.Minute), Address: "203.0.113.7"},
		}
	}
	var walk []tallystick.Use
	for i := range 20 {
		walk = append(walk, tallystick.Use{Time: now, Address: "203.0.113.7", RelyingParty: fmt.Sprintf("entra:tenant-%d/exchange", i)})
	}
	sleepy := func(days int) func(*rule.UseSubject) {
		return func(s *rule.UseSubject) {
			for i := range 25 {
				u := *s.Use
				u.Time = now.AddDate(0, 0, -days-i)
				profile.Learn(s.Profile, &u)
			}
		}
	}
	return map[string]fixture{
		"use-outside-networks": {FiringUse: used(within("192.0.2.0/24", "2001:db8::/32")), SilentUse: used(within("192.0.2.0/24", "203.0.113.0/24")), Evidence: "203.0.113.0/24"},
		"use-new-network": {
			FiringUse: used(habit(8, time.Hour), from("198.51.100.9")), SilentUse: used(habit(6, time.Hour), from("198.51.100.9")),
			Evidence: "first used from 198.51.100.0/24 on 2026-11-22",
		},
		"use-new-way": {
			FiringUse: used(habit(8, 3*time.Hour), by("pop3:mail.lab.test:110", "PLAIN")), SilentUse: used(habit(6, time.Hour), by("pop3:mail.lab.test:110", "PLAIN")),
			Evidence: "first signed in by pop3 (PLAIN) on 2026-11-22, and mostly by entra before",
		},
		"dormant-awakes":      {FiringUse: used(sleepy(61)), SilentUse: used(sleepy(59)), Evidence: "before that last on 2026-09-22"},
		"relying-party-sweep": {FiringUse: used(habit(15, time.Hour, walk...)), SilentUse: used(habit(15, time.Hour, walk[:9]...)), Evidence: "2026-11-22"},
		"impossible-concurrency": {
			FiringUse: used(habit(8, time.Hour, turns(5*time.Minute)...), from("198.51.100.9")),
			SilentUse: used(habit(8, time.Hour, turns(50*time.Minute)...), from("198.51.100.9")),
			Evidence:  "used from 198.51.100.0/24 in turn with 203.0.113.0/24",
		},
	}
}

// TestOneOperatorIsOneNetwork gives a table by which both prefixes are one's own.
func TestOneOperatorIsOneNetwork(t *testing.T) {
	s := used(habit(8, time.Hour), from("198.51.100.9"))()
	s.Network = func(netip.Addr) string { return "AS64500 EXAMPLE" }
	if hits := useNewNetwork().Use(s); hits != nil {
		t.Errorf("%+v", hits)
	}
}

// TestWhatWasForgottenIsNotNew moves a holder over more networks than are kept.
func TestWhatWasForgottenIsNotNew(t *testing.T) {
	s := used(habit(30, time.Hour), from("198.51.100.9"))()
	for i := range rule.MaxNetworks {
		u := *s.Use
		u.Address = fmt.Sprintf("10.0.%d.1", i)
		if hits := useNewNetwork().Use(s); hits == nil {
			t.Fatalf("silent after %d networks", i)
		}
		profile.Learn(s.Profile, &u)
	}
	if hits := useNewNetwork().Use(s); hits != nil {
		t.Errorf("%+v", hits)
	}
}

// TestForeignUsesThatAreLessSure lists severities that differ from the rule's own.
func TestForeignUsesThatAreLessSure(t *testing.T) {
	for reason, want := range map[tally.Reason]tallystick.Severity{1: 0, 5: 0, 7: tallystick.SeverityMedium, 8: tallystick.SeverityHigh} {
		hits := foreignUse().Use(used(foreign(reason.String()))())
		if len(hits) != 1 || hits[0].Severity != want {
			t.Errorf("%s: %+v", reason, hits)
		}
	}
}

// TestTriesOfABlockedCredential has those that show nothing as well, and not those
// that worked, which are worse.
func TestTriesOfABlockedCredential(t *testing.T) {
	blocked := func(s *rule.UseSubject) { s.Blocked = now.Add(-time.Hour) }
	for o, want := range map[tallystick.Outcome]int{tallystick.OutcomeAttempt: 1, tallystick.OutcomeRefused: 1, tallystick.OutcomeSuccess: 0} {
		if hits := blockedStillTried().Use(used(blocked, outcome(o))()); len(hits) != want {
			t.Errorf("%s: %+v", o, hits)
		}
		if hits := useAfterBlock().Use(used(blocked, outcome(o))()); len(hits) != 1-want {
			t.Errorf("after block, %s: %+v", o, hits)
		}
	}
}

// TestARenewedCertificateIsNoUseAfterExpiry names the key, not the certificate.
func TestARenewedCertificateIsNoUseAfterExpiry(t *testing.T) {
	s := useLifeFixtures()["use-after-expiry"].FiringUse()
	s.Use.Credential = []string{"spki-sha256:" + strings.Repeat("ab", 32), "account:entra-app/1"}
	if hits := useAfterExpiry().Use(s); hits != nil {
		t.Errorf("%+v", hits)
	}
}

func bookFixtures() map[string]fixture {
	sound := rule.BookSubject{Source: "broker-eu-1", Side: tallystick.SideHolder, Heard: now.Add(-time.Hour), Silence: 2 * time.Hour, Skew: 20 * time.Second, Now: now}
	with := func(edit func(*rule.BookSubject)) rule.BookSubject {
		s := sound
		edit(&s)
		return s
	}
	return map[string]fixture{
		"silent-source":      {SilentBook: sound, FiringBook: with(func(s *rule.BookSubject) { s.Silence = time.Minute }), Evidence: `"broker-eu-1" has said nothing since 2026-11-22T11:00:00Z`},
		"book-gap":           {SilentBook: sound, FiringBook: with(func(s *rule.BookSubject) { s.Missing, s.FirstMissing = 4, 17 }), Evidence: "number 17"},
		"book-edited":        {SilentBook: sound, FiringBook: with(func(s *rule.BookSubject) { s.Broken, s.FirstBroken = 1, 18 }), Evidence: "record 18"},
		"record-after-close": {SilentBook: sound, FiringBook: with(func(s *rule.BookSubject) { s.AfterClose = 1 }), Evidence: "it was closed"},
		"clock-skew":         {SilentBook: sound, FiringBook: with(func(s *rule.BookSubject) { s.Skew = -31 * time.Second }), Evidence: "more than 30 seconds behind"},
	}
}

func TestBooksThatAreWorse(t *testing.T) {
	s := bookFixtures()["clock-skew"].FiringBook
	s.Skew = time.Hour
	if hits := clockSkew().Book(s); len(hits) != 1 || hits[0].Severity != tallystick.SeverityMedium || !strings.Contains(hits[0].Evidence, "120 seconds ahead of") {
		t.Errorf("%+v", hits)
	}
	if hits := bookEdited().Book(rule.BookSubject{Twice: 3}); len(hits) != 1 || !strings.Contains(hits[0].Evidence, "different content") {
		t.Errorf("%+v", hits)
	}
}

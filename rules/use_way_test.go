// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/profile"
	"github.com/tallystick/tallystick/rule"
)

// by has it sign in elsewhere, in some way.
func by(party, operation string) func(*rule.UseSubject) {
	return func(s *rule.UseSubject) { s.Use.RelyingParty, s.Use.Operation = party, operation }
}

// TestWays lists ways of signing in of which one is the habit, and what is another one.
func TestWays(t *testing.T) {
	type way struct{ party, operation string }
	for name, test := range map[string]struct {
		habit, use way
		want       string
	}{
		"the same":                     {way{"ldap:10.0.0.5:389", "SIMPLE"}, way{"ldap:10.0.0.6:389", "simple"}, ""},
		"another server":               {way{"smtp:mail-1", "SASL PLAIN"}, way{"smtp:mail-2", "SASL PLAIN"}, ""},
		"Postfix and Dovecot":          {way{"smtp:mail-1", "SASL PLAIN"}, way{"smtp:10.0.0.5:587", "PLAIN"}, ""},
		"a path, and no method":        {way{"https:shop", "GET /a HTTP/1.1"}, way{"https:shop", "POST /b HTTP/1.1"}, ""},
		"an event of Windows":          {way{"kerberos:dc1", "4768"}, way{"kerberos:dc1", "4770"}, ""},
		"nobody says where":            {way{"ldap:10.0.0.5:389", "SIMPLE"}, way{"", "SIMPLE"}, ""},
		"a bind where it was Kerberos": {way{"kerberos:10.0.0.5:88", "ENC-TS Pre-authentication"}, way{"ldap:10.0.0.5:636", "simple bind/TLS"}, "ldap (simple bind/TLS)"},
		"without TLS":                  {way{"ldap:10.0.0.5:636", "simple bind/TLS"}, way{"ldap:10.0.0.5:389", "simple bind"}, "ldap (simple bind)"},
		"a key where it was a ticket":  {way{"kerberos:10.0.0.5:88", "ENC-TS Pre-authentication"}, way{"kerberos:10.0.0.5:88", "PK-INIT(ietf) Pre-authentication"}, "kerberos (PK-INIT(ietf) Pre-authentication)"},
		"POP3 where it was SMTP":       {way{"smtp:mail-1", "SASL PLAIN"}, way{"pop3:10.0.0.5:995", "PLAIN"}, "pop3 (PLAIN)"},
		"a password where it was keys": {way{"ssh:host-1", "publickey"}, way{"ssh:host-1", "password"}, "ssh (password)"},
		"a log without a method":       {way{"kerberos:dc1", "ENC-TS Pre-authentication"}, way{"kerberos:dc1", "4768"}, ""},
		"a log with one":               {way{"kerberos:dc1", "4768"}, way{"kerberos:dc1", "ENC-TS Pre-authentication"}, ""},
		"an API":                       {way{"entra:t/graph", "sign-in"}, way{"https:shop", "GET / HTTP/1.1"}, "https"},
	} {
		s := used(by(test.habit.party, test.habit.operation), habit(10, 4*time.Hour), by(test.use.party, test.use.operation))()
		hits := useNewWay().Use(s)
		switch {
		case test.want == "" && hits != nil:
			t.Errorf("%s: %+v", name, hits)
		case test.want != "" && (len(hits) != 1 || !strings.HasPrefix(hits[0].Evidence, "first signed in by "+test.want+" on 2026-11-22, and mostly by ")):
			t.Errorf("%s: %+v", name, hits)
		}
		profile.Learn(s.Profile, s.Use)
		if hits := useNewWay().Use(s); hits != nil {
			t.Errorf("%s: it is told again: %+v", name, hits)
		}
	}
}

// TestWaysThatSayNothing has what is no sign-in, and who has no habit.
func TestWaysThatSayNothing(t *testing.T) {
	strange := by("pop3:mail.lab.test:110", "PLAIN")
	for name, edit := range map[string]func(*rule.UseSubject){
		"an attempt":  outcome(tallystick.OutcomeAttempt),
		"refused":     outcome(tallystick.OutcomeRefused),
		"a call":      func(s *rule.UseSubject) { s.Use.Level = tallystick.LevelCall },
		"a signature": func(s *rule.UseSubject) { s.Use.Level = tallystick.LevelSignature },
		"the holder":  func(s *rule.UseSubject) { s.Use.Side = tallystick.SideHolder },
		"a late one":  at(now.AddDate(0, 0, -3)),
		"every way": func(s *rule.UseSubject) {
			for i := range rule.MaxWays {
				u := *s.Use
				u.RelyingParty = fmt.Sprintf("other-%d:a", i)
				profile.Learn(s.Profile, &u)
			}
		},
	} {
		if hits := useNewWay().Use(used(habit(8, 3*time.Hour), strange, edit)()); hits != nil {
			t.Errorf("%s: %+v", name, hits)
		}
	}
}

// TestCountsOfStrangers has counts whose sum is no number.
func TestCountsOfStrangers(t *testing.T) {
	s := used(by("smtp:mail-1", "PLAIN"), habit(10, 4*time.Hour), by("pop3:mail-1", "PLAIN"))()
	s.Profile.Ways[0].Uses = math.MaxInt64
	s.Profile.Ways = append(s.Profile.Ways, rule.Way{Protocol: "imap", Uses: 2, First: s.Profile.Ways[0].First})
	if hits := useNewWay().Use(s); len(hits) != 1 {
		t.Errorf("%+v", hits)
	}
}

// TestRefusedTeachesNoWay has one refused in a way, many times, before it is let in: then it is told.
func TestRefusedTeachesNoWay(t *testing.T) {
	strange := by("pop3:mail.lab.test:110", "PLAIN")
	refused := func(s *rule.UseSubject) {
		u := *s.Use
		u.Outcome, u.Count = tallystick.OutcomeRefused, learnUses
		profile.Learn(s.Profile, &u)
	}
	if hits := useNewWay().Use(used(habit(8, 3*time.Hour), strange, refused)()); len(hits) != 1 || !strings.Contains(hits[0].Evidence, "mostly by entra before") {
		t.Errorf("%+v", hits)
	}
	if hits := useNewWay().Use(used(habit(8, 6*time.Hour), refused, strange)()); hits != nil { // a refusal is none of the 50
		t.Errorf("of few sign-ins: %+v", hits)
	}
}

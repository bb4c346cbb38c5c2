// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

// inAccounts is a credential that stands in accounts, of which each edit makes one.
func inAccounts(form string, edits ...func(*tallystick.AccountFacts)) func(testing.TB) rule.Subject {
	return func(testing.TB) rule.Subject {
		name := "account:ad/lab/svc1"
		c := &tallystick.Credential{ID: tallystick.FingerprintOf([]byte(name)), Kind: tallystick.KindNamed, Raw: []byte(name), Subject: "X509:<S>CN=svc1"}
		s := rule.Subject{Credential: c, Now: now}
		for i, edit := range edits {
			facts := &tallystick.AccountFacts{
				Directory: "lab.test", Account: "svc1", Kind: "service", Form: form, PasswordSet: now.AddDate(0, -1, 0), Created: now.AddDate(-3, 0, 0), LastUsed: now.AddDate(0, 0, -3),
			}
			edit(facts)
			s.Sightings = append(s.Sightings, tallystick.Sighting{
				Place: tallystick.ADPlace("lab.test", "CN=svc"+string(rune('1'+i))), Role: tallystick.RoleAccepts, Seen: now, Facts: tallystick.Facts{Account: facts},
			})
		}
		return s
	}
}

func account(edit func(*tallystick.AccountFacts)) func(testing.TB) rule.Subject {
	return inAccounts(tallystick.FormPassword, edit)
}

func accountFixtures() map[string]fixture {
	same := func(*tallystick.AccountFacts) {}
	return map[string]fixture{
		"account-delegation": {
			Firing: account(func(a *tallystick.AccountFacts) {
				a.Delegation = []string{"anybody at cifs/files without their sign-in"}
			}),
			Silent:   account(func(a *tallystick.AccountFacts) { a.Delegation, a.Disabled = []string{"anybody everywhere"}, true }),
			Evidence: "it may act as anybody at cifs/files without their sign-in",
		},
		"account-old-password": {
			Firing:   account(func(a *tallystick.AccountFacts) { a.PasswordSet, a.NeverExpires = now.AddDate(-2, 0, 0), true }),
			Silent:   account(func(a *tallystick.AccountFacts) { a.PasswordSet, a.Kind = now.AddDate(-2, 0, 0), "managed" }),
			Evidence: "its password was set on 2024-11-22 and never expires",
		},
		"account-service-of-person": {
			Firing:   account(func(a *tallystick.AccountFacts) { a.Kind, a.Services = "person", []string{"HTTP/web1"} }),
			Silent:   account(func(a *tallystick.AccountFacts) { a.Services = []string{"HTTP/web1"} }),
			Evidence: "it is the service HTTP/web1",
		},
		"account-unused": {
			Firing:   account(func(a *tallystick.AccountFacts) { a.LastUsed = now.AddDate(0, -4, 0) }),
			Silent:   account(func(a *tallystick.AccountFacts) { a.LastUsed = now.AddDate(0, -2, 0) }),
			Evidence: "last used on 2026-07-22",
		},
		"account-unguarded": {
			Firing: account(func(a *tallystick.AccountFacts) { a.NoProof = true }), Silent: account(same), Evidence: "it needs no pre-authentication",
		},
		"account-shared-mapping": {
			Firing:   inAccounts(tallystick.FormMapping, same, func(a *tallystick.AccountFacts) { a.Account = "svc2" }),
			Silent:   inAccounts(tallystick.FormMapping, same, same),
			Evidence: "it opens lab.test/svc1 and lab.test/svc2",
		},
		"account-weak-mapping": {
			Firing:   inAccounts(tallystick.FormMapping, func(a *tallystick.AccountFacts) { a.Mapping = "weak" }),
			Silent:   inAccounts(tallystick.FormMapping, func(a *tallystick.AccountFacts) { a.Mapping = "strong" }),
			Evidence: "svc1 takes X509:<S>CN=svc1",
		},
	}
}

// What time alone changes is judged again at that time.
func TestAccountsAreJudgedAgain(t *testing.T) {
	s := account(func(a *tallystick.AccountFacts) {
		a.PasswordSet, a.LastUsed = now.AddDate(0, -11, 0), now.AddDate(0, -2, 0)
	})(t)
	a := s.Sightings[0].Facts.Account
	for _, want := range []time.Time{a.LastUsed.Add(unusedFor), a.PasswordSet.Add(oldPassword)} {
		if next := Recheck(s); !next.Equal(want) {
			t.Errorf("judged again on %v, want %v", next, want)
		}
		s.Now = want
	}
	if next := Recheck(s); !next.IsZero() {
		t.Errorf("judged again on %v, and nothing changes", next)
	}
}

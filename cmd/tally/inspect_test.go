// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/tallystick/tallystick"
)

func TestAPlaceOfATenantSaysWhatItOpens(t *testing.T) {
	facts := tallystick.Facts{Entra: &tallystick.EntraFacts{
		Application: "0f0e", Name: "Mail sync", Home: "8f1c", Grants: []tallystick.Grant{{Name: "Mail.Read", Opens: "reads every mailbox of the tenant"}},
	}}
	got := placeLine(tallystick.EntraPlace("5b0a", "servicePrincipals", "7"), tallystick.RoleAccepts, facts)
	const want = "entra://5b0a/servicePrincipals/7: let in here, signs in as Mail sync, an application of the tenant 8f1c, reads every mailbox of the tenant (Mail.Read)"
	if got != want {
		t.Errorf("it says\n%s\nwant\n%s", got, want)
	}
}

func TestMissHint(t *testing.T) {
	for _, row := range []struct {
		place tallystick.Place
		word  string
		want  string
	}{
		{"tls://mail.example:25", "not-tls", "smtp://mail.example:25"},
		{"ssh://mail.example:22", "not-tls", "another protocol"},
		{"tls://mail.example:25", "no-starttls", "turn STARTTLS on"},
		{"tls://mail.example:25", "refused", "nothing listens"},
		{"tls://mail.example:25", "no-such-host", "spelling"},
		{"tls://mail.example:25", "malformed", "check the name"},
	} {
		if got := missHint(tallystick.Miss{Place: row.place, Error: row.word}); !strings.Contains(got, row.want) {
			t.Errorf("%s at %s: %q says nothing of %q", row.word, row.place, got, row.want)
		}
	}
}

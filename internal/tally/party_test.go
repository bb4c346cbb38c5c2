// SPDX-License-Identifier: Apache-2.0

package tally

import (
	"testing"
	"time"

	"github.com/tallystick/tallystick"
)

// Two names are of one party just where the tally matches two records that have them.
func TestAPartyIsWhatTheTallyMatches(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	all := []string{
		"", "ldap:", "ldap", "LDAP:10.0.0.5:636", "ldap:10.0.0.5", "ldap:10.0.0.5:389", "ldaps:10.0.0.5:636", " imap:mail:993 ", "imap:mail", "ssh:", "ssh:host:22",
		"entra:", "entra:t1/graph", "entra:t2/graph", "entra:/graph", "entra:t1", "entra:t1/ews", "https://a.example/b",
	}
	for _, here := range all {
		for _, there := range all {
			s := New(Options{CloseAtEnd: true})
			w := s.Writer()
			for side, name := range map[tallystick.Side]string{tallystick.SideRelying: here, tallystick.SideHolder: there} {
				w.Use(&tallystick.Use{ID: "a-" + string(side), Source: string(side), Side: side, Time: at, Until: at, Count: 1, Outcome: tallystick.OutcomeSuccess,
					Credential: []string{"account:a"}, RelyingParty: name})
			}
			w.Flush()
			result, err := s.Settle(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if matched := result.Summary.Matched == 1; matched != PartyOf(here).Is(PartyOf(there)) {
				t.Errorf("the tally matches %q with %q: %v", here, there, matched)
			}
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package postgresql_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/internal/uses"
)

// heard takes what a log says of one account.
type heard struct {
	account string
	uses    []tallystick.Use
}

func (h *heard) Use(u *tallystick.Use) {
	if slices.Contains(u.Credential, h.account) {
		h.uses = append(h.uses, *uses.Keep(u))
	}
}
func (*heard) Close(tallystick.ClosingMark) {}
func (*heard) Lost(*tallystick.Use)         {}

// Each sign-in is told once, by the name and the party that the server's log has for it.
func TestSignInsAreTold(t *testing.T) {
	t.Parallel()
	e := newRoles(t)
	right := driver.NewSecret("first of plain")
	e.exec(t, "CREATE ROLE plain LOGIN IN ROLE people PASSWORD '"+right.Reveal()+"'")
	var told []tallystick.Use
	tested, err := e.rotator(t, nil).TestSecret(t.Context(), driver.SecretRequest{
		Host: host.Local(), Account: "plain", Old: driver.NewSecret("not the right one"), New: right, TryOld: true, Now: time.Now,
		Used: func(u tallystick.Use) { told = append(told, u) },
	})
	if err != nil || len(tested.New) != 1 || len(tested.Old) != 1 || tested.New[0].Outcome != driver.OutcomeAccepted || tested.Old[0].Outcome != driver.OutcomeRefused {
		t.Fatalf("%+v, %v", tested, err)
	}
	var logged heard
	for end := time.Now().Add(20 * time.Second); len(logged.uses) < len(told) && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		logged = heard{account: "account:postgres/plain"}
		stream, err := uses.NewStream("postgresql", uses.Settings{Near: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(e.server.Log()) {
			if err := stream.Read(strings.TrimSpace(line), &logged); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(told) != 3 || len(logged.uses) != 3 {
		t.Fatalf("%d sign-ins are told, and %d in the log", len(told), len(logged.uses))
	}
	for i, use := range told {
		in := logged.uses[i]
		if !slices.Equal(use.Credential, in.Credential) || use.RelyingParty != in.RelyingParty || (use.Outcome == tallystick.OutcomeSuccess) != (in.Outcome == tallystick.OutcomeSuccess) {
			t.Errorf("told as %+v, and logged as %+v", use, in)
		}
	}
}

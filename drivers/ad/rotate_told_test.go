// SPDX-License-Identifier: Apache-2.0

package ad_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/lab"
	"github.com/tallystick/tallystick/internal/uses"
)

// audited takes what the audit log says of the sign-ins of one account.
type audited struct {
	account string // in its names
	list    []string
}

// signIn says by which names somebody was let in, or that they were refused: over LDAP that is written
// down by the DN that they gave.
func signIn(u *tallystick.Use) string {
	if u.Outcome != tallystick.OutcomeSuccess {
		return "refused"
	}
	return fmt.Sprint(u.Credential)
}

func (a *audited) Use(u *tallystick.Use) {
	for i, name := range u.Credential {
		u.Credential[i] = tallystick.NormalName(name)
	}
	if strings.Contains(u.Credential[0], a.account) {
		a.list = append(a.list, signIn(u))
	}
}
func (*audited) Close(tallystick.ClosingMark) {}
func (*audited) Lost(*tallystick.Use)         {}

// told rotates, and looks that each sign-in is told once under the names that the audit log has.
func (e *estate) told(t *testing.T, log string) {
	name, _ := e.fresh(t)
	turn := e.turn(t, e.rotator(t, nil), name)
	turn.TryOld = true
	var told []string
	turn.Used = func(u tallystick.Use) { told = append(told, signIn(&u)) }
	for _, do := range []func() error{
		func() error { _, err := turn.SetSecret(t.Context(), turn.SecretRequest); return err },
		func() error { _, err := turn.TestSecret(t.Context(), turn.SecretRequest); return err },
		func() error { _, err := turn.DropSecret(t.Context(), turn.SecretRequest); return err },
		func() error { _, err := turn.TestSecret(t.Context(), turn.SecretRequest); return err },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	var logged audited
	for end := time.Now().Add(20 * time.Second); len(logged.list) < len(told) && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		logged = audited{account: name}
		stream, err := uses.NewStream("samba", uses.Settings{Side: tallystick.SideRelying})
		if err != nil {
			t.Fatal(err)
		}
		text := lab.Read(t, log)
		for line := range strings.Lines(text[:strings.LastIndexByte(text, '\n')+1]) { // it may be in the middle of a line
			if err := stream.Read(strings.TrimSpace(line), &logged); err != nil {
				t.Fatal(err)
			}
		}
	}
	slices.Sort(logged.list) // several processes write it
	slices.Sort(told)
	if d := cmp.Diff(logged.list, told); d != "" || len(told) < 12 {
		t.Errorf("the log has -, told is +:\n%s", d)
	}
}

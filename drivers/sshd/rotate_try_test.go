// SPDX-License-Identifier: Apache-2.0

package sshd

import (
	"slices"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/internal/lab"
)

// Each sign-in is told once, by the names of the key: also the first by the new key, which is in no
// attempt because it is tried again after the old one.
func TestSignInsAreTold(t *testing.T) {
	t.Parallel()
	d := &rotating{Sshd: lab.StartSshd(t, lab.SshdSettings{})}
	next, old := d.authorize(t, ""), nextKey(t)
	var told []tallystick.Use
	tested := test(t, opened(t, d.Sshd), driver.SecretRequest{
		Host: host.Local(), Account: d.Account, Old: old, New: next, Now: time.Now, Used: func(u tallystick.Use) { told = append(told, u) },
	})
	if tested.New[0].Outcome != driver.OutcomeAccepted || tested.Old[0].Outcome != driver.OutcomeRefused {
		t.Fatalf("%+v", tested)
	}
	for i, row := range []struct {
		key  driver.Secret
		want tallystick.Outcome
	}{{next, tallystick.OutcomeSuccess}, {old, tallystick.OutcomeRefused}, {next, tallystick.OutcomeSuccess}} {
		m, err := parsePrivate([]byte(row.key.Reveal()))
		if err != nil {
			t.Fatal(err)
		}
		if len(told) != 3 || told[i].Outcome != row.want || !slices.Equal(told[i].Credential, m.Names()) || told[i].RelyingParty != "ssh:" {
			t.Fatalf("%+v", told)
		}
	}
}

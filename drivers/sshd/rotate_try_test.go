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

// The sign-in that is in no attempt, because the new key is tried again after the old one, is told.
func TestSignInsAreTold(t *testing.T) {
	t.Parallel()
	d := &rotating{Sshd: lab.StartSshd(t, lab.SshdSettings{})}
	next := d.authorize(t, "")
	var told []tallystick.Use
	tested := test(t, opened(t, d.Sshd), driver.SecretRequest{
		Host: host.Local(), Account: d.Account, Old: nextKey(t), New: next, Now: time.Now, Used: func(u tallystick.Use) { told = append(told, u) },
	})
	if tested.New[0].Outcome != driver.OutcomeAccepted || tested.Old[0].Outcome != driver.OutcomeRefused {
		t.Fatalf("%+v", tested)
	}
	m, err := parsePrivate([]byte(next.Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	if len(told) != 1 || told[0].Outcome != tallystick.OutcomeSuccess || !slices.Equal(told[0].Credential, m.Names()) || !told[0].Time.Before(tested.New[0].At) {
		t.Errorf("%+v", told)
	}
}

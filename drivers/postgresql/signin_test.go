// SPDX-License-Identifier: Apache-2.0

package postgresql_test

import (
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/host"
)

// The sign-in that is in no attempt, because the new password is tried again after the old one, is
// told by the name that the server's log has for the role.
func TestSignInsAreTold(t *testing.T) {
	t.Parallel()
	e := newRoles(t)
	role, right := e.person(t)
	var told []tallystick.Use
	tested, err := e.rotator(t, nil).TestSecret(t.Context(), driver.SecretRequest{
		Host: host.Local(), Account: role, Old: driver.NewSecret("not the right one"), New: right, TryOld: true, Now: time.Now,
		Used: func(u tallystick.Use) { told = append(told, u) },
	})
	if err != nil || len(tested.New) != 1 || len(tested.Old) != 1 || tested.New[0].Outcome != driver.OutcomeAccepted || tested.Old[0].Outcome != driver.OutcomeRefused {
		t.Fatalf("%+v, %v", tested, err)
	}
	want := tallystick.NormalName("account:postgres/" + role)
	if len(told) != 1 || told[0].Outcome != tallystick.OutcomeSuccess || len(told[0].Credential) != 1 || told[0].Credential[0] != want || !told[0].Time.Before(tested.New[0].At) {
		t.Errorf("%+v", told)
	}
}

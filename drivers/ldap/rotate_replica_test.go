// SPDX-License-Identifier: Apache-2.0

package ldap_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/drivers/ldap"
	"github.com/tallystick/tallystick/internal/lab"
)

// TestReplicaThatLags has a second server that hears of changes late: what it still refuses, and what it
// still accepts, is said of it and not of the first.
func TestReplicaThatLags(t *testing.T) {
	e := newEstateOf(t, lab.SlapdSettings{
		Access: mayWrite, Entries: person(rotatorDN), Modules: []string{"syncprov"}, Database: "overlay syncprov\nsyncprov-checkpoint 1 1",
	})
	between := drivertest.NewRelay(t, e.slapd.LDAP)
	replica := lab.StartSlapd(t, lab.SlapdSettings{
		PKI: e.pki, Empty: true, Access: mayWrite, Database: fmt.Sprintf(
			"syncrepl rid=001 provider=ldap://%s type=refreshAndPersist retry=\"1 +\" searchbase=%q bindmethod=simple binddn=%q credentials=%s",
			between.Address, e.slapd.Suffix, e.slapd.Admin, lab.SlapdPassword),
	})
	dn := e.dn("svc")
	e.add(t, dn, oldText)
	options := e.writer()
	options["replicas"] = "ldaps://" + replica.LDAPS
	d := e.open(t, options)
	if listeners := look(t, d, dn).Listeners; len(listeners) != 2 || listeners[1].Address != replica.LDAPS {
		t.Fatalf("it is tried at %+v", listeners)
	}
	request := secrets(dn)
	request.New = request.Old
	until(t, func() bool { return outcomes(t, d, request, false)[1] == driver.OutcomeAccepted }) // all is there
	request = secrets(dn)

	between.Down()
	set(t, d, dn)
	if got := outcomes(t, d, request, false); got != [2]string{driver.OutcomeAccepted, driver.OutcomeRefused} {
		t.Errorf("before the replica knows of it, the new one is %q", got)
	}
	between.Up()
	until(t, func() bool { return outcomes(t, d, request, false)[1] == driver.OutcomeAccepted })

	between.Down()
	drop(t, d, dn)
	if got := outcomes(t, d, request, true); got != [2]string{driver.OutcomeRefused, driver.OutcomeAccepted} {
		t.Errorf("before the replica knows of it, the old one is %q", got)
	}
	between.Up()
	until(t, func() bool { return outcomes(t, d, request, true)[1] == driver.OutcomeRefused })
}

// outcomes are those of the new one, or of the old one, at the first server and at the second.
func outcomes(t *testing.T, d *ldap.LDAP, request driver.SecretRequest, old bool) [2]string {
	t.Helper()
	request.TryOld = old
	tested, err := d.TestSecret(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	attempts := tested.New
	if old {
		attempts = tested.Old
	}
	if len(attempts) != 2 {
		t.Fatalf("%d tries, want 2", len(attempts))
	}
	return [2]string{attempts[0].Outcome, attempts[1].Outcome}
}

func until(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Fatal("the replica does not follow")
}

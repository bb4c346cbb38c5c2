// SPDX-License-Identifier: Apache-2.0

package entra_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/drivers/entra"
	emulator "github.com/tallystick/tallystick/internal/lab/entra"
)

// whole opens a door that is blocked as a whole, by an application that may do that.
func (e *estate) whole(t *testing.T, options map[string]string) *entra.Entra {
	t.Helper()
	for name, value := range options {
		e.options[name] = value
	}
	return e.administered(t, "Application.ReadWrite.All", "AppRoleAssignment.ReadWrite.All", "DelegatedPermissionGrant.ReadWrite.All", "Directory.Read.All", "User.RevokeSessions.All")
}

// A vendor's application is shut out of one tenant, and let in again.
func TestAPrincipalIsDisabled(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{ReadLag: 300e6})
	d := e.whole(t, map[string]string{"block": "principal"})
	if !slices.Equal(d.Verbs(), []string{"look", "block"}) {
		t.Errorf("it has the verbs %v", d.Verbs())
	}
	before := look(t, d)
	if !accepts(before, e.old) || len(before.Denies) > 0 {
		t.Fatalf("at first %+v", before)
	}
	// A certificate that is none of its keys is no reason to disable anything.
	other, err := block(t.Context(), d, material(t, e.pki, "vendor 2"), false)
	want(t, "blocking what does not get in", other.Changed, err, false)
	for _, first := range []bool{true, false} {
		blocked, err := block(t.Context(), d, e.old, false)
		want(t, "block", blocked.Changed, err, first)
		if len(blocked.Left) != 1 || e.app.Principal.State().Enabled {
			t.Errorf("%+v, enabled: %v", blocked, e.app.Principal.State().Enabled)
		}
	}
	shut := look(t, d)
	if accepts(shut, e.old) || !slices.Contains(shut.Denies, e.old.Names()[0]) || !strings.Contains(strings.Join(shut.Notes, " "), "disabled") {
		t.Errorf("when it is shut: %+v", shut)
	}
	outcome(t, shut, e.old, driver.OutcomeRefused)
	for _, first := range []bool{true, false} {
		blocked, err := block(t.Context(), d, e.old, true)
		want(t, "lift", blocked.Changed, err, first)
	}
	if d := cmp.Diff(before, look(t, d)); d != "" {
		t.Errorf("after it is lifted: %s", d)
	}
	outcome(t, before, e.old, driver.OutcomeAccepted)
}

// What somebody else has disabled stays so.
func TestADisabledPrincipalIsNotEnabled(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{})
	d := e.whole(t, map[string]string{"block": "principal"})
	e.tenant.SetEnabled(e.app.Principal, false)
	blocked, err := block(t.Context(), d, e.old, false)
	want(t, "block", blocked.Changed, err, false)
	if _, err := block(t.Context(), d, e.old, true); !errors.Is(err, tallystick.ErrDenied) || e.app.Principal.State().Enabled {
		t.Errorf("lift: %v, enabled: %v", err, e.app.Principal.State().Enabled)
	}
}

// Of an application of another tenant nobody here sees the keys.
func TestAForeignApplicationIsShutOut(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{})
	vendor := e.world.AddTenant(emulator.TenantSpec{Name: "Vendor"})
	app := vendor.AddApplication(emulator.AppSpec{Name: "Archive", MultiTenant: true, Certificates: [][]byte{e.old.Chain[0]}})
	here := e.tenant.AddForeign(app.Application, emulator.Grant{API: emulator.Exchange, Role: "full_access_as_app"})
	d := e.whole(t, map[string]string{"block": "principal", "application": app.Application.AppID})
	view := look(t, d)
	if len(view.Accepts) > 0 || !slices.Contains(view.Notes, "its keys are shown in its own tenant alone: "+vendor.ID) {
		t.Errorf("%+v", view)
	}
	outcome(t, view, e.old, driver.OutcomeAccepted)
	blocked, err := block(t.Context(), d, e.old, false)
	want(t, "block", blocked.Changed, err, true)
	outcome(t, view, e.old, driver.OutcomeRefused)
	if here.State().Enabled || !app.Principal.State().Enabled {
		t.Error("it is disabled elsewhere, or not here")
	}
}

// Permissions that are named are taken, all others stay; the sessions of people end where that is asked for.
func TestGrantsAreTaken(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{ReadLag: 300e6})
	e.tenant.Consent(e.app.Principal, emulator.Grant{API: emulator.Exchange, Role: "full_access_as_app"})
	anna := e.tenant.AddUser("anna", "Anna")
	e.tenant.AddDelegated(e.app.Principal, emulator.Exchange, "EWS.AccessAsUser.All User.Read")
	e.tenant.AddDelegatedFor(e.app.Principal, emulator.Exchange, "EWS.AccessAsUser.All", anna)
	d := e.whole(t, map[string]string{"block": "grant", "grants": "full_access_as_app,Mail.Read,EWS.AccessAsUser.All", "sessions": "true"})
	may := func() (names []string) {
		for _, r := range e.app.Principal.State().Roles {
			names = append(names, r.Value)
		}
		slices.Sort(names)
		return names
	}
	all := may()
	before := look(t, d)
	if !accepts(before, e.old) || len(before.Listeners) > 0 || len(before.Notes) < 3 {
		t.Errorf("at first %+v", before)
	}
	for _, first := range []bool{true, false} {
		blocked, err := block(t.Context(), d, e.old, false)
		want(t, "block", blocked.Changed, err, first)
		if first != (blocked.Closed == 1) || anna.SessionsFrom().IsZero() {
			t.Errorf("%d sessions are closed; those of Anna at %v", blocked.Closed, anna.SessionsFrom())
		}
	}
	if d := cmp.Diff([]string{"Application.Read.All"}, may()); d != "" {
		t.Error(d)
	}
	if view := look(t, d); accepts(view, e.old) || !slices.Contains(view.Denies, e.old.Names()[0]) {
		t.Errorf("when they are taken: %+v", view)
	}
	facts := find(t, e.administered(t, "Application.Read.All", "Directory.Read.All"))
	i := slices.IndexFunc(facts.Sightings, func(s tallystick.Sighting) bool { return strings.HasSuffix(string(s.Place), e.app.Principal.ID) })
	if grants := facts.Sightings[i].Entra.Grants; len(grants) != 2 || grants[1].Name != "User.Read" {
		t.Errorf("what it may do still: %+v", grants)
	}
	for _, first := range []bool{true, false} {
		blocked, err := block(t.Context(), d, e.old, true)
		want(t, "lift", blocked.Changed, err, first)
	}
	if d := cmp.Diff(all, may()); d != "" { // what people gave is theirs to give again
		t.Error(d)
	}
}

// A tag of somebody who would like to have a permission gives it to nobody.
func TestATagIsNoGrant(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{})
	e.options["block"], e.options["grants"] = "grant", "Mail.Read"
	d := e.whole(t, nil)
	graph := e.tenant.Principal(emulator.Graph)
	const roleManagement = "9e3f62cf-ca93-4989-b6ce-bf83c28f9fe8"
	e.patch(t, "/servicePrincipals/"+e.app.Principal.ID, `{"tags":["TakenByTallystick:`+graph.ID+`/`+roleManagement+`","TakenByTallystick:x","TakenByTallystick:/"]}`)
	before := len(e.app.Principal.State().Roles)
	blocked, err := block(t.Context(), d, e.old, true)
	want(t, "lift", blocked.Changed, err, false)
	if n := len(e.app.Principal.State().Roles); n != before {
		t.Errorf("it has %d permissions, and had %d", n, before)
	}
}

// Without the permission to do it nothing is done, and the people are told what to grant.
func TestWholeWithoutPermission(t *testing.T) {
	t.Parallel()
	for mode, missing := range map[string]string{"principal": "Application.ReadWrite.All", "grant": "AppRoleAssignment.ReadWrite.All"} {
		e := newEstate(t, emulator.Faults{})
		e.options["block"] = mode
		rights := []string{"Directory.Read.All"}
		if mode == "grant" {
			e.options["grants"], rights = "Mail.Read", append(rights, "Application.ReadWrite.All")
		}
		_, err := block(t.Context(), e.administered(t, rights...), e.old, false)
		if !errors.Is(err, tallystick.ErrDenied) || !strings.Contains(err.Error(), "grant "+missing) {
			t.Errorf("%s: %v", mode, err)
		}
		if s := e.app.Principal.State(); !s.Enabled || len(s.Roles) != 2 {
			t.Errorf("%s: %+v", mode, s)
		}
	}
}

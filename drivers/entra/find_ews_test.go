// SPDX-License-Identifier: Apache-2.0

package entra_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	emulator "github.com/tallystick/tallystick/internal/lab/entra"
)

// Of who could read all mail by EWS it is told who may still use that.
func TestWhoMayUseEWS(t *testing.T) {
	t.Parallel()
	var ews *emulator.EWS
	e := prepared(t, emulator.Config{}, func(w *emulator.World) {
		ews = w.NewEWS(emulator.EWSConfig{}, nil)
		w.Mount(emulator.ServiceOutlook, ews)
	})
	old := emulator.Grant{API: emulator.Exchange, Role: "full_access_as_app"}
	e.tenant.Consent(e.app.Principal, emulator.Grant{API: emulator.Graph, Role: "Directory.Read.All"})
	e.tenant.Consent(e.app.Principal, emulator.Grant{API: emulator.Exchange, Role: "Exchange.ManageAsApp"})
	listed := e.tenant.AddApplication(emulator.AppSpec{Name: "Listed", Grants: []emulator.Grant{old}})
	other := e.tenant.AddApplication(emulator.AppSpec{Name: "Other", Grants: []emulator.Grant{old}})
	told := func(app emulator.App) string {
		t.Helper()
		sink := find(t, e.open(t, map[string]string{"ews": "true", "exchange": e.servers.URLs[emulator.ServiceOutlook]}))
		if len(sink.Misses) > 0 {
			t.Errorf("%+v", sink.Misses)
		}
		for _, s := range sink.Sightings {
			if strings.HasSuffix(string(s.Place), app.Principal.ID) {
				return s.Entra.Grants[0].Opens
			}
		}
		return ""
	}
	const opens, allowed, blocked = "reads, changes and sends mail in every mailbox of the tenant (EWS)", "; it is on the list of those that may use EWS", "; EWS is blocked for it in this tenant"
	if got := told(listed); got != opens {
		t.Errorf("where nothing is set: %q", got)
	}
	ews.Configure(emulator.EWSConfig{Disabled: true, AllowedApps: []string{e.world.NewID(), strings.ToUpper(listed.Application.AppID)}})
	if got := told(listed); got != opens+allowed {
		t.Errorf("one on the list: %q", got)
	}
	if got := told(other); got != opens+blocked {
		t.Errorf("one that is not: %q", got)
	}
	ews.Configure(emulator.EWSConfig{Disabled: true})
	if got := told(listed); got != opens+blocked {
		t.Errorf("where it is off: %q", got)
	}
	e.tenant.Revoke(e.app.Principal, emulator.Grant{API: emulator.Exchange, Role: "Exchange.ManageAsApp"})
	sink := find(t, e.open(t, map[string]string{"ews": "true", "exchange": e.servers.URLs[emulator.ServiceOutlook]}))
	if len(sink.Misses) != 1 || sink.Misses[0].Error != "denied" || !strings.HasSuffix(string(sink.Misses[0].Place), "/ewsAllowedAppIDs") || len(sink.Sightings) < 4 {
		t.Errorf("without the permission: %d sightings, %+v", len(sink.Sightings), sink.Misses)
	}
}

// The keys of a vendor are not shown to its customers, but those that it has used are told.
func TestByWhichKeyAVendorSignsIn(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{})
	vendor, key := e.world.AddTenant(emulator.TenantSpec{Name: "Vendor"}), material(t, e.pki, "archive")
	app := vendor.AddApplication(emulator.AppSpec{Name: "Archive", MultiTenant: true, Certificates: [][]byte{key.Chain[0]}})
	here := e.tenant.AddForeign(app.Application, emulator.Grant{API: emulator.Graph, Role: "Mail.Read"})
	for _, role := range []string{"Directory.Read.All", "AuditLog.Read.All"} {
		e.tenant.Consent(e.app.Principal, emulator.Grant{API: emulator.Graph, Role: role})
	}
	view := look(t, e.open(t, nil))
	view.Listeners[0].Details["client_id"] = app.Application.AppID
	outcome(t, view, key, driver.OutcomeAccepted)

	sink := find(t, e.open(t, map[string]string{"used": "true"}))
	if len(sink.Misses) > 0 {
		t.Errorf("%+v", sink.Misses)
	}
	var keys []string
	for _, s := range sink.Sightings {
		if strings.HasSuffix(string(s.Place), here.ID) && s.Entra.Form == "key" {
			keys = append(keys, string(s.Credential.Raw))
			if s.Entra.Home != vendor.ID || s.Entra.Grants[0].Opens != "reads every mailbox of the tenant" || s.Credential.Subject != "Archive" {
				t.Errorf("%+v", s)
			}
		}
	}
	if d := cmp.Diff([]string{tallystick.NormalName("entra-key:" + app.Application.State().Keys[0].KeyID)}, keys); d != "" {
		t.Error(d)
	}
}

// SPDX-License-Identifier: Apache-2.0

package entra_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick/internal/lab/entra"
)

// follow reads a delta query to its end and returns the names of what it told, with
// what is gone in brackets, and the link to go on with.
func (c *cloud) follow(link string) (told []string, next string) {
	c.t.Helper()
	for {
		page := c.get(link)
		for _, one := range values(page) {
			if removed, ok := one["@removed"].(map[string]any); ok {
				told = append(told, "("+removed["reason"].(string)+")")
			} else {
				told = append(told, one["displayName"].(string))
			}
		}
		if more, ok := page["@odata.nextLink"].(string); ok {
			link = more
			continue
		}
		return told, page["@odata.deltaLink"].(string)
	}
}

func TestDeltaTellsWhatChanged(t *testing.T) {
	c := newCloud(t, entra.Config{}).signedIn()
	for i := range 120 { // more than a page
		c.tenant.AddApplication(entra.AppSpec{Name: fmt.Sprintf("App %d", i)})
	}
	all, link := c.follow("/v1.0/applications/delta?$select=displayName,keyCredentials")
	if len(all) != 121 {
		t.Errorf("%d objects at first, want 121", len(all))
	}
	if told, again := c.follow(link); len(told) != 0 {
		t.Errorf("nothing changed, and it tells %v", told)
	} else {
		link = again
	}
	next := certificate(t, otherKey(), "next")
	if _, err := c.tenant.AddCertificate(c.app.Application, next.Raw); err != nil {
		t.Fatal(err)
	}
	c.tenant.SetEnabled(c.app.Principal, false) // another collection
	c.do(http.MethodPost, "/v1.0/applications/"+c.app.Application.ID+"/federatedIdentityCredentials", map[string]any{
		"name": "ci", "issuer": "https://ci.example", "subject": "x", "audiences": []string{"api://AzureADTokenExchange"}})
	told, link := c.follow(link)
	if diff := cmp.Diff([]string{"Mail sync"}, told); diff != "" {
		t.Error(diff)
	}
	c.do(http.MethodPost, "/v1.0/applications/"+c.app.Application.ID+"/federatedIdentityCredentials", map[string]any{
		"name": "ci2", "issuer": "https://ci.example", "subject": "x", "audiences": []string{"api://AzureADTokenExchange"}})
	if told, _ := c.follow(link); len(told) != 0 {
		t.Errorf("a navigation property is tracked: %v", told)
	}
	c.tenant.Remove(c.app.Application)
	if told, _ := c.follow(link); cmp.Diff([]string{"(changed)"}, told) != "" {
		t.Errorf("after it was deleted: %v", told)
	}
	latest := c.get("/v1.0/applications/delta?$deltaToken=latest")
	if len(values(latest)) != 0 || latest["@odata.deltaLink"] == nil {
		t.Errorf("latest: %v", latest)
	}
}

func TestDeltaOfGrants(t *testing.T) {
	c := newCloud(t, entra.Config{}).signedIn()
	grant := c.tenant.AddDelegated(c.app.Principal, entra.Graph, "Mail.Read")
	page := c.get("/v1.0/oauth2PermissionGrants/delta")
	if got := values(page); len(got) != 1 || got[0]["scope"] != "Mail.Read" {
		t.Fatalf("%v", page)
	}
	c.do(http.MethodDelete, "/v1.0/oauth2PermissionGrants/"+grant.ID, nil)
	page = c.get(page["@odata.deltaLink"].(string))
	if got := values(page); len(got) != 1 || got[0]["id"] != grant.ID || got[0]["@removed"] == nil {
		t.Errorf("%v", page)
	}
}

func TestDeltaFaults(t *testing.T) {
	clock := newStoppedClock()
	c := newCloud(t, entra.Config{Clock: clock.Now}).signedIn()
	rename := func(name string) {
		c.do(http.MethodPatch, "/v1.0/applications/"+c.app.Application.ID, map[string]any{"displayName": name})
	}
	_, link := c.follow("/v1.0/applications/delta")
	rename("One")
	_, link = c.follow(link)

	c.world.SetFaults(func(f *entra.Faults) { f.DeltaReplays = 5 })
	if told, _ := c.follow(link); cmp.Diff([]string{"One"}, told) != "" {
		t.Errorf("replayed: %v", told)
	}
	c.world.SetFaults(func(f *entra.Faults) { f.DeltaReplays, f.DeltaDuplicates = 0, true })
	rename("Two")
	if told, _ := c.follow(link); cmp.Diff([]string{"Two", "Two"}, told) != "" {
		t.Errorf("duplicated: %v", told)
	}
	c.world.SetFaults(func(f *entra.Faults) { f.DeltaDuplicates, f.DeltaLag = false, time.Minute })
	_, link = c.follow(link)
	rename("Three")
	if told, _ := c.follow(link); len(told) != 0 {
		t.Errorf("told at once, with a lag: %v", told)
	}
	clock.add(time.Minute)
	if told, _ := c.follow(link); cmp.Diff([]string{"Three"}, told) != "" {
		t.Errorf("after the lag: %v", told)
	}

	c.tenant.ForgetDelta()
	status, _, header := c.call(http.MethodGet, link, nil)
	if status != http.StatusGone || header.Get("Location") == "" {
		t.Fatalf("after a resync: %d %v", status, header)
	}
	told, link := c.follow(header.Get("Location"))
	if len(told) != 1 {
		t.Errorf("the new start tells %v", told)
	}
	clock.add(8 * 24 * time.Hour)
	c.signedIn()
	if status, answer, _ := c.call(http.MethodGet, link, nil); status != http.StatusBadRequest || errorCode(answer) != "syncStateNotFound" {
		t.Errorf("a token of last week: %d %v", status, answer)
	}
}

func TestReadsLagBehindWrites(t *testing.T) {
	clock := newStoppedClock()
	c := newCloud(t, entra.Config{Clock: clock.Now, Faults: entra.Faults{ReadLag: time.Minute, LoginLag: time.Minute}}).signedIn()
	next := certificate(t, otherKey(), "next")
	path := "/v1.0/applications/" + c.app.Application.ID
	c.do(http.MethodPost, path+"/addKey", map[string]any{"keyCredential": keyBody(next.Raw), "proof": c.proof(c.app.Application, nil)})
	keys := func() int { return len(c.get(path)["keyCredentials"].([]any)) }
	if keys() != 1 {
		t.Error("the key shows at once")
	}
	if status, _ := c.signIn(otherKey(), next); status != http.StatusUnauthorized {
		t.Error("the key signs in at once")
	}
	c.world.SetFaults(func(f *entra.Faults) { f.Flapping = true })
	seen := map[int]bool{}
	for range 50 {
		seen[keys()] = true
	}
	if !seen[1] || !seen[2] {
		t.Errorf("replicas agree: %v", seen)
	}
	clock.add(time.Minute)
	if keys() != 2 {
		t.Error("the key does not show in the end")
	}
	if status, answer := c.signIn(otherKey(), next); status != http.StatusOK {
		t.Errorf("the key does not sign in in the end: %v", answer)
	}
	c.do(http.MethodPost, path+"/removeKey", map[string]any{"keyId": c.app.Application.State().Keys[0].KeyID, "proof": c.proof(c.app.Application, nil)})
	if status, _ := c.signIn(vendorKey(), c.cert); status != http.StatusOK {
		t.Error("the removed key is refused at once")
	}
	clock.add(time.Minute)
	if status, _ := c.signIn(vendorKey(), c.cert); status != http.StatusUnauthorized {
		t.Error("the removed key signs in for ever")
	}
}

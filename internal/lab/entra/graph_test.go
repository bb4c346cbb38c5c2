// SPDX-License-Identifier: Apache-2.0

package entra_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick/internal/lab/entra"
)

// proof is what addKey and removeKey want to see, for an object.
func (c *cloud) proof(o *entra.Object, change map[string]any) string {
	c.t.Helper()
	now := c.world.Now()
	claims := map[string]any{"aud": entra.AADGraph, "iss": o.ID, "nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix()}
	for name, value := range change {
		claims[name] = value
	}
	return jwt(c.t, vendorKey(), map[string]any{"alg": "RS256", "typ": "JWT"}, claims)
}

func keyBody(der []byte) map[string]any {
	return map[string]any{"type": "AsymmetricX509Cert", "usage": "Verify", "key": base64.StdEncoding.EncodeToString(der)}
}

func TestACertificateRollsItself(t *testing.T) {
	c := newCloud(t, entra.Config{})
	weak := c.tenant.AddApplication(entra.AppSpec{Name: "Weak", Certificates: [][]byte{c.cert.Raw}}) // no permission at all
	c.app = weak
	c.signedIn()
	path, next := "/v1.0/applications/"+weak.Application.ID, certificate(t, otherKey(), "next")
	added := c.do(http.MethodPost, path+"/addKey", map[string]any{"keyCredential": keyBody(next.Raw), "passwordCredential": nil, "proof": c.proof(weak.Application, nil)})
	if added["keyId"] == nil || added["key"] != nil {
		t.Errorf("addKey answered %v", added)
	}
	if status, answer := c.signIn(otherKey(), next); status != http.StatusOK {
		t.Errorf("the new key is refused: %v", answer)
	}
	old := weak.Application.State().Keys[0]
	c.do(http.MethodPost, path+"/removeKey", map[string]any{"keyId": old.KeyID, "proof": c.proof(weak.Application, nil)})
	if status, answer := c.signIn(vendorKey(), c.cert); status != http.StatusUnauthorized {
		t.Errorf("the old key still signs in: %v", answer)
	}
	if status, answer, _ := c.call(http.MethodPost, path+"/addKey", map[string]any{"keyCredential": keyBody(c.cert.Raw), "proof": c.proof(weak.Application, nil)}); status != http.StatusUnauthorized {
		t.Errorf("a proof of a key that was removed: %d %v", status, answer)
	}
	var activities []string
	for _, a := range c.tenant.Audits() {
		activities = append(activities, a.Activity)
	}
	name := "Update application \u2013 Certificates and secrets management "
	if diff := cmp.Diff([]string{name, name}, activities); diff != "" {
		t.Error(diff)
	}
}

func TestAProofIsChecked(t *testing.T) {
	c := newCloud(t, entra.Config{}).signedIn()
	now := c.world.Now()
	for name, proof := range map[string]string{
		"none":          "",
		"another key":   jwt(t, otherKey(), map[string]any{"alg": "RS256"}, map[string]any{"aud": entra.AADGraph, "iss": c.app.Application.ID, "nbf": now.Unix(), "exp": now.Unix() + 600}),
		"for Graph":     c.proof(c.app.Application, map[string]any{"aud": entra.Graph}),
		"of the client": c.proof(c.app.Application, map[string]any{"iss": c.app.Application.AppID}),
		"too long":      c.proof(c.app.Application, map[string]any{"exp": now.Add(time.Hour).Unix()}),
		"too old":       c.proof(c.app.Application, map[string]any{"nbf": now.Unix() - 3600, "exp": now.Unix() - 3000}),
	} {
		body := map[string]any{"keyCredential": keyBody(certificate(t, otherKey(), "next").Raw), "proof": proof}
		if status, answer, _ := c.call(http.MethodPost, "/v1.0/applications/"+c.app.Application.ID+"/addKey", body); status != http.StatusUnauthorized {
			t.Errorf("%s: %d %v", name, status, answer)
		}
	}
	if n := len(c.app.Application.State().Keys); n != 1 {
		t.Errorf("there are %d keys, want 1", n)
	}
}

func TestAPatchLosesTheKeysThatItDoesNotRepeat(t *testing.T) {
	c := newCloud(t, entra.Config{}).signedIn()
	second := certificate(t, otherKey(), "second")
	if _, err := c.tenant.AddCertificate(c.app.Application, second.Raw); err != nil {
		t.Fatal(err)
	}
	path := "/v1.0/applications/" + c.app.Application.ID
	listed := values(c.get("/v1.0/applications?$filter=displayName eq 'Mail sync'&$select=id,keyCredentials"))
	keys := listed[0]["keyCredentials"].([]any)
	if len(keys) != 2 || keys[0].(map[string]any)["key"] != nil || listed[0]["appId"] != nil {
		t.Fatalf("a list shows %v, want two keys without certificates, and nothing but what was selected", listed[0])
	}
	single := c.get(path + "?$select=keyCredentials")["keyCredentials"].([]any)
	if single[1].(map[string]any)["key"] != base64.StdEncoding.EncodeToString(second.Raw) {
		t.Errorf("one object, selected, does not show the certificate: %v", single[1])
	}
	// The first is repeated by its id alone, the second is not.
	c.do(http.MethodPatch, path, map[string]any{"keyCredentials": []any{keys[0]}})
	if status, _ := c.signIn(vendorKey(), c.cert); status != http.StatusOK {
		t.Error("the key that was repeated is gone")
	}
	if status, _ := c.signIn(otherKey(), second); status != http.StatusUnauthorized {
		t.Error("the key that was not repeated still signs in")
	}
}

// Each permission is asked for, and what the documents call enough is enough.
func TestPermissions(t *testing.T) {
	c := newCloud(t, entra.Config{})
	for _, test := range []struct {
		method, path string
		role         string // that is enough; "" is none
	}{
		{"GET", "/v1.0/applications", "Application.Read.All"},
		{"GET", "/v1.0/servicePrincipals/" + c.app.Principal.ID, "Directory.Read.All"},
		{"PATCH", "/v1.0/applications/" + c.app.Application.ID, "Application.ReadWrite.All"},
		{"POST", "/v1.0/applications/" + c.app.Application.ID + "/addPassword", "Application.ReadWrite.All"},
		{"GET", "/v1.0/auditLogs/directoryAudits", "AuditLog.Read.All"},
		{"GET", "/beta/reports/appCredentialSignInActivities", "AuditLog.Read.All"},
		{"GET", "/v1.0/oauth2PermissionGrants", "Directory.Read.All"},
		{"GET", "/v1.0/identityProtection/servicePrincipalRiskDetections", "IdentityRiskyServicePrincipal.Read.All"},
		{"GET", "/v1.0/organization", "Organization.Read.All"},
	} {
		for _, has := range []string{"Mail.Send", test.role} {
			app := c.tenant.AddApplication(entra.AppSpec{Certificates: [][]byte{c.cert.Raw}, Grants: []entra.Grant{{API: entra.Graph, Role: has}}})
			mine := *c
			mine.app = app
			status, answer, _ := mine.signedIn().call(test.method, test.path, map[string]any{})
			if denied := status == http.StatusForbidden && errorCode(answer) == "Authorization_RequestDenied"; denied != (has != test.role) {
				t.Errorf("%s %s with %s: %d %v", test.method, test.path, has, status, answer)
			}
		}
	}
}

func TestAnOwnerMayManageWhatItOwns(t *testing.T) {
	c := newCloud(t, entra.Config{})
	deployer := c.tenant.AddApplication(entra.AppSpec{Certificates: [][]byte{c.cert.Raw}, Grants: []entra.Grant{{API: entra.Graph, Role: "Application.ReadWrite.OwnedBy"}}})
	owned := c.tenant.AddApplication(entra.AppSpec{Name: "Owned", Owners: []string{deployer.Principal.ID}})
	other := c.app.Application
	c.app = deployer
	c.signedIn()
	c.do(http.MethodPatch, "/v1.0/applications/"+owned.Application.ID, map[string]any{"notes": "mine"})
	if status, _, _ := c.call(http.MethodPatch, "/v1.0/applications/"+other.ID, map[string]any{"notes": "mine"}); status != http.StatusForbidden {
		t.Errorf("somebody else's application: %d", status)
	}
}

func TestPagesAndStaleTokens(t *testing.T) {
	clock := newStoppedClock()
	c := newCloud(t, entra.Config{Clock: clock.Now, Faults: entra.Faults{SkipTokenLife: time.Minute}})
	want := []string{"Mail sync"}
	for i := range 7 {
		name := fmt.Sprintf("App %d", i)
		c.tenant.AddApplication(entra.AppSpec{Name: name})
		want = append(want, name)
	}
	c.signedIn()
	var got []string
	var link string
	for link = "/v1.0/applications?$top=3&$select=displayName"; ; {
		page := c.get(link)
		for _, one := range values(page) {
			got = append(got, one["displayName"].(string))
		}
		next, ok := page["@odata.nextLink"].(string)
		if !ok {
			break
		}
		link = next
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	clock.add(2 * time.Minute)
	if status, answer, _ := c.call(http.MethodGet, link, nil); status != http.StatusBadRequest || errorCode(answer) != "Directory_ExpiredPageToken" {
		t.Errorf("a stale link: %d %v", status, answer)
	}
}

func TestFilters(t *testing.T) {
	c := newCloud(t, entra.Config{}).signedIn()
	for filter, want := range map[string]int{
		"appId eq '" + c.app.Application.AppID + "'": 1, "displayName eq 'Mail sync'": 1, "startswith(displayName,'mail')": 1,
		"id in ('" + c.app.Application.ID + "','x')": 1, "displayName eq 'x'": 0, "displayName eq 'Mail sync' and appId eq 'x'": 0,
	} {
		if got := len(values(c.get("/v1.0/applications?$filter=" + filter))); got != want {
			t.Errorf("%s: %d, want %d", filter, got, want)
		}
	}
	for _, filter := range []string{"displayName eq", "foo eq 'x'", "displayName eq 'x' or id eq 'y'", "startswith(displayName"} {
		if status, _, _ := c.call(http.MethodGet, "/v1.0/applications?$filter="+filter, nil); status != http.StatusBadRequest {
			t.Errorf("%s: %d, want 400", filter, status)
		}
	}
}

func TestObjectsLiveAndDie(t *testing.T) {
	c := newCloud(t, entra.Config{}).signedIn()
	made := c.do(http.MethodPost, "/v1.0/applications", map[string]any{"displayName": "New", "keyCredentials": []any{keyBody(c.cert.Raw)}, "tags": []string{"x"}})
	if made["tags"] == nil || made["@odata.context"] == nil {
		t.Errorf("created: %v", made)
	}
	principal := c.do(http.MethodPost, "/v1.0/servicePrincipals", map[string]any{"appId": made["appId"]})
	if again, answer, _ := c.call(http.MethodPost, "/v1.0/servicePrincipals", map[string]any{"appId": made["appId"]}); again != http.StatusConflict {
		t.Errorf("a second principal: %d %v", again, answer)
	}
	if got := c.get("/v1.0/servicePrincipals(appId='" + made["appId"].(string) + "')"); got["id"] != principal["id"] {
		t.Errorf("by appId: %v", got)
	}
	path := "/v1.0/servicePrincipals/" + principal["id"].(string)
	c.do(http.MethodPatch, path, map[string]any{"accountEnabled": false})
	if got := c.get(path); got["accountEnabled"] != false {
		t.Errorf("disabled: %v", got)
	}
	c.do(http.MethodDelete, path, nil)
	if status, answer, _ := c.call(http.MethodGet, path, nil); status != http.StatusNotFound || errorCode(answer) != "Request_ResourceNotFound" {
		t.Errorf("deleted: %d %v", status, answer)
	}
	if status, _, _ := c.call(http.MethodPatch, "/v1.0/applications/"+made["id"].(string), map[string]any{"nonsense": 1}); status != http.StatusBadRequest {
		t.Errorf("an unknown property: %d", status)
	}
}

func TestGrantsAndTrusts(t *testing.T) {
	c := newCloud(t, entra.Config{}).signedIn()
	sp := "/v1.0/servicePrincipals/" + c.app.Principal.ID
	graph := c.get("/v1.0/servicePrincipals(appId='" + entra.Graph + "')")
	send := "b633e1c5-b582-4048-a93e-9f11b44c7e96"
	made := c.do(http.MethodPost, sp+"/appRoleAssignments", map[string]any{"principalId": c.app.Principal.ID, "resourceId": graph["id"], "appRoleId": send})
	has := func() bool {
		return slices.ContainsFunc(values(c.get(sp+"/appRoleAssignments")), func(a map[string]any) bool { return a["appRoleId"] == send })
	}
	if !has() {
		t.Error("a role that was given is not listed")
	}
	c.do(http.MethodDelete, sp+"/appRoleAssignments/"+made["id"].(string), nil)
	if has() {
		t.Error("a role that was taken away is still listed")
	}
	grant := c.do(http.MethodPost, "/v1.0/oauth2PermissionGrants", map[string]any{"clientId": c.app.Principal.ID, "resourceId": graph["id"], "consentType": "AllPrincipals", "scope": "Mail.Read"})
	if got := values(c.get(sp + "/oauth2PermissionGrants")); len(got) != 1 || got[0]["id"] != grant["id"] {
		t.Errorf("delegated grants: %v", got)
	}
	c.do(http.MethodDelete, "/v1.0/oauth2PermissionGrants/"+grant["id"].(string), nil)
	app := "/v1.0/applications/" + c.app.Application.ID
	federated := c.do(http.MethodPost, app+"/federatedIdentityCredentials", map[string]any{"name": "ci", "issuer": "https://ci.example", "subject": "repo:x", "audiences": []string{"api://AzureADTokenExchange"}})
	if got := values(c.get(app + "/federatedIdentityCredentials")); len(got) != 1 || got[0]["id"] != federated["id"] {
		t.Errorf("federated: %v", got)
	}
	user := c.tenant.AddUser("anna", "Anna")
	c.do(http.MethodPost, app+"/owners/$ref", map[string]any{"@odata.id": "https://graph.microsoft.com/v1.0/directoryObjects/" + user.ID})
	if got := values(c.get(app + "/owners")); len(got) != 1 || got[0]["userPrincipalName"] != "anna@contoso.example" {
		t.Errorf("owners: %v", got)
	}
	var activities []string
	for _, a := range values(c.get("/v1.0/auditLogs/directoryAudits")) {
		activities = append(activities, a["activityDisplayName"].(string))
	}
	slices.Reverse(activities)
	want := []string{
		"Add app role assignment to service principal", "Remove app role assignment from service principal", "Add delegated permission grant",
		"Remove delegated permission grant", "Update application", "Add owner to application",
	}
	if diff := cmp.Diff(want, activities); diff != "" {
		t.Error(diff)
	}
}

func TestMailIsRead(t *testing.T) {
	c := newCloud(t, entra.Config{})
	user := c.tenant.AddUser("anna", "Anna")
	for i := range 12 {
		c.tenant.Deliver(user, entra.Message{Subject: fmt.Sprintf("Mail %d", i), From: "bob@elsewhere.example", Body: "Hello \u2013 world"})
	}
	var calls []entra.Call
	c.world.OnCall(func(call entra.Call) { calls = append(calls, call) })
	c.signedIn()
	page := c.get("/v1.0/users/anna@contoso.example/messages?$select=subject")
	got := values(page)
	if len(got) != 10 || got[0]["subject"] != "Mail 11" || got[0]["body"] != nil || page["@odata.nextLink"] == nil {
		t.Errorf("the first page: %v", page)
	}
	one := c.get("/v1.0/users/" + user.ID + "/messages/" + got[0]["id"].(string))
	if one["body"].(map[string]any)["content"] != "Hello \u2013 world" {
		t.Errorf("one message: %v", one)
	}
	if len(calls) != 2 || calls[0].Claims.UTI != c.tenant.SignIns()[0].UTI || calls[0].Address.String() != "203.0.113.7" || !strings.Contains(calls[0].URI, "/messages") {
		t.Errorf("the calls were noted as %+v", calls)
	}
}

func TestABatch(t *testing.T) {
	c := newCloud(t, entra.Config{}).signedIn()
	var calls []entra.Call
	c.world.OnCall(func(call entra.Call) { calls = append(calls, call) })
	answer := c.do(http.MethodPost, "/v1.0/$batch", map[string]any{"requests": []any{
		map[string]any{"id": "1", "method": "GET", "url": "/applications/" + c.app.Application.ID + "?$select=displayName"},
		map[string]any{"id": "2", "method": "GET", "url": "/applications/none"},
	}})
	parts := answer["responses"].([]any)
	first, second := parts[0].(map[string]any), parts[1].(map[string]any)
	if first["status"] != float64(200) || first["body"].(map[string]any)["displayName"] != "Mail sync" || second["status"] != float64(404) {
		t.Errorf("%v", answer)
	}
	if len(calls) != 3 || calls[0].OperationID != calls[2].RequestID || calls[0].RequestID == calls[1].RequestID {
		t.Errorf("the calls were noted as %+v", calls)
	}
}

func TestATokenThatIsNotGood(t *testing.T) {
	clock := newStoppedClock()
	c := newCloud(t, entra.Config{Clock: clock.Now})
	for want, spoil := range map[string]func(){
		"Access token is empty.":                                func() { c.token = "" },
		"Access token validation failure. Invalid audience.":    func() { c.token = c.tokenFor("https://outlook.office365.com/.default") },
		"Lifetime validation failed, the token is expired.":     func() { c.signedIn(); clock.add(2 * time.Hour) },
		"Signature is invalid.":                                 func() { c.signedIn(); c.token = c.token[:len(c.token)-8] + "AAAAAAAA" },
		"CompactToken parsing failed with error code: 80049217": func() { c.token = "abc" },
	} {
		spoil()
		status, answer, header := c.call(http.MethodGet, "/v1.0/applications", nil)
		e, _ := answer["error"].(map[string]any)
		if status != http.StatusUnauthorized || errorCode(answer) != "InvalidAuthenticationToken" || e["message"] != want || header.Get("WWW-Authenticate") == "" {
			t.Errorf("%d %v, want %s", status, answer, want)
		}
		inner, _ := e["innerError"].(map[string]any)
		if inner["request-id"] != header.Get("request-id") || inner["date"] == nil {
			t.Errorf("the inner error is %v", inner)
		}
	}
}

func (c *cloud) tokenFor(scope string) string {
	c.t.Helper()
	status, answer := c.ask(map[string][]string{"scope": {scope}, "client_assertion_type": {jwtBearer}, "client_assertion": {c.assertion(vendorKey(), c.cert, nil)}})
	if status != http.StatusOK {
		c.t.Fatalf("%v", answer)
	}
	return answer["access_token"].(string)
}

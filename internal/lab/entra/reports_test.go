// SPDX-License-Identifier: Apache-2.0

package entra_test

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick/internal/lab/entra"
)

const programs = "signInEventTypes/any(t: t eq 'servicePrincipal')"

// signInIDs reads a log to its end.
func (c *cloud) signInIDs(filter string) (ids []string) {
	c.t.Helper()
	link := "/beta/auditLogs/signIns?$top=2&$filter=" + url.QueryEscape(filter)
	for link != "" {
		page := c.get(link)
		for _, one := range values(page) {
			ids = append(ids, one["id"].(string))
		}
		link, _ = page["@odata.nextLink"].(string)
	}
	return ids
}

func TestSignInsAreListedNewestFirst(t *testing.T) {
	clock := newStoppedClock()
	c := newCloud(t, entra.Config{Clock: clock.Now, Faults: entra.Faults{NoThrottling: true}})
	start := clock.Now()
	for range 5 {
		c.signedIn()
		clock.add(time.Minute)
	}
	c.ask(url.Values{"client_secret": {"wrong"}})
	var want []string
	for _, s := range c.tenant.SignIns() {
		want = append([]string{s.ID}, want...)
	}
	if diff := cmp.Diff(want, c.signInIDs(programs)); diff != "" {
		t.Error(diff)
	}
	span := "createdDateTime ge " + start.Add(time.Minute).UTC().Truncate(time.Second).Format(time.RFC3339) + " and createdDateTime lt " + start.Add(3*time.Minute).UTC().Truncate(time.Second).Format(time.RFC3339)
	if diff := cmp.Diff(want[3:5], c.signInIDs(programs+" and "+span)); diff != "" {
		t.Errorf("%s: %s", span, diff)
	}
	if diff := cmp.Diff(want[:1], c.signInIDs(programs+" and status/errorCode eq 7000215")); diff != "" {
		t.Error(diff)
	}
	if got := c.signInIDs("createdDateTime ge 2020-01-01T00:00:00Z"); len(got) != 0 {
		t.Errorf("without the kind of sign-in, those of people alone: %v", got)
	}
	c.world.SetFaults(func(f *entra.Faults) { f.SignInsTwice = true })
	if got := c.signInIDs(programs); len(got) != 12 || got[0] != got[1] {
		t.Errorf("twice: %v", got)
	}
}

func TestASignInCanBeReadAfterItsLatency(t *testing.T) {
	clock := newStoppedClock()
	c := newCloud(t, entra.Config{Clock: clock.Now, SignInLatency: entra.Always(5 * time.Minute)}).signedIn()
	if got := c.signInIDs(programs); len(got) != 0 {
		t.Errorf("at once: %v", got)
	}
	clock.add(5 * time.Minute)
	if got := c.signInIDs(programs); len(got) != 1 {
		t.Errorf("after its latency: %v", got)
	}
}

// The members are those of Microsoft's resource type; version 1.0 has none of those that
// tell which credential was used.
func TestTheShapeOfASignIn(t *testing.T) {
	c := newCloud(t, entra.Config{}).signedIn()
	truth := c.tenant.SignIns()[0]
	beta := values(c.get("/beta/auditLogs/signIns?$filter=" + url.QueryEscape(programs)))[0]
	for name, want := range map[string]any{
		"id": truth.ID, "appId": c.app.Application.AppID, "servicePrincipalId": c.app.Principal.ID, "servicePrincipalName": "Mail sync",
		"servicePrincipalCredentialKeyId": truth.KeyID, "servicePrincipalCredentialThumbprint": truth.Thumbprint, "clientCredentialType": "clientAssertion",
		"ipAddress": "203.0.113.7", "autonomousSystemNumber": float64(64498), "resourceId": entra.Graph, "resourceTenantId": c.tenant.ID, "homeTenantId": "",
		"crossTenantAccessType": "none", "correlationId": truth.CorrelationID, "uniqueTokenIdentifier": truth.UTI, "originalRequestId": truth.ID,
		"sessionId": "", "conditionalAccessStatus": "notApplied", "createdDateTime": truth.Time.Format("2006-01-02T15:04:05Z"),
	} {
		if beta[name] != want {
			t.Errorf("%s is %v, want %v", name, beta[name], want)
		}
	}
	v1 := values(c.get("/v1.0/auditLogs/signIns"))[0]
	for _, name := range []string{"servicePrincipalCredentialKeyId", "servicePrincipalCredentialThumbprint", "uniqueTokenIdentifier", "signInEventTypes", "clientCredentialType", "federatedCredentialId", "autonomousSystemNumber"} {
		if _, ok := v1[name]; ok {
			t.Errorf("version 1.0 has %s", name)
		}
		if _, ok := beta[name]; !ok && name != "federatedCredentialId" {
			t.Errorf("beta has no %s", name)
		}
	}
	if v1["servicePrincipalId"] != c.app.Principal.ID {
		t.Errorf("version 1.0: %v", v1)
	}
	c.world.SetFaults(func(f *entra.Faults) { f.NoTokenIdentifier = true })
	if got := values(c.get("/beta/auditLogs/signIns?$filter=" + url.QueryEscape(programs)))[0]; got["uniqueTokenIdentifier"] != nil {
		t.Errorf("the token is still told: %v", got)
	}
}

func TestWithoutALicenceThereIsNoLog(t *testing.T) {
	c := newCloud(t, entra.Config{}).signedIn()
	c.tenant.SetLicences(false, false)
	status, answer, _ := c.call(http.MethodGet, "/beta/auditLogs/signIns", nil)
	if status != http.StatusForbidden || errorCode(answer) != "Authentication_RequestFromNonPremiumTenantOrB2CTenant" {
		t.Errorf("%d %v", status, answer)
	}
	weak := *c
	weak.app = c.tenant.AddApplication(entra.AppSpec{Certificates: [][]byte{c.cert.Raw}, Grants: []entra.Grant{{API: entra.Graph, Role: "AuditLog.Read.All"}}})
	if status, answer, _ := weak.signedIn().call(http.MethodGet, "/beta/auditLogs/signIns", nil); status != http.StatusForbidden || errorCode(answer) != "Authorization_RequestDenied" {
		t.Errorf("without Directory.Read.All: %d %v", status, answer)
	}
}

// Consent that is taken away counts for new tokens; those that were issued keep it.
func TestConsentIsRevoked(t *testing.T) {
	c := newCloud(t, entra.Config{}).signedIn()
	c.tenant.Revoke(c.app.Principal, entra.Grant{API: entra.Graph, Role: "AuditLog.Read.All"})
	c.get("/beta/auditLogs/signIns")
	if status, _, _ := c.signedIn().call(http.MethodGet, "/beta/auditLogs/signIns", nil); status != http.StatusForbidden {
		t.Errorf("with a new token: %d", status)
	}
	c.tenant.Consent(c.app.Principal, entra.Grant{API: entra.Graph, Role: "AuditLog.Read.All"})
	c.signedIn().get("/beta/auditLogs/signIns")
}

func TestAnAuditNamesTheTokenThatChangedIt(t *testing.T) {
	c := newCloud(t, entra.Config{}).signedIn()
	c.do(http.MethodPost, "/v1.0/servicePrincipals/"+c.app.Principal.ID+"/addPassword", map[string]any{"passwordCredential": map[string]any{"displayName": "backup"}})
	record := values(c.get("/beta/auditLogs/directoryAudits?$filter=" + url.QueryEscape("activityDisplayName eq 'Add service principal credentials'")))[0]
	by := record["initiatedBy"].(map[string]any)
	token := by["linkableIdentifiers"].(map[string]any)["tokenDetails"].(map[string]any)
	if token["uniqueTokenIdentifier"] != c.tenant.SignIns()[0].UTI || by["app"].(map[string]any)["servicePrincipalId"] != c.app.Principal.ID {
		t.Errorf("initiated by %v", by)
	}
	target := record["targetResources"].([]any)[0].(map[string]any)
	description := target["modifiedProperties"].([]any)[0].(map[string]any)
	secret := c.app.Principal.State().Secrets[0]
	if description["displayName"] != "KeyDescription" || description["oldValue"] != "[]" ||
		description["newValue"] != `["[KeyIdentifier=`+secret.KeyID+`,KeyType=Password,KeyUsage=Verify,DisplayName=backup]"]` {
		t.Errorf("modified: %v", description)
	}
	first := values(c.get("/v1.0/auditLogs/directoryAudits"))[0]
	if _, ok := first["initiatedBy"].(map[string]any)["linkableIdentifiers"]; ok {
		t.Error("version 1.0 has linkable identifiers")
	}
}

func TestTheLastUseOfACredential(t *testing.T) {
	c := newCloud(t, entra.Config{}).signedIn()
	got := values(c.get("/beta/reports/appCredentialSignInActivities"))
	if len(got) != 1 {
		t.Fatalf("%v", got)
	}
	activity := got[0]["signInActivity"].(map[string]any)
	if got[0]["keyId"] != c.app.Application.State().Keys[0].KeyID || got[0]["credentialOrigin"] != "application" || activity["lastSignInRequestId"] != c.tenant.SignIns()[0].ID {
		t.Errorf("%v", got)
	}
}

func TestRisksAreHiddenWithoutTheLicence(t *testing.T) {
	c := newCloud(t, entra.Config{Faults: entra.Faults{NoThrottling: true}}).signedIn()
	key := c.app.Application.State().Keys[0].KeyID
	c.tenant.AddRisk(entra.Risk{Type: "leakedCredentials", Principal: c.app.Principal, KeyIDs: []string{key}, Address: netip.MustParseAddr("198.51.100.66")})
	path := "/v1.0/identityProtection/servicePrincipalRiskDetections"
	if got := values(c.get(path))[0]; got["riskLevel"] != "hidden" || got["riskEventType"] != "generic" {
		t.Errorf("without: %v", got)
	}
	if status, _, _ := c.call(http.MethodGet, "/v1.0/identityProtection/riskyServicePrincipals", nil); status != http.StatusForbidden {
		t.Errorf("risky principals without the licence: %d", status)
	}
	c.tenant.SetLicences(true, true)
	if got := values(c.get(path))[0]; got["riskEventType"] != "leakedCredentials" || got["keyIds"].([]any)[0] != key {
		t.Errorf("with: %v", got)
	}
	c.do(http.MethodPost, "/v1.0/identityProtection/riskyServicePrincipals/confirmCompromised", map[string]any{"servicePrincipalIds": []string{c.app.Principal.ID}})
	if got := values(c.get("/v1.0/identityProtection/riskyServicePrincipals")); got[0]["riskState"] != "confirmedCompromised" {
		t.Errorf("%v", got)
	}
}

func TestReportsAreLimited(t *testing.T) {
	clock := newStoppedClock()
	c := newCloud(t, entra.Config{Clock: clock.Now}).signedIn()
	path := "/v1.0/auditLogs/directoryAudits"
	for range 5 {
		c.get(path)
	}
	status, answer, header := c.call(http.MethodGet, path, nil)
	if status != http.StatusTooManyRequests || errorCode(answer) != "TooManyRequests" || header.Get("Retry-After") != "2" ||
		!strings.Contains(header.Get("x-ms-throttle-scope"), c.tenant.ID) {
		t.Errorf("the sixth in ten seconds: %d %v %v", status, answer, header)
	}
	clock.add(2 * time.Second)
	c.get(path)
	c.world.SetFaults(func(f *entra.Faults) { f.NoRetryAfter = true })
	if status, _, header := c.call(http.MethodGet, path, nil); status != http.StatusTooManyRequests || header.Get("Retry-After") != "" {
		t.Errorf("without Retry-After: %d %v", status, header)
	}
	c.world.SetFaults(func(f *entra.Faults) { f.NoThrottling = true })
	c.get(path)
}

func TestIdentityProtectionDoesNotSayWhen(t *testing.T) {
	clock := newStoppedClock()
	c := newCloud(t, entra.Config{Clock: clock.Now}).signedIn()
	path := "/v1.0/identityProtection/servicePrincipalRiskDetections"
	c.get(path)
	if status, _, header := c.call(http.MethodGet, path, nil); status != http.StatusTooManyRequests || header.Get("Retry-After") != "" {
		t.Errorf("the second in a second: %d %v", status, header)
	}
	clock.add(time.Second)
	c.get(path)
}

func TestResourceUnitsAreCounted(t *testing.T) {
	clock := newStoppedClock()
	c := newCloud(t, entra.Config{Clock: clock.Now}).signedIn()
	for path, want := range map[string]string{
		"/v1.0/applications": "2", "/v1.0/applications?$select=id": "1", "/v1.0/applications?$top=5": "1", "/v1.0/applications/" + c.app.Application.ID: "1",
	} {
		if _, _, header := c.call(http.MethodGet, path, nil); header.Get("x-ms-resource-unit") != want {
			t.Errorf("%s costs %s, want %s", path, header.Get("x-ms-resource-unit"), want)
		}
	}
}

func TestATestMayAnswerInThePlaceOfTheCloud(t *testing.T) {
	var next *entra.Injected
	c := newCloud(t, entra.Config{Faults: entra.Faults{Inject: func(a entra.Attempt) (i *entra.Injected) {
		if a.Service == entra.ServiceGraph {
			i, next = next, nil
		}
		return i
	}}}).signedIn()
	next = &entra.Injected{Status: http.StatusServiceUnavailable, RetryAfter: 3 * time.Second}
	if status, answer, header := c.call(http.MethodGet, "/v1.0/applications", nil); status != 503 || errorCode(answer) != "ServiceUnavailable" || header.Get("Retry-After") != "3" {
		t.Errorf("%d %v %v", status, answer, header)
	}
	next = &entra.Injected{Status: http.StatusBadGateway, Afterwards: true}
	if status, _, _ := c.call(http.MethodPost, "/v1.0/applications/"+c.app.Application.ID+"/addPassword", map[string]any{}); status != 502 {
		t.Errorf("status %d", status)
	}
	if n := len(c.app.Application.State().Secrets); n != 1 {
		t.Errorf("an answer that was lost: %d secrets were made, want 1", n)
	}
}

func TestHooksAreTold(t *testing.T) {
	c := newCloud(t, entra.Config{})
	var kinds []string
	c.world.OnSignIn(func(tenant *entra.Tenant, s entra.SignIn) { kinds = append(kinds, "sign-in "+tenant.Name) })
	c.world.OnAudit(func(_ *entra.Tenant, a entra.Audit) { kinds = append(kinds, a.Activity) })
	c.world.OnCall(func(call entra.Call) { kinds = append(kinds, call.Method) })
	c.signedIn().do(http.MethodPatch, "/v1.0/applications/"+c.app.Application.ID, map[string]any{"notes": "x"})
	if diff := cmp.Diff([]string{"sign-in Contoso", "Update application", "PATCH"}, kinds); diff != "" {
		t.Error(diff)
	}
	if !slices.ContainsFunc(c.tenant.Audits(), func(a entra.Audit) bool { return a.Actor.PrincipalID == c.app.Principal.ID }) {
		t.Error("the audit does not name who did it")
	}
}

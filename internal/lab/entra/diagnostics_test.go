// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
)

// lines exports everything of a category that can be read by now.
func (c *stolenCase) lines(t *testing.T, d *Diagnostics, category string) []byte {
	t.Helper()
	text, err := d.Lines(c.tenant, category, time.Time{}, c.world.Now().Add(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// members returns the names of the members of the first line, and those of its properties.
func members(t *testing.T, lines []byte) (outer, inner []string) {
	t.Helper()
	var record map[string]json.RawMessage
	var properties map[string]json.RawMessage
	line, _, _ := bytes.Cut(lines, []byte("\n"))
	if err := json.Unmarshal(line, &record); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	if err := json.Unmarshal(record["properties"], &properties); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	for name := range record {
		outer = append(outer, name)
	}
	for name := range properties {
		inner = append(inner, name)
	}
	return outer, inner
}

// expectMembers expects those that real samples have.
func expectMembers(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	for _, name := range want {
		if !slices.Contains(got, name) {
			t.Errorf("%s: no member %s in %v", what, name, got)
		}
	}
}

func TestExportedSignInsAreReadByTheProduct(t *testing.T) {
	c := newCase(t, Config{}, UnifiedConfig{})
	thief := c.adversary(t, "127.0.1.66")
	truth, _, err := thief.FreshCorrelation(t.Context(), c.tenant.ID, c.key, ScopeGraph)
	let(t, truth, err)
	expired := c.tenant.AddSecret(c.app.Application, "old", "not the secret that is tried")
	failed, _, err := thief.FreshCorrelation(t.Context(), c.tenant.ID, Stolen{Application: c.key.Application, Secret: "wrong"}, ScopeGraph)
	if err != nil || failed.Refused != "AADSTS7000215" || expired.KeyID == "" {
		t.Fatalf("a wrong secret: refused %q, error %v", failed.Refused, err)
	}
	text := c.lines(t, c.diag, CategorySignIns)
	outer, inner := members(t, text)
	expectMembers(t, "envelope", outer, "time", "resourceId", "operationName", "operationVersion", "category", "tenantId", "resultType", "resultSignature",
		"durationMs", "callerIpAddress", "correlationId", "Level", "location", "properties")
	expectMembers(t, "sign-in", inner, "id", "createdDateTime", "userId", "appId", "ipAddress", "status", "location", "correlationId", "conditionalAccessStatus",
		"isInteractive", "tokenIssuerType", "authenticationProcessingDetails", "resourceDisplayName", "resourceId", "servicePrincipalName", "servicePrincipalId",
		"crossTenantAccessType", "servicePrincipalCredentialKeyId", "uniqueTokenIdentifier", "incomingTokenType", "authenticationProtocol")
	log := asProduct(t, text)
	if log.format != "entra-signin-diagnostic" || len(log.uses) != 2 {
		t.Fatalf("%s with %d uses", log.format, len(log.uses))
	}
	use, bad := log.uses[0], log.uses[1]
	key := c.app.Application.State().Keys[0].KeyID
	if !slices.Contains(use.Credential, "entra-key:"+key) || use.IDs.UTI != truth.UTI || use.IDs.Correlation != truth.CorrelationID || use.ID != truth.SignInID ||
		use.Address != truth.Address || use.RelyingParty != "entra:"+c.tenant.ID+"/"+Graph || use.Outcome != tallystick.OutcomeSuccess {
		t.Errorf("the reader found %+v", use)
	}
	if bad.Outcome == tallystick.OutcomeSuccess || bad.ID != failed.SignInID {
		t.Errorf("the reader found %+v", bad)
	}
}

func TestExportedGraphActivityIsReadByTheProduct(t *testing.T) {
	c := newCase(t, Config{}, UnifiedConfig{})
	read := c.read(t, c.token(t, ScopeGraph), c.user.PrincipalName)
	text := c.lines(t, c.diag, CategoryGraphActivity)
	outer, inner := members(t, text)
	expectMembers(t, "envelope", outer, "Level", "callerIpAddress", "category", "correlationId", "durationMs", "location", "operationName", "operationVersion",
		"properties", "resourceId", "resultSignature", "tenantId", "time")
	expectMembers(t, "call", inner, "apiVersion", "appId", "atContent", "clientAuthMethod", "clientRequestId", "durationMs", "identityProvider", "ipAddress",
		"location", "operationId", "requestId", "requestMethod", "requestUri", "responseSizeBytes", "responseStatusCode", "roles", "scopes",
		"servicePrincipalId", "signInActivityId", "tenantId", "timeGenerated", "tokenIssuedAt", "userAgent", "userId", "wids")
	log := asProduct(t, text)
	if log.format != "graph-activity" || len(log.uses) != 1 {
		t.Fatalf("%s with %d uses: %s", log.format, len(log.uses), text)
	}
	use := log.uses[0]
	if use.IDs.UTI != read.UTI || use.ID != read.RequestIDs[0] || use.IDs.Correlation != read.CorrelationID || use.Address != read.Address ||
		use.Credential[0] != "account:entra-app/"+c.key.Application || use.RelyingParty != "entra:"+c.tenant.ID+"/"+Graph {
		t.Errorf("the reader found %+v", use)
	}
	if want := "https://graph.microsoft.com/v1.0/users/" + c.user.PrincipalName + "/messages?$top=10"; use.Resource != want {
		t.Errorf("the reader found %s, expected %s", use.Resource, want)
	}
}

func TestExportedAuditsAreReadByTheProduct(t *testing.T) {
	c := newCase(t, Config{}, UnifiedConfig{})
	secret := c.tenant.AddSecret(c.app.Principal, "backup", "text of it")
	log := asProduct(t, c.lines(t, c.diag, CategoryAudits))
	if log.format != "entra-audit-diagnostic" || len(log.changes) != 1 {
		t.Fatalf("%s with %+v", log.format, log.changes)
	}
	if ch := log.changes[0]; ch.Kind != tallystick.ChangeCredentialAdded || !slices.Contains(ch.Credential, "entra-key:"+secret.KeyID) ||
		ch.Target != "entra-app:"+c.tenant.ID+"/"+c.app.Principal.ID {
		t.Errorf("the reader found %+v", ch)
	}
}

func TestExportIsLateAndOutOfOrder(t *testing.T) {
	c := newCase(t, Config{SignInLatency: Always(10 * time.Minute)}, UnifiedConfig{})
	late := c.world.NewDiagnostics(nil)
	token := c.token(t, ScopeGraph)
	for range 30 {
		c.read(t, token, c.user.PrincipalName)
		c.clock.forward(time.Second)
	}
	if text := c.lines(t, c.diag, CategorySignIns); len(text) != 0 {
		t.Errorf("a sign-in can be read at once: %s", text)
	}
	c.clock.forward(4 * time.Hour)
	if len(c.lines(t, c.diag, CategorySignIns)) == 0 {
		t.Error("no sign-in after four hours")
	}
	var times []string
	for line := range bytes.Lines(c.lines(t, late, CategoryGraphActivity)) {
		var record struct{ Time string }
		if err := json.Unmarshal(line, &record); err != nil {
			t.Fatal(err)
		}
		times = append(times, record.Time)
	}
	if len(times) != 30 || slices.IsSorted(times) {
		t.Errorf("%d calls, in the order %v", len(times), times)
	}
}

func TestExportFaults(t *testing.T) {
	c := newCase(t, Config{Faults: Faults{SignInsTwice: true, NoTokenIdentifier: true}}, UnifiedConfig{})
	truth, _, err := c.adversary(t, "127.0.1.66").FreshCorrelation(t.Context(), c.tenant.ID, c.key, ScopeGraph)
	let(t, truth, err)
	log := asProduct(t, c.lines(t, c.diag, CategorySignIns))
	if len(log.uses) != 2 || log.uses[0].ID != log.uses[1].ID || log.uses[0].IDs.UTI != "" {
		t.Errorf("%+v", log.uses)
	}
	c.tenant.SetLicences(false, false)
	if text := c.lines(t, c.diag, CategorySignIns); len(text) != 0 {
		t.Errorf("without a licence: %s", text)
	}
	if _, err := c.diag.Lines(c.tenant, "AllLogs", time.Time{}, c.world.Now()); err == nil {
		t.Error("a category of nobody was exported")
	}
}

func TestExportIntoADirectory(t *testing.T) {
	c := newCase(t, Config{}, UnifiedConfig{})
	c.read(t, c.token(t, ScopeGraph), c.user.PrincipalName)
	dir, from := t.TempDir(), c.world.Now().Add(-time.Hour)
	c.clock.forward(time.Second)
	if err := c.diag.Write(dir, c.tenant, from, c.world.Now()); err != nil {
		t.Fatal(err)
	}
	for _, category := range []string{"serviceprincipalsigninlogs", "microsoftgraphactivitylogs"} {
		path := filepath.Join(dir, "insights-logs-"+category, "tenantId="+c.tenant.ID, "y=2026/m=11/d=20/h=10/m=00/PT1H.json")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if log := asProduct(t, text); len(log.uses) != 1 {
			t.Errorf("%s has %d uses", path, len(log.uses))
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package entra_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/tallystick/tallystick/internal/lab/entra"
)

// bySecret signs in by Microsoft's own client.
func (c *cloud) bySecret(secret string) error {
	c.t.Helper()
	credential, err := azidentity.NewClientSecretCredential(c.tenant.ID, c.app.Application.AppID, secret,
		&azidentity.ClientSecretCredentialOptions{ClientOptions: c.azure(), DisableInstanceDiscovery: true})
	if err != nil {
		c.t.Fatal(err)
	}
	_, err = credential.GetToken(c.t.Context(), graphScope)
	return err
}

// A secret is told once, shown by its first characters, and refused when it is removed.
func TestSecretsComeAndGo(t *testing.T) {
	c := newCloud(t, entra.Config{}).signedIn()
	path := "/v1.0/applications/" + c.app.Application.ID
	made := c.do(http.MethodPost, path+"/addPassword", map[string]any{"passwordCredential": map[string]any{"displayName": "backup"}})
	text, _ := made["secretText"].(string)
	if len(text) < 16 || len(text) > 64 || made["displayName"] != "backup" || made["hint"] != text[:3] {
		t.Fatalf("addPassword answered %v", made)
	}
	shown := c.get(path + "?$select=passwordCredentials")["passwordCredentials"].([]any)[0].(map[string]any)
	if shown["secretText"] != nil || shown["hint"] != text[:3] || shown["keyId"] != made["keyId"] {
		t.Errorf("it is shown as %v", shown)
	}
	if err := c.bySecret(text); err != nil {
		t.Errorf("the new secret: %v", err)
	}
	for i, want := range []int{http.StatusNoContent, http.StatusBadRequest} {
		if status, answer, _ := c.call(http.MethodPost, path+"/removePassword", map[string]any{"keyId": made["keyId"]}); status != want {
			t.Errorf("removed %d times: %d %v", i+1, status, answer)
		}
	}
	if err := c.bySecret(text); err == nil || !strings.Contains(err.Error(), "AADSTS7000215") {
		t.Errorf("the removed secret: %v, want AADSTS7000215", err)
	}
	key := c.app.Application.State().Keys[0].KeyID
	if status, answer, _ := c.call(http.MethodPost, path+"/removePassword", map[string]any{"keyId": key}); status != http.StatusBadRequest || len(c.app.Application.State().Keys) != 1 {
		t.Errorf("a certificate is removed as a password: %d %v", status, answer)
	}
}

// A policy of the tenant says how long secrets may be good.
func TestSecretsMayBeGoodForSoLong(t *testing.T) {
	c := newCloud(t, entra.Config{}).signedIn()
	c.tenant.LimitSecrets(30 * 24 * time.Hour)
	path := "/v1.0/applications/" + c.app.Application.ID + "/addPassword"
	if status, answer, _ := c.call(http.MethodPost, path, map[string]any{}); status != http.StatusBadRequest || errorCode(answer) != "CredentialInvalidLifetimeAsPerAppPolicy" {
		t.Errorf("two years: %d %v", status, answer)
	}
	c.do(http.MethodPost, path, map[string]any{"passwordCredential": map[string]any{"endDateTime": c.world.Now().AddDate(0, 0, 29)}})
}

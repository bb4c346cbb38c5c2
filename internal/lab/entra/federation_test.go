// SPDX-License-Identifier: Apache-2.0

package entra_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/lab/entra"
)

// issuer serves the documents of an issuer whose key is otherKey.
func issuer(t *testing.T) *httptest.Server {
	mux := http.NewServeMux()
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, server.URL, server.URL+"/keys")
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]any{"keys": []any{map[string]any{"kty": "RSA", "n": base64.RawURLEncoding.EncodeToString(otherKey().N.Bytes()), "e": "AQAB"}}})
	})
	return server
}

func TestATokenOfATrustedIssuerSignsIn(t *testing.T) {
	trusted := issuer(t)
	c := newCloud(t, entra.Config{Federation: trusted.Client()}).signedIn()
	made := c.do(http.MethodPost, "/v1.0/applications/"+c.app.Application.ID+"/federatedIdentityCredentials", map[string]any{
		"name": "ci", "issuer": trusted.URL, "subject": "repo:x", "audiences": []string{"api://AzureADTokenExchange"}})
	token := func(change map[string]any) url.Values {
		claims := map[string]any{"iss": trusted.URL, "sub": "repo:x", "aud": "api://AzureADTokenExchange", "exp": time.Now().Add(time.Hour).Unix()}
		for name, value := range change {
			claims[name] = value
		}
		return url.Values{"client_assertion_type": {jwtBearer}, "client_assertion": {jwt(t, otherKey(), map[string]any{"alg": "RS256"}, claims)}}
	}
	if status, answer := c.ask(token(nil)); status != http.StatusOK {
		t.Fatalf("%v", answer)
	}
	logged := c.tenant.SignIns()
	if last := logged[len(logged)-1]; last.FederatedID != made["id"] || last.CredentialType != "federatedIdentityCredential" || last.KeyID != "" {
		t.Errorf("logged as %+v", last)
	}
	for code, change := range map[string]map[string]any{
		"AADSTS700211:": {"iss": "https://127.0.0.1:1"}, "AADSTS700213:": {"sub": "repo:y"}, "AADSTS700212:": {"aud": "x"}, "AADSTS700024:": {"exp": 1},
	} {
		if _, answer := c.ask(token(change)); !strings.HasPrefix(answer["error_description"].(string), code) {
			t.Errorf("want %s, it says %v", code, answer["error_description"])
		}
	}
	forged := url.Values{"client_assertion_type": {jwtBearer}, "client_assertion": {jwt(t, vendorKey(), map[string]any{"alg": "RS256"}, map[string]any{
		"iss": trusted.URL, "sub": "repo:x", "aud": "api://AzureADTokenExchange", "exp": time.Now().Add(time.Hour).Unix()})}}
	if _, answer := c.ask(forged); !strings.HasPrefix(answer["error_description"].(string), "AADSTS700027:") {
		t.Errorf("a forged token: %v", answer)
	}
}

// The emulator calls nobody outside.
func TestNobodyOutsideIsAsked(t *testing.T) {
	c := newCloud(t, entra.Config{Federation: &http.Client{Transport: neverDial{t}}}).signedIn()
	c.do(http.MethodPost, "/v1.0/applications/"+c.app.Application.ID+"/federatedIdentityCredentials", map[string]any{
		"name": "ci", "issuer": "https://issuer.example", "subject": "x", "audiences": []string{"api://AzureADTokenExchange"}})
	form := url.Values{"client_assertion_type": {jwtBearer}, "client_assertion": {jwt(t, otherKey(), map[string]any{"alg": "RS256"}, map[string]any{
		"iss": "https://issuer.example", "sub": "x", "aud": "api://AzureADTokenExchange", "exp": time.Now().Add(time.Hour).Unix()})}}
	if status, answer := c.ask(form); status == http.StatusOK {
		t.Errorf("%v", answer)
	}
}

type neverDial struct{ t *testing.T }

func (n neverDial) RoundTrip(r *http.Request) (*http.Response, error) {
	n.t.Errorf("the emulator asked %s", r.URL)
	return nil, http.ErrUseLastResponse
}

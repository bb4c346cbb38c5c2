// SPDX-License-Identifier: Apache-2.0

package entra_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azcloud "github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick/internal/lab/entra"
)

func encode(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

// jwt signs claims with RS256.
func jwt(t testing.TB, key *rsa.PrivateKey, header, claims map[string]any) string {
	t.Helper()
	h, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed := encode(h) + "." + encode(b)
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + encode(signature)
}

// assertion signs in as the application; change may spoil the claims.
func (c *cloud) assertion(key *rsa.PrivateKey, cert *x509.Certificate, change map[string]any) string {
	c.t.Helper()
	now, app := c.world.Now(), c.app.Application.AppID
	claims := map[string]any{
		"aud": c.tokenEndpoint(), "iss": app, "sub": app, "jti": c.world.NewID(), "nbf": now.Unix() - 5, "exp": now.Add(10 * time.Minute).Unix(),
	}
	for name, value := range change {
		claims[name] = value
	}
	print := sha1.Sum(cert.Raw)
	return jwt(c.t, key, map[string]any{"alg": "RS256", "typ": "JWT", "x5t": encode(print[:])}, claims)
}

// claims reads an access token without checking it.
func claims(t testing.TB, token string) (c map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no JWT", token)
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// azure returns the options under which Microsoft's client takes the emulator for
// the cloud.
func (c *cloud) azure() azcore.ClientOptions {
	return azcore.ClientOptions{
		Cloud: azcloud.Configuration{ActiveDirectoryAuthorityHost: c.servers.Login + "/"}, Transport: c.client,
		Retry: policy.RetryOptions{MaxRetries: 2, RetryDelay: time.Millisecond, MaxRetryDelay: 10 * time.Second},
	}
}

var graphScope = policy.TokenRequestOptions{Scopes: []string{"https://graph.microsoft.com/.default"}}

func TestMicrosoftsClientSignsInWithACertificate(t *testing.T) {
	c := newCloud(t, entra.Config{})
	credential, err := azidentity.NewClientCertificateCredential(c.tenant.ID, c.app.Application.AppID, []*x509.Certificate{c.cert}, vendorKey(),
		&azidentity.ClientCertificateCredentialOptions{ClientOptions: c.azure(), DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	token, err := credential.GetToken(t.Context(), graphScope)
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(token.ExpiresOn); left < 55*time.Minute || left > 91*time.Minute {
		t.Errorf("the token is good for %v, want 60 to 90 minutes", left)
	}
	c.token = token.Token
	c.get("/v1.0/applications/" + c.app.Application.ID)

	logged := c.tenant.SignIns()
	if len(logged) != 1 {
		t.Fatalf("%d sign-ins are logged, want 1", len(logged))
	}
	key := c.app.Application.State().Keys[0]
	got := logged[0]
	want := map[string]any{"uti": got.UTI, "appid": c.app.Application.AppID, "oid": c.app.Principal.ID, "tid": c.tenant.ID, "appidacr": "2", "idtyp": "app", "ver": "1.0"}
	had := claims(t, token.Token)
	for name := range want {
		if had[name] != want[name] {
			t.Errorf("claim %s is %v, want %v", name, had[name], want[name])
		}
	}
	if got.KeyID != key.KeyID || got.Thumbprint != key.Thumbprint() || got.Address.String() != "203.0.113.7" || got.ErrorCode != 0 ||
		got.ResourceID != entra.Graph || !strings.Contains(got.Library, "MSAL") || len(got.UTI) != 22 {
		t.Errorf("the sign-in is logged as %+v", got)
	}
}

func TestMicrosoftsClientSignsInWithASecret(t *testing.T) {
	c := newCloud(t, entra.Config{})
	c.tenant.AddSecret(c.app.Application, "backup", "not-a-real-secret")
	credential, err := azidentity.NewClientSecretCredential(c.tenant.ID, c.app.Application.AppID, "not-a-real-secret",
		&azidentity.ClientSecretCredentialOptions{ClientOptions: c.azure(), DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	token, err := credential.GetToken(t.Context(), graphScope)
	if err != nil {
		t.Fatal(err)
	}
	if acr := claims(t, token.Token)["appidacr"]; acr != "1" {
		t.Errorf("appidacr is %v, want 1", acr)
	}
}

// Anybody can check a token with what the login host publishes, and every document of it says
// that this is an emulator.
func TestDiscoveryLeadsToTheKeyOfTokens(t *testing.T) {
	c := newCloud(t, entra.Config{}).signedIn()
	read := func(address string) map[string]any {
		t.Helper()
		response, err := c.client.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		return c.decode(response)
	}
	if got := read(c.servers.Login + "/common/discovery/instance?api-version=1.1"); got["tallystick_emulator"] != "entra" {
		t.Errorf("instance discovery: %v", got)
	}
	configuration := read(c.servers.Login + "/" + c.tenant.Domain + "/v2.0/.well-known/openid-configuration")
	if configuration["token_endpoint"] != c.tokenEndpoint() || configuration["tallystick_emulator"] != "entra" {
		t.Errorf("the configuration is %v", configuration)
	}
	var set jose.JSONWebKeySet
	raw, err := json.Marshal(read(configuration["jwks_uri"].(string)))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &set); err != nil {
		t.Fatal(err)
	}
	signed, err := jose.ParseSignedCompact(c.token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signed.Verify(set.Keys[0]); err != nil {
		t.Errorf("the published key does not verify a token: %v", err)
	}
	if answer := read(c.servers.Login + "/nobody.example/v2.0/.well-known/openid-configuration"); answer["error"] != "invalid_request" {
		t.Errorf("a tenant that is not there: %v", answer)
	}
}

// The words of Microsoft's client hold the code that it was given.
func TestMicrosoftsClientUnderstandsARefusal(t *testing.T) {
	c := newCloud(t, entra.Config{})
	stranger := certificate(t, otherKey(), "stranger")
	credential, err := azidentity.NewClientCertificateCredential(c.tenant.ID, c.app.Application.AppID, []*x509.Certificate{stranger}, otherKey(),
		&azidentity.ClientCertificateCredentialOptions{ClientOptions: c.azure(), DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	_, err = credential.GetToken(t.Context(), graphScope)
	if err == nil || !strings.Contains(err.Error(), "AADSTS700027") {
		t.Fatalf("the client says %v, want AADSTS700027", err)
	}
	logged := c.tenant.SignIns()
	if len(logged) != 1 || logged[0].ErrorCode != 700027 || logged[0].KeyID != "" || logged[0].Thumbprint == "" {
		t.Errorf("it is logged as %+v", logged)
	}
}

// On a 429 it sends the same assertion and the same correlation id once more.
func TestMicrosoftsClientWaitsAndRepeats(t *testing.T) {
	first := true
	c := newCloud(t, entra.Config{Faults: entra.Faults{Inject: func(a entra.Attempt) *entra.Injected {
		if a.Service != entra.ServiceLogin || !first {
			return nil
		}
		first = false
		return &entra.Injected{Status: http.StatusTooManyRequests, RetryAfter: time.Second, Afterwards: true}
	}}})
	credential, err := azidentity.NewClientCertificateCredential(c.tenant.ID, c.app.Application.AppID, []*x509.Certificate{c.cert}, vendorKey(),
		&azidentity.ClientCertificateCredentialOptions{ClientOptions: c.azure(), DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := credential.GetToken(t.Context(), graphScope); err != nil {
		t.Fatal(err)
	}
	logged := c.tenant.SignIns()
	if len(logged) != 2 || logged[0].CorrelationID != logged[1].CorrelationID || logged[0].UTI == logged[1].UTI {
		t.Errorf("the two attempts are logged as %+v", logged)
	}
}

func TestEveryRefusalHasItsCode(t *testing.T) {
	clock := newStoppedClock()
	c := newCloud(t, entra.Config{Clock: clock.Now})
	good := func() string { return c.assertion(vendorKey(), c.cert, nil) }
	bearer := func(assertion string) url.Values {
		return url.Values{"client_assertion_type": {jwtBearer}, "client_assertion": {assertion}}
	}
	for _, test := range []struct {
		name   string
		form   url.Values
		status int
		word   string
		code   float64
	}{
		{"no credential", url.Values{}, 401, "invalid_client", 7000216},
		{"wrong secret", url.Values{"client_secret": {"x"}}, 401, "invalid_client", 7000215},
		{"unknown application", url.Values{"client_id": {"11111111-1111-4111-8111-111111111111"}, "client_secret": {"x"}}, 400, "unauthorized_client", 700016},
		{"another grant", url.Values{"grant_type": {"password"}}, 400, "unsupported_grant_type", 70003},
		{"no scope", url.Values{"scope": {""}, "client_secret": {"x"}}, 400, "invalid_request", 90014},
		{"no default scope", url.Values{"scope": {"Mail.Read"}, "client_secret": {"x"}}, 400, "invalid_scope", 1002012},
		{"unknown resource", url.Values{"scope": {"https://unknown.example/.default"}, "client_secret": {"x"}}, 400, "invalid_resource", 500011},
		{"no JWT", bearer("abc"), 400, "invalid_request", 50027},
		{"another application's assertion", bearer(c.assertion(vendorKey(), c.cert, map[string]any{"iss": "x", "sub": "x"})), 401, "invalid_client", 700021},
		{"another audience", bearer(c.assertion(vendorKey(), c.cert, map[string]any{"aud": "https://elsewhere.example/x/oauth2/v2.0/token"})), 401, "invalid_client", 700023},
		{"too late", bearer(c.assertion(vendorKey(), c.cert, map[string]any{"exp": clock.Now().Add(-time.Hour).Unix()})), 401, "invalid_client", 700024},
		{"too early", bearer(c.assertion(vendorKey(), c.cert, map[string]any{"nbf": clock.Now().Add(time.Hour).Unix()})), 401, "invalid_client", 700024},
		{"another key", bearer(c.assertion(otherKey(), c.cert, nil)), 401, "invalid_client", 700027},
		{"altered", bearer(good()[:40] + "A" + good()[41:]), 0, "", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := len(c.tenant.SignIns())
			status, answer := c.ask(test.form)
			if test.status == 0 { // any refusal will do
				if status < 400 {
					t.Fatalf("it was granted: %v", answer)
				}
				return
			}
			codes, _ := answer["error_codes"].([]any)
			if status != test.status || answer["error"] != test.word || len(codes) != 1 || codes[0] != test.code {
				t.Errorf("status %d, %v, want %d %s %v", status, answer, test.status, test.word, test.code)
			}
			after := c.tenant.SignIns()
			if len(after) != before+1 || after[before].ErrorCode != int(test.code) {
				t.Errorf("the attempt is not in the log with its code: %+v", after[before:])
			}
			if answer["trace_id"] != after[before].ID || answer["correlation_id"] != after[before].CorrelationID {
				t.Errorf("the answer names %v and %v, the log %s and %s", answer["trace_id"], answer["correlation_id"], after[before].ID, after[before].CorrelationID)
			}
		})
	}
}

func TestCredentialsEnd(t *testing.T) {
	clock := newStoppedClock()
	c := newCloud(t, entra.Config{Clock: clock.Now})
	short := certificateUntil(t, otherKey(), "short", time.Now().Add(time.Hour))
	if _, err := c.tenant.AddCertificate(c.app.Application, short.Raw); err != nil {
		t.Fatal(err)
	}
	c.tenant.AddSecret(c.app.Application, "old", "not-a-real-secret")
	if status, answer := c.signIn(otherKey(), short); status != http.StatusOK {
		t.Fatalf("a certificate that was added is refused: %v", answer)
	}
	clock.add(2 * time.Hour)
	if _, answer := c.signIn(otherKey(), short); !strings.Contains(answer["error_description"].(string), "The key used is expired") {
		t.Errorf("an expired certificate: %v", answer)
	}
	clock.add(3 * 365 * 24 * time.Hour)
	if _, answer := c.ask(url.Values{"client_secret": {"not-a-real-secret"}}); !strings.HasPrefix(answer["error_description"].(string), "AADSTS7000222:") {
		t.Errorf("an expired secret: %v", answer)
	}
}

func TestADisabledPrincipalSignsInNoMoreButItsTokenStays(t *testing.T) {
	c := newCloud(t, entra.Config{}).signedIn()
	c.tenant.SetEnabled(c.app.Principal, false)
	if _, answer := c.signIn(vendorKey(), c.cert); !strings.HasPrefix(answer["error_description"].(string), "AADSTS7000112:") {
		t.Errorf("a disabled principal: %v", answer)
	}
	c.get("/v1.0/applications/" + c.app.Application.ID)
	logged := c.tenant.SignIns()
	if last := logged[len(logged)-1]; last.KeyID == "" {
		t.Errorf("the key was held, and the log does not say so: %+v", last)
	}
}

func TestADeletedApplicationSignsInNoMore(t *testing.T) {
	c := newCloud(t, entra.Config{})
	c.tenant.Remove(c.app.Application)
	if _, answer := c.signIn(vendorKey(), c.cert); !strings.HasPrefix(answer["error_description"].(string), "AADSTS700027:") {
		t.Errorf("its credentials went with it: %v", answer)
	}
	c.tenant.Remove(c.app.Principal)
	if _, answer := c.signIn(vendorKey(), c.cert); !strings.HasPrefix(answer["error_description"].(string), "AADSTS700016:") {
		t.Errorf("without a principal: %v", answer)
	}
}

func TestAnAssertionIsTakenAgain(t *testing.T) {
	c := newCloud(t, entra.Config{})
	form := url.Values{"client_assertion_type": {jwtBearer}, "client_assertion": {c.assertion(vendorKey(), c.cert, nil)}}
	for i := range 2 {
		if status, answer := c.ask(form); status != http.StatusOK {
			t.Fatalf("time %d: %v", i+1, answer)
		}
	}
	c.world.SetFaults(func(f *entra.Faults) { f.RefuseReplay = true })
	form = url.Values{"client_assertion_type": {jwtBearer}, "client_assertion": {c.assertion(vendorKey(), c.cert, nil)}}
	if status, _ := c.ask(form); status != http.StatusOK {
		t.Fatal("a new assertion is refused")
	}
	if status, _ := c.ask(form); status == http.StatusOK {
		t.Error("with RefuseReplay it is taken again")
	}
}

func TestOpaqueTokensWork(t *testing.T) {
	c := newCloud(t, entra.Config{Faults: entra.Faults{OpaqueTokens: true}}).signedIn()
	if strings.Contains(c.token, ".") {
		t.Fatal("the token can be read")
	}
	c.get("/v1.0/applications/" + c.app.Application.ID)
	c.token = c.token[:len(c.token)-2] + "AA"
	if status, answer, _ := c.call(http.MethodGet, "/v1.0/applications", nil); status != http.StatusUnauthorized || errorCode(answer) != "InvalidAuthenticationToken" {
		t.Errorf("a token that was altered: %d %v", status, answer)
	}
}

func TestAForeignApplicationSignsInWithTheKeyOfItsHome(t *testing.T) {
	c := newCloud(t, entra.Config{})
	vendor := c.world.AddTenant(entra.TenantSpec{Name: "Vendor"})
	product := vendor.AddApplication(entra.AppSpec{Name: "Backup", MultiTenant: true, Certificates: [][]byte{c.cert.Raw}})
	principal := c.tenant.AddForeign(product.Application, entra.Grant{API: entra.Graph, Role: "Mail.Read"})
	c.app.Application = product.Application
	status, answer := c.signIn(vendorKey(), c.cert)
	if status != http.StatusOK {
		t.Fatalf("refused: %v", answer)
	}
	had := claims(t, answer["access_token"].(string))
	if diff := cmp.Diff([]any{"Mail.Read"}, had["roles"]); diff != "" || had["oid"] != principal.ID || had["tid"] != c.tenant.ID {
		t.Errorf("claims %v\n%s", had, diff)
	}
	logged := c.tenant.SignIns()
	if len(logged) != 1 || len(vendor.SignIns()) != 0 || logged[0].OwnerTenantID != vendor.ID || logged[0].KeyID != product.Application.State().Keys[0].KeyID {
		t.Errorf("logged in the customer's tenant: %+v", logged)
	}
}

func TestVersionOneAndABasicHeader(t *testing.T) {
	c := newCloud(t, entra.Config{})
	c.tenant.AddSecret(c.app.Application, "backup", "not-a-real-secret")
	form := url.Values{"grant_type": {"client_credentials"}, "resource": {"https://outlook.office365.com"}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.servers.Login+"/"+c.tenant.Domain+"/oauth2/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Client-Request-Id", "11111111-2222-4333-8444-555555555555")
	request.Header.Set("Return-Client-Request-Id", "true")
	request.SetBasicAuth(c.app.Application.AppID, "not-a-real-secret")
	response, err := c.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	answer := c.decode(response)
	if _, ok := answer["expires_in"].(string); !ok || response.StatusCode != http.StatusOK {
		t.Fatalf("%d %v, want a token, and numbers in quotes as version 1 has them", response.StatusCode, answer)
	}
	had := claims(t, answer["access_token"].(string))
	if diff := cmp.Diff([]any{"full_access_as_app"}, had["roles"]); diff != "" || had["aud"] != "https://outlook.office365.com" {
		t.Errorf("claims %v\n%s", had, diff)
	}
	last := c.tenant.SignIns()[0]
	if response.Header.Get("client-request-id") != last.CorrelationID || last.CorrelationID != "11111111-2222-4333-8444-555555555555" ||
		response.Header.Get("x-ms-request-id") != last.ID {
		t.Errorf("headers %v, logged %+v", response.Header, last)
	}
}

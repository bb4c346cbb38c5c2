// SPDX-License-Identifier: Apache-2.0

package entra_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/lab/entra"
)

// The keys of the tests are made once: that takes longer than most tests.
var (
	vendorKey = sync.OnceValue(newRSA)
	otherKey  = sync.OnceValue(newRSA)
	tokenKey  = sync.OnceValue(newRSA)
)

func newRSA() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

// certificate makes one for a key, good from an hour ago for a month.
func certificate(t testing.TB, key *rsa.PrivateKey, name string) *x509.Certificate {
	t.Helper()
	return certificateUntil(t, key, name, time.Now().AddDate(0, 1, 0))
}

func certificateUntil(t testing.TB, key *rsa.PrivateKey, name string, end time.Time) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: end}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// A cloud is a world that runs, with one tenant and one application that may do
// everything.
type cloud struct {
	t       testing.TB
	world   *entra.World
	servers *entra.Servers
	tenant  *entra.Tenant
	app     entra.App
	cert    *x509.Certificate
	client  *http.Client
	token   string
}

var everything = []entra.Grant{
	{API: entra.Graph, Role: "Application.ReadWrite.All"}, {API: entra.Graph, Role: "Directory.Read.All"}, {API: entra.Graph, Role: "AuditLog.Read.All"},
	{API: entra.Graph, Role: "AppRoleAssignment.ReadWrite.All"}, {API: entra.Graph, Role: "DelegatedPermissionGrant.ReadWrite.All"},
	{API: entra.Graph, Role: "Mail.Read"}, {API: entra.Graph, Role: "IdentityRiskyServicePrincipal.ReadWrite.All"}, {API: entra.Exchange, Role: "full_access_as_app"},
}

// A stoppedClock shows the real time, plus what tests add to it.
type stoppedClock struct {
	mu  sync.Mutex
	now time.Time
}

func newStoppedClock() *stoppedClock { return &stoppedClock{now: time.Now()} }

func (c *stoppedClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *stoppedClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newCloud(t testing.TB, config entra.Config) *cloud {
	t.Helper()
	config.TokenKey = tokenKey()
	world, err := entra.New(config)
	if err != nil {
		t.Fatal(err)
	}
	c := &cloud{t: t, world: world, tenant: world.AddTenant(entra.TenantSpec{Name: "Contoso"}), cert: certificate(t, vendorKey(), "mail sync")}
	c.app = c.tenant.AddApplication(entra.AppSpec{Name: "Mail sync", Certificates: [][]byte{c.cert.Raw}, Grants: everything})
	if c.servers, err = world.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.client = c.servers.Client("127.0.2.7")
	t.Cleanup(c.client.CloseIdleConnections)
	return c
}

// signIn asks for a token for Graph with an assertion of a key.
func (c *cloud) signIn(key *rsa.PrivateKey, cert *x509.Certificate) (status int, answer map[string]any) {
	c.t.Helper()
	return c.ask(url.Values{"client_assertion_type": {jwtBearer}, "client_assertion": {c.assertion(key, cert, nil)}})
}

const jwtBearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// ask posts a form to the token endpoint, with what every request has.
func (c *cloud) ask(form url.Values) (status int, answer map[string]any) {
	c.t.Helper()
	full := url.Values{"client_id": {c.app.Application.AppID}, "grant_type": {"client_credentials"}, "scope": {"https://graph.microsoft.com/.default"}}
	for name, value := range form {
		full[name] = value
	}
	response, err := c.client.PostForm(c.tokenEndpoint(), full)
	if err != nil {
		c.t.Fatal(err)
	}
	return response.StatusCode, c.decode(response)
}

func (c *cloud) tokenEndpoint() string {
	return c.servers.Login + "/" + c.tenant.ID + "/oauth2/v2.0/token"
}

func (c *cloud) decode(response *http.Response) (answer map[string]any) {
	c.t.Helper()
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	if response.Header.Get(entra.EmulatorHeader) != "entra" {
		c.t.Errorf("an answer does not say that it is an emulator's: %v", response.Header)
	}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &answer); err != nil {
			c.t.Fatalf("%v in %s", err, body)
		}
	}
	return answer
}

// signedIn gets the token that the calls of Graph use.
func (c *cloud) signedIn() *cloud {
	c.t.Helper()
	status, answer := c.signIn(vendorKey(), c.cert)
	if status != http.StatusOK {
		c.t.Fatalf("the sign-in was refused: %v", answer)
	}
	c.token = answer["access_token"].(string)
	return c
}

// call calls Graph and returns the answer with its headers.
func (c *cloud) call(method, path string, body any) (int, map[string]any, http.Header) {
	c.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		c.t.Fatal(err)
	}
	address := path
	if !strings.HasPrefix(path, "https://") {
		address = c.servers.Graph + path
	}
	request, err := http.NewRequestWithContext(c.t.Context(), method, address, bytes.NewReader(text))
	if err != nil {
		c.t.Fatal(err)
	}
	request.URL.RawQuery = strings.ReplaceAll(request.URL.RawQuery, " ", "%20")
	request.Header.Set("Authorization", "Bearer "+c.token)
	request.Header.Set("Content-Type", "application/json")
	response, err := c.client.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	return response.StatusCode, c.decode(response), response.Header
}

// get reads from Graph what must be there.
func (c *cloud) get(path string) map[string]any {
	c.t.Helper()
	status, answer, _ := c.call(http.MethodGet, path, nil)
	if status != http.StatusOK {
		c.t.Fatalf("GET %s: %d %v", path, status, answer)
	}
	return answer
}

// do writes with Graph what must succeed.
func (c *cloud) do(method, path string, body any) map[string]any {
	c.t.Helper()
	status, answer, _ := c.call(method, path, body)
	if status >= 300 {
		c.t.Fatalf("%s %s: %d %v", method, path, status, answer)
	}
	return answer
}

// errorCode returns the code of an error that Graph answered.
func errorCode(answer map[string]any) string {
	e, _ := answer["error"].(map[string]any)
	code, _ := e["code"].(string)
	return code
}

func values(answer map[string]any) (list []map[string]any) {
	all, _ := answer["value"].([]any)
	for _, one := range all {
		list = append(list, one.(map[string]any))
	}
	return list
}

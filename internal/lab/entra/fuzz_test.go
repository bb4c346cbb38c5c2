// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Whatever clients send, the emulator answers, and what it answers is JSON.

func FuzzFilter(f *testing.F) {
	for _, seed := range []string{
		"signInEventTypes/any(t: t eq 'servicePrincipal') and createdDateTime ge 2026-11-20T10:00:00Z", "startswith(displayName,'a''b')",
		"appId in ('a','b')", "(appId eq 'x')", "x/any(y:y/z eq 'q') and", "a eq 'b' and 'c' and ", "''''", "in (", "startswith(",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		terms, ok := parseFilter(text)
		if !ok {
			return
		}
		for _, one := range terms {
			one.holds("x")
			if one.path == "" && one.op == "" || len(one.values) == 0 {
				t.Errorf("%q gave %+v", text, terms)
			}
		}
	})
}

func FuzzAssertion(f *testing.F) {
	f.Add("e30.e30.")
	f.Add("eyJhbGciOiJSUzI1NiIsIng1dCI6IkFBPT0ifQ.eyJhdWQiOlsiYSIsImIiXSwiZXhwIjoxZTMwMH0.AAAA")
	f.Add("..")
	f.Fuzz(func(t *testing.T, text string) {
		j, err := parseJWS(text)
		if err != nil {
			return
		}
		j.thumbprint()
		if j.signedBy(&rsa.PublicKey{N: rsaModulus, E: 65537}) {
			t.Errorf("%q is signed by a key that nobody has", text)
		}
	})
}

// rsaModulus is one whose factors nobody knows any more.
var rsaModulus = func() *big.Int {
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		panic(err)
	}
	return key.N
}()

func FuzzGraph(f *testing.F) {
	w, err := New(Config{Faults: Faults{NoThrottling: true}})
	if err != nil {
		f.Fatal(err)
	}
	tenant := w.AddTenant(TenantSpec{})
	grants := []Grant{}
	for _, role := range apiOf(Graph).roles {
		grants = append(grants, Grant{Graph, role.value})
	}
	app := tenant.AddApplication(AppSpec{Secrets: []string{"not-a-real-secret"}, Grants: grants})
	token, _, err := w.issue(grantOf{tenant: tenant, principal: app.Principal, audience: "https://graph.microsoft.com", roles: roleNames(), uti: w.guid(), issued: w.Now()})
	if err != nil {
		f.Fatal(err)
	}
	handler, id := w.GraphHandler(), app.Application.ID
	for _, seed := range [][3]string{
		{"GET", "/v1.0/applications?$filter=appId eq 'x'&$top=3", ""}, {"PATCH", "/v1.0/applications/" + id, `{"keyCredentials":[{"key":"AAAA","type":"AsymmetricX509Cert"}],"notes":null}`},
		{"POST", "/v1.0/applications/" + id + "/addKey", `{"keyCredential":{},"proof":"a.b.c"}`}, {"GET", "/beta/auditLogs/signIns?$filter=status/errorCode eq 0&$skiptoken=AAAA", ""},
		{"POST", "/v1.0/$batch", `{"requests":[{"id":"1","method":"GET","url":"/applications(appId='x')"},{"id":"2","method":"POST","url":"$batch","body":{}}]}`},
		{"GET", "/v1.0/applications/delta?$deltatoken=MSAyIDM", ""}, {"POST", "/v1.0/applications/" + id + "/federatedIdentityCredentials", `{"name":"a"}`},
		{"POST", "/v1.0/oauth2PermissionGrants", `{"clientId":"x"}`}, {"POST", "/v1.0/servicePrincipals", `{"appId":1}`},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, method, path, body string) {
		r, err := http.NewRequest(method, "https://graph.example/"+strings.TrimPrefix(strings.ReplaceAll(path, " ", "%20"), "/"), bytes.NewReader([]byte(body)))
		if err != nil {
			return
		}
		r.RemoteAddr = "127.0.0.1:1"
		r.Header.Set("Authorization", "Bearer "+token)
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, r)
		if answer.Body.Len() > 0 && !json.Valid(answer.Body.Bytes()) {
			t.Errorf("%s %s answered %d with what is no JSON: %.300s", method, path, answer.Code, answer.Body)
		}
	})
}

// roleNames are all roles of Graph.
func roleNames() (names []string) {
	for _, role := range apiOf(Graph).roles {
		names = append(names, role.value)
	}
	return names
}

// SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/vault"
)

// entrustedTo takes in a value over the API, for the token of a holder.
func entrustedTo(f *fixture, holder int64, account string, value []byte) store.EntrustedSecret {
	f.Helper()
	body := fmt.Sprintf(`{"customer":"acme","system":"ldap","account":%q,"kind":"password","holder":"token:%d","max_age":86400,"value":%q}`, account, holder, base64.StdEncoding.EncodeToString(value))
	return answerOf[store.EntrustedSecret](f, f.ask(gate.Operator, http.MethodPost, "/api/v1/vault/secrets", body), http.StatusOK)
}

func TestTheHolderGetsItsValueOverTheAPI(t *testing.T) {
	f := onSQLite(t)
	secret, holder, err := f.Access.CreateToken(t.Context(), gate.Local("root"), "mailer", gate.Client, time.Hour)
	must(t, err)
	value := []byte("never in a log \x00\xff 4711")
	s := entrustedTo(f, holder.ID, "a", value)
	if s.Version != 1 || s.MaxAge != 86400 || !s.Due.Equal(now.Add(24*time.Hour)) {
		t.Errorf("%+v", s)
	}
	reveal := "/api/v1/vault/secrets/" + s.ID + "/reveal"
	for _, role := range []gate.Role{gate.Viewer, gate.Operator, gate.Admin} {
		if w := f.ask(role, http.MethodPost, reveal, ""); w.Code != http.StatusForbidden || strings.Contains(w.Body.String(), "bmV2ZXI") {
			t.Errorf("%s gets %d %s", role, w.Code, w.Body)
		}
	}
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, reveal, nil)
	request.Header.Set("Authorization", "Bearer "+secret)
	w := httptest.NewRecorder()
	f.Handler().ServeHTTP(w, request)
	got := answerOf[revealedBody](f, w, http.StatusOK)
	if decoded, err := base64.StdEncoding.DecodeString(got.Value); err != nil || string(decoded) != string(value) || got.Version != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Error("a value may be kept by a cache")
	}
	l := get[vault.Lineage](f, gate.Operator, "/api/v1/vault/secrets/"+s.ID)
	if len(l.Handouts) != 1 || l.Handouts[0].Holder != fmt.Sprintf("token:%d", holder.ID) || len(l.Versions) != 1 || len(l.Versions[0].Wrappings) != 1 {
		t.Errorf("%+v", l)
	}
	for _, text := range []string{string(value), base64.StdEncoding.EncodeToString(value)} {
		if strings.Contains(f.log.String(), text) {
			t.Error("the value is in the log")
		}
	}
}

func TestEntrustedOverTheAPI(t *testing.T) {
	f := onSQLite(t)
	if w := f.ask(gate.Viewer, http.MethodPost, "/api/v1/vault/secrets", `{"customer":"c","system":"s","account":"a","kind":"password","value":""}`); w.Code != http.StatusForbidden {
		t.Error("a viewer entrusts:", w.Code)
	}
	for _, bad := range []string{`"kind":"hope","value":""`, `"kind":"password","value":"%"`, `"kind":"password","value":"","holder":"me"`, `"kind":"password"`} {
		if w := f.ask(gate.Operator, http.MethodPost, "/api/v1/vault/secrets", `{"customer":"c","system":"s","account":"a",`+bad+`}`); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", bad, w.Code, w.Body)
		}
	}
	first, second := entrustedTo(f, 1, "a", nil), entrustedTo(f, 1, "b", []byte("x"))
	page := get[list[store.EntrustedSecret]](f, gate.Viewer, "/api/v1/vault/secrets?limit=1&customer=acme&kind=password")
	if page.Total != 2 || len(page.Items) != 1 || page.Items[0].ID != first.ID || page.Next == "" {
		t.Errorf("%+v", page)
	}
	exposed := get[list[store.Exposure]](f, gate.Operator, "/api/v1/vault/readable?host=hub&from=2026-11-22")
	if exposed.Total != 2 {
		t.Errorf("%+v", exposed)
	}
	keys := get[wrappingKeysBody](f, gate.Viewer, "/api/v1/vault/keys")
	if len(keys.Items) != 1 || keys.Items[0].Customers != 1 {
		t.Errorf("%+v", keys)
	}
	if hosts := get[vaultHostsBody](f, gate.Viewer, "/api/v1/vault/hosts"); len(hosts.Items) != 1 || hosts.Items[0].Host != "hub" {
		t.Errorf("%+v", hosts)
	}
	if w := f.ask(gate.Operator, http.MethodPost, "/api/v1/vault/rotate", `{"reason":"r","ids":["`+first.ID+`"],"key":"x"}`); w.Code != http.StatusBadRequest {
		t.Error(w.Code)
	}
	rotated := answerOf[rotatedBody](f, f.ask(gate.Operator, http.MethodPost, "/api/v1/vault/rotate", `{"reason":"stolen","key":"`+keys.Items[0].ID+`"}`), http.StatusOK)
	if rotated.Secrets != 2 {
		t.Errorf("%+v", rotated)
	}
	rotated = answerOf[rotatedBody](f, f.ask(gate.Operator, http.MethodPost, "/api/v1/vault/rotate", `{"reason":"left","ids":["`+first.ID+`"]}`), http.StatusOK)
	if rotated.Secrets != 1 {
		t.Errorf("%+v", rotated)
	}
	if w := f.ask(gate.Operator, http.MethodDelete, "/api/v1/vault/secrets/"+second.ID, ""); w.Code != http.StatusForbidden {
		t.Error("an operator destroys:", w.Code)
	}
	if s := answerOf[store.EntrustedSecret](f, f.ask(gate.Admin, http.MethodDelete, "/api/v1/vault/secrets/"+second.ID, ""), http.StatusOK); s.Destroyed.IsZero() {
		t.Errorf("%+v", s)
	}
	want := store.EntrustedSums{Secrets: 1, Customers: 1, Due: 1}
	if sums := get[store.EntrustedSums](f, gate.Viewer, "/api/v1/vault/summary"); sums != want {
		t.Errorf("%+v", sums)
	}
}

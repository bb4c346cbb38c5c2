// SPDX-License-Identifier: Apache-2.0

package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/issuing/issuingtest"
	"github.com/tallystick/tallystick/internal/store"
)

// post posts JSON and reads what must come back.
func post[T any](f *fixture, role gate.Role, status int, path string, body any) T {
	f.Helper()
	text, err := json.Marshal(body)
	must(f.TB, err)
	return answerOf[T](f, f.ask(role, http.MethodPost, path, string(text)), status)
}

// object is a JSON object of the tests.
type object = map[string]any

func TestIssuingOverTheAPI(t *testing.T) {
	onBoth(t, func(f *fixture) {
		f.ask(gate.Viewer, http.MethodPost, "/api/v1/authorities", `{"name":"lab"}`)
		root := post[authorityBody](f, gate.Admin, http.StatusOK, "/api/v1/authorities", object{"name": "lab", "note": "for tests"})
		if root.State != ca.Active || !strings.HasPrefix(root.PEM, "-----BEGIN CERTIFICATE-----") {
			t.Errorf("the root is %+v", root)
		}
		post[authorityBody](f, gate.Admin, http.StatusOK, "/api/v1/authorities", object{"name": "servers", "parent": "lab"})
		made := post[issuedBody](f, gate.Operator, http.StatusOK, "/api/v1/certificates", object{"csr": issuingtest.CSR(t, "www.example.net"), "authority": "servers", "lifetime": 86400})
		f.chain(made, root)
		one := get[oneCertificateBody](f, gate.Viewer, "/api/v1/certificates/"+string(made.Serial))
		if one.PEM != made.Certificate || one.Authority != "servers" || one.Window.Start.Before(one.NotBefore) || one.Names.DNS[0] != "www.example.net" {
			t.Errorf("the certificate is %+v", one)
		}
		next := post[issuedBody](f, gate.Operator, http.StatusOK, "/api/v1/certificates", object{"csr": issuingtest.CSR(t, "www.example.net"), "authority": "servers", "replaces": made.Serial})
		if list := get[certificateBody](f, gate.Viewer, "/api/v1/certificates?replaces="+string(made.Serial)); len(list.Items) != 1 || list.Items[0].Serial != next.Serial {
			t.Errorf("what takes its place is %+v", list)
		}
		page := get[certificateBody](f, gate.Viewer, "/api/v1/certificates?limit=1")
		if rest := get[certificateBody](f, gate.Viewer, "/api/v1/certificates?limit=1&after="+page.Next); page.Items[0].Serial <= rest.Items[0].Serial {
			t.Errorf("the pages are %+v and %+v", page, rest)
		}
		revoked := post[revokedBody](f, gate.Operator, http.StatusOK, "/api/v1/certificates/revoke", object{"serials": []ca.Serial{made.Serial}, "reason": "key-compromise", "descendants": true, "wait": true})
		if revoked.Count != 2 {
			t.Errorf("%d were revoked", revoked.Count)
		}
		if keys := get[blockedKeysBody](f, gate.Viewer, "/api/v1/blocked-keys"); len(keys.Items) != 2 {
			t.Errorf("blocked: %+v", keys)
		}
		crls := get[crlsBody](f, gate.Viewer, "/api/v1/crls")
		if len(crls.Items) != 2 || crls.Items[1].Entries != 2 || crls.Items[1].Behind {
			t.Errorf("the lists are %+v", crls)
		}
		metrics := f.ask(gate.Viewer, http.MethodGet, "/metrics", "").Body.String()
		for _, line := range []string{`tally_ca_valid_certificates{ca="servers"} 0`, `tally_crl_entries{ca="servers",part="-1"} 2`, `tally_crl_wrong{ca="servers",part="-1"} 0`, `tally_renewals{state="all"} 0`} {
			if !strings.Contains(metrics, line+"\n") {
				t.Errorf("the metrics lack %s:\n%s", line, metrics)
			}
		}
	})
}

// chain fails the test when what was made does not verify up to the root.
func (f *fixture) chain(made issuedBody, root authorityBody) {
	f.Helper()
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(root.PEM))
	between.AppendCertsFromPEM([]byte(made.Chain))
	block, _ := pem.Decode([]byte(made.Certificate))
	certificate, err := x509.ParseCertificate(block.Bytes)
	must(f.TB, err)
	_, err = certificate.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now, DNSName: "www.example.net"})
	must(f.TB, err)
}

func TestRequestsWaitForSomebodyElse(t *testing.T) {
	f := onSQLite(t)
	post[authorityBody](f, gate.Admin, http.StatusOK, "/api/v1/authorities", object{"name": "lab"})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	ask := object{"csr": issuingtest.CSRFor(t, key, "mail.example.net"), "profile": "smtp"}
	waiting := post[issuedBody](f, gate.Operator, http.StatusAccepted, "/api/v1/certificates", ask)
	list := get[requestsBody](f, gate.Viewer, "/api/v1/issue-requests?state=waiting")
	if len(list.Items) != 1 || list.Items[0].ID != waiting.Request || list.Items[0].State != store.RequestWaiting {
		t.Fatalf("requests: %+v", list)
	}
	path := "/api/v1/issue-requests/" + strconv.FormatInt(waiting.Request, 10)
	answerOf[details](f, f.ask(gate.Operator, http.MethodPost, path+"/approve", ""), http.StatusForbidden) // whoever asked cannot approve
	answerOf[details](f, f.ask(gate.Viewer, http.MethodPost, path+"/approve", ""), http.StatusForbidden)
	made := answerOf[issuedBody](f, f.ask(gate.Admin, http.MethodPost, path+"/approve", ""), http.StatusOK)
	if collected := post[issuedBody](f, gate.Operator, http.StatusOK, "/api/v1/certificates", ask); collected.Serial != made.Serial || collected.Certificate == "" {
		t.Errorf("collected %+v, made %+v", collected, made)
	}
	answerOf[details](f, f.ask(gate.Admin, http.MethodPost, path+"/refuse", `{"why":"too late"}`), http.StatusConflict)
}

func TestPolicyIsTried(t *testing.T) {
	f := onSQLite(t)
	post[authorityBody](f, gate.Admin, http.StatusOK, "/api/v1/authorities", object{"name": "lab"})
	names := object{"dns": []string{"www.example.net"}}
	as := post[decisionBody](f, gate.Viewer, http.StatusOK, "/api/v1/policy/try", object{"names": names, "as": "svc", "key": "ed25519"})
	if as.Allowed || !strings.Contains(as.Why, "not proven") || len(as.Verdicts) < 5 {
		t.Errorf("a client without proof: %+v", as)
	}
	if proven := post[decisionBody](f, gate.Viewer, http.StatusOK, "/api/v1/policy/try", object{"names": names, "as": "svc", "proven": true}); !proven.Allowed {
		t.Errorf("with proof: %+v", proven)
	}
	if mail := post[decisionBody](f, gate.Viewer, http.StatusOK, "/api/v1/policy/try", object{"names": names, "profile": "smtp", "as": "olga", "role": "operator"}); !mail.Allowed || !mail.Approval {
		t.Errorf("a mail server: %+v", mail)
	}
	if long := post[decisionBody](f, gate.Viewer, http.StatusOK, "/api/v1/policy/try", object{"names": names, "lifetime": 86400 * 900}); long.Allowed || long.Verdicts != nil {
		t.Errorf("for too long: %+v", long)
	}
	if list := get[certificateBody](f, gate.Viewer, "/api/v1/certificates"); len(list.Items) != 0 {
		t.Errorf("trying has made %+v", list)
	}
	if p := get[profilesBody](f, gate.Viewer, "/api/v1/profiles"); len(p.Items) < 5 || p.Rules[0].Citation != "house rule 4" {
		t.Errorf("profiles: %+v", p)
	}
}

func TestRolloverOverTheAPI(t *testing.T) {
	f := onSQLite(t)
	post[authorityBody](f, gate.Admin, http.StatusOK, "/api/v1/authorities", object{"name": "lab", "permitted_dns": []string{"example.net"}})
	answerOf[details](f, f.ask(gate.Operator, http.MethodPost, "/api/v1/authorities/lab/rollover", `{"step":"prepare"}`), http.StatusForbidden)
	answerOf[details](f, f.ask(gate.Admin, http.MethodPost, "/api/v1/authorities/lab/rollover", `{"step":"jump"}`), http.StatusBadRequest)
	for step, state := range map[string]string{"prepare": ca.Prepared} {
		if made := post[authorityBody](f, gate.Admin, http.StatusOK, "/api/v1/authorities/lab/rollover", object{"step": step}); made.State != state || made.Name != "lab-g2" {
			t.Errorf("%s made %+v", step, made)
		}
	}
	if made := post[authorityBody](f, gate.Admin, http.StatusOK, "/api/v1/authorities/lab/rollover", object{"step": "activate"}); made.State != ca.Active {
		t.Errorf("activated: %+v", made)
	}
	if old := post[authorityBody](f, gate.Admin, http.StatusOK, "/api/v1/authorities/lab/rollover", object{"step": "distrust"}); old.State != ca.Distrusted {
		t.Errorf("distrusted: %+v", old)
	}
	post[recalledBody](f, gate.Admin, http.StatusOK, "/api/v1/authorities/lab-g2/compromise", object{"url": "https://status.example.net/1"})
	if one := get[authorityBody](f, gate.Viewer, "/api/v1/authorities/lab-g2"); one.State != ca.Compromised || one.Counts == nil {
		t.Errorf("compromised: %+v", one)
	}
	answerOf[details](f, f.ask(gate.Viewer, http.MethodGet, "/api/v1/authorities/none", ""), http.StatusNotFound)
}

func TestRenewalsOverTheAPI(t *testing.T) {
	f := onSQLite(t)
	post[authorityBody](f, gate.Admin, http.StatusOK, "/api/v1/authorities", object{"name": "lab"})
	want := object{"name": "shop", "issuer": "ca/lab", "names": []string{"shop.example.net"}}
	answerOf[details](f, f.ask(gate.Viewer, http.MethodPost, "/api/v1/renewals", `{"name":"shop","issuer":"ca/lab","names":["a.example.net"]}`), http.StatusForbidden)
	post[object](f, gate.Operator, http.StatusOK, "/api/v1/renewals", want)
	if list := get[renewalsBody](f, gate.Viewer, "/api/v1/renewals?issuer=ca/lab"); len(list.Items) != 1 || list.Items[0].State != "new" {
		t.Errorf("renewals: %+v", list)
	}
	for _, verb := range []string{"now", "pause", "resume"} {
		answerOf[nothing](f, f.ask(gate.Operator, http.MethodPost, "/api/v1/renewals/shop/"+verb, ""), http.StatusOK)
	}
	calendar := get[calendarBody](f, gate.Viewer, "/api/v1/renewals/calendar?lifetime=4060800") // 47 days
	if len(calendar.Days) != 365 || calendar.Total < 10 || calendar.Issuers[0] != "ca/lab" {
		t.Errorf("the calendar has %d days and %d renewals by %q", len(calendar.Days), calendar.Total, calendar.Issuers)
	}
	move := post[object](f, gate.Operator, http.StatusBadRequest, "/api/v1/renewals/move", object{"to": "ca/lab", "dry_run": true})
	if !strings.Contains(move["detail"].(string), "there already") {
		t.Errorf("a move to where it is: %v", move)
	}
	if issuers := get[issuersBody](f, gate.Viewer, "/api/v1/issuers"); len(issuers.Items) != 1 || issuers.Items[0].Renewals != 1 {
		t.Errorf("issuers: %+v", issuers)
	}
	get[renewalOrdersBody](f, gate.Viewer, "/api/v1/renewals/orders")
	get[acmeOrdersBody](f, gate.Viewer, "/api/v1/acme/orders")
	get[acmeAccountsBody](f, gate.Viewer, "/api/v1/acme/accounts")
	answerOf[nothing](f, f.ask(gate.Operator, http.MethodDelete, "/api/v1/renewals/shop", ""), http.StatusOK)
	answerOf[details](f, f.ask(gate.Viewer, http.MethodGet, "/api/v1/renewals/shop", ""), http.StatusNotFound)
}

// Where nothing is issued, calls say what to do.
func TestWithoutIssuing(t *testing.T) {
	f := onSQLite(t)
	f.Issuing = nil
	for _, path := range []string{"/authorities", "/certificates", "/renewals", "/acme/orders"} {
		if d := answerOf[details](f, f.ask(gate.Admin, http.MethodGet, "/api/v1"+path, ""), http.StatusNotFound); d.Hint == "" {
			t.Errorf("%s: %+v", path, d)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
)

// written returns the uses that do makes, without what differs every time.
func written(t *testing.T, do func(*Book)) (uses []map[string]any, text string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "uses")
	b := open(t, Config{Source: "s", File: path})
	if err := run(t, b, func() { do(b) }); err != nil {
		t.Fatal(err)
	}
	raw := read(t, path)
	for _, line := range lines(t, raw) {
		if line["closed"] != nil {
			continue
		}
		for _, member := range []string{"v", "source", "seq", "side", "time", "hash"} {
			delete(line, member)
		}
		uses = append(uses, line)
	}
	return uses, string(raw)
}

// The key signs in a real handshake, and the book knows it by its own name.
func TestASignerInAHandshake(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, len(r.TLS.PeerCertificates))
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	server.StartTLS()
	defer server.Close()
	uses, _ := written(t, func(b *Book) {
		signer, err := b.Signer(key, "x5t:00")
		if err != nil {
			t.Fatal(err)
		}
		base := server.Client().Transport.(*http.Transport)
		base.TLSClientConfig.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: signer}}
		client := &http.Client{Transport: b.Transport(base, "x5t:00")}
		for range 2 { // one connection, and so one signature
			response, err := client.Get(server.URL + "/mail")
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			if err != nil || string(body) != "1" {
				t.Errorf("the server answers %q, %v", body, err)
			}
			response.Body.Close()
		}
	})
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	request := map[string]any{
		"level": "request", "credential": []any{"x5t:00"}, "relying_party": "https:" + at.Host, "outcome": "success",
		"operation": "GET", "resource": "/mail",
	}
	want := []map[string]any{
		{"level": "signature", "credential": []any{fmt.Sprintf("spki-sha256:%x", sha256.Sum256(spki)), "x5t:00"}, "outcome": "success"},
		request, request,
	}
	if d := cmp.Diff(want, uses); d != "" {
		t.Error(d)
	}
}

func part(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// A token endpoint as Microsoft's "OAuth 2.0 client credentials flow" documents
// it, and no more of it than that.
func tokenEndpoint(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("x-ms-request-id", "request-1")
		if err := r.ParseForm(); err != nil || r.Form.Get("client_assertion") == "" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if r.Form.Get("client_id") == "expired" {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error":"invalid_client","error_codes":[7000222],"correlation_id":"c-2"}`)
			return
		}
		token := part(`{"alg":"none"}`) + "." + part(`{"uti":"FVsGxYXI30-TuikuuUoFAA","tid":"tenant-guid","aud":"https://graph.microsoft.com"}`) + ".secretsignature"
		fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":3599,"access_token":%q}`, token)
	}))
	t.Cleanup(server.Close)
	return server
}

func TestATokenIsKnownByWhatThePlatformGaveIt(t *testing.T) {
	server := tokenEndpoint(t)
	assertion := part(`{"alg":"PS256","x5t#S256":"`+base64.RawURLEncoding.EncodeToString(make([]byte, 32))+`"}`) + "." + part(`{"jti":"1"}`) + ".proofofkey"
	var answers []string
	uses, text := written(t, func(b *Book) {
		client := &http.Client{Transport: b.Transport(server.Client().Transport, "entra-key:1")}
		for _, id := range []string{"app", "expired"} {
			form := url.Values{"client_id": {id}, "client_assertion": {assertion}, "scope": {"https://graph.microsoft.com/.default"}}
			request, err := http.NewRequest(http.MethodPost, server.URL+"/contoso.example/oauth2/v2.0/token", strings.NewReader(form.Encode()))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			request.Header.Set("client-request-id", "c-1")
			response, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			answers = append(answers, string(body))
			response.Body.Close()
		}
	})
	if !strings.Contains(answers[0], "secretsignature") || !strings.Contains(answers[1], "7000222") {
		t.Errorf("the program reads %q", answers)
	}
	names := []any{"cert-sha256:" + strings.Repeat("0", 64), "entra-key:1"}
	want := []map[string]any{
		{
			"level": "token", "credential": names, "relying_party": "entra:tenant-guid/" + graph, "outcome": "success", "operation": "POST",
			"agent": "", "ids": map[string]any{"uti": "FVsGxYXI30-TuikuuUoFAA", "correlation": "c-1", "request": "request-1"},
		},
		{
			"level": "token", "credential": names, "relying_party": "entra:contoso.example/" + graph, "outcome": "refused", "operation": "POST",
			"detail": "AADSTS7000222", "agent": "", "ids": map[string]any{"correlation": "c-1", "request": "request-1"},
		},
	}
	for _, w := range want {
		delete(w, "agent")
	}
	if d := cmp.Diff(want, uses); d != "" {
		t.Error(d)
	}
	for _, secret := range []string{"secretsignature", "proofofkey"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in the book", secret)
		}
	}
}

// A long body passes through unread and whole.
func TestALongBodyPassesThrough(t *testing.T) {
	const size = 3 * maxBody
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, strings.Repeat("x", size))
	}))
	defer server.Close()
	uses, _ := written(t, func(b *Book) {
		client := &http.Client{Transport: b.Transport(server.Client().Transport)}
		body := struct{ io.Reader }{strings.NewReader("client_secret=" + strings.Repeat("y", size))} // of unknown length
		response, err := client.Post(server.URL+"/t/oauth2/v2.0/token", "application/x-www-form-urlencoded", body)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		answer, err := io.ReadAll(response.Body)
		if want := fmt.Sprint(size + len("client_secret=")); err != nil || !strings.HasPrefix(string(answer), want) || len(answer) != size+len(want) {
			t.Errorf("%d bytes come back, %v", len(answer), err)
		}
	})
	if len(uses) != 1 || uses[0]["level"] != "request" {
		t.Errorf("written: %v", uses)
	}
}

// Who was never reached has no record; who broke off has one without an end.
func TestRequestsWithoutAnAnswer(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	uses, _ := written(t, func(b *Book) {
		client := &http.Client{Transport: b.Transport(server.Client().Transport, "x5t:1")}
		if _, err := client.Get(server.URL); err == nil {
			t.Error("an answer that was broken off is no error")
		}
		server.Close()
		if _, err := client.Get(server.URL); err == nil {
			t.Error("a server that is gone is no error")
		}
	})
	if len(uses) != 1 || uses[0]["outcome"] != nil {
		t.Errorf("written: %v, want one use without an outcome", uses)
	}
}

// A program that panics or hands out nothing is written down all the same, and
// does not end in this package.
func TestMistakesOfTheProgram(t *testing.T) {
	uses, _ := written(t, func(b *Book) {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic of the program is gone")
				}
			}()
			_ = b.Bind(Bind{RelyingParty: "ldap:127.0.0.1:389", Account: "a"}, func() error { panic("oh") })
		}()
		request, err := http.NewRequest(http.MethodPost, "https://127.0.0.1/t/oauth2/v2.0/token", strings.NewReader("client_secret=x"))
		if err != nil {
			t.Fatal(err)
		}
		for _, base := range []emptyHanded{{}, {response: &http.Response{StatusCode: http.StatusOK}}} {
			if response, err := b.Transport(base).RoundTrip(request); response != base.response || err != nil {
				t.Errorf("%v, %v came back", response, err)
			}
		}
		b.Record(tallystick.Use{Resource: strings.Repeat("é", 3*maxLine), Credential: make([]string, 1000)})
	})
	if len(uses) != 4 || len(uses[3]["resource"].(string)) > maxText || len(uses[3]["credential"].([]any)) != maxNames {
		t.Errorf("%d uses are written", len(uses))
	}
}

// An emptyHanded RoundTripper returns what it should not.
type emptyHanded struct{ response *http.Response }

func (e emptyHanded) RoundTrip(*http.Request) (*http.Response, error) { return e.response, nil }

func TestBinds(t *testing.T) {
	wrong, broken := errors.New("invalid credentials"), errors.New("connection reset")
	uses, _ := written(t, func(b *Book) {
		for _, err := range []error{nil, wrong, broken} {
			got := b.Bind(Bind{
				RelyingParty: "ldap:127.0.0.1:389", Account: "uid=svc1,dc=example", Refused: func(err error) bool { return errors.Is(err, wrong) },
			}, func() error { return err })
			if !errors.Is(got, err) {
				t.Errorf("%v came back as %v", err, got)
			}
		}
	})
	var outcomes []any
	for _, use := range uses {
		outcomes = append(outcomes, use["outcome"])
		if d := cmp.Diff([]any{"account:ldap/uid=svc1,dc=example"}, use["credential"]); d != "" {
			t.Error(d)
		}
	}
	if d := cmp.Diff([]any{"success", "refused", nil}, outcomes); d != "" {
		t.Error(d)
	}
}

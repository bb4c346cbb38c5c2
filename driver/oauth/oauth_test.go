// SPDX-License-Identifier: Apache-2.0

package oauth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/oauth"
	"github.com/tallystick/tallystick/internal/lab"
)

func endpoint(t testing.TB) *url.URL {
	t.Helper()
	u, err := oauth.ParseEndpoint("https://login.example.com/tenant/oauth2/v2.0/token")
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// Assertions are what RFC 7523 section 3 and Microsoft's page want, signed by any key that can.
func TestAssertion(t *testing.T) {
	rsaKey := lab.NewRSAKey(t, 2048)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for algorithm, key := range map[jose.SignatureAlgorithm]crypto.Signer{jose.PS256: rsaKey, jose.ES256: ecKey, jose.EdDSA: edKey} {
		request := oauth.Request{Endpoint: endpoint(t), ClientID: "app", Scope: "s", Credential: driver.Material{Public: driver.Public{Chain: [][]byte{[]byte("certificate")}}, Key: key}}
		text, err := request.Form(now)
		if err != nil {
			t.Fatal(err)
		}
		form, err := url.ParseQuery(text)
		if err != nil || form.Get("grant_type") != "client_credentials" || form.Has("client_secret") {
			t.Fatalf("%v, %v", form, err)
		}
		signed, err := jose.ParseSignedCompact(form.Get("client_assertion"), []jose.SignatureAlgorithm{algorithm})
		if err != nil {
			t.Fatalf("%s: %v", algorithm, err)
		}
		payload, err := signed.Verify(key.Public())
		if err != nil {
			t.Fatalf("%s: %v", algorithm, err)
		}
		if algorithm == jose.PS256 { // the library is content with any salt
			parts := strings.Split(form.Get("client_assertion"), ".")
			digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
			if err := rsa.VerifyPSS(&rsaKey.PublicKey, crypto.SHA256, digest[:], signed.Signatures[0].Signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}); err != nil {
				t.Errorf("the salt is not as long as the digest: %v", err)
			}
		}
		var claims map[string]any
		if err := json.Unmarshal(payload, &claims); err != nil {
			t.Fatal(err)
		}
		if claims["aud"] != endpoint(t).String() || claims["iss"] != "app" || claims["sub"] != "app" || claims["jti"] == "" ||
			claims["exp"].(float64)-claims["nbf"].(float64) != 600 || int64(claims["nbf"].(float64)) != now.Unix() {
			t.Errorf("%s: %v", algorithm, claims)
		}
		if header := signed.Signatures[0].Protected.ExtraHeaders; header["x5t#S256"] == "" || strings.Contains(fmt.Sprint(header["x5t#S256"]), "=") {
			t.Errorf("%s: %v", algorithm, header)
		}
	}
	_, err = oauth.Sign(driver.Material{}, jose.PS256, nil)
	if !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("without a key: %v", err)
	}
}

func TestEndpoints(t *testing.T) {
	for _, text := range []string{"", "http://a/b", "https://u@a/b", "https://a/b?c", "https://a/b#c", "https:///b", "a:443"} {
		if _, err := oauth.ParseEndpoint(text); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%q gives %v", text, err)
		}
	}
}

// Only a no to the credential is a refusal.
func TestRefusals(t *testing.T) {
	for _, row := range []struct {
		status  int
		body    string
		refused bool
	}{
		{401, `{"error":"invalid_client","error_description":"AADSTS700027: x\r\nTrace ID: y","error_codes":[700027]}`, true},
		{401, `{"error":"invalid_client","error_codes":[7000222]}`, true},
		{400, `{"error":"unauthorized_client","error_codes":[7000112]}`, true},
		{400, `{"error":"unauthorized_client","error_codes":[700016]}`, false}, // no such application
		{401, `{"error":"invalid_client","error_codes":[700024]}`, false},      // a clock is wrong
		{400, `{"error":"invalid_scope","error_codes":[70011]}`, false},
		{429, `{"error":"invalid_client"}`, false},
		{403, `{"error":"invalid_client"}`, false},
		{401, `<html>`, false},
		{200, `{"access_token":"a.b.c"}`, false},
	} {
		answer := oauth.Read(http.Header{}, []byte(row.body))
		if answer.Refused(row.status) != row.refused {
			t.Errorf("%d %s is refused: %v", row.status, row.body, !row.refused)
		}
		if strings.Contains(answer.String(), "a.b.c") || strings.Contains(answer.String(), "Trace") {
			t.Errorf("%s", answer)
		}
	}
}

// What is shown of an answer has none of what was sent, also where it is cut in the middle of that.
func TestWhatWasSentIsNotShown(t *testing.T) {
	t.Parallel()
	const secret = "THESECRET-0123456789abcdefghij"
	long := strings.Repeat("x", 285) + " " + secret + " is wrong" // which is cut at 300 bytes
	for name, answer := range map[string]string{
		"the description": `{"error":"invalid_client","error_description":"` + long + `"}`, "the error": `{"error":"` + long + `"}`,
		"the trace": `{"error":"x","trace_id":"` + long + `"}`, "the correlation": `{"error":"x","correlation_id":"` + long + `"}`,
		"the name of a token": `{"access_token":"x.` + base64.RawURLEncoding.EncodeToString([]byte(`{"uti":"`+long+`"}`)) + `.x"}`,
	} {
		a := oauth.Read(http.Header{}, []byte(answer), driver.NewSecret(secret))
		if said := fmt.Sprint(a, a.IDs); strings.Contains(said, secret[:4]) || !strings.Contains(said, "xxx") {
			t.Errorf("%s: %s", name, said)
		}
	}
	header := http.Header{"X-Ms-Request-Id": {long}}
	if got := oauth.Read(header, []byte(`{"error":"x"}`), driver.NewSecret(secret)).IDs.Request; strings.Contains(got, secret[:4]) || got == "" {
		t.Errorf("the request: %s", got)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"token_type":"Bearer","expires_in":3599,"access_token":"eyJhbGciOiJub25lIn0.eyJ1dGkiOiJGVnNHeFlYSTMwLVR1aWt1dVVvRkFBIn0.c2ln"}`))
	f.Add([]byte(`{"token_type":"Bearer","expires_in":"1e99","access_token":"opaque"}`))
	f.Add([]byte(`{"error":"invalid_client","error_description":"AADSTS7000222: The provided client secret keys are expired.\r\nTrace ID: x","error_codes":[7000222]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		a := oauth.Read(http.Header{}, body)
		if a.Expires < 0 || a.Expires > 8*24*time.Hour || len(a.String()) > 1000 || strings.ContainsAny(a.String(), "\x00\n\x1b") || len(a.IDs.UTI) > 300 {
			t.Errorf("%+v", a)
		}
		if !a.Token.IsZero() && a.Error != "" {
			t.Error("a token and an error")
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"cmp"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// signIn signs in with what was stolen and completes the truth.
func (a *Adversary) signIn(ctx context.Context, t Truth, s Stolen, scope string) (Truth, string, error) {
	form, err := a.form(t.Tenant, s, scope)
	if err != nil {
		return Truth{}, "", err
	}
	t.Application = s.Application
	if t.CorrelationID == "" {
		t.CorrelationID = freshID()
	}
	return a.post(ctx, t, form)
}

// form is the request for a token, signed with what was stolen.
func (a *Adversary) form(tenant string, s Stolen, scope string) (url.Values, error) {
	switch {
	case s.Secret != "":
		return tokenForm(s.Application, scope, "client_secret", s.Secret), nil
	case s.Federated != nil:
		assertion, err := s.Federated()
		if err != nil {
			return nil, fmt.Errorf("couldn't get the token of the federated issuer: %w", err)
		}
		return tokenForm(s.Application, scope, "client_assertion", assertion), nil
	}
	assertion, err := s.assertion(a.tokenEndpoint(tenant), s.Application, a.now())
	if err != nil {
		return nil, err
	}
	return tokenForm(s.Application, scope, "client_assertion", assertion), nil
}

// tokenForm is the body of a request for a token (RFC 6749, section 4.4.2, with
// RFC 7523, section 2.2).
func tokenForm(application, scope, kind, value string) url.Values {
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {application}, "scope": {scope}, kind: {value}}
	if kind == "client_assertion" {
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	}
	return form
}

func (a *Adversary) tokenEndpoint(tenant string) string {
	return a.servers.Login + "/" + tenant + "/oauth2/v2.0/token"
}

// post sends the request and reads from the answer what happened.
func (a *Adversary) post(ctx context.Context, t Truth, form url.Values) (Truth, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.tokenEndpoint(t.Tenant), strings.NewReader(form.Encode()))
	if err != nil {
		return Truth{}, "", fmt.Errorf("couldn't ask for a token: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("client-request-id", t.CorrelationID)
	status, header, body, err := a.do(req)
	if err != nil {
		return Truth{}, "", fmt.Errorf("couldn't ask for a token: %w", err)
	}
	var answer struct {
		Token string `json:"access_token"`
		Codes []int  `json:"error_codes"`
		Error string `json:"error"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return Truth{}, "", fmt.Errorf("couldn't read the answer %d of the login host: %w", status, err)
	}
	t.Time, t.Address, t.SignInID = a.now(), a.address, header.Get("x-ms-request-id")
	switch {
	case len(answer.Codes) > 0:
		t.Refused = "AADSTS" + strconv.Itoa(answer.Codes[0])
	case answer.Token == "":
		t.Refused = cmp.Or(answer.Error, strconv.Itoa(status))
	}
	t.UTI = readableUTI(answer.Token)
	return t, answer.Token, nil
}

// do sends a request as the adversary and reads the answer, which is bounded.
func (a *Adversary) do(req *http.Request) (status int, header http.Header, body []byte, err error) {
	req.Header.Set("User-Agent", cmp.Or(a.Agent, "python-requests/2.32.3"))
	resp, err := a.client.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	return resp.StatusCode, resp.Header, body, err
}

// assertion signs a JWT as certificate-credentials.md describes it: PS256, the
// SHA-256 of the certificate, and ten minutes.
func (s Stolen) assertion(audience, issuer string, now time.Time) (string, error) {
	if s.Certificate == nil || s.Key == nil {
		return "", errors.New("couldn't sign an assertion: a certificate and its key are needed")
	}
	print := sha256.Sum256(s.Certificate.Raw)
	return signJWT(s.Key, map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(print[:])}, map[string]any{
		"aud": audience, "iss": issuer, "sub": issuer, "jti": freshID(),
		"nbf": now.Unix(), "iat": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
	})
}

// signJWT signs claims with PS256 (RFC 7518, section 3.5).
func signJWT(key crypto.Signer, header, claims map[string]any) (string, error) {
	header["alg"], header["typ"] = "PS256", "JWT"
	head, err := json.Marshal(header)
	if err != nil {
		return "", fmt.Errorf("couldn't encode the header of a token: %w", err)
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("couldn't encode the claims of a token: %w", err)
	}
	signed := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(body)
	digest := sha256.Sum256([]byte(signed))
	signature, err := key.Sign(rand.Reader, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
	if err != nil {
		return "", fmt.Errorf("couldn't sign a token: %w", err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// readableUTI is the identifier of a token, as far as a thief can read it: nothing
// stands in one that is opaque.
func readableUTI(token string) string {
	_, rest, _ := strings.Cut(token, ".")
	body, _, _ := strings.Cut(rest, ".")
	var c tokenClaims
	raw, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil || json.Unmarshal(raw, &c) != nil {
		return ""
	}
	return c.UTI
}

// freshID draws an identifier that the world does not know of.
func freshID() string {
	var g guid
	rand.Read(g[:]) // never fails
	g[6], g[8] = g[6]&0x0f|0x40, g[8]&0x3f|0x80
	return g.String()
}

// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// A jws is a signed JWT that somebody sent: a client assertion, a proof for addKey
// or the token of another issuer.
type jws struct {
	header struct {
		Alg, Kid, X5T string
		X5TS256       string `json:"x5t#S256"`
	}
	claims struct {
		Audience audience `json:"aud"`
		Issuer   string   `json:"iss"`
		Subject  string   `json:"sub"`
		ID       string   `json:"jti"`
		Begins   float64  `json:"nbf"`
		Ends     float64  `json:"exp"`
	}
	signed    string // what the signature is over
	signature []byte
}

// An audience is one text or several (RFC 7519 section 4.1.3).
type audience []string

// UnmarshalJSON takes both forms.
func (a *audience) UnmarshalJSON(raw []byte) error {
	if len(raw) > 0 && raw[0] == '[' {
		return json.Unmarshal(raw, (*[]string)(a))
	}
	*a = audience{""}
	return json.Unmarshal(raw, &(*a)[0])
}

var errJWS = errors.New("expected a signed JWT in compact form")

// parseJWS reads one without checking it.
func parseJWS(text string) (*jws, error) {
	j := &jws{}
	dot := strings.LastIndexByte(text, '.')
	if strings.Count(text, ".") != 2 || len(text) > 32<<10 {
		return nil, errJWS
	}
	j.signed = text[:dot]
	head, body, _ := strings.Cut(j.signed, ".")
	for _, part := range []struct {
		text string
		into any
	}{{head, &j.header}, {body, &j.claims}} {
		raw, err := base64URL(part.text)
		if err != nil || json.Unmarshal(raw, part.into) != nil {
			return nil, errJWS
		}
	}
	var err error
	if j.signature, err = base64URL(text[dot+1:]); err != nil {
		return nil, errJWS
	}
	return j, nil
}

// base64URL reads base64url with or without padding, and base64 as well: MSAL for Go writes
// x5t#S256 that way, against RFC 7515, and Entra takes it.
func base64URL(text string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(urlForm(text)) }

func urlForm(text string) string {
	text = strings.TrimRight(text, "=")
	if !strings.ContainsAny(text, "+/") {
		return text
	}
	return strings.NewReplacer("+", "-", "/", "_").Replace(text)
}

// signedBy says whether the signature is that of a key. Entra takes RS256 and PS256.
func (j *jws) signedBy(key *rsa.PublicKey) bool {
	if key == nil {
		return false
	}
	sum := sha256.Sum256([]byte(j.signed))
	switch j.header.Alg {
	case "RS256":
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], j.signature) == nil
	case "PS256":
		return rsa.VerifyPSS(key, crypto.SHA256, sum[:], j.signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
	}
	return false
}

// names says whether the header names a certificate; a header without any name
// names none.
func (j *jws) names(c *certifier) bool {
	h := &j.header
	if h.X5TS256 != "" {
		return urlForm(h.X5TS256) == c.x5t256
	}
	if h.X5T != "" {
		return urlForm(h.X5T) == c.x5t
	}
	return h.Kid != "" && (strings.EqualFold(h.Kid, c.thumbprint) || urlForm(h.Kid) == c.x5t)
}

// thumbprint is the SHA-1 that the header names, in hex, or what else it names.
func (j *jws) thumbprint() string {
	for _, name := range []string{j.header.X5T, j.header.X5TS256, j.header.Kid} {
		if raw, err := base64URL(name); err == nil && len(raw) > 0 {
			return strings.ToUpper(hex.EncodeToString(raw))
		}
	}
	return j.header.Kid
}

// skew is how far clocks may differ.
const skew = 5 * time.Minute

// timely says whether a moment is within nbf and exp.
func (j *jws) timely(now time.Time) bool {
	at := float64(now.UnixMilli()) / 1000
	return j.claims.Ends > at-skew.Seconds() && j.claims.Begins < at+skew.Seconds()
}

// byAssertion checks a client assertion (certificate credentials) and returns what signed it.
func (s *signingIn) byAssertion() (*credentialUsed, *failure) {
	j, err := parseJWS(s.assertion)
	if err != nil {
		return nil, fail(50027, "Invalid JWT token. AADSTS50027: Unable to parse client assertion.")
	}
	c := &j.claims
	if !strings.EqualFold(c.Issuer, s.clientID) && strings.Contains(c.Issuer, "://") {
		return s.byFederation(j)
	}
	if !strings.EqualFold(c.Issuer, s.clientID) || !strings.EqualFold(c.Subject, s.clientID) {
		return nil, fail(700021, "")
	}
	key, ok := s.keyNamed(j)
	if !ok {
		f := fail(700027, "The certificate with identifier used to sign the client assertion is not registered on application. [Reason - The key was not found., Thumbprint of key used by client: '"+
			j.thumbprint()+"', Please visit the Azure Portal, Graph Explorer or directly use MS Graph to see configured keys for app Id '"+s.clientID+"'.]")
		// Nobody has checked that the client holds what it names.
		f.used = &credentialUsed{kind: "clientAssertion", thumbprint: j.thumbprint()}
		return nil, f
	}
	used := s.tenant.credential(credentialUsed{kind: "clientAssertion", keyID: key.KeyID, thumbprint: key.cert.thumbprint})
	if f := s.checkAssertion(j, key); f != nil {
		f.used = used
		return nil, f
	}
	return used, nil
}

// checkAssertion judges an assertion that names one of the application's keys.
func (s *signingIn) checkAssertion(j *jws, key KeyCredential) *failure {
	named := "Thumbprint of key used by client: '" + j.thumbprint() + "'"
	if !j.signedBy(key.cert.public) {
		return fail(700027, "Client assertion contains an invalid signature. [Reason - The provided signature value did not match the expected signature value., "+named+"]")
	}
	if s.now.After(key.End) || s.now.Before(key.Start) {
		return fail(700027, fmt.Sprintf("Client assertion contains an invalid signature. [Reason - The key used is expired., %s, Found key 'Start=%s, End=%s']",
			named, key.Start.Format("01/02/2006 15:04:05"), key.End.Format("01/02/2006 15:04:05")))
	}
	if !s.isForUs(j.claims.Audience) {
		return fail(700023, "")
	}
	if !j.timely(s.now) {
		return fail(700024, fmt.Sprintf("Client assertion is not within its valid time range. Current time: %s, assertion valid from %s, expiry time of assertion %s.",
			s.now.Format(aadTime), time.Unix(int64(j.claims.Begins), 0).UTC().Format(aadTime), time.Unix(int64(j.claims.Ends), 0).UTC().Format(aadTime)))
	}
	if s.world.faults.Load().RefuseReplay && s.world.replayed(j, s.now) {
		return fail(50027, "Invalid JWT token. The emulator refuses an assertion whose jti it has seen.")
	}
	return nil
}

// keyNamed returns the key credential that the header names.
func (s *signingIn) keyNamed(j *jws) (KeyCredential, bool) {
	for _, state := range s.states() {
		for _, key := range state.Keys {
			if j.names(key.cert) {
				return key, true
			}
		}
	}
	return KeyCredential{}, false
}

// isForUs says whether an audience is the token endpoint or the issuer of the tenant.
func (s *signingIn) isForUs(a audience) bool {
	for _, one := range a {
		rest, ok := strings.CutPrefix(one, "https://")
		host, path, _ := strings.Cut(rest, "/")
		tenant, path, _ := strings.Cut(path, "/")
		if ok && (host == s.host || host == "login.microsoftonline.com") && s.world.Tenant(tenant) == s.tenant &&
			(path == "oauth2/v2.0/token" || path == "oauth2/token" || path == "v2.0" || path == "") {
			return true
		}
	}
	return false
}

// replayed says whether an assertion was seen before, and remembers it.
func (w *World) replayed(j *jws, now time.Time) bool {
	id := j.claims.Issuer + " " + j.claims.ID
	w.mu.Lock()
	defer w.mu.Unlock()
	for old, ends := range w.seen {
		if now.After(ends) {
			delete(w.seen, old)
		}
	}
	_, again := w.seen[id]
	w.seen[id] = time.Unix(int64(j.claims.Ends), 0).Add(skew)
	return again
}

// aadTime is how descriptions of errors write a time.
const aadTime = "2006-01-02T15:04:05.0000000Z"

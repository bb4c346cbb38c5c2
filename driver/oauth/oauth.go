// SPDX-License-Identifier: Apache-2.0

// Package oauth signs in at token endpoints as an application: OAuth 2.0 client
// credentials (RFC 6749 section 4.4) with an assertion that is signed by the key of a
// certificate (RFC 7523 section 2.2), or with a secret. It makes the form that is sent and
// reads the answer; who sends it bounds the connection.
//
// An assertion is as Microsoft's page "Microsoft identity platform application
// authentication certificate credentials" describes it, which others take as well: PS256
// with the header x5t#S256.
package oauth

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/cryptosigner"
	"github.com/google/uuid"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
)

// MaxAnswer bounds the answer of a token endpoint, in bytes.
const MaxAnswer = 1 << 20

// assertionLife is how long an assertion is good; Microsoft advises 5 to 10 minutes.
const assertionLife = 10 * time.Minute

// A Request is what is asked of a token endpoint.
type Request struct {
	Endpoint *url.URL
	ClientID string
	Scope    string
	// Credential signs an assertion; one without a key stands for none, and then Secret is sent.
	Credential driver.Material
	Secret     driver.Secret
}

// ParseEndpoint reads the URL of a token endpoint: https, without user, query or fragment.
func ParseEndpoint(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%w: %s is not the URL of a token endpoint such as https://login.example.com/tenant/oauth2/v2.0/token",
			tallystick.ErrInvalid, network.Quote(text))
	}
	return u, nil
}

// Form returns what is posted. It is secret.
func (r Request) Form(now time.Time) (string, error) {
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {r.ClientID}, "scope": {r.Scope}}
	if r.Credential.Key == nil {
		form.Set("client_secret", r.Secret.Reveal())
		return form.Encode(), nil
	}
	assertion, err := r.assertion(now)
	if err != nil {
		return "", err
	}
	form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	form.Set("client_assertion", assertion)
	return form.Encode(), nil
}

func (r Request) assertion(now time.Time) (string, error) {
	algorithm, err := algorithmOf(r.Credential.Key)
	if err != nil {
		return "", err
	}
	return Sign(r.Credential, algorithm, map[string]any{
		"aud": r.Endpoint.String(), "iss": r.ClientID, "sub": r.ClientID, "jti": uuid.NewString(),
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(assertionLife).Unix(),
	})
}

// algorithmOf returns how a key signs assertions.
func algorithmOf(key crypto.Signer) (jose.SignatureAlgorithm, error) {
	switch public := key.Public().(type) {
	case *rsa.PublicKey:
		return jose.PS256, nil
	case ed25519.PublicKey:
		return jose.EdDSA, nil
	case *ecdsa.PublicKey:
		switch public.Curve {
		case elliptic.P256():
			return jose.ES256, nil
		case elliptic.P384():
			return jose.ES384, nil
		case elliptic.P521():
			return jose.ES512, nil
		}
	}
	return "", fmt.Errorf("%w: a key of this kind signs no assertion", tallystick.ErrInvalid)
}

// Sign makes a JSON Web Token (RFC 7519) of claims, with the names of the certificate in
// its header (RFC 7515 sections 4.1.7 and 4.1.8).
func Sign(m driver.Material, algorithm jose.SignatureAlgorithm, claims map[string]any) (string, error) {
	if len(m.Chain) == 0 || m.Key == nil {
		return "", fmt.Errorf("%w: a certificate with its key is needed to sign an assertion", tallystick.ErrInvalid)
	}
	options := (&jose.SignerOptions{}).WithType("JWT")
	long, short := sha256.Sum256(m.Chain[0]), sha1.Sum(m.Chain[0])
	options.WithHeader("x5t#S256", base64.RawURLEncoding.EncodeToString(long[:]))
	options.WithHeader("x5t", base64.RawURLEncoding.EncodeToString(short[:]))
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: cryptosigner.Opaque(salted{m.Key})}, options)
	if err != nil {
		return "", fmt.Errorf("%w: couldn't use the key to sign an assertion: %w", tallystick.ErrInvalid, err)
	}
	text, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(text)
	if err != nil {
		return "", fmt.Errorf("couldn't sign an assertion: %w", err)
	}
	return signed.CompactSerialize()
}

// A salted signer gives a signature of PSS a salt as long as the digest, as RFC 7518 section 3.5
// wants it and Entra ID checks. The library's adapter for signers asks for the longest one.
type salted struct{ crypto.Signer }

// Sign signs a digest.
func (s salted) Sign(random io.Reader, digest []byte, options crypto.SignerOpts) ([]byte, error) {
	if pss, ok := options.(*rsa.PSSOptions); ok {
		options = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: pss.Hash}
	}
	return s.Signer.Sign(random, digest, options)
}

// An Answer is what a token endpoint said.
type Answer struct {
	Token   driver.Secret // zero where there is none
	Expires time.Duration
	// Error is the code of RFC 6749 section 5.2, Codes are the numbers that Entra ID gives
	// beside it, and Description is for people: one line, without control characters.
	Error       string
	Codes       []int
	Description string
	// IDs name the sign-in, so that it can be found in the log of the other side: "uti",
	// "request", "correlation". They open nothing.
	IDs tallystick.UseIDs
}

// Read reads an answer, and takes out of all that is shown of it the secrets that were sent, which the
// other side may repeat. One that is neither a token nor an error of RFC 6749 has neither Token nor
// Error.
func Read(header http.Header, body []byte, sent ...driver.Secret) Answer {
	var said struct {
		Token       string `json:"access_token"`
		Type        string `json:"token_type"`
		Expires     any    `json:"expires_in"` // a number, which some write as text
		Error       string `json:"error"`
		Description string `json:"error_description"`
		Codes       []int  `json:"error_codes"`
		Correlation string `json:"correlation_id"`
		Trace       string `json:"trace_id"`
	}
	if json.Unmarshal(body, &said) != nil {
		return Answer{}
	}
	redact := driver.Redactor(sent...)
	clean := func(text string) string { return network.Clean(redact(text)) } // of half a secret it knows nothing
	answer := Answer{Error: clean(said.Error), Codes: said.Codes, Description: firstLine(redact(said.Description))}
	answer.IDs.Request = clean(cmp.Or(header.Get("x-ms-request-id"), said.Trace))
	answer.IDs.Correlation = clean(said.Correlation)
	if said.Token == "" || answer.Error != "" || !strings.EqualFold(cmp.Or(said.Type, "Bearer"), "Bearer") {
		return answer
	}
	answer.Token, answer.IDs.UTI = driver.NewSecret(said.Token), clean(tokenName(said.Token))
	var seconds float64
	if _, err := fmt.Sscan(fmt.Sprint(said.Expires), &seconds); err == nil && seconds > 0 {
		answer.Expires = time.Duration(min(seconds, 7*24*3600)) * time.Second
	}
	return answer
}

// Codes of Entra ID ("Microsoft Entra authentication and authorization error codes").
const (
	codeDisabled = 7000112 // the application is disabled; the error is unauthorized_client
	codeAudience = 700021  // the assertion is for somebody else
	codeTime     = 700024  // the assertion is not good now: a clock is wrong
	codeBroken   = 50027   // the assertion cannot be read
)

// Refused says whether the endpoint said no to the credential (RFC 6749 section 5.2), and not
// to something else of the request, such as the time in an assertion.
func (a Answer) Refused(status int) bool {
	switch {
	case status != http.StatusBadRequest && status != http.StatusUnauthorized:
		return false
	case slices.Contains(a.Codes, codeDisabled):
		return true
	}
	return a.Error == "invalid_client" && !slices.ContainsFunc(a.Codes, func(code int) bool {
		return code == codeAudience || code == codeTime || code == codeBroken
	})
}

// String says what was answered, without the token.
func (a Answer) String() string {
	switch {
	case !a.Token.IsZero():
		return "a token"
	case a.Error == "":
		return "neither a token nor an error"
	}
	return strings.TrimSpace(a.Error + " " + a.Description)
}

// firstLine returns the first line of a description: those behind it repeat identifiers and the time.
func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return network.Clean(strings.TrimSpace(line))
}

// tokenName returns the claim "uti" of an access token of Entra ID. The token is not
// believed: the name labels a use. Of one that cannot be read it is "".
func tokenName(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		UTI string `json:"uti"`
	}
	if err != nil || json.NewDecoder(bytes.NewReader(text)).Decode(&claims) != nil {
		return ""
	}
	return claims.UTI
}

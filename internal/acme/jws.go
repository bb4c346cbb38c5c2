// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// Bounds of a JWS: a header with a key of RSA-4096 has some 1,200 bytes.
const (
	maxHeader = 8 << 10
	maxRSA    = 4096 // bits; a larger one costs more to check than it is worth
	minRSA    = 2048
)

// outerAlgorithms are those that requests may be signed with (RFC 8555 section 6.2:
// ES256 and EdDSA at least, never none or a MAC).
func outerAlgorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.ES512, jose.EdDSA, jose.RS256}
}

// A header is the protected one of a JWS (RFC 7515 section 4, RFC 8555 section 6.2).
type header struct {
	Algorithm string          `json:"alg"`
	Nonce     string          `json:"nonce"`
	URL       string          `json:"url"`
	Key       json.RawMessage `json:"jwk"`
	KeyID     *string         `json:"kid"`
	Critical  json.RawMessage `json:"crit"`
	Base64    *bool           `json:"b64"`
}

// A message is a JWS that was read and not verified yet.
type message struct {
	header
	jws *jose.JSONWebSignature
	key *jose.JSONWebKey // of the header; nil when it names an account
}

// readMessage reads a JWS in the flattened JSON serialization (RFC 7515 section
// 7.2.2), which is the only one that ACME has (RFC 8555 section 6.2).
func readMessage(body []byte, algorithms []jose.SignatureAlgorithm) (*message, error) {
	var parts struct {
		Protected  string          `json:"protected"`
		Payload    *string         `json:"payload"`
		Signature  string          `json:"signature"`
		Header     json.RawMessage `json:"header"`
		Signatures json.RawMessage `json:"signatures"`
	}
	if err := strictJSON(body, &parts); err != nil {
		return nil, malformed("the request is not a JWS in the flattened JSON serialization")
	}
	if parts.Header != nil || parts.Signatures != nil || parts.Payload == nil || parts.Signature == "" {
		return nil, malformed("a JWS has protected, payload and signature here, and nothing else")
	}
	if len(parts.Protected) > maxHeader {
		return nil, malformed("the protected header has more than %d bytes", maxHeader)
	}
	text, err := base64.RawURLEncoding.DecodeString(parts.Protected)
	m := &message{}
	if err != nil || json.Unmarshal(text, &m.header) != nil {
		return nil, malformed("the protected header cannot be read")
	}
	if m.Critical != nil || m.Base64 != nil {
		return nil, malformed("extensions of JWS are not supported")
	}
	if err := allowed(m.Algorithm, algorithms); err != nil {
		return nil, err
	}
	if (m.Key == nil) == (m.KeyID == nil) {
		return nil, malformed("the header has either jwk or kid")
	}
	if m.jws, err = jose.ParseSignedCompact(parts.Protected+"."+*parts.Payload+"."+parts.Signature, algorithms); err != nil {
		return nil, malformed("the JWS cannot be read")
	}
	if m.Key != nil {
		m.key, err = readKey(m.Key)
	}
	return m, err
}

// strictJSON reads one JSON value and nothing behind it. encoding/json bounds how
// deep it nests.
func strictJSON(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more behind it")
	}
	return nil
}

// allowed refuses an algorithm that is not in the list.
func allowed(name string, list []jose.SignatureAlgorithm) error {
	var names []string
	for _, a := range list {
		if string(a) == name {
			return nil
		}
		names = append(names, string(a))
	}
	p := problem(http.StatusBadRequest, "badSignatureAlgorithm", "the algorithm %.20q is not accepted: it is one of %s", name, strings.Join(names, ", "))
	p.Algorithms = names
	return p
}

// readKey reads the public key of an account and refuses what is weak or absurd.
func readKey(text json.RawMessage) (*jose.JSONWebKey, error) {
	key := &jose.JSONWebKey{}
	if err := key.UnmarshalJSON(text); err != nil || !key.Valid() {
		return nil, problem(http.StatusBadRequest, "badPublicKey", "the jwk is no key that can be read")
	}
	if err := checkAccountKey(key.Key); err != nil {
		return nil, err
	}
	return &jose.JSONWebKey{Key: key.Key}, nil // nothing else that the client put there
}

func checkAccountKey(key crypto.PublicKey) error {
	bad := func(format string, args ...any) error {
		return problem(http.StatusBadRequest, "badPublicKey", format, args...)
	}
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() && k.Curve != elliptic.P521() {
			return bad("an account key is on the curve P-256, P-384 or P-521")
		}
		if _, err := k.ECDH(); err != nil {
			return bad("the account key is not on its curve")
		}
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return bad("the account key has the wrong size")
		}
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSA || n > maxRSA {
			return bad("an RSA account key has between %d and %d bits", minRSA, maxRSA)
		}
		if k.E < 65537 || k.E%2 == 0 {
			return bad("the exponent of an RSA account key is odd and at least 65537")
		}
	default:
		return bad("an account key is a public key of ECDSA, Ed25519 or RSA")
	}
	return nil
}

// thumbprint names a key (RFC 7638).
func thumbprint(key crypto.PublicKey) (string, error) {
	sum, err := (&jose.JSONWebKey{Key: key}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", problem(http.StatusBadRequest, "badPublicKey", "the key has no thumbprint")
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

// verify checks the signature and returns what was signed.
func (m *message) verify(key any) ([]byte, error) {
	payload, err := m.jws.Verify(key)
	if err != nil {
		return nil, malformed("the signature is not by the key that the header names")
	}
	return payload, nil
}

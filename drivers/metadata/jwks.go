// SPDX-License-Identifier: Apache-2.0

package metadata

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver/network"
	"github.com/tallystick/tallystick/parse"
)

// maxKeys bounds the keys of one set.
const maxKeys = 10_000

// A provider is what is read of a JSON document: the configuration of an OpenID
// provider or a key set.
type provider struct {
	KeySet string            `json:"jwks_uri"`
	Keys   []json.RawMessage `json:"keys"`
}

// A jwk is a JSON Web Key (RFC 7517 section 4). Of private members only their
// presence is read.
type jwk struct {
	Type  string   `json:"kty"`
	Use   string   `json:"use"`
	Ops   []string `json:"key_ops"`
	ID    string   `json:"kid"`
	Alg   string   `json:"alg"`
	Chain []string `json:"x5c"`
	Curve string   `json:"crv"`
	N     string   `json:"n"`
	E     string   `json:"e"`
	X     string   `json:"x"`
	Y     string   `json:"y"`
	Pub   string   `json:"pub"`
	D     present  `json:"d"`
	Priv  present  `json:"priv"`
}

// A present is a member of which only its presence is kept.
type present bool

// UnmarshalJSON forgets the value.
func (p *present) UnmarshalJSON(value []byte) error {
	*p = string(value) != "null"
	return nil
}

// openID reads a JSON document and reports its keys. Of a configuration it
// returns where the keys are.
func (l *look) openID(place tallystick.Place, body io.Reader) (next string, err error) {
	text, err := io.ReadAll(io.LimitReader(body, maxJSON+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxJSON {
		return "", fault("too-large", "more than %d bytes of JSON", maxJSON)
	}
	var p provider
	if err := json.Unmarshal(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")), &p); err != nil {
		return "", fault("malformed", "the JSON cannot be read: %s", jsonFault(err))
	}
	switch {
	case p.Keys == nil && p.KeySet == "":
		return "", fault("not-metadata", `a JSON object with neither "keys" nor "jwks_uri"`)
	case p.Keys == nil:
		return p.KeySet, nil
	case len(p.Keys) > maxKeys:
		return "", fault("too-many", "more than %d keys", maxKeys)
	}
	seen := sightings{look: l, place: place, done: map[string]bool{}}
	for i, raw := range p.Keys {
		if err := seen.jwk(i+1, raw); err != nil {
			return "", err
		}
	}
	return "", nil
}

// jsonFault says what is wrong without quoting: a value may be secret.
func jsonFault(err error) string {
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		return "a member is not of the right type"
	}
	return "it is no JSON"
}

// jwk reports one key of a set, which is its nth.
func (s *sightings) jwk(n int, raw []byte) error {
	var key jwk
	if err := json.Unmarshal(raw, &key); err != nil {
		return s.look.spoilt(s.place, "malformed", "key %d: %s", n, jsonFault(err))
	}
	if key.Type == "oct" {
		return s.look.spoilt(s.place, "secret-shown", "key %d is a secret that the two sides share; whoever can read the document has it", n)
	}
	spki, ok := key.spki()
	bare, okKey := keyCredential(spki)
	if !ok || !okKey {
		return s.look.spoilt(s.place, "malformed", "key %d: the members of its type %.20q cannot be read", n, key.Type)
	}
	file := tallystick.FileFacts{Format: "jwks", Alias: network.Clean(key.ID)}
	if key.D || key.Priv {
		shown := file
		shown.Private = true
		if err := s.saw(tallystick.RoleHolds, bare, nil, shown); err != nil {
			return err
		}
	}
	credential, chain := bare, []tallystick.Credential(nil)
	if len(key.Chain) > 0 {
		list, ok := certificates(key.Chain)
		if !ok || list[0].Key.ID != bare.Key.ID { // RFC 7517 section 4.7
			if err := s.look.spoilt(s.place, "malformed", "key %d: x5c does not begin with a certificate of this key", n); err != nil {
				return err
			}
		} else {
			credential, chain = list[0], list[1:]
		}
	}
	return s.saw(key.role(), credential, chain, file)
}

// role is "presents" for a key that signs nothing.
func (k jwk) role() tallystick.Role {
	signs := len(k.Ops) == 0
	for _, op := range k.Ops {
		signs = signs || op == "verify" || op == "sign"
	}
	if k.Use == "enc" || !signs || k.Curve == "X25519" || k.Curve == "X448" {
		return tallystick.RolePresents
	}
	return tallystick.RoleAccepts
}

// spki makes the SubjectPublicKeyInfo of a key (RFC 7518 section 6, RFC 8037).
func (k jwk) spki() ([]byte, bool) {
	switch k.Type {
	case "RSA":
		n, okN := decode64(k.N)
		e, okE := decode64(k.E)
		if !okN || !okE {
			return nil, false
		}
		return rsaSPKI(n, e)
	case "EC":
		x, okX := decode64(k.X)
		y, okY := decode64(k.Y)
		curve, known := curves[k.Curve]
		if !okX || !okY || !known || len(x) != len(y) || len(x) > maxKeyBytes {
			return nil, false
		}
		return ecSPKI(curve, append(append([]byte{4}, x...), y...))
	case "OKP":
		x, ok := decode64(k.X)
		if !ok {
			return nil, false
		}
		return plainSPKI(k.Curve, x)
	case "AKP": // RFC 9964: ML-DSA for JOSE
		pub, ok := decode64(k.Pub)
		if !ok {
			return nil, false
		}
		return plainSPKI(k.Alg, pub)
	}
	return nil, false
}

// maxChain bounds the certificates of one key.
const maxChain = 20

// certificates reads a list of certificates in base64.
func certificates(texts []string) ([]tallystick.Credential, bool) {
	if len(texts) > maxChain {
		return nil, false
	}
	var list []tallystick.Credential
	for _, text := range texts {
		der, ok := decode64(text)
		if !ok {
			return nil, false
		}
		c, err := parse.Certificate(der)
		if err != nil {
			return nil, false
		}
		list = append(list, c)
	}
	return list, true
}

// sightings reports what is seen at one place, each credential once in each role.
type sightings struct {
	look  *look
	place tallystick.Place
	done  map[string]bool
}

func (s *sightings) saw(role tallystick.Role, c tallystick.Credential, chain []tallystick.Credential, file tallystick.FileFacts) error {
	id := string(role) + string(c.ID)
	if s.done[id] {
		return nil
	}
	s.done[id] = true
	return s.look.saw(s.place, role, c, chain, file)
}

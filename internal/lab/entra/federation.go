// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"slices"
)

// byFederation checks the token of another issuer against the federated identity
// credentials (workload identity federation).
func (s *signingIn) byFederation(j *jws) (*credentialUsed, *failure) {
	var issuerKnown, subjectKnown bool
	for _, state := range s.states() {
		for _, f := range state.Federated {
			if f.Issuer != j.claims.Issuer {
				continue
			}
			issuerKnown = true
			if f.Subject != j.claims.Subject {
				continue
			}
			subjectKnown = true
			if !slices.ContainsFunc(f.Audiences, func(a string) bool { return slices.Contains(j.claims.Audience, a) }) {
				continue
			}
			used := s.tenant.credential(credentialUsed{kind: "federatedIdentityCredential", federated: f.ID})
			if failed := s.checkFederated(j); failed != nil {
				failed.used = used
				return nil, failed
			}
			return used, nil
		}
	}
	switch {
	case !issuerKnown:
		return nil, fail(700211, "No matching federated identity record found for presented assertion issuer '"+j.claims.Issuer+"'.")
	case !subjectKnown:
		return nil, fail(700213, "No matching federated identity record found for presented assertion subject '"+j.claims.Subject+"'.")
	}
	return nil, fail(700212, "No matching federated identity record found for presented assertion audience.")
}

func (s *signingIn) checkFederated(j *jws) *failure {
	keys, err := s.world.issuerKeys(j.claims.Issuer)
	if err != nil {
		return fail(50027, "Invalid JWT token. The keys of the issuer could not be read: "+err.Error())
	}
	if !slices.ContainsFunc(keys, j.signedBy) {
		return fail(700027, "Client assertion contains an invalid signature. [Reason - The provided signature value did not match the expected signature value.]")
	}
	if !j.timely(s.now) {
		return fail(700024, "")
	}
	return nil
}

// issuerKeys reads the keys of an issuer, over Config.Federation and from loopback alone: an emulator
// connects to nobody else.
func (w *World) issuerKeys(issuer string) ([]*rsa.PublicKey, error) {
	var configuration struct {
		JWKS string `json:"jwks_uri"`
	}
	if err := w.fetch(issuer+"/.well-known/openid-configuration", &configuration); err != nil {
		return nil, err
	}
	var set struct {
		Keys []struct{ Kty, N, E string }
	}
	if err := w.fetch(configuration.JWKS, &set); err != nil {
		return nil, err
	}
	var keys []*rsa.PublicKey
	for _, k := range set.Keys {
		n, errN := base64.RawURLEncoding.DecodeString(k.N)
		e, errE := base64.RawURLEncoding.DecodeString(k.E)
		if k.Kty == "RSA" && errN == nil && errE == nil && len(e) <= 4 && len(n) <= 1024 {
			keys = append(keys, &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())})
		}
	}
	return keys, nil
}

func (w *World) fetch(address string, into any) error {
	u, err := url.Parse(address)
	if err != nil || w.config.Federation == nil {
		return errors.New("the emulator knows of no issuer")
	}
	if ip := net.ParseIP(u.Hostname()); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("the emulator connects to loopback alone, not to %s", u.Hostname())
	}
	answer, err := w.config.Federation.Do(&http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}})
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", address, answer.Status)
	}
	return json.NewDecoder(io.LimitReader(answer.Body, 256<<10)).Decode(into)
}

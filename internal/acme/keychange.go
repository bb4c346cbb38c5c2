// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"crypto"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/go-jose/go-jose/v4"

	"github.com/tallystick/tallystick"
)

// changeKey gives an account another key (RFC 8555 section 7.3.5): the old one
// signed the request, the new one signs what is in it.
func (x *exchange) changeKey() error {
	m, err := readMessage(x.payload, outerAlgorithms())
	if err != nil {
		return err
	}
	if m.key == nil || m.Nonce != "" || m.URL != x.url("key-change") {
		return malformed("the inner JWS has the new key as jwk, the url of the request, and no nonce")
	}
	payload, err := m.verify(m.key.Key)
	if err != nil {
		return err
	}
	var ask struct {
		Account string          `json:"account"`
		Old     json.RawMessage `json:"oldKey"`
	}
	if err := strictJSON(payload, &ask); err != nil {
		return malformed("the payload of the inner JWS cannot be read")
	}
	var old jose.JSONWebKey
	if old.UnmarshalJSON(ask.Old) != nil || !sameKey(old.Key, x.account.key) || ask.Account != x.url("account", x.account.ID) {
		return malformed("the inner JWS names the account that signed the request, and the key that it has now")
	}
	to, err := thumbprint(m.key.Key)
	if err != nil {
		return err
	}
	return x.rekey(m.key, to)
}

func (x *exchange) rekey(key *jose.JSONWebKey, to string) error {
	if other, err := x.DB.ACMEAccountOfKey(x.ctx, to); err == nil {
		p := problem(http.StatusConflict, "malformed", "the new key has an account already")
		p.location = x.url("account", other.ID)
		return p
	} else if !errors.Is(err, tallystick.ErrNotFound) {
		return err
	}
	text, err := key.MarshalJSON()
	if err != nil {
		return err
	}
	defer x.accounts.forget(x.account.ID)
	if err := x.DB.RekeyACMEAccount(x.ctx, x.account.ID, x.account.Thumbprint, to, string(text)); err != nil {
		return err
	}
	return x.showAccount(http.StatusOK, x.account.ACMEAccount)
}

// sameKey says whether two public keys are one.
func sameKey(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

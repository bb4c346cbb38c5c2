// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// bind reads an external account binding and returns its id, "" when there is none
// and none is needed (RFC 8555 section 7.3.4).
func (x *exchange) bind(text json.RawMessage) (string, error) {
	if len(text) == 0 || string(text) == "null" {
		if x.ExternalAccount {
			return "", problem(http.StatusForbidden, "externalAccountRequired", "an account needs an external account binding; ask the operator for a key")
		}
		return "", nil
	}
	m, err := readMessage(text, []jose.SignatureAlgorithm{jose.HS256, jose.HS384, jose.HS512})
	if err != nil {
		return "", err
	}
	if m.KeyID == nil || m.Nonce != "" || m.URL != x.url("new-account") {
		return "", malformed("an external account binding has a kid, the url of the request, and no nonce")
	}
	binding, err := x.usableBinding(*m.KeyID)
	if err != nil {
		return "", err
	}
	secret, err := x.Secrets.Get(x.ctx, binding.Secret)
	if err != nil {
		return "", err
	}
	payload, err := m.verify(secret)
	clear(secret)
	if err != nil {
		return "", unauthorized("the external account binding is not signed with its key")
	}
	var bound jose.JSONWebKey
	if err := bound.UnmarshalJSON(payload); err != nil || !sameKey(bound.Key, x.key.Key) {
		return "", unauthorized("the external account binding is for another account key")
	}
	return binding.ID, nil
}

// usableBinding returns a binding that may still be used. What is said about it to
// strangers is the same whatever is wrong with it.
func (x *exchange) usableBinding(id string) (store.ACMEBinding, error) {
	binding, err := x.DB.ACMEBinding(x.ctx, id)
	if err != nil && !errors.Is(err, tallystick.ErrNotFound) {
		return binding, err
	}
	if err != nil || x.Secrets == nil || !isOpen(binding, x.Now()) || !binding.Used.IsZero() && !binding.Reusable ||
		binding.Authority != "" && binding.Authority != x.ca {
		return binding, unauthorized("there is no such external account, or it was used before, has ended, or is for another CA")
	}
	return binding, nil
}

// mayOrder refuses what the binding of an account does not let it have.
func (x *exchange) mayOrder(profile string, ids []store.ACMEIdentifier) error {
	b := x.account.binding
	switch {
	case b == nil && x.ExternalAccount:
		return unauthorized("the account has no external account binding, and orders need one; make a new account with one")
	case b == nil:
		return nil
	case !isOpen(*b, x.Now()):
		return unauthorized("the external account that this account is bound to was revoked, or has ended")
	case b.Authority != "" && b.Authority != x.ca:
		return unauthorized("the external account that this account is bound to is for another CA")
	case len(b.Profiles) > 0 && !slices.Contains(b.Profiles, profile):
		return unauthorized("the external account that this account is bound to is not for the profile %s", profile)
	}
	if len(b.Names) == 0 {
		return nil
	}
	var refused []*Problem
	for _, id := range ids {
		if !slices.ContainsFunc(b.Names, func(pattern string) bool { return matches(pattern, id.Value) }) {
			refused = append(refused, problem(0, "rejectedIdentifier", "the external account is not for this name").about(id))
		}
	}
	return together(refused)
}

// matches says whether a name is a pattern, or under one that begins with "*.".
// The pattern *.example.com is about names under it, at any depth, and their
// wildcards, and not about example.com.
func matches(pattern, name string) bool {
	if under, ok := strings.CutPrefix(pattern, "*"); ok {
		return strings.HasSuffix(name, under) && len(name) > len(under)
	}
	return name == pattern
}

// together is one problem of several, nil of none (section 6.7.1).
func together(list []*Problem) error {
	switch len(list) {
	case 0:
		return nil
	case 1:
		list[0].Status = http.StatusForbidden
		return list[0]
	}
	p := problem(http.StatusForbidden, "compound", "several names cannot be ordered; each problem says which")
	p.Subproblems = list
	return p
}

// isOpen says whether a binding may be used.
func isOpen(b store.ACMEBinding, now time.Time) bool {
	return b.Revoked.IsZero() && (b.Expires.IsZero() || now.Before(b.Expires))
}

// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"net/http"
	"net/mail"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// The words for states that several objects have (RFC 8555 section 7.1.6).
const (
	statusPending     = "pending"
	statusReady       = "ready"
	statusProcessing  = "processing"
	statusValid       = "valid"
	statusInvalid     = "invalid"
	statusDeactivated = "deactivated"
	statusRevoked     = "revoked"
)

// Bounds of how to reach somebody.
const (
	maxContacts = 10
	maxContact  = 320
)

// An account is one with its key as it is needed.
type account struct {
	store.ACMEAccount
	key        crypto.PublicKey
	thumbprint string
	binding    *store.ACMEBinding // nil without one
}

// accounts remembers those who asked lately.
type accounts struct {
	mu   sync.Mutex
	byID map[string]remembered // guarded by mu
}

type remembered struct {
	*account
	until time.Time
}

// remember is how long an account is relied on: a command beside the server may
// have revoked it. maxRemembered bounds the memory, some 20 MB.
const (
	remember      = 10 * time.Second
	maxRemembered = 20_000
)

func newAccounts() accounts { return accounts{byID: map[string]remembered{}} }

func (a *accounts) get(id string, now time.Time) *account {
	a.mu.Lock()
	defer a.mu.Unlock()
	if known, ok := a.byID[id]; ok && now.Before(known.until) && now.Add(remember+time.Second).After(known.until) {
		return known.account
	}
	return nil
}

func (a *accounts) put(one *account, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.byID) >= maxRemembered {
		clear(a.byID)
	}
	a.byID[one.ID] = remembered{one, now.Add(remember)}
}

func (a *accounts) forget(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.byID, id)
}

// accountOf returns the account that a kid names.
func (x *exchange) accountOf(kid string) (*account, error) {
	id, ok := strings.CutPrefix(kid, x.url("account", ""))
	if !ok || !isID(id) {
		return nil, malformed("the kid is not the address of an account of this CA")
	}
	return x.accountByID(x.ctx, id)
}

// errNoAccount is for keys and addresses that have none (RFC 8555 section 7.3.1).
func errNoAccount() error {
	return problem(http.StatusBadRequest, "accountDoesNotExist", "there is no such account")
}

func (s *Server) accountByID(ctx context.Context, id string) (*account, error) {
	now := s.Now()
	if known := s.accounts.get(id, now); known != nil {
		return known, nil
	}
	row, err := s.DB.ACMEAccount(ctx, id)
	if errors.Is(err, tallystick.ErrNotFound) {
		return nil, errNoAccount()
	}
	if err != nil {
		return nil, err
	}
	found, err := s.understand(ctx, row)
	if err != nil {
		return nil, err
	}
	s.accounts.put(found, now)
	return found, nil
}

// understand reads the key and the binding of an account.
func (s *Server) understand(ctx context.Context, row store.ACMEAccount) (*account, error) {
	var key jose.JSONWebKey
	if err := key.UnmarshalJSON([]byte(row.Key)); err != nil {
		return nil, errors.Join(tallystick.ErrDamaged, errors.New("the key of an ACME account"))
	}
	a := &account{ACMEAccount: row, key: key.Key, thumbprint: row.Thumbprint}
	if row.Binding == "" {
		return a, nil
	}
	binding, err := s.DB.ACMEBinding(ctx, row.Binding)
	if err != nil {
		return nil, err
	}
	a.binding = &binding
	return a, nil
}

// An accountBody is an account as clients see it (RFC 8555 section 7.1.2).
type accountBody struct {
	Status  string   `json:"status"`
	Contact []string `json:"contact,omitempty"`
	Orders  string   `json:"orders"`
}

func (x *exchange) showAccount(status int, a store.ACMEAccount) error {
	x.header("Location", x.url("account", a.ID))
	return x.answer(status, accountBody{a.Status, a.Contact, x.url("account", a.ID, "orders")})
}

// newAccount makes an account for a key, or finds the one that it has (section 7.3).
func (x *exchange) newAccount() error {
	var ask struct {
		Contact      []string        `json:"contact"`
		Terms        bool            `json:"termsOfServiceAgreed"`
		OnlyExisting bool            `json:"onlyReturnExisting"`
		External     json.RawMessage `json:"externalAccountBinding"`
	}
	if err := x.read(&ask); err != nil {
		return err
	}
	print, err := thumbprint(x.key.Key)
	if err != nil {
		return err
	}
	known, err := x.DB.ACMEAccountOfKey(x.ctx, print)
	switch {
	case err == nil && known.Status != statusValid:
		return unauthorized("the account of this key is %s", known.Status)
	case err == nil:
		return x.showAccount(http.StatusOK, known)
	case !errors.Is(err, tallystick.ErrNotFound):
		return err
	case ask.OnlyExisting:
		return errNoAccount()
	}
	if err := checkContact(ask.Contact); err != nil {
		return err
	}
	if x.Terms != "" && !ask.Terms {
		return problem(http.StatusForbidden, "userActionRequired", "an account needs agreement to the terms of service at %s", x.Terms)
	}
	return x.addAccount(print, ask.Contact, ask.External)
}

// addAccount makes the account that newAccount has found no objection to yet.
func (x *exchange) addAccount(print string, contact []string, external json.RawMessage) error {
	now := x.Now()
	if wait := x.limits.accounts.take(hostKey(x.r.RemoteAddr), now); wait > 0 {
		return tooMany(wait, "too many new accounts from this address")
	}
	if _, err := x.signing(); err != nil {
		return err
	}
	binding, err := x.bind(external)
	if err != nil {
		return err
	}
	key, err := x.key.MarshalJSON()
	if err != nil {
		return err
	}
	a := store.ACMEAccount{
		ID: newID(now), Thumbprint: print, Key: string(key), Contact: contact, Status: statusValid, Binding: binding, Address: hostOf(x.r.RemoteAddr), Created: now,
	}
	err = x.DB.AddACMEAccount(x.ctx, a)
	if errors.Is(err, tallystick.ErrConflict) { // somebody with the same key was faster
		if a, err = x.DB.ACMEAccountOfKey(x.ctx, print); err == nil {
			return x.showAccount(http.StatusOK, a)
		}
	}
	if errors.Is(err, tallystick.ErrDenied) {
		return unauthorized("the external account was used before, or revoked")
	}
	if err != nil {
		return err
	}
	return x.showAccount(http.StatusCreated, a)
}

// hostOf takes the port off.
func hostOf(remote string) string {
	if i := strings.LastIndexByte(remote, ':'); i > 0 {
		return strings.Trim(remote[:i], "[]")
	}
	return remote
}

// checkContact takes mail addresses (RFC 8555 section 7.3): one in each URL, without
// header fields.
func checkContact(list []string) error {
	if len(list) > maxContacts {
		return problem(http.StatusBadRequest, "invalidContact", "an account has at most %d contacts", maxContacts)
	}
	for _, text := range list {
		u, err := url.Parse(text)
		if err != nil || len(text) > maxContact {
			return problem(http.StatusBadRequest, "invalidContact", "a contact is a URL of at most %d characters", maxContact)
		}
		if u.Scheme != "mailto" {
			return problem(http.StatusBadRequest, "unsupportedContact", "a contact begins with mailto:")
		}
		address, err := mail.ParseAddress(u.Opaque)
		if err != nil || address.Address != u.Opaque || u.RawQuery != "" {
			return problem(http.StatusBadRequest, "invalidContact", "a contact is one mail address behind mailto:, and nothing else")
		}
	}
	return nil
}

// serveAccount shows an account to its owner, changes it, or lists its orders.
func (x *exchange) serveAccount() error {
	if len(x.rest) == 0 || x.rest[0] != x.account.ID {
		return unauthorized("this is not the account that signed the request")
	}
	if len(x.rest) == 2 {
		if x.rest[1] != "orders" {
			return notFound("resource")
		}
		return x.listOrders()
	}
	if x.isGet() {
		return x.showAccount(http.StatusOK, x.account.ACMEAccount)
	}
	var ask struct {
		Status  string    `json:"status"`
		Contact *[]string `json:"contact"`
	}
	if err := x.read(&ask); err != nil {
		return err
	}
	return x.changeAccount(ask.Status, ask.Contact)
}

// changeAccount is sections 7.3.2 and 7.3.6.
func (x *exchange) changeAccount(status string, contact *[]string) error {
	a := x.account.ACMEAccount
	defer x.accounts.forget(a.ID)
	switch {
	case status == statusDeactivated:
		if err := x.DB.EndACMEAccount(x.ctx, a.ID, statusDeactivated); err != nil {
			return err
		}
		a.Status = statusDeactivated
		return x.showAccount(http.StatusOK, a)
	case status != "" && status != statusValid:
		return malformed("the status of an account can be set to deactivated alone")
	}
	if contact != nil {
		if err := checkContact(*contact); err != nil {
			return err
		}
		if err := x.DB.SetACMEContact(x.ctx, a.ID, *contact); err != nil {
			return err
		}
		a.Contact = *contact
	}
	return x.showAccount(http.StatusOK, a)
}

// ordersPage is how many orders one answer lists.
const ordersPage = 100

// listOrders lists the orders of an account, the newest first (section 7.1.2.1).
func (x *exchange) listOrders() error {
	if err := x.onlyGet(); err != nil {
		return err
	}
	before := x.r.URL.Query().Get("before")
	if before != "" && !isID(before) {
		return malformed("this is not a place in the list; begin again at its first page")
	}
	list, err := x.DB.ACMEOrders(x.ctx, store.ACMEList{Account: x.account.ID, Before: before, Limit: ordersPage + 1})
	if err != nil {
		return err
	}
	if len(list) > ordersPage {
		list = list[:ordersPage]
		x.header("Link", "<"+x.url("account", x.account.ID, "orders")+"?before="+list[ordersPage-1].ID+`>;rel="next"`)
	}
	urls := make([]string, 0, len(list))
	for _, o := range list {
		if o.Authority == x.ca {
			urls = append(urls, x.url("order", o.ID))
		}
	}
	return x.answer(http.StatusOK, map[string][]string{"orders": urls})
}

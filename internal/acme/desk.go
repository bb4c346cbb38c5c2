// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/gate"
	internalproblem "github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// A Keeper keeps secrets: *custody.Custody.
type Keeper interface {
	Put(ctx context.Context, owner custody.Owner, secret []byte) (id string, err error)
}

// A Desk is where people look at accounts and orders, and give out bindings. Everything
// asks the gate.
type Desk struct {
	db   *store.DB
	gate *gate.Gate
	keep Keeper
	now  func() time.Time
}

// NewDesk puts a desk together. keep may be nil where no bindings are added.
func NewDesk(db *store.DB, g *gate.Gate, keep Keeper, now func() time.Time) *Desk {
	return &Desk{db: db, gate: g, keep: keep, now: now}
}

// An AccountRow is an account for people.
type AccountRow struct {
	ID      string    `json:"id"`
	Key     string    `json:"key"` // its thumbprint, RFC 7638
	Status  string    `json:"status"`
	Contact []string  `json:"contact,omitempty"`
	Binding string    `json:"binding,omitempty"`
	Address string    `json:"address"`
	Created time.Time `json:"created"`
	Used    time.Time `json:"used,omitzero"`
}

// Accounts lists accounts, the newest first.
func (d *Desk) Accounts(ctx context.Context, who gate.Actor, l store.ACMEList) ([]AccountRow, error) {
	if err := d.gate.Check(ctx, who, gate.ReadAuthorities, "acme accounts"); err != nil {
		return nil, err
	}
	list, err := d.db.ACMEAccounts(ctx, l)
	rows := make([]AccountRow, 0, len(list))
	for _, a := range list {
		rows = append(rows, AccountRow{a.ID, a.Thumbprint, a.Status, a.Contact, a.Binding, a.Address, a.Created, a.Used})
	}
	return rows, err
}

// RevokeAccount takes an account out of use for good. A server notices within seconds.
func (d *Desk) RevokeAccount(ctx context.Context, who gate.Actor, id string) error {
	if err := d.gate.Check(ctx, who, gate.ManageAuthorities, "revoke acme account "+id); err != nil {
		return err
	}
	if _, err := d.db.ACMEAccount(ctx, id); err != nil {
		return err
	}
	return d.db.EndACMEAccount(ctx, id, statusRevoked)
}

// An OrderRow is an order for people.
type OrderRow struct {
	ID        string    `json:"id"`
	Account   string    `json:"account"`
	Authority string    `json:"authority"`
	Profile   string    `json:"profile"`
	Names     []string  `json:"names"`
	Status    string    `json:"status"` // as clients see it
	Why       string    `json:"why,omitempty"`
	Note      string    `json:"note,omitempty"`
	Replaces  string    `json:"replaces,omitempty"`
	Serial    string    `json:"serial,omitempty"`
	Request   int64     `json:"request,omitempty"` // that somebody must approve
	Created   time.Time `json:"created"`
	Expires   time.Time `json:"expires"`
}

// Orders lists orders, the newest first. A status picks by what is kept: pending is
// every order that waits for its client.
func (d *Desk) Orders(ctx context.Context, who gate.Actor, l store.ACMEList) ([]OrderRow, error) {
	if err := d.gate.Check(ctx, who, gate.ReadAuthorities, "acme orders"); err != nil {
		return nil, err
	}
	list, err := d.db.ACMEOrders(ctx, l)
	if err != nil {
		return nil, err
	}
	rows := make([]OrderRow, 0, len(list))
	for _, o := range list {
		row, err := d.orderRow(ctx, o)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func (d *Desk) orderRow(ctx context.Context, o store.ACMEOrder) (OrderRow, error) {
	row := OrderRow{
		ID: o.ID, Account: o.Account, Authority: o.Authority, Profile: o.Profile, Names: namesOf(o.Identifiers).All(), Note: o.Note, Replaces: o.Replaces,
		Serial: o.Serial, Request: o.Waiting, Created: o.Created, Expires: o.Expires,
	}
	var authorizations []store.ACMEAuthorization
	if o.Status == statusPending {
		var err error
		if authorizations, err = d.db.ACMEAuthorizations(ctx, o.Authorizations); err != nil {
			return row, err
		}
	}
	var why *Problem
	if row.Status, why = stateOf(o, authorizations, d.now()); why != nil {
		row.Why = why.Detail
	}
	return row, nil
}

// Bindings lists bindings, the newest first.
func (d *Desk) Bindings(ctx context.Context, who gate.Actor) ([]store.ACMEBinding, error) {
	if err := d.gate.Check(ctx, who, gate.ReadAuthorities, "acme bindings"); err != nil {
		return nil, err
	}
	return d.db.ACMEBindings(ctx)
}

// A NewBinding is a binding with its key, which is shown once.
type NewBinding struct {
	store.ACMEBinding
	Key string `json:"key"` // base64url, as clients take it
}

// bindingKey is how many octets the key of a binding has: as many as HS256 has (RFC
// 7518 section 3.2).
const bindingKey = 32

// AddBinding makes a binding: what of b says what its accounts may have.
func (d *Desk) AddBinding(ctx context.Context, who gate.Actor, b store.ACMEBinding) (NewBinding, error) {
	id := newID(d.now())
	if err := d.gate.Check(ctx, who, gate.ManageAuthorities, "add acme binding "+id); err != nil {
		return NewBinding{}, err
	}
	for i, pattern := range b.Names {
		b.Names[i] = strings.ToLower(pattern)
		if why := notPattern(b.Names[i]); why != "" {
			return NewBinding{}, internalproblem.With(fmt.Errorf("%w: %.80q is no name or pattern: %s", tallystick.ErrInvalid, pattern, why), "write host.example.com, an address, or *.example.com for everything under example.com")
		}
	}
	if !b.Expires.IsZero() && !b.Expires.After(d.now()) {
		return NewBinding{}, fmt.Errorf("%w: the binding would have ended already", tallystick.ErrInvalid)
	}
	var key [bindingKey]byte
	_, _ = rand.Read(key[:])
	defer clear(key[:])
	secret, err := d.keep.Put(ctx, custody.Owner{Kind: "eab-key", Name: "acme/" + id}, key[:])
	if err != nil {
		return NewBinding{}, err
	}
	b.ID, b.Secret, b.Created, b.CreatedBy = id, secret, d.now().UTC(), who.Name
	return NewBinding{b, base64.RawURLEncoding.EncodeToString(key[:])}, d.db.AddACMEBinding(ctx, b)
}

// notPattern says why a text is no pattern of names; "" if it is one.
func notPattern(pattern string) string {
	if _, p := readIdentifier(store.ACMEIdentifier{Type: typeIP, Value: pattern}); p == nil {
		return ""
	}
	if top, ok := strings.CutPrefix(pattern, "*."); ok && !strings.Contains(top, ".") {
		return notName(top) // *.lan is a pattern though no name
	}
	return notName(pattern)
}

// RevokeBinding ends a binding, and what accounts that are bound by it may order.
func (d *Desk) RevokeBinding(ctx context.Context, who gate.Actor, id string) error {
	if err := d.gate.Check(ctx, who, gate.ManageAuthorities, "revoke acme binding "+id); err != nil {
		return err
	}
	if _, err := d.db.ACMEBinding(ctx, id); err != nil {
		return err
	}
	return d.db.RevokeACMEBinding(ctx, id, d.now())
}

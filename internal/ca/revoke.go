// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// A RevokeRequest says which certificates are not to be trusted any more.
type RevokeRequest struct {
	Serials []Serial         `json:"serials,omitempty"`
	Key     tallystick.KeyID `json:"key,omitempty"` // all that are for this key
	Reason  Reason           `json:"reason"`
	// InvalidSince is when the key may have come into other hands; zero: not known.
	InvalidSince time.Time `json:"invalid_since,omitzero"`
	Note         string    `json:"note,omitempty"`
	// Block refuses the keys for ever. A compromised key is always blocked.
	Block bool `json:"block,omitempty"`
	// Descendants revokes as well what took the place of these certificates: whoever
	// stole a key may have renewed with it.
	Descendants bool `json:"descendants,omitempty"`
	// Proven says that a protocol was shown the private key, or that its certificates
	// are those of the actor's own account: no role is needed for these.
	Proven bool `json:"-"`
	// Keys are those of certificates that were found already.
	Keys [][]byte `json:"-"`
}

// Revoke takes trust away, at once in the store and soon in what is published (see
// revocation.Publisher.Flush). It returns how many certificates were not revoked
// before. Keys are blocked first, so that nothing is made with them meanwhile.
func (c *CA) Revoke(ctx context.Context, who gate.Actor, r RevokeRequest) (int, error) {
	action := gate.RevokeCertificate
	if r.Proven {
		action = gate.RevokeOwnCertificate
	}
	if err := c.Gate.Check(ctx, who, action, r.object()); err != nil {
		return 0, err
	}
	if !r.Reason.Known() {
		return 0, fmt.Errorf("%w: %s is not a reason to revoke for", tallystick.ErrInvalid, r.Reason)
	}
	rows, err := c.condemned(ctx, who, r)
	if err != nil {
		return 0, err
	}
	if len(rows) == 0 {
		return 0, nil // the key was blocked before anything was made with it
	}
	list, err := c.revocations(ctx, who, r, rows)
	if err != nil {
		return 0, err
	}
	fresh, err := c.DB.Revoke(ctx, list)
	for _, row := range rows {
		c.windows.forget(Serial(hex.EncodeToString(row.Serial)))
	}
	if err == nil && c.Revoked != nil {
		c.Revoked()
	}
	c.recalled()
	return len(fresh), err
}

// recalled tells those who renew here.
func (c *CA) recalled() {
	if c.Recalled != nil {
		c.Recalled()
	}
}

// condemned finds the certificates, and blocks their keys first where they are to be
// blocked: what is made with them meanwhile is found by looking again. Of a key that is
// compromised every certificate is.
func (c *CA) condemned(ctx context.Context, who gate.Actor, r RevokeRequest) ([]store.Issued, error) {
	rows, err := c.affected(ctx, r)
	if err != nil || !r.Block && r.Reason != KeyCompromise {
		return rows, err
	}
	for {
		if err := c.block(ctx, who, r, rows); err != nil {
			return nil, err
		}
		for _, row := range rows {
			r.Keys = append(r.Keys, row.SPKI)
		}
		again, err := c.affected(ctx, r)
		if err != nil || len(again) == len(rows) {
			return again, err
		}
		rows = again
	}
}

// object is what the audit log calls it.
func (r RevokeRequest) object() string {
	what := fmt.Sprintf("%d certificates", len(r.Serials))
	switch {
	case r.Key != "":
		what = "everything for key " + string(r.Key)
	case len(r.Serials) == 1:
		what = string(r.Serials[0])
	}
	return what + ": " + r.Reason.String()
}

// affected finds the certificates.
func (c *CA) affected(ctx context.Context, r RevokeRequest) ([]store.Issued, error) {
	var rows []store.Issued
	seen := map[string]bool{}
	add := func(row store.Issued) {
		if !seen[string(row.Serial)] {
			seen[string(row.Serial)] = true
			rows = append(rows, row)
		}
	}
	for _, serial := range r.Serials {
		row, err := c.DB.IssuedBySerial(ctx, serial.Bytes())
		if err != nil {
			return nil, problem.With(fmt.Errorf("certificate %.80s: %w", serial, err), `"tally ca issued" lists what was signed here`)
		}
		add(row)
	}
	if r.Key != "" {
		key, err := keyBytes(r.Key)
		if err != nil {
			return nil, err
		}
		err = c.DB.EachIssued(ctx, store.IssuedFilter{SPKI: key}, func(row store.Issued) error { add(row); return nil })
		if err != nil {
			return nil, err
		}
	}
	for _, key := range r.Keys {
		err := c.DB.EachIssued(ctx, store.IssuedFilter{SPKI: key}, func(row store.Issued) error { add(row); return nil })
		if err != nil {
			return nil, err
		}
	}
	if !r.Descendants {
		return rows, nil
	}
	for i := 0; i < len(rows); i++ { // grows while it goes on
		err := c.DB.EachIssued(ctx, store.IssuedFilter{Replaces: rows[i].Serial}, func(row store.Issued) error { add(row); return nil })
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// block refuses the keys of certificates for ever, and the one that was named.
func (c *CA) block(ctx context.Context, who gate.Actor, r RevokeRequest, rows []store.Issued) error {
	var keys [][]byte
	for _, row := range rows {
		keys = append(keys, row.SPKI)
	}
	if r.Key != "" {
		key, err := keyBytes(r.Key)
		if err != nil {
			return err
		}
		keys = append(keys, key)
	}
	reason := r.Reason.String()
	if r.Note != "" {
		reason += ": " + r.Note
	}
	_, err := c.DB.BlockKeys(ctx, keys, reason, who.Name, c.Now())
	return err
}

func (c *CA) revocations(ctx context.Context, who gate.Actor, r RevokeRequest, rows []store.Issued) ([]store.Revocation, error) {
	all, err := c.Authorities(ctx)
	if err != nil {
		return nil, err
	}
	authorities := map[int64]Authority{}
	for _, a := range all {
		authorities[a.ID] = a
	}
	now := c.Now()
	list := make([]store.Revocation, len(rows))
	for i, row := range rows {
		list[i] = store.Revocation{
			Authority: row.Authority, Serial: row.Serial, Shard: authorities[row.Authority].shardOf(row.Serial), At: now, Reason: int(r.Reason),
			InvalidSince: r.InvalidSince, NotAfter: row.NotAfter, By: who.Name, Note: r.Note,
		}
	}
	return list, nil
}

// Block refuses keys for ever, whether or not anything was made with them.
func (c *CA) Block(ctx context.Context, who gate.Actor, keys []tallystick.KeyID, reason string) (int64, error) {
	if err := c.Gate.Check(ctx, who, gate.RevokeCertificate, fmt.Sprintf("block %d keys", len(keys))); err != nil {
		return 0, err
	}
	var list [][]byte
	for _, key := range keys {
		b, err := keyBytes(key)
		if err != nil {
			return 0, err
		}
		list = append(list, b)
	}
	return c.DB.BlockKeys(ctx, list, reason, who.Name, c.Now())
}

// BlockedKeys lists keys that are refused, the newest first.
func (c *CA) BlockedKeys(ctx context.Context, who gate.Actor, limit int) ([]store.BlockedKey, error) {
	if err := c.Gate.Check(ctx, who, gate.ReadAuthorities, "blocked keys"); err != nil {
		return nil, err
	}
	return c.DB.ListBlockedKeys(ctx, limit)
}

// Recall tells the clients of certificates to renew now (RFC 9773), and why: url is
// for people. It revokes nothing; what it cannot reach, the recall must.
func (c *CA) Recall(ctx context.Context, who gate.Actor, serials []Serial, url string) (int64, error) {
	if err := c.Gate.Check(ctx, who, gate.RecallCertificate, fmt.Sprintf("%d certificates", len(serials))); err != nil {
		return 0, err
	}
	if err := checkLink(url); err != nil {
		return 0, err
	}
	list := make([][]byte, len(serials))
	for i, serial := range serials {
		if list[i] = serial.Bytes(); list[i] == nil {
			return 0, fmt.Errorf("%w: %.80q is not a serial of ours", tallystick.ErrInvalid, string(serial))
		}
	}
	n, err := c.DB.MarkRecalled(ctx, list, url, c.Now())
	for _, serial := range serials {
		c.windows.forget(serial)
	}
	c.recalled()
	return n, err
}

// RecallAuthority does so for everything that an authority signed and that is valid.
func (c *CA) RecallAuthority(ctx context.Context, who gate.Actor, name, url string) (int64, error) {
	if err := c.Gate.Check(ctx, who, gate.RecallCertificate, "everything by "+name); err != nil {
		return 0, err
	}
	a, err := c.Authority(ctx, name)
	if err := errors.Join(err, checkLink(url)); err != nil {
		return 0, err
	}
	n, err := c.DB.RecallAuthority(ctx, a.ID, profileResponder, url, c.Now())
	c.windows.clear()
	c.recalled()
	return n, err
}

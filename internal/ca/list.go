// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"context"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
)

// soon is how near an end must be for a certificate to count as ending.
const soon = 7 * day

// An Overview is an authority with what became of what it signed.
type Overview struct {
	Authority
	Counts store.IssuedCounts `json:"counts"`
}

// Overview returns all authorities, by name.
func (c *CA) Overview(ctx context.Context, who gate.Actor) ([]Overview, error) {
	if err := c.Gate.Check(ctx, who, gate.ReadAuthorities, "authorities"); err != nil {
		return nil, err
	}
	list, err := c.Authorities(ctx)
	if err != nil {
		return nil, err
	}
	counts, err := c.counts(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]Overview, len(list))
	for i, a := range list {
		all[i] = Overview{a, counts[a.ID]}
	}
	return all, nil
}

// How long a count is shown that took long: counting reads every certificate that was
// ever signed, which of a million takes a second.
const (
	countedAgain = 30 * time.Second
	countedLong  = 50 * time.Millisecond
)

// counts counts what authorities have signed, now or lately.
func (c *CA) counts(ctx context.Context) (map[int64]store.IssuedCounts, error) {
	c.counting.Lock()
	defer c.counting.Unlock()
	now := c.Now()
	if c.counted != nil && now.Sub(c.countedAt) < countedAgain && !now.Before(c.countedAt) {
		return c.counted, nil
	}
	began := time.Now()
	counts, err := c.DB.CountIssued(ctx, now, now.Add(soon))
	if err == nil && time.Since(began) > countedLong {
		c.counted, c.countedAt = counts, now
	}
	return counts, err
}

// A Filter picks certificates; what is zero picks all.
type Filter struct {
	Authority string
	Key       tallystick.KeyID
	Name      string // one of its names, whole
	Profile   string
	Via       string
	Requester string
	State     string        // good, expired, revoked, recalled
	Answered  string        // of those recalled: yes (replaced), no
	Within    time.Duration // that end within this time
	Replaces  Serial        // that take the place of this one
}

// List returns at most limit certificates, the newest first, whose serial is below
// before ("" is from the newest on). What a certificate says is no secret; its key is.
func (c *CA) List(ctx context.Context, who gate.Actor, f Filter, before Serial, limit int) ([]Certificate, error) {
	if err := c.Gate.Check(ctx, who, gate.ReadAuthorities, "issued"); err != nil {
		return nil, err
	}
	filter, err := c.filter(ctx, f)
	if err != nil {
		return nil, err
	}
	rows, err := c.DB.ListIssued(ctx, filter, before.Bytes(), limit)
	if err != nil {
		return nil, err
	}
	return c.certificatesOf(ctx, rows)
}

func (c *CA) filter(ctx context.Context, f Filter) (store.IssuedFilter, error) {
	out := store.IssuedFilter{Name: f.Name, Profile: f.Profile, Via: f.Via, Requester: f.Requester, State: f.State, Answered: f.Answered, Now: c.Now()}
	switch f.State {
	case "", "good", "expired", "revoked", "recalled":
	default:
		return out, fmt.Errorf("%w: there is no state %q: it is one of good, expired, revoked, recalled", tallystick.ErrInvalid, f.State)
	}
	if f.Authority != "" {
		a, err := c.Authority(ctx, f.Authority)
		if err != nil {
			return out, err
		}
		out.Authority = a.ID
	}
	if f.Key != "" {
		key, err := keyBytes(f.Key)
		if err != nil {
			return out, err
		}
		out.SPKI = key
	}
	if f.Replaces != "" {
		out.Replaces = f.Replaces.Bytes()
	}
	if f.Within > 0 {
		out.ExpiresBefore = c.Now().Add(f.Within)
	}
	return out, nil
}

// Look returns one certificate with everything that is known of it.
func (c *CA) Look(ctx context.Context, who gate.Actor, serial Serial) (Certificate, error) {
	if err := c.Gate.Check(ctx, who, gate.ReadAuthorities, string(serial)); err != nil {
		return Certificate{}, err
	}
	return c.Find(ctx, serial)
}

// State says in a word what a certificate is now: good, expired, revoked, or recalled,
// which is good and to be replaced.
func (c Certificate) State(now time.Time) string {
	switch {
	case c.Revocation != nil:
		return "revoked"
	case !now.Before(c.NotAfter):
		return "expired"
	case !c.Recalled.IsZero():
		return "recalled"
	}
	return "good"
}

// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// The states of a list.
const (
	Fresh   = "fresh"
	Late    = "late"    // a new one should have been signed long ago
	Expired = "expired" // servers with OpenSSL refuse every client now
	Missing = "missing" // there is none
)

// A Health is how one list is.
type Health struct {
	Authority  string    `json:"authority"`
	Shard      int64     `json:"shard"` // -1: the complete list
	State      string    `json:"state"`
	Number     int64     `json:"number"`
	Entries    int64     `json:"entries"`
	Size       int64     `json:"size"` // in octets
	ThisUpdate time.Time `json:"this_update,omitzero"`
	NextUpdate time.Time `json:"next_update,omitzero"`
	// Behind says that something was revoked that the lists of the authority do not have yet.
	Behind bool `json:"behind,omitempty"`
	// Error is why nothing new is published, and Since since when.
	Error string    `json:"error,omitempty"`
	Since time.Time `json:"since,omitzero"`
}

// Health says how every list is, by authority and shard.
func (p *Publisher) Health(ctx context.Context) ([]Health, error) {
	var all []Health
	now := p.c.Now()
	for _, one := range *p.shown.Load() {
		revision, err := p.c.DB.RevocationRevision(ctx, one.ID)
		if err != nil {
			return nil, err
		}
		shards := p.shardsOf(&published{Authority: one.Authority, lists: one.lists})
		complete := one.lists[shards[len(shards)-1]]
		for _, shard := range shards {
			h := Health{Authority: one.Name, Shard: shard, State: Missing, Since: one.since, Behind: complete == nil || complete.Revision < revision}
			if one.err != nil {
				h.Error = one.err.Error()
			}
			if l := one.lists[shard]; l != nil && l.List != nil {
				h.Number, h.Entries, h.Size, h.ThisUpdate, h.NextUpdate = l.Number, l.Entries, l.Size, l.ThisUpdate, l.NextUpdate
				h.State = p.stateOf(l, now)
			}
			all = append(all, h)
		}
	}
	slices.SortFunc(all, func(a, b Health) int {
		return cmp.Or(cmp.Compare(a.Authority, b.Authority), cmp.Compare(a.Shard, b.Shard))
	})
	return all, nil
}

// stateOf is late at half the lifetime: twice the time at which a new list is signed.
func (p *Publisher) stateOf(l *list, now time.Time) string {
	switch {
	case !now.Before(l.NextUpdate):
		return Expired
	case now.Sub(l.ThisUpdate) > l.NextUpdate.Sub(l.ThisUpdate)/2:
		return Late
	}
	return Fresh
}

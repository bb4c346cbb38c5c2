// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"context"
	"net/url"

	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/query"
	"github.com/tallystick/tallystick/internal/store"
)

// ParseFilter reads a filter from the parameters of an address: customer, system, account,
// kind, q, holder, wrapping_key, and due, stale and destroyed, which are "true" or nothing.
func (v *Vault) ParseFilter(q url.Values) (store.EntrustedFilter, error) {
	f := store.EntrustedFilter{
		Customer: q.Get("customer"), System: q.Get("system"), Account: q.Get("account"), Kind: q.Get("kind"), Text: q.Get("q"),
		Holder: q.Get("holder"), WrappingKey: q.Get("wrapping_key"), Stale: q.Get("stale") == "true", Destroyed: q.Get("destroyed") == "true",
	}
	if q.Get("due") == "true" {
		f.Due = v.Now()
	}
	return f, query.OneOf("kind", f.Kind, Kinds()...)
}

// List lists what is entrusted, with how much there is; never a value.
func (v *Vault) List(ctx context.Context, actor gate.Actor, f store.EntrustedFilter, page store.PageRequest) (store.Page[store.EntrustedSecret], int64, error) {
	if err := v.Gate.Check(ctx, actor, gate.ReadVault, "list"); err != nil {
		return store.Page[store.EntrustedSecret]{}, 0, err
	}
	return v.DB.EntrustedSecrets(ctx, f, page)
}

// Sums returns the vault in numbers.
func (v *Vault) Sums(ctx context.Context, actor gate.Actor) (store.EntrustedSums, error) {
	if err := v.Gate.Check(ctx, actor, gate.ReadVault, "sums"); err != nil {
		return store.EntrustedSums{}, err
	}
	return v.DB.EntrustedSums(ctx, v.Now())
}

// A Lineage is where the versions of a secret could be read, and who was given them.
type Lineage struct {
	Secret   store.EntrustedSecret `json:"secret"`
	Versions []Version             `json:"versions" doc:"the newest first"`
	Handouts []store.Handout       `json:"handouts" doc:"the last first, at most 100"`
}

// A Version is one value of a secret, with where it could be read.
type Version struct {
	store.EntrustedVersion
	Wrappings []Wrapping `json:"wrappings" doc:"the last first"`
}

// maxHandouts is how many of them a lineage shows.
const maxHandouts = 100

// Lineage returns everything that is known about a secret, but its value.
func (v *Vault) Lineage(ctx context.Context, actor gate.Actor, id string) (Lineage, error) {
	if err := v.Gate.Check(ctx, actor, gate.ReadLineage, "vault/"+id); err != nil {
		return Lineage{}, err
	}
	s, err := v.find(ctx, id)
	if err != nil {
		return Lineage{}, err
	}
	l := Lineage{Secret: s, Versions: []Version{}}
	versions, err := v.DB.EntrustedVersions(ctx, s.Serial)
	if err != nil {
		return l, err
	}
	readers, err := v.DB.Readers(ctx, "")
	if err != nil {
		return l, err
	}
	spans := map[string][]store.KeySpan{}
	for _, one := range versions {
		if _, ok := spans[one.KeyID]; !ok {
			if spans[one.KeyID], err = v.DB.KeySpans(ctx, one.KeyID); err != nil {
				return l, err
			}
		}
		l.Versions = append(l.Versions, Version{one, wrappings(one, spans[one.KeyID], readers)})
	}
	l.Handouts, err = v.DB.Handouts(ctx, s.Serial, maxHandouts)
	return l, err
}

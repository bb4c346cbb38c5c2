// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"context"
	"slices"
	"time"

	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
)

// A KeyStrength is a wrapping key with how strong it is.
type KeyStrength struct {
	ID        string    `json:"id"`
	Kind      string    `json:"kind"`
	About     string    `json:"about" doc:"where it is"`
	Since     time.Time `json:"since"`
	Retired   time.Time `json:"retired,omitzero" doc:"since when nothing is under it"`
	Customers int64     `json:"customers" doc:"data keys of customers that are under it now"`
	Others    int64     `json:"others" doc:"other secrets that are under it now, such as keys of CAs"`
	custody.Strength
}

// KeyStrengths returns all wrapping keys with how strong they are, the oldest first.
func (v *Vault) KeyStrengths(ctx context.Context, actor gate.Actor) ([]KeyStrength, error) {
	if err := v.Gate.Check(ctx, actor, gate.ReadVault, "wrapping keys"); err != nil {
		return nil, err
	}
	keys, err := custody.Keys(ctx, v.DB)
	if err != nil {
		return nil, err
	}
	list := make([]KeyStrength, len(keys))
	for i, key := range keys {
		list[i] = KeyStrength{
			ID: key.ID, Kind: key.Kind, About: key.About, Since: key.Since, Retired: key.Retired, Strength: custody.StrengthOf(key.WrappingKey, v.Now()),
		}
		for _, n := range key.Secrets {
			if n.Kind == customerKey {
				list[i].Customers += n.Kept
			} else {
				list[i].Others += n.Kept
			}
		}
	}
	return list, nil
}

// A Wrapping is a wrapping key that a version was under, with the hosts that had it then.
type Wrapping struct {
	WrappingKey string     `json:"wrapping_key"`
	Since       time.Time  `json:"since"`
	Until       time.Time  `json:"until,omitzero" doc:"absent is still"`
	Hosts       []HostSpan `json:"hosts" doc:"where it could be read meanwhile"`
}

// A HostSpan is a host where something could be read, from when to when.
type HostSpan struct {
	Host  string    `json:"host"`
	Since time.Time `json:"since"`
	Until time.Time `json:"until,omitzero" doc:"absent is still"`
}

// wrappings returns what a version was under while it could be read, the last first.
func wrappings(one store.EntrustedVersion, spans []store.KeySpan, readers []store.Reader) []Wrapping {
	list := []Wrapping{}
	for _, span := range spans {
		w := Wrapping{WrappingKey: span.WrappingKey, Hosts: []HostSpan{}}
		var ok bool
		if w.Since, w.Until, ok = overlap(one.Created, one.Destroyed, span.Since, span.Until); !ok {
			continue
		}
		for _, r := range readers {
			if since, until, ok := overlap(w.Since, w.Until, r.Since, r.Until); ok && r.WrappingKey == span.WrappingKey {
				w.Hosts = append(w.Hosts, HostSpan{r.Host, since, until})
			}
		}
		list = append(list, w)
	}
	slices.SortStableFunc(list, func(a, b Wrapping) int { return b.Since.Compare(a.Since) })
	return list
}

// overlap returns what two spans have in common; an end that is zero is none.
func overlap(since, until, begin, end time.Time) (time.Time, time.Time, bool) {
	if begin.After(since) {
		since = begin
	}
	if until.IsZero() || !end.IsZero() && end.Before(until) {
		until = end
	}
	return since, until, until.IsZero() || since.Before(until)
}

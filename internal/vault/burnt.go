// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/query"
	"github.com/tallystick/tallystick/internal/store"
)

// Burnt returns the secrets that a recall of entrusted ones is about, each once and as it is
// now (tallystick.BurntEntrusted says how they are named).
func (v *Vault) Burnt(ctx context.Context, value string) ([]store.EntrustedSecret, error) {
	host, from, to, isHost := tallystick.Burnt{Kind: tallystick.BurntEntrusted, Value: value}.ReadableFrom()
	switch {
	case isHost:
		q := Question{Host: host}
		var err error
		if q.From, q.To, err = query.ParseSpan(from, to); err != nil {
			return nil, err
		}
		return v.readable(ctx, q)
	case value == "due":
		return v.due(ctx)
	}
	s, err := v.find(ctx, value)
	if err == nil && !s.Destroyed.IsZero() {
		err = fmt.Errorf("%w: the secret %s was destroyed", tallystick.ErrNotFound, value)
	}
	return []store.EntrustedSecret{s}, err
}

// BurntUnder returns the secrets whose newest version was ever under a wrapping key.
func (v *Vault) BurntUnder(ctx context.Context, wrappingKey string) ([]store.EntrustedSecret, error) {
	list, err := v.readable(ctx, Question{Key: wrappingKey})
	if errors.Is(err, tallystick.ErrNotFound) {
		err = nil // it was never used for what was entrusted
	}
	return list, err
}

// Burnt says what a recall of all that a question names is about. What was under a wrapping
// key is burnt together with all else that was.
func (q Question) Burnt() tallystick.Burnt {
	if q.Host == "" {
		return tallystick.Burnt{Kind: tallystick.BurntWrapping, Value: q.Key}
	}
	value := "host/" + q.Host
	if !q.From.IsZero() || !q.To.IsZero() {
		value += "@" + word(q.From, "") + "/" + word(q.To, "")
	}
	return tallystick.Burnt{Kind: tallystick.BurntEntrusted, Value: value}
}

// Reading returns who that a Burnt is about can open what is entrusted from now on: a host that
// has a wrapping key that is in use, or such a key itself.
func (v *Vault) Reading(ctx context.Context, what tallystick.Burnt) ([]string, error) {
	keys, err := v.DB.WrappingKeys(ctx)
	if err != nil {
		return nil, err
	}
	inUse := map[string]bool{}
	for _, key := range keys {
		inUse[key.ID] = key.Retired.IsZero()
	}
	if what.Kind == tallystick.BurntWrapping {
		if inUse[what.Value] {
			return []string{"Who has the wrapping key " + what.Value}, nil
		}
		return nil, nil
	}
	host, _, _, is := what.ReadableFrom()
	if !is {
		return nil, nil
	}
	readers, err := v.DB.Readers(ctx, host)
	for _, r := range readers {
		if inUse[r.WrappingKey] && r.Until.IsZero() {
			return []string{"The host " + host}, err
		}
	}
	return nil, err
}

// mostBurnt bounds how many secrets one recall is about.
const mostBurnt = 200_000

func (v *Vault) readable(ctx context.Context, q Question) ([]store.EntrustedSecret, error) {
	reaches, err := v.reaches(ctx, q)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	request := store.PageRequest{Limit: maxTogether}
	for {
		page, err := v.DB.Exposures(ctx, reaches, v.Now(), request)
		if err != nil {
			return nil, err
		}
		for _, x := range page.Items {
			if x.Current {
				seen[x.ID] = true
			}
		}
		if request.After = page.Next; page.Next == "" || len(seen) > mostBurnt {
			return v.all(ctx, seen)
		}
	}
}

// all returns secrets by their ids, in an order that is always the same.
func (v *Vault) all(ctx context.Context, ids map[string]bool) ([]store.EntrustedSecret, error) {
	if len(ids) > mostBurnt {
		return nil, fmt.Errorf("%w: that is more than %d secrets; recall them in parts", tallystick.ErrInvalid, mostBurnt)
	}
	list, err := v.DB.EntrustedSecretsOf(ctx, slices.Collect(maps.Keys(ids)))
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b store.EntrustedSecret) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

// due returns what is to be replaced by now.
func (v *Vault) due(ctx context.Context) ([]store.EntrustedSecret, error) {
	var list []store.EntrustedSecret
	request := store.PageRequest{Limit: maxTogether}
	for {
		page, _, err := v.DB.EntrustedSecrets(ctx, store.EntrustedFilter{Due: v.Now()}, request)
		if err != nil {
			return nil, err
		}
		list = append(list, page.Items...)
		if request.After = page.Next; page.Next == "" {
			return list, nil
		}
		if len(list) > mostBurnt {
			return nil, fmt.Errorf("%w: that is more than %d secrets; recall them in parts", tallystick.ErrInvalid, mostBurnt)
		}
	}
}

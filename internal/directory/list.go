// SPDX-License-Identifier: Apache-2.0

package directory

import (
	"context"
	"net/url"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/query"
	"github.com/tallystick/tallystick/internal/store"
)

// ParseFilter reads a filter from the parameters of an address: target, kind,
// actor, unexpected, and from and to (see query.ParseSpan). A value that
// makes no sense is ErrInvalid.
func ParseFilter(q url.Values) (store.AccessFilter, error) {
	f := store.AccessFilter{
		Target: q.Get("target"), Kind: tallystick.ChangeKind(q.Get("kind")), Actor: q.Get("actor"), Unexpected: q.Get("unexpected") == "true",
	}
	err := query.OneOf("kind", string(f.Kind), KindWords()...)
	if err != nil {
		return f, err
	}
	f.From, f.To, err = query.ParseSpan(q.Get("from"), q.Get("to"))
	return f, err
}

// Changes lists changes, the newest first, with how many there are.
func (d *Directory) Changes(ctx context.Context, actor gate.Actor, f store.AccessFilter, page store.PageRequest) (store.Page[store.AccessChange], int64, error) {
	if err := d.Gate.Check(ctx, actor, gate.ReadInventory, "access changes"); err != nil {
		return store.Page[store.AccessChange]{}, 0, err
	}
	list, total, err := d.DB.AccessChanges(ctx, f, page)
	for i := range list.Items {
		if err == nil {
			list.Items[i], err = d.witnessed(ctx, list.Items[i])
		}
	}
	return list, total, err
}

// Change returns one change; ErrNotFound when there is none.
func (d *Directory) Change(ctx context.Context, actor gate.Actor, id int64) (store.AccessChange, error) {
	if err := d.Gate.Check(ctx, actor, gate.ReadInventory, "access changes"); err != nil {
		return store.AccessChange{}, err
	}
	c, err := d.DB.AccessChange(ctx, id)
	if err != nil {
		return c, err
	}
	return d.witnessed(ctx, c)
}

// Known returns the credential of the inventory that a log means by a name; ""
// when there is none.
func (d *Directory) Known(ctx context.Context, actor gate.Actor, name string) (tallystick.Fingerprint, error) {
	if err := d.Gate.Check(ctx, actor, gate.ReadInventory, "access changes"); err != nil {
		return "", err
	}
	name = tallystick.NormalName(name)
	used, err := d.DB.UsedUnder(ctx, name)
	if err != nil {
		return "", err
	}
	for _, one := range used {
		if one.Fingerprint != "" {
			return one.Fingerprint, nil
		}
	}
	return d.DB.ResolveUsed(ctx, []string{name})
}

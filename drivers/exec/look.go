// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"cmp"
	"context"
	"encoding/pem"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// Look asks the program how the door stands.
func (d *Door) Look(ctx context.Context, r driver.LookRequest) (driver.View, error) {
	a, err := d.ask(ctx, r.Host, request{Verb: "look"}, r.Now)
	if err != nil {
		return driver.View{}, err
	}
	if a.View == nil {
		return driver.View{}, invalid("the answer of the program to look has no view")
	}
	return a.View.read(d.listeners)
}

// read checks a view and brings it into order.
func (v *view) read(named []driver.Listener) (driver.View, error) {
	if most := max(len(v.Listeners), len(v.Shown), len(v.Accepts), len(v.Authorities), len(v.Denies), len(v.Notes)); most > maxItems {
		return driver.View{}, invalid("a list of the view has more than %d entries", maxItems)
	}
	view := driver.View{Notes: cleaned(v.Notes), Listeners: slices.Clone(named)}
	for _, l := range v.Listeners {
		if l.Address == "" || l.Protocol == "" {
			return driver.View{}, invalid("a listener of the view lacks its address or its protocol")
		}
		if !slices.ContainsFunc(view.Listeners, func(other driver.Listener) bool {
			return other.Address == l.Address && other.ServerName == l.ServerName
		}) {
			view.Listeners = append(view.Listeners, l)
		}
	}
	for _, s := range v.Shown {
		credential, err := s.read()
		if err != nil {
			return driver.View{}, err
		}
		view.Shown = append(view.Shown, driver.Shown{Public: credential, At: clean(s.At), Live: s.Live, Key: s.Key})
	}
	for _, a := range v.Accepts {
		view.Accepts = append(view.Accepts, driver.Accepted{Name: tallystick.NormalName(clean(a.Name)), As: clean(a.As), At: clean(a.At)})
	}
	for _, text := range v.Authorities {
		block, _ := pem.Decode([]byte(text))
		if block == nil || block.Type != "CERTIFICATE" {
			return driver.View{}, invalid("an authority of the view is no certificate, PEM")
		}
		view.Authorities = append(view.Authorities, block.Bytes)
	}
	for _, name := range v.Denies {
		view.Denies = append(view.Denies, tallystick.NormalName(clean(name)))
	}
	order(&view)
	return view, nil
}

func order(v *driver.View) {
	slices.SortFunc(v.Listeners, func(a, b driver.Listener) int {
		return cmp.Or(strings.Compare(a.Address, b.Address), strings.Compare(a.ServerName, b.ServerName))
	})
	slices.SortFunc(v.Shown, func(a, b driver.Shown) int {
		return cmp.Or(strings.Compare(a.At, b.At), slices.Compare(a.Names(), b.Names()))
	})
	slices.SortFunc(v.Accepts, func(a, b driver.Accepted) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.As, b.As), strings.Compare(a.At, b.At))
	})
	slices.SortFunc(v.Authorities, slices.Compare[[]byte])
	slices.Sort(v.Denies)
	slices.Sort(v.Notes)
}

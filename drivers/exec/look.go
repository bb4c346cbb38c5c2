// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"context"
	"encoding/pem"
	"slices"

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
			view.Listeners = append(view.Listeners, edited(l, clean))
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
	view.Tidy()
	return view, nil
}

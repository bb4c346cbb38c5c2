// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"cmp"
	"context"
	"fmt"

	"github.com/tallystick/tallystick/driver"
)

// Look says which certificates sign in as the application now, and where.
func (e *Entra) Look(ctx context.Context, request driver.LookRequest) (driver.View, error) {
	r, err := e.ring(ctx, request.Host, request.Now)
	if err != nil {
		return driver.View{}, err
	}
	r.used = request.Used
	listener, err := e.listener(ctx, request.Host, e.Application)
	if err != nil {
		return driver.View{}, err
	}
	view := driver.View{Listeners: []driver.Listener{listener}}
	if e.How != blockKey {
		return e.lookWhole(ctx, r, view)
	}
	o, err := r.look(ctx)
	if err != nil {
		return driver.View{}, err
	}
	for _, k := range o.Keys {
		switch {
		case k.Usage == usageVerify && k.name() == "":
			view.Notes = append(view.Notes, fmt.Sprintf("has a key that tells no certificate: %s", k.KeyID))
		case k.lets(request.Now()):
			view.Accepts = append(view.Accepts, driver.Accepted{Name: k.name(), As: cmp.Or(o.DisplayName, o.AppID), At: r.place(o)})
		}
	}
	if len(o.Passwords) > 0 {
		view.Notes = append(view.Notes, fmt.Sprintf("lets in by client secrets too, of which it has %d", len(o.Passwords)))
	}
	view.Tidy()
	return view, nil
}

// listener is the token endpoint of the tenant, for an application.
func (e *Entra) listener(ctx context.Context, h driver.Host, application string) (driver.Listener, error) {
	l := driver.Listener{
		Address: hostPort(e.login), ServerName: e.login.Hostname(), Protocol: "oauth",
		Details: map[string]string{"token_endpoint": tokenEndpoint(e.login, e.Tenant).String(), "client_id": application, "scope": e.Scope},
	}
	if e.CA != "" {
		roots, err := h.ReadFile(ctx, e.CA, maxFile)
		if err != nil {
			return driver.Listener{}, fmt.Errorf("couldn't read the option ca: %w", err)
		}
		l.Details["roots"] = string(roots)
	}
	return l, nil
}

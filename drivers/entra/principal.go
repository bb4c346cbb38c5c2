// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
)

// A door is usually one key of an application. It can also be the application as a whole, as one
// tenant lets it in: a customer who shuts a vendor out cannot wait for the vendor's keys.

// Ways in which a door is blocked, as the option block names them.
const (
	blockKey       = "key"       // the key is taken away; all others stay
	blockPrincipal = "principal" // the application is disabled in the tenant
	blockGrant     = "grant"     // what it may do is taken from it
)

// A principal is an application as it stands in the tenant, with all that lets it in there.
type principal struct {
	ID      string          `json:"id"`
	AppID   string          `json:"appId"`
	Name    string          `json:"displayName"`
	Owner   string          `json:"appOwnerOrganizationId"`
	Enabled *bool           `json:"accountEnabled"`
	Tags    []string        `json:"tags"`
	Keys    []keyCredential `json:"keyCredentials"`
	// Shown says that the keys are all there are: of an application of another tenant that
	// tenant alone shows them.
	Shown bool `json:"-"`
}

func (p *principal) enabled() bool { return p.Enabled == nil || *p.Enabled }

// lets says whether a certificate gets in by one of the keys, as far as anybody here can know.
func (p *principal) lets(old driver.Public) bool {
	return !p.Shown || slices.ContainsFunc(p.Keys, func(k keyCredential) bool { return k.is(old) })
}

// principal reads how the application stands in the tenant.
func (r *ring) principal(ctx context.Context) (*principal, error) {
	var p principal
	err := r.get(ctx, "/v1.0/servicePrincipals(appId='"+r.subject+"')", url.Values{
		"$select": {"id,appId,displayName,appOwnerOrganizationId,accountEnabled,tags,keyCredentials"},
	}, &p)
	if err == nil {
		_, err = guid(p.ID)
	}
	if err != nil {
		return nil, err
	}
	home := ring{client: r.client, kind: "applications", path: "/v1.0/applications(appId='" + r.subject + "')"}
	o, err := home.look(ctx)
	switch {
	case errors.Is(err, tallystick.ErrNotFound): // it is registered in another tenant
		return &p, nil
	case err != nil:
		return nil, err
	}
	p.Shown, p.Keys = true, append(p.Keys, o.Keys...)
	return &p, nil
}

// write changes the principal.
func (r *ring) write(ctx context.Context, p *principal, change map[string]any) error {
	return r.send(ctx, http.MethodPatch, "/v1.0/servicePrincipals/"+p.ID, change, nil)
}

// lookWhole completes the view of a door that is blocked as a whole: what would let in is denied
// while it is shut.
func (e *Entra) lookWhole(ctx context.Context, r *ring, v driver.View) (driver.View, error) {
	p, err := r.principal(ctx)
	if err != nil {
		return driver.View{}, err
	}
	shut := !p.enabled()
	if e.How == blockGrant {
		held, err := r.held(ctx, p, e.Grants)
		if err != nil {
			return driver.View{}, err
		}
		v.Listeners = nil // a try gets a token all the same, which opens nothing
		shut = shut || held.none()
		for _, name := range held.names() {
			v.Notes = append(v.Notes, "may do what is to be taken from it: "+name)
		}
	}
	place := string(tallystick.EntraPlace(r.tenant, "servicePrincipals", p.ID))
	for _, k := range p.Keys {
		switch {
		case !k.lets(r.now()) || k.name() == "":
		case shut:
			v.Denies = append(v.Denies, k.name())
		default:
			v.Accepts = append(v.Accepts, driver.Accepted{Name: k.name(), As: cmp.Or(network.Clean(p.Name), p.AppID), At: place})
		}
	}
	if !p.Shown {
		v.Notes = append(v.Notes, "its keys are shown in its own tenant alone: "+network.Clean(p.Owner))
	}
	if !p.enabled() {
		v.Notes = append(v.Notes, "is disabled in the tenant: nobody signs in as it")
	}
	v.Tidy()
	return v, nil
}

// disabledMark is the tag of what this driver has disabled: it enables nothing else.
const disabledMark = "DisabledByTallystick"

// disable keeps everybody out who signs in as the application, or, by lift, lets them in again.
func (r *ring) disable(ctx context.Context, request driver.BlockRequest) (driver.Blocked, error) {
	p, err := r.principal(ctx)
	if err != nil {
		return driver.Blocked{}, err
	}
	place, marked := string(tallystick.EntraPlace(r.tenant, "servicePrincipals", p.ID)), slices.Contains(p.Tags, disabledMark)
	blocked, change := driver.Blocked{Left: []string{tokensLeft}}, map[string]any{"accountEnabled": request.Lift}
	switch {
	case request.Lift:
		if blocked.Left = nil; p.enabled() {
			return blocked, nil
		}
		if !marked {
			return blocked, fmt.Errorf("%w: somebody else has disabled %s, and decides when it is enabled again", tallystick.ErrDenied, place)
		}
		blocked.Detail = "enabled " + place
		change["tags"] = slices.DeleteFunc(p.Tags, func(tag string) bool { return tag == disabledMark })
	case !p.enabled() || !p.lets(request.Old):
		return blocked, nil
	default:
		blocked.Detail = "disabled " + place + ", which keeps out every credential of it"
		change["tags"] = append(slices.DeleteFunc(p.Tags, func(tag string) bool { return tag == disabledMark }), disabledMark)
	}
	if err := r.write(ctx, p, change); err != nil {
		return driver.Blocked{}, r.forbidden(err, "Application.ReadWrite.All")
	}
	err = r.patiently(ctx, place, func() (bool, error) {
		now, err := r.principal(ctx)
		return err == nil && now.enabled() == request.Lift, err
	})
	blocked.Changed.Changed, blocked.How = true, []string{"account-enabled"}
	return blocked, err
}

// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver/network"
)

// A resource is a service principal that permissions are for, such as Microsoft Graph.
type resource struct {
	DisplayName string    `json:"displayName"`
	Roles       []appRole `json:"appRoles"`
}

type appRole struct {
	ID          string `json:"id"`
	Value       string `json:"value"`
	DisplayName string `json:"displayName"`
}

// resourceOf returns what a permission is for; nil when it cannot be read. Each is read once.
func (l *survey) resource(ctx context.Context, id string) *resource {
	if r, known := l.roles[id]; known {
		return r
	}
	l.roles[id] = nil
	if _, err := guid(id); err == nil {
		var r resource
		if l.get(ctx, "/v1.0/servicePrincipals/"+id, url.Values{"$select": {"id,displayName,appRoles"}}, &r) == nil {
			l.roles[id] = &r
		}
	}
	return l.roles[id]
}

// role returns a permission by its id, as its resource describes it.
func (l *survey) role(ctx context.Context, of, id string) appRole {
	if r := l.resource(ctx, of); r != nil {
		if i := slices.IndexFunc(r.Roles, func(one appRole) bool { return one.ID == id }); i >= 0 {
			return r.Roles[i]
		}
	}
	return appRole{ID: id, Value: rolesByID[id]}
}

// called is what people know the permission by.
func (r appRole) called() string { return network.Clean(cmp.Or(r.Value, r.DisplayName, r.ID)) }

// delegated reads the permissions that are used on behalf of people, all at once.
func (l *survey) delegated(ctx context.Context) error {
	return l.list(ctx, "/v1.0/oauth2PermissionGrants", nil, func(element json.RawMessage) error {
		var g struct {
			Client   string `json:"clientId"` // the id of a service principal
			Consent  string `json:"consentType"`
			Resource string `json:"resourceId"`
			Scope    string `json:"scope"`
		}
		if err := json.Unmarshal(element, &g); err != nil {
			return l.missed(ctx, tallystick.EntraPlace(l.tenant, "oauth2PermissionGrants", ""), fmt.Errorf("%w: a grant that is not as documented", tallystick.ErrInvalid))
		}
		name := network.Clean(g.Resource)
		if r := l.resource(ctx, g.Resource); r != nil {
			name = network.Clean(r.DisplayName)
		}
		whose := "everybody"
		if g.Consent != "AllPrincipals" {
			whose = "some people" // each has a grant of their own, and there may be very many
		}
		for _, scope := range strings.Fields(g.Scope) {
			scope = network.Clean(scope)
			grant := tallystick.Grant{Resource: name, Name: scope, Opens: inWords(scope, "", true), Delegated: true, For: whose}
			if !slices.Contains(l.opens[g.Client], grant) {
				l.opens[g.Client] = append(l.opens[g.Client], grant)
			}
		}
		return nil
	})
}

// grants returns what a service principal may do, those that it does by itself first.
func (l *survey) grants(ctx context.Context, place tallystick.Place, id string) ([]tallystick.Grant, error) {
	var list []tallystick.Grant
	err := l.list(ctx, "/v1.0/servicePrincipals/"+id+"/appRoleAssignments", nil, func(element json.RawMessage) error {
		var a struct {
			Role         string `json:"appRoleId"`
			Resource     string `json:"resourceId"`
			ResourceName string `json:"resourceDisplayName"`
		}
		if err := json.Unmarshal(element, &a); err != nil {
			return fmt.Errorf("%w: an assignment that is not as documented", tallystick.ErrInvalid)
		}
		role := l.role(ctx, a.Resource, a.Role)
		name := role.called()
		list = append(list, tallystick.Grant{Resource: network.Clean(a.ResourceName), Name: name, Opens: inWords(name, network.Clean(role.DisplayName), false)})
		return nil
	})
	if err != nil {
		if err := l.missed(ctx, place+"/appRoleAssignments", err); err != nil {
			return nil, err
		}
	}
	list = append(list, l.opens[id]...)
	slices.SortFunc(list, func(a, b tallystick.Grant) int {
		return cmp.Or(cmp.Compare(fmt.Sprint(a.Delegated), fmt.Sprint(b.Delegated)), strings.Compare(a.Resource, b.Resource), strings.Compare(a.Name, b.Name), strings.Compare(a.For, b.For))
	})
	return slices.Compact(list), nil
}

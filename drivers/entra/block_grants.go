// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
)

// A roleGrant is a permission that an application uses by itself ("appRoleAssignment resource type").
type roleGrant struct {
	ID       string `json:"id"`
	Role     string `json:"appRoleId"`
	Resource string `json:"resourceId"`
	name     string
}

// mark is the tag that remembers a permission which this driver has taken away. It is believed
// as far as the option grants names the permission too.
func (g roleGrant) mark() string { return grantMark + g.Resource + "/" + g.Role }

const grantMark = "TakenByTallystick:"

// A scopeGrant are permissions that an application uses on behalf of people, or of one
// ("oAuth2PermissionGrant resource type").
type scopeGrant struct {
	ID     string `json:"id"`
	Person string `json:"principalId"` // "" is everybody
	Scope  string `json:"scope"`
}

// holdings are those permissions that an application has of the named ones.
type holdings struct {
	roles  []roleGrant
	scopes []scopeGrant
}

func (h holdings) none() bool { return len(h.roles)+len(h.scopes) == 0 }

// without leaves out grants by their ids.
func (h holdings) without(ids map[string]bool) holdings {
	return holdings{
		slices.DeleteFunc(slices.Clone(h.roles), func(g roleGrant) bool { return ids[g.ID] }),
		slices.DeleteFunc(slices.Clone(h.scopes), func(g scopeGrant) bool { return ids[g.ID] }),
	}
}

// names says what they are. What people gave can be given again by them or an administrator alone.
func (h holdings) names() []string {
	var names []string
	for _, g := range h.roles {
		names = append(names, g.name)
	}
	for _, g := range h.scopes {
		names = append(names, "on behalf of people "+network.Clean(g.Scope)+" (a lift does not give it again)")
	}
	return names
}

// held reads which of the named permissions a principal has.
func (r *ring) held(ctx context.Context, p *principal, names []string) (holdings, error) {
	var h holdings
	l := &survey{client: r.client, roles: map[string]*resource{}}
	base := "/v1.0/servicePrincipals/" + p.ID
	err := r.list(ctx, base+"/appRoleAssignments", nil, func(element json.RawMessage) error {
		var g roleGrant
		if err := json.Unmarshal(element, &g); err != nil {
			return fmt.Errorf("%w: an assignment that is not as documented", tallystick.ErrUnavailable)
		}
		if g.name = l.role(ctx, g.Resource, g.Role).called(); slices.Contains(names, g.name) {
			h.roles = append(h.roles, g)
		}
		return nil
	})
	if err != nil {
		return h, err
	}
	err = r.list(ctx, base+"/oauth2PermissionGrants", nil, func(element json.RawMessage) error {
		var g scopeGrant
		if err := json.Unmarshal(element, &g); err != nil {
			return fmt.Errorf("%w: a grant that is not as documented", tallystick.ErrUnavailable)
		}
		if slices.ContainsFunc(strings.Fields(g.Scope), func(scope string) bool { return slices.Contains(names, scope) }) {
			h.scopes = append(h.scopes, g)
		}
		return nil
	})
	return h, err
}

// takeGrants takes the named permissions away, or, by lift, gives those again that it took.
func (e *Entra) takeGrants(ctx context.Context, r *ring, request driver.BlockRequest) (driver.Blocked, error) {
	p, err := r.principal(ctx)
	if err != nil {
		return driver.Blocked{}, err
	}
	if request.Lift {
		return e.giveGrants(ctx, r, p)
	}
	blocked := driver.Blocked{Left: []string{tokensLeft}}
	if !p.lets(request.Old) {
		return blocked, nil
	}
	taken := map[string]bool{} // by the ids of grants: reads may be older than writes, and show more later
	var names []string
	err = r.patiently(ctx, p.ID, func() (bool, error) {
		h, err := r.held(ctx, p, e.Grants)
		if err != nil {
			return false, err
		}
		if h.none() {
			return r.remembered(ctx, p)
		}
		names = append(names, h.without(taken).names()...)
		return false, e.take(ctx, r, p, h.without(taken), taken, &blocked)
	})
	slices.Sort(names)
	names = slices.Compact(names)
	if len(taken) > 0 {
		blocked.Changed = driver.Changed{Changed: true, How: []string{"grants"}, Detail: "taken from " + string(tallystick.EntraPlace(r.tenant, "servicePrincipals", p.ID)) + ": " + strings.Join(names, ", ")}
	}
	return blocked, err
}

// take takes permissions away.
func (e *Entra) take(ctx context.Context, r *ring, p *principal, h holdings, taken map[string]bool, blocked *driver.Blocked) error {
	if err := r.remember(ctx, p, h.roles); err != nil {
		return err
	}
	for _, g := range h.roles {
		if err := r.gone(ctx, "/v1.0/servicePrincipals/"+p.ID+"/appRoleAssignments/"+g.ID); err != nil {
			return r.forbidden(err, "AppRoleAssignment.ReadWrite.All")
		}
		taken[g.ID] = true
	}
	for _, g := range h.scopes {
		closed, err := e.takeScopes(ctx, r, g)
		if err != nil {
			return r.forbidden(err, "DelegatedPermissionGrant.ReadWrite.All")
		}
		taken[g.ID] = true
		blocked.Closed += closed
	}
	return nil
}

// takeScopes takes the named permissions out of a grant on behalf of people. Whose sessions it ends
// is who gave it.
func (e *Entra) takeScopes(ctx context.Context, r *ring, g scopeGrant) (closed int, err error) {
	at := "/v1.0/oauth2PermissionGrants/" + g.ID
	left := slices.DeleteFunc(strings.Fields(g.Scope), func(scope string) bool { return slices.Contains(e.Grants, scope) })
	if len(left) == 0 {
		err = r.gone(ctx, at)
	} else {
		err = r.send(ctx, http.MethodPatch, at, map[string]any{"scope": strings.Join(left, " ")}, nil)
	}
	if err != nil || !e.Sessions || g.Person == "" {
		return 0, err
	}
	if _, err := guid(g.Person); err != nil {
		return 0, err
	}
	err = r.send(ctx, http.MethodPost, "/v1.0/users/"+g.Person+"/revokeSignInSessions", nil, nil)
	if err != nil {
		return 0, r.forbidden(err, "User.RevokeSessions.All")
	}
	return 1, nil
}

// gone deletes something that may be gone already.
func (r *ring) gone(ctx context.Context, path string) error {
	err := r.send(ctx, http.MethodDelete, path, nil, nil)
	if said, ok := errors.AsType[*apiError](err); ok && said.Status == http.StatusNotFound {
		return nil
	}
	return err
}

// remember writes down what is about to be taken, so that what is killed half-way can be undone.
func (r *ring) remember(ctx context.Context, p *principal, roles []roleGrant) error {
	before := len(p.Tags)
	for _, g := range roles {
		if !slices.Contains(p.Tags, g.mark()) {
			p.Tags = append(p.Tags, g.mark())
		}
	}
	if len(p.Tags) == before {
		return nil
	}
	return r.forbidden(r.write(ctx, p, map[string]any{"tags": p.Tags}), "Application.ReadWrite.All")
}

// remembered says whether it shows what was written down, without which a lift knows nothing of it.
func (r *ring) remembered(ctx context.Context, p *principal) (bool, error) {
	now, err := r.principal(ctx)
	if err != nil {
		return false, err
	}
	return !slices.ContainsFunc(p.Tags, func(tag string) bool { return strings.HasPrefix(tag, grantMark) && !slices.Contains(now.Tags, tag) }), nil
}

// giveGrants gives those permissions again that stand in the tags and in the option grants.
func (e *Entra) giveGrants(ctx context.Context, r *ring, p *principal) (driver.Blocked, error) {
	h, err := r.held(ctx, p, e.Grants)
	if err != nil {
		return driver.Blocked{}, err
	}
	l := &survey{client: r.client, roles: map[string]*resource{}}
	var given []string
	var wanted []roleGrant
	for _, tag := range p.Tags {
		text, ours := strings.CutPrefix(tag, grantMark)
		if !ours {
			continue
		}
		var g roleGrant
		g.Resource, g.Role, _ = strings.Cut(text, "/")
		if g.name = l.role(ctx, g.Resource, g.Role).called(); !slices.Contains(e.Grants, g.name) {
			continue
		}
		wanted = append(wanted, g)
		if slices.ContainsFunc(h.roles, func(had roleGrant) bool { return had.mark() == g.mark() }) {
			continue
		}
		err = r.send(ctx, http.MethodPost, "/v1.0/servicePrincipals/"+p.ID+"/appRoleAssignments",
			map[string]any{"principalId": p.ID, "resourceId": g.Resource, "appRoleId": g.Role}, nil)
		if err != nil {
			return driver.Blocked{}, r.forbidden(err, "AppRoleAssignment.ReadWrite.All")
		}
		given = append(given, g.name)
	}
	if len(wanted) == 0 {
		return driver.Blocked{}, nil
	}
	err = r.patiently(ctx, p.ID, func() (bool, error) {
		now, err := r.held(ctx, p, e.Grants)
		return err == nil && !slices.ContainsFunc(wanted, func(g roleGrant) bool {
			return !slices.ContainsFunc(now.roles, func(had roleGrant) bool { return had.mark() == g.mark() })
		}), err
	})
	if err != nil {
		return driver.Blocked{}, err
	}
	err = r.write(ctx, p, map[string]any{"tags": slices.DeleteFunc(slices.Clone(p.Tags), func(tag string) bool {
		return slices.ContainsFunc(wanted, func(g roleGrant) bool { return g.mark() == tag })
	})})
	if err != nil || len(given) == 0 {
		return driver.Blocked{}, err
	}
	return driver.Blocked{Changed: driver.Changed{Changed: true, How: []string{"grants"}, Detail: "given again: " + strings.Join(given, ", ")}}, nil
}

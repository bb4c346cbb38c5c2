// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"net/http"
	"slices"
	"strings"
)

// Whom an object trusts beside its own credentials: federated identity credentials and
// owners. Both are navigation properties, which delta queries do not track.

func (f *Federated) members(j *jsonWriter) {
	j.text("id", f.ID)
	j.text("name", f.Name)
	j.text("issuer", f.Issuer)
	j.text("subject", f.Subject)
	j.textOrNull("description", f.Description)
	j.strings("audiences", f.Audiences)
}

func (g *graphRequest) listFederated() (reply, *graphError) {
	o, s, err := g.object()
	if err != nil {
		return reply{}, err
	}
	l := g.list(o.Kind + "('" + o.ID + "')/federatedIdentityCredentials")
	for i := range s.Federated {
		l.open()
		s.Federated[i].members(&l.jsonWriter)
		l.close()
	}
	return l.end("", "")
}

func (s *State) federated(name string) int {
	return slices.IndexFunc(s.Federated, func(f Federated) bool { return strings.EqualFold(f.ID, name) || f.Name == name })
}

func (g *graphRequest) getFederated() (reply, *graphError) {
	_, s, err := g.object()
	if err != nil {
		return reply{}, err
	}
	i := s.federated(g.args[1])
	if i < 0 {
		return reply{}, errNotFound(g.args[1])
	}
	return g.answerFederated(http.StatusOK, &s.Federated[i])
}

func (g *graphRequest) answerFederated(status int, f *Federated) (reply, *graphError) {
	j := g.one("federatedIdentityCredentials")
	f.members(j)
	j.close()
	return reply{status, j.b}, nil
}

func (g *graphRequest) addFederated() (reply, *graphError) {
	o, _, err := g.object()
	if err != nil {
		return reply{}, err
	}
	var f Federated
	if err := g.decode(&f); err != nil {
		return reply{}, err
	}
	if f.Name == "" || f.Issuer == "" || f.Subject == "" || len(f.Audiences) != 1 {
		return reply{}, errBadRequest("A federated identity credential needs name, issuer, subject and one audience.")
	}
	f.ID = g.world.NewID()
	err = g.tenant.tryAlter(o, g.actor(), changedFederated, func(s *State) *graphError {
		if s.federated(f.Name) >= 0 {
			return &graphError{http.StatusConflict, "Request_MultipleObjectsWithSameKeyValue", "FederatedIdentityCredential with name " + f.Name + " already exists."}
		}
		s.Federated = append(s.Federated, f)
		return nil
	})
	if err != nil {
		return reply{}, err
	}
	return g.answerFederated(http.StatusCreated, &f)
}

func (g *graphRequest) patchFederated() (reply, *graphError) {
	return g.changeFederated(func(s *State, i int) *graphError {
		f := s.Federated[i]
		if err := g.decode(&f); err != nil {
			return err
		}
		f.ID, f.Name = s.Federated[i].ID, s.Federated[i].Name
		s.Federated[i] = f
		return nil
	})
}

func (g *graphRequest) removeFederated() (reply, *graphError) {
	return g.changeFederated(func(s *State, i int) *graphError {
		s.Federated = slices.Delete(s.Federated, i, i+1)
		return nil
	})
}

func (g *graphRequest) changeFederated(fn func(*State, int) *graphError) (reply, *graphError) {
	o, _, err := g.object()
	if err != nil {
		return reply{}, err
	}
	return noContent, g.tenant.tryAlter(o, g.actor(), changedFederated, func(s *State) *graphError {
		i := s.federated(g.args[1])
		if i < 0 {
			return errNotFound(g.args[1])
		}
		return fn(s, i)
	})
}

// listOwners answers who may change the object.
func (g *graphRequest) listOwners() (reply, *graphError) {
	_, s, err := g.object()
	if err != nil {
		return reply{}, err
	}
	l := g.list("directoryObjects")
	for _, id := range s.Owners {
		l.open()
		switch owner, user := g.tenant.Object(id), g.tenant.User(id); {
		case owner != nil:
			l.raw("@odata.type", `"#microsoft.graph.servicePrincipal"`)
			l.text("id", id)
			l.text("appId", owner.AppID)
			l.text("displayName", owner.State().DisplayName)
		case user != nil:
			l.raw("@odata.type", `"#microsoft.graph.user"`)
			l.text("id", id)
			l.text("displayName", user.DisplayName)
			l.text("userPrincipalName", user.PrincipalName)
		default:
			l.text("id", id)
		}
		l.close()
	}
	return l.end("", "")
}

func (g *graphRequest) addOwner() (reply, *graphError) {
	o, _, err := g.object()
	if err != nil {
		return reply{}, err
	}
	var body struct {
		ID string `json:"@odata.id"`
	}
	if err := g.decode(&body); err != nil {
		return reply{}, err
	}
	id := strings.ToLower(body.ID[strings.LastIndexByte(body.ID, '/')+1:])
	if g.tenant.User(id) == nil && g.tenant.Object(id) == nil {
		return reply{}, errNotFound(id)
	}
	return noContent, g.tenant.tryAlter(o, g.actor(), changedOwners, func(s *State) *graphError {
		if slices.Contains(s.Owners, id) {
			return errBadRequest("One or more added object references already exist for the following modified properties: 'owners'.")
		}
		s.Owners = append(s.Owners, id)
		return nil
	})
}

func (g *graphRequest) removeOwner() (reply, *graphError) {
	o, _, err := g.object()
	if err != nil {
		return reply{}, err
	}
	return noContent, g.tenant.tryAlter(o, g.actor(), changedOwners, func(s *State) *graphError {
		i := slices.Index(s.Owners, strings.ToLower(g.args[1]))
		if i < 0 {
			return errNotFound(g.args[1])
		}
		s.Owners = slices.Delete(s.Owners, i, i+1)
		return nil
	})
}

// SPDX-License-Identifier: Apache-2.0

package web

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/access"
	"github.com/tallystick/tallystick/internal/gate"
)

// accessPage answers: who may come in?
type accessPage struct {
	frame
	People     []access.Person
	Tokens     []access.Token
	Roles      []gate.Role
	TokenRoles []gate.Role // a machine may have one that people cannot
	Secret     *newSecret
}

// A newSecret is shown once, on the answer to the form that made it: a redirect
// would have to carry it in an address or keep it.
type newSecret struct{ About, Value, Then string }

// ListAccess is who may come in, and how.
func (s *Site) ListAccess(w http.ResponseWriter, r *http.Request) { s.showAccess(w, r, nil) }

func (s *Site) showAccess(w http.ResponseWriter, r *http.Request, secret *newSecret) {
	p := &accessPage{
		frame: frame{Title: "Access", Section: "access"}, Roles: []gate.Role{gate.Viewer, gate.Operator, gate.Admin}, TokenRoles: []gate.Role{gate.Viewer, gate.Client, gate.Operator, gate.Admin}, Secret: secret,
	}
	var err error
	if p.People, err = s.Access.ListPeople(r.Context(), actorOf(r)); err == nil {
		p.Tokens, err = s.Access.ListTokens(r.Context(), actorOf(r))
	}
	if err != nil {
		s.Error(w, r, err)
		return
	}
	s.render(w, r, http.StatusOK, "access", p)
}

// CreateLink makes a sign-in link and shows it once.
func (s *Site) CreateLink(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimSpace(r.PostFormValue("name"))
	role := access.KeepRole
	if word := r.PostFormValue("role"); word != "" {
		var err error
		if role, err = gate.ParseRole(word); err != nil {
			s.Error(w, r, err)
			return
		}
	}
	changed, err := s.roleChange(r, name, role)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	link, err := s.Access.CreateLink(r.Context(), actorOf(r), name, role)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	s.showAccess(w, r, &newSecret{
		About: "A sign-in link for " + name, Value: "https://" + r.Host + "/sign-in/" + link,
		Then: changed + "Give it to them by a way that others do not read. It works once, and not for long.",
	})
}

// roleChange says what a link makes of somebody who is something else already.
func (s *Site) roleChange(r *http.Request, name string, role gate.Role) (string, error) {
	people, err := s.Access.ListPeople(r.Context(), actorOf(r))
	if err != nil {
		return "", err
	}
	for _, u := range people {
		if u.Name == name && role != access.KeepRole && u.Role != role {
			return fmt.Sprintf("%s was %s and is %s from now on. ", clip(80, name), u.Role, role), nil
		}
	}
	return "", nil
}

// maxTokenDays keeps a token from outliving everybody who knows of it.
const maxTokenDays = 366

// CreateToken makes an API token and shows it once.
func (s *Site) CreateToken(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimSpace(r.PostFormValue("name"))
	role, err := gate.ParseRole(r.PostFormValue("role"))
	if err != nil {
		s.Error(w, r, err)
		return
	}
	days, err := numberOf(r.PostFormValue("days"))
	if err == nil && (days < 1 || days > maxTokenDays) {
		err = fmt.Errorf("%w: a token lasts from 1 to %d days", tallystick.ErrInvalid, maxTokenDays)
	}
	if err != nil {
		s.Error(w, r, err)
		return
	}
	secret, token, err := s.Access.CreateToken(r.Context(), actorOf(r), name, role, time.Duration(days)*day)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	s.showAccess(w, r, &newSecret{
		About: "The token " + token.Name, Value: secret,
		Then: "Send it as “Authorization: Bearer …”. It works until " + token.Expires.UTC().Format(time.DateOnly) + ".",
	})
}

// RevokeToken ends a token.
func (s *Site) RevokeToken(w http.ResponseWriter, r *http.Request) {
	id, err := numberOf(r.PathValue("id"))
	if err == nil {
		err = s.Access.RevokeToken(r.Context(), actorOf(r), id)
	}
	if err != nil {
		s.Error(w, r, err)
		return
	}
	done(w, r, "/access", "revoked")
}

// DisablePerson keeps somebody from coming in.
func (s *Site) DisablePerson(w http.ResponseWriter, r *http.Request) {
	if err := s.Access.Disable(r.Context(), actorOf(r), r.PostFormValue("name")); err != nil {
		s.Error(w, r, err)
		return
	}
	done(w, r, "/access", "disabled")
}

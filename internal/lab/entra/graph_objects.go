// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// Applications and service principals: they differ in a handful of members.

// listObjects answers a page of a collection. $filter takes what identifies an object.
func (g *graphRequest) listObjects() (reply, *graphError) {
	kind := g.path[0]
	at, err := g.index()
	if err != nil {
		return reply{}, err
	}
	top, err := g.top(100, 999)
	if err != nil {
		return reply{}, err
	}
	terms, err := g.filter()
	if err != nil {
		return reply{}, err
	}
	l, t, n := g.list(kind), g.tenant, 0
	l.selected = g.selected()
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range apis {
		t.principal(apis[i].appID)
	}
	for ; at < len(t.order); at++ {
		o := t.order[at]
		if o.Kind != kind || !o.exists(viewGraph) {
			continue
		}
		s := o.at(viewGraph)
		matches, ok := o.matches(s, terms)
		if !ok {
			return reply{}, &graphError{http.StatusBadRequest, "Request_UnsupportedQuery", "Unsupported or invalid query filter clause specified for property."}
		}
		if !matches {
			continue
		}
		if n == top {
			return l.end("@odata.nextLink", g.link("$skiptoken", g.skipToken(strconv.Itoa(at))))
		}
		n++
		l.open()
		o.render(&l.jsonWriter, s, false)
		l.close()
	}
	return l.end("", "")
}

// matches says whether an object satisfies a filter; ok is false where it is about
// something else.
func (o *Object) matches(s *State, terms []term) (matches, ok bool) {
	for _, t := range terms {
		values := []string{}
		switch t.path {
		case "id":
			values = []string{o.ID}
		case "appId":
			values = []string{o.AppID}
		case "displayName":
			values = []string{s.DisplayName}
		case "appOwnerOrganizationId":
			values = []string{o.owner}
		case "accountEnabled":
			values = []string{strconv.FormatBool(s.Enabled)}
		case "servicePrincipalType":
			values = []string{"Application"}
		case "servicePrincipalNames", "identifierUris":
			values = append(values, o.AppID)
		default:
			return false, false
		}
		if !t.holds(values...) {
			return false, true
		}
	}
	return true, true
}

// render writes the members of an object. The certificates themselves are given only where
// keyCredentials of one object are asked for by name.
func (o *Object) render(j *jsonWriter, s *State, single bool) {
	j.text("id", o.ID)
	j.null("deletedDateTime")
	j.text("appId", o.AppID)
	j.time("createdDateTime", o.Created)
	j.text("displayName", s.DisplayName)
	audience := "AzureADMyOrg"
	if s.MultiTenant {
		audience = "AzureADMultipleOrgs"
	}
	j.text("signInAudience", audience)
	j.null("disabledByMicrosoftStatus")
	if o.Kind == Applications {
		j.text("publisherDomain", o.tenant.Domain)
	} else {
		j.bool("accountEnabled", s.Enabled)
		j.text("appDisplayName", s.DisplayName)
		j.text("appOwnerOrganizationId", o.owner)
		j.bool("appRoleAssignmentRequired", false)
		j.text("servicePrincipalType", "Application")
		j.strings("servicePrincipalNames", []string{o.AppID})
		o.renderRoles(j)
	}
	for _, name := range otherNames {
		if value, ok := s.Other[name]; ok {
			j.raw(name, string(value))
		}
	}
	s.renderKeys(j, single && j.selected != nil)
	s.renderSecrets(j)
}

// otherNames are properties that are kept as they come: nothing here depends on them.
var otherNames = []string{"api", "appRoles", "identifierUris", "info", "isFallbackPublicClient", "notes", "requiredResourceAccess", "servicePrincipalLockConfiguration", "spa", "tags", "web"}

// renderRoles writes the app roles that an API has.
func (o *Object) renderRoles(j *jsonWriter) {
	if o.api == nil || !j.wants("appRoles") {
		return
	}
	j.name("appRoles")
	j.openList()
	for _, role := range o.api.roles {
		j.open()
		j.strings("allowedMemberTypes", []string{"Application"})
		j.text("displayName", role.text)
		j.text("id", role.id)
		j.bool("isEnabled", true)
		j.text("value", role.value)
		j.close()
	}
	j.closeList()
}

func (s *State) renderKeys(j *jsonWriter, whole bool) {
	if !j.wants("keyCredentials") {
		return
	}
	j.name("keyCredentials")
	j.openList()
	for _, k := range s.Keys {
		j.open()
		k.members(j, whole)
		j.close()
	}
	j.closeList()
}

func (k KeyCredential) members(j *jsonWriter, whole bool) {
	j.text("customKeyIdentifier", base64.StdEncoding.EncodeToString(k.CustomKeyIdentifier))
	j.textOrNull("displayName", k.DisplayName)
	j.time("endDateTime", k.End)
	if whole {
		j.text("key", base64.StdEncoding.EncodeToString(k.cert.der))
	} else {
		j.null("key")
	}
	j.text("keyId", k.KeyID)
	j.time("startDateTime", k.Start)
	j.text("type", k.Type)
	j.text("usage", k.Usage)
}

func (s *State) renderSecrets(j *jsonWriter) {
	if !j.wants("passwordCredentials") {
		return
	}
	j.name("passwordCredentials")
	j.openList()
	for _, k := range s.Secrets {
		j.open()
		k.members(j, "")
		j.close()
	}
	j.closeList()
}

func (k Secret) members(j *jsonWriter, text string) {
	j.null("customKeyIdentifier")
	j.textOrNull("displayName", k.DisplayName)
	j.time("endDateTime", k.End)
	j.textOrNull("hint", k.Hint)
	j.text("keyId", k.KeyID)
	j.textOrNull("secretText", text)
	j.time("startDateTime", k.Start)
}

// object finds the one that the path names by id or, with two arguments, by appId.
func (g *graphRequest) object() (*Object, *State, *graphError) {
	g.tenant.mu.Lock()
	defer g.tenant.mu.Unlock()
	kind, id := g.path[0], strings.ToLower(g.args[0])
	o := g.tenant.objects[id]
	if key, ok := strings.CutPrefix(id, "appid="); ok {
		o = nil
		if kind == ServicePrincipals {
			o = g.tenant.principal(key)
		} else if app := g.world.home(key); app != nil && app.tenant == g.tenant {
			o = app
		}
	}
	if o == nil {
		for i := range apis { // those of Microsoft come to life when they are asked for
			if sp := g.tenant.principal(apis[i].appID); sp.ID == id {
				o = sp
			}
		}
	}
	if o == nil || o.Kind != kind || !o.exists(viewGraph) {
		return nil, nil, errNotFound(g.args[0])
	}
	return o, o.at(viewGraph), nil
}

func (g *graphRequest) getObject() (reply, *graphError) {
	o, s, err := g.object()
	if err != nil {
		return reply{}, err
	}
	j := g.one(o.Kind)
	j.selected = g.selected()
	o.render(j, s, true)
	j.close()
	return reply{http.StatusOK, j.b}, nil
}

// isItself says whether the caller is the application that the call is about.
func (g *graphRequest) isItself() bool {
	o, _, err := g.object()
	return err == nil && o.AppID == g.claims.AppID
}

// isOwn says whether the caller may manage what it owns, and owns this.
func (g *graphRequest) isOwn() bool {
	o, s, err := g.object()
	if err != nil || !g.claims.Has("Application.ReadWrite.OwnedBy") {
		return false
	}
	for _, owner := range s.Owners {
		if owner == g.claims.ObjectID {
			return true
		}
	}
	return o.AppID == g.claims.AppID
}

// actor is the caller as the audit names it.
func (g *graphRequest) actor() Actor {
	name := g.claims.AppID
	if sp := g.tenant.Object(g.claims.ObjectID); sp != nil {
		name = sp.State().DisplayName
	}
	return Actor{
		AppID: g.claims.AppID, PrincipalID: g.claims.ObjectID, Name: name, Address: g.world.caller(g.r), UserAgent: g.r.UserAgent(),
		UTI: g.claims.UTI, TokenIssued: g.claims.Issued, CorrelationID: g.operation.String(),
	}
}

// decode reads the body of a call.
func (g *graphRequest) decode(into any) *graphError {
	if json.Unmarshal(g.body, into) != nil {
		return &graphError{http.StatusBadRequest, "BadRequest", "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid JSON format."}
	}
	return nil
}

var noContent = reply{status: http.StatusNoContent}

// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A keyBody is a key credential as clients write it.
type keyBody struct {
	CustomKeyIdentifier, DisplayName, KeyID, Type, Usage string
	Key                                                  *string
	StartDateTime, EndDateTime                           *time.Time
}

// patchObject changes what the body names. A keyCredentials in it replaces the whole
// collection: keys that it does not repeat are gone. One that is repeated by its keyId
// keeps its certificate, since reads do not give it.
func (g *graphRequest) patchObject() (reply, *graphError) {
	o, _, err := g.object()
	if err != nil {
		return reply{}, err
	}
	var body map[string]json.RawMessage
	if err := g.decode(&body); err != nil {
		return reply{}, err
	}
	changed := changedObject
	if body["keyCredentials"] != nil || body["passwordCredentials"] != nil {
		changed = changedKeys
	}
	return noContent, g.tenant.tryAlter(o, g.actor(), changed, func(s *State) *graphError {
		for name, value := range body {
			if err := g.patchMember(o, s, name, value); err != nil {
				return err
			}
		}
		return nil
	})
}

func (g *graphRequest) patchMember(o *Object, s *State, name string, value json.RawMessage) *graphError {
	bad := errBadRequest("Invalid value specified for property '" + name + "' of resource '" + o.auditKind() + "'.")
	failed := false
	switch name {
	case "displayName":
		failed = json.Unmarshal(value, &s.DisplayName) != nil
	case "accountEnabled":
		failed = o.Kind != ServicePrincipals || json.Unmarshal(value, &s.Enabled) != nil
	case "signInAudience":
		var audience string
		failed = json.Unmarshal(value, &audience) != nil
		s.MultiTenant = audience != "AzureADMyOrg"
	case "keyCredentials":
		var keys []keyBody
		if json.Unmarshal(value, &keys) != nil {
			return bad
		}
		return g.replaceKeys(s, keys)
	case "passwordCredentials":
		var secrets []struct{ KeyID string }
		if json.Unmarshal(value, &secrets) != nil {
			return bad
		}
		s.Secrets = slices.DeleteFunc(s.Secrets, func(had Secret) bool {
			return !slices.ContainsFunc(secrets, func(kept struct{ KeyID string }) bool { return strings.EqualFold(kept.KeyID, had.KeyID) })
		})
	case "@odata.type", "@odata.context", "id", "appId":
	default:
		if !slices.Contains(otherNames, name) {
			return errBadRequest("Invalid property '" + name + "'.")
		}
		other := maps.Clone(s.Other)
		if other == nil {
			other = map[string]json.RawMessage{}
		}
		other[name] = slices.Clone(value)
		s.Other = other
	}
	if failed {
		return bad
	}
	return nil
}

// auditKind is the type of an object in the audit and in errors.
func (o *Object) auditKind() string {
	if o.Kind == ServicePrincipals {
		return "ServicePrincipal"
	}
	return "Application"
}

func (g *graphRequest) replaceKeys(s *State, keys []keyBody) *graphError {
	var list []KeyCredential
	for _, k := range keys {
		if had, ok := s.key(strings.ToLower(k.KeyID)); ok && (k.Key == nil || *k.Key == "") {
			list = append(list, had)
			continue
		}
		made, err := g.keyOf(k)
		if err != nil {
			return err
		}
		list = append(list, made)
	}
	s.Keys = list
	return nil
}

// keyOf makes a key credential of what a client wrote.
func (g *graphRequest) keyOf(k keyBody) (KeyCredential, *graphError) {
	if k.Key == nil || k.Type != "AsymmetricX509Cert" && k.Type != "X509CertAndPassword" {
		return KeyCredential{}, errBadRequest("New key credentials must have a value and a type of AsymmetricX509Cert.")
	}
	der, err := base64.StdEncoding.DecodeString(*k.Key)
	if err != nil {
		if der, err = base64URL(*k.Key); err != nil {
			return KeyCredential{}, errBadRequest("Invalid value specified for property 'key' of resource 'KeyCredential'.")
		}
	}
	made, err := g.world.newKey(der)
	if err != nil {
		return made, errBadRequest("Key credential end date is invalid or the key is not a certificate.")
	}
	made.Type = k.Type
	if k.DisplayName != "" {
		made.DisplayName = k.DisplayName
	}
	if id, ok := parseGUID(k.KeyID); ok && id != (guid{}) {
		made.KeyID = id.String()
	}
	if k.StartDateTime != nil && k.StartDateTime.After(made.Start) {
		made.Start = k.StartDateTime.UTC()
	}
	if k.EndDateTime != nil && k.EndDateTime.Before(made.End) {
		made.End = k.EndDateTime.UTC()
	}
	if custom, err := base64.StdEncoding.DecodeString(k.CustomKeyIdentifier); err == nil && len(custom) > 0 {
		made.CustomKeyIdentifier = custom
	}
	return made, nil
}

// createObject makes an application, or the service principal of one.
func (g *graphRequest) createObject() (reply, *graphError) {
	var body map[string]json.RawMessage
	if err := g.decode(&body); err != nil {
		return reply{}, err
	}
	kind := g.path[0]
	var appID string
	if raw, ok := body["appId"]; ok && json.Unmarshal(raw, &appID) != nil {
		return reply{}, errBadRequest("Invalid value specified for property 'appId'.")
	}
	owner, state := g.tenant.ID, &State{Enabled: true, Owners: []string{g.claims.ObjectID}}
	if kind == Applications {
		appID = g.world.NewID()
	} else {
		app := g.world.home(appID)
		if app == nil || app.tenant != g.tenant && !app.State().MultiTenant {
			return reply{}, errBadRequest("The appId '" + appID + "' of the service principal does not reference a valid application object.")
		}
		if g.tenant.Principal(appID) != nil {
			return reply{}, &graphError{http.StatusConflict, "Request_MultipleObjectsWithSameKeyValue", "The service principal cannot be created, updated, or restored because the service principal name " + appID + " is already in use."}
		}
		owner, state.DisplayName = app.tenant.ID, app.State().DisplayName
		appID = app.AppID
	}
	o := g.world.newObject(g.tenant, kind, appID, owner, state)
	for name, value := range body {
		if err := g.patchMember(o, state, name, value); err != nil {
			return reply{}, err
		}
	}
	if state.DisplayName == "" {
		return reply{}, errBadRequest("A value is required for property 'displayName' of resource 'Application'.")
	}
	g.tenant.create(o, g.actor())
	j := g.one(kind)
	o.render(j, state, false)
	j.close()
	return reply{http.StatusCreated, j.b}, nil
}

func (g *graphRequest) deleteObject() (reply, *graphError) {
	o, _, err := g.object()
	if err != nil {
		return reply{}, err
	}
	g.tenant.delete(o, g.actor())
	return noContent, nil
}

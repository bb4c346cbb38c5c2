// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// An entraEvent is a record of the directory of a tenant, whichever log it came
// from: the audit of Entra ID and the unified audit of Microsoft 365 tell the
// same changes in different words.
type entraEvent struct {
	source, id, tenant, operation string
	correlation, address, agent   string
	detail, appID                 string
	actor, actorKind, actorObject string
	time                          time.Time
	failed                        bool
	targets                       []auditTarget
}

// normalOperation returns the name of an operation in the form in which names
// compare. Real ones hold an en dash, end with a blank or a full stop, and are
// written with blanks that do not break.
func normalOperation(name string) string {
	name = strings.NewReplacer("\u2013", "-", "\u2014", "-", "\u2010", "-", "\u2011", "-").Replace(name)
	return strings.TrimRight(strings.ToLower(strings.Join(strings.Fields(name), " ")), ". ")
}

// emit gives on what the record changed.
func (e *entraEvent) emit(sink Sink) {
	switch normalOperation(e.operation) {
	case "add service principal credentials", "remove service principal credentials",
		"update application - certificates and secrets management", "update application", "update service principal",
		"add application", "add service principal":
		e.application(sink)
	case "add owner to application", "add owner to service principal":
		e.owner(sink, tallystick.ChangeGrantAdded)
	case "remove owner from application", "remove owner from service principal":
		e.owner(sink, tallystick.ChangeGrantRemoved)
	case "add app role assignment to service principal":
		e.appRole(sink, tallystick.ChangeGrantAdded)
	case "remove app role assignment from service principal":
		e.appRole(sink, tallystick.ChangeGrantRemoved)
	case "add delegated permission grant", "remove delegated permission grant":
		e.delegated(sink)
	case "consent to application":
		e.consent(sink)
	case "add member to role", "add eligible member to role", "add member to role completed (pim activation)", "add member to role in pim completed (permanent)":
		e.role(sink, tallystick.ChangeGrantAdded)
	case "remove member from role", "remove eligible member from role":
		e.role(sink, tallystick.ChangeGrantRemoved)
	default:
		e.tenantWide(sink)
	}
}

// tenantWide gives on the operations that are about a trust or about the tenant.
func (e *entraEvent) tenantWide(sink Sink) {
	switch normalOperation(e.operation) {
	case "add federated identity credential", "update federated identity credential":
		e.plain(sink, tallystick.ChangeTrustAdded, "entra-app")
	case "remove federated identity credential", "delete federated identity credential":
		e.plain(sink, tallystick.ChangeTrustRemoved, "entra-app")
	case "set federation settings on domain", "add partner to company":
		e.plain(sink, tallystick.ChangeTrustAdded, "entra-domain")
	case "set domain authentication":
		kind := tallystick.ChangeTrustAdded
		if p, ok := e.property("LiveType"); ok && strings.EqualFold(plainValue(p.NewValue), "Managed") {
			kind = tallystick.ChangeTrustRemoved
		}
		e.plain(sink, kind, "entra-domain")
	case "set company information":
		for _, name := range []string{"TrustedCAsForPasswordlessAuth", "TrustedCertificateAuthorities"} {
			if _, ok := e.property(name); ok {
				e.plain(sink, tallystick.ChangeTrustAdded, "entra-tenant")
				return
			}
		}
		e.plain(sink, tallystick.ChangeSetting, "entra-tenant")
	case "update external secrets", "add policy credentials", "remove policy credentials":
		e.plain(sink, tallystick.ChangeCredentialAltered, "entra-policy")
	case "update authorization policy", "update application management policy":
		e.plain(sink, tallystick.ChangeSetting, "entra-policy")
	case "reset user password", "change user password", "reset password (by admin)", "change password (self-service)", "reset password (self-service)":
		e.plain(sink, tallystick.ChangeCredentialAltered, "entra-user")
	}
}

// to says what a change is about.
func (e *entraEvent) to(c *tallystick.Change, kind, object, name, app string) *tallystick.Change {
	if object == "" {
		object = name
	}
	if object == "" {
		object = "unnamed"
	}
	c.Target, c.TargetName = kind+":"+strings.ToLower(e.tenant+"/"+object), name
	if app != "" {
		c.Accounts = []string{entraAccount(app)}
	}
	return c
}

// plain gives on a change of which the values stand in the properties.
func (e *entraEvent) plain(sink Sink, kind tallystick.ChangeKind, target string) {
	var t auditTarget
	if len(e.targets) > 0 {
		t = e.targets[0]
	}
	c := e.to(e.change(kind), target, string(t.ID), firstText(t.DisplayName, t.UserPrincipalName), "")
	if target == "entra-domain" { // its name is what people and rules know it by
		e.to(c, target, string(t.DisplayName), firstText(t.DisplayName, t.ID), "")
	}
	var before, after []string
	for _, p := range t.ModifiedProperties {
		if strings.HasPrefix(string(p.DisplayName), "Included Updated") || isSecretName(string(p.DisplayName)) {
			continue
		}
		if value := plainValue(p.OldValue); value != "" {
			before = append(before, string(p.DisplayName)+"="+value)
		}
		if value := plainValue(p.NewValue); value != "" {
			after = append(after, string(p.DisplayName)+"="+value)
		}
	}
	c.Before, c.After = strings.Join(before, "; "), strings.Join(after, "; ")
	tell(sink, c)
}

// isSecretName says whether a property may hold what nobody is to see.
func isSecretName(name string) bool {
	name = strings.ReplaceAll(strings.ToLower(name), "passwordless", "")
	return strings.Contains(name, "password") || strings.Contains(name, "secret") || strings.Contains(name, "hint")
}

// subject returns the application or service principal that a record is about.
func (e *entraEvent) subject() (object, name, app string) {
	app = e.appID
	for _, t := range e.targets {
		if t.Type == "" || strings.EqualFold(string(t.Type), "Application") || strings.EqualFold(string(t.Type), "ServicePrincipal") {
			object, name = string(t.ID), string(t.DisplayName)
			break
		}
	}
	if app == "" {
		app = e.newValue("AppId")
	}
	if app == "" {
		app = firstGUID(e.newValue("TargetId.ServicePrincipalNames"))
	}
	return object, name, app
}

// firstGUID returns the first GUID of a list; a service principal's first name is
// the id of its application.
func firstGUID(list string) string {
	for _, word := range strings.FieldsFunc(list, func(r rune) bool { return r == ';' || r == ',' || r == ' ' }) {
		if len(word) == 36 && strings.Count(word, "-") == 4 {
			return word
		}
	}
	return ""
}

// application gives on what of an application or service principal was changed:
// its keys and secrets, whom it trusts, and what it asks for.
func (e *entraEvent) application(sink Sink) {
	object, name, app := e.subject()
	about := func(kind tallystick.ChangeKind) *tallystick.Change {
		return e.to(e.change(kind), "entra-app", object, name, app)
	}
	if p, ok := e.property("KeyDescription"); ok {
		before, after := keyDescriptions(string(p.OldValue)), keyDescriptions(string(p.NewValue))
		added, removed := addedAndRemoved(before, after)
		for _, key := range added {
			c := about(tallystick.ChangeCredentialAdded)
			c.Existing, c.Credential, c.After = len(before), keyNames(key), key
			tell(sink, c)
		}
		for _, key := range removed {
			c := about(tallystick.ChangeCredentialRemoved)
			c.Existing, c.Credential, c.Before = len(before), keyNames(key), key
			tell(sink, c)
		}
	} else if strings.HasSuffix(normalOperation(e.operation), "credentials") {
		kind := tallystick.ChangeCredentialAdded
		if strings.HasPrefix(normalOperation(e.operation), "remove") {
			kind = tallystick.ChangeCredentialRemoved
		}
		tell(sink, about(kind)) // which one is not said
	}
	if p, ok := e.property("FederatedIdentityCredentials"); ok {
		added, removed := addedAndRemoved(objectsOf(p.OldValue), objectsOf(p.NewValue))
		for _, trust := range added {
			c := about(tallystick.ChangeTrustAdded)
			c.Existing, c.After, c.Credential = len(objectsOf(p.OldValue)), trust, federatedNames(trust)
			tell(sink, c)
		}
		for _, trust := range removed {
			c := about(tallystick.ChangeTrustRemoved)
			c.Before, c.Credential = trust, federatedNames(trust)
			tell(sink, c)
		}
	}
	if p, ok := e.property("RequiredResourceAccess"); ok {
		c := about(tallystick.ChangeSetting) // it asks; what it is given is a grant
		c.Before, c.After = permissionNames(plainValue(p.OldValue)), permissionNames(plainValue(p.NewValue))
		tell(sink, c)
	}
}

// keyDescriptions returns the entries of a KeyDescription:
// "[KeyIdentifier=<guid>,KeyType=...,KeyUsage=...,DisplayName=...]".
func keyDescriptions(value string) []string {
	var list []string
	if json.Unmarshal([]byte(value), &list) != nil {
		for _, part := range strings.Split(value, "[KeyIdentifier=")[1:] {
			end := strings.LastIndexByte(part, ']')
			if end < 0 {
				end = len(part)
			}
			list = append(list, "[KeyIdentifier="+part[:end]+"]")
		}
	}
	for i, entry := range list {
		list[i] = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(entry), "["), "]")
	}
	return list
}

// keyNames returns the names of the credential of an entry. The display name is
// last and may hold anything, so nothing behind it is believed.
func keyNames(entry string) (names []string) {
	facts, _, _ := strings.Cut(entry, "DisplayName=")
	for fact := range strings.SplitSeq(facts, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(fact), "=")
		switch {
		case key == "KeyIdentifier" && value != "":
			names = append(names, tallystick.NormalName("entra-key:"+value))
		case key == "CustomKeyIdentifier" && (len(value) == 27 || len(value) == 28 || len(value) == 40):
			names = append(names, tallystick.NormalName("x5t:"+value))
		}
	}
	return names
}

// objectsOf returns the elements of a JSON array of objects, each in one form.
func objectsOf(value flexText) (list []string) {
	var objects []map[string]any
	if json.Unmarshal([]byte(value), &objects) != nil {
		return nil
	}
	for _, o := range objects {
		delete(o, "EncodingVersion")
		text, err := json.Marshal(o)
		if err == nil {
			list = append(list, string(text))
		}
	}
	return list
}

func federatedNames(trust string) []string {
	var t struct{ ID string }
	if json.Unmarshal([]byte(trust), &t) != nil || t.ID == "" {
		return nil
	}
	return []string{"entra-federated:" + strings.ToLower(t.ID)}
}

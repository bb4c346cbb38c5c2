// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// adminAddress is where the administrators of all tenants sit, and firstUserID their id.
var adminAddress = netip.MustParseAddr("192.0.2.10")

const firstUserID = "aead923d-498b-4f64-a66c-2af91447a8b6"

// An auditEntry is a change in the words of the audit log.
type auditEntry struct {
	activity, operation string
	appID               string // of what was changed
	targets             []auditTarget
}

type auditTarget struct {
	id, kind, name string
	modified       []modified
}

// A modified is a property with its values before and after, as plain text. "" is none.
type modified struct{ name, before, after string }

func (t *Tenant) auditTargetOf(o *Object, s *State) auditTarget {
	kind := "Application"
	if o.Kind == ServicePrincipals {
		kind = "ServicePrincipal"
	}
	return auditTarget{id: o.ID, kind: kind, name: s.DisplayName}
}

// auditObject audits a change of an object.
func (t *Tenant) auditObject(o *Object, by Actor, what part, before, after *State) {
	target := t.auditTargetOf(o, after)
	e := auditEntry{operation: "Update", appID: o.AppID, activity: "Update application"}
	if o.Kind == ServicePrincipals {
		e.activity = "Update service principal"
	}
	switch what {
	case changedKeys:
		t.auditKeys(o, by, target, before, after)
		return
	case changedRoles:
		t.auditRoles(o, by, target, before, after)
		return
	case changedOwners:
		t.auditOwners(o, by, target, before, after)
		return
	case changedFederated:
		target.modified = []modified{
			{"FederatedIdentityCredentials", federatedText(before), federatedText(after)}, {"Included Updated Properties", "", `"FederatedIdentityCredentials"`},
		}
	case changedObject:
		if before.Enabled != after.Enabled {
			target.modified = append(target.modified, modified{"AccountEnabled", "[" + strconv.FormatBool(before.Enabled) + "]", "[" + strconv.FormatBool(after.Enabled) + "]"})
		}
		if before.DisplayName != after.DisplayName {
			target.modified = append(target.modified, modified{"DisplayName", `["` + before.DisplayName + `"]`, `["` + after.DisplayName + `"]`})
		}
		for name, value := range after.Other {
			if old := before.Other[name]; string(old) != string(value) {
				target.modified = append(target.modified, modified{upperFirst(name), string(old), string(value)})
			}
		}
	}
	e.targets = []auditTarget{target}
	t.audit(by, e)
}

func upperFirst(name string) string { return string(name[0]-'a'+'A') + name[1:] }

// auditKeys audits a change of keys and secrets. The name of the operation on
// applications holds an en dash and ends with a blank: so real records have it.
func (t *Tenant) auditKeys(o *Object, by Actor, target auditTarget, before, after *State) {
	old, new := keyDescription(before), keyDescription(after)
	target.modified = []modified{{"KeyDescription", textOf(old), textOf(new)}, {"Included Updated Properties", "", `"KeyDescription"`}}
	e := auditEntry{operation: "Update", appID: o.AppID, targets: []auditTarget{target}, activity: "Update application – Certificates and secrets management "}
	if o.Kind == Applications {
		t.audit(by, e)
		return
	}
	isIn := func(list []string) func(string) bool { return func(k string) bool { return slices.Contains(list, k) } }
	target.modified[1] = modified{"TargetId.ServicePrincipalNames", "", `"` + o.AppID + `"`}
	if slices.ContainsFunc(new, func(k string) bool { return !isIn(old)(k) }) {
		e.activity = "Add service principal credentials"
		t.audit(by, e)
	}
	if slices.ContainsFunc(old, func(k string) bool { return !isIn(new)(k) }) {
		e.activity = "Remove service principal credentials"
		t.audit(by, e)
	}
}

// keyDescription writes credentials in the grammar of the audit log.
func keyDescription(s *State) []string {
	list := []string{}
	for _, k := range s.Keys {
		list = append(list, "[KeyIdentifier="+k.KeyID+",KeyType="+k.Type+",KeyUsage="+k.Usage+",DisplayName="+k.DisplayName+"]")
	}
	for _, k := range s.Secrets {
		list = append(list, "[KeyIdentifier="+k.KeyID+",KeyType=Password,KeyUsage=Verify,DisplayName="+k.DisplayName+"]")
	}
	return list
}

func textOf(list any) string {
	text, _ := json.Marshal(list) // texts alone: it cannot fail
	return string(text)
}

func federatedText(s *State) string {
	type entry struct {
		Name, Issuer, Subject, ID string
		Audiences                 []string
		EncodingVersion           int
	}
	list := []entry{}
	for _, f := range s.Federated {
		list = append(list, entry{f.Name, f.Issuer, f.Subject, f.ID, f.Audiences, 1})
	}
	return textOf(list)
}

// auditRoles audits app roles that were given or taken away.
func (t *Tenant) auditRoles(sp *Object, by Actor, target auditTarget, before, after *State) {
	one := func(a Assignment, activity, operation string) {
		resource := t.Object(a.ResourceID)
		name := ""
		if resource != nil {
			name = resource.State().DisplayName
		}
		t.audit(by, auditEntry{activity: activity, operation: operation, appID: sp.AppID, targets: []auditTarget{
			{id: a.ResourceID, kind: "ServicePrincipal", name: name, modified: []modified{
				{"AppRole.Id", "", `"` + a.RoleID + `"`}, {"AppRole.Value", "", `"` + a.Value + `"`},
				{"ServicePrincipal.ObjectID", "", `"` + sp.ID + `"`}, {"ServicePrincipal.DisplayName", "", textOf(target.name)},
				{"ServicePrincipal.AppId", "", `"` + sp.AppID + `"`}, {"TargetId.ServicePrincipalNames", "", `"` + a.API + `"`},
			}}, target,
		}})
	}
	for _, a := range after.Roles {
		if !slices.Contains(before.Roles, a) {
			one(a, "Add app role assignment to service principal", "Assign")
		}
	}
	for _, a := range before.Roles {
		if !slices.Contains(after.Roles, a) {
			one(a, "Remove app role assignment from service principal", "Unassign")
		}
	}
}

// auditOwners audits owners that came or went.
func (t *Tenant) auditOwners(o *Object, by Actor, target auditTarget, before, after *State) {
	kind, word := "Application", "application"
	if o.Kind == ServicePrincipals {
		kind, word = "ServicePrincipal", "service principal"
	}
	target.modified = []modified{{kind + ".ObjectID", "", `"` + o.ID + `"`}, {kind + ".DisplayName", "", textOf(target.name)}, {kind + ".AppId", "", `"` + o.AppID + `"`}}
	for _, owner := range after.Owners {
		if !slices.Contains(before.Owners, owner) {
			t.audit(by, auditEntry{activity: "Add owner to " + word, operation: "Assign", appID: o.AppID, targets: []auditTarget{{id: owner, kind: "User"}, target}})
		}
	}
	for _, owner := range before.Owners {
		if !slices.Contains(after.Owners, owner) {
			t.audit(by, auditEntry{activity: "Remove owner from " + word, operation: "Unassign", appID: o.AppID, targets: []auditTarget{{id: owner, kind: "User"}, target}})
		}
	}
}

// Audits returns the directory audit of the tenant, the oldest first, also what
// cannot be read yet.
func (t *Tenant) Audits() []Audit {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.audits)
}

// audit enters a record and tells the hooks.
func (t *Tenant) audit(by Actor, e auditEntry) {
	w := t.world
	now := w.Now()
	a := Audit{
		ID: "Directory_" + w.NewID() + "_" + w.guid().uti()[:5] + "_" + strconv.FormatInt(now.UnixNano()%1e9, 10), CorrelationID: by.CorrelationID,
		Time: now, Readable: now.Add(w.late(w.config.AuditLatency)), Activity: e.activity, Category: "ApplicationManagement", Operation: e.operation, Actor: by,
	}
	if a.CorrelationID == "" {
		a.CorrelationID = w.NewID()
	}
	a.JSON, a.BetaJSON = renderAudit(&a, e, false), renderAudit(&a, e, true)
	t.mu.Lock()
	i := len(t.audits)
	for i > 0 && t.audits[i-1].Time.After(a.Time) {
		i--
	}
	t.audits = slices.Insert(t.audits, i, a)
	t.mu.Unlock()
	w.hooks.RLock()
	defer w.hooks.RUnlock()
	for _, fn := range w.onAudit {
		fn(t, a)
	}
}

// graphLayout is how Graph writes a time.
const graphLayout = "2006-01-02T15:04:05Z"

func graphTime(at time.Time) string { return at.UTC().Format(graphLayout) }

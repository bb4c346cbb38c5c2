// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// listAudits answers a page of the directory audit, the newest first.
func (g *graphRequest) listAudits() (reply, *graphError) {
	top, err := g.top(1000, 1000)
	if err != nil {
		return reply{}, err
	}
	terms, err := g.filter()
	if err != nil {
		return reply{}, err
	}
	w, terms, ok := windowOf(terms, "activityDateTime")
	if !ok {
		return reply{}, &graphError{http.StatusBadRequest, "BadRequest", "Invalid filter clause: " + g.query.Get("$filter")}
	}
	at, err := g.index() // so many from the oldest are still to come
	if err != nil {
		return reply{}, err
	}
	t, l, n := g.tenant, g.list("auditLogs/directoryAudits"), 0
	t.mu.Lock()
	defer t.mu.Unlock()
	if at == 0 || at > len(t.audits) {
		at = len(t.audits)
	}
	for at--; at >= 0; at-- {
		a := &t.audits[at]
		if nano := a.Time.UnixNano(); nano >= w.until || a.Readable.After(g.now) {
			continue
		} else if nano < w.from {
			break
		}
		matches, err := a.matches(terms)
		if err != nil {
			return reply{}, err
		}
		if !matches {
			continue
		}
		if n == top {
			return l.end("@odata.nextLink", g.link("$skiptoken", g.skipToken(strconv.Itoa(at+1))))
		}
		n++
		l.comma()
		l.b = append(l.b, g.auditJSON(a)...)
	}
	return l.end("", "")
}

func (g *graphRequest) auditJSON(a *Audit) []byte {
	if g.version == "beta" {
		return a.BetaJSON
	}
	return a.JSON
}

func (a *Audit) matches(terms []term) (bool, *graphError) {
	for _, t := range terms {
		var values []string
		switch t.path {
		case "id":
			values = []string{a.ID}
		case "activityDisplayName":
			values = []string{a.Activity}
		case "category":
			values = []string{a.Category}
		case "correlationId":
			values = []string{a.CorrelationID}
		case "loggedByService":
			values = []string{"Core Directory"}
		case "operationType":
			values = []string{a.Operation}
		case "initiatedBy/app/appId":
			values = []string{a.Actor.AppID}
		case "targetResources/id":
			values = a.targets()
		default:
			return false, &graphError{http.StatusBadRequest, "BadRequest", "Invalid filter clause: unsupported property " + t.path}
		}
		if !t.holds(values...) {
			return false, nil
		}
	}
	return true, nil
}

// targets returns the ids of what a record is about.
func (a *Audit) targets() (ids []string) {
	var record struct{ TargetResources []struct{ ID string } }
	if json.Unmarshal(a.JSON, &record) == nil {
		for _, target := range record.TargetResources {
			ids = append(ids, target.ID)
		}
	}
	return ids
}

func (g *graphRequest) getAudit() (reply, *graphError) {
	g.tenant.mu.Lock()
	defer g.tenant.mu.Unlock()
	i := slices.IndexFunc(g.tenant.audits, func(a Audit) bool { return a.ID == g.args[0] && !a.Readable.After(g.now) })
	if i < 0 {
		return reply{}, errNotFound(g.args[0])
	}
	return reply{http.StatusOK, g.auditJSON(&g.tenant.audits[i])}, nil
}

// listActivities answers when each credential was last used
// (appCredentialSignInActivity, beta), also where nobody keeps logs.
func (g *graphRequest) listActivities() (reply, *graphError) {
	if g.version != "beta" {
		return reply{}, &graphError{http.StatusBadRequest, "BadRequest", "Resource not found for the segment 'appCredentialSignInActivities'."}
	}
	if !g.tenant.licensed() {
		return reply{}, errLicence
	}
	terms, err := g.filter()
	if err != nil {
		return reply{}, err
	}
	l, t := g.list("reports/appCredentialSignInActivities"), g.tenant
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.activities {
		a := &t.activities[i]
		values := map[string]string{"keyId": a.with.keyID, "appId": a.appID}
		if slices.ContainsFunc(terms, func(t term) bool { return !t.holds(values[t.path]) }) {
			continue
		}
		l.open()
		t.renderActivity(&l.jsonWriter, a)
		l.close()
	}
	return l.end("", "")
}

// renderActivity writes one. The tenant must be locked.
func (t *Tenant) renderActivity(j *jsonWriter, a *activity) {
	origin, keyType, object, principal, ends := "application", "certificate", "", "", time.Time{}
	for _, o := range t.order {
		if o.AppID != a.appID {
			continue
		}
		s := o.at(viewTruth)
		if o.Kind == Applications {
			object = o.ID
		} else {
			principal = o.ID
		}
		if k, ok := s.key(a.with.keyID); ok {
			ends = k.End
		}
		for _, k := range s.Secrets {
			if k.KeyID == a.with.keyID {
				keyType, ends = "clientSecret", k.End
			}
		}
		if _, ok := s.key(a.with.keyID); ok && o.Kind == ServicePrincipals {
			origin = "servicePrincipal"
		}
	}
	j.text("id", strings.ReplaceAll(a.appID+a.with.keyID, "-", ""))
	j.text("appId", a.appID)
	j.textOrNull("appObjectId", object)
	j.textOrNull("servicePrincipalObjectId", principal)
	j.text("resourceId", a.resource)
	j.time("createdDateTime", t.Created)
	j.text("credentialOrigin", origin)
	if ends.IsZero() {
		j.null("expirationDateTime") // the credential is gone, or lives in another tenant
	} else {
		j.time("expirationDateTime", ends)
	}
	j.text("keyId", a.with.keyID)
	j.text("keyType", keyType)
	j.text("keyUsage", "verify")
	j.name("signInActivity")
	j.open()
	j.time("lastSignInDateTime", time.Unix(0, a.last))
	j.guid("lastSignInRequestId", a.request)
	j.close()
}

// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"cmp"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// A Risk is what identity protection has noticed of a service principal.
type Risk struct {
	ID           string
	Type         string // riskEventType, such as leakedCredentials or suspiciousSignins
	Level, State string // riskLevel and riskState; "high" and "atRisk" if left out
	Principal    *Object
	KeyIDs       []string
	Address      netip.Addr
	Time         time.Time // activityDateTime; now if left out
	RequestID    string
	Correlation  string
}

// AddRisk lets identity protection notice something. Without Workload ID Premium the
// tenant sees that there is a risk, and not which.
func (t *Tenant) AddRisk(r Risk) {
	r.ID = cmp.Or(r.ID, t.world.NewID())
	r.Level, r.State = cmp.Or(r.Level, "high"), cmp.Or(r.State, "atRisk")
	if r.Time.IsZero() {
		r.Time = t.world.Now()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.risks = append(t.risks, r)
}

func (g *graphRequest) listRisks() (reply, *graphError) {
	l, t := g.list("identityProtection/servicePrincipalRiskDetections"), g.tenant
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.risks {
		l.open()
		t.risks[i].members(&l.jsonWriter, !t.workloadPremium)
		l.close()
	}
	return l.end("", "")
}

func (r *Risk) members(j *jsonWriter, hidden bool) {
	kind, level, state, detail := r.Type, r.Level, r.State, "none"
	if hidden {
		kind, level, state, detail = "generic", "hidden", "hidden", "hidden"
	}
	j.text("id", r.ID)
	j.text("requestId", r.RequestID)
	j.text("correlationId", r.Correlation)
	j.text("riskEventType", kind)
	j.text("riskState", state)
	j.text("riskLevel", level)
	j.text("riskDetail", detail)
	j.text("source", "IdentityProtection")
	j.text("detectionTimingType", "offline")
	j.text("activity", "servicePrincipal")
	j.text("tokenIssuerType", "AzureAD")
	j.address("ipAddress", r.Address)
	renderLocation(j, networkOf(r.Address))
	j.time("activityDateTime", r.Time)
	j.time("detectedDateTime", r.Time)
	j.time("lastUpdatedDateTime", r.Time)
	j.text("servicePrincipalId", r.Principal.ID)
	j.text("servicePrincipalDisplayName", r.Principal.at(viewTruth).DisplayName)
	j.text("appId", r.Principal.AppID)
	j.strings("keyIds", r.KeyIDs)
	j.text("additionalInfo", "[]")
}

// premium is the answer of a tenant that has not bought Workload ID Premium.
func (g *graphRequest) premium() *graphError {
	g.tenant.mu.Lock()
	defer g.tenant.mu.Unlock()
	if !g.tenant.workloadPremium {
		return &graphError{http.StatusForbidden, "Forbidden", "Your tenant is not licensed for this feature."}
	}
	return nil
}

func (g *graphRequest) listRisky() (reply, *graphError) {
	if err := g.premium(); err != nil {
		return reply{}, err
	}
	l, t := g.list("identityProtection/riskyServicePrincipals"), g.tenant
	t.mu.Lock()
	defer t.mu.Unlock()
	seen := map[*Object]bool{}
	for i := len(t.risks) - 1; i >= 0; i-- { // the newest says what is so
		r := &t.risks[i]
		if seen[r.Principal] {
			continue
		}
		seen[r.Principal] = true
		s := r.Principal.at(viewTruth)
		l.open()
		l.text("id", r.Principal.ID)
		l.text("appId", r.Principal.AppID)
		l.text("displayName", s.DisplayName)
		l.bool("isEnabled", s.Enabled)
		l.bool("isProcessing", false)
		l.text("riskLevel", r.Level)
		l.text("riskState", r.State)
		l.text("riskDetail", "none")
		l.time("riskLastUpdatedDateTime", r.Time)
		l.text("servicePrincipalType", "Application")
		l.close()
	}
	return l.end("", "")
}

func (g *graphRequest) confirmCompromised() (reply, *graphError) {
	if err := g.premium(); err != nil {
		return reply{}, err
	}
	var body struct{ ServicePrincipalIDs []string }
	if err := g.decode(&body); err != nil {
		return reply{}, err
	}
	for _, id := range body.ServicePrincipalIDs {
		sp := g.tenant.Object(strings.ToLower(id))
		if sp == nil || sp.Kind != ServicePrincipals {
			return reply{}, errNotFound(id)
		}
		g.tenant.AddRisk(Risk{Type: "adminConfirmedServicePrincipalCompromised", State: "confirmedCompromised", Principal: sp, Address: g.world.caller(g.r)})
	}
	return noContent, nil
}

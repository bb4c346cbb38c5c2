// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A route is a call that Graph knows. In its path {} is any segment.
type route struct {
	method, path string
	roles        []string                 // one of them is enough; none is for everybody with a token
	allow        func(*graphRequest) bool // who else may, or nil
	limit        *limit
	cost         float64 // resource units
	serve        func(*graphRequest) (reply, *graphError)
}

// Who may read and write the directory, and read its logs.
var (
	readApps  = []string{"Application.Read.All", "Application.ReadWrite.All", "Application.ReadWrite.OwnedBy", "Directory.Read.All", "Directory.ReadWrite.All"}
	writeApps = []string{"Application.ReadWrite.All", "Directory.ReadWrite.All"}
	readLogs  = []string{"AuditLog.Read.All"}
	readGrant = []string{"Directory.Read.All", "Directory.ReadWrite.All", "DelegatedPermissionGrant.ReadWrite.All"}
	grantRole = []string{"AppRoleAssignment.ReadWrite.All"}
	grantUser = []string{"DelegatedPermissionGrant.ReadWrite.All", "Directory.ReadWrite.All"}
	readRisk  = []string{"IdentityRiskyServicePrincipal.Read.All", "IdentityRiskyServicePrincipal.ReadWrite.All"}
	readMail  = []string{"Mail.Read", "Mail.ReadWrite"}
	readUsers = []string{"User.Read.All", "Directory.Read.All", "Directory.ReadWrite.All"}
	readOrg   = []string{"Organization.Read.All", "Directory.Read.All", "Directory.ReadWrite.All"}
)

// routes returns all calls.
func routes() []route {
	all := []route{
		{method: "POST", path: "$batch", serve: (*graphRequest).batch},
		{method: "GET", path: "organization", roles: readOrg, limit: &limitRead, cost: 1, serve: (*graphRequest).organization},
		{method: "GET", path: "users", roles: readUsers, limit: &limitRead, cost: 2, serve: (*graphRequest).listUsers},
		{method: "GET", path: "users/{}", roles: readUsers, limit: &limitRead, cost: 1, serve: (*graphRequest).getUser},
		{method: "POST", path: "users/{}/revokeSignInSessions", roles: []string{"User.RevokeSessions.All", "Directory.ReadWrite.All"}, limit: &limitWrite, cost: 1, serve: (*graphRequest).revokeSessions},
		{method: "GET", path: "users/{}/messages", roles: readMail, serve: (*graphRequest).listMessages},
		{method: "GET", path: "users/{}/messages/{}", roles: readMail, serve: (*graphRequest).getMessage},
		{method: "GET", path: "users/{}/mailFolders/{}/messages", roles: readMail, serve: (*graphRequest).listMessages},
		{method: "GET", path: "oauth2PermissionGrants", roles: readGrant, limit: &limitRead, cost: 2, serve: (*graphRequest).listDelegated},
		{method: "GET", path: "oauth2PermissionGrants/delta", roles: readGrant, limit: &limitRead, cost: 2, serve: (*graphRequest).delta},
		{method: "GET", path: "oauth2PermissionGrants/{}", roles: readGrant, limit: &limitRead, cost: 1, serve: (*graphRequest).getDelegated},
		{method: "POST", path: "oauth2PermissionGrants", roles: grantUser, limit: &limitWrite, cost: 1, serve: (*graphRequest).addDelegated},
		{method: "PATCH", path: "oauth2PermissionGrants/{}", roles: grantUser, limit: &limitWrite, cost: 1, serve: (*graphRequest).patchDelegated},
		{method: "DELETE", path: "oauth2PermissionGrants/{}", roles: grantUser, limit: &limitWrite, cost: 1, serve: (*graphRequest).removeDelegated},
		{method: "GET", path: "servicePrincipals/{}/appRoleAssignments", roles: readApps, limit: &limitRead, cost: 2, serve: (*graphRequest).listRoles},
		{method: "GET", path: "servicePrincipals/{}/appRoleAssignedTo", roles: readApps, limit: &limitRead, cost: 2, serve: (*graphRequest).listRoles},
		{method: "POST", path: "servicePrincipals/{}/appRoleAssignments", roles: grantRole, limit: &limitWrite, cost: 1, serve: (*graphRequest).addRole},
		{method: "POST", path: "servicePrincipals/{}/appRoleAssignedTo", roles: grantRole, limit: &limitWrite, cost: 1, serve: (*graphRequest).addRole},
		{method: "DELETE", path: "servicePrincipals/{}/appRoleAssignments/{}", roles: grantRole, limit: &limitWrite, cost: 1, serve: (*graphRequest).removeRole},
		{method: "DELETE", path: "servicePrincipals/{}/appRoleAssignedTo/{}", roles: grantRole, limit: &limitWrite, cost: 1, serve: (*graphRequest).removeRole},
		{method: "GET", path: "servicePrincipals/{}/oauth2PermissionGrants", roles: readGrant, limit: &limitRead, cost: 2, serve: (*graphRequest).listDelegated},
		{method: "GET", path: "auditLogs/signIns", roles: readLogs, limit: &limitReports, cost: 1, serve: (*graphRequest).listSignIns},
		{method: "GET", path: "auditLogs/signIns/{}", roles: readLogs, limit: &limitReports, cost: 1, serve: (*graphRequest).getSignIn},
		{method: "GET", path: "auditLogs/directoryAudits", roles: readLogs, limit: &limitReports, cost: 1, serve: (*graphRequest).listAudits},
		{method: "GET", path: "auditLogs/directoryAudits/{}", roles: readLogs, limit: &limitReports, cost: 1, serve: (*graphRequest).getAudit},
		{method: "GET", path: "reports/appCredentialSignInActivities", roles: readLogs, limit: &limitReports, cost: 1, serve: (*graphRequest).listActivities},
		{method: "GET", path: "identityProtection/servicePrincipalRiskDetections", roles: readRisk, limit: &limitProtection, cost: 1, serve: (*graphRequest).listRisks},
		{method: "GET", path: "identityProtection/riskyServicePrincipals", roles: readRisk, limit: &limitProtection, cost: 1, serve: (*graphRequest).listRisky},
		{method: "POST", path: "identityProtection/riskyServicePrincipals/confirmCompromised", roles: readRisk[1:], limit: &limitProtection, cost: 1, serve: (*graphRequest).confirmCompromised},
	}
	for _, kind := range []string{Applications, ServicePrincipals} {
		all = append(all, objectRoutes(kind)...)
	}
	return all
}

// addRoute adds a call of Graph that another part of the emulator serves. It must come before Start.
func (w *World) addRoute(r route) {
	w.routes = append(w.routes, parsedRoute{r, strings.Split(r.path, "/")})
}

// A parsedRoute is a route with its path in segments.
type parsedRoute struct {
	route
	segments []string
}

// objectRoutes are the calls that both collections have.
func objectRoutes(kind string) []route {
	own := (*graphRequest).isOwn
	rolls := func(g *graphRequest) bool { return g.isItself() || g.isOwn() }
	return []route{
		{method: "GET", path: kind, roles: readApps, limit: &limitRead, cost: 2, serve: (*graphRequest).listObjects},
		{method: "POST", path: kind, roles: append([]string{"Application.ReadWrite.OwnedBy"}, writeApps...), limit: &limitWrite, cost: 1, serve: (*graphRequest).createObject},
		{method: "GET", path: kind + "/delta", roles: readApps, limit: &limitRead, cost: 2, serve: (*graphRequest).delta},
		{method: "GET", path: kind + "/{}", roles: readApps, allow: (*graphRequest).isItself, limit: &limitRead, cost: 1, serve: (*graphRequest).getObject},
		{method: "PATCH", path: kind + "/{}", roles: writeApps, allow: own, limit: &limitWrite, cost: 1, serve: (*graphRequest).patchObject},
		{method: "DELETE", path: kind + "/{}", roles: writeApps, allow: own, limit: &limitWrite, cost: 1, serve: (*graphRequest).deleteObject},
		{method: "POST", path: kind + "/{}/addKey", roles: writeApps, allow: rolls, limit: &limitWrite, cost: 1, serve: (*graphRequest).addKey},
		{method: "POST", path: kind + "/{}/removeKey", roles: writeApps, allow: rolls, limit: &limitWrite, cost: 1, serve: (*graphRequest).removeKey},
		{method: "POST", path: kind + "/{}/addPassword", roles: writeApps, allow: own, limit: &limitWrite, cost: 1, serve: (*graphRequest).addPassword},
		{method: "POST", path: kind + "/{}/removePassword", roles: writeApps, allow: own, limit: &limitWrite, cost: 1, serve: (*graphRequest).removePassword},
		{method: "GET", path: kind + "/{}/owners", roles: readApps, limit: &limitRead, cost: 2, serve: (*graphRequest).listOwners},
		{method: "POST", path: kind + "/{}/owners/$ref", roles: writeApps, allow: own, limit: &limitWrite, cost: 1, serve: (*graphRequest).addOwner},
		{method: "DELETE", path: kind + "/{}/owners/{}/$ref", roles: writeApps, allow: own, limit: &limitWrite, cost: 1, serve: (*graphRequest).removeOwner},
		{method: "GET", path: kind + "/{}/federatedIdentityCredentials", roles: readApps, limit: &limitRead, cost: 2, serve: (*graphRequest).listFederated},
		{method: "POST", path: kind + "/{}/federatedIdentityCredentials", roles: writeApps, allow: own, limit: &limitWrite, cost: 1, serve: (*graphRequest).addFederated},
		{method: "GET", path: kind + "/{}/federatedIdentityCredentials/{}", roles: readApps, limit: &limitRead, cost: 1, serve: (*graphRequest).getFederated},
		{method: "PATCH", path: kind + "/{}/federatedIdentityCredentials/{}", roles: writeApps, allow: own, limit: &limitWrite, cost: 1, serve: (*graphRequest).patchFederated},
		{method: "DELETE", path: kind + "/{}/federatedIdentityCredentials/{}", roles: writeApps, allow: own, limit: &limitWrite, cost: 1, serve: (*graphRequest).removeFederated},
	}
}

// route finds the one of a request; the status says why there is none.
func (g *graphRequest) route() (*route, int) {
	status := http.StatusNotFound
	for i := range g.world.routes {
		r := &g.world.routes[i]
		args, ok := matchPath(r.segments, g.path)
		if !ok {
			continue
		}
		if r.method == g.method {
			g.args = args
			return &r.route, 0
		}
		status = http.StatusMethodNotAllowed
	}
	return nil, status
}

// matchPath matches segments, and returns what stands for {}.
func matchPath(pattern, path []string) (args []string, ok bool) {
	if len(pattern) != len(path) {
		return nil, false
	}
	for i, p := range pattern {
		switch {
		case p == "{}" && path[i] != "delta":
			args = append(args, path[i])
		case p != path[i]:
			return nil, false
		}
	}
	return args, true
}

// throttle takes what the call costs from the buckets, and refuses it if there is too little.
func (g *graphRequest) throttle(r *route) *reply {
	f := g.world.faults.Load()
	if f.NoThrottling {
		return nil
	}
	if _, wait := g.world.limits.take(&limitGlobal, "graph", g.claims.AppID, "", 1, g.now); wait > 0 {
		return g.tooMany(&limitGlobal, wait)
	}
	if r.limit == nil {
		return nil
	}
	cost := r.cost
	if g.method == http.MethodGet && cost > 1 { // $select and a small $top make a query cheaper
		if g.query.Has("$select") {
			cost--
		}
		if top, err := strconv.Atoi(g.query.Get("$top")); err == nil && top < 20 {
			cost--
		}
		cost = max(cost, 1)
	}
	used, wait := g.world.limits.take(r.limit, "graph", g.claims.AppID, g.tenant.ID, cost, g.now)
	if wait > 0 {
		return g.tooMany(r.limit, wait)
	}
	if r.limit == &limitRead {
		g.out.Set("x-ms-resource-unit", strconv.Itoa(int(cost)))
	}
	if used >= 0.8 {
		g.out.Set("x-ms-throttle-limit-percentage", strconv.FormatFloat(used, 'f', 2, 64))
	}
	return nil
}

// tooMany refuses a call for its limit.
func (g *graphRequest) tooMany(l *limit, wait time.Duration) *reply {
	if !l.silent && !g.world.faults.Load().NoRetryAfter {
		g.out.Set("Retry-After", strconv.Itoa(int((wait + time.Second - 1).Seconds())))
	}
	g.out.Set("x-ms-throttle-scope", "Tenant_Application/ReadWrite/"+g.claims.AppID+"/"+g.tenant.ID)
	g.out.Set("x-ms-throttle-information", l.name)
	refused := g.refuse(&graphError{http.StatusTooManyRequests, "TooManyRequests", "Too many requests."})
	return &refused
}

// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

func (t *Tenant) signInCount() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.signIns)
}

// errLicence is the answer of a tenant without Microsoft Entra ID P1.
var errLicence = &graphError{http.StatusForbidden, "Authentication_RequestFromNonPremiumTenantOrB2CTenant", "Neither tenant is B2C or tenant doesn't have premium license"}

func (t *Tenant) licensed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.noP1
}

// needsLog says whether the caller may read the log: it must also be allowed to read the
// directory (list signIns, permissions), and the tenant must have bought it.
func (g *graphRequest) needsLog() *graphError {
	if !g.claims.Has("Directory.Read.All", "Directory.ReadWrite.All") {
		return &graphError{http.StatusForbidden, "Authorization_RequestDenied", "Insufficient privileges: Directory.Read.All is needed beside AuditLog.Read.All."}
	}
	if !g.tenant.licensed() {
		return errLicence
	}
	return nil
}

// listSignIns answers a page of sign-ins, the newest first. Without a filter beta lists those of
// people alone, of whom there are none here. The filter takes a window of time and what identifies
// client, credential address or result.
func (g *graphRequest) listSignIns() (reply, *graphError) {
	if err := g.needsLog(); err != nil {
		return reply{}, err
	}
	top, err := g.top(1000, 1000)
	if err != nil {
		return reply{}, err
	}
	terms, err := g.filter()
	if err != nil {
		return reply{}, err
	}
	w, terms, ok := windowOf(terms, "createdDateTime")
	programs := g.version == "v1.0"
	terms = slices.DeleteFunc(terms, func(t term) bool {
		if t.path != "signInEventTypes" {
			return false
		}
		ok = ok && t.op == "any" && g.version == "beta"
		programs = t.values[0] == "servicePrincipal"
		return true
	})
	if !ok {
		return reply{}, &graphError{http.StatusBadRequest, "BadRequest", "Invalid filter clause: " + g.query.Get("$filter")}
	}
	cursor, err := g.cursor()
	if err != nil {
		return reply{}, err
	}
	l := g.list("auditLogs/signIns")
	l.b = slices.Grow(l.b, min(top, g.tenant.signInCount())*3100) // a record of beta is a little smaller
	if !programs {
		return l.end("", "")
	}
	next, err := g.signInsBefore(l, w, terms, cursor, top)
	if err != nil {
		return reply{}, err
	}
	if next == "" {
		return l.end("", "")
	}
	return l.end("@odata.nextLink", g.link("$skiptoken", g.skipToken(next)))
}

// signInsBefore writes a page of a window from a cursor on, which is the time and id of the last
// record that was given, and returns the next one.
func (g *graphRequest) signInsBefore(l *listing, w window, terms []term, cursor string, top int) (string, *graphError) {
	t, now := g.tenant, g.now.UnixNano()
	t.mu.Lock()
	defer t.mu.Unlock()
	// The log knows whole seconds: a record is in the window if its second is.
	at, _ := slices.BinarySearchFunc(t.signIns, w.until, func(s signIn, until int64) int { return compare(wholeSecond(s.at), until) })
	after := ""
	if cursor != "" {
		before, id, _ := strings.Cut(cursor, ",")
		n, err := strconv.ParseInt(before, 10, 64)
		if err != nil {
			return "", errBadRequest("The specified page token value is not valid.")
		}
		at, _ = slices.BinarySearchFunc(t.signIns, n+1, func(s signIn, until int64) int { return compare(s.at, until) })
		after = id
	}
	twice, n := g.world.faults.Load().SignInsTwice, 0
	var last *signIn
	for at--; at >= 0 && wholeSecond(t.signIns[at].at) >= w.from; at-- {
		s := &t.signIns[at]
		if after != "" { // those of the same instant that were given already
			if s.id.String() == after {
				after = ""
			}
			continue
		}
		if s.readable > now {
			continue
		}
		matches, err := s.matches(terms)
		if err != nil {
			return "", err
		}
		if !matches {
			continue
		}
		if n >= top {
			return strconv.FormatInt(last.at, 10) + "," + last.id.String(), nil
		}
		last = s
		for range 1 + boolInt(twice) {
			g.renderSignIn(l, s)
			n++
		}
	}
	return "", nil
}

func wholeSecond(at int64) int64 { return at - at%1e9 }

func compare(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// matches says whether a sign-in satisfies the rest of a filter.
func (s *signIn) matches(terms []term) (bool, *graphError) {
	for _, t := range terms {
		value := ""
		switch t.path {
		case "id":
			value = s.id.String()
		case "appId":
			value = s.who.appID
		case "servicePrincipalId":
			value = s.who.principalID
		case "servicePrincipalName":
			value = s.who.name
		case "servicePrincipalCredentialKeyId":
			value = s.with.keyID
		case "ipAddress":
			value = s.address.String()
		case "correlationId":
			value = s.corr.String()
		case "resourceId":
			value = s.who.resource
		case "resourceDisplayName":
			value = s.who.resourceName
		case "uniqueTokenIdentifier":
			value = s.uti.uti()
		case "status/errorCode":
			value = strconv.Itoa(int(s.code))
		default:
			return false, &graphError{http.StatusBadRequest, "BadRequest", "Invalid filter clause: unsupported property " + t.path}
		}
		if !t.holds(value) {
			return false, nil
		}
	}
	return true, nil
}

func (g *graphRequest) getSignIn() (reply, *graphError) {
	if err := g.needsLog(); err != nil {
		return reply{}, err
	}
	g.tenant.mu.Lock()
	defer g.tenant.mu.Unlock()
	now := g.now.UnixNano()
	for i := range g.tenant.signIns {
		if s := &g.tenant.signIns[i]; s.readable <= now && s.id.String() == strings.ToLower(g.args[0]) {
			l := &listing{g: g}
			g.renderSignIn(l, s)
			return reply{http.StatusOK, l.b}, nil
		}
	}
	return reply{}, errNotFound(g.args[0])
}

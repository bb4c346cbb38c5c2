// SPDX-License-Identifier: Apache-2.0

package server

import (
	"net/http"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/web"
)

// routes is the whole HTTP surface: the pages (web.Site.Routes lists them), what
// machines ask, and the API.
func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for _, page := range s.site.Routes() {
		mux.HandleFunc(page.Pattern, s.signedIn(page))
	}
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.HandleFunc("GET /metrics", s.serveMetrics)
	mux.HandleFunc("GET /export", s.export)
	mux.HandleFunc("GET "+apiRoot+"/export", s.export)
	mux.HandleFunc("/api/", s.noSuchCall)
	mux.HandleFunc("/", s.site.NotFound)

	a := newAPI(mux, s)
	call(a, "GET", "/summary", "summary", "The estate in numbers", a.summary)
	call(a, "GET", "/credentials", "credentials", "List credentials", a.listCredentials)
	call(a, "GET", "/credentials/{id}", "credential", "One credential, with everything that is known about it", a.credential)
	call(a, "PATCH", "/credentials/{id}/annotation", "annotate", "Say who owns a credential, where it belongs, and more", a.annotate)
	call(a, "POST", "/annotations", "annotate-many", "Say the same about many credentials", a.annotateMany)
	call(a, "GET", "/places", "places", "List places", a.listPlaces)
	call(a, "GET", "/networks", "networks", "What is in the networks, and what did not answer the last look", a.networks)
	call(a, "GET", "/place", "place", "What is and was at one place", a.place)
	call(a, "GET", "/findings", "findings", "List findings", a.listFindings)
	call(a, "GET", "/findings/groups", "finding-groups", "The causes of open findings, the worst first", a.findingGroups)
	call(a, "POST", "/findings/accept", "accept-findings", "Let all findings that have something in common stand until a day", a.acceptFindings)
	call(a, "POST", "/findings/reopen", "reopen-findings", "Take the acceptances of many findings back", a.reopenFindings)
	call(a, "POST", "/findings/assign", "assign-findings", "Say who is to see to many findings", a.assignFindings)
	call(a, "POST", "/findings/{id}/accept", "accept-finding", "Let a finding stand until a day", a.acceptFinding)
	call(a, "POST", "/findings/{id}/reopen", "reopen-finding", "Take an acceptance back", a.reopenFinding)
	call(a, "POST", "/findings/{id}/assign", "assign-finding", "Say who is to see to a finding", a.assignFinding)
	call(a, "GET", "/uses", "uses", "List uses of credentials with what the tally says of them, the newest first", a.listUses)
	call(a, "GET", "/uses/chart", "use-chart", "Uses of one credential or of all over time, as both sides recorded them", a.useChart)
	call(a, "GET", "/uses/map", "use-map", "Which books tell of which relying parties", a.useMap)
	call(a, "GET", "/uses/{key}", "use", "One record of a use, with what the other side has of its time", a.use)
	call(a, "GET", "/incidents", "incidents", "List foreign uses by incident, the latest first", a.listIncidents)
	call(a, "GET", "/incidents/{id}", "incident", "One incident, with who was behind most of it", a.incident)
	call(a, "GET", "/books", "books", "What each source has recorded, and how far it can be trusted", a.books)
	call(a, "GET", "/connections", "connections", "List where credentials are accepted, as their uses show", a.listConnections)
	call(a, "GET", "/access-changes", "access-changes", "List changes of who gets in, the newest first", a.listAccessChanges)
	call(a, "GET", "/access-changes/expectations", "expected-access-changes", "List the changes that are expected and not over", a.listExpectations)
	call(a, "POST", "/access-changes/expectations", "expect-access-change", "Say that a change is expected, so that it alarms nobody", a.expectAccessChange)
	call(a, "GET", "/sources", "sources", "List where uses are read from", a.listSources)
	call(a, "POST", "/sources", "add-source", "Add a source; the token of its sender is shown this once", a.addSource)
	call(a, "POST", "/sources/{name}/pause", "pause-source", "Keep a source from being read", a.pauseSource)
	call(a, "POST", "/sources/{name}/resume", "resume-source", "Let a paused source go on where it stood", a.resumeSource)
	call(a, "DELETE", "/sources/{name}", "remove-source", "Forget a source; what it gave stays", a.removeSource)
	call(a, "GET", "/rules", "rules", "The rules that judge the inventory", a.rules)
	call(a, "GET", "/jobs", "jobs", "What is looked at, and how often", a.jobs)
	call(a, "GET", "/runs", "runs", "List runs, the newest first", a.listRuns)
	call(a, "POST", "/runs", "start-run", "Look now", a.startRun)
	call(a, "GET", "/runs/{id}", "run", "One run, with what it found to be different in numbers", a.run)
	call(a, "GET", "/runs/{id}/changes", "run-changes", "List what a run found to be different", a.runChanges)
	call(a, "GET", "/runs/{id}/misses", "run-misses", "List where a run could not see, for the newest runs of each job", a.runMisses)
	call(a, "POST", "/runs/{id}/pause", "pause-run", "Keep a run from going on", a.pauseRun)
	call(a, "POST", "/runs/{id}/resume", "resume-run", "Let a paused run go on where it stood", a.resumeRun)
	call(a, "POST", "/runs/{id}/cancel", "cancel-run", "End a run", a.cancelRun)
	call(a, "GET", "/audit", "audit", "List the audit log, the newest first", a.listAudit)
	call(a, "GET", "/audit/verify", "verify-audit", "Check the audit log against its signed checkpoints", a.verifyAudit)
	call(a, "GET", "/tokens", "tokens", "List API tokens", a.listTokens)
	call(a, "POST", "/tokens", "create-token", "Make an API token; its secret is shown this once", a.createToken)
	call(a, "DELETE", "/tokens/{id}", "revoke-token", "Make an API token useless", a.revokeToken)
	call(a, "GET", "/people", "people", "List who may sign in", a.listPeople)
	call(a, "POST", "/people", "create-link", "Make a sign-in link for somebody; it is shown this once", a.createLink)
	call(a, "POST", "/people/{name}/disable", "disable-person", "Keep somebody out", a.disablePerson)
	a.describeRest()
	a.describeIntake()
	return mux
}

// intakeRoutes are what sources deliver to; see intake.
func (s *Server) intakeRoutes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+apiRoot+"/sources/{name}/uses", s.receiveUses)
	mux.HandleFunc("POST /v1/logs", s.receiveLogs)
	return mux
}

// signedIn turns strangers away before a page is asked; the gate would, too.
func (s *Server) signedIn(page web.Route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !page.Public && actorOf(r.Context()).Role == gate.Nobody {
			s.site.Error(w, r, tallystick.ErrUnsigned)
			return
		}
		page.Handler(w, r)
	}
}

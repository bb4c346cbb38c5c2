// SPDX-License-Identifier: Apache-2.0

package server

import (
	"net/http"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/recall"
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
	mux.HandleFunc("GET "+apiRoot+"/recalls/{name}/events", s.recallEvents)
	mux.HandleFunc("GET "+apiRoot+"/recalls/{name}/evidence", s.recallEvidence)
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
	call(a, "POST", "/access-changes/{id}/undo", "undo-access-change", "Take a change back in the directory in which it was made", a.undoAccessChange)
	call(a, "GET", "/sources", "sources", "List where uses are read from", a.listSources)
	call(a, "POST", "/sources", "add-source", "Add a source; the token of its sender is shown this once", a.addSource)
	call(a, "POST", "/sources/{name}/pause", "pause-source", "Keep a source from being read", a.pauseSource)
	call(a, "POST", "/sources/{name}/resume", "resume-source", "Let a paused source go on where it stood", a.resumeSource)
	call(a, "DELETE", "/sources/{name}", "remove-source", "Forget a source; what it gave stays", a.removeSource)
	a.issuingRoutes()
	a.recallRoutes()
	a.vaultRoutes()
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
	a.describeIssuing()
	a.describeRecalls()
	return mux
}

// issuingRoutes are the calls about certificates that are issued here, and by others
// for us.
func (a *api) issuingRoutes() {
	call(a, "GET", "/authorities", "authorities", "List the CAs of this installation", with(a.issues, a.listAuthorities))
	call(a, "POST", "/authorities", "init-authority", "Make a CA", with(a.issues, a.initAuthority))
	call(a, "GET", "/authorities/{name}", "authority", "One CA, with its certificate", with(a.issues, a.authority))
	call(a, "POST", "/authorities/{name}/rollover", "rollover", "Replace a CA, step by step", with(a.issues, a.rollover))
	call(a, "POST", "/authorities/{name}/compromise", "compromise-authority", "Say that the key of a CA is in other hands", with(a.issues, a.compromise))
	call(a, "GET", "/certificates", "certificates", "List certificates that were issued, the newest first", with(a.issues, a.listCertificates))
	call(a, "POST", "/certificates", "issue", "Issue a certificate", with(a.issues, a.issue))
	call(a, "GET", "/certificates/{serial}", "certificate", "One certificate that was issued", with(a.issues, a.certificate))
	call(a, "POST", "/certificates/revoke", "revoke", "Take trust away from certificates", with(a.issues, a.revokeCertificates))
	call(a, "POST", "/certificates/recall", "recall", "Tell the clients of certificates to renew now", with(a.issues, a.recallCertificates))
	call(a, "GET", "/issue-requests", "issue-requests", "List what was asked for and not issued at once, the newest first", with(a.issues, a.listRequests))
	call(a, "POST", "/issue-requests/{id}/approve", "approve-request", "Issue what waits for approval", with(a.issues, a.approveRequest))
	call(a, "POST", "/issue-requests/{id}/refuse", "refuse-request", "Refuse what waits for approval", with(a.issues, a.refuseRequest))
	call(a, "GET", "/blocked-keys", "blocked-keys", "List keys that are never certified, the newest first", with(a.issues, a.blockedKeys))
	call(a, "POST", "/blocked-keys", "block-keys", "Refuse keys for ever", with(a.issues, a.blockKeys))
	call(a, "GET", "/profiles", "profiles", "What can be asked for, and the rules of the policy", with(a.issues, a.profiles))
	call(a, "POST", "/policy/try", "try-policy", "Say what would become of a request", with(a.issues, a.tryPolicy))
	call(a, "GET", "/crls", "crls", "How the lists of revoked certificates are", with(a.issues, a.crls))
	call(a, "GET", "/acme/accounts", "acme-accounts", "List ACME accounts, the newest first", with(a.serves, a.acmeAccounts))
	call(a, "GET", "/acme/orders", "acme-orders", "List ACME orders, the newest first", with(a.serves, a.acmeOrders))
	call(a, "GET", "/issuers", "issuers", "List issuers with their budgets", with(a.renews, a.listIssuers))
	call(a, "GET", "/renewals", "renewals", "List what is renewed", with(a.renews, a.listRenewals))
	call(a, "POST", "/renewals", "add-renewal", "Have a certificate made again and again", with(a.renews, a.addRenewal))
	call(a, "GET", "/renewals/calendar", "renewal-calendar", "How much will be renewed on which day", with(a.renews, a.renewalCalendar))
	call(a, "GET", "/renewals/orders", "renewal-orders", "List attempts to renew, the newest first", with(a.renews, a.renewalOrders))
	call(a, "POST", "/renewals/move", "move-renewals", "Take renewals to another issuer, in waves", with(a.renews, a.moveRenewals))
	call(a, "GET", "/renewals/moves", "moves", "List moves, the newest first", with(a.renews, a.listMoves))
	call(a, "GET", "/renewals/moves/{id}", "move", "One move, with its renewals", with(a.renews, a.move))
	call(a, "POST", "/renewals/moves/{id}/stop", "stop-move", "Stop a move", with(a.renews, a.stopMove))
	call(a, "POST", "/renewals/moves/{id}/retry", "retry-move", "Let a move that stopped go on", with(a.renews, a.retryMove))
	call(a, "GET", "/renewals/{name}", "renewal", "One renewal", with(a.renews, a.renewal))
	call(a, "POST", "/renewals/{name}/now", "renew-now", "Renew now", with(a.renews, a.renewNow))
	call(a, "POST", "/renewals/{name}/pause", "pause-renewal", "Keep a renewal from going on", with(a.renews, a.pauseRenewal))
	call(a, "POST", "/renewals/{name}/resume", "resume-renewal", "Let a paused renewal go on", with(a.renews, a.resumeRenewal))
	call(a, "DELETE", "/renewals/{name}", "remove-renewal", "Forget a renewal; files that it wrote stay", with(a.renews, a.removeRenewal))
}

// recallRoutes are the calls about recalls.
func (a *api) recallRoutes() {
	call(a, "GET", "/recalls", "recalls", "List recalls, the newest first", a.listRecalls)
	call(a, "POST", "/recalls/plan", "plan-recall", "Say what a recall would do; it looks at every door, and changes nothing", a.planRecall)
	call(a, "POST", "/recalls", "open-recall", "Open a recall, for somebody else to approve", a.openRecall)
	call(a, "GET", "/recalls/{name}", "recall-status", "How a recall stands", a.recallStatus)
	call(a, "POST", "/recalls/{name}/approve", "approve-recall", "Agree to the deadline of a recall that somebody else asked for", a.approveRecall)
	call(a, "POST", "/recalls/{name}/start", "start-recall", "Begin a recall that was approved", a.startRecall)
	call(a, "POST", "/recalls/{name}/pause", "pause-recall", "Let what is under way come to its end, and begin nothing more", a.pauseRecall)
	call(a, "POST", "/recalls/{name}/resume", "resume-recall", "Go on with a recall that was paused or has stopped", a.resumeRecall)
	call(a, "POST", "/recalls/{name}/extend", "extend-recall", "Ask for another deadline", a.extendRecall)
	call(a, "POST", "/recalls/{name}/cancel", "cancel-recall", "End a recall as it is", a.cancelRecall)
	call(a, "GET", "/recalls/{name}/targets", "recall-targets", "List the places, connections and tasks of a recall, in the order of its plan", a.recallTargets)
	call(a, "GET", "/recalls/{name}/steps", "recall-steps", "List the steps of a recall with what came of them, in the order of its plan", a.recallSteps)
	call(a, "GET", "/recalls/{name}/log", "recall-log", "List what happened in a recall, in words, the oldest first", a.recallLog)
	call(a, "POST", "/recalls/{name}/targets/{id}/retry", "retry-recall-target", "Try again what has failed of a target", a.turnTarget((*recall.Engine).Retry))
	call(a, "POST", "/recalls/{name}/targets/{id}/skip", "skip-recall-target", "Leave a target behind, for a reason", a.turnTarget((*recall.Engine).Skip))
	call(a, "POST", "/recalls/{name}/targets/{id}/done", "done-recall-target", "Say that somebody did by hand what was to be done", a.turnTarget((*recall.Engine).Done))
	call(a, "POST", "/recalls/{name}/targets/{id}/undo", "undo-recall-target", "Roll a target back, with those that share its new credential", a.turnTarget((*recall.Engine).Undo))
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

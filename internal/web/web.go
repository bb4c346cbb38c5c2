// SPDX-License-Identifier: Apache-2.0

// Package web makes the pages that a person reads in a browser. Each page
// answers one question; its handler, its template and its test share a stem
// (overview.go, overview.html, overview_test.go), and layout.html is around all
// of them. A handler reads the request, calls one feature function, and prints.
//
// Pages are html/template without a build step and work without JavaScript;
// static/page.js adds comfort. What is shown was written by strangers: the
// templates escape it, text.go bounds its length, and whatever would reorder
// or hide other text is made visible on its way out. The content security
// policy allows neither inline scripts nor inline styles, nor any request
// beyond this server.
//
// Package server decides which URL leads to which handler, knows who is asking,
// and turns away requests that other sites make (http.CrossOriginProtection).
package web

import (
	"context"
	"fmt"
	"html/template"
	"net/http"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/access"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/directory"
	"github.com/tallystick/tallystick/internal/discovery"
	"github.com/tallystick/tallystick/internal/finding"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/inventory"
	"github.com/tallystick/tallystick/internal/issuing"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/sources"
	"github.com/tallystick/tallystick/internal/usage"
	"github.com/tallystick/tallystick/internal/vault"
)

// Features are what the pages show and call. All but Failed, Issuing and Recalls are needed.
type Features struct {
	Inventory *inventory.Inventory
	Findings  *finding.Engine
	Discovery *discovery.Discovery
	Usage     *usage.Usage
	Directory *directory.Directory
	Vault     *vault.Vault
	Sources   *sources.Sources
	Issuing   *issuing.Issuing // nil where nothing is issued; its pages say what to do then
	Recalls   *recall.Engine   // nil where nothing is recalled
	Streams   *Streamer        // of Recalls; nil without
	Access    *access.Control
	Audit     *audit.Log
	Gate      *gate.Gate
	Now       func() time.Time
	// Failed is told of errors whose text a stranger must not read, with the
	// request that met them.
	Failed func(*http.Request, error)
}

// A Site is the pages. Its exported methods are the handlers, one for each page
// or action; they are safe to call from several goroutines.
type Site struct {
	Features
	assets    assets
	templates map[string]*template.Template // by stem
}

// New returns the pages over the features. It fails only when a template or an
// asset of this program is broken.
func New(f Features) (*Site, error) {
	if f.Failed == nil {
		f.Failed = func(*http.Request, error) {}
	}
	s := &Site{Features: f}
	var err error
	if s.assets, err = loadAssets(); err != nil {
		return nil, err
	}
	if s.templates, err = parseTemplates(s.functions()); err != nil {
		return nil, fmt.Errorf("couldn't read the templates: %w", err)
	}
	return s, nil
}

// A Route ties a pattern as http.ServeMux takes it to a handler. Public ones
// are for people who have not signed in.
type Route struct {
	Pattern string
	Handler http.HandlerFunc
	Public  bool
}

// Routes returns every page and action.
func (s *Site) Routes() []Route {
	return append(append(s.entrustedRoutes(), s.directoryRoutes()...), []Route{
		{"GET /{$}", s.Overview, false},
		{"GET /credentials", s.Credentials, false},
		{"POST /credentials", s.AmendCredentials, false},
		{"GET /credentials/{id}", s.Credential, false},
		{"POST /credentials/{id}", s.AnnotateCredential, false},
		{"GET /credentials/{id}/relying-parties.csv", s.CredentialParties, false},
		{"GET /places", s.Places, false},
		{"GET /place", s.Place, false},
		{"GET /networks", s.Networks, false},
		{"GET /network", s.Network, false},
		{"GET /findings", s.ListFindings, false},
		{"POST /findings/accept", s.AcceptFindings, false},
		{"POST /findings/reopen", s.ReopenFindings, false},
		{"POST /findings/assign", s.AssignFindings, false},
		{"POST /findings/{id}/accept", s.AcceptFinding, false},
		{"POST /findings/{id}/reopen", s.ReopenFinding, false},
		{"POST /findings/{id}/assign", s.AssignFinding, false},
		{"GET /uses", s.Uses, false},
		{"GET /uses/{key}", s.Use, false},
		{"GET /incidents/{id}", s.Incident, false},
		{"GET /incidents/{id}/relying-parties.csv", s.IncidentParties, false},
		{"GET /books", s.Books, false},
		{"GET /books/map", s.BookMap, false},
		{"GET /sources", s.ListSources, false},
		{"POST /sources", s.AddSource, false},
		{"POST /sources/{name}/pause", s.PauseSource, false},
		{"POST /sources/{name}/resume", s.ResumeSource, false},
		{"POST /sources/{name}/remove", s.RemoveSource, false},
		{"GET /issuers", s.Issuers, false},
		{"GET /issuers/{name}", s.Issuer, false},
		{"GET /issuers/{name}/chain.pem", s.IssuerFile, false},
		{"POST /issuers/{name}/{verb}", s.TurnIssuer, false},
		{"GET /issued", s.Issued, false},
		{"GET /issued/{serial}", s.Certificate, false},
		{"GET /issued/{serial}/chain.pem", s.CertificateFile, false},
		{"POST /issued/{serial}/revoke", s.RevokeCertificate, false},
		{"POST /issued/{serial}/recall", s.RecallCertificate, false},
		{"GET /requests", s.Requests, false},
		{"POST /requests/{id}/{verb}", s.DecideRequest, false},
		{"GET /policies", s.Policies, false},
		{"GET /orders", s.Orders, false},
		{"GET /renewals", s.Renewals, false},
		{"POST /renewals/{name}/now", s.RenewNow, false},
		{"POST /renewals/{name}/pause", s.PauseRenewal, false},
		{"POST /renewals/{name}/resume", s.ResumeRenewal, false},
		{"GET /recalls", s.ListRecalls, false},
		{"POST /recalls", s.OpenRecall, false},
		{"GET /recalls/new", s.PlanRecall, false},
		{"GET /recalls/{name}", s.Recall, false},
		{"POST /recalls/{name}/{verb}", s.TurnRecall, false},
		{"GET /recalls/{name}/targets", s.RecallTargets, false},
		{"GET /recalls/{name}/targets/{id}", s.RecallTarget, false},
		{"POST /recalls/{name}/targets/{id}/{verb}", s.TurnRecallTarget, false},
		{"GET /recalls/{name}/events", s.RecallEvents, false},
		{"GET /recalls/{name}/evidence", s.RecallEvidence, false},
		{"GET /recalls/{name}/evidence.zip", s.RecallEvidenceFile, false},
		{"GET /runs", s.Runs, false},
		{"POST /runs", s.StartRun, false},
		{"GET /runs/{id}", s.Run, false},
		{"GET /runs/{id}/changes", s.RunChanges, false},
		{"GET /runs/{id}/misses", s.RunMisses, false},
		{"POST /runs/{id}/pause", s.PauseRun, false},
		{"POST /runs/{id}/resume", s.ResumeRun, false},
		{"POST /runs/{id}/cancel", s.CancelRun, false},
		{"GET /audit", s.ListAudit, false},
		{"GET /access", s.ListAccess, false},
		{"POST /access/links", s.CreateLink, false},
		{"POST /access/people/disable", s.DisablePerson, false},
		{"POST /access/tokens", s.CreateToken, false},
		{"POST /access/tokens/{id}/revoke", s.RevokeToken, false},
		{"GET /sign-in", s.SignInHelp, true},
		{"GET /sign-in/{link}", s.SignInLink, true},
		{"POST /sign-in/{link}", s.SignIn, true},
		{"POST /sign-out", s.SignOut, true},
		{"GET /static/{file}", s.Static, true},
	}...)
}

// entrustedRoutes are the pages about what customers have entrusted.
func (s *Site) entrustedRoutes() []Route {
	return []Route{
		{"GET /entrusted", s.ListEntrusted, false},
		{"GET /entrusted/readable", s.ListReadable, false},
		{"POST /entrusted/rotate", s.RotateEntrusted, false},
		{"GET /entrusted/{id}", s.Entrusted, false},
	}
}

// directoryRoutes are the pages about who changed who gets in.
func (s *Site) directoryRoutes() []Route {
	return []Route{
		{"GET /directory", s.ListAccessChanges, false},
		{"POST /directory/expect", s.ExpectAccessChange, false},
		{"GET /directory/changes/{id}/undo", s.ConfirmUndo, false},
		{"POST /directory/changes/{id}/undo", s.UndoAccessChange, false},
	}
}

// actorKey is the key of the actor in a request's context.
type actorKey struct{}

// WithActor returns a context for requests that the actor makes.
func WithActor(ctx context.Context, actor gate.Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, actor)
}

// actorOf returns who is asking; the zero Actor is nobody.
func actorOf(r *http.Request) gate.Actor {
	actor, _ := r.Context().Value(actorKey{}).(gate.Actor)
	return actor
}

// SessionCookie is the name of the cookie that holds the secret of a session,
// as SignIn sets it. The prefix makes browsers take it only over HTTPS, from
// this very host, and for all of its paths (RFC 6265bis section 4.1.3.2).
const SessionCookie = "__Host-tally"

// ContentSecurityPolicy is what every page is sent with. Scripts may ask this
// server for the page that they are on, and nothing may be made a script.
const ContentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// errNoPage is the error of a path that leads nowhere.
var errNoPage = fmt.Errorf("there is no page at this address: %w", tallystick.ErrNotFound)

// NotFound answers requests that no route takes.
func (s *Site) NotFound(w http.ResponseWriter, r *http.Request) { s.Error(w, r, errNoPage) }

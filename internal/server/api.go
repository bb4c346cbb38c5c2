// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/export"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
)

// apiRoot is where the API begins. What is under it is only added to; what has
// to change otherwise gets a new root.
const apiRoot = "/api/v1"

// An api is the calls under apiRoot. Its methods are the calls: each calls one
// feature function in the name of whoever asks.
type api struct {
	*Server
	huma huma.API
}

const apiAbout = `What the pages and the commands of Tallystick do, for programs.

Send an API token as "Authorization: Bearer tally_...". Lists are read page by
page: pass what a page returns as "next" in the parameter "after" of the next
call; there is no "next" on the last page. Errors are RFC 9457 problem details,
with a "kind" to branch on and a "hint" for people. Times are UTC, RFC 3339.
Answers gain members over time; none is renamed or taken away.`

func newAPI(mux *http.ServeMux, s *Server) *api {
	config := huma.DefaultConfig("Tallystick", "1")
	config.Info.Description = apiAbout
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = apiRoot+"/openapi", "", ""
	config.CreateHooks = nil // they put a $schema into every answer
	config.Transformers = []huma.Transformer{asProblem}
	config.RejectUnknownQueryParameters = true // a filter that is misspelt would let everything through
	config.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token":   {Type: "http", Scheme: "bearer", Description: "An API token"},
		"session": {Type: "apiKey", In: "cookie", Name: "__Host-tally", Description: "The session of a signed-in browser"},
	}
	config.Security = []map[string][]string{{"token": {}}, {"session": {}}}
	a := &api{Server: s, huma: humago.New(mux, config)}
	a.huma.UseMiddleware(func(ctx huma.Context, next func(huma.Context)) { next(oneStatus{ctx}) })
	return a
}

// schemaName names a schema for its type, apart for packages that have a word for
// several things.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	switch path.Base(t.PkgPath()) {
	case "usage":
		return "Used" + name
	case "ledger":
		return "Ledger" + name
	case "ca":
		return "Issued" + name
	case "renewal":
		return "Renewal" + strings.TrimPrefix(name, "Renewal")
	case "acme":
		return "ACME" + name
	}
	return name
}

// oneStatus makes input that does not fit its schema what all other bad input
// is: docs/problems.md promises one status for a kind.
type oneStatus struct{ humaContext }

// humaContext is huma.Context under a name that is none of its methods'.
type humaContext = huma.Context

func (c oneStatus) SetStatus(code int) { c.humaContext.SetStatus(inputStatus(code)) }

// Unwrap lets huma's adapter find its own context.
func (c oneStatus) Unwrap() huma.Context { return c.humaContext }

func inputStatus(code int) int {
	if code == http.StatusUnprocessableEntity {
		return http.StatusBadRequest
	}
	return code
}

// describeRest adds to the description what huma does not see: the members of
// our errors, and the export, which is not a call but a file.
func (a *api) describeRest() {
	spec := a.huma.OpenAPI()
	model := spec.Components.Schemas.Map()["ErrorModel"]
	model.Properties["kind"] = &huma.Schema{Type: huma.TypeString, Description: "What kind of problem it is, to branch on."}
	model.Properties["hint"] = &huma.Schema{Type: huma.TypeString, Description: "What to do next, for a person."}
	parameters := []*huma.Param{{
		Name: "format", In: "query", Required: true, Schema: &huma.Schema{Type: huma.TypeString, Enum: []any{export.CSV, export.JSON, export.CycloneDX}},
	}}
	a.exportParameters = []string{"format"}
	for _, p := range spec.Paths[apiRoot+"/credentials"].Get.Parameters {
		if !slices.Contains([]string{"sort", "desc", "after", "limit"}, p.Name) {
			parameters = append(parameters, p)
			a.exportParameters = append(a.exportParameters, p.Name)
		}
	}
	for _, path := range spec.Paths {
		for _, operation := range []*huma.Operation{path.Get, path.Post, path.Patch, path.Delete} {
			if operation == nil || operation.Responses["422"] == nil {
				continue
			}
			answer := operation.Responses["422"]
			answer.Description = http.StatusText(http.StatusBadRequest)
			operation.Responses["400"] = answer
			delete(operation.Responses, "422")
		}
	}
	spec.AddOperation(&huma.Operation{
		Method: http.MethodGet, Path: apiRoot + "/export", OperationID: "export", Summary: "The credentials as a file", Parameters: parameters,
		Description: "CSV, one JSON object a line, or a CycloneDX 1.6 bill of materials.",
		Responses:   map[string]*huma.Response{"200": {Description: "The file."}},
	})
}

// An output is an answer, as huma takes it.
type output[T any] struct {
	Status int
	Body   T
}

// statusOf is 200, unless a body knows better.
func statusOf(body any) int {
	if b, ok := body.(interface{ status() int }); ok {
		return b.status()
	}
	return http.StatusOK
}

// call adds one call to the API: fn gets who asks and the input, and returns the
// body of the answer.
func call[I, O any](a *api, method, path, id, summary string, fn func(context.Context, gate.Actor, *I) (O, error)) {
	operation := huma.Operation{
		Method: method, Path: apiRoot + path, OperationID: id, Summary: summary,
		Errors: []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound},
	}
	huma.Register(a.huma, operation, func(ctx context.Context, in *I) (*output[O], error) {
		body, err := fn(ctx, actorOf(ctx), in)
		if err != nil {
			return nil, a.problemOf(ctx, operation, err)
		}
		return &output[O]{statusOf(body), body}, nil
	})
}

// A nothing is the answer of a call that returns nothing: {}.
type nothing struct{}

// problemOf makes of err what the client reads, and logs what it must not.
func (a *api) problemOf(ctx context.Context, operation huma.Operation, err error) error {
	p := problem.Of(err)
	if p.Status >= http.StatusInternalServerError && ctx.Err() == nil {
		a.Log.Error("a call failed", "call", operation.OperationID, "error", err)
	}
	return detailsOf(p)
}

// details are RFC 9457 problem details with our extensions. The members that
// huma writes for input that does not fit its schema are the same.
type details struct {
	Type   string              `json:"type"`
	Title  string              `json:"title"`
	Status int                 `json:"status"`
	Detail string              `json:"detail,omitempty"`
	Kind   string              `json:"kind"`
	Hint   string              `json:"hint,omitempty"`
	Errors []*huma.ErrorDetail `json:"errors,omitempty"`
}

func detailsOf(p problem.Problem) *details {
	public := p.Public()
	return &details{Type: p.Type(), Title: p.Sentence, Status: p.Status, Detail: public.Detail, Kind: p.Kind, Hint: p.Hint}
}

func (d *details) Error() string             { return d.Title }
func (d *details) GetStatus() int            { return d.Status }
func (d *details) ContentType(string) string { return problemType }

// GetHeaders names the way in (RFC 9110 section 11.6.1).
func (d *details) GetHeaders() http.Header {
	if d.Status == http.StatusUnauthorized {
		return http.Header{"WWW-Authenticate": {`Bearer realm="Tallystick"`}}
	}
	return nil
}

const problemType = "application/problem+json"

// asProblem gives the errors that huma makes by itself our members.
func asProblem(ctx huma.Context, _ string, body any) (any, error) {
	model, ok := body.(*huma.ErrorModel)
	if !ok {
		return body, nil
	}
	kind := errors.New(model.Detail)
	if model.Status < http.StatusInternalServerError {
		kind = tallystick.ErrInvalid // all that huma refuses by itself is input
	}
	d := detailsOf(problem.Of(kind))
	d.Status, d.Detail, d.Errors = inputStatus(model.Status), model.Detail, model.Errors
	var known []string
	for _, p := range ctx.Operation().Parameters {
		if p.In == "query" {
			known = append(known, p.Name)
		}
	}
	for _, e := range model.Errors {
		if name, ok := strings.CutPrefix(e.Location, "query."); ok && !slices.Contains(known, name) {
			unknown := problem.Of(unknownParameter(name, known))
			d.Detail, d.Hint = unknown.Detail, unknown.Hint
		}
	}
	return d, nil
}

// unknownParameter says which parameter may be meant.
func unknownParameter(name string, known []string) error {
	hint := "This call takes no parameters."
	if len(known) > 0 {
		hint = "The parameters of this call are " + strings.Join(known, ", ") + "."
	}
	if near := problem.Nearest(name, known); near != "" {
		hint = fmt.Sprintf("Did you mean %q? ", near) + hint
	}
	return problem.With(fmt.Errorf("%w: there is no parameter %.60q", tallystick.ErrInvalid, name), hint)
}

// writeProblem answers with an error outside of huma.
func (s *Server) writeProblem(w http.ResponseWriter, r *http.Request, err error) {
	p := problem.Of(err)
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		p.Status, p.Detail = http.StatusRequestEntityTooLarge, tooLarge.Error()
	}
	if p.Status >= http.StatusInternalServerError {
		s.failed(r, err)
	}
	d := detailsOf(p)
	for name, values := range d.GetHeaders() {
		w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(d.Status)
	_ = json.NewEncoder(w).Encode(d) // the client has gone
}

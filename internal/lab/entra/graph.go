// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"cmp"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// GraphHandler serves graph.microsoft.com, v1.0 and beta.
func (w *World) GraphHandler() http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		g := w.newGraphRequest(r)
		body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, 4<<20))
		g.body = body
		answer := reply{}
		if err != nil {
			answer = g.refuse(&graphError{http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "The request is too large."})
		} else {
			answer = g.answer()
		}
		answer.write(rw, g)
	})
}

// A graphRequest is one call of Graph on its way; those of a batch are made of one.
type graphRequest struct {
	world  *World
	tenant *Tenant
	claims *Claims

	method, version string
	path            []string // below the version, decoded
	base            string   // scheme, host and version, for links
	uri             string   // as the client wrote it
	query           url.Values
	header          http.Header
	body            []byte

	id, operation guid
	client        string // client-request-id
	now           time.Time
	started       time.Time
	r             *http.Request
	out           http.Header
	args          []string // what stands in the place of {} in the route
	batched       bool
	mailbox       *User    // whose mail was read
	opened        []string // Internet message ids of what was read
}

// A reply is the answer of a call.
type reply struct {
	status int
	body   []byte
}

// A graphError is an error with its code, as Graph words it.
type graphError struct {
	status        int
	code, message string
}

func (w *World) newGraphRequest(r *http.Request) *graphRequest {
	g := &graphRequest{
		world: w, method: r.Method, query: parseQuery(r.URL.RawQuery), header: r.Header, id: w.guid(), now: w.Now(), started: time.Now(),
		r: r, out: http.Header{}, uri: "https://" + r.Host + r.URL.RequestURI(),
	}
	g.operation, g.client = g.id, cmp.Or(r.Header.Get("Client-Request-Id"), g.id.String())
	g.setPath(r.URL.Path, "https://"+r.Host)
	return g
}

// parseQuery reads the query with the names of system options in one form: Graph
// takes $deltaToken and $deltatoken.
func parseQuery(raw string) url.Values {
	values, out := url.Values{}, url.Values{}
	if parsed, err := url.ParseQuery(raw); err == nil {
		values = parsed
	}
	for name, value := range values {
		out[strings.ToLower(name)] = value
	}
	return out
}

// setPath splits a path into version and segments; "collection(appId='x')" is one segment
// and becomes two.
func (g *graphRequest) setPath(path, host string) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	g.version, g.base = parts[0], host+"/"+parts[0]
	g.path = nil
	for _, part := range parts[1:] {
		part = strings.TrimPrefix(part, "microsoft.graph.")
		if name, key, ok := strings.Cut(part, "("); ok && strings.HasSuffix(key, "')") {
			g.path = append(g.path, name, strings.TrimSuffix(strings.Replace(key, "'", "", 1), "')"))
			continue
		}
		g.path = append(g.path, strings.TrimSuffix(part, "()"))
	}
}

// answer decides one call, and notes it if it carried a good token.
func (g *graphRequest) answer() reply {
	w := g.world
	tenant, claims, problem := w.authenticate(g.r, Graph)
	attempt := Attempt{Service: ServiceGraph, Method: g.method, Path: "/" + g.version + "/" + strings.Join(g.path, "/")}
	if tenant != nil {
		attempt.Tenant, attempt.AppID = tenant.ID, claims.AppID
	}
	injected := w.injected(attempt)
	if injected != nil && !injected.Afterwards {
		return g.inject(injected)
	}
	if problem != "" {
		return g.refuse(g.unauthenticated(problem))
	}
	g.tenant, g.claims = tenant, claims
	answer := g.dispatch()
	if injected != nil {
		answer = g.inject(injected)
	}
	g.note(answer)
	return answer
}

// note tells the hooks of the call.
func (g *graphRequest) note(answer reply) {
	g.world.noteCall(Call{
		Tenant: g.tenant, Service: ServiceGraph, Claims: *g.claims, Time: g.now, Duration: time.Since(g.started), RequestID: g.id.String(),
		ClientRequestID: g.client, OperationID: g.operation.String(), Method: g.method, URI: g.uri, Status: answer.status,
		ResponseBytes: len(answer.body), Address: g.world.caller(g.r), UserAgent: g.r.UserAgent(),
		Mailbox: g.mailbox, Opened: g.opened,
	})
}

// dispatch finds the route, and applies limits and permissions before it runs.
func (g *graphRequest) dispatch() reply {
	if g.version != "v1.0" && g.version != "beta" {
		return g.refuse(&graphError{http.StatusBadRequest, "BadRequest", "Invalid version: " + g.version})
	}
	route, status := g.route()
	if route == nil {
		if status == http.StatusMethodNotAllowed {
			return g.refuse(&graphError{status, "Request_BadRequest", "Specified HTTP method is not allowed for the request target."})
		}
		return g.refuse(&graphError{http.StatusBadRequest, "BadRequest", "Resource not found for the segment '" + strings.Join(g.path, "/") + "'."})
	}
	if refused := g.throttle(route); refused != nil {
		return *refused
	}
	if len(route.roles) > 0 && !g.claims.Has(route.roles...) && !(route.allow != nil && route.allow(g)) {
		return g.refuse(errDenied)
	}
	answer, err := route.serve(g)
	if err != nil {
		return g.refuse(err)
	}
	return answer
}

var errDenied = &graphError{http.StatusForbidden, "Authorization_RequestDenied", "Insufficient privileges to complete the operation."}

func errBadRequest(text string) *graphError {
	return &graphError{http.StatusBadRequest, "Request_BadRequest", text}
}

func errNotFound(id string) *graphError {
	return &graphError{http.StatusNotFound, "Request_ResourceNotFound", "Resource '" + id + "' does not exist or one of its queried reference-property objects are not present."}
}

// unauthenticated words why a token was not taken.
func (g *graphRequest) unauthenticated(p tokenProblem) *graphError {
	text := map[tokenProblem]string{
		tokenMissing: "Access token is empty.", tokenMalformed: "CompactToken parsing failed with error code: 80049217",
		tokenForged: "Signature is invalid.", tokenExpired: "Lifetime validation failed, the token is expired.",
		tokenAudience: "Access token validation failure. Invalid audience.", tokenTenant: "Access token validation failure. Invalid tenant.",
	}[p]
	g.out.Set("WWW-Authenticate", `Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", client_id="`+Graph+`"`)
	return &graphError{http.StatusUnauthorized, "InvalidAuthenticationToken", text}
}

// refuse words an error.
func (g *graphRequest) refuse(e *graphError) reply {
	j := &jsonWriter{depth: 1}
	j.open()
	j.name("error")
	j.open()
	j.text("code", e.code)
	j.text("message", e.message)
	j.name("innerError")
	j.open()
	j.text("date", g.now.Format("2006-01-02T15:04:05"))
	j.text("request-id", g.id.String())
	j.text("client-request-id", g.client)
	j.close()
	j.close()
	j.close()
	return reply{e.status, j.b}
}

// inject answers what a test wants to be answered.
func (g *graphRequest) inject(i *Injected) reply {
	if i.RetryAfter > 0 {
		g.out.Set("Retry-After", strconv.Itoa(int((i.RetryAfter + time.Second - 1).Seconds())))
	}
	if i.Body != "" {
		return reply{i.Status, []byte(i.Body)}
	}
	code := i.Code
	if code == "" {
		code = map[int]string{429: "TooManyRequests", 500: "InternalServerError", 502: "BadGateway", 503: "ServiceUnavailable", 504: "GatewayTimeout"}[i.Status]
	}
	return g.refuse(&graphError{i.Status, cmp.Or(code, "UnknownError"), "The emulator was told to answer this."})
}

// write sends an answer with the headers that every one has.
func (a reply) write(rw http.ResponseWriter, g *graphRequest) {
	h := rw.Header()
	for name, values := range g.out {
		h[name] = values
	}
	h.Set(EmulatorHeader, "entra")
	h.Set("request-id", g.id.String())
	h.Set("client-request-id", g.client)
	h.Set("x-ms-ags-diagnostic", `{"ServerInfo":{"DataCenter":"Emulator","Slice":"E","Ring":"0","ScaleUnit":"000","RoleInstance":"EMULATOR"}}`)
	if len(a.body) > 0 {
		h.Set("Content-Type", "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8")
	}
	rw.WriteHeader(a.status)
	rw.Write(a.body)
}

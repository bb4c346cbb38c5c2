// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
)

// Root is where the server is to be mounted.
const Root = "/acme/"

// An exchange is one request on its way to its answer.
type exchange struct {
	*Server
	w    http.ResponseWriter
	r    *http.Request
	ctx  context.Context
	base string   // "https://host"
	ca   string   // the CA that the address names
	rest []string // what stands in the address behind the resource

	payload []byte
	key     *jose.JSONWebKey // of who asks without an account, and of revocations; else nil
	account *account         // of who asks; nil with key
}

// A resource answers what is at one address.
type resource struct {
	parts  int                   // that stand in the address behind its name, at most
	get    func(*exchange) error // of anybody; nil: there is only POST
	post   func(*exchange) error // of whoever signed; nil: there is only GET
	signer signer
}

// A signer says who may sign a request (RFC 8555 section 6.2).
type signer int

const (
	byAccount signer = iota
	byKey
	byEither
)

// resourceOf returns what is at a name.
func resourceOf(name string) (resource, bool) {
	switch name {
	case "directory":
		return resource{get: (*exchange).directory, post: (*exchange).directory}, true
	case "new-nonce":
		return resource{get: (*exchange).newNonce, post: (*exchange).newNonce}, true
	case "new-account":
		return resource{post: (*exchange).newAccount, signer: byKey}, true
	case "account":
		return resource{post: (*exchange).serveAccount, parts: 2}, true
	case "key-change":
		return resource{post: (*exchange).changeKey}, true
	case "new-order":
		return resource{post: (*exchange).newOrder}, true
	case "order":
		return resource{post: (*exchange).serveOrder, parts: 2}, true
	case "authorization":
		return resource{post: (*exchange).serveAuthorization, parts: 1}, true
	case "challenge":
		return resource{post: (*exchange).serveChallenge, parts: 2}, true
	case "certificate":
		return resource{post: (*exchange).certificate, parts: 2}, true
	case "revoke":
		return resource{post: (*exchange).revoke, signer: byEither}, true
	case "renewal-info":
		return resource{get: (*exchange).renewalInfo, parts: 1}, true
	}
	return resource{}, false
}

// ServeHTTP answers everything below Root.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{Server: s, w: w, r: r, ctx: r.Context(), base: s.URL}
	if x.base == "" {
		x.base = "https://" + r.Host
	}
	if err := x.serve(); err != nil {
		p := problemOf(err)
		if p.Status >= 500 {
			s.Log.Error("an ACME request failed", "path", r.URL.Path, "error", err)
		}
		if r.Method == http.MethodPost {
			x.header("Replay-Nonce", s.nonces.issue())
		}
		p.write(w)
	}
}

// serve finds the resource and who asks for it.
func (x *exchange) serve() error {
	parts := strings.Split(strings.TrimPrefix(x.r.URL.Path, Root), "/")
	if len(parts) < 2 || x.r.URL.RawPath != "" {
		return notFound("resource")
	}
	x.ca, x.rest = parts[0], parts[2:]
	found, ok := resourceOf(parts[1])
	if !ok || len(x.rest) > found.parts {
		return notFound("resource")
	}
	if err := x.knownCA(); err != nil {
		return err
	}
	if parts[1] != "directory" {
		x.header("Link", "<"+x.url("directory")+`>;rel="index"`)
	}
	get := x.r.Method == http.MethodGet || x.r.Method == http.MethodHead
	switch {
	case get && found.get != nil:
		return found.get(x)
	case x.r.Method == http.MethodPost && found.post != nil:
		if err := x.identify(found.signer); err != nil {
			return err
		}
		return found.post(x)
	}
	x.header("Allow", found.allow())
	return problem(http.StatusMethodNotAllowed, "malformed", "the method %.20q is not for this resource", x.r.Method)
}

func (r resource) allow() string {
	var methods []string
	if r.get != nil {
		methods = append(methods, "GET", "HEAD")
	}
	if r.post != nil {
		methods = append(methods, "POST")
	}
	return strings.Join(methods, ", ")
}

// knownCA refuses addresses of CAs that are not there.
func (x *exchange) knownCA() error {
	list, err := x.CA.Authorities(x.ctx)
	if err != nil {
		return err
	}
	for _, a := range list {
		if a.Name == x.ca && a.Kind == ca.KindX509 {
			return nil
		}
	}
	return notFound("CA")
}

// signing returns the authority that signs for this address now.
func (x *exchange) signing() (ca.Authority, error) {
	a, err := x.CA.Signing(x.ctx, x.ca, ca.KindX509)
	if errors.Is(err, tallystick.ErrNotFound) || errors.Is(err, tallystick.ErrInvalid) {
		return a, problem(http.StatusNotFound, "malformed", "the CA %s signs nothing any more, and none took its place", x.ca)
	}
	return a, err
}

// identify reads a signed request and finds out who signed it (RFC 8555 section
// 6.2). What costs little is checked first.
func (x *exchange) identify(who signer) error {
	kind, _, err := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
	if err != nil || kind != "application/jose+json" {
		return problem(http.StatusUnsupportedMediaType, "malformed", "the content type of a request is application/jose+json")
	}
	limit := int64(x.Limits.Bytes)
	body, err := io.ReadAll(io.LimitReader(x.r.Body, limit+1))
	if err != nil {
		return malformed("the request did not arrive as a whole")
	}
	if int64(len(body)) > limit {
		return problem(http.StatusRequestEntityTooLarge, "malformed", "a request has at most %d bytes", limit)
	}
	m, err := readMessage(body, outerAlgorithms())
	if err != nil {
		return err
	}
	if m.URL != x.base+x.r.URL.RequestURI() {
		return unauthorized("the url of the header is not the one of the request, %s", x.base+x.r.URL.RequestURI())
	}
	if !x.nonces.take(m.Nonce) {
		return problem(http.StatusBadRequest, "badNonce", "the nonce was used before, is old, or is not one of this server; take the one of this answer")
	}
	return x.authenticate(m, who)
}

// authenticate checks the signature of a request.
func (x *exchange) authenticate(m *message, who signer) error {
	if m.key != nil && who == byAccount {
		return malformed("this request names its account by kid; a jwk is for new accounts")
	}
	if m.key == nil && who == byKey {
		return malformed("this request shows its key as jwk; a kid is for those who have an account")
	}
	var err error
	if m.key != nil {
		x.key = m.key
		x.payload, err = m.verify(m.key.Key)
		return err
	}
	if x.account, err = x.accountOf(*m.KeyID); err != nil {
		return err
	}
	if x.payload, err = m.verify(x.account.key); err != nil {
		return err
	}
	if x.account.Status != statusValid {
		return unauthorized("the account is %s", x.account.Status)
	}
	return nil
}

// isGet says whether a signed request only wants to see (POST-as-GET, section 6.3).
func (x *exchange) isGet() bool { return len(x.payload) == 0 }

// read reads the payload of a request.
func (x *exchange) read(into any) error {
	if x.isGet() {
		return malformed("the request has no payload")
	}
	if err := strictJSON(x.payload, into); err != nil {
		return malformed("the payload cannot be read")
	}
	return nil
}

// onlyGet refuses requests that want to change what cannot be changed.
func (x *exchange) onlyGet() error {
	if x.isGet() {
		return nil
	}
	return malformed("the payload of this request is empty (POST-as-GET)")
}

// url is the address of a resource of this CA.
func (x *exchange) url(parts ...string) string {
	return x.base + Root + x.ca + "/" + strings.Join(parts, "/")
}

func (x *exchange) header(name, value string) { x.w.Header().Add(name, value) }

// answer sends a JSON body; who signed gets the next nonce with it.
func (x *exchange) answer(status int, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return x.send(status, "application/json", text)
}

func (x *exchange) send(status int, kind string, text []byte) error {
	h := x.w.Header()
	if x.r.Method == http.MethodPost {
		h.Set("Replay-Nonce", x.nonces.issue())
		h.Set("Cache-Control", "no-store")
	}
	if len(text) > 0 {
		h.Set("Content-Type", kind)
	}
	x.w.WriteHeader(status)
	_, _ = x.w.Write(text) // a client that is gone reads nothing
	return nil
}

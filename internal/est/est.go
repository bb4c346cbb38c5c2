// SPDX-License-Identifier: Apache-2.0

// Package est serves Enrollment over Secure Transport (RFC 7030, with the
// clarifications of RFC 8951): a device asks for its certificate over HTTPS, shows
// who it is by an API token or by the certificate that it has, and renews by the
// certificate that is about to end.
//
// The package decides nothing about certificates. It reads what was sent, finds
// out who sent it, and shows both to package ca. A client certificate is believed
// when it is, byte for byte, one that was issued here, is valid now and is not
// revoked; TLS has shown that the client holds its key. That is looked up with every
// request, so a resumed session of TLS is worth no more than a new one.
package est

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
)

// Root is where EST is served (RFC 7030 section 3.2.2). Below it stands the name of a
// CA, or the operation at once for the default CA.
const Root = "/.well-known/est/"

// MaxBody is the largest request, in bytes: a request for the largest key that can be
// certified, in base64, several times over.
const MaxBody = 64 << 10

// RetryAfter is when a client whose request waits for approval asks again, unless
// Config says otherwise.
const RetryAfter = 5 * time.Minute

// A CA is what this package needs of one: *ca.CA.
type CA interface {
	// Issue makes a certificate, or says why not.
	Issue(ctx context.Context, who gate.Actor, request ca.Request) (ca.Certificate, error)
	// KeyRefused is ca.ErrBadKey for a key that is blocked, or known to be in other hands.
	KeyRefused(ctx context.Context, key tallystick.KeyID) error
	// Find returns a certificate that was issued, or ErrNotFound.
	Find(ctx context.Context, serial ca.Serial) (ca.Certificate, error)
	// Signing returns the authority that signs for a name, which may be one that took over.
	Signing(ctx context.Context, name, kind string) (ca.Authority, error)
	// Authorities returns all.
	Authorities(ctx context.Context) ([]ca.Authority, error)
	// Alternates returns the further chains of an authority, DER: those by which it is
	// verified from the roots before and after its own.
	Alternates(ctx context.Context, name string) ([][][]byte, error)
}

// Access knows API tokens: *access.Control.
type Access interface {
	// Token returns who a token stands for; otherwise ErrUnsigned, on record.
	Token(ctx context.Context, secret, from string) (gate.Actor, error)
}

// Config is what New needs.
type Config struct {
	CA      CA
	Access  Access
	Default string // the CA that is meant when none is named; "" is none
	Profile string // of first certificates; "" is that of ca.Request
	// Keys are the sorts of keys that clients are told to make, the best first; see
	// csrattrs. None leaves it to them.
	Keys []string
	// Retry is when a client whose request waits for approval asks again, in whole
	// seconds; 0 is RetryAfter.
	Retry time.Duration
	Now   func() time.Time
	// Failed is told of errors that are not the client's doing; it may be nil.
	Failed func(r *http.Request, err error)
}

// A Server answers EST requests: an http.Handler for all that is below Root. Its
// listener must ask for client certificates without demanding or verifying them
// (tls.RequestClientCert), and must not be behind a proxy that ends TLS. It should not
// size TLS records dynamically (tls.Config.DynamicRecordSizingDisabled): the client of
// strongSwan gives up when an answer comes in more records than two.
type Server struct{ Config }

// New returns the server.
func New(c Config) *Server { return &Server{c} }

// An operation answers one sort of request to the authority that signs for the name
// in its path.
type operation struct {
	method string
	serve  func(s *Server, w http.ResponseWriter, r *http.Request, authority ca.Authority) error
}

// operations are those of RFC 7030 section 3.2.2.
var operations = map[string]operation{
	"cacerts":        {http.MethodGet, (*Server).caCertificates},
	"csrattrs":       {http.MethodGet, (*Server).attributes},
	"simpleenroll":   {http.MethodPost, (*Server).enrol},
	"simplereenroll": {http.MethodPost, (*Server).renew},
	"serverkeygen":   {http.MethodPost, (*Server).refuseKeys},
	"fullcmc":        {http.MethodPost, (*Server).refuseCMC},
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	authority, name := split(r.URL.Path)
	if authority == "" {
		authority = s.Default
	}
	o, known := operations[name]
	switch {
	case !known || authority == "":
		s.fail(w, r, problem.With(fmt.Errorf("%w: there is no EST service at %s", tallystick.ErrNotFound, r.URL.Path),
			"Ask at "+Root+"CA/OPERATION, such as "+Root+"lab/cacerts."))
	case r.TLS == nil:
		// Credentials over clear text would be lost to whoever listens (section 3.3).
		s.fail(w, r, fmt.Errorf("%w: EST is served over TLS only", tallystick.ErrInvalid))
	case r.Method != o.method:
		w.Header().Set("Allow", o.method)
		http.Error(w, "Use "+o.method+".", http.StatusMethodNotAllowed)
	default:
		if err := s.serve(w, r, o, authority); err != nil {
			s.fail(w, r, err)
		}
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, o operation, name string) error {
	authority, err := s.CA.Signing(r.Context(), name, ca.KindX509)
	if err != nil {
		return err
	}
	return o.serve(s, w, r, authority)
}

// split returns the CA and the operation of a path; the CA may be empty.
func split(path string) (authority, operation string) {
	rest, ok := strings.CutPrefix(path, Root)
	if !ok {
		return "", ""
	}
	if authority, operation, ok = strings.Cut(rest, "/"); ok {
		return authority, operation
	}
	return "", rest
}

// errKeys and errCMC are answers to what is not done here.
var (
	errKeys = errors.New("private keys are made where they are used; none is made here")
	errCMC  = errors.New("CMC is not served")
)

// refuseKeys does not make keys for others (section 4.4): a key that two have known
// is nobody's alone, and no use of it can be laid at one door.
func (s *Server) refuseKeys(http.ResponseWriter, *http.Request, ca.Authority) error { return errKeys }

// refuseCMC: section 4.3 is optional.
func (s *Server) refuseCMC(http.ResponseWriter, *http.Request, ca.Authority) error { return errCMC }

// fail answers with an error, as text for people (section 4.2.3).
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	if _, waits := errors.AsType[*ca.Waiting](err); waits {
		retry := cmp.Or(s.Retry, RetryAfter)
		w.Header().Set("Retry-After", strconv.Itoa(int(retry.Seconds())))
		say(w, http.StatusAccepted, fmt.Sprintf("The %v. Send the same request again after %s.", err, retry))
		return
	}
	if errors.Is(err, errKeys) || errors.Is(err, errCMC) {
		say(w, http.StatusNotImplemented, err.Error())
		return
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		say(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("The request has more than %d bytes.", tooLarge.Limit))
		return
	}
	p := problem.Of(err).Public()
	if p.Status >= http.StatusInternalServerError && s.Failed != nil {
		s.Failed(r, err)
	}
	switch p.Status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Basic realm="EST", charset="UTF-8"`) // RFC 7617
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "60")
	}
	text := p.Sentence
	if p.Detail != "" {
		text += " " + p.Detail + "."
	}
	if p.Hint != "" {
		text += " " + p.Hint
	}
	say(w, p.Status, text)
}

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	fmt.Fprintln(w, text)
}

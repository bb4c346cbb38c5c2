// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/web"
)

// layers wraps what every request passes, the outermost first: it is measured
// and logged, survives a panic, gets safe headers, is no protocol of machines, comes
// to a host that we are, does not come from another site, is not too large, and has somebody who asks.
func (s *Server) layers(mux http.Handler) http.Handler {
	h := unhurried(s.identify(mux))
	h = http.MaxBytesHandler(h, maxBody)
	h = s.intake(h) // has bounds of its own
	h = s.sameSite(h)
	h = s.knownHost(h)
	h = s.protocols(h)
	h = s.headers(h)
	return s.observe(h)
}

// An answer is a ResponseWriter that remembers what it sent.
type answer struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	n, err := a.ResponseWriter.Write(p)
	a.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// A visit is what is learned about a request on its way, for the log.
type visit struct {
	route string
	actor gate.Actor
}

type visitKey struct{}

// observe measures, logs and survives.
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		v := &visit{}
		r = r.WithContext(context.WithValue(r.Context(), visitKey{}, v))
		a := &answer{ResponseWriter: w}
		defer func() {
			if failure := recover(); failure != nil {
				s.survive(a, r, failure)
			}
			s.record(r, v, a, time.Since(began))
		}()
		next.ServeHTTP(a, r)
	})
}

// survive answers a request whose handler panicked. The stack goes to the log
// and nowhere else.
func (s *Server) survive(a *answer, r *http.Request, failure any) {
	if err, ok := failure.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(failure) // the handler wants the connection gone
	}
	s.Log.Error("a handler panicked", "method", r.Method, "route", routeOf(r), "panic", fmt.Sprint(failure), "stack", string(debug.Stack()))
	if a.status == 0 {
		s.refuse(a, r, errors.New("a handler panicked"))
	}
}

// record counts and logs a request. Addresses are logged as the route that
// they took, because that of a sign-in link holds a secret; those of actions
// and failures are worth a line, reading is not.
func (s *Server) record(r *http.Request, v *visit, a *answer, took time.Duration) {
	route := v.route
	if route == "" {
		route = "none"
	}
	s.metrics.requests.WithLabelValues(route, strconv.Itoa(a.status)).Observe(took.Seconds())
	log := s.Log.Debug
	if a.status >= 400 || !isSafe(r.Method) {
		log = s.Log.Info
	}
	log("request", "route", route, "status", a.status, "bytes", a.bytes, "took", took.Round(time.Microsecond), "from", remoteAddress(r), "by", v.actor.Name)
}

func isSafe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// routeOf returns the pattern that took a request, as far as it is known.
func routeOf(r *http.Request) string {
	if v, ok := r.Context().Value(visitKey{}).(*visit); ok && v.route != "" {
		return v.route
	}
	return r.Pattern
}

func remoteAddress(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// headers sets what holds for every answer; pages add to it.
func (s *Server) headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", web.ContentSecurityPolicy)
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if s.Certificate.Configured() && !isLoopback(r.Host) {
			// A self-signed certificate would lock people out, and a loopback
			// host belongs to other programs too (RFC 6797 section 8.1).
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}

// knownHost keeps a page of another site from reaching a server on loopback
// under a name of its own that it lets point here (DNS rebinding): there the
// Host must be loopback, or a name that our certificate is for.
func (s *Server) knownHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		if ok && isLoopback(local.String()) && !isLoopback(r.Host) && !s.Certificate.isFor(hostOf(r.Host)) {
			http.Error(w, "This server is not known by that name. Open it under its own address.", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostOf takes a port off, and brackets.
func hostOf(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}

func isLoopback(hostport string) bool {
	host := hostOf(hostport)
	if host == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.Unmap().IsLoopback()
}

// sameSite turns away changes that a page of another site asks a browser for.
func (s *Server) sameSite(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := fmt.Errorf("%w: the request comes from another site", tallystick.ErrDenied)
		s.refuse(w, r, problem.With(err, "Open this server's own page and try again there."))
	}))
	return protection.Handler(next)
}

// planTime is how long a plan may take: it looks at every door, and there can be thousands.
const planTime = 15 * time.Minute

// unhurried gives the calls that make a plan more time for their answer.
func unhurried(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/recalls") && r.Method == http.MethodPost || strings.HasSuffix(r.URL.Path, "/recalls/plan") {
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(planTime)) // what cannot be set stays as it is
		}
		next.ServeHTTP(w, r)
	})
}

// identify finds out who is asking. Whoever cannot be told is nobody, and the
// gate turns them away from what nobody may see.
func (s *Server) identify(mux http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		actor, err := s.actor(r)
		if err != nil && !errors.Is(err, tallystick.ErrUnsigned) {
			s.refuse(w, r, err)
			return
		}
		ctx := context.WithValue(web.WithActor(r.Context(), actor), actorKey{}, actor)
		v, _ := r.Context().Value(visitKey{}).(*visit)
		v.actor = actor
		r = r.WithContext(ctx)
		defer func() { v.route = r.Pattern }() // ServeMux sets it
		mux.ServeHTTP(w, r)
	})
}

type actorKey struct{}

// actorOf returns who is asking; the zero Actor is nobody.
func actorOf(ctx context.Context) gate.Actor {
	actor, _ := ctx.Value(actorKey{}).(gate.Actor)
	return actor
}

// actor reads the token or the session of a request. A token goes before a
// session: whoever sends one means it.
func (s *Server) actor(r *http.Request) (gate.Actor, error) {
	if secret, ok := bearer(r); ok {
		if s.isMetricsToken(secret) {
			return gate.Actor{}, nil // serveMetrics looks at it again
		}
		return s.Access.Token(r.Context(), secret, remoteAddress(r))
	}
	cookie, err := r.Cookie(web.SessionCookie)
	if err != nil {
		return gate.Actor{}, nil
	}
	return s.Access.Session(r.Context(), cookie.Value)
}

// bearer returns the token of RFC 6750 section 2.1.
func bearer(r *http.Request) (secret string, ok bool) {
	scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(secret), strings.EqualFold(scheme, "Bearer")
}

// refuse answers with an error: as a page to a browser, otherwise as RFC 9457 says.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if strings.HasPrefix(r.URL.Path, "/api/") || !strings.Contains(r.Header.Get("Accept"), "text/html") {
		s.writeProblem(w, r, err)
		return
	}
	s.site.Error(w, r, err)
}

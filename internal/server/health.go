// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"crypto/subtle"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
)

// healthz says that the process answers.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok\n") }

// readyTime is how long the store may take to answer.
const readyTime = 2 * time.Second

// readyz says whether requests can be answered: whether the store does.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTime)
	defer cancel()
	if err := s.DB.Ping(ctx); err != nil {
		s.failed(r, err)
		plain(w, http.StatusServiceUnavailable, "the store does not answer\n")
		return
	}
	plain(w, http.StatusOK, "ready\n")
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprint(w, text)
}

// serveMetrics answers scrapers that have the metrics token, or an API token
// whose role may read metrics.
func (s *Server) serveMetrics(w http.ResponseWriter, r *http.Request) {
	if secret, ok := bearer(r); !ok || !s.isMetricsToken(secret) {
		if err := s.Gate.Check(r.Context(), actorOf(r.Context()), gate.ReadMetrics, "metrics"); err != nil {
			s.writeProblem(w, r, err)
			return
		}
	}
	promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{ErrorLog: metricsLog{s}}).ServeHTTP(w, r)
}

// isMetricsToken says whether a secret is the scraper's.
func (s *Server) isMetricsToken(secret string) bool {
	want := s.MetricsToken.Reveal()
	return want != "" && subtle.ConstantTimeCompare([]byte(secret), []byte(want)) == 1
}

// noSuchCall answers what is under /api/ and nothing else takes.
func (s *Server) noSuchCall(w http.ResponseWriter, r *http.Request) {
	s.writeProblem(w, r, fmt.Errorf("there is no such call: %w", tallystick.ErrNotFound))
}

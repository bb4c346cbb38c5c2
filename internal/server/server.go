// SPDX-License-Identifier: Apache-2.0

// Package server is everything that Tallystick says over HTTP: the pages of
// package web, the API under /api/v1, and what machines ask (/healthz, /readyz,
// /metrics). routes.go is the whole surface.
//
// It speaks HTTPS only. Every request passes the layers of layers.go, which
// find out who is asking and turn away what no honest browser sends; then a
// handler calls the same feature function as a page or a command would.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tallystick/tallystick/driver"
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
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/usage"
	"github.com/tallystick/tallystick/internal/vault"
	"github.com/tallystick/tallystick/internal/web"
)

// Config is what New needs.
type Config struct {
	Inventory *inventory.Inventory
	Findings  *finding.Engine
	Discovery *discovery.Discovery
	Usage     *usage.Usage
	Directory *directory.Directory
	Vault     *vault.Vault
	Access    *access.Control
	Audit     *audit.Log
	Gate      *gate.Gate
	DB        *store.DB // for its health and its backlog only
	Sources   *sources.Sources
	Issuing   *issuing.Issuing // nil where nothing is issued
	Recalls   *recall.Engine   // nil where nothing is recalled
	Now       func() time.Time
	Log       *slog.Logger
	Protocols []Protocol
	// Certificate is what the server shows; see MakeCertificate and LoadCertificate.
	Certificate *Certificate
	// MetricsToken lets a scraper in that has no API token; it may be zero.
	MetricsToken driver.Secret
}

// A Server answers HTTP requests. Make one with New.
type Server struct {
	Config
	site     *web.Site
	metrics  *metrics
	registry *prometheus.Registry
	handler  http.Handler
	streams  *web.Streamer
	stopping chan struct{} // closed when streams are to end

	exportParameters []string // that /export takes
}

// New puts the surface together. It fails only when the pages of this program
// are broken.
func New(c Config) (*Server, error) {
	s := &Server{Config: c, registry: prometheus.NewRegistry(), stopping: make(chan struct{})}
	s.streams = &web.Streamer{Recalls: c.Recalls, Stopping: s.stopping}
	site, err := web.New(web.Features{
		Inventory: c.Inventory, Findings: c.Findings, Discovery: c.Discovery, Usage: c.Usage, Directory: c.Directory, Vault: c.Vault, Sources: c.Sources, Issuing: c.Issuing, Recalls: c.Recalls, Streams: s.streams, Access: c.Access,
		Audit: c.Audit, Gate: c.Gate, Now: c.Now, Failed: s.failed,
	})
	if err != nil {
		return nil, err
	}
	s.site = site
	s.metrics = newMetrics(s.registry, s)
	s.handler = s.layers(s.routes())
	return s, nil
}

// Handler returns the surface with all its layers, without TLS.
func (s *Server) Handler() http.Handler { return s.handler }

// Limits on what one client can hold up, and on how long a stop takes.
const (
	headerTime   = 5 * time.Second  // to send the head of a request
	readTime     = 30 * time.Second // to send all of it
	answerTime   = time.Minute      // for the answer, unless the handler extends it
	idleTime     = 2 * time.Minute
	maxHeader    = 32 << 10 // bytes
	maxBody      = 1 << 20  // bytes
	shutdownTime = 8 * time.Second
)

// Run answers requests that come in on listener until ctx ends, lets those
// that are running finish for some seconds, and returns. The listener is closed
// then.
func (s *Server) Run(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler:           s.handler,
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.Certificate.Get},
		ReadHeaderTimeout: headerTime, ReadTimeout: readTime, WriteTimeout: answerTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeader,
		// What it logs is mostly browsers that hang up on a certificate that
		// they do not know.
		ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	server.RegisterOnShutdown(func() { close(s.stopping) })
	go func() { ended <- server.ServeTLS(listener, "", "") }()
	go s.Certificate.keep(ctx, s.Now, s.Log)
	select {
	case err := <-ended:
		return fmt.Errorf("couldn't serve: %w", err)
	case <-ctx.Done():
	}
	// The context of the stop must outlive the one that asked for it.
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	err := server.Shutdown(stopping)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close() // whoever still reads an export has to begin again
	}
	<-ended
	if err != nil {
		return fmt.Errorf("couldn't stop serving: %w", err)
	}
	return nil
}

// failed logs an error that the client is not shown.
func (s *Server) failed(r *http.Request, err error) {
	s.Log.Error("a request failed", "method", r.Method, "route", routeOf(r), "error", err)
}

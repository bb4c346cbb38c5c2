// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
)

// Find looks at every target, several at a time. It tells positions to a
// Checkpointer and goes on from the one that the request brings.
func (f *Finder) Find(ctx context.Context, request driver.FindRequest, sink driver.Sink) error {
	targets, err := f.targets(ctx, request, sink)
	if err != nil {
		return err
	}
	roots, err := f.roots()
	if err != nil {
		return err
	}
	l := &lookout{
		Finder: f, now: request.Now, sink: sink,
		known:  newCertificates(roots),
		dialer: f.dialer(),
	}
	l.dialer.Abort = true
	look := network.Look{Targets: targets, Resume: request.Resume, Concurrency: f.options.Concurrency, Sink: sink}
	return look.Each(ctx, l.endpoint)
}

// targets reads the targets of a request, or lists what listens here.
func (f *Finder) targets(ctx context.Context, request driver.FindRequest, sink driver.Sink) (*network.Targets, error) {
	if len(request.Targets) > 0 {
		return f.grammar.Parse(ctx, request.Targets, network.Missing(sink, request.Now))
	}
	endpoints, err := network.Listeners(os.DirFS("/proc"))
	if err != nil {
		return nil, fmt.Errorf("couldn't list the listening ports: %w", err)
	}
	return network.Of(endpoints)
}

// roots returns the pool to verify against.
func (f *Finder) roots() (*x509.CertPool, error) {
	if f.options.Roots == "" {
		roots, err := x509.SystemCertPool()
		if err != nil {
			return nil, fmt.Errorf("couldn't load the trusted roots of this machine: %w", err)
		}
		return roots, nil
	}
	text, err := os.ReadFile(f.options.Roots)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the option roots: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("option roots: %w: no certificate in %s", tallystick.ErrInvalid, f.options.Roots)
	}
	return roots, nil
}

// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// Find looks at every target, several at a time.
func (f *Finder) Find(ctx context.Context, request driver.FindRequest, sink driver.Sink) error {
	targets, err := parseTargets(request.Targets)
	if err != nil {
		return err
	}
	if len(request.Targets) == 0 {
		if targets, err = listeners(os.DirFS("/proc")); err != nil {
			return fmt.Errorf("couldn't list the listening ports: %w", err)
		}
	}
	roots, err := f.roots()
	if err != nil {
		return err
	}
	look := lookout{timeout: f.options.Timeout, roots: roots, now: request.Now, sink: sink}
	return f.each(ctx, targets, sink, look.endpoint)
}

// each calls look for every target, in Concurrency goroutines, until one
// fails or ctx ends.
func (f *Finder) each(ctx context.Context, targets []target, sink driver.Sink, look func(context.Context, target) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan target)
	var done atomic.Int64
	var workers sync.WaitGroup
	for range min(f.options.Concurrency, len(targets)) {
		workers.Go(func() {
			for t := range queue {
				if err := look(ctx, t); err != nil {
					cancel(err)
				}
				sink.Progress(done.Add(1), int64(len(targets)))
			}
		})
	}
	for _, t := range targets {
		if ctx.Err() != nil {
			break
		}
		select {
		case queue <- t:
		case <-ctx.Done():
		}
	}
	close(queue)
	workers.Wait()
	return context.Cause(ctx)
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

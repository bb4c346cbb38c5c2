// SPDX-License-Identifier: Apache-2.0

package metadata

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
)

// A look is one call of Find.
type look struct {
	transport *http.Transport
	dialer    *network.Dialer
	hosts     []string
	now       func() time.Time
	sink      driver.Sink
	misses    atomic.Int64
}

// mostMisses bounds how many broken members one look tells of. A document that
// goes beyond is given up: it is a miss as a whole.
const mostMisses = 10_000

// Find reads every document, several at a time.
func (f *Finder) Find(ctx context.Context, request driver.FindRequest, sink driver.Sink) error {
	targets, err := parseTargets(request.Targets)
	if err != nil {
		return err
	}
	l := &look{dialer: f.dialer(), hosts: f.options.Hosts, now: request.Now, sink: sink}
	if l.transport, err = f.transport(l.dial); err != nil {
		return err
	}
	defer l.transport.CloseIdleConnections()
	return l.each(ctx, targets, f.options.Concurrency)
}

// each looks at every target until the sink fails or ctx ends.
func (l *look) each(ctx context.Context, targets []target, concurrency int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next, done atomic.Int64
	var workers sync.WaitGroup
	for range min(concurrency, len(targets)) {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(targets)) && ctx.Err() == nil; i = next.Add(1) - 1 {
				if err := l.target(ctx, targets[i]); err != nil {
					cancel(err)
				}
				l.sink.Progress(done.Add(1), int64(len(targets)))
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}

// target looks at one target. Its error is one of the sink or of ctx.
func (l *look) target(ctx context.Context, t target) error {
	err := l.document(ctx, t, t.url)
	if guess := wellKnown(t); guess != nil && notTheDocument(err) {
		if second := l.document(ctx, t, guess); !notTheDocument(second) {
			err = second // or the first answer tells more
		}
	}
	var failed *sinkError
	switch {
	case errors.As(err, &failed):
		return failed.error
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return l.miss(t.place, err)
	}
	return nil
}

// wellKnown returns where a provider keeps its configuration when the target is
// its issuer (OpenID Connect Discovery section 4.1), or nil when it cannot be.
func wellKnown(t target) *url.URL {
	if t.url == nil || t.url.RawQuery != "" || strings.Contains(t.url.Path, "/.well-known/") {
		return nil
	}
	u := *t.url
	u.RawPath = ""
	u.Path = strings.TrimSuffix(u.Path, "/") + "/.well-known/openid-configuration"
	return &u
}

// notTheDocument says that a server answered, with something else.
func notTheDocument(err error) bool {
	var told *lookError
	return errors.As(err, &told) && (told.word == "not-metadata" || told.word == "redirected" || strings.HasPrefix(told.word, "http-"))
}

// document reads what is at u, or in the file of t when u is nil.
func (l *look) document(ctx context.Context, t target, u *url.URL) error {
	body, err := l.open(ctx, t, u)
	if err != nil {
		return err
	}
	defer body.Close()
	text := bufio.NewReaderSize(body, 32<<10)
	first, err := firstByte(text)
	if err != nil {
		return err
	}
	switch first {
	case '<':
		return l.saml(ctx, t.place, text)
	case '{':
		next, err := l.openID(t.place, text)
		if err != nil || next == "" {
			return err
		}
		return l.keySet(ctx, t, next)
	}
	return fault("not-metadata", "neither XML nor a JSON object")
}

// keySet reads the key set that a provider's configuration names.
func (l *look) keySet(ctx context.Context, t target, link string) error {
	u, err := url.Parse(link)
	if err != nil {
		return fault("malformed", "jwks_uri is not a URL")
	}
	if err := l.mayAsk(t, u); err != nil {
		return err
	}
	body, err := l.open(ctx, t, u)
	if err != nil {
		return err
	}
	defer body.Close()
	next, err := l.openID(t.place, body)
	if err == nil && next != "" {
		err = fault("not-metadata", "jwks_uri leads to another configuration")
	}
	return err
}

func (l *look) open(ctx context.Context, t target, u *url.URL) (io.ReadCloser, error) {
	if u == nil {
		return openFile(t.path)
	}
	return l.get(ctx, t, u)
}

// firstByte skips a byte order mark and white space and returns what follows,
// without taking it. There is nothing to gain from looking far.
func firstByte(text *bufio.Reader) (byte, error) {
	if mark, _ := text.Peek(3); string(mark) == "\xef\xbb\xbf" { // an error is met again below
		text.Discard(3)
	}
	for range 4 << 10 {
		head, err := text.Peek(1)
		if errors.Is(err, io.EOF) {
			return 0, fault("not-metadata", "an empty document")
		}
		if err != nil {
			return 0, err
		}
		if !strings.Contains(" \t\r\n", string(head)) {
			return head[0], nil
		}
		text.Discard(1)
	}
	return 0, fault("not-metadata", "neither XML nor a JSON object")
}

// A sinkError is an error of the sink on its way up, which ends the look.
type sinkError struct{ error }

func (e *sinkError) Unwrap() error { return e.error }

// saw reports a sighting.
func (l *look) saw(place tallystick.Place, role tallystick.Role, c tallystick.Credential, chain []tallystick.Credential, file tallystick.FileFacts) error {
	err := l.sink.Saw(tallystick.Sighting{
		Credential: c, Place: place, Role: role, Seen: l.now(), Chain: chain,
		Facts: tallystick.Facts{File: &file},
	})
	if err != nil {
		return &sinkError{err}
	}
	return nil
}

// spoilt reports a part of a document that could not be read.
func (l *look) spoilt(place tallystick.Place, word, format string, args ...any) error {
	if l.misses.Add(1) > mostMisses {
		return fault("too-many", "more than %d of its members cannot be read", mostMisses)
	}
	if err := l.miss(place, fault(word, format, args...)); err != nil {
		return &sinkError{err}
	}
	return nil
}

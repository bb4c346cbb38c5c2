// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
)

// RetryWindow is when clients are told to ask for their window again. It cannot be
// made shorter afterwards, so it is how long a recall takes to be noticed (RFC 9773
// section 4.3.2 allows a minute to a day).
const RetryWindow = 10 * time.Minute

// windowsKept bounds how many certificates' windows are remembered: 100 bytes each.
const windowsKept = 200_000

// A known is what is remembered of a certificate to answer for its window.
type known struct {
	notBefore, notAfter, recalled time.Time
	url                           string
	read                          time.Time
}

// windows remembers, because every client asks every few minutes.
type windows struct{ *windowCache }

type windowCache struct {
	mu    sync.Mutex
	known map[Serial]known     // guarded by mu
	asked map[string]time.Time // guarded by mu; by the serial's bytes, since the last save
}

func newWindows() windows {
	return windows{&windowCache{known: map[Serial]known{}, asked: map[string]time.Time{}}}
}

func (w windows) forget(s Serial) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.known, s)
}

func (w windows) clear() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.known)
}

// relied is how long what was read is relied on: another process may recall.
const relied = time.Minute

// Window returns when a certificate should be renewed, and remembers that somebody
// asked. A certificate that no CA of ours has signed is ErrNotFound.
func (c *CA) Window(ctx context.Context, serial Serial) (Window, error) {
	now := c.Now().UTC()
	k, err := c.lookWindow(ctx, serial, now)
	if err != nil {
		return Window{}, err
	}
	return k.window(), nil
}

// Window returns when the certificate should be renewed. Unlike CA.Window it takes
// nobody for its client.
func (m Certificate) Window() Window {
	k := known{notBefore: m.NotBefore, notAfter: m.NotAfter, recalled: m.Recalled, url: m.RecallURL}
	if k.recalled.IsZero() && m.Revocation != nil {
		k.recalled = m.Revocation.At
	}
	return k.window()
}

func (k known) window() Window {
	w := Window{Retry: RetryWindow, Explanation: k.url}
	if !k.recalled.IsZero() {
		// In the past: now (RFC 9773 section 4.2). Long enough for clients that take
		// a shorter one for a mistake.
		w.Start, w.End = k.recalled.Add(-time.Hour), k.recalled.Add(-30*time.Minute)
		return w
	}
	life := k.notAfter.Sub(k.notBefore)
	w.Start = k.notBefore.Add(life * 2 / 3)
	w.End = w.Start.Add(max(life/12, time.Minute))
	return w
}

func (c *CA) lookWindow(ctx context.Context, serial Serial, now time.Time) (known, error) {
	c.windows.mu.Lock()
	k, ok := c.windows.known[serial]
	if ok {
		c.windows.asked[string(serial.Bytes())] = now
	}
	c.windows.mu.Unlock()
	if ok && now.Sub(k.read) < relied {
		return k, nil
	}
	b := serial.Bytes()
	if len(b) != 16 {
		return known{}, fmt.Errorf("%w: %.80q is not a serial of ours", tallystick.ErrNotFound, string(serial))
	}
	row, err := c.DB.IssuedLife(ctx, b)
	if err != nil {
		return known{}, err
	}
	k = known{notBefore: row.NotBefore, notAfter: row.NotAfter, recalled: row.Recalled, url: row.RecallURL, read: now}
	if k.recalled.IsZero() && !row.Revoked.IsZero() {
		k.recalled = row.Revoked // whoever still has it must have another one
	}
	c.windows.mu.Lock()
	defer c.windows.mu.Unlock()
	if len(c.windows.known) >= windowsKept {
		clear(c.windows.known)
	}
	c.windows.known[serial] = k
	c.windows.asked[string(b)] = now
	return k, nil
}

// saveAsked is how often it is kept who asked; what a kill loses is asked again.
const saveAsked = 30 * time.Second

// Run keeps what the CA remembers, until ctx ends.
func (c *CA) Run(ctx context.Context, failed func(error)) error {
	if err := c.DB.ForgetIssueRequests(ctx, c.Now().Add(-forgetAfter)); err != nil {
		failed(err)
	}
	tick := time.NewTicker(saveAsked)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			// The last ones must outlive the context that ends.
			return c.SaveAsked(context.WithoutCancel(ctx))
		case <-tick.C:
			if err := c.SaveAsked(ctx); err != nil {
				failed(err)
			}
		}
	}
}

// SaveAsked keeps now who has asked for a window.
func (c *CA) SaveAsked(ctx context.Context) error {
	c.windows.mu.Lock()
	asked := c.windows.asked
	c.windows.asked = map[string]time.Time{}
	c.windows.mu.Unlock()
	if len(asked) == 0 {
		return nil
	}
	return c.DB.MarkAsked(ctx, asked)
}

// checkLink refuses what is no link for people.
func checkLink(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || len(text) > maxURI {
		return errors.Join(tallystick.ErrInvalid, fmt.Errorf("%.80q is no link that people can follow", text))
	}
	return nil
}

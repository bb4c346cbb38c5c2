// SPDX-License-Identifier: Apache-2.0

// Package tries writes down what Tallystick itself does with credentials: a recall tries
// the old one and the new one, and those that read logs or look for credentials sign in.
// Their relying parties record it as any use, and nobody must take it for a thief's. So it
// stands in a book of the server's own, on the side of the credential's holder, and the watch is told:
// what we do with a credential is no habit of its holder.
//
// Where the holder keeps no book nothing is written: one with nothing in it but tries
// would make every use of the holder's look foreign. The watch is told all the same.
package tries

import (
	"context"
	"crypto/rand"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/usage"
	"github.com/tallystick/tallystick/internal/watch"
	"github.com/tallystick/tallystick/rule"
)

// Book is the source that tries are recorded under.
const Book = "tallystick-recalls"

const (
	// recordTime bounds how long a record may hold up what is being tried.
	recordTime = 5 * time.Second
	// settled is how far before now the book is closed: what was tried by then is written. A
	// try takes 30 seconds at most (package probing), and its record recordTime. Until it is closed
	// nobody knows whether a use was ours, so that it is no longer than that needs.
	settled = 45 * time.Second
	// closeGap is how often it is closed.
	closeGap = 5 * time.Second
)

// Config is what New needs.
type Config struct {
	Usage *usage.Usage // whose Own is Book
	Watch *watch.Watch // whose Own is Book
	Now   func() time.Time
	// Failed is told of a try that could not be recorded, from several goroutines.
	Failed func(error)
}

// Tries is the book. Its methods are safe to call from several goroutines.
type Tries struct {
	Config
	marked atomic.Int64 // when it was closed last, in microseconds
}

// New returns the book of a server.
func New(c Config) *Tries { return &Tries{Config: c} }

// Used takes in what was done with a credential, as driver.WatchRequest.Used wants it. When
// it returns the watch knows of it, and the use is durable, unless Failed was told or the holder of the
// credential keeps no book. Those that come at once, from the doors of a recall or the logs of a
// thousand tenants, are written together: the ledger sees to that.
func (t *Tries) Used(use tallystick.Use) { t.Tried(driver.Public{}, use) }

// Tried is Used for a try of a recall: old is the credential that is replaced there, whose
// holder's book counts as that of its successor.
func (t *Tries) Tried(old driver.Public, use tallystick.Use) {
	ctx, cancel := context.WithTimeout(context.Background(), recordTime)
	defer cancel()
	kept, err := t.Usage.Kept(ctx, append(old.Names(), use.Credential...))
	if err == nil && kept {
		use.Source, use.Side, use.Count, use.Until, use.ID = Book, tallystick.SideHolder, 1, use.Time, rand.Text()
		batch := ledger.Batch{Uses: []tallystick.Use{use}}
		// With the first record of a credential its uses wait for this book as well. Those of long
		// ago must not, or what was found foreign would be taken back until the book is closed.
		if now := t.Now(); now.Sub(time.UnixMicro(t.marked.Load())) >= closeGap {
			batch.Marks = t.marks(now)
		}
		_, err = t.Watch.Append(ctx, Book, batch, nil)
	}
	if err != nil || !kept {
		t.Watch.Made(use)
	}
	if err != nil {
		t.Failed(err)
	}
}

// Here returns the networks that this machine has addresses in, as rule.NetworkOf has them: from there
// its own tries come, unless somebody translates addresses.
func Here() []netip.Prefix {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil // as behind a translation
	}
	var list []netip.Prefix
	for _, a := range addresses {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			list = append(list, rule.NetworkOf(p.Addr()))
		}
	}
	return list
}

// Run closes the book again and again until ctx ends, so that nothing waits for it, and
// returns why. What goes wrong is told to failed and tried again.
func (t *Tries) Run(ctx context.Context, failed func(error)) error {
	ticker := time.NewTicker(closeGap)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
			if err := t.close(ctx); err != nil {
				failed(err)
			}
		}
	}
}

// close closes the book, if there is one, as far as everything is written.
func (t *Tries) close(ctx context.Context) error {
	if !slices.ContainsFunc(t.Usage.Ledger.Books(), func(b ledger.Book) bool { return b.Source == Book }) {
		return nil
	}
	_, err := t.Watch.Append(ctx, Book, ledger.Batch{Marks: t.marks(t.Now())}, nil)
	return err
}

// marks close the book as far as everything is written.
func (t *Tries) marks(now time.Time) []ledger.Mark {
	t.marked.Store(now.UnixMicro())
	return []ledger.Mark{{ClosingMark: tallystick.ClosingMark{Source: Book, Side: tallystick.SideHolder, Closed: now.Add(-settled)}}}
}

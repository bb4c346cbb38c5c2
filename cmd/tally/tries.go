// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/usage"
	"github.com/tallystick/tallystick/internal/watch"
)

// ownBook is the source of the server's own tries of credentials.
const ownBook = "tallystick-recalls"

// tries writes down what the server itself does with credentials in a recall, on the
// side of their holder: their relying parties record it as well, and nobody must take it
// for a thief's. Where the holder keeps no book nothing is written, because one with
// nothing in it but tries would make every use of the holder's look foreign.
type tries struct {
	usage *usage.Usage
	watch *watch.Watch
	now   func() time.Time
}

// tryTime bounds how long a record may hold up what is being tried.
const tryTime = 5 * time.Second

// settled is how far before now the book is closed: what was tried by then is written.
const settled = 2 * time.Minute

// record takes in one try.
func (t tries) record(failed func(error)) func(doors.Door, driver.Public, tallystick.Use) {
	return func(_ doors.Door, old driver.Public, use tallystick.Use) {
		ctx, cancel := context.WithTimeout(context.Background(), tryTime)
		defer cancel()
		kept, err := t.usage.Quiet(ctx, usage.QuietQuestion{Names: append(old.Names(), use.Credential...), Since: t.now()})
		if err == nil && slices.ContainsFunc(kept.Books, func(source string) bool { return source != ownBook }) {
			use.Source, use.Side, use.Count, use.Until, use.ID = ownBook, tallystick.SideHolder, 1, use.Time, rand.Text()
			_, err = t.watch.Append(ctx, ownBook, ledger.Batch{Uses: []tallystick.Use{use}}, nil)
		}
		if err != nil {
			failed(err)
		}
	}
}

// run closes the book again and again, so that nothing waits for it.
func (t tries) run(ctx context.Context, failed func(error)) error {
	ticker := time.NewTicker(settled / 2)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		books := t.usage.Ledger.Books()
		if !slices.ContainsFunc(books, func(b ledger.Book) bool { return b.Source == ownBook }) {
			continue
		}
		mark := ledger.Mark{ClosingMark: tallystick.ClosingMark{Source: ownBook, Side: tallystick.SideHolder, Closed: t.now().Add(-settled)}}
		if _, err := t.watch.Append(ctx, ownBook, ledger.Batch{Marks: []ledger.Mark{mark}}, nil); err != nil {
			failed(err)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
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
	queue chan try // what waits to be written
}

// A try waits to be written; done is told when it is, or why not.
type try struct {
	use  tallystick.Use
	done chan error
}

// mostTries bounds how many are written at once.
const mostTries = 500

// tryTime bounds how long a record may hold up what is being tried.
const tryTime = 5 * time.Second

// settled is how far before now the book is closed: what was tried by then is written.
const settled = 2 * time.Minute

// record takes in one try.
func (t tries) record(failed func(error)) func(driver.Public, tallystick.Use) {
	return func(old driver.Public, use tallystick.Use) {
		ctx, cancel := context.WithTimeout(context.Background(), tryTime)
		defer cancel()
		kept, err := t.usage.Kept(ctx, append(old.Names(), use.Credential...))
		if err == nil && kept {
			use.Source, use.Side, use.Count, use.Until, use.ID = ownBook, tallystick.SideHolder, 1, use.Time, rand.Text()
			err = t.write(ctx, use)
		}
		if err != nil {
			failed(err)
		}
	}
}

// write has run write a use, and returns when it is durable: a recall tries at many doors at
// once, and their tries are written together.
func (t tries) write(ctx context.Context, use tallystick.Use) error {
	one := try{use, make(chan error, 1)}
	select {
	case t.queue <- one:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-one.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run writes what is tried, and closes the book again and again, so that nothing waits for it.
func (t tries) run(ctx context.Context, failed func(error)) error {
	ticker := time.NewTicker(settled / 2)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case one := <-t.queue:
			t.writeWith(ctx, one)
		case <-ticker.C:
			if err := t.close(ctx); err != nil {
				failed(err)
			}
		}
	}
}

// writeWith writes a try and those that wait behind it.
func (t tries) writeWith(ctx context.Context, first try) {
	list, uses := []try{first}, []tallystick.Use{first.use}
	for len(list) < mostTries {
		select {
		case next := <-t.queue:
			list, uses = append(list, next), append(uses, next.use)
			continue
		default:
		}
		break
	}
	_, err := t.watch.Append(ctx, ownBook, ledger.Batch{Uses: uses}, nil)
	for _, one := range list {
		one.done <- err
	}
}

// close closes the book, if there is one, as far as everything is written.
func (t tries) close(ctx context.Context) error {
	if !slices.ContainsFunc(t.usage.Ledger.Books(), func(b ledger.Book) bool { return b.Source == ownBook }) {
		return nil
	}
	mark := ledger.Mark{ClosingMark: tallystick.ClosingMark{Source: ownBook, Side: tallystick.SideHolder, Closed: t.now().Add(-settled)}}
	_, err := t.watch.Append(ctx, ownBook, ledger.Batch{Marks: []ledger.Mark{mark}}, nil)
	return err
}

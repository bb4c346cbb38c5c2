// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"time"

	"github.com/tallystick/tallystick"
)

// A Watcher reads the logs of one real system while they are written: those of one
// tenant of Microsoft 365, say. What it reads is one book.
//
// Watch is one round: it hands over what can be read now, as it comes, and returns
// when there is nothing more for the moment, when it has to wait, or when enough was
// read that others should have a turn. Again is after how long another round is worth
// it; 0 leaves that to the caller. It does not wait for anything itself but answers,
// so that a few goroutines can watch thousands of systems, and keeps nothing from one
// round to the next but the position.
//
// Its memory is bounded, whatever the size of a log. It is read-only, and safe to
// repeat from any position that it has ever given: what comes twice changes nothing.
// A record that becomes readable late is read all the same, as far back as the
// documentation of the driver says.
//
// Trouble with a part of it, such as a log that nobody has a licence for, is told to
// the sink, and the rest is read. An error says that the round came to nothing: a
// failing sink, a cancelled context, a position that cannot be read (ErrDamaged).
type Watcher interface {
	Watch(ctx context.Context, request WatchRequest, sink WatchSink) (again time.Duration, err error)
}

// A WatchRequest says from where to go on.
type WatchRequest struct {
	// Position is that of a batch which the sink took in an earlier round, usually
	// but not always the last; "" begins anew.
	Position string
	Now      func() time.Time // never nil
	// Memory has what batches of earlier rounds asked to be remembered. It may be nil: then
	// nothing is.
	Memory WatchMemory
	// Used is told of each sign-in that the watcher itself makes, as of LookRequest.
	Used func(tallystick.Use)
}

// A WatchMemory has what a sink remembers for a watcher of a system that tells how things
// are and not what they were before. What a batch of a round asks to be remembered is there when
// Take has returned.
type WatchMemory interface {
	// Remembered returns the values under keys, nil where there is none.
	Remembered(ctx context.Context, keys []string) ([][]byte, error)
}

// A WatchSink takes what a Watcher reads. It is used by one goroutine.
type WatchSink interface {
	// Take takes a batch. When it returns nil the records are durable, and fresh says
	// how many uses nobody knew yet. After an error the same records come again in a
	// later round. It keeps nothing of the batch's memory.
	Take(batch WatchBatch) (fresh int, err error)
	// Trouble tells what keeps something from being read in this round. What a later
	// round does not tell again is over.
	Trouble(trouble WatchTrouble)
}

// A WatchBatch is what is handed over at once: at most some thousand records, which
// may be none when only the position or the mark is new.
type WatchBatch struct {
	Log     string   // what they were read from, for people: "sign-ins"
	Format  string   // how they are written, as "tally reconcile --format" names it
	Records [][]byte // a JSON object each, as it was received
	// Remember is kept for later rounds before the position is. A watcher that is sent back
	// to an older position finds it all the same.
	Remember []Remembered
	// Position is from where a round goes on when all of the batch is durable.
	Position string
	// Closed says that nothing earlier will come any more, as far as the system's
	// documentation tells and records have been late so far. Zero says nothing.
	Closed time.Time
}

// Remembered is one value that is kept for a watcher, in place of an older one.
type Remembered struct {
	Key   string // at most 200 bytes
	Value []byte // empty: nothing is kept any more
}

// A WatchTrouble is why something cannot be read now.
type WatchTrouble struct {
	Log string // that cannot be read; "" is all of them
	// Err is of kind ErrDenied when somebody has to give a permission or a licence,
	// ErrUnavailable when it passes by itself. It holds no secret.
	Err error
	Do  string // what a person does about it: a sentence, or ""
}

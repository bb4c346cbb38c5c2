// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/tally"
)

const (
	tallied       = "x5t:00112233445566778899aabbccddeeff00112233"
	talliedSource = "entra\x1b[31m" // what a stranger chose
)

// cmdUses puts uses of one credential into a data directory: uses DIR puts ten that
// both sides have, and two foreign ones, and seals them; uses DIR -more says of one
// more that it is foreign; uses DIR -unrecorded seals one more, and tells nobody.
func cmdUses(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: uses DIR [-more|-unrecorded]")
	}
	p := &program{out: io.Discard, err: io.Discard, getenv: ts.Getenv, now: time.Now}
	ctx := context.Background()
	c, err := p.load(dataFlags{data: ts.MkAbs(args[0])})
	ts.Check(err)
	ts.Check(os.MkdirAll(c.Data, 0o700))
	h, err := p.open(ctx, c)
	ts.Check(err)
	defer func() { ts.Check(h.close()) }()
	w := usesWriter{ts: ts, h: h, ctx: ctx, noon: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	w.begin()
	switch {
	case len(args) == 1:
		for n := range 10 {
			at := w.noon.Add(time.Duration(n) * time.Minute)
			w.add(tallystick.SideHolder, "sync", n, at)
			w.add(tallystick.SideRelying, talliedSource, n, at)
		}
		w.foreign(100)
		w.foreign(101)
		w.write(true)
	case args[1] == "-more":
		w.foreign(102)
		w.write(false)
	default:
		w.add(tallystick.SideHolder, "sync", 103, w.noon)
		w.seal = true
		w.write(false)
	}
}

// A usesWriter writes what a running server would have written.
type usesWriter struct {
	ts    *testscript.TestScript
	h     *house
	ctx   context.Context
	noon  time.Time
	used  int64
	batch ledger.Batch
	said  []store.Verdict
	seal  bool
}

func (w *usesWriter) begin() {
	known, err := w.h.db.UsedUnder(w.ctx, tallied)
	w.ts.Check(err)
	if len(known) > 0 {
		w.used = known[0].ID
		return
	}
	named, err := w.h.db.NameCredentials(w.ctx, []store.Name{{Name: tallied, Seen: w.noon}})
	w.ts.Check(err)
	w.used, err = w.h.db.NewUsedIDs(w.ctx, 1)
	w.ts.Check(err)
	w.ts.Check(w.h.db.SaveUsed(w.ctx, []store.Used{{ID: w.used, Credential: named[0], Names: []string{tallied}}}, nil))
}

func (w *usesWriter) add(side tallystick.Side, source string, n int, at time.Time) tallystick.Use {
	u := tallystick.Use{
		ID: fmt.Sprint(n), Source: source, Side: side, Level: tallystick.LevelRequest, Time: at, Until: at, Count: 1, Credential: []string{tallied},
		RelyingParty: "entra:t/graph", Outcome: tallystick.OutcomeSuccess, Address: "192.0.2.1",
	}
	w.batch.Uses = append(w.batch.Uses, u)
	return u
}

func (w *usesWriter) foreign(n int) {
	u := w.add(tallystick.SideRelying, talliedSource, n, w.noon.Add(30*time.Minute+time.Duration(n)*time.Second))
	text, err := json.Marshal(u)
	w.ts.Check(err)
	w.said = append(w.said, store.Verdict{
		Record: tally.Key(&u), Used: w.used, Verdict: tallystick.VerdictForeign, Reason: "the key was used elsewhere", Uses: 1, Time: u.Time, Side: u.Side,
		Source: u.Source, Party: u.RelyingParty, Address: u.Address, Said: w.noon, Use: string(text),
	})
}

// write appends what was added, seals it and records the root.
func (w *usesWriter) write(recorded bool) {
	var options ledger.Options
	if recorded {
		options.Sealed = recordRoot(w.h.log, func() time.Time { return w.noon })
	}
	book, err := ledger.Open(ledgerDir(w.h.config.Data), options)
	w.ts.Check(err)
	mark := tallystick.ClosingMark{Source: "sync", Side: tallystick.SideHolder, Closed: w.noon.Add(time.Hour)}
	w.batch.Marks = []ledger.Mark{{ClosingMark: mark}}
	_, err = book.Append(w.ctx, w.batch)
	w.ts.Check(err)
	if recorded || w.seal {
		w.ts.Check(book.Seal(w.ctx))
	}
	w.ts.Check(book.Close())
	err = w.h.db.SaveVerdicts(w.ctx, w.said, nil)
	w.ts.Check(err)
}

// SPDX-License-Identifier: Apache-2.0

package usage

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ledger"
)

// A reading is what the books had of one credential at one instant. A recall asks the same
// of thousands of relying parties within a second, and reading a book costs as much for
// one of them as for all.
type reading struct {
	at      time.Time // by Now, before anything was read: what is closed then is complete in what follows
	since   time.Time // uses that ended before are only in met and sources
	began   time.Time // by the machine's clock
	took    time.Duration
	books   []Book
	sources []string             // of the holder, that have the credential
	met     map[string]bool      // relying parties of uses of either side
	uses    map[string][]madeUse // of the holder, by relying party
	used    []int64              // under which the credential's verdicts stand
}

// A madeUse is a record of the holder.
type madeUse struct {
	first, last time.Time
	count       int64
	refused     bool
}

func (t *reading) parties() []string { return slices.Collect(maps.Keys(t.uses)) }

// readings keeps the last of each credential.
type readings struct {
	mu    sync.Mutex
	slots map[string]*readingSlot // guarded by mu; by nameKey
	kept  map[string]keptAnswer   // guarded by mu; by nameKey
}

// A readingSlot is what was read last of one credential. Who reads it anew has busy
// meanwhile: others who ask of the same wait for them, and not for those of another.
type readingSlot struct {
	busy chan struct{} // holds one
	last *reading      // owned by who has busy
}

// earlier is how much more than was asked for is kept, so that who began a little
// before finds an answer too.
const earlier = 10 * time.Minute

// mostReadings bounds how many credentials are kept.
const mostReadings = 64

// reading returns what the books have: what was read last, when that is fresh enough.
// Reading again takes at most a tenth of the time.
func (u *Usage) reading(ctx context.Context, q QuietQuestion) (*reading, error) {
	slot := u.readings.slot(q.Names)
	select {
	case slot.busy <- struct{}{}:
		defer func() { <-slot.busy }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if last := slot.last; last != nil && u.Fresh > 0 && time.Since(last.began) < max(u.Fresh, 10*last.took) && !q.Since.Before(last.since) {
		return last, nil
	}
	fresh, err := u.read(ctx, q.Names, q.Since.Add(-earlier))
	if err == nil {
		slot.last = fresh
	}
	return fresh, err
}

// nameKey makes one text of the names of a credential.
func nameKey(names []string) string {
	names = slices.Clone(names)
	slices.Sort(names)
	return strings.Join(names, "\x00")
}

func (r *readings) slot(names []string) *readingSlot {
	key := nameKey(names)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.slots[key] == nil {
		if r.slots == nil || len(r.slots) >= mostReadings {
			r.slots = map[string]*readingSlot{} // who has an old one goes on with it
		}
		r.slots[key] = &readingSlot{busy: make(chan struct{}, 1)}
	}
	return r.slots[key]
}

// keptFor is for how long an answer of Kept is good: books that are kept go on being kept, and
// that one has begun is to be known soon.
const (
	keptFor  = time.Hour
	emptyFor = 5 * time.Second
)

// Kept says whether a holder records the uses of a credential. It stops at the first use, and
// with Fresh answers from what it found before.
func (u *Usage) Kept(ctx context.Context, names []string) (bool, error) {
	key := nameKey(names)
	u.readings.mu.Lock()
	before, known := u.readings.kept[key]
	u.readings.mu.Unlock()
	if known && u.Fresh > 0 && time.Now().Before(before.until) {
		return before.is, nil
	}
	is, err := u.isKept(ctx, names)
	if err != nil {
		return false, err
	}
	until := time.Now().Add(emptyFor)
	if is {
		until = time.Now().Add(keptFor)
	}
	u.readings.mu.Lock()
	defer u.readings.mu.Unlock()
	if u.readings.kept == nil || len(u.readings.kept) >= mostKept {
		u.readings.kept = map[string]keptAnswer{}
	}
	u.readings.kept[key] = keptAnswer{is, until}
	return is, nil
}

// mostKept bounds how many answers of Kept are remembered.
const mostKept = 10_000

// A keptAnswer is what Kept has found.
type keptAnswer struct {
	is    bool
	until time.Time // by the machine's clock
}

func (u *Usage) isKept(ctx context.Context, names []string) (bool, error) {
	now := u.Now()
	first, err := u.Ledger.First(ctx, ledger.Query{Names: names, From: now.Add(-bookAge), To: now.Add(time.Hour), Side: tallystick.SideHolder},
		func(use *tallystick.Use) bool { return use.Source != u.Own })
	return first != nil, err
}

// read reads the books: first up to when they are closed, then what is in them, so that
// nothing comes into a closed part behind its back.
func (u *Usage) read(ctx context.Context, names []string, since time.Time) (*reading, error) {
	t := &reading{at: u.Now(), since: since, began: time.Now(), met: map[string]bool{}, uses: map[string][]madeUse{}, used: []int64{}}
	var err error
	if t.books, err = u.books(ctx); err != nil {
		return nil, err
	}
	err = u.Ledger.Scan(ctx, ledger.Query{Names: names, From: since.Add(-bookAge), To: t.at.Add(time.Hour)}, func(use *tallystick.Use) error {
		if use.Source != u.Own {
			t.take(use)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(t.sources)
	for _, name := range names {
		rows, err := u.DB.UsedUnder(ctx, name)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			t.used = append(t.used, row.ID)
		}
	}
	slices.Sort(t.used)
	t.used, t.took = slices.Compact(t.used), time.Since(t.began)
	return t, nil
}

func (t *reading) take(use *tallystick.Use) {
	t.met[use.RelyingParty] = true
	if use.Side != tallystick.SideHolder {
		return
	}
	if !slices.Contains(t.sources, use.Source) {
		t.sources = append(t.sources, use.Source)
	}
	last := use.Time
	if use.Until.After(last) {
		last = use.Until
	}
	if use.Outcome == tallystick.OutcomeAttempt || last.Before(t.since) {
		return
	}
	t.uses[use.RelyingParty] = append(t.uses[use.RelyingParty], madeUse{use.Time, last, use.Count, use.Outcome == tallystick.OutcomeRefused})
}

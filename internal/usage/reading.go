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
	mu   sync.Mutex
	last map[string]*reading // guarded by mu; by the names of the credential
}

// earlier is how much more than was asked for is kept, so that who began a little
// before finds an answer too.
const earlier = 10 * time.Minute

// mostReadings bounds how many credentials are kept.
const mostReadings = 64

// reading returns what the books have: what was read last, when that is fresh enough.
// Reading again takes at most a tenth of the time.
func (u *Usage) reading(ctx context.Context, q QuietQuestion) (*reading, error) {
	names := slices.Clone(q.Names)
	slices.Sort(names)
	key := strings.Join(names, "\x00")
	u.readings.mu.Lock()
	defer u.readings.mu.Unlock()
	last := u.readings.last[key]
	if last != nil && time.Since(last.began) < max(u.Fresh, 10*last.took) && !q.Since.Before(last.since) && u.Fresh > 0 {
		return last, nil
	}
	fresh, err := u.read(ctx, q.Names, q.Since.Add(-earlier))
	if err != nil {
		return nil, err
	}
	if u.readings.last == nil || len(u.readings.last) >= mostReadings {
		u.readings.last = map[string]*reading{}
	}
	u.readings.last[key] = fresh
	return fresh, nil
}

// Kept says whether a holder records the uses of a credential.
func (u *Usage) Kept(ctx context.Context, names []string) (bool, error) {
	r, err := u.reading(ctx, QuietQuestion{Names: names, Since: u.Now()})
	if err != nil {
		return false, err
	}
	return len(r.sources) > 0, nil
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

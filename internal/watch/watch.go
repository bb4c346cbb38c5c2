// SPDX-License-Identifier: Apache-2.0

// Package watch is the tally while it goes on: every use that comes in passes its
// door, into the ledger and then before the rules, and is matched as soon as the
// books that speak of it are closed past its time.
//
// What a use comes to is decided by package tally, which settles sets of records.
// Here it is decided which records are settled together:
//
//   - Those that came lately are in memory. Each round settles the credentials that
//     something is new about: a record, or how far a book is closed. A record whose
//     other half a token id names leaves at once, any other when nothing that is
//     still to come can be its half: both sides are closed past it, and for longer
//     than the tolerance nothing was used.
//   - What comes later than that is settled with what the ledger has of its time,
//     span by span. So is what waits for a book so long that it would fill the
//     memory.
//
// What is said of a record that is not matched is written down (store.Verdict) and
// changes when a late record changes it; in the end it is what one tally over all
// records says. What was seen is saved with the number of the newest sealed segment,
// so that a process that is killed takes up what came since.
package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/sigma"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/tally"
	"github.com/tallystick/tallystick/rule"
)

// Config is what Open needs.
type Config struct {
	DB     *store.DB
	Ledger *ledger.Ledger
	Rules  []rule.Rule // those over uses and books are run
	// Sigma are rules of users over uses; see sigma.Options.MappedOnly.
	Sigma []*sigma.Rule
	// Directory is told of uses after changes of who gets in; nil is nobody.
	Directory Directory
	// Network names the network of an address; nil is rule.NetworkOf.
	Network func(netip.Addr) string
	// Own is the book in which this program writes down what it does with credentials itself; "" is
	// none. Here are the networks of this machine, as rule.NetworkOf has them; nil knows none.
	Own  string
	Here func() []netip.Prefix
	// Tolerance is tally.DefaultTolerance when it is 0.
	Tolerance time.Duration
	Now       func() time.Time
	Log       *slog.Logger
}

// A Directory keeps changes of who gets in: *directory.Directory.
type Directory interface {
	Take(ctx context.Context, changes []tallystick.Change) error
	// Changed returns when a credential was last added, before a time, to what is
	// used under some names, other than by an expected change; zero is never.
	Changed(names []string, before time.Time) time.Time
	// Used says that something was used: an account, with credentials.
	Used(ctx context.Context, accounts, credentials []string, at time.Time, address string) error
}

// A Watch is the open tally. Its methods are safe to call from several goroutines.
type Watch struct {
	Config
	byRule map[string]rule.Rule
	useful []rule.Rule // those over uses

	detection *detection // guarded by mu; nil without rules of users

	// door is held by whoever puts records into the ledger, until they are in the
	// open ones too, and by itself while what was seen is saved: then nothing is
	// between the two.
	door sync.RWMutex

	mu       sync.Mutex
	used     map[int64]*used
	names    map[string]*used  // by name, as written and in the normal form
	tokens   *tokens           // whose a token is
	halves   halves            // open records that wait for the other record of their token
	losses   map[string][]lost // by book
	speaking map[string]bool   // the books of holders that have uses
	nextID   int64             // of the ids that were taken for new ones
	endID    int64
	promised int64                   // of them, those that records on their way may need
	since    int64                   // records since what was seen was last saved
	counted  int64                   // of those, the ones whose counts are saved
	merged   [][2]int64              // that are not written down yet
	hours    map[hourKey]int64       // since then
	parties  map[partyKey]*partySeen // since then
	raised   map[raisedKey]string    // findings and their evidence, so that each is written once
	tries    map[trier]int           // attempts that were written down since what was seen was saved
	outbox   outbox
	closed   map[bookName]int64 // how far books are closed, as of the last round
	skews    map[skewPair]*skew
	ended    map[bookName]bool // books that nobody writes any more
	own      own
	counts   Counts

	wake chan struct{}
}

type bookName struct {
	source string
	side   tallystick.Side
}

// Counts are for those who measure.
type Counts struct {
	Taken   int64 // records
	Open    int64 // records in memory
	Spans   int64 // that wait for a book, or for their turn
	Matched int64 // records, since the start
	Said    map[tallystick.Verdict]int64
	Round   time.Duration // how long the last round took
}

// A lost is what a holder's book could not write down.
type lost struct {
	From, To int64 // microseconds
	Seq      uint64
	Count    int64
}

// Open takes up the tally where it was left. It reads what came since.
func Open(ctx context.Context, c Config) (*Watch, error) {
	if c.Tolerance == 0 {
		c.Tolerance = tally.DefaultTolerance
	}
	if c.Network == nil {
		c.Network = func(a netip.Addr) string { return rule.NetworkOf(a).String() }
	}
	w := &Watch{
		Config: c, byRule: map[string]rule.Rule{}, used: map[int64]*used{}, names: map[string]*used{}, tokens: &tokens{}, halves: halves{},
		losses: map[string][]lost{}, speaking: map[string]bool{}, hours: map[hourKey]int64{}, parties: map[partyKey]*partySeen{}, raised: map[raisedKey]string{},
		own: own{by: map[string]*tried{}, acts: map[uint64]bool{}}, tries: map[trier]int{}, closed: map[bookName]int64{}, skews: map[skewPair]*skew{}, counts: Counts{Said: map[tallystick.Verdict]int64{}}, wake: make(chan struct{}, 1),
	}
	for _, r := range c.Rules {
		w.byRule[r.Name] = r
		if r.Use != nil {
			w.useful = append(w.useful, r)
		}
	}
	var err error
	if w.detection, err = newDetection(c.Sigma); err != nil {
		return nil, fmt.Errorf("couldn't take up the Sigma rules: %w", err)
	}
	if err := errors.Join(w.learnFormats(ctx), w.learnEnded(ctx)); err != nil {
		return nil, err
	}
	if err := w.load(ctx); err != nil {
		return nil, fmt.Errorf("couldn't take up the tally: %w", err)
	}
	return w, nil
}

// Append takes in what a source has read. When it returns nil, all of it is in the
// ledger for good, and is tallied; after an error the same may be appended again,
// and what was there already changes nothing. The uses belong to the watch from
// then on.
func (w *Watch) Append(ctx context.Context, _ string, batch ledger.Batch, changes []tallystick.Change) (ledger.Appended, error) {
	if len(changes) > 0 && w.Directory != nil {
		if err := w.Directory.Take(ctx, changes); err != nil {
			return ledger.Appended{}, err
		}
		w.mu.Lock()
		w.detectChanges(changes)
		w.mu.Unlock()
		w.Wake()
	}
	n := int64(len(batch.Uses))
	if err := w.reserve(ctx, n); err != nil {
		return ledger.Appended{}, err
	}
	w.door.RLock()
	defer w.door.RUnlock()
	added, err := w.Ledger.Append(ctx, batch)
	w.mu.Lock()
	w.promised -= n
	if err != nil {
		w.mu.Unlock()
		return added, err
	}
	for i := range batch.Uses {
		if added.IsNew(i) {
			w.take(&batch.Uses[i])
		}
	}
	w.mu.Unlock()
	if added.Added > 0 || len(batch.Marks) > 0 {
		w.Wake()
	}
	return added, nil
}

// reserve makes sure that there are ids for as many new credentials as n records
// can bring, until they are given back: nothing may fail once the ledger has them.
func (w *Watch) reserve(ctx context.Context, n int64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.endID-w.nextID < w.promised+n {
		const block = 1 << 16
		want := w.promised + n + block
		first, err := w.DB.NewUsedIDs(ctx, want)
		if err != nil {
			return err
		}
		w.nextID, w.endID = first, first+want
	}
	w.promised += n
	return nil
}

// Wake has what is due settled now. It does not wait.
func (w *Watch) Wake() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// How often things are done, at most and at least.
const (
	shortestRound = 200 * time.Millisecond
	longestPause  = time.Second // after a round that is not longer itself
	longestRound  = 5 * time.Second
	saveEvery     = time.Hour
	saveRecords   = 400 << 10 // before the ledger seals by itself
	judgeEvery    = 10 * time.Second
	countEvery    = 10 * time.Second
	upkeepStep    = 500 * time.Millisecond
)

// Run settles what is due until ctx ends, and saves what was seen. What could not
// be done is tried again, and failed is told.
func (w *Watch) Run(ctx context.Context, failed func(error)) error {
	var upkeep sync.WaitGroup
	upkeep.Go(func() { w.upkeep(ctx, failed) })
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			upkeep.Wait()
			return w.end(ctx)
		case <-w.wake:
		case <-tick.C:
		}
		began := time.Now()
		if err := w.round(ctx); err != nil && ctx.Err() == nil {
			failed(err)
		}
		took := time.Since(began)
		w.mu.Lock()
		w.counts.Round = took
		w.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(pauseAfter(took)):
		}
		tick.Reset(longestRound)
	}
}

// pauseAfter returns how long to rest after a round, which settles all open records anew: mostly
// four times as long as it took, as long as nobody waits for a second because of that. Those
// who put records in come to their turn meanwhile.
func pauseAfter(took time.Duration) time.Duration {
	return max(min(max(shortestRound, 4*took), longestPause), took/2)
}

// upkeep does what need not be done with every round, and would hold it up.
func (w *Watch) upkeep(ctx context.Context, failed func(error)) {
	tick := time.NewTicker(upkeepStep)
	defer tick.Stop()
	saved, judged, counted := time.Now(), time.Time{}, time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var err error
		now := time.Now()
		if now.Sub(judged) > judgeEvery {
			judged = now
			err = errors.Join(w.refresh(ctx), w.learnEnded(ctx), w.judgeBooks(ctx), w.learnFormats(ctx))
		}
		if now.Sub(counted) > countEvery {
			counted = now
			err = errors.Join(err, w.saveCounts(ctx))
		}
		w.mu.Lock()
		full, some := w.since >= saveRecords, w.since > 0
		w.mu.Unlock()
		if full || some && now.Sub(saved) > saveEvery {
			saved = now
			err = errors.Join(err, w.save(ctx))
		}
		if err != nil && ctx.Err() == nil {
			failed(err)
		}
	}
}

// Finish settles all that can be settled now, and saves it. Run must not be running.
func (w *Watch) Finish(ctx context.Context) error {
	for {
		if err := w.round(ctx); err != nil {
			return err
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return ctx.Err()
		default:
			return errors.Join(w.judgeBooks(ctx), w.saveCounts(ctx), w.save(ctx))
		}
	}
}

// end saves what was seen when the program stops.
func (w *Watch) end(ctx context.Context) error {
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(ctx.Err(), w.round(stopping), w.save(stopping))
}

// Counts returns how much there is.
func (w *Watch) Counts() Counts {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.counts
	c.Said = map[tallystick.Verdict]int64{}
	for verdict, n := range w.counts.Said {
		c.Said[verdict] = n
	}
	for _, one := range w.used {
		c.Open += int64(len(one.open) - one.gone)
		c.Spans += int64(len(one.spans))
	}
	return c
}

// Pending calls fn with the time of every use of a relying party that waits, and
// how many it counts; used 0 is of every credential.
func (w *Watch) Pending(id int64, fn func(at time.Time, count int64)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, one := range w.used {
		if id != 0 && one.id != id {
			continue
		}
		for _, e := range one.open {
			if e.use.Side == tallystick.SideRelying && e.verdict == tallystick.VerdictPending && !e.paired {
				fn(e.use.Time, e.use.Count)
			}
		}
	}
}

// Undecided says whether nothing can be said yet of a use of a credential that was
// made at a time: it waits for a book or for its turn.
func (w *Watch) Undecided(id int64, at time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	one, ok := w.used[id]
	if !ok {
		return false
	}
	t := micro(at)
	for _, s := range one.spans {
		if s.From <= t && t <= s.To {
			return true
		}
	}
	if s := one.settling; s != nil && s.From <= t && t <= s.To {
		return true
	}
	for _, e := range one.open {
		if micro(e.use.Time) == t && !e.paired && (e.verdict == "" || e.verdict == tallystick.VerdictPending || e.verdict == tallystick.VerdictUnconfirmed && e.said == (statement{})) {
			return true
		}
	}
	return false
}

// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"context"
	"fmt"
	"hash/maphash"
	"runtime/debug"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/uses"
)

const (
	// A source that cannot be read is tried again after remoteMin, then after twice
	// as long, up to remoteMax.
	remoteMin = 2 * time.Second
	remoteMax = 10 * time.Minute
	// usualRound is when the next round is, where a driver leaves that to us.
	usualRound = 30 * time.Second
	// markEvery is how often a book is closed further in which nothing is new.
	markEvery = 30 * time.Second
	// maxRecent bounds how many records of a source are remembered, twice over.
	maxRecent = 8192
)

// A remote is a source that a driver reads. It is used by one goroutine at a time.
type remote struct {
	*feed
	stopped context.Context // ends when it is removed or paused
	stop    context.CancelFunc
	watcher driver.Watcher // nil until it was opened
	taken   bool           // position is known
	next    time.Time      // when its next round is
	wait    time.Duration  // for that, after trouble

	position string
	moved    bool      // the position is not stored
	stored   time.Time // when it was
	trouble  string    // that was stored
	closed   time.Time // up to where its book was closed
	marked   time.Time // when that was
	recent   recent
}

func (r *rounds) newRemote(one store.Source) *remote {
	ctx, stop := context.WithCancel(context.Background())
	return &remote{feed: r.newFeed(one), stopped: ctx, stop: stop, trouble: one.Error, next: time.Now()}
}

// Watchers returns the drivers that can read a source.
func (c *Config) Watchers() []driver.Driver {
	var list []driver.Driver
	for _, d := range c.Drivers {
		for _, verb := range d.Verbs() {
			if verb == "watch" {
				list = append(list, d)
			}
		}
	}
	return list
}

// openWatcher opens the driver of a source, as its options say.
func (c *Config) openWatcher(one store.Source) (driver.Watcher, error) {
	var names []string
	for _, d := range c.Watchers() {
		if names = append(names, d.Name()); d.Name() != one.Driver {
			continue
		}
		for _, o := range d.Options() {
			if one.Options[o.Name] != "" && o.Secret {
				return nil, invalid("option "+o.Name+" is a secret, which is not kept with a source", "Name a file that holds it, as far as the driver has an option for that.")
			}
		}
		opened, err := d.Open(one.Options)
		if err != nil {
			return nil, err
		}
		return opened.(driver.Watcher), nil
	}
	return nil, invalid(fmt.Sprintf("%q is no driver that reads logs", one.Driver), "It is one of "+strings.Join(names, ", ")+".")
}

// round has a source read, and returns after how long it is worth another try.
func (r *rounds) round(ctx context.Context, one *remote, streams streamSet) (again time.Duration) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(one.stopped, cancel)()
	said := &taking{remote: one, ctx: ctx, streams: streams}
	defer func() {
		if failure := recover(); failure != nil {
			r.failed(fmt.Errorf("source %s: its driver panicked: %v\n%s", one.source.Name, failure, debug.Stack()))
			one.forget()
			one.fail("its driver panicked: the log of this server says where")
			one.watcher, again = nil, panicRest
		}
	}()
	err := r.takeUp(ctx, one)
	if err == nil {
		again, err = one.watcher.Watch(ctx, driver.WatchRequest{Position: one.position, Now: r.Now, Memory: memory{r.DB, one.source.ID}, Used: r.Used}, said)
	}
	if ctx.Err() != nil {
		one.forget()
		one.fail(one.trouble)
		return 0
	}
	if err != nil {
		one.forget() // what was not taken in is read again
		said.Trouble(driver.WatchTrouble{Err: err})
		r.failed(fmt.Errorf("source %s: %w", one.source.Name, err))
	}
	one.fail(strings.Join(said.told, "; "))
	return one.rest(again, err != nil)
}

// takeUp makes a source ready for its next round.
func (r *rounds) takeUp(ctx context.Context, one *remote) (err error) {
	if !one.taken {
		if one.position, err = r.DB.SourcePosition(ctx, one.source.ID); err != nil {
			return err
		}
		one.taken = true
	}
	if one.watcher == nil {
		one.watcher, err = r.openWatcher(one.source)
	}
	return err
}

// rest returns after how long the next round is. Rounds that came to nothing are
// further and further apart, and those of many sources do not fall together.
func (one *remote) rest(again time.Duration, failed bool) time.Duration {
	if !failed {
		one.wait = 0
	} else if one.wait = min(max(2*one.wait, remoteMin), remoteMax); again < one.wait {
		again = one.wait
	}
	if again <= 0 {
		again = usualRound
	}
	// Up to a fifth more, so that sources which failed together do not come again together;
	// rounds that are worth it sooner are not put off.
	spread := maphash.Comparable(one.seed, [2]int64{one.source.ID, time.Now().UnixNano()}) % 1000
	if failed || again >= usualRound {
		again += again * time.Duration(spread) / 5000
	}
	return again
}

// fail notes what keeps a source from being read; "" is nothing.
func (one *remote) fail(why string) { one.progress.Error = clip(why) }

// unkept returns what is to be stored of a source.
func (one *remote) unkept(now time.Time) (store.SourceProgress, bool) {
	p := one.progress
	if p.Records == 0 && p.Malformed == 0 && p.Heard.IsZero() && p.Error == one.trouble && (!one.moved || now.Sub(one.stored) < idleStore) {
		return p, false
	}
	p.Position = one.position
	one.moved, one.stored, one.trouble, one.progress = false, now, p.Error, store.SourceProgress{}
	return p, true
}

// A taking is one round of a source, as its driver sees it.
type taking struct {
	*remote
	ctx     context.Context
	streams streamSet
	told    []string
}

// Take takes a batch in.
func (t *taking) Take(b driver.WatchBatch) (int, error) {
	stream, err := t.streams.of(b.Format, t.source, t.Now())
	if err != nil {
		return 0, err
	}
	fresh := make([]uint64, 0, len(b.Records))
	for i, record := range b.Records {
		// Windows overlap, so that what is late is not missed: most of what comes was
		// read a moment ago.
		sum := maphash.Bytes(t.seed, record)
		if t.recent.has(sum) {
			continue
		}
		fresh = append(fresh, sum)
		if len(record) > uses.MaxRecord {
			err = uses.ErrTooLong()
		} else {
			err = t.read(stream, string(record))
		}
		if err != nil {
			t.malformed(b.Log, int64(i+1), err)
		}
	}
	t.close(b.Closed, len(fresh) > 0)
	heard, changes := t.progress.Heard, len(t.changes)
	result, err := t.hand(t.ctx)
	if err != nil {
		return 0, err
	}
	if result.Added+changes == 0 {
		t.progress.Heard = heard // after a start some is read again
	}
	if err := (memory{t.DB, t.source.ID}).keep(t.ctx, b.Remember); err != nil {
		return 0, err
	}
	t.recent.add(fresh)
	if b.Position != "" && b.Position != t.position {
		t.position, t.moved = b.Position, true
	}
	return result.Added, nil
}

// close closes the book further, now and then when nothing is new.
func (t *taking) close(closed time.Time, fresh bool) {
	now := t.Now()
	every := markEvery
	if fresh {
		every = time.Second
	}
	if !closed.After(t.closed) || closed.After(now) || now.Sub(t.marked) < every {
		return
	}
	t.mark(closed)
	t.closed, t.marked = closed, now
}

// Trouble notes what keeps something from being read.
func (t *taking) Trouble(p driver.WatchTrouble) {
	text := p.Err.Error()
	if p.Log != "" {
		text = p.Log + ": " + text
	}
	if p.Do != "" {
		text += ". " + p.Do
	}
	t.told = append(t.told, text)
}

// streamSet are the streams of a goroutine: all sources share them that are written
// in one way by one side, because each record stands for itself.
type streamSet map[streamKey]*uses.Stream

type streamKey struct {
	format string
	side   tallystick.Side
}

func (s streamSet) of(format string, one store.Source, near time.Time) (*uses.Stream, error) {
	key := streamKey{format, one.Side}
	if format == "" {
		return nil, nil // no records
	}
	if s[key] == nil {
		stream, err := uses.NewStream(format, uses.Settings{Side: one.Side, Near: near})
		if err != nil {
			return nil, err
		}
		if stream.Following() {
			return nil, fmt.Errorf("%w: format %s can be read in the order of a file only", tallystick.ErrInvalid, format)
		}
		s[key] = stream
	}
	return s[key], nil
}

// recent remembers records that were read lately, by their hashes: the newest
// maxRecent, and up to as many before.
type recent struct{ now, before map[uint64]struct{} }

func (r *recent) has(sum uint64) bool {
	if _, ok := r.now[sum]; ok {
		return true
	}
	_, ok := r.before[sum]
	return ok
}

func (r *recent) add(sums []uint64) {
	for _, sum := range sums {
		if r.now == nil || len(r.now) >= maxRecent {
			r.before, r.now = r.now, map[uint64]struct{}{}
		}
		r.now[sum] = struct{}{}
	}
}

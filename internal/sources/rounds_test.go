// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/store"
)

// A tower is what the watchers of a test look at: each source has a log of its own.
type tower struct {
	mu      sync.Mutex
	logs    map[string][]string // by option name, guarded by mu
	trouble map[string]error    // guarded by mu
	broken  map[string]error    // what a round ends with, guarded by mu
	panics  bool                // guarded by mu
	rounds  int                 // guarded by mu
	now     int                 // rounds that go on, guarded by mu
	most    int                 // guarded by mu
	again   time.Duration
}

type towerOptions struct {
	Name    string        `option:"name" help:"which log"`
	Pass    driver.Secret `option:"pass" help:"what opens it"`
	Overlap int           `option:"overlap" default:"2" help:"records that are read again each time"`
}

// A lookout is one opened watcher.
type lookout struct {
	towerOptions
	*tower
}

func (t *tower) driver() driver.Driver {
	return driver.New("tower", "logs of a test", func(o towerOptions) (*lookout, error) { return &lookout{o, t}, nil })
}

// Watch hands over what is behind the position, and some of what is before it, as
// drivers do whose windows overlap.
func (l *lookout) Watch(_ context.Context, request driver.WatchRequest, sink driver.WatchSink) (time.Duration, error) {
	l.mu.Lock()
	lines, trouble, broken, panics := l.logs[l.Name], l.trouble[l.Name], l.broken[l.Name], l.panics
	l.rounds++
	l.now++
	l.most = max(l.most, l.now)
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.now--
	}()
	if panics {
		panic("the tower falls")
	}
	if broken != nil {
		return 0, broken
	}
	if trouble != nil {
		sink.Trouble(driver.WatchTrouble{Log: "second log", Err: trouble, Do: "Ask for it"})
	}
	at := 0
	if request.Position != "" {
		if _, err := fmt.Sscanf(request.Position, `{"at":%d}`, &at); err != nil {
			return 0, err
		}
	}
	for i := max(0, at-l.Overlap); i < len(lines); i += 3 {
		b := driver.WatchBatch{Log: "first log", Format: "use", Position: fmt.Sprintf(`{"at":%d}`, min(i+3, len(lines)))}
		for _, line := range lines[i:min(i+3, len(lines))] {
			b.Records = append(b.Records, []byte(line))
		}
		if _, err := sink.Take(b); err != nil {
			return 0, err
		}
	}
	_, err := sink.Take(driver.WatchBatch{Closed: request.Now().Add(-time.Minute)})
	return l.again, err
}

// grow adds records to a log.
func (t *tower) grow(name string, from, to int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.logs == nil {
		t.logs, t.trouble, t.broken = map[string][]string{}, map[string]error{}, map[string]error{}
	}
	for n := from; n < to; n++ {
		t.logs[name] = append(t.logs[name], strings.TrimSuffix(record(n), "\n"))
	}
}

// set changes something.
func (t *tower) set(fn func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fn()
}

func towerHouse(t testing.TB) (*house, *tower) {
	h, tower := newHouse(t), &tower{again: 5 * time.Millisecond}
	tower.grow("", 0, 0)
	h.Drivers = []driver.Driver{tower.driver()}
	return h, tower
}

func of(name string) store.Source {
	return store.Source{Name: name, Kind: store.SourceDriver, Driver: "tower", Options: map[string]string{"name": name}}
}

func TestADriverIsReadAndGoesOnAfterAStart(t *testing.T) {
	t.Parallel()
	h, tower := towerHouse(t)
	h.add(of("edge"))
	tower.grow("edge", 0, 10)
	stop := h.run()
	h.await("ten records are read", func() bool { return h.source("edge").Records == 10 })
	tower.grow("edge", 10, 14)
	h.await("four more are read", func() bool { return h.source("edge").Records == 14 })
	stop()
	one := h.source("edge")
	if h.position(one) != `{"at":14}` || one.Duplicates != 0 || one.Malformed != 0 || one.Error != "" || one.Heard.IsZero() {
		t.Errorf("%+v", one)
	}
	h.wantIDs(14)
	tower.grow("edge", 14, 20)
	stop = h.run()
	h.await("the rest is read", func() bool { return h.source("edge").Records == 20 })
	stop()
	h.wantIDs(20)
	if one = h.source("edge"); one.Duplicates > 2 {
		t.Errorf("%d records came twice, and the overlap is 2", one.Duplicates)
	}
	books := h.ledger.Books()
	if len(books) != 1 || books[0].Source != "edge" || books[0].Closed.IsZero() {
		t.Errorf("its book is not closed: %+v", books)
	}
	raw, err := h.Archive.Find(t.Context(), one.ID, start.Add(3*time.Second), func(line []byte) bool { return strings.Contains(string(line), `"r3"`) })
	if err != nil || len(raw) != 1 {
		t.Errorf("a record is kept %d times as it was received, %v", len(raw), err)
	}
}

func TestTroubleOfADriverShowsAndPasses(t *testing.T) {
	t.Parallel()
	h, tower := towerHouse(t)
	h.add(of("edge"))
	tower.grow("edge", 0, 5)
	tower.set(func() { tower.trouble["edge"] = fmt.Errorf("%w: no licence", tallystick.ErrDenied) })
	defer h.run()()
	h.await("the trouble shows, and the rest is read", func() bool {
		one := h.source("edge")
		return one.Records == 5 && one.Error == "second log: not allowed: no licence. Ask for it"
	})
	tower.set(func() { delete(tower.trouble, "edge") })
	h.await("it has passed", func() bool { return h.source("edge").Error == "" })
	tower.set(func() { tower.broken["edge"] = errors.New("the line is dead") })
	h.await("an error shows", func() bool { return h.source("edge").Error == "the line is dead" })
}

func TestWhatCannotBeTakenInComesAgain(t *testing.T) {
	t.Parallel()
	h, tower := towerHouse(t)
	h.add(of("edge"))
	tower.grow("edge", 0, 9)
	h.appends.fails(tallystick.ErrNoSpace, nil)
	defer h.run()()
	h.await("it says why", func() bool { return strings.Contains(h.source("edge").Error, "no space") })
	h.appends.fails(nil, errors.New("nobody knows"))
	h.await("it says the other reason", func() bool { return strings.Contains(h.source("edge").Error, "nobody knows") })
	h.appends.fails(nil, nil)
	h.await("all is read", func() bool { return len(h.uses()) == 9 && h.source("edge").Error == "" })
	h.wantIDs(9)
}

func TestAPausedDriverIsNotRead(t *testing.T) {
	t.Parallel()
	h, tower := towerHouse(t)
	h.add(of("edge"))
	tower.grow("edge", 0, 3)
	defer h.run()()
	h.await("it is read", func() bool { return h.source("edge").Records == 3 })
	must(t, h.Pause(t.Context(), admin, "edge"))
	rounds := func() (n int) { tower.set(func() { n = tower.rounds }); return n }
	h.await("it rests", func() bool { n := rounds(); time.Sleep(100 * time.Millisecond); return rounds() == n })
	tower.grow("edge", 3, 6)
	must(t, h.Resume(t.Context(), admin, "edge"))
	h.await("it is read on", func() bool { return h.source("edge").Records == 6 })
	must(t, h.Remove(t.Context(), admin, "edge"))
	h.await("it rests again", func() bool { n := rounds(); time.Sleep(100 * time.Millisecond); return rounds() == n })
}

func TestADriverThatPanicsHoldsUpNobody(t *testing.T) {
	t.Parallel()
	h, tower := towerHouse(t)
	h.add(of("edge"))
	tower.set(func() { tower.panics = true })
	defer h.run()()
	h.await("it shows", func() bool { return strings.Contains(h.source("edge").Error, "panicked") })
	tower.set(func() { tower.panics = false })
	tower.grow("other", 0, 4)
	h.add(of("other"))
	h.await("the other is read", func() bool { return h.source("other").Records == 4 })
}

func TestThousandsOfDriversAreReadByAFew(t *testing.T) {
	t.Parallel()
	const many = 2000
	h, tower := towerHouse(t)
	h.Rounds = 8
	tower.again = time.Hour
	var list []store.Source
	for n := range many {
		one := of(fmt.Sprintf("tenant-%d", n))
		one.Side = tallystick.SideRelying
		list = append(list, one)
		tower.grow(one.Name, n, n+1)
	}
	if n, err := h.AddEach(t.Context(), admin, list[:many/2]); err != nil || n != many/2 {
		t.Fatal(n, err)
	}
	if n, err := h.AddEach(t.Context(), admin, list); err != nil || n != many/2 {
		t.Fatalf("half was there already: %d, %v", n, err)
	}
	defer h.run()()
	h.await("all are read", func() bool { return len(h.uses()) == many })
	h.await("all is stored", func() bool {
		all, err := h.DB.Sources(t.Context())
		must(t, err)
		for _, one := range all {
			if one.Records != 1 || !one.Begun {
				return false
			}
		}
		return true
	})
	tower.set(func() {
		if tower.most > 8 || tower.rounds != many {
			t.Errorf("%d rounds, and up to %d at a time", tower.rounds, tower.most)
		}
	})
}

func TestDriversThatCannotBeAdded(t *testing.T) {
	t.Parallel()
	h, _ := towerHouse(t)
	for what, change := range map[string]func(*store.Source){
		"no such driver": func(s *store.Source) { s.Driver = "moat" }, "no such option": func(s *store.Source) { s.Options["x"] = "y" },
		"a secret": func(s *store.Source) { s.Options["pass"] = "sesame" }, "a format": func(s *store.Source) { s.Format = "use" },
		"a path": func(s *store.Source) { s.Path = "/x" }, "settle": func(s *store.Source) { s.Settle = time.Second },
		"once": func(s *store.Source) { s.Once = true }, "another kind": func(s *store.Source) { s.Kind = store.SourceHTTP },
	} {
		one := of("edge")
		one.Side = tallystick.SideRelying
		change(&one)
		if _, _, err := h.Add(t.Context(), admin, one, ""); !errors.Is(err, tallystick.ErrInvalid) || strings.Contains(fmt.Sprint(err), "sesame") {
			t.Errorf("%s: %v", what, err)
		}
	}
	h.add(of("edge"))
	other := of("edge")
	other.Side, other.Options = tallystick.SideRelying, map[string]string{"name": "moat"}
	if _, err := h.AddEach(t.Context(), admin, []store.Source{other}); !errors.Is(err, tallystick.ErrConflict) {
		t.Errorf("the name of another: %v", err)
	}
}

// SPDX-License-Identifier: Apache-2.0

// Package doors_test recalls a CA from real servers of eight kinds while clients sign in
// at all of them. See README.md.
package doors_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/lab"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/parse"
)

// BenchmarkRecall recalls the CA of so many doors while clients sign in 50 times at each.
func BenchmarkRecall(b *testing.B) {
	for _, size := range []int{smallest, 500, 2000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			if b.N > 1 {
				b.Fatal("one recall is all that there is: -benchtime 1x")
			}
			measure(b, size)
		})
	}
}

const (
	smallest  = 40
	perDoor   = 50  // sign-ins
	rate      = 125 // sign-ins a second at 2,000 doors; at fewer it is less in proportion
	leastRate = 50
	workers   = 24               // steps at the same time
	longest   = 20 * time.Minute // of the recall
)

var operator = gate.Actor{Name: "ole", Role: gate.Operator, Via: "local"}

func measure(b *testing.B, size int) {
	began := time.Now()
	e := newEstate(b, size)
	fmt.Printf("%d doors are up after %s: %s\n", len(e.doors), since(began), memory())
	engine, done := e.engine(b)
	defer done()
	l := e.sign(max(rate*size/2000, leastRate), perDoor*len(e.doors))
	time.Sleep(5 * time.Second)
	began = time.Now()
	r, err := engine.Open(b.Context(), operator, recall.Request{
		Name: "intermediate", Why: "a benchmark", Deadline: time.Now().Add(time.Hour),
		What: tallystick.Burnt{Kind: tallystick.BurntIssuer, Value: string(tallystick.FingerprintOf(e.pki.Sub.Raw))},
	})
	if err != nil {
		b.Fatal(err)
	}
	fmt.Printf("planned in %s\n", since(began))
	if err := engine.Start(b.Context(), operator, r.ID); err != nil {
		b.Fatal(err)
	}
	skipPeople(b, engine, r.ID)
	began = time.Now()
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = engine.Run(ctx, func(err error) { fmt.Println("the engine says:", err) }) // why it ended is known
	}()
	e.await(b, engine, r.ID)
	fmt.Printf("recalled in %s: %s\n", since(began), memory())
	cancel()
	<-ended
	l.stop()
	fmt.Printf("signed in for %s\n", since(l.began))
	e.report(b, engine, r.ID, l)
}

func since(t time.Time) time.Duration { return time.Since(t).Round(100 * time.Millisecond) }

// engine puts an engine together that works at the estate's doors, and knows the CA.
func (e *estate) engine(b *testing.B) (*recall.Engine, func()) {
	dir := b.TempDir()
	db, err := store.Open(b.Context(), filepath.Join(dir, "tally.db"))
	if err != nil {
		b.Fatal(err)
	}
	log, err := audit.Open(b.Context(), db, filepath.Join(dir, "audit.key"))
	if err != nil {
		b.Fatal(err)
	}
	e.know(b, db)
	keys, err := doors.OpenFileKeys(filepath.Join(dir, "keys"))
	if err != nil {
		b.Fatal(err)
	}
	set, err := doors.Open(doors.Config{Doors: e.settings, Drivers: drivers.All(), Keys: keys, Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	engine, err := recall.New(recall.Config{
		DB: db, Gate: gate.New(log, time.Now), Log: log, Doors: set, CA: lab.Published{Issuer: e.issuer}, Now: time.Now, Node: "bench", Workers: workers,
		Issuers:  func(string) (driver.Issuer, error) { return e.issuer, nil },
		Defaults: recall.Defaults{Approvals: -1, Quiet: time.Second, Waves: tallystick.Waves{Canary: 10, Growth: 10, Errors: 10}},
	})
	if err != nil {
		b.Fatal(err)
	}
	return engine, func() {
		_ = set.Close() // what is open ends with the process
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	}
}

// know puts the CA into the inventory, as if it had been found in a file.
func (e *estate) know(b *testing.B, db *store.DB) {
	text, err := os.ReadFile(e.pki.SubFile)
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	if _, err := db.AddRun(b.Context(), store.Run{Source: "files", Driver: "files", Requested: "bench", Queued: now}); err != nil {
		b.Fatal(err)
	}
	run, err := db.ClaimRun(b.Context(), "bench", now, time.Minute)
	if err != nil {
		b.Fatal(err)
	}
	found := tallystick.Sighting{Credential: parse.Bytes("ca.pem", text, nil).Items[0].Credential, Place: tallystick.FilePlace(e.pki.SubFile), Role: tallystick.RolePresents, Seen: now}
	if _, err := db.Record(b.Context(), store.Batch{Run: run.ID, Source: "files", Sightings: []tallystick.Sighting{found}}); err != nil {
		b.Fatal(err)
	}
}

// skipPeople skips what only people can do: here nobody takes the CA out of what doors trust.
func skipPeople(b *testing.B, engine *recall.Engine, id int64) {
	var after int64
	for {
		list, err := engine.Targets(b.Context(), operator, id, recall.Filter{Kind: tallystick.TargetPerson}, after, 1000)
		if err != nil {
			b.Fatal(err)
		}
		if len(list) == 0 {
			return
		}
		for _, one := range list {
			after = one.ID
			if err := engine.Skip(b.Context(), operator, one.ID, "there are no people in a benchmark"); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// await waits until the recall is done, and says how far it is.
func (e *estate) await(b *testing.B, engine *recall.Engine, id int64) {
	last, began := int64(-1), time.Now()
	for n := 0; ; n++ {
		s, err := engine.Status(b.Context(), operator, id)
		if err != nil {
			b.Fatal(err)
		}
		switch {
		case s.Recall.State == tallystick.RecallDone:
			return
		case s.Recall.State != tallystick.RecallRunning || time.Since(began) > longest:
			e.tell(engine, id)
			b.Fatalf("after %s the recall is %s: %s", since(began), s.Recall.State, s.Recall.Reason)
		case n%20 == 0 || s.Done == s.Total && last != s.Done:
			last = s.Done
			fmt.Printf("%s: %d of %d targets\n", since(began), s.Done, s.Total)
		}
		time.Sleep(time.Second) // to count the steps costs more than to do some
	}
}

// tell prints what went wrong on the way.
func (e *estate) tell(engine *recall.Engine, id int64) {
	counts := map[string]int{}
	var after int64
	for {
		events, err := engine.Events(context.Background(), operator, id, after, 1000)
		if err != nil || len(events) == 0 {
			break
		}
		for _, event := range events {
			after = event.N
			if event.Kind == store.EventFailure && !strings.HasPrefix(event.Text, "Warning") {
				if counts["failures"]++; counts["failures"] <= 40 {
					fmt.Println(event.At.Format("15:04:05.000"), event.Text)
				}
			}
		}
	}
	fmt.Println("failed acts that were tried again:", counts["failures"])
}

// proofs are what was tried at doors of one kind.
type proofs struct {
	listeners map[string]bool
	tried     map[string]map[string]bool // listeners, by way
	outcomes  map[string]int             // of tries, by way
	looked    int                        // listeners at which nobody shows the old certificate of the server
}

// everywhere says of a way whether each listener was tried in it. Some servers give no
// sessions: there is nothing to be tried then, at any of their listeners.
func (p *proofs) everywhere(way string) bool {
	none := strings.HasPrefix(way, "resumed") && len(p.tried[way]) == 0
	return none || len(p.tried[way]) == len(p.listeners)
}

// report prints what came of it, by kind.
func (e *estate) report(b *testing.B, engine *recall.Engine, id int64, l *load) {
	e.tell(engine, id)
	total := 0
	for _, name := range slices.Sorted(maps.Keys(l.kinds)) {
		t := l.kinds[name]
		total += len(t.took)
		fmt.Printf("%-10s %6d sign-ins, %d failed, p50 %s, p99 %s, longest %s\n", name, len(t.took), len(t.failed),
			t.at(0.5).Round(100*time.Microsecond), t.at(0.99).Round(100*time.Microsecond), t.at(1).Round(time.Millisecond))
		if len(t.failed) > 0 {
			b.Errorf("%s: %d failed\n%s", name, len(t.failed), strings.Join(t.failed[:min(20, len(t.failed))], "\n"))
		}
	}
	fmt.Printf("%d sign-ins in all\n", total)
	all := e.proofs(b, engine, id)
	for _, k := range kinds() {
		p := all[k.name]
		fmt.Printf("%-10s %5d listeners, %5d looked at;", k.name, len(p.listeners), p.looked)
		for _, way := range []string{driver.WayFresh12, driver.WayFresh13, driver.WayResumed12, driver.WayResumed13} {
			fmt.Printf(" %s at %d;", way, len(p.tried[way]))
			if !p.everywhere(way) {
				b.Errorf("%s: %s was tried at %d listeners of %d", k.name, way, len(p.tried[way]), len(p.listeners))
			}
		}
		for _, outcome := range slices.Sorted(maps.Keys(p.outcomes)) {
			fmt.Printf(" %s: %d;", outcome, p.outcomes[outcome])
			if strings.HasSuffix(outcome, driver.OutcomeAccepted) {
				b.Errorf("%s: %s", k.name, outcome)
			}
		}
		fmt.Println()
		if p.looked < len(p.listeners) {
			b.Errorf("%s: not every listener was looked at", k.name)
		}
	}
}

// proofs reads the last steps of all targets.
func (e *estate) proofs(b *testing.B, engine *recall.Engine, id int64) map[string]*proofs {
	all, at := map[string]*proofs{}, map[string]*proofs{}
	for _, d := range e.doors {
		if all[d.kind] == nil {
			all[d.kind] = &proofs{listeners: map[string]bool{}, tried: map[string]map[string]bool{}, outcomes: map[string]int{}}
		}
		for _, address := range d.addresses {
			at[address] = all[d.kind]
			all[d.kind].listeners[address] = true
		}
	}
	var after int64
	for {
		steps, err := engine.Steps(b.Context(), operator, id, 0, after, 1000)
		if err != nil {
			b.Fatal(err)
		}
		if len(steps) == 0 {
			return all
		}
		for _, s := range steps {
			if after = s.ID; s.Act == tallystick.ActProve {
				count(b, s, at)
			}
		}
	}
}

func count(b *testing.B, s tallystick.RecallStep, at map[string]*proofs) {
	var r doors.Result
	if err := json.Unmarshal(s.Result, &r); err != nil {
		b.Fatal(err)
	}
	place := r.View != nil
	for _, a := range r.Attempts {
		p := at[a.Listener.Address]
		switch {
		case p == nil:
			b.Errorf("%s tried %s, which is nobody's", s.Door, a.Listener.Address)
		case place:
			p.looked++
		default:
			p.outcomes[a.Way+" "+a.Outcome]++
			if p.tried[a.Way] == nil {
				p.tried[a.Way] = map[string]bool{}
			}
			p.tried[a.Way][a.Listener.Address] = true
		}
	}
}

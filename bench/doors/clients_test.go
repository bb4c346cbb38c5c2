// SPDX-License-Identifier: Apache-2.0

package doors_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tallystick/tallystick/internal/lab"
)

// patience is how long a client waits for one sign-in.
const patience = time.Minute

// A tally counts the sign-ins at doors of one kind.
type tally struct {
	took   []time.Duration
	failed []string
}

// A load is clients that sign in at doors with what is in alice's files at that time.
type load struct {
	*estate
	rate  int // sign-ins a second, as far as the machine allows
	began time.Time
	next  atomic.Int64
	over  atomic.Bool
	group sync.WaitGroup

	mu    sync.Mutex
	kinds map[string]*tally // guarded by mu
}

// clients is how many sign in at the same time.
const clients = 32

// sign begins the load: at every door in turn, by its listeners in turn, with TLS 1.2 and
// 1.3 in turn, until stop is called, and at least least times.
func (e *estate) sign(rate, least int) *load {
	l := &load{estate: e, rate: rate, began: time.Now(), kinds: map[string]*tally{}}
	for range clients {
		l.group.Go(func() {
			for {
				n := int(l.next.Add(1)) - 1
				if l.over.Load() && n >= least {
					return
				}
				time.Sleep(time.Until(l.began.Add(time.Duration(n) * time.Second / time.Duration(l.rate))))
				l.once(n)
			}
		})
	}
	return l
}

// stop waits until there were as many as there had to be.
func (l *load) stop() {
	l.over.Store(true)
	l.group.Wait()
}

func (l *load) once(n int) {
	d, round := l.doors[n%len(l.doors)], n/len(l.doors)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	began := time.Now()
	version := []uint16{tls.VersionTLS12, tls.VersionTLS13}[round%2]
	config, err := lab.Follow(l.bundle, l.pki.RootFile)
	if err == nil {
		config.MinVersion, config.MaxVersion = version, version
		err = d.ways[round/2%len(d.ways)](ctx, config)
	}
	took := time.Since(began)
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.kinds[d.kind]
	if t == nil {
		t = &tally{}
		l.kinds[d.kind] = t
	}
	t.took = append(t.took, took)
	if err != nil {
		t.failed = append(t.failed, fmt.Sprintf("%s %s, %s, %s: %v", time.Now().Format("15:04:05.000"), d.name, tls.VersionName(version), took.Round(time.Millisecond), err))
	}
}

// at returns the time within which a share of the sign-ins were done.
func (t *tally) at(share float64) time.Duration {
	slices.Sort(t.took)
	return t.took[min(int(share*float64(len(t.took))), len(t.took)-1)]
}

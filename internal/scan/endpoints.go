// SPDX-License-Identifier: Apache-2.0

package scan

import (
	"context"
	"sync"
	"time"

	"github.com/tallystick/tallystick/driver"
)

// MaxRate bounds Options.Rate; no network takes more from one machine.
const MaxRate = 1_000_000

// together is how many endpoints are looked at at once.
const together = 64

// endpoints looks at hosts. Each endpoint is a look of its own, so that a block
// need not be written out and the rate can hold it back.
func (s *Scan) endpoints(ctx context.Context, hosts []Hosts) error {
	if len(hosts) == 0 || ctx.Err() != nil {
		return nil
	}
	finder, err := s.open("tls")
	if err != nil {
		return err
	}
	s.Options.Progress.Phase("tls")
	queue := make(chan string)
	var workers sync.WaitGroup
	var errs failures
	for range together {
		workers.Go(func() {
			for endpoint := range queue {
				request := driver.FindRequest{Targets: []string{endpoint}, Now: s.Now}
				errs.add(ctx, finder.Find(ctx, request, endpointSink{s}))
				s.Options.Progress.Step()
			}
		})
	}
	s.feed(ctx, hosts, queue)
	close(queue)
	workers.Wait()
	return errs.first
}

// An endpointSink keeps to itself how far the look at its one endpoint has come.
type endpointSink struct{ *Scan }

func (endpointSink) Progress(int64, int64) {}

// feed sends every endpoint to queue, at the rate that was asked for.
func (s *Scan) feed(ctx context.Context, hosts []Hosts, queue chan<- string) {
	pace := newPace(s.Rate)
	defer pace.stop()
	var total int64
	for _, h := range hosts {
		total += h.Size()
	}
	s.Options.Progress.Set(0, total)
	for _, h := range hosts {
		for endpoint := range h.endpoints() {
			if !pace.wait(ctx) {
				return
			}
			select {
			case queue <- endpoint:
			case <-ctx.Done():
				return
			}
		}
	}
}

// failures keeps the first of the errors that several goroutines meet.
type failures struct {
	mu    sync.Mutex
	first error // guarded by mu until the goroutines have ended
}

func (f *failures) add(ctx context.Context, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil && f.first == nil && ctx.Err() == nil {
		f.first = err
	}
}

// A pace lets a number of waits pass each second.
type pace struct{ ticker *time.Ticker }

func newPace(each int) pace {
	if each == 0 {
		return pace{}
	}
	return pace{time.NewTicker(time.Second / time.Duration(min(each, MaxRate)))}
}

// wait returns false when ctx has ended.
func (p pace) wait(ctx context.Context) bool {
	if p.ticker == nil {
		return ctx.Err() == nil
	}
	select {
	case <-p.ticker.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (p pace) stop() {
	if p.ticker != nil {
		p.ticker.Stop()
	}
}

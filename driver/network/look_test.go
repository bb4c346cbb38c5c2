// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
)

// positions is a sink that remembers what it was told.
type positions struct {
	mu          sync.Mutex
	done, total int64
	last        string
	told        int
	fail        error
}

func (*positions) Saw(tallystick.Sighting) error { return nil }
func (*positions) Missed(tallystick.Miss) error  { return nil }

func (p *positions) Progress(done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done, p.total = max(p.done, done), total
}

func (p *positions) Checkpoint(position string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = position
	p.told++
	return p.fail
}

func block(t *testing.T, text string) *Targets {
	t.Helper()
	targets, err := grammar.Parse(t.Context(), []string{text}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return targets
}

func TestEveryEndpointIsLookedAtOnce(t *testing.T) {
	var mu sync.Mutex
	seen := map[Endpoint]int{}
	var sink positions
	look := Look{Targets: block(t, "10.0.0.0/22:1-3"), Concurrency: 50, Sink: &sink}
	err := look.Each(t.Context(), func(_ context.Context, e Endpoint) error {
		mu.Lock()
		defer mu.Unlock()
		seen[e]++
		return nil
	})
	if err != nil || len(seen) != 3072 {
		t.Fatalf("%d of 3072 endpoints, error %v", len(seen), err)
	}
	if sink.done != 3072 || sink.total != 3072 || !strings.HasPrefix(sink.last, "3072/3072/") || sink.told > 3 {
		t.Errorf("told %d of %d, and %d positions, the last %q", sink.done, sink.total, sink.told, sink.last)
	}
}

// A look that is stopped at any time and goes on leaves nothing out.
func TestALookGoesOn(t *testing.T) {
	targets := block(t, "10.0.0.0/23")
	var mu sync.Mutex
	seen := map[Endpoint]bool{}
	var sink positions
	looks := 0
	for ; len(seen) < 512 && looks < 1000; looks++ {
		ctx, cancel := context.WithCancel(t.Context())
		left := 1 + rand.IntN(40)
		look := Look{Targets: targets, Resume: sink.last, Concurrency: 8, Sink: &sink}
		err := look.Each(ctx, func(ctx context.Context, e Endpoint) error {
			mu.Lock()
			defer mu.Unlock()
			if left--; left < 0 {
				cancel()
				return ctx.Err()
			}
			seen[e] = true
			return nil
		})
		cancel()
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if looks < 10 || !strings.HasPrefix(sink.last, "512/512/") {
		t.Errorf("%d looks ended at %q with %d seen", looks, sink.last, len(seen))
	}
}

func TestAnEndpointThatHangsHoldsThePositionBack(t *testing.T) {
	var sink positions
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	first, done := true, 0
	look := Look{Targets: block(t, "10.0.0.0/28"), Concurrency: 2, Sink: &sink}
	err := look.Each(ctx, func(ctx context.Context, e Endpoint) error {
		mu.Lock()
		hangs := first
		first = false
		mu.Unlock()
		if hangs {
			<-ctx.Done()
			return ctx.Err()
		}
		mu.Lock()
		defer mu.Unlock()
		if done++; done == 15 {
			cancel()
		}
		return nil
	})
	// Either of the first two may be the one that hangs.
	if !errors.Is(err, context.Canceled) || (!strings.HasPrefix(sink.last, "0/16/") && !strings.HasPrefix(sink.last, "1/16/")) {
		t.Errorf("the position is %q after %d, error %v", sink.last, done, err)
	}
}

func TestAPositionOfOtherTargetsBeginsAtTheStart(t *testing.T) {
	targets, others := block(t, "10.0.0.0/28"), block(t, "10.0.1.0/28")
	for text, want := range map[string]int64{
		"": 0, "7/16/" + targets.mark: 7, "16/16/" + targets.mark: 16, "7/17/" + targets.mark: 0, "17/16/" + targets.mark: 0,
		"-1/16/" + targets.mark: 0, "7/16/" + others.mark: 0, "7/16": 0, "x": 0, "7": 0,
	} {
		if got := resume(text, targets); got != want {
			t.Errorf("%q begins at %d, want %d", text, got, want)
		}
	}
}

func TestALookEndsWithTheFirstError(t *testing.T) {
	full := errors.New("the sink is full")
	look := Look{Targets: block(t, "10.0.0.0/16"), Concurrency: 4, Sink: &positions{}}
	if err := look.Each(t.Context(), func(context.Context, Endpoint) error { return full }); !errors.Is(err, full) {
		t.Errorf("a failing look gives %v", err)
	}
	look.Sink, look.Targets = &positions{fail: full}, block(t, "10.0.0.0/30")
	if err := look.Each(t.Context(), func(context.Context, Endpoint) error { return nil }); !errors.Is(err, full) {
		t.Errorf("a failing checkpoint gives %v", err)
	}
}

func TestTheWindowIsBounded(t *testing.T) {
	m := newMarks(0)
	m.done(1, time.Now())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := m.wait(ctx, window); err == nil {
		t.Error("a position beyond the window does not wait")
	}
	waited := make(chan error)
	go func() { waited <- m.wait(t.Context(), window+1) }()
	m.done(0, time.Now())
	if err := <-waited; err != nil || m.last() != 2 {
		t.Errorf("the window did not move: %v, base %d", err, m.last())
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/tallystick/tallystick/internal/scan"
)

// A progress is the line on a terminal that says how far a scan has come. A nil
// one shows nothing.
type progress struct {
	out   io.Writer
	width func() int
	end   chan struct{}
	once  sync.Once
	ended sync.WaitGroup

	mu          sync.Mutex
	what        string         // guarded by mu; the driver that looks
	done, total int64          // guarded by mu
	found       int64          // guarded by mu
	missed      map[string]int // guarded by mu; by the word of the miss
	pace        pace           // guarded by mu
}

var _ scan.Progress = (*progress)(nil)

// progressStep is how often the line moves.
const progressStep = 200 * time.Millisecond

// newProgress returns nil unless standard error is a terminal.
func (p *program) newProgress() *progress {
	file, ok := p.err.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return nil
	}
	bar := &progress{
		out: file, what: "looking", missed: map[string]int{}, end: make(chan struct{}),
		width: func() int {
			width, _, err := term.GetSize(int(file.Fd()))
			if err != nil || width < 1 {
				return 80
			}
			return width
		},
	}
	bar.ended.Go(bar.show)
	return bar
}

func (b *progress) show() {
	tick := time.NewTicker(progressStep)
	defer tick.Stop()
	for {
		fmt.Fprintf(b.out, "\r\x1b[K%s", clip(b.line(time.Now()), b.width()-1))
		select {
		case <-b.end:
			fmt.Fprint(b.out, "\r\x1b[K")
			return
		case <-tick.C:
		}
	}
}

// line says how far the look is, what it brought, and when it ends.
func (b *progress) line(now time.Time) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	parts := []string{fmt.Sprint(b.done)}
	rate := b.pace.rate(b.done, now)
	if b.total > 0 {
		parts[0] = fmt.Sprintf("%d of %d", b.done, b.total)
	}
	if rate > 0 {
		parts = append(parts, fmt.Sprintf("%.*f/s", decimals(rate), rate))
	}
	parts = append(parts, plural(int(b.found), "credential"))
	parts = append(parts, commonest(b.missed)...)
	if rate > 0 && b.total > b.done {
		left := time.Duration(float64(b.total-b.done) / rate * float64(time.Second))
		parts = append(parts, left.Round(time.Second).String()+" left")
	}
	return b.what + ": " + strings.Join(parts, ", ")
}

// decimals is how many digits of a rate say something.
func decimals(rate float64) int {
	if rate < 10 {
		return 1
	}
	return 0
}

// missKinds is how many kinds of misses the line names.
const missKinds = 3

// commonest names the commonest kinds of misses, and counts the rest.
func commonest(missed map[string]int) []string {
	words := slices.SortedFunc(maps.Keys(missed), func(a, b string) int {
		return cmp.Or(cmp.Compare(missed[b], missed[a]), cmp.Compare(a, b))
	})
	var parts []string
	others := 0
	for i, word := range words {
		if i < missKinds {
			parts = append(parts, fmt.Sprintf("%d %s", missed[word], word))
		} else {
			others += missed[word]
		}
	}
	if others > 0 {
		parts = append(parts, fmt.Sprintf("%d otherwise not seen", others))
	}
	return parts
}

// A pace tells a rate by what was done since some seconds ago, so that it
// follows a look that becomes slower.
type pace struct {
	before, since counted
}

// A counted is how much was done at a time.
type counted struct {
	at   time.Time
	done int64
}

// paceStep is how far back a rate looks, once to twice.
const paceStep = 5 * time.Second

// rate returns how much is done in a second, 0 while that cannot be told.
func (p *pace) rate(done int64, now time.Time) float64 {
	if p.before.at.IsZero() {
		return 0
	}
	if now.Sub(p.since.at) >= paceStep {
		p.before, p.since = p.since, counted{now, done}
	}
	seconds := now.Sub(p.before.at).Seconds()
	if seconds < 1 {
		return 0
	}
	return float64(done-p.before.done) / seconds
}

// stop takes the line away, once.
func (b *progress) stop() {
	if b != nil {
		b.once.Do(func() { close(b.end) })
		b.ended.Wait()
	}
}

// Phase begins a new look, called by what it looks at.
func (b *progress) Phase(what string) {
	if b != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.what, b.done, b.total, b.pace = what, 0, 0, pace{}
	}
}

// Set takes how far a look has come. Calls overtake each other; it never goes back.
func (b *progress) Set(done, total int64) {
	if b != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.pace.before.at.IsZero() { // what was done before does not count
			begin := counted{time.Now(), done}
			b.pace = pace{begin, begin}
		}
		b.done, b.total = max(b.done, done), total
	}
}

func (b *progress) Saw() {
	if b != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.found++
	}
}

func (b *progress) Missed(word string) {
	if b != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.missed[word]++
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"

	"github.com/tallystick/tallystick/internal/scan"
)

// A progress is the line on a terminal that says how far a scan has come. A nil
// one shows nothing.
type progress struct {
	out         io.Writer
	what        atomic.Value // string
	done, total atomic.Int64
	found       atomic.Int64
	end         chan struct{}
	ended       sync.WaitGroup
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
	bar := &progress{out: file, end: make(chan struct{})}
	bar.what.Store("looking")
	bar.ended.Go(bar.show)
	return bar
}

func (b *progress) show() {
	tick := time.NewTicker(progressStep)
	defer tick.Stop()
	for {
		what, _ := b.what.Load().(string)
		fmt.Fprintf(b.out, "\r\x1b[K%s: %s, %d credentials", what, b.far(), b.found.Load())
		select {
		case <-b.end:
			fmt.Fprint(b.out, "\r\x1b[K")
			return
		case <-tick.C:
		}
	}
}

// far is how far the look has come.
func (b *progress) far() string {
	if total := b.total.Load(); total > 0 {
		return fmt.Sprintf("%d of %d", b.done.Load(), total)
	}
	return fmt.Sprint(b.done.Load())
}

// stop takes the line away.
func (b *progress) stop() {
	if b != nil {
		close(b.end)
		b.ended.Wait()
	}
}

// Phase begins a new look, called by what it looks at.
func (b *progress) Phase(what string) {
	if b != nil {
		b.what.Store(what)
		b.Set(0, 0)
	}
}

func (b *progress) Set(done, total int64) {
	if b != nil {
		b.done.Store(done)
		b.total.Store(total)
	}
}

func (b *progress) Step() {
	if b != nil {
		b.done.Add(1)
	}
}

func (b *progress) Saw() {
	if b != nil {
		b.found.Add(1)
	}
}

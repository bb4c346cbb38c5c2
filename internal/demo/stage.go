// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"fmt"
	"os"
	"slices"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/lab"
)

// A stage is for the lab what a test is: it keeps what is to be done at the end, and a failure
// ends what was going on, up to rescue. One goroutine uses it.
type stage struct {
	over   []func()
	failed bool
}

var _ lab.TB = (*stage)(nil)

// A stageEnd is what a failure panics with.
type stageEnd struct{ text string }

// rescue makes an error of a failure; it is deferred by who starts something.
func (s *stage) rescue(err *error) {
	switch failure := recover().(type) {
	case nil:
	case stageEnd:
		s.clear()
		*err = fmt.Errorf("%w: %s", tallystick.ErrUnavailable, failure.text)
	default:
		s.clear()
		panic(failure)
	}
}

// clear ends everything, the last first.
func (s *stage) clear() {
	for _, end := range slices.Backward(s.over) {
		end()
	}
	s.over = nil
}

// Helper is lab.TB.
func (*stage) Helper() {}

// Logf is lab.TB. What a server has printed is in the error.
func (*stage) Logf(string, ...any) {}

// Fatal is lab.TB.
func (s *stage) Fatal(args ...any) {
	s.failed = true
	panic(stageEnd{fmt.Sprint(args...)})
}

// Fatalf is lab.TB.
func (s *stage) Fatalf(format string, args ...any) { s.Fatal(fmt.Sprintf(format, args...)) }

// Failed is lab.TB.
func (s *stage) Failed() bool { return s.failed }

// Cleanup is lab.TB.
func (s *stage) Cleanup(end func()) { s.over = append(s.over, end) }

// TempDir is lab.TB.
func (s *stage) TempDir() string {
	dir, err := os.MkdirTemp("", "tally-demo-")
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ledger"
)

// TestRunsWhileSourcesAppend has several sources deliver at once while the watch
// runs, saves and is asked, and ends it in the middle of that.
func TestRunsWhileSourcesAppend(t *testing.T) {
	b := newBench(t)
	running, stop := context.WithCancel(t.Context())
	var parts, sources sync.WaitGroup
	parts.Go(func() {
		_ = b.Run(running, func(err error) { t.Errorf("a round: %v", err) })
	})
	const each = 40
	for source := range 3 {
		sources.Go(func() {
			for n := range each {
				at := noon.Add(time.Duration(n) * time.Minute)
				holder, relying := held(at, token(1000*source+n)), relied(at, token(1000*source+n), "203.0.113.7")
				holder.Source, relying.Source = fmt.Sprintf("broker-%d", source), fmt.Sprintf("entra-%d", source)
				relying.ID += fmt.Sprint(source)
				list := []tallystick.Use{holder, relying}
				if n%10 == 0 {
					list = list[1:] // a thief
				}
				if _, err := b.Append(t.Context(), relying.Source, ledger.Batch{Uses: list}, nil); err != nil {
					t.Error(err)
				}
				b.Counts()
				b.Pending(0, func(time.Time, int64) {})
			}
		})
	}
	if err := b.saveCounts(t.Context()); err != nil {
		t.Error(err)
	}
	if err := b.save(t.Context()); err != nil {
		t.Error(err)
	}
	sources.Wait()
	stop()
	parts.Wait()
	b.stop(t)
	b.start(t)
	for source := range 3 {
		b.close(t, fmt.Sprintf("broker-%d", source), tallystick.SideHolder, noon.Add(24*time.Hour))
	}
	b.rest(t)
	if got := len(b.said(t, tallystick.VerdictForeign)); got != 3*each/10 {
		t.Errorf("%d are foreign; want %d", got, 3*each/10)
	}
}

// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/store"
)

// swallow takes everything and keeps nothing: what is measured is the reading.
type swallow struct{ uses int }

func (s *swallow) Append(_ context.Context, _ string, batch ledger.Batch, _ []tallystick.Change) (ledger.Appended, error) {
	s.uses += len(batch.Uses)
	return ledger.Appended{Added: len(batch.Uses)}, nil
}

// BenchmarkFile reads a file of a hundred thousand use records, from its first
// byte to its stored position, with and without keeping it raw.
func BenchmarkFile(b *testing.B) {
	for _, raw := range []bool{false, true} {
		b.Run(fmt.Sprintf("raw=%t", raw), func(b *testing.B) {
			h := newHouse(b)
			to := &swallow{}
			h.Appender = to
			text := records(0, 100_000)
			must(b, os.WriteFile(h.path("log"), []byte(text), 0o600))
			b.SetBytes(int64(len(text)))
			for n := 0; b.Loop(); n++ {
				one := store.Source{Name: fmt.Sprint("s", n), Kind: store.SourceFile, Side: tallystick.SideRelying, Path: h.path("log")}
				if raw {
					one.KeepRaw = DefaultKeepRaw
				}
				_, _, err := h.Add(b.Context(), admin, one, "")
				must(b, err)
				w, err := h.newWatcher(h.Context(), h.source(one.Name))
				must(b, err)
				_, err = w.pass(b.Context())
				must(b, err)
			}
			b.ReportMetric(float64(to.uses)/b.Elapsed().Seconds(), "records/s")
			if strings.Count(text, "\n")*max(b.N, 1) > to.uses {
				b.Errorf("%d records were read", to.uses)
			}
		})
	}
}

// BenchmarkRepeats is what counting equal records adds to each without a name.
func BenchmarkRepeats(b *testing.B) {
	r := newRepeats()
	u := tallystick.Use{
		Source: "edge", Side: tallystick.SideRelying, Credential: []string{"x5t:9a0c5f7e1b2d3c4a5968778695a4b3c2d1e0f9a8", "x509-subject:CN=client"}, RelyingParty: "https:api.example.com",
		Address: "203.0.113.7", Operation: "GET /v1/things", Count: 1,
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		u.Time = start.Add(time.Duration(n) * time.Second)
		r.number(&u)
	}
}

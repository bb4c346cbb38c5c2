// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/holder"
	"github.com/tallystick/tallystick/internal/store"
)

// A book that is sent to a source of another name, or of the other side, is told
// so, and loses nothing.
func TestABookIsSentToItsOwnSource(t *testing.T) {
	for name, c := range map[string]struct {
		source string
		side   tallystick.Side
		told   string
	}{
		"the same":       {"edge", tallystick.SideHolder, ""},
		"another name":   {"mailer", tallystick.SideHolder, `"mailer"`},
		"the other side": {"edge", tallystick.SideRelying, "relying side"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			token := h.add(store.Source{Kind: store.SourceHTTP, Side: c.side})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				received, err := h.sends(token, "", r.Body)
				if err != nil {
					t.Error(err)
				}
				_ = json.NewEncoder(w).Encode(received)
			}))
			defer server.Close()
			spool := filepath.Join(t.TempDir(), "spool")
			book, err := holder.Open(holder.Config{Source: c.source, Holder: "m", URL: server.URL, Spool: spool, Credential: []string{"x5t:aa"}})
			must(t, err)
			book.Record(tallystick.Use{RelyingParty: "https:api:443", Outcome: tallystick.OutcomeSuccess, Time: start.Add(time.Hour)})
			ctx, stop := context.WithCancel(t.Context())
			stop()
			err = book.Run(ctx)
			kept, _ := filepath.Glob(filepath.Join(spool, "*.ndjson"))
			if c.told == "" && (err != nil || len(kept) != 0) || c.told != "" && (err == nil || !strings.Contains(err.Error(), c.told) || len(kept) != 1) {
				t.Errorf("Run returns %v, and %v wait", err, kept)
			}
		})
	}
}

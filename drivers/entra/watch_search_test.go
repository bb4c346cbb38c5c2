// SPDX-License-Identifier: Apache-2.0

package entra_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	emulator "github.com/tallystick/tallystick/internal/lab/entra"
)

// searched is a tower whose unified audit can be searched by Graph alone, with a mailbox.
func searched(t *testing.T, c emulator.UnifiedConfig, faults emulator.Faults) (*tower, *emulator.UnifiedAudit, *emulator.User) {
	t.Helper()
	var unified *emulator.UnifiedAudit
	w := newTower(t, emulator.Config{Faults: faults}, func(w *tower) {
		unified = w.world.NewUnifiedAudit(c)
		w.tenant.Consent(w.watcher.Principal, emulator.Grant{API: emulator.Graph, Role: "AuditLogsQuery.Read.All"})
	})
	w.options["logs"] = "mail-search"
	anna := w.tenant.AddUser("anna", "Anna")
	for n := range 20 {
		w.tenant.Deliver(anna, emulator.Message{Subject: fmt.Sprint("Message ", n), Body: "Words"})
	}
	return w, unified, anna
}

func TestMailIsSearchedFor(t *testing.T) {
	w, unified, anna := searched(t, emulator.UnifiedConfig{}, emulator.Faults{})
	d, b := w.open(nil), newBook()
	for n := range 10 {
		w.reads(anna)
		if n == 5 {
			unified.FailQueries(2)
		}
		w.read(d, b, 70*time.Minute) // that is as late as records usually are
	}
	unified.ForgetQueries(w.tenant)
	closed := w.clock().Sub(b.closed)
	w.read(d, b, 3*time.Hour)
	if n := b.formats["unified-audit-graph"]; n != 10 || len(b.troubles) > 0 {
		t.Errorf("%d records of mail, want 10; %v", n, b.troubles)
	}
	if closed < 6*time.Hour || closed > 7*time.Hour {
		t.Errorf("the book is closed up to %v before now", closed)
	}
	if len(b.position) > 1000 {
		t.Errorf("the position has %d bytes: %s", len(b.position), b.position)
	}
}

func TestASearchThatFailsSaysSo(t *testing.T) {
	w, unified, _ := searched(t, emulator.UnifiedConfig{QueryTime: -1}, emulator.Faults{})
	unified.FailQueries(1)
	d, b := w.open(nil), newBook()
	for range 2 {
		if _, err := w.round(d, b); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Minute)
	}
	if len(b.last) != 1 || b.last[0].Log != "mail-search" || !strings.Contains(b.last[0].Err.Error(), "has failed, and is begun anew") || b.last[0].Do != "" {
		t.Errorf("%v", b.troubles)
	}
	w.read(d, b, 10*time.Minute)
	if len(b.troubles) > 0 || b.closed.IsZero() {
		t.Errorf("%v; closed up to %v", b.troubles, b.closed)
	}
}

// Links that have ended, and what lies before the first round, cost queries and no record.
func TestSearchesWithLinksThatEnd(t *testing.T) {
	w, _, anna := searched(t, emulator.UnifiedConfig{QueryTime: -1, Latency: emulator.Always(time.Minute)}, emulator.Faults{})
	for range 12 {
		w.reads(anna)
		w.pass(100 * time.Minute)
	}
	asked, ended := 0, 0
	w.world.SetFaults(func(f *emulator.Faults) {
		f.Inject = func(a emulator.Attempt) *emulator.Injected {
			switch {
			case a.Method == http.MethodPost && strings.HasSuffix(a.Path, "/queries"):
				asked++
			case strings.HasSuffix(a.Path, "/records") && ended < 3:
				ended++
				return &emulator.Injected{Status: http.StatusGone, Code: "syncStateNotFound"}
			}
			return nil
		}
	})
	d, b := w.open(map[string]string{"since": "24h"}), newBook()
	w.read(d, b, time.Hour)
	if n := b.formats["unified-audit-graph"]; n != 12 || len(b.troubles) > 0 {
		t.Errorf("%d records of mail, want 12; %v", n, b.troubles)
	}
	// The span is halved three times, so that the first day takes eight queries.
	if asked < 3+8 || asked > 3+8+6 {
		t.Errorf("%d queries were put", asked)
	}
}

func TestASearchWithoutThePermission(t *testing.T) {
	w, _, anna := searched(t, emulator.UnifiedConfig{QueryTime: -1, Latency: emulator.Always(time.Minute)}, emulator.Faults{})
	right := emulator.Grant{API: emulator.Graph, Role: "AuditLogsQuery.Read.All"}
	w.tenant.Revoke(w.watcher.Principal, right)
	d, b := w.open(nil), newBook()
	w.reads(anna)
	w.read(d, b, 10*time.Minute)
	if len(b.last) != 1 || !strings.Contains(b.last[0].Do, "AuditLogsQuery.Read.All") || !b.closed.IsZero() {
		t.Errorf("%v, closed up to %v", b.troubles, b.closed)
	}
	w.tenant.Consent(w.watcher.Principal, right)
	w.read(d, b, 2*time.Hour)
	if b.formats["unified-audit-graph"] != 1 || len(b.troubles) > 0 {
		t.Errorf("%v %v", b.formats, b.troubles)
	}
}

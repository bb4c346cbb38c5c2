// SPDX-License-Identifier: Apache-2.0

package entra_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/driver"
	emulator "github.com/tallystick/tallystick/internal/lab/entra"
)

// A teller keeps the records that it is told.
type teller struct {
	*book
	records []map[string]any
}

// Take keeps a batch.
func (r *teller) Take(b driver.WatchBatch) (int, error) {
	for _, record := range b.Records {
		var one map[string]any
		if err := json.Unmarshal(record, &one); err != nil {
			return 0, err
		}
		r.records = append(r.records, one)
	}
	return r.book.Take(b)
}

// told has rounds read until so much time is over, and returns what they told.
func (w *tower) told(d driver.Watcher, b *book, over time.Duration) []map[string]any {
	w.Helper()
	sink := &teller{book: b}
	for end := w.clock().Add(over); w.clock().Before(end); {
		b.troubles, b.last = nil, nil
		again, err := d.Watch(w.Context(), driver.WatchRequest{Position: b.position, Now: w.clock}, sink)
		if err != nil {
			w.Fatal(err)
		}
		w.pass(max(again, 100*time.Millisecond))
	}
	return sink.records
}

func TestTheLastUseOfAKeyIsWatched(t *testing.T) {
	w := newTower(t, emulator.Config{})
	w.options["only"] = w.product.Application.AppID
	w.signIn(3)
	w.pass(72 * time.Hour)
	d, b := w.open(map[string]string{"logs": "last-use"}), newBook()
	if old := w.told(d, b, time.Minute); len(old) > 0 {
		t.Errorf("what is older than option since is told: %v", old)
	}
	w.signIn(2)
	last := w.tenant.SignIns()
	records := w.told(d, b, 3*time.Hour)
	if len(records) == 0 {
		t.Fatalf("nothing is told: %v", b.troubles)
	}
	record := records[0]
	activity := record["signInActivity"].(map[string]any)
	product := last[len(last)-1]
	if product.AppID != w.product.Application.AppID {
		t.Fatalf("the last sign-in is of %s", product.AppID)
	}
	if record["tenantId"] != w.tenant.ID || activity["lastSignInRequestId"] != product.ID || record["keyId"] != w.product.Application.State().Secrets[0].KeyID {
		t.Errorf("%v, want the sign-in %s", record, product.ID)
	}
	for _, r := range records {
		if r["appId"] != w.product.Application.AppID {
			t.Errorf("what is not asked for: %v", r)
		}
	}
	if b.formats["entra-last-use"] == 0 || !b.closed.IsZero() {
		t.Errorf("%v; one use of many closes no book: %v", b.formats, b.closed)
	}
}

func TestRisksAreWatched(t *testing.T) {
	w := newTower(t, emulator.Config{})
	right := emulator.Grant{API: emulator.Graph, Role: "IdentityRiskyServicePrincipal.Read.All"}
	w.tenant.SetLicences(true, true)
	key := w.product.Application.State().Secrets[0].KeyID
	d, b := w.open(map[string]string{"logs": "sign-ins,risks"}), newBook()
	w.told(d, b, time.Minute)
	if len(b.last) != 1 || b.last[0].Log != "risks" || !strings.Contains(b.last[0].Do, right.Role) {
		t.Errorf("without the permission: %v", b.troubles)
	}
	w.tenant.Consent(w.watcher.Principal, right)
	w.tenant.AddRisk(emulator.Risk{Type: "leakedCredentials", Principal: w.product.Principal, KeyIDs: []string{key}})
	var risks []map[string]any
	for _, r := range w.told(d, b, time.Hour) {
		if r["riskEventType"] != nil {
			risks = append(risks, r)
		}
	}
	if len(b.troubles) > 0 || b.formats["entra-risk"] != 1 || len(risks) == 0 || risks[0]["riskEventType"] != "leakedCredentials" || risks[0]["tenantId"] != w.tenant.ID ||
		risks[0]["keyIds"].([]any)[0] != key {
		t.Errorf("%v %v %v", b.formats, risks, b.troubles)
	}
}

// Identity protection answers a request a second, and does not say when to come again.
func TestRisksAreThrottledWithoutAWord(t *testing.T) {
	w := newTower(t, emulator.Config{})
	w.tenant.Consent(w.watcher.Principal, emulator.Grant{API: emulator.Graph, Role: "IdentityRiskyServicePrincipal.Read.All"})
	w.tenant.AddRisk(emulator.Risk{Type: "suspiciousSignins", Principal: w.product.Principal})
	refused := 0
	w.world.SetFaults(func(f *emulator.Faults) {
		f.Inject = func(a emulator.Attempt) *emulator.Injected {
			if strings.Contains(a.Path, "identityProtection") && refused < 3 {
				refused++
				return &emulator.Injected{Status: http.StatusTooManyRequests, Code: "TooManyRequests"}
			}
			return nil
		}
	})
	d, b := w.open(map[string]string{"logs": "risks"}), newBook()
	if w.told(d, b, time.Second); len(b.last) != 1 || b.last[0].Do != "" {
		t.Errorf("%v", b.troubles)
	}
	// Without a licence something is told all the same: that there is something.
	if hidden := w.told(d, b, 5*time.Minute); len(hidden) == 0 || hidden[0]["riskLevel"] != "hidden" || refused != 3 || len(b.troubles) > 0 {
		t.Errorf("%v after %d refusals, %v", hidden, refused, b.troubles)
	}
}

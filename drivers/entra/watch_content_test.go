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

// mailed is a tower whose unified audit is such, with a mailbox of some messages.
func mailed(t *testing.T, c emulator.UnifiedConfig) (*tower, *emulator.User) {
	t.Helper()
	w := newTower(t, emulator.Config{}, func(w *tower) {
		w.world.Mount(emulator.ServiceManagement, w.world.NewUnifiedAudit(c).ManagementHandler())
	})
	anna := w.tenant.AddUser("anna", "Anna")
	for n := range 20 {
		w.tenant.Deliver(anna, emulator.Message{Subject: fmt.Sprint("Message ", n), Body: "Words"})
	}
	return w, anna
}

// reads has the product read a mailbox.
func (w *tower) reads(u *emulator.User) {
	w.Helper()
	request, err := http.NewRequestWithContext(w.Context(), http.MethodGet, w.servers.Graph+"/v1.0/users/"+u.ID+"/messages?$top=5", nil)
	if err != nil {
		w.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+w.signIn(1))
	response, err := w.http.Do(request)
	if err != nil {
		w.Fatal(err)
	}
	if response.Body.Close(); response.StatusCode != http.StatusOK {
		w.Fatal(response.Status)
	}
}

func TestMailIsWatched(t *testing.T) {
	w, anna := mailed(t, emulator.UnifiedConfig{Duplicates: 0.3, PageSize: 3})
	d, b := w.open(map[string]string{"logs": "sign-ins,mail", "every": "10m"}), newBook()
	w.read(d, b, time.Minute) // the subscription begins; what is before it is not told
	for range 20 {
		w.reads(anna)
		w.read(d, b, 70*time.Minute)
	}
	closed := w.clock().Sub(b.closed)
	w.read(d, b, 15*time.Hour)
	if n := b.formats["unified-audit"]; n != 20 {
		t.Errorf("%d records of mail, want 20; %v", n, b.troubles)
	}
	if closed < 6*time.Hour || closed > 8*time.Hour {
		t.Errorf("the book is closed up to %v before now", closed)
	}
	if len(b.position) > 4000 {
		t.Errorf("the position has %d bytes", len(b.position))
	}
}

func TestASubscriptionThatWasStoppedBeginsAgain(t *testing.T) {
	var unified *emulator.UnifiedAudit
	w := newTower(t, emulator.Config{}, func(w *tower) {
		unified = w.world.NewUnifiedAudit(emulator.UnifiedConfig{FirstBlob: -1, Latency: emulator.Always(time.Minute)})
		w.world.Mount(emulator.ServiceManagement, unified.ManagementHandler())
	})
	anna := w.tenant.AddUser("anna", "Anna")
	w.tenant.Deliver(anna, emulator.Message{Subject: "Message"})
	d, b := w.open(map[string]string{"logs": "mail"}), newBook()
	w.read(d, b, 5*time.Minute)
	unified.DisableSubscription(w.tenant, w.watcher.Application.AppID, "Audit.Exchange")
	w.read(d, b, 10*time.Minute)
	w.reads(anna)
	w.read(d, b, time.Hour)
	if b.formats["unified-audit"] != 1 || len(b.troubles) > 0 {
		t.Errorf("%v %v", b.formats, b.troubles)
	}
}

func TestMailWithoutThePermission(t *testing.T) {
	w, anna := mailed(t, emulator.UnifiedConfig{FirstBlob: -1, Latency: emulator.Always(time.Minute)})
	right := emulator.Grant{API: emulator.Management, Role: "ActivityFeed.Read"}
	w.tenant.Revoke(w.watcher.Principal, right)
	d, b := w.open(map[string]string{"logs": "sign-ins,mail"}), newBook()
	w.signIn(2)
	w.read(d, b, 10*time.Minute)
	w.has(b, 2)
	if len(b.last) != 1 || b.last[0].Log != "mail" || !strings.Contains(b.last[0].Do, "ActivityFeed.Read") || !b.closed.IsZero() {
		t.Errorf("%v, closed up to %v", b.troubles, b.closed)
	}
	w.tenant.Consent(w.watcher.Principal, right)
	w.read(d, b, 2*time.Hour)
	w.reads(anna)
	w.read(d, b, time.Hour)
	if b.formats["unified-audit"] != 1 || len(b.troubles) > 0 {
		t.Errorf("%v %v", b.formats, b.troubles)
	}
}

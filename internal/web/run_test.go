// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

func TestRunTellsWhatChanged(t *testing.T) {
	h := newHouse(t)
	ca := newAuthority(t, "Example CA")
	before, after := ca.issue(newKey(t), "renewed.example.net", 80, 90), ca.issue(newKey(t), "renewed.example.net", 1, 90)
	lost, back, fresh := ca.issue(newKey(t), "lost.example.net", 1, 90), ca.issue(newKey(t), "back.example.net", 1, 90), ca.issue(newKey(t), "fresh.example.net", 1, 90)
	at := func(c tallystick.Credential, path string) tallystick.Sighting {
		return seen(c, tallystick.RolePresents, path)
	}
	h.record("files", at(before, "/etc/a.pem"), at(lost, "/etc/lost.pem"), at(back, "/etc/back.pem"))
	h.at(testNow.Add(time.Minute))
	h.record("files", at(before, "/etc/a.pem"), at(lost, "/etc/lost.pem"))
	h.at(testNow.Add(2 * time.Minute))
	run := h.record("files", at(after, "/etc/a.pem"), at(back, "/etc/back.pem"), at(fresh, "/etc/fresh.pem"))

	page := h.page(viewer, fmt.Sprintf("/runs/%d", run.ID))
	part := func(id string) string {
		return firstMatch(h, page, `(?s)<section class="card" id="`+id+`">(.*?)</section>`)
	}
	h.contains(part("renewed"), "renewed.example.net", "replaces <a", before.ID.Short())
	h.contains(part("appeared"), "fresh.example.net")
	h.contains(part("returned"), "back.example.net")
	h.contains(part("vanished"), "lost.example.net")
	h.lacks(part("vanished"), "renewed.example.net")
	h.contains(page, "3 sightings are new and 2 are gone.", "Took</dt><dd>42 s")

	h.at(testNow.Add(3 * time.Minute))
	run = h.record("files", at(after, "/etc/a.pem"), at(back, "/etc/back.pem"), at(fresh, "/etc/fresh.pem"))
	h.contains(h.page(viewer, fmt.Sprintf("/runs/%d", run.ID)), "It changed nothing.")
}

func TestRunTellsWhatItCouldNotSee(t *testing.T) {
	h := newHouse(t)
	run, err := h.db.AddRun(t.Context(), store.Run{Source: "files", Driver: "files", Targets: []string{"/etc", "/srv"}, Queued: testNow})
	if err != nil {
		t.Fatal(err)
	}
	if run, err = h.db.ClaimRun(t.Context(), "test", testNow, time.Minute); err != nil {
		t.Fatal(err)
	}
	miss := tallystick.Miss{Place: tallystick.FilePlace("/etc/shadow"), Error: "denied", Detail: "permission <denied>", Seen: testNow}
	if _, err := h.db.Record(t.Context(), store.Batch{Run: run.ID, Source: "files", Misses: []tallystick.Miss{miss}}); err != nil {
		t.Fatal(err)
	}
	run.State, run.Finished, run.Misses, run.Error = store.RunFailed, testNow.Add(time.Minute), 1, "the disk <is> full"
	if err := h.db.FinishRun(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	page := h.page(viewer, fmt.Sprintf("/runs/%d", run.ID))
	h.contains(page, "Could not see", "file:///etc/shadow", "permission &lt;denied&gt;", "the disk &lt;is&gt; full", "failed", "/etc, /srv", "could not see 1 place")
}

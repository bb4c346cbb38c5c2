// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"fmt"
	"net/http"
	"strings"
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
	first := h.record("files", at(before, "/etc/a.pem"), at(lost, "/etc/lost.pem"), at(back, "/etc/back.pem"))
	h.at(testNow.Add(time.Minute))
	h.record("files", at(before, "/etc/a.pem"), at(lost, "/etc/lost.pem"))
	h.at(testNow.Add(2 * time.Minute))
	run := h.record("files", at(after, "/etc/a.pem"), at(back, "/etc/back.pem"), at(fresh, "/etc/fresh.pem"))

	page := h.page(viewer, fmt.Sprintf("/runs/%d", run.ID))
	part := func(id string) string {
		return firstMatch(h, page, `(?s)<section class="card" id="`+id+`">(.*?)</section>`)
	}
	h.contains(part("renewed"), "renewed.example.net", "replaces <a", before.ID.Short(), "before it")
	h.contains(part("new"), "fresh.example.net")
	h.contains(part("returned"), "back.example.net")
	h.contains(part("gone"), "lost.example.net")
	h.lacks(part("gone"), "renewed.example.net")
	h.contains(firstMatch(h, page, `<p class="sentence">(.*?)</p>`),
		`>1</a> new, <a`, `>1</a> gone, <a`, `>1</a> renewed, <a`, `>1</a> back again.`)
	h.contains(page, "Took</dt><dd>42 s")
	list := h.page(viewer, firstMatch(h, page, `href="(/runs/\d+/changes\?kind=renewed)"`))
	h.contains(list, "Renewed 1", "renewed.example.net", "Gone 1")
	h.lacks(list, "lost.example.net")

	h.at(testNow.Add(3 * time.Minute))
	quiet := h.record("files", at(after, "/etc/a.pem"), at(back, "/etc/back.pem"), at(fresh, "/etc/fresh.pem"))
	h.contains(h.page(viewer, fmt.Sprintf("/runs/%d", quiet.ID)), "It changed nothing.")
	compared := h.page(viewer, fmt.Sprintf("/runs/%d?since=%d", quiet.ID, first.ID))
	h.contains(compared, "Since", fmt.Sprintf(`">run %d</a>: `, first.ID), `>1</a> new, <a`, `>1</a> gone, <a`, `>1</a> renewed.`, " selected>")
	if w := h.ask(viewer, fmt.Sprintf("/runs/%d?since=%d", first.ID, quiet.ID), nil); w.Code != http.StatusBadRequest {
		t.Errorf("a run is compared with a later one: %d", w.Code)
	}
}

// Of a first look all is new, so it says how much and lists nothing.
func TestAFirstLookIsTold(t *testing.T) {
	h := newHouse(t)
	ca := newAuthority(t, "Example CA")
	var list []tallystick.Sighting
	for n := range 60 {
		c := ca.issue(newKey(t), fmt.Sprintf("host%02d.example.net", n), 1, 90)
		list = append(list, seen(c, tallystick.RolePresents, fmt.Sprintf("/etc/%02d.pem", n)), seen(keyOf(c), tallystick.RoleHolds, fmt.Sprintf("/etc/%02d.key", n)))
	}
	run := h.record("files", list...)
	page := h.page(viewer, fmt.Sprintf("/runs/%d", run.ID))
	h.contains(page, "The first look: <a", "60 certificates, 60 keys</a>.")
	h.lacks(page, "host00.example.net")
	page = h.page(viewer, firstMatch(h, page, `href="(/runs/\d+/changes\?kind=new)"`))
	h.contains(page, "New 120", "/etc/00.pem", "/etc/24.key")
	page = h.page(viewer, firstMatch(h, page, `href="([^"]+)" rel="next"`))
	h.contains(page, "/etc/25.pem", "/etc/49.pem")
	page = h.page(viewer, firstMatch(h, page, `href="([^"]*sort=credential[^"]*)"`))
	h.contains(page, `aria-current="true">Credential`)
	if w := h.ask(viewer, fmt.Sprintf("/runs/%d/changes?kind=other", run.ID), nil); w.Code != http.StatusBadRequest {
		t.Errorf("an unknown kind: %d", w.Code)
	}
}

func TestRunTellsWhatIsDifferentAboutAPlace(t *testing.T) {
	h := newHouse(t)
	c := newAuthority(t, "Example CA").issue(newKey(t), "a.example.net", 1, 90)
	before, after := served(c, "10.0.0.1:443"), served(c, "10.0.0.1:443")
	after.TLS.Protocols, after.TLS.Staple = []string{"tls1.3"}, "good"
	h.record("tls", before)
	h.at(testNow.Add(time.Minute))
	run := h.record("tls", after)
	h.contains(h.page(viewer, fmt.Sprintf("/runs/%d", run.ID)), ">1</a> changed.", "<del>tls1.2, tls1.3</del>", "<li>tls1.3</li>")
	again := after
	again.TLS = &tallystick.TLSFacts{Protocols: after.TLS.Protocols, Evidence: after.TLS.Evidence, Process: "nginx", Chain: after.TLS.Chain, ClientAuth: "none", Staple: "expired"}
	h.at(testNow.Add(2 * time.Minute))
	run = h.record("tls", again)
	page := h.page(viewer, fmt.Sprintf("/runs/%d", run.ID))
	h.contains(page, ">1</a> changed.", `id="changed"`)
	if !strings.Contains(page, "staple") && !strings.Contains(page, "OCSP") {
		t.Errorf("the page does not say what changed:\n%s", page)
	}
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
	h.contains(page, "Could not see", "file:///etc/shadow", "permission &lt;denied&gt;", "the disk &lt;is&gt; full", "failed", "/etc, /srv", "Not seen</dt><dd>1 place: <a", "</a> denied")
	page = h.page(viewer, firstMatch(h, page, `href="(/runs/\d+/misses\?error=denied)"`))
	h.contains(page, "Not seen: denied", "file:///etc/shadow", "denied 1")
}

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

// scanned records a look at a network: what is there, and what did not answer.
func (h *house) scanned(source string, seen []tallystick.Sighting, missed map[string]string) store.Run {
	h.Helper()
	run, err := h.db.AddRun(h.Context(), store.Run{Source: source, Driver: "tls", Targets: []string{"10.0.0.0/22"}, Requested: "schedule", Queued: h.clock()})
	if err != nil {
		h.Fatal(err)
	}
	if run, err = h.db.ClaimRun(h.Context(), "test", h.clock(), time.Minute); err != nil {
		h.Fatal(err)
	}
	batch := store.Batch{Run: run.ID, Source: source, Sightings: seen}
	for i := range seen {
		seen[i].Seen = h.clock()
	}
	run.Missed = map[string]int64{}
	for address, word := range missed {
		batch.Misses = append(batch.Misses, tallystick.Miss{Place: tallystick.TLSPlace(address), Error: word, Seen: h.clock()})
		run.Missed[word]++
		run.Misses++
	}
	recorded, err := h.db.Record(h.Context(), batch)
	if err != nil {
		h.Fatal(err)
	}
	run.State, run.Finished, run.Sightings, run.Appeared = store.RunDone, h.clock().Add(time.Minute), recorded.Sightings, recorded.Appeared
	if err := h.db.FinishRun(h.Context(), run); err != nil {
		h.Fatal(err)
	}
	h.judge()
	return run
}

func TestNetworks(t *testing.T) {
	h := newHouse(t)
	h.contains(h.page(viewer, "/networks"), "No network has been looked at yet.")
	ca := newAuthority(t, "Example CA")
	good, over := ca.issue(newKey(t), "good.example.net", 1, 90), ca.issue(newKey(t), "over.example.net", 100, 90)
	old := served(over, "10.0.2.7:443")
	old.TLS.Protocols = []string{"tls1.0", "tls1.2"}
	run := h.scanned("front-ends", []tallystick.Sighting{
		served(good, "10.0.2.7:8443"), old, served(good, "10.0.10.9:443"), served(good, "www.example.net:443"), served(good, "[2001:db8::7]:443"),
	}, map[string]string{"10.0.2.8:443": "timeout", "10.0.2.9:443": "refused", "10.0.2.10:443": "timeout", "10.0.3.1:443": "refused"})

	page := h.page(viewer, "/networks")
	h.contains(page, "10.0.2.0/24", "10.0.3.0/24", "10.0.10.0/24", "2001:db8::/64", "example.net</a>", "2 endpoints", "2 credentials", "tls1.0, tls1.2, tls1.3",
		"Nothing answered here.", `">2</a> timeout, <a`, "at worst")
	// In the order of the numbers and not of their digits.
	if !(index(page, "10.0.2.0/24") < index(page, "10.0.3.0/24") && index(page, "10.0.3.0/24") < index(page, "10.0.10.0/24") && index(page, "10.0.10.0/24") < index(page, "2001:db8::/64")) {
		t.Error("the networks are out of order")
	}
	// Each number leads to the list that it counts.
	h.contains(h.page(viewer, firstMatch(h, page, `href="(/places\?network=10.0.2.0[^"]+)"`)), "2 match", "tls://10.0.2.7:443", "tls://10.0.2.7:8443")
	h.contains(h.page(viewer, firstMatch(h, page, `href="(/credentials\?network=10.0.2.0[^"&]+)"`)), "2 match", "good.example.net", "over.example.net")
	h.contains(h.page(viewer, firstMatch(h, page, `href="(/credentials\?network=10.0.2.0[^"]+severity=[^"]+)"`)), "1 match", "over.example.net")
	misses := h.page(viewer, firstMatch(h, page, fmt.Sprintf(`href="(/runs/%d/misses\?error=timeout[^"]+)"`, run.ID)))
	h.contains(misses, "tls://10.0.2.8:443", "tls://10.0.2.10:443", "Network")
	h.lacks(misses, "10.0.2.9", "10.0.3.1")

	one := h.page(viewer, "/network?name=10.0.2.0/24")
	h.contains(one, `aria-label="10.0.2.7: 2 endpoints, at worst `, "10.0.2.8: timeout", `href="/places?prefix=tls%3A%2F%2F10.0.2.7%3A"`, "Endpoints, the worst first</h2>", ">.240</text>")
	h.contains(h.page(viewer, "/network?name=example.net"), "tls://www.example.net:443", "tls1.2, tls1.3")
	h.contains(h.page(viewer, "/network?name=10.9.9.0/24"), "Nothing answered here.")
	for _, name := range []string{"", "10.0.2.0/23", "a/b"} {
		if w := h.ask(viewer, "/network?name="+name, nil); w.Code != http.StatusBadRequest {
			t.Errorf("the network %q: %d", name, w.Code)
		}
	}
}

// A block whose addresses each missed on several ports is drawn to its end.
func TestABlockIsDrawnWhole(t *testing.T) {
	h := newHouse(t)
	missed := map[string]string{}
	for address := range 256 {
		for port := range 5 {
			missed[fmt.Sprintf("10.0.2.%d:%d", address, 8000+port)] = "timeout"
		}
	}
	h.scanned("front-ends", nil, missed)
	h.contains(h.page(viewer, "/network?name=10.0.2.0/24"), "10.0.2.0: timeout", "10.0.2.99: timeout", "10.0.2.255: timeout")
}

func TestNetworksPaging(t *testing.T) {
	h := newHouse(t)
	c := newAuthority(t, "Example CA").issue(newKey(t), "a.example.net", 1, 90)
	var list []tallystick.Sighting
	for n := range 60 {
		list = append(list, served(c, fmt.Sprintf("10.0.%d.1:443", n)))
	}
	h.scanned("front-ends", list, nil)
	page := h.page(viewer, "/networks")
	h.contains(page, ">10.0.0.0/24<", ">10.0.23.0/24<")
	h.lacks(page, ">10.0.24.0/24<")
	page = h.page(viewer, firstMatch(h, page, `href="([^"]+)" rel="next"`))
	h.contains(page, ">10.0.24.0/24<", ">10.0.47.0/24<")
	page = h.page(viewer, firstMatch(h, page, `href="([^"]+)" rel="next"`))
	h.contains(page, ">10.0.48.0/24<", ">10.0.59.0/24<")
	h.lacks(page, `rel="next"`, ">10.0.47.0/24<")
}

// index returns where a name stands as the head of a tile.
func index(page, name string) int { return strings.Index(page, ">"+name+"</a>") }

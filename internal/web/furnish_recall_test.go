// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"context"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/recall/recalltest"
)

// furnishRecalls makes an engine over doors in this process, of which there are none yet.
func (h *house) furnishRecalls(g *gate.Gate, log *audit.Log) {
	h.Helper()
	var err error
	if h.desk, err = recalltest.NewDesk(); err != nil {
		h.Fatal(err)
	}
	h.estate = recalltest.New("desk", h.clock)
	h.recalls, err = recall.New(recall.Config{
		DB: h.db, Gate: g, Log: log, Doors: h.estate, Now: h.clock, Node: "test",
		Issuers:  func(string) (driver.Issuer, error) { return h.desk, nil },
		Defaults: recall.Defaults{Quiet: time.Millisecond, Waves: tallystick.Waves{Canary: 1, Growth: 3}},
	})
	if err != nil {
		h.Fatal(err)
	}
}

// stolen adds a holder that signs in at some doors, and places of the same key, and returns what
// is burnt.
func (h *house) stolen(relying, places int) tallystick.Burnt {
	h.Helper()
	h.at(time.Now()) // the doors' CA has no other clock
	key, err := recalltest.NewKey()
	if err != nil {
		h.Fatal(err)
	}
	certify := func(name string) driver.Public {
		p, err := h.desk.Certify(name, key.Public())
		if err != nil {
			h.Fatal(err)
		}
		return p
	}
	old := certify("mail-sync")
	h.estate.AddHolder("mail-sync", old)
	for n := range relying {
		h.estate.AddRelying(fmt.Sprintf("ldap-%d", n+1), old)
	}
	for n := range places {
		h.estate.AddPlace(fmt.Sprintf("web-%d", n+1), certify(fmt.Sprintf("web%d.example.net", n+1)))
	}
	for _, name := range old.Names() {
		if len(name) == len("spki-sha256:")+64 && name[:12] == "spki-sha256:" {
			return tallystick.Burnt{Kind: tallystick.BurntKey, Value: name[12:]}
		}
	}
	h.Fatal("the certificate has no key")
	return tallystick.Burnt{}
}

// opened opens a recall of what is burnt.
func (h *house) opened(name string, what tallystick.Burnt) tallystick.Recall {
	h.Helper()
	r, err := h.recalls.Open(h.Context(), operator, recall.Request{Name: name, What: what, Why: "It was on a host that somebody entered."})
	if err != nil {
		h.Fatal(err)
	}
	return r
}

// begun opens one, has it approved and begins it.
func (h *house) begun(name string, what tallystick.Burnt) tallystick.Recall {
	h.Helper()
	r := h.opened(name, what)
	h.begin(r)
	return r
}

// begin has a recall approved and begins it.
func (h *house) begin(r tallystick.Recall) {
	h.Helper()
	if err := h.recalls.Approve(h.Context(), admin, r.ID, r.Deadline); err != nil {
		h.Fatal(err)
	}
	if err := h.recalls.Start(h.Context(), operator, r.ID); err != nil {
		h.Fatal(err)
	}
}

// work lets the engine work until the recall is in one of the states; the clock goes on.
func (h *house) work(r tallystick.Recall, until ...tallystick.RecallState) {
	h.Helper()
	ctx, stop := context.WithCancel(h.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = h.recalls.Run(ctx, func(err error) { h.Error(err) })
	}()
	defer func() {
		stop()
		<-ended
	}()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		h.at(h.clock().Add(500 * time.Millisecond))
		s, err := h.recalls.Status(h.Context(), viewer, r.ID)
		if err != nil {
			h.Fatal(err)
		}
		for _, state := range until {
			if s.State == state {
				return
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	h.Fatalf("the recall does not become %v:\n%s", until, h.page(viewer, "/recalls/"+r.Name))
}

// fails lets an act fail at a door, for good.
func (h *house) fails(act tallystick.Act, door, why string) {
	h.estate.SetFault(func(t doors.Task, after bool) error {
		if t.Act == act && t.Door == door && !after {
			return fmt.Errorf("%w: %s", tallystick.ErrInvalid, why)
		}
		return nil
	})
}

// war has a recall under way, of which one place does not go on, and returns when that was.
func (h *house) war() time.Time {
	h.Helper()
	was := h.clock()
	defer h.at(was)
	h.fails(tallystick.ActInstall, "web-3", "nginx: [emerg] cannot write /etc/nginx/tls/web3.pem: no space left on device")
	h.work(h.begun("mail-sync-2026", h.stolen(12, 4)), tallystick.RecallStopped)
	return h.clock()
}

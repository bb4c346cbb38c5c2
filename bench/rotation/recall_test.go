// SPDX-License-Identifier: Apache-2.0

package rotation

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/config"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/store/storetest"
	"github.com/tallystick/tallystick/internal/vault"
)

var (
	opener   = gate.Actor{Name: "olga", Role: gate.Operator, Via: "session"}
	approver = gate.Actor{Name: "otto", Role: gate.Operator, Via: "session"}
)

const system = "ldap.acme.example"

// BenchmarkRecall has the whole of Tallystick rotate every account of an OpenLDAP: a recall of
// what was entrusted, with its vault, custody, audit log and durable steps on SQLite.
func BenchmarkRecall(b *testing.B) {
	d := slapdTwo(b)
	db := storetest.Open(b, filepath.Join(b.TempDir(), "tally.db"))
	log, err := audit.Open(b.Context(), db, filepath.Join(b.TempDir(), "audit.key"))
	check(b, err)
	g := gate.New(log, time.Now)
	wrapper, err := custody.OpenFile(filepath.Join(b.TempDir(), "wrapping.key"), "", "", true)
	check(b, err)
	kept, err := custody.Open(b.Context(), custody.Config{DB: db, Wrapper: wrapper, Now: time.Now})
	check(b, err)
	v := vault.New(vault.Config{
		DB: db, Gate: g, Now: time.Now, Witness: b.TempDir(), Host: "hub", Custody: func(context.Context) (*custody.Custody, error) { return kept, nil },
	})
	set, err := doors.Open(doors.Config{
		Doors:   []config.Door{{Name: "directory", Driver: "slapd", Systems: []string{system}}},
		Drivers: []driver.Driver{driver.New("slapd", "the directory", func(struct{}) (driver.Rotator, error) { return d.rotator, nil })},
		Keys:    doors.CustodyKeys{Custody: kept, Names: db}, Now: time.Now, Vault: v,
	})
	check(b, err)
	engine, err := recall.New(recall.Config{DB: db, Gate: g, Log: log, Doors: set, Accounts: set, Vault: v, Now: time.Now, Node: "bench"})
	check(b, err)
	entrust(b, v, d)
	for b.Loop() {
		recallAll(b, engine, d)
	}
}

// entrust takes the first password of every account in.
func entrust(b *testing.B, v *vault.Vault, d directory) {
	b.Helper()
	list := make([]vault.Entrust, len(d.accounts))
	for i, account := range d.accounts {
		list[i] = vault.Entrust{Name: vault.Name{Customer: "acme", System: system, Account: account, Kind: vault.Password}, Value: d.first}
	}
	_, err := v.EntrustAll(b.Context(), opener, "bench", list)
	check(b, err)
}

// recallAll plans, opens and runs a recall of everything, and reports what that took.
func recallAll(b *testing.B, engine *recall.Engine, d directory) {
	b.Helper()
	ours, theirs := ownCPU(b), d.cpu()
	request := recall.Request{
		What: tallystick.Burnt{Kind: tallystick.BurntEntrusted, Value: "host/hub"}, Quiet: time.Millisecond, Waves: &tallystick.Waves{Canary: 1, Growth: 100, Errors: 0},
	}
	one, err := engine.Open(b.Context(), opener, request)
	check(b, err)
	check(b, engine.Approve(b.Context(), approver, one.ID, one.Deadline))
	check(b, engine.Start(b.Context(), opener, one.ID))
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = engine.Run(ctx, func(err error) { b.Error(err) }) }()
	var status recall.Status
	for deadline := time.Now().Add(10 * time.Minute); !status.State.Over(); time.Sleep(200 * time.Millisecond) {
		if status, err = engine.Status(b.Context(), approver, one.ID); err != nil || status.State == tallystick.RecallStopped || time.Now().After(deadline) {
			b.Fatalf("%v: it is %s, %s", err, status.State, status.Reason)
		}
	}
	stop()
	<-ended
	ours, theirs = ownCPU(b)-ours, d.cpu()-theirs
	b.ReportMetric(float64(status.Done), "proven")
	b.ReportMetric(ours.Seconds(), "our-CPU-s")
	b.ReportMetric(theirs.Seconds(), "server-CPU-s")
	b.ReportMetric((ours + theirs).Seconds(), "CPU-s")
}

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

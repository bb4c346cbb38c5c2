// SPDX-License-Identifier: Apache-2.0

package postgresql_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/internal/lab"
)

func (e *estate) block(t *testing.T, h driver.Host, m driver.Material) (driver.Blocked, error) {
	t.Helper()
	return e.open(t, nil).(driver.Blocker).Block(t.Context(), driver.BlockRequest{Host: h, Old: m.Public, CRLs: e.clients.CRLs(t, m.Public), Now: time.Now})
}

func (e *estate) probe(t *testing.T, m driver.Material, r driver.ProbeRequest, want ...string) driver.Probed {
	t.Helper()
	r.Credential, r.Listeners = m, e.listeners("alice")
	probed := drivertest.Probe(t, r)
	for _, a := range probed.Attempts {
		if !strings.Contains(strings.Join(want, " "), a.Outcome) {
			t.Errorf("%s, %s: %s (%s), want %q", m, a.Way, a.Outcome, a.Answer, want)
		}
	}
	return probed
}

// One server serves all of these: making one takes longer than they do.
func TestOneServer(t *testing.T) {
	t.Parallel()
	e := newEstate(t, lab.PostgresSettings{})
	for _, test := range []struct {
		name string
		f    func(*testing.T)
	}{
		{"block of one of two with one name", e.blockOfOneOfTwoWithOneName},
		{"block leaves the same number of another CA", e.blockLeavesTheSameNumberOfAnotherCA},
		{"trust brings a CA with its lists", e.trustBringsACAWithItsLists},
		{"install puts back what the server refuses", e.installPutsBackWhatTheServerRefuses},
		{"reloads that are cut off", e.reloadsThatAreCutOff},
		{"install under load", e.installUnderLoad},
	} {
		e.reset(t)
		t.Run(test.name, test.f)
	}
}

// The old certificate and the new one have one name. The old one gets in until Block and
// in no way after it; of the open connections exactly those of the old one are ended.
func (e *estate) blockOfOneOfTwoWithOneName(t *testing.T) {
	old, next := e.clients.Client(t, "alice"), e.clients.Client(t, "alice")
	held := e.probe(t, old, driver.ProbeRequest{Hold: true}, driver.OutcomeAccepted)
	// PostgreSQL gives sessions of TLS 1.3 and takes up none.
	e.probe(t, old, driver.ProbeRequest{Sessions: held.Sessions}, driver.OutcomeAccepted, driver.OutcomeNotResumed)
	if len(held.Open) != 2 {
		t.Fatalf("%d connections are open, want one for each of TLS 1.2 and 1.3", len(held.Open))
	}
	for _, m := range []driver.Material{next, e.bob} {
		conn, err := e.connect(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.Background())
		defer func() {
			if err := ask(t.Context(), conn); err != nil {
				t.Errorf("a connection of %s: %v", m, err)
			}
		}()
	}
	blocked, err := e.block(t, host.Local(), old)
	if err != nil || blocked.Closed != 2 || len(blocked.Left) != 0 {
		t.Errorf("%+v, %v; want 2 closed and none left", blocked, err)
	}
	resumed := e.probe(t, old, driver.ProbeRequest{Sessions: held.Sessions}, driver.OutcomeRefused, driver.OutcomeNotResumed)
	for _, a := range resumed.Attempts {
		if strings.HasPrefix(a.Way, "fresh") && a.Outcome != driver.OutcomeRefused {
			t.Errorf("%s: %s", a.Way, a.Outcome)
		}
	}
	for _, open := range held.Open {
		if a := open.Try(t.Context()); a.Outcome != driver.OutcomeRefused {
			t.Errorf("an open connection is %s: %s", a.Outcome, a.Answer)
		}
	}
	e.probe(t, next, driver.ProbeRequest{}, driver.OutcomeAccepted)
	if err := e.signIn(e.bob); err != nil {
		t.Error(err)
	}
}

// Serial numbers are those of an issuer: another CA's connection of the same number stays.
func (e *estate) blockLeavesTheSameNumberOfAnotherCA(t *testing.T) {
	old := e.clients.Client(t, "alice")
	leaf, err := x509.ParseCertificate(old.Chain[0])
	if err != nil {
		t.Fatal(err)
	}
	// The root itself signs, so that the names of the issuers differ.
	key := lab.NewKey(t)
	template := &x509.Certificate{SerialNumber: leaf.SerialNumber, Subject: pkix.Name{CommonName: "bob"}, NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter}
	der, err := x509.CreateCertificate(rand.Reader, template, e.clients.Root, &key.PublicKey, e.clients.RootKey)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := e.connect(t.Context(), driver.Material{Public: driver.Public{Chain: [][]byte{der}}, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	blocked, err := e.block(t, host.Local(), old)
	if err != nil || blocked.Closed != 0 || len(blocked.Left) != 1 || !strings.Contains(blocked.Left[0], "/CN=Lab Root") {
		t.Errorf("%+v, %v; want the other CA's connection named and not closed", blocked, err)
	}
	if err := ask(t.Context(), conn); err != nil {
		t.Error(err)
	}
}

// A server without lists begins to read one, when there is one of every CA; without it
// would refuse everybody.
func TestBlockBringsTheFirstList(t *testing.T) {
	t.Parallel()
	e := &estate{servers: lab.NewPKI(t), clients: lab.NewPKI(t)}
	e.server = lab.StartPostgres(t, lab.PostgresSettings{PKI: e.clients, Server: e.servers.Localhost(t)})
	e.bob = e.clients.Client(t, "bob")
	old := e.clients.Client(t, "alice")
	lists := e.clients.CRLs(t, old.Public)
	for what, crls := range map[string][][]byte{"no list": nil, "none of the root": lists[:1]} {
		_, err := e.open(t, nil).(driver.Blocker).Block(t.Context(), driver.BlockRequest{Host: host.Local(), Old: old.Public, CRLs: crls, Now: time.Now})
		if !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", what, err)
		}
		if err := e.signIn(e.bob); err != nil {
			t.Error(err)
		}
	}
	blocked, err := e.block(t, host.Local(), old)
	if err != nil || !blocked.Changed.Changed {
		t.Fatalf("%+v, %v", blocked, err)
	}
	var file string
	if e.query(t, "SHOW ssl_crl_file", &file); file != "tallystick-crl.pem" {
		t.Errorf("ssl_crl_file is %q", file)
	}
	e.probe(t, old, driver.ProbeRequest{}, driver.OutcomeRefused)
	if err := e.signIn(e.bob); err != nil {
		t.Error(err)
	}
}

func TestTrustByAnotherName(t *testing.T) {
	t.Parallel()
	e := newEstate(t, lab.PostgresSettings{Ident: `people "old name" alice` + "\npeople bob bob"})
	like, next := e.clients.Client(t, "old name"), e.clients.Client(t, `new "name"`)
	e.probe(t, like, driver.ProbeRequest{}, driver.OutcomeAccepted)
	e.probe(t, next, driver.ProbeRequest{}, driver.OutcomeRefused)
	trust := func(withdraw bool) driver.Changed {
		t.Helper()
		changed, err := e.open(t, nil).(driver.Truster).Trust(t.Context(), driver.TrustRequest{Host: host.Local(), New: next.Public, Like: like.Public, Withdraw: withdraw, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		return changed
	}
	if !trust(false).Changed || trust(false).Changed {
		t.Error("want a change the first time, and none the second")
	}
	e.probe(t, next, driver.ProbeRequest{}, driver.OutcomeAccepted)
	e.probe(t, like, driver.ProbeRequest{}, driver.OutcomeAccepted)
	if !trust(true).Changed || trust(true).Changed {
		t.Error("want a change the first time, and none the second")
	}
	e.probe(t, next, driver.ProbeRequest{}, driver.OutcomeRefused)
	path := filepath.Join(e.server.Data, "pg_ident.conf")
	if text, err := os.ReadFile(path); err != nil || string(text) != e.files[path] {
		t.Errorf("pg_ident.conf is not as it was: %s (%v)", text, err)
	}
	for _, withdraw := range []bool{true, false} {
		_, err := e.open(t, nil).(driver.Truster).Trust(t.Context(), driver.TrustRequest{Host: host.Local(), Like: like.Public, Withdraw: withdraw, Now: time.Now})
		if !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("of no certificate (withdraw: %v): %v, want ErrInvalid", withdraw, err)
		}
	}
	unnamed := e.clients.Client(t, "nobody")
	_, err := e.open(t, nil).(driver.Truster).Trust(t.Context(), driver.TrustRequest{Host: host.Local(), New: next.Public, Like: unnamed.Public, Now: time.Now})
	if !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("like a name that no line has: %v", err)
	}
}

// A server that reads lists wants those of a new CA as well.
func (e *estate) trustBringsACAWithItsLists(t *testing.T) {
	fresh := lab.NewPKI(t)
	next := fresh.Client(t, "alice")
	request := driver.TrustRequest{
		Host: host.Local(), New: next.Public, Like: e.clients.Client(t, "alice").Public, Authorities: [][]byte{fresh.Sub.Raw, fresh.Root.Raw}, Now: time.Now,
	}
	truster := e.open(t, nil).(driver.Truster)
	if _, err := truster.Trust(t.Context(), request); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("without lists: %v, want ErrInvalid", err)
	}
	e.probe(t, next, driver.ProbeRequest{}, driver.OutcomeRefused)
	request.CRLs = fresh.CRLs(t)
	for _, want := range []bool{true, false} {
		if changed, err := truster.Trust(t.Context(), request); err != nil || changed.Changed != want {
			t.Errorf("%+v, %v; want a change: %v", changed, err, want)
		}
		e.probe(t, next, driver.ProbeRequest{}, driver.OutcomeAccepted)
	}
	request.Withdraw = true
	if changed, err := truster.Trust(t.Context(), request); err != nil || !changed.Changed {
		t.Errorf("withdrawn: %+v, %v", changed, err)
	}
	e.probe(t, next, driver.ProbeRequest{}, driver.OutcomeRefused)
	if err := e.signIn(e.bob); err != nil {
		t.Error(err)
	}
}

// OpenSSL takes no RSA key of 1024 bits, which passes every check before.
func (e *estate) installPutsBackWhatTheServerRefuses(t *testing.T) {
	key := lab.NewRSAKey(t, 1024)
	bad := e.servers.LocalhostOf(t, key)
	_, err := drivertest.Install(t, e.open(t, nil), host.Local(), bad)
	if err == nil || errors.Is(err, tallystick.ErrDamaged) {
		t.Errorf("%v; want a refusal that was put back", err)
	}
	for path, want := range e.files {
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s is not as it was (%v)", path, err)
		}
	}
	if err := e.signIn(e.bob); err != nil {
		t.Error(err)
	}
	if info, err := host.Local().Stat(t.Context(), e.server.Key); err != nil || info.Mode != 0o600 || os.Getuid() == 0 && info.Owner != "postgres" {
		t.Errorf("the key is %v of %s (%v)", info.Mode, info.Owner, err)
	}
}

// reloads tells apart what has the server read its files.
func reloads(p []byte) bool { return strings.Contains(string(p), "pg_reload_conf()") }

func (e *estate) reloadsThatAreCutOff(t *testing.T) {
	next, alice := e.servers.Localhost(t), e.clients.Client(t, "alice")
	install := func(h driver.Host) error {
		_, err := drivertest.Install(t, e.open(t, nil), h, next)
		return err
	}
	block := func(h driver.Host) error { _, err := e.block(t, h, alice); return err }
	for what, verb := range map[string]func(driver.Host) error{"install": install, "block": block} {
		for _, after := range []bool{false, true} {
			e.reset(t)
			h := &drivertest.CutHost{Host: host.Local(), Cuts: reloads, After: after}
			if err := verb(h); err == nil || errors.Is(err, tallystick.ErrDamaged) {
				t.Errorf("%s, cut off after: %v: %v; want an error, and the old files read again", what, after, err)
			}
			if err := errors.Join(e.signIn(e.bob), e.signIn(alice)); err != nil {
				t.Errorf("%s, cut off after: %v: what was put back is not in force: %v", what, after, err)
			}
			if err := verb(host.Local()); err != nil {
				t.Errorf("again: %v", err)
			}
			if err := e.signIn(alice); (err == nil) != (what == "install") {
				t.Errorf("after %s: alice: %v", what, err)
			}
		}
	}
}

// Under a steady load of sign-ins and queries changes of the certificate lose none.
func (e *estate) installUnderLoad(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	var served atomic.Int64
	for range 4 {
		load.Go(func() {
			open, err := e.connect(t.Context(), e.bob)
			if err != nil {
				t.Error(err)
				return
			}
			defer open.Close(context.Background())
			for ctx.Err() == nil {
				if err := errors.Join(e.signIn(e.bob), ask(t.Context(), open)); err != nil {
					t.Error(err)
				}
				served.Add(2)
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	for range 10 {
		time.Sleep(100 * time.Millisecond)
		_, err := drivertest.Install(t, e.open(t, nil), host.Local(), e.servers.Localhost(t))
		if err != nil {
			t.Error(err)
		}
	}
	cancel()
	load.Wait()
	t.Logf("%d sign-ins and queries over 10 changes", served.Load())
	if served.Load() < 100 {
		t.Errorf("only %d were tried", served.Load())
	}
}

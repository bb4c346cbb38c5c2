// SPDX-License-Identifier: Apache-2.0

package slapd_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/internal/lab"
)

func (e *estate) block(t *testing.T, h driver.Host, opened any, m driver.Material) (driver.Blocked, error) {
	t.Helper()
	return opened.(driver.Blocker).Block(t.Context(), driver.BlockRequest{Host: h, Old: m.Public, CRLs: e.clients.CRLs(t, m.Public), Now: time.Now})
}

func (e *estate) probe(t *testing.T, m driver.Material, want string, r driver.ProbeRequest) driver.Probed {
	t.Helper()
	r.Credential, r.Listeners = m, e.listeners()
	probed := drivertest.Probe(t, r)
	for _, a := range probed.Attempts {
		if a.Outcome != want {
			t.Errorf("%s at %s, %s: %s (%s), want %s", m, a.Address, a.Way, a.Outcome, a.Answer, want)
		}
	}
	return probed
}

// asRoot says whether the test may have the kernel close connections, and hold them back.
func asRoot() bool { return os.Getuid() == 0 }

// The old certificate and the new one have one subject. The old one gets in until Block
// and in no way after it; the new one always; connections of others and of the new one
// that began later go on.
func TestBlockOfOneOfTwoWithOneSubject(t *testing.T) {
	t.Parallel()
	for _, verify := range []string{"try", "demand"} {
		t.Run(verify, func(t *testing.T) {
			t.Parallel()
			e := newEstate(t, verify)
			opened := e.open(t, nil)
			old, next := e.clients.Client(t, "alice"), e.clients.Client(t, "alice")
			held := e.probe(t, old, driver.OutcomeAccepted, driver.ProbeRequest{Hold: true})
			if len(held.Open) != 4 { // TLS 1.2 and 1.3 at each listener
				t.Fatalf("%d connections are open, want 4", len(held.Open))
			}
			other, err := e.connect(e.servers.ClientConfig(e.bob))
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			blocked, err := e.block(t, host.Local(), opened, old)
			if err != nil || blocked.Closed+len(blocked.Left) != 4 || asRoot() && blocked.Closed != 4 {
				t.Fatalf("%+v, %v; want 4 closed, or named where only root may close them", blocked, err)
			}
			e.probe(t, old, driver.OutcomeRefused, driver.ProbeRequest{Sessions: held.Sessions})
			for _, open := range held.Open {
				if a := open.Try(t.Context()); asRoot() && a.Outcome != driver.OutcomeRefused {
					t.Errorf("an open connection is %s: %s", a.Outcome, a.Answer)
				}
			}
			e.probe(t, next, driver.OutcomeAccepted, driver.ProbeRequest{})
			if err := search(other); err != nil {
				t.Errorf("somebody else's connection: %v", err)
			}
			later, err := e.connect(e.servers.ClientConfig(next))
			if err != nil {
				t.Fatal(err)
			}
			defer later.Close()
			if again, err := e.block(t, host.Local(), opened, old); err != nil || again.Closed != 0 || asRoot() && len(again.Left) != 0 {
				t.Errorf("again: %+v, %v", again, err)
			}
			if err := search(later); err != nil {
				t.Errorf("a connection of the new one that was made after Block: %v", err)
			}
		})
	}
}

// A connection of nobody can sign in with what it showed when TLS began.
func TestBlockNamesConnectionsThatHaveNotSignedIn(t *testing.T) {
	t.Parallel()
	e := newEstate(t, "try")
	old := e.clients.Client(t, "alice")
	raw, err := net.Dial("tcp", e.slapd.LDAPS)
	if err != nil {
		t.Fatal(err)
	}
	conn := ldap.NewConn(tls.Client(raw, e.servers.ClientConfig(old)), true)
	conn.Start()
	defer conn.Close()
	if err := conn.UnauthenticatedBind(""); err != nil {
		t.Fatal(err)
	}
	blocked, err := e.block(t, host.Local(), e.open(t, nil), old)
	if err != nil || len(blocked.Left) != 1 || !strings.Contains(blocked.Left[0], raw.LocalAddr().String()) {
		t.Errorf("%+v, %v; want the connection from %s in Left", blocked, err, raw.LocalAddr())
	}
	if err := conn.ExternalBind(); err != nil {
		t.Errorf("then Left need not name it: %v", err)
	}
	again, err := e.block(t, host.Local(), e.open(t, nil), old)
	if err != nil || again.Closed > 1 {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestCloseIsAnOption(t *testing.T) {
	t.Parallel()
	e := newEstate(t, "try")
	old := e.clients.Client(t, "alice")
	conn, err := e.connect(e.servers.ClientConfig(old))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	blocked, err := e.block(t, host.Local(), e.open(t, map[string]string{"close": "false"}), old)
	if err != nil || blocked.Closed != 0 || len(blocked.Left) != 1 || !strings.Contains(blocked.Left[0], "uid=alice") {
		t.Errorf("%+v, %v", blocked, err)
	}
	if err := search(conn); err != nil {
		t.Errorf("it was closed: %v", err)
	}
}

// A rule may find the entry by a search.
func TestConnectionsOfARuleThatSearches(t *testing.T) {
	t.Parallel()
	e := newEstate(t, "try")
	e.modify(t, "olcAuthzRegexp", `{0}"^cn=([^,]+)$" "ldap:///ou=people,dc=lab,dc=test??one?(cn=$1)"`,
		`{1}"^gidNumber=.*,cn=peercred,cn=external,cn=auth$" "cn=admin,dc=lab,dc=test"`)
	old := e.clients.Client(t, "alice")
	conn, err := e.connect(e.servers.ClientConfig(old))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if blocked, err := e.block(t, host.Local(), e.open(t, nil), old); err != nil || blocked.Closed+len(blocked.Left) != 1 || asRoot() && blocked.Closed != 1 {
		t.Errorf("%+v, %v; want one closed", blocked, err)
	}
}

// slapd that has no list gets one at the path of the option.
func TestBlockBringsTheFirstList(t *testing.T) {
	t.Parallel()
	e := &estate{servers: lab.NewPKI(t), clients: lab.NewPKI(t)}
	e.slapd = lab.StartSlapd(t, lab.SlapdSettings{PKI: e.clients, Server: e.servers.Localhost(t)})
	e.bob = e.clients.Client(t, "bob")
	file := filepath.Join(e.slapd.Dir, "first.pem")
	opened := e.open(t, map[string]string{"list": file})
	old := e.clients.Client(t, "alice")
	if _, err := opened.(driver.Blocker).Block(t.Context(), driver.BlockRequest{Host: host.Local(), Old: old.Public, Now: time.Now}); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("without a list: %v, want ErrInvalid", err)
	}
	blocked, err := e.block(t, host.Local(), opened, old)
	if err != nil || !blocked.Changed.Changed {
		t.Fatalf("%+v, %v", blocked, err)
	}
	e.probe(t, old, driver.OutcomeRefused, driver.ProbeRequest{})
	if err := e.bind(e.bob); err != nil {
		t.Error(err)
	}
	stranger := lab.NewPKI(t).Client(t, "alice")
	if blocked, err := e.block(t, host.Local(), opened, stranger); err != nil || blocked.Changed.Changed {
		t.Errorf("somebody of another CA: %+v, %v; want no change", blocked, err)
	}
}

// GnuTLS knows no P-224, which Go does: slapd refuses what passed every check before.
func TestInstallPutsBackWhatSlapdRefuses(t *testing.T) {
	t.Parallel()
	e := newEstate(t, "try")
	key, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	bad := e.servers.LocalhostOf(t, key)
	_, err = drivertest.Install(t, e.open(t, nil), host.Local(), bad)
	if err == nil || errors.Is(err, tallystick.ErrDamaged) {
		t.Errorf("%v; want a refusal that was put back", err)
	}
	t.Log(err)
	for path, want := range e.files {
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s is not as it was (%v)", path, err)
		}
	}
	if err := e.bind(e.bob); err != nil {
		t.Error(err)
	}
}

// changes tells apart a ModifyRequest, [APPLICATION 6] (RFC 4511 section 4.6), behind a
// message number of one byte.
func changes(p []byte) bool {
	i := strings.Index(string(p[:min(len(p), 12)]), "\x02\x01")
	return i >= 0 && p[i+3] == 0x66
}

// Changes of cn=config do not pass through the host's writes, so that they fail here.
func TestChangesThatAreCutOff(t *testing.T) {
	t.Parallel()
	e := newEstate(t, "try")
	opened, next, alice := e.open(t, nil), e.servers.Localhost(t), e.clients.Client(t, "alice")
	install := func(h driver.Host) error {
		_, err := drivertest.Install(t, opened, h, next)
		return err
	}
	block := func(h driver.Host) error {
		_, err := e.block(t, h, opened, alice)
		return err
	}
	for what, verb := range map[string]func(driver.Host) error{"install": install, "block": block} {
		for _, after := range []bool{false, true} {
			e.reset(t)
			h := &drivertest.CutHost{Host: host.Local(), Cuts: changes, After: after}
			err := verb(h)
			if err == nil || errors.Is(err, tallystick.ErrDamaged) || h.Seen.Load() != 2 {
				t.Errorf("%s, cut off after: %v: %v, %d changes; want an error, and the old files read again", what, after, err, h.Seen.Load())
			}
			if err := e.bind(e.bob); err != nil {
				t.Error(err)
			}
			if err := e.bind(alice); err != nil {
				t.Errorf("%s, cut off after: %v: what was put back is not in force: %v", what, after, err)
			}
			if err := verb(host.Local()); err != nil {
				t.Errorf("again: %v", err)
			}
			if err := e.bind(alice); (err == nil) != (what == "install") {
				t.Errorf("after %s: alice: %v", what, err)
			}
		}
	}
}

// Under a steady load of sign-ins and searches changes of the certificate lose none, and
// slapd survives them: without a hold it crashes here.
func TestInstallUnderLoad(t *testing.T) {
	t.Parallel()
	if !asRoot() {
		t.Fatal("this test holds connections back with nft, which root alone may: run it as root")
	}
	e := newEstate(t, "demand")
	opened := e.open(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	var served atomic.Int64
	for range 8 {
		load.Go(func() {
			open, err := e.connect(e.servers.ClientConfig(e.bob))
			if err != nil {
				t.Error(err)
				return
			}
			defer open.Close()
			for ctx.Err() == nil {
				for _, err := range []error{e.bind(e.bob), search(open)} {
					if served.Add(1); err != nil {
						t.Error(err)
					}
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	for range 8 {
		time.Sleep(300 * time.Millisecond)
		next := e.servers.Localhost(t)
		if _, err := drivertest.Install(t, opened, host.Local(), next); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	load.Wait()
	t.Logf("%d sign-ins and searches over 8 changes", served.Load())
	if served.Load() < 50 {
		t.Errorf("only %d were tried", served.Load())
	}
}

func TestListenersWithoutMonitor(t *testing.T) {
	t.Parallel()
	e := newEstate(t, "try")
	opened := e.open(t, map[string]string{"listeners": "ldaps://" + e.slapd.LDAPS})
	view, err := opened.(driver.Looker).Look(t.Context(), driver.LookRequest{Host: host.Local(), Now: time.Now})
	if err != nil || len(view.Listeners) != 1 || view.Listeners[0].Address != e.slapd.LDAPS {
		t.Errorf("%+v, %v", view.Listeners, err)
	}
}

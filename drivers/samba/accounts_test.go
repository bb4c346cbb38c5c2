// SPDX-License-Identifier: Apache-2.0

package samba

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/internal/lab"
)

// TestAccounts takes one domain controller through what a recall does.
func TestAccounts(t *testing.T) {
	t.Parallel()
	s := lab.StartSamba(t, lab.NewPKI(t))
	for _, sub := range []struct {
		name string
		test func(*testing.T, *lab.Samba)
	}{
		{"trust", testTrust}, {"block", testBlock}, {"mapping alone refuses nobody", testMapping}, {"block without the KDC", testBlockOther},
		{"over LDAPS", testOverLDAPS}, {"cut off", testCutOff},
	} {
		t.Run(sub.name, func(t *testing.T) { sub.test(t, s) })
	}
}

// A desk is a door of accounts, and calls that must succeed.
type desk struct {
	t    *testing.T
	s    *lab.Samba
	door *door
	host driver.Host
}

func newDesk(t *testing.T, s *lab.Samba, options map[string]string) desk {
	all := map[string]string{"role": "accounts"}
	for name, value := range options {
		all[name] = value
	}
	return desk{t, s, opened(t, s, all).(*door), host.Local()}
}

// view returns what a look says of one account.
func (d desk) view(name string) driver.View {
	d.t.Helper()
	v, err := d.door.Look(d.t.Context(), driver.LookRequest{Host: d.host, Now: time.Now})
	if err != nil {
		d.t.Fatal(err)
	}
	v.Accepts = slices.DeleteFunc(v.Accepts, func(a driver.Accepted) bool { return a.As != name })
	v.Listeners = slices.DeleteFunc(v.Listeners, func(l driver.Listener) bool { return l.Details["user"] != name })
	return v
}

func (d desk) trust(next, like driver.Material, withdraw bool) (driver.Changed, error) {
	return d.door.Trust(d.t.Context(), driver.TrustRequest{Host: d.host, New: next.Public, Like: like.Public, Withdraw: withdraw, Now: time.Now})
}

func (d desk) block(old driver.Material, lift bool) (driver.Blocked, error) {
	return d.door.Block(d.t.Context(), driver.BlockRequest{Host: d.host, Old: old.Public, Lift: lift, Now: time.Now})
}

// wants looks what a verb says.
func (d desk) wants(got driver.Changed, err error, how ...string) {
	d.t.Helper()
	if err != nil || got.Changed != (len(how) > 0) || cmp.Diff(how, got.How) != "" {
		d.t.Fatalf("%+v, %v; want %q", got, err, how)
	}
}

// tries looks that the driver and kinit agree on a certificate.
func (d desk) tries(m driver.Material, name, outcome string) {
	d.t.Helper()
	l := driver.Listener{Address: d.s.KDC, Protocol: protocolKerberos, Details: map[string]string{"user": name, "realm": lab.SambaRealm}}
	probed, err := d.door.Probe(d.t.Context(), driver.ProbeRequest{Host: d.host, Credential: m, Listeners: []driver.Listener{l}, Now: time.Now})
	if err != nil || len(probed.Attempts) != 1 || probed.Attempts[0].Outcome != outcome {
		d.t.Errorf("it gives %+v, %v; want %s", probed.Attempts, err, outcome)
	}
	err = kinit(d.t, d.s, m, name)
	for n := 0; n < 3 && err != nil && outcome == driver.OutcomeAccepted; n++ {
		time.Sleep(time.Second) // where the machine was busy, kinit was seen to ask for a password once
		err = kinit(d.t, d.s, m, name)
	}
	if (err == nil) != (outcome == driver.OutcomeAccepted) {
		d.t.Errorf("want %s: %v", outcome, err)
	}
}

func mapping(t *testing.T, m driver.Material) string {
	t.Helper()
	k, err := knownOf(m.Public)
	if err != nil {
		t.Fatal(err)
	}
	return k.mapping
}

func testTrust(t *testing.T, s *lab.Samba) {
	old, next := s.Accounts.Client(t, "alice@lab.test"), s.Accounts.Client(t, "alice@lab.test")
	addAccount(t, s, "alice", map[string][]string{attrCert: {string(old.Chain[0])}, attrMapping: {strings.ToUpper(mapping(t, old))}})
	d := newDesk(t, s, nil)
	before := d.view("alice")
	accepted := []driver.Accepted{{Name: "cert-sha256:" + fingerprint(old.Chain[0]), As: "alice", At: dn("alice")}}
	listener := driver.Listener{Address: s.KDC, Protocol: "kerberos", Details: map[string]string{"user": "alice", "realm": lab.SambaRealm}}
	if diff := cmp.Diff(driver.View{Listeners: []driver.Listener{listener}, Accepts: accepted, Authorities: [][]byte{s.Accounts.Root.Raw}, Notes: before.Notes}, before); diff != "" {
		t.Error(diff)
	}
	d.tries(old, "alice", driver.OutcomeAccepted)
	for what, row := range map[string]struct {
		next, like driver.Material
		want       error
	}{
		"like a stranger":       {next, s.Accounts.Client(t, "nobody@lab.test"), tallystick.ErrNotFound},
		"as somebody else":      {s.Accounts.Client(t, "bob@lab.test"), old, tallystick.ErrInvalid},
		"of a CA of no anchor":  {lab.NewLogons(t).Client(t, "alice@lab.test"), old, tallystick.ErrInvalid},
		"that is nothing":       {driver.Material{}, old, tallystick.ErrInvalid},
		"that names no account": {lab.NewPKI(t).Client(t, "alice"), old, tallystick.ErrInvalid},
	} {
		if _, err := d.trust(row.next, row.like, false); !errors.Is(err, row.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	changed, err := d.trust(next, old, false)
	d.wants(changed, err, attrMapping, attrCert)
	d.tries(next, "alice", driver.OutcomeAccepted)
	changed, err = d.trust(next, old, false)
	d.wants(changed, err)
	changed, err = d.trust(next, old, true)
	d.wants(changed, err, attrMapping, attrCert)
	changed, err = d.trust(next, old, true)
	d.wants(changed, err)
	if diff := cmp.Diff(before, d.view("alice")); diff != "" {
		t.Errorf("withdrawn:\n%s", diff)
	}
	if _, err := d.trust(old, old, true); err != nil || cmp.Diff(before, d.view("alice")) != "" {
		t.Errorf("what was there before Trust is withdrawn: %v", err)
	}
}

func testBlock(t *testing.T, s *lab.Samba) {
	old := s.Accounts.Client(t, "bob@lab.test")
	addAccount(t, s, "bob", map[string][]string{attrCert: {string(old.Chain[0])}, attrMapping: {mapping(t, old), "Kerberos:bob@OTHER.TEST"}})
	careful, d := newDesk(t, s, nil), newDesk(t, s, map[string]string{"disable": "true"})
	before := d.view("bob")
	if _, err := careful.block(old, false); !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(err.Error(), "disable") {
		t.Errorf("it says %v", err)
	}
	if diff := cmp.Diff(before, d.view("bob")); diff != "" {
		t.Errorf("what was refused changed the account:\n%s", diff)
	}
	d.tries(old, "bob", driver.OutcomeAccepted)
	blocked, err := d.block(old, false)
	d.wants(blocked.Changed, err, attrMapping, "disable", attrCert)
	if len(blocked.Left) != 1 {
		t.Errorf("left: %q", blocked.Left)
	}
	d.tries(old, "bob", driver.OutcomeRefused)
	after := d.view("bob")
	if name := "cert-sha256:" + fingerprint(old.Chain[0]); len(after.Accepts) > 0 || !slices.Contains(after.Denies, name) {
		t.Errorf("blocked: %+v", after)
	}
	blocked, err = d.block(old, false)
	d.wants(blocked.Changed, err)
	blocked, err = careful.block(old, true)
	d.wants(blocked.Changed, err, attrMapping, "enable", attrCert)
	d.tries(old, "bob", driver.OutcomeAccepted)
	blocked, err = d.block(old, true)
	d.wants(blocked.Changed, err)
	if diff := cmp.Diff(before, d.view("bob")); diff != "" {
		t.Errorf("lifted:\n%s", diff)
	}
}

// It is why Block disables: the KDC lets in a certificate that no account holds, also
// when it is on the revocation list that the KDC was told of.
func testMapping(t *testing.T, s *lab.Samba) {
	addAccount(t, s, "carol", nil)
	d := newDesk(t, s, nil)
	d.tries(s.Accounts.Client(t, "carol@lab.test"), "carol", driver.OutcomeAccepted)
	d.tries(s.Revoked, "carol", driver.OutcomeAccepted)
	d.tries(s.Accounts.Client(t, "alice@lab.test"), "carol", driver.OutcomeRefused)
	d.tries(lab.NewLogons(t).Client(t, "carol@lab.test"), "carol", driver.OutcomeRefused)
}

// A certificate that the KDC does not let in is taken out, and its account goes on.
func testBlockOther(t *testing.T, s *lab.Samba) {
	p := lab.NewPKI(t)
	old, next := p.Client(t, "dave"), p.Client(t, "dave")
	addAccount(t, s, "dave", map[string][]string{attrCert: {string(old.Chain[0])}})
	d := newDesk(t, s, nil)
	changed, err := d.trust(next, old, false)
	d.wants(changed, err, attrCert)
	blocked, err := d.block(old, false)
	d.wants(blocked.Changed, err, attrCert)
	view := d.view("dave")
	if len(view.Accepts) != 1 || view.Accepts[0].Name != "cert-sha256:"+fingerprint(next.Chain[0]) {
		t.Errorf("accepted: %+v", view.Accepts)
	}
	blocked, err = d.block(old, true)
	d.wants(blocked.Changed, err, attrCert)
	if view := d.view("dave"); len(view.Accepts) != 2 {
		t.Errorf("accepted: %+v", view.Accepts)
	}
}

func testOverLDAPS(t *testing.T, s *lab.Samba) {
	old := s.Accounts.Client(t, "erin@lab.test")
	addAccount(t, s, "erin", map[string][]string{attrMapping: {mapping(t, old)}})
	password := filepath.Join(t.TempDir(), "password")
	write := func(text string) {
		if err := os.WriteFile(password, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(lab.SambaPassword + "\n")
	d := newDesk(t, s, map[string]string{"bind": lab.SambaAdmin, "password-file": password})
	if view := d.view("erin"); len(view.Accepts) != 1 || !slices.Contains(old.Names(), view.Accepts[0].Name) {
		t.Errorf("a mapping is accepted as %+v", view.Accepts)
	}
	changed, err := d.trust(s.Accounts.Client(t, "erin@lab.test"), old, false)
	d.wants(changed, err, attrMapping)
	write("no")
	if _, err := d.trust(old, old, false); !errors.Is(err, tallystick.ErrDenied) {
		t.Errorf("a wrong password gives %v", err)
	}
	if err := os.Chmod(password, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := d.trust(old, old, false); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("a password that everybody can read gives %v", err)
	}
	// Nobody but Samba is told the password.
	shown, err := os.ReadFile(s.Cert)
	if err != nil {
		t.Fatal(err)
	}
	defer os.WriteFile(s.Cert, shown, 0o600)
	if err := os.WriteFile(s.Cert, []byte(lab.CertificatePEM(lab.NewPKI(t).Localhost(t).Chain...)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.trust(old, old, false); !errors.Is(err, tallystick.ErrUnavailable) || !strings.Contains(err.Error(), s.Cert) {
		t.Errorf("another certificate gives %v", err)
	}
}

// A breaking host's connections end at their n-th write, before or after it.
type breaking struct {
	driver.Host
	at    int
	after bool
	hits  *int
}

func (b breaking) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := b.Host.Dial(ctx, network, address)
	return &breakingConn{Conn: conn, breaking: b}, err
}

type breakingConn struct {
	net.Conn
	breaking
	writes int
}

func (c *breakingConn) Write(p []byte) (int, error) {
	c.writes++
	if c.writes != c.at {
		return c.Conn.Write(p)
	}
	*c.hits++
	if c.after {
		c.Conn.Write(p)
		time.Sleep(200 * time.Millisecond) // it has happened by then
	}
	c.Conn.Close()
	return 0, errors.New("broken")
}

// Wherever the connection breaks, the account is as it was or as it should be, and the
// next call gets there.
func testCutOff(t *testing.T, s *lab.Samba) {
	old := s.Accounts.Client(t, "frank@lab.test")
	addAccount(t, s, "frank", map[string][]string{attrCert: {string(old.Chain[0])}, attrMapping: {mapping(t, old)}})
	d := newDesk(t, s, map[string]string{"disable": "true"})
	before := d.view("frank")
	blocked, err := d.block(old, false)
	d.wants(blocked.Changed, err, attrMapping, "disable", attrCert)
	after := d.view("frank")
	for n := 1; ; n++ {
		hits := 0
		for _, happens := range []bool{false, true} {
			if _, err := d.block(old, true); err != nil {
				t.Fatal(err)
			}
			broken := d
			broken.host = breaking{d.host, n, happens, &hits}
			_, err := broken.block(old, false)
			if now := d.view("frank"); cmp.Diff(before, now) != "" && cmp.Diff(after, now) != "" {
				t.Errorf("at write %d, which happens: %v, it is half done (%v): %+v", n, happens, err, now)
			}
			if _, err := d.block(old, false); err != nil || cmp.Diff(after, d.view("frank")) != "" {
				t.Errorf("repeated after write %d, which happens: %v: %v", n, happens, err)
			}
		}
		if hits == 0 {
			return
		}
	}
}

// Whoever disabled an account before Block keeps it so when Block is lifted.
func TestDisabledBefore(t *testing.T) {
	t.Parallel()
	m := lab.NewPKI(t).Client(t, "x")
	k, err := knownOf(m.Public)
	if err != nil {
		t.Fatal(err)
	}
	c := account{control: 514, mappings: []string{k.mapping}}.change()
	c.revoke(k)
	if c.control != 514 || len(c.add[attrMapping]) != 1 || strings.HasSuffix(c.add[attrMapping][0], markDisabled) {
		t.Errorf("%+v", c)
	}
	if got, err := c.account.change().do(nil); got || err != nil {
		t.Error("a change of nothing is made")
	}
}

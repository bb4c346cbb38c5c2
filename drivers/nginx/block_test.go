// SPDX-License-Identifier: Apache-2.0

package nginx_test

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/internal/lab"
)

func probe(t *testing.T, n *lab.Nginx, r driver.ProbeRequest) driver.Probed {
	t.Helper()
	r.Listeners = listeners(n)
	return drivertest.Probe(t, r)
}

// A revocation list does not reach sessions that are resumed: the same sessions get in
// after a reload with the list alone, and no longer after Block.
func TestResumedSessionsAreRefused(t *testing.T) {
	t.Parallel()
	n := lab.StartNginx(t, lab.NginxSettings{Clients: true, Cache: true})
	alice, bob := n.PKI.Client(t, "alice"), n.PKI.Client(t, "bob")
	held := probe(t, n, driver.ProbeRequest{Credential: alice, Hold: true})
	other := probe(t, n, driver.ProbeRequest{Credential: bob, Hold: true})
	lists := n.PKI.CRLs(t, alice.Public)
	lab.Write(t, n.CRL, lab.CRLPEM(lists...))
	reload(t, n)
	want := map[string]string{
		driver.WayFresh12: driver.OutcomeRefused, driver.WayFresh13: driver.OutcomeRefused,
		driver.WayResumed12: driver.OutcomeAccepted, driver.WayResumed13: driver.OutcomeAccepted,
	}
	for way, outcome := range drivertest.Outcomes(probe(t, n, driver.ProbeRequest{Credential: alice, Sessions: held.Sessions}).Attempts) {
		if outcome != want[way] {
			t.Errorf("with the list alone: %s is %s, want %s", way, outcome, want[way])
		}
	}
	// Each session of TLS 1.3 is good for once: those are new ones of a certificate that is not on the list yet.
	blocked := drivertest.Block(t, opened(t, n), driver.BlockRequest{Old: bob.Public, CRLs: n.PKI.CRLs(t, alice.Public, bob.Public)})
	if d := strings.Join(blocked.How, " "); d != "deny-list crl reload" {
		t.Errorf("it says %q", d)
	}
	got := drivertest.Outcomes(probe(t, n, driver.ProbeRequest{Credential: bob, Sessions: other.Sessions}).Attempts)
	if len(got) != 4 {
		t.Errorf("tried were %v", got)
	}
	for way, outcome := range got {
		if outcome != driver.OutcomeRefused {
			t.Errorf("after Block: %s is %s", way, outcome)
		}
	}
	for _, open := range other.Open {
		if a := open.Try(t.Context()); a.Outcome == driver.OutcomeAccepted {
			t.Errorf("after Block: an open connection is %s", a.Outcome)
		}
		open.Close()
	}
}

// A connection on which nobody has asked yet is none that nginx closes by itself: its
// worker goes on for as long as the client likes.
func TestConnectionsOfBeforeEnd(t *testing.T) {
	t.Parallel()
	n := lab.StartNginx(t, lab.NginxSettings{Clients: true})
	alice := n.PKI.Client(t, "alice")
	dial := func() *tls.Conn {
		conn, err := tls.Dial("tcp", n.Addresses[0], &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{{Certificate: alice.Chain, PrivateKey: alice.Key}}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	answers := func(conn *tls.Conn) string {
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		buffer := make([]byte, 100)
		size, _ := conn.Read(buffer)
		return string(buffer[:size])
	}
	reloaded, blocked := dial(), dial()
	reload(t, n)
	if got := answers(reloaded); !strings.Contains(got, "200 OK") {
		t.Errorf("after a reload a connection of before gets %q: the rest of this test shows nothing", got)
	}
	outcome := drivertest.Block(t, opened(t, n, "grace", "200ms"), driver.BlockRequest{Old: alice.Public})
	if got := answers(blocked); got != "" {
		t.Errorf("after Block a connection of before gets %q", got)
	}
	if !strings.Contains(outcome.Detail, "1 that had others after 200ms were ended") || len(outcome.Left) > 0 {
		t.Errorf("it says %q, and names %q", outcome.Detail, outcome.Left)
	}
}

// Block refuses to write lists with which everybody would be kept out, or which would
// keep nobody out.
func TestListsThatWouldDoHarm(t *testing.T) {
	t.Parallel()
	n := lab.StartNginx(t, lab.NginxSettings{Clients: true, NoDeny: true})
	door, alice := opened(t, n), n.PKI.Client(t, "alice")
	whole := n.PKI.CRLs(t, alice.Public)
	other := lab.NewPKI(t)
	list := func(adjust func(*x509.RevocationList)) []byte {
		template := &x509.RevocationList{
			Number: big.NewInt(time.Now().UnixNano()), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour),
		}
		adjust(template)
		der, err := x509.CreateRevocationList(rand.Reader, template, n.PKI.Sub, n.PKI.SubKey)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	partial := pkix.Extension{Id: []int{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 0x00}}
	before := lab.Read(t, n.CRL)
	for what, lists := range map[string][][]byte{
		"of nobody":    nil,
		"names nobody": n.PKI.CRLs(t),
		"garbage":      {[]byte("garbage")},
		"of others":    other.CRLs(t, alice.Public),
		"ended":        {list(func(l *x509.RevocationList) { l.NextUpdate = time.Now().Add(-time.Minute) })},
		"not begun":    {list(func(l *x509.RevocationList) { l.ThisUpdate = time.Now().Add(time.Minute) })},
		"of a part":    {list(func(l *x509.RevocationList) { l.ExtraExtensions = []pkix.Extension{partial} })},
	} {
		_, err := door.Block(t.Context(), driver.BlockRequest{Host: host.Local(), Old: alice.Public, CRLs: lists, Now: time.Now})
		if !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", what, err)
		}
	}
	// One of the CA above is missing in what is there, too.
	lab.Write(t, n.CRL, lab.CRLPEM(n.PKI.CRLs(t)[0]))
	_, err := door.Block(t.Context(), driver.BlockRequest{Host: host.Local(), Old: alice.Public, CRLs: whole[:1], Now: time.Now})
	if !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(err.Error(), "Lab Root") {
		t.Errorf("a list of the root is missing: %v", err)
	}
	lab.Write(t, n.CRL, before)
	drivertest.Block(t, door, driver.BlockRequest{Old: alice.Public, CRLs: whole[:1]}) // what is there has the root's
	for way, outcome := range drivertest.Outcomes(probe(t, n, driver.ProbeRequest{Credential: alice}).Attempts) {
		if outcome != driver.OutcomeRefused {
			t.Errorf("%s is %s", way, outcome)
		}
	}
}

func TestBlockWantsWhatItNeeds(t *testing.T) {
	t.Parallel()
	alice := func(n *lab.Nginx) (driver.Public, [][]byte) {
		m := n.PKI.Client(t, "alice")
		return m.Public, n.PKI.CRLs(t, m.Public)
	}
	for what, settings := range map[string]lab.NginxSettings{
		"sessions outlive a reload": {Clients: true, NoDeny: true, Cache: true},
		"neither lists nor map":     {Clients: true, NoDeny: true, NoCRL: true},
		"nobody is let in":          {},
	} {
		n := lab.StartNginx(t, settings)
		old, lists := alice(n)
		_, err := opened(t, n).Block(t.Context(), driver.BlockRequest{Host: host.Local(), Old: old, CRLs: lists, Now: time.Now})
		if !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", what, err)
		}
	}
}

// A CA that the door does not know is added with its lists, and taken away again.
func TestTrustBringsListsAlong(t *testing.T) {
	t.Parallel()
	n := lab.StartNginx(t, lab.NginxSettings{Clients: true})
	door, alice, other := opened(t, n), n.PKI.Client(t, "alice"), lab.NewPKI(t)
	carol := other.Client(t, "carol")
	request := driver.TrustRequest{Host: host.Local(), New: carol.Public, Like: alice.Public, Now: time.Now}
	if _, err := door.Trust(t.Context(), request); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("without the root: %v, want ErrInvalid", err)
	}
	request.Authorities = [][]byte{other.Root.Raw}
	drivertest.TrustWantsLists(t, door, request, other.CRLs(t))
	for _, client := range []driver.Material{alice, carol} {
		drivertest.AllAccepted(t, probe(t, n, driver.ProbeRequest{Credential: client}).Attempts)
	}
	// The second one of that CA needs it when the first no longer does.
	dave := other.Client(t, "dave")
	request.CRLs = other.CRLs(t)
	second := request
	second.New = dave.Public
	first := request
	first.Withdraw = true
	for _, r := range []driver.TrustRequest{second, first} {
		if changed, err := door.Trust(t.Context(), r); err != nil || !changed.Changed {
			t.Fatalf("%+v, %v", changed, err)
		}
	}
	if got := drivertest.Outcomes(probe(t, n, driver.ProbeRequest{Credential: dave}).Attempts)[driver.WayFresh13]; got != driver.OutcomeAccepted {
		t.Errorf("the second one is %s", got)
	}
	view, err := door.Look(t.Context(), driver.LookRequest{Host: host.Local(), Now: time.Now})
	if err != nil || len(view.Authorities) != 4 || !slices.ContainsFunc(view.Authorities, func(der []byte) bool { return slices.Equal(der, other.Root.Raw) }) {
		t.Errorf("%d authorities, %v", len(view.Authorities), err)
	}
}

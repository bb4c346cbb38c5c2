// SPDX-License-Identifier: Apache-2.0

package haproxy_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/driver/processes"
	"github.com/tallystick/tallystick/internal/lab"
)

func probe(t *testing.T, n *lab.HAProxy, r driver.ProbeRequest) driver.Probed {
	t.Helper()
	r.Listeners = listeners(n)
	return drivertest.Probe(t, r)
}

// ask sends a command to the admin socket, as somebody else would.
func ask(t *testing.T, n *lab.HAProxy, command string) string {
	t.Helper()
	conn, err := net.Dial("unix", n.Socket)
	for range 500 { // as long as a process begins the socket may be away
		if err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
		conn, err = net.Dial("unix", n.Socket)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintln(conn, command)
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(answer))
}

// A revocation list does not reach sessions that are resumed: they get in after the list
// was handed over, and no longer after Block. So it is with tickets, and without.
func TestResumedSessionsAreRefused(t *testing.T) {
	t.Parallel()
	for _, tickets := range []bool{true, false} {
		n := lab.StartHAProxy(t, lab.HAProxySettings{Clients: true, NoTickets: !tickets})
		alice, bob := n.PKI.Client(t, "alice"), n.PKI.Client(t, "bob")
		held := probe(t, n, driver.ProbeRequest{Credential: alice, Hold: true})
		other := probe(t, n, driver.ProbeRequest{Credential: bob, Hold: true})
		ask(t, n, "set ssl crl-file "+n.CRL+" <<\n"+lab.CRLPEM(n.PKI.CRLs(t, alice.Public)...))
		if got := ask(t, n, "commit ssl crl-file "+n.CRL); !strings.Contains(got, "Success!") {
			t.Fatal(got)
		}
		want := map[string]string{
			driver.WayFresh12: driver.OutcomeRefused, driver.WayFresh13: driver.OutcomeRefused,
			driver.WayResumed12: driver.OutcomeAccepted, driver.WayResumed13: driver.OutcomeAccepted,
		}
		for way, outcome := range drivertest.Outcomes(probe(t, n, driver.ProbeRequest{Credential: alice, Sessions: held.Sessions}).Attempts) {
			if outcome != want[way] {
				t.Errorf("tickets %v, with the list alone: %s is %s, want %s", tickets, way, outcome, want[way])
			}
		}
		blocked := drivertest.Block(t, opened(t, n), driver.BlockRequest{Old: bob.Public, CRLs: n.PKI.CRLs(t, alice.Public, bob.Public)})
		if d := strings.Join(blocked.How, " "); d != "files haproxy -c runtime-api crl deny-list" || len(blocked.Left) > 0 {
			t.Errorf("it says %q, and names %q", d, blocked.Left)
		}
		got := drivertest.Outcomes(probe(t, n, driver.ProbeRequest{Credential: bob, Sessions: other.Sessions}).Attempts)
		if len(got) != 4 {
			t.Errorf("tried were %v", got)
		}
		for way, outcome := range got {
			if outcome != driver.OutcomeRefused {
				t.Errorf("tickets %v, after Block: %s is %s", tickets, way, outcome)
			}
		}
		for _, open := range other.Open {
			if a := open.Try(t.Context()); a.Outcome != driver.OutcomeRefused {
				t.Errorf("tickets %v, after Block: an open connection is %s", tickets, a.Outcome)
			}
			open.Close()
		}
	}
}

// What was written holds after a restart, and somebody else's entries stay.
func TestBlockHoldsAfterAReload(t *testing.T) {
	t.Parallel()
	n := lab.StartHAProxy(t, lab.HAProxySettings{Clients: true, NoCRL: true})
	door, alice := opened(t, n), n.PKI.Client(t, "alice")
	other := strings.Repeat("AB", 32)
	lab.Write(t, n.Deny, "# ours\n"+other+"\n")
	reload(t, n)
	drivertest.Block(t, door, driver.BlockRequest{Old: alice.Public})
	reload(t, n)
	for way, outcome := range drivertest.Outcomes(probe(t, n, driver.ProbeRequest{Credential: alice}).Attempts) {
		if outcome != driver.OutcomeRefused {
			t.Errorf("%s is %s", way, outcome)
		}
	}
	drivertest.Block(t, door, driver.BlockRequest{Old: alice.Public, Lift: true})
	if got := lab.Read(t, n.Deny); got != "# ours\n"+other+"\n" || !strings.Contains(ask(t, n, "show acl "+n.Deny), other) {
		t.Errorf("lifted, the list is %q", got)
	}
	for way, outcome := range drivertest.Outcomes(probe(t, n, driver.ProbeRequest{Credential: alice}).Attempts) {
		if outcome != driver.OutcomeAccepted {
			t.Errorf("lifted, %s is %s", way, outcome)
		}
	}
}

// Bytes that are passed on cannot be told apart: who was connected stays, and is named.
func TestConnectionsOfBytesAreNamed(t *testing.T) {
	t.Parallel()
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		for {
			conn, err := echo.Accept()
			if err != nil {
				return
			}
			go io.Copy(conn, conn)
		}
	}()
	n := lab.StartHAProxy(t, lab.HAProxySettings{Clients: true, NoCRL: true, Listeners: []lab.HAProxyListener{{TCP: true, Backend: echo.Addr().String()}}})
	alice := n.PKI.Client(t, "alice")
	said := func(conn net.Conn) string {
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		fmt.Fprint(conn, "hello")
		buffer := make([]byte, 5)
		size, _ := io.ReadFull(conn, buffer)
		return string(buffer[:size])
	}
	dial := func() *tls.Conn {
		conn, err := tls.Dial("tcp", n.Addresses[0], &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{{Certificate: alice.Chain, PrivateKey: alice.Key}}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	before := dial()
	if got := said(before); got != "hello" {
		t.Fatalf("at first: %q", got)
	}
	blocked := drivertest.Block(t, opened(t, n, "grace", "100ms"), driver.BlockRequest{Old: alice.Public})
	if len(blocked.Left) != 1 || !strings.HasPrefix(blocked.Left[0], before.LocalAddr().String()+" at fe0") {
		t.Errorf("it names %q", blocked.Left)
	}
	if got := said(dial()); got != "" {
		t.Errorf("a new connection gets %q", got)
	}
}

// A list that the admin socket does not take is read by a reload.
func TestLongListsAreReadByAReload(t *testing.T) {
	t.Parallel()
	n := lab.StartHAProxy(t, lab.HAProxySettings{Clients: true})
	door, alice := opened(t, n), n.PKI.Client(t, "alice")
	revoked := []driver.Public{alice.Public}
	for range 500 {
		revoked = append(revoked, driver.Public{Chain: [][]byte{n.PKI.Sign(t, &x509.Certificate{}, alice.Key.Public()).Raw}})
	}
	lists := n.PKI.CRLs(t, revoked...)
	old := probe(t, n, driver.ProbeRequest{Credential: n.PKI.Client(t, "bob"), Hold: true})
	blocked := drivertest.Block(t, door, driver.BlockRequest{Old: alice.Public, CRLs: lists})
	if !slices.Contains(blocked.How, "reload") {
		t.Errorf("it says %q", blocked.How)
	}
	if again := drivertest.Block(t, door, driver.BlockRequest{Old: alice.Public, CRLs: lists}); again.Changed.Changed {
		t.Errorf("again: %+v", again)
	}
	for way, outcome := range drivertest.Outcomes(probe(t, n, driver.ProbeRequest{Credential: alice}).Attempts) {
		if outcome != driver.OutcomeRefused {
			t.Errorf("%s is %s", way, outcome)
		}
	}
	for _, open := range old.Open {
		open.Close()
	}
	if children, err := processes.Children(t.Context(), host.Local(), n.PID); err != nil || len(children) != 1 {
		t.Errorf("processes of before go on: %v (%v)", children, err)
	}
}

func TestBlockWantsWhatItNeeds(t *testing.T) {
	t.Parallel()
	keys := lab.File(t, "tickets", strings.Repeat("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n", 3))
	for what, row := range map[string]struct {
		settings lab.HAProxySettings
		adjust   func(string) string
	}{
		"sessions outlive a reload": {lab.HAProxySettings{Clients: true, NoDeny: true}, func(text string) string {
			return strings.Replace(text, " verify optional", " tls-ticket-keys "+keys+" verify optional", 1)
		}},
		"neither lists nor ACL": {lab.HAProxySettings{Clients: true, NoDeny: true, NoCRL: true}, nil},
		"nobody is let in":      {lab.HAProxySettings{}, nil},
		"no socket":             {lab.HAProxySettings{Clients: true, NoSocket: true}, nil},
	} {
		n := lab.StartHAProxy(t, row.settings)
		if row.adjust != nil {
			lab.Write(t, n.Config, row.adjust(lab.Read(t, n.Config)))
		}
		if row.settings.NoSocket {
			n.Socket = ""
		}
		alice := n.PKI.Client(t, "alice")
		_, err := opened(t, n).Block(t.Context(), driver.BlockRequest{Host: host.Local(), Old: alice.Public, CRLs: n.PKI.CRLs(t, alice.Public), Now: time.Now})
		if !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", what, err)
		}
	}
	if _, err := os.Stat(keys); err != nil {
		t.Error(err)
	}
}

// A CA that the door does not know is added with its lists.
func TestTrustBringsListsAlong(t *testing.T) {
	t.Parallel()
	n := lab.StartHAProxy(t, lab.HAProxySettings{Clients: true})
	door, alice, other := opened(t, n), n.PKI.Client(t, "alice"), lab.NewPKI(t)
	carol := other.Client(t, "carol")
	request := driver.TrustRequest{Host: host.Local(), New: carol.Public, Like: alice.Public, Authorities: [][]byte{other.Root.Raw}, Now: time.Now}
	drivertest.TrustWantsLists(t, door, request, other.CRLs(t))
	for _, client := range []driver.Material{alice, carol} {
		drivertest.AllAccepted(t, probe(t, n, driver.ProbeRequest{Credential: client}).Attempts)
	}
	// OpenSSL keeps so many lists in an order of its own.
	mallory := n.PKI.Client(t, "mallory")
	lists := n.PKI.CRLs(t, mallory.Public)
	for _, want := range []bool{true, false} {
		if blocked := drivertest.Block(t, door, driver.BlockRequest{Old: mallory.Public, CRLs: lists}); blocked.Changed.Changed != want {
			t.Errorf("%+v; want a change: %v", blocked, want)
		}
	}
}

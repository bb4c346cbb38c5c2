// SPDX-License-Identifier: Apache-2.0

package postfix_test

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/driver/probing"
	"github.com/tallystick/tallystick/drivers/postfix"
	"github.com/tallystick/tallystick/internal/lab"
)

// A server is a Postfix with three clients: alice and carol get in, bob does not.
type server struct {
	*lab.Postfix
	alice, bob, carol driver.Material
	door              any
}

func start(t *testing.T, s lab.PostfixSettings, options map[string]string) *server {
	t.Helper()
	s.PKI = lab.NewPKI(t)
	one := &server{alice: s.PKI.Client(t, "alice"), bob: s.PKI.Client(t, "bob"), carol: s.PKI.Client(t, "carol")}
	if s.Clients == nil {
		s.Clients = map[string]string{fingerprint(one.alice): "alice@lab.test", fingerprint(one.carol): "carol@lab.test"}
	}
	one.Postfix = lab.StartPostfix(t, s)
	one.door = open(t, one.Postfix, options)
	return one
}

func open(t *testing.T, p *lab.Postfix, options map[string]string) any {
	t.Helper()
	all := map[string]string{"config": p.Config, "recipient": lab.Recipient}
	for name, value := range options {
		all[name] = value
	}
	door, err := postfix.Driver().Open(all)
	if err != nil {
		t.Fatal(err)
	}
	return door
}

// fingerprint is how Postfix names a certificate.
func fingerprint(m driver.Material) string { return colons(m.Chain[0]) }

// keyPrint is how Postfix names its public key.
func keyPrint(t *testing.T, m driver.Material) string {
	t.Helper()
	c, err := x509.ParseCertificate(m.Chain[0])
	if err != nil {
		t.Fatal(err)
	}
	return colons(c.RawSubjectPublicKeyInfo)
}

func colons(der []byte) string {
	sum := sha256.Sum256(der)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}

func (s *server) listeners() []driver.Listener {
	details := map[string]string{"sender": "", "recipient": lab.Recipient}
	return []driver.Listener{{Address: s.SMTP, Protocol: "smtp", Details: details}, {Address: s.SMTPS, Protocol: "smtps", Details: details}}
}

// one is enough where it is about something else.
func (s *server) one() []driver.Listener { return s.listeners()[1:] }

// probe tries a credential at all listeners, if the request names none.
func (s *server) probe(t testing.TB, request driver.ProbeRequest) driver.Probed {
	t.Helper()
	request.Host, request.Now = host.Local(), time.Now
	if request.Listeners == nil {
		request.Listeners = s.listeners()
	}
	probed, err := probing.Probe(context.Background(), request)
	if err != nil {
		t.Fatal(err)
	}
	return probed
}

// outcomes counts them.
func outcomes(probed driver.Probed) map[string]int {
	count := map[string]int{}
	for _, a := range probed.Attempts {
		count[a.Outcome]++
	}
	return count
}

// gets says that every try of a credential has an outcome.
func (s *server) gets(t *testing.T, m driver.Material, outcome string) {
	t.Helper()
	for _, a := range s.probe(t, driver.ProbeRequest{Credential: m}).Attempts {
		if a.Outcome != outcome {
			t.Errorf("%s at %s: %s (%s), want %s", a.Way, a.Address, a.Outcome, a.Answer, outcome)
		}
	}
}

// good says whether carol gets in, within a few seconds.
func (s *server) good(t *testing.T) error {
	var last driver.Probed
	for range 20 {
		last = s.probe(t, driver.ProbeRequest{Credential: s.carol, Listeners: s.one()})
		if got := outcomes(last); len(got) == 1 && got[driver.OutcomeAccepted] > 0 {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("carol does not get in: %+v", last.Attempts)
}

func (s *server) look(t *testing.T) driver.View {
	t.Helper()
	view, err := s.door.(driver.Looker).Look(t.Context(), driver.LookRequest{Host: host.Local(), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return view
}

func (s *server) block(t *testing.T, m driver.Material) driver.Blocked {
	t.Helper()
	blocked, err := s.door.(driver.Blocker).Block(t.Context(), driver.BlockRequest{Host: host.Local(), Old: m.Public, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return blocked
}

// The tests wait for servers more than they compute.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func TestDriver(t *testing.T) { drivertest.Run(t, drivertest.Suite{Driver: postfix.Driver()}) }

func TestDoors(t *testing.T) {
	t.Parallel()
	drivertest.Doors(t, drivertest.DoorSuite{
		Lanes: 3,
		Start: func(t *testing.T) drivertest.Door {
			// In other tables two changes within one second take two.
			s := start(t, lab.PostfixSettings{MapType: "lmdb"}, nil)
			return drivertest.Door{
				Opened: s.door, Host: host.Local(), Shown: s.Server, Next: s.PKI.Localhost(t), Client: s.alice, NextClient: s.bob,
				Listeners: s.one(), Good: func() error { return s.good(t) },
			}
		},
		Reads: reads,
	})
}

// reads are the commands that change nothing.
func reads(c driver.Command) bool {
	return c.Args[0] == "postconf" || c.Args[0] == "ss" && c.Args[1] == "-Htnp" || c.Args[0] == "grep" || c.Args[0] == "postmap" && slices.Contains(c.Args, "-q") ||
		c.Args[0] == "postfix" && slices.Contains(c.Args, "check")
}

// A certificate that is blocked gets in no way, and all others go on as they were, also
// in their open connections.
func TestBlockedInEveryWay(t *testing.T) {
	for kind, wantClosed := range map[string]bool{"hash": true, "texthash": true, "lmdb": false} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := start(t, lab.PostfixSettings{MapType: kind}, nil)
			held := s.probe(t, driver.ProbeRequest{Credential: s.alice, Hold: true})
			other := s.probe(t, driver.ProbeRequest{Credential: s.carol, Hold: true})
			if got := outcomes(held); got[driver.OutcomeAccepted] == 0 || len(got) != 1 || len(held.Open) == 0 {
				t.Fatalf("before: %v, %d open", got, len(held.Open))
			}
			blocked := s.block(t, s.alice)
			if len(blocked.Left) > 0 || (blocked.Closed > 0) != wantClosed {
				t.Errorf("block: %+v", blocked)
			}
			for _, a := range s.probe(t, driver.ProbeRequest{Credential: s.alice, Sessions: held.Sessions}).Attempts {
				if a.Outcome != driver.OutcomeRefused && a.Outcome != driver.OutcomeNotResumed {
					t.Errorf("blocked, %s is %s at %s: %s", a.Way, a.Outcome, a.Address, a.Answer)
				}
			}
			for _, open := range held.Open {
				if a := open.Try(t.Context()); a.Outcome == driver.OutcomeAccepted {
					t.Errorf("an open connection is still taken: %s", a.Answer)
				}
				open.Close()
			}
			for _, open := range other.Open {
				if a := open.Try(t.Context()); a.Outcome != driver.OutcomeAccepted {
					t.Errorf("somebody else's open connection: %s (%s)", a.Outcome, a.Answer)
				}
				open.Close()
			}
			if err := s.good(t); err != nil {
				t.Error(err)
			}
		})
	}
}

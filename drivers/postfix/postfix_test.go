// SPDX-License-Identifier: Apache-2.0

package postfix_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/host"
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
	return drivertest.Open[any](t, postfix.Driver(), all)
}

// fingerprint is how Postfix names a certificate.
func fingerprint(m driver.Material) string { return lab.PostfixPrint(m.Chain[0]) }

// keyPrint is how Postfix names its public key.
func keyPrint(t *testing.T, m driver.Material) string {
	t.Helper()
	c, err := m.Leaf()
	if err != nil {
		t.Fatal(err)
	}
	return lab.PostfixPrint(c.RawSubjectPublicKeyInfo)
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
	if request.Listeners == nil {
		request.Listeners = s.listeners()
	}
	return drivertest.Probe(t, request)
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
	return drivertest.Look(t, s.door)
}

func (s *server) block(t *testing.T, m driver.Material) driver.Blocked {
	t.Helper()
	return drivertest.Block(t, s.door, driver.BlockRequest{Old: m.Public})
}

func TestMain(m *testing.M) { drivertest.Main(m) }

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
			drivertest.Refused(t, s.probe(t, driver.ProbeRequest{Credential: s.alice, Sessions: held.Sessions}).Attempts)
			drivertest.Ended(t, held)
			drivertest.GoOn(t, other)
			if err := s.good(t); err != nil {
				t.Error(err)
			}
		})
	}
}

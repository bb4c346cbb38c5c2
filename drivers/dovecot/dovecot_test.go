// SPDX-License-Identifier: Apache-2.0

package dovecot_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/drivers/dovecot"
	"github.com/tallystick/tallystick/internal/lab"
)

// A server is a Dovecot with two users, alice and carol. next is a certificate for alice
// of a CA that Dovecot does not know, but of which it has lists.
type server struct {
	*lab.Dovecot
	alice, next, carol driver.Material
	door               any
	files              map[string]string // as they were at first
}

func start(t *testing.T, s lab.DovecotSettings) *server {
	t.Helper()
	s.PKI = lab.NewPKI(t)
	other := lab.NewPKI(t)
	s.CertUsers = []string{"alice", "carol"}
	one := &server{alice: s.PKI.Client(t, "alice"), carol: s.PKI.Client(t, "carol"), next: other.WithRoot(other.Client(t, "alice")), files: map[string]string{}}
	one.Dovecot = lab.StartDovecot(t, s)
	one.door = drivertest.Open[any](t, dovecot.Driver(), map[string]string{"config": one.Config})
	for _, path := range []string{one.CertFile, one.KeyFile, one.CAFile} {
		one.files[path] = lab.Read(t, path)
	}
	if !s.NoLists {
		one.files[one.CAFile] += lab.CRLPEM(other.CRLs(t)...)
	}
	one.reset(t)
	return one
}

// reset brings the files back, and has Dovecot read them.
func (s *server) reset(t *testing.T) {
	t.Helper()
	for path, text := range s.files {
		lab.Write(t, path, text)
	}
	if out, err := exec.Command(lab.Program(t, "doveadm"), "-c", s.Config, "reload").CombinedOutput(); err != nil {
		t.Fatalf("doveadm reload: %v\n%s", err, out)
	}
	time.Sleep(200 * time.Millisecond) // it answers before it is done
	if err := s.good(t); err != nil {
		t.Fatal(err)
	}
}

func (s *server) listeners() []driver.Listener {
	return []driver.Listener{{Address: s.IMAP, Protocol: "imap"}, {Address: s.IMAPS, Protocol: "imaps"}, {Address: s.POP3S, Protocol: "pop3s"}}
}

// one is enough where it is about something else.
func (s *server) one() []driver.Listener { return s.listeners()[1:2] }

// probe tries a credential at all listeners, if the request names none.
func (s *server) probe(t testing.TB, request driver.ProbeRequest) driver.Probed {
	t.Helper()
	if request.Listeners == nil {
		request.Listeners = s.listeners()
	}
	return drivertest.Probe(t, request)
}

// good says whether carol gets in, within a few seconds.
func (s *server) good(t *testing.T) error {
	var last driver.Probed
	for range 20 {
		last = s.probe(t, driver.ProbeRequest{Credential: s.carol, Listeners: s.one()})
		if in(last) {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("carol does not get in: %+v", last.Attempts)
}

func in(probed driver.Probed) bool {
	for _, a := range probed.Attempts {
		if a.Outcome != driver.OutcomeAccepted {
			return false
		}
	}
	return len(probed.Attempts) > 0
}

func (s *server) block(t *testing.T, lists [][]byte) (driver.Blocked, error) {
	t.Helper()
	return s.door.(driver.Blocker).Block(t.Context(), driver.BlockRequest{Host: host.Local(), Old: s.alice.Public, CRLs: lists, Now: time.Now})
}

func TestMain(m *testing.M) { drivertest.Main(m) }

func TestDriver(t *testing.T) { drivertest.Run(t, drivertest.Suite{Driver: dovecot.Driver()}) }

func TestDoors(t *testing.T) {
	t.Parallel()
	drivertest.Doors(t, drivertest.DoorSuite{
		Lanes: 3,
		Start: func(t *testing.T) drivertest.Door {
			s := start(t, lab.DovecotSettings{})
			// A hold that is cut off costs seconds each time: TestInstallUnderLoad has one.
			var err error
			if s.door, err = dovecot.Driver().Open(map[string]string{"config": s.Config, "hold": "false"}); err != nil {
				t.Fatal(err)
			}
			return drivertest.Door{
				Opened: s.door, Host: host.Local(), Shown: s.Server, Next: s.PKI.Localhost(t), Client: s.alice, NextClient: s.next,
				CRLs: s.PKI.CRLs(t, s.alice.Public), Listeners: s.one(), Reset: s.reset,
				Good: func() error { return s.good(t) },
			}
		},
		Reads: func(c driver.Command) bool {
			return c.Args[0] == "doveconf" || c.Args[0] == "doveadm" && strings.Contains(strings.Join(c.Args, " "), " who ")
		},
	})
}

// A certificate that is blocked gets in no way, whether each process of Dovecot takes one
// client or many; all others go on as they were.
func TestBlockedInEveryWay(t *testing.T) {
	for name, main := range map[string]string{
		"secure": "",
		"fast":   "service imap-login {\n  service_count = 0\n  process_min_avail = 1\n}\nservice pop3-login {\n  service_count = 0\n}\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, lab.DovecotSettings{Main: main})
			held := s.probe(t, driver.ProbeRequest{Credential: s.alice, Hold: true})
			others := s.probe(t, driver.ProbeRequest{Credential: s.carol, Hold: true})
			if !in(held) || !in(others) || len(held.Open) == 0 {
				t.Fatalf("before: %+v", held.Attempts)
			}
			blocked, err := s.block(t, s.PKI.CRLs(t, s.alice.Public))
			if err != nil || blocked.Closed != len(held.Open) || len(blocked.Left) > 0 {
				t.Errorf("block: %+v, %v; %d were open", blocked, err, len(held.Open))
			}
			drivertest.Refused(t, s.probe(t, driver.ProbeRequest{Credential: s.alice, Sessions: held.Sessions}).Attempts)
			drivertest.Ended(t, held)
			drivertest.GoOn(t, others)
			if err := s.good(t); err != nil {
				t.Error(err)
			}
			if second := s.probe(t, driver.ProbeRequest{Credential: s.PKI.Client(t, "alice")}); !in(second) {
				t.Errorf("another certificate of the same user: %+v", second.Attempts)
			}
		})
	}
}

// Lists that Dovecot could not work with are refused, and nothing is written.
func TestListsThatDoNotDo(t *testing.T) {
	t.Parallel()
	s := start(t, lab.DovecotSettings{})
	whole := s.PKI.CRLs(t, s.alice.Public)
	for name, lists := range map[string][][]byte{"none": nil, "does not name it": s.PKI.CRLs(t), "of another CA": lab.NewPKI(t).CRLs(t, s.alice.Public), "rubbish": {[]byte("no list")}} {
		if _, err := s.block(t, lists); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s gives %v, want ErrInvalid", name, err)
		}
	}
	if lab.Read(t, s.CAFile) != s.files[s.CAFile] {
		t.Error("what was refused was written")
	}
	s.files[s.CAFile] = lab.CertificatePEM(s.PKI.Sub.Raw, s.PKI.Root.Raw)
	lab.Write(t, s.CAFile, s.files[s.CAFile])
	if _, err := s.block(t, whole[:1]); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("a list of one CA of two gives %v, want ErrInvalid", err)
	}
	if _, err := s.block(t, whole); err != nil {
		t.Error(err)
	}
}

// Without ssl_require_crl lists do nothing, and Block says so.
func TestBlockWantsLists(t *testing.T) {
	t.Parallel()
	s := start(t, lab.DovecotSettings{NoLists: true})
	if _, err := s.block(t, s.PKI.CRLs(t, s.alice.Public)); !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(err.Error(), "ssl_require_crl") {
		t.Errorf("it gives %v, want ErrInvalid that names the setting", err)
	}
}

// A CA of which Dovecot has neither certificate nor list comes with both, and not without
// its lists, without which Dovecot would refuse all clients of it.
func TestTrustBringsCAsAndLists(t *testing.T) {
	t.Parallel()
	s := start(t, lab.DovecotSettings{})
	other := lab.NewPKI(t)
	next, ended := other.Client(t, "alice"), other.Client(t, "alice")
	request := driver.TrustRequest{Host: host.Local(), New: next.Public, Like: s.alice.Public, Authorities: [][]byte{other.Sub.Raw, other.Root.Raw}, Now: time.Now}
	truster := s.door.(driver.Truster)
	lists := other.CRLs(t, ended.Public)
	for what, some := range map[string][][]byte{"no list": nil, "a list of one CA of two": lists[:1], "lists that name it": other.CRLs(t, next.Public)} {
		request.CRLs = some
		if _, err := truster.Trust(t.Context(), request); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s gives %v, want ErrInvalid", what, err)
		}
	}
	if text, err := os.ReadFile(s.CAFile); err != nil || string(text) != string(s.files[s.CAFile]) {
		t.Errorf("what was refused was written: %v", err)
	}
	request.CRLs = lists
	for i, want := range []bool{true, false} {
		if changed, err := truster.Trust(t.Context(), request); err != nil || changed.Changed != want {
			t.Errorf("call %d: %+v, %v; want a change: %v", i+1, changed, err, want)
		}
	}
	for _, m := range []driver.Material{next, s.alice, s.carol} {
		if probed := s.probe(t, driver.ProbeRequest{Credential: m}); !in(probed) {
			t.Errorf("%s does not get in: %+v", m, probed.Attempts)
		}
	}
	if in(s.probe(t, driver.ProbeRequest{Credential: ended, Listeners: s.one()})) {
		t.Error("one on the new list gets in")
	}
	request.Withdraw = true
	if _, err := truster.Trust(t.Context(), request); err != nil {
		t.Error(err)
	}
	if in(s.probe(t, driver.ProbeRequest{Credential: next, Listeners: s.one()})) || !in(s.probe(t, driver.ProbeRequest{Credential: s.alice, Listeners: s.one()})) {
		t.Error("withdrawn, the new one gets in, or the other does not")
	}
}

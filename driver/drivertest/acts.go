// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"errors"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/driver/probing"
)

// Main runs the tests of a package that wait for servers more than they compute: six of them
// at the same time, unless the command line says otherwise.
func Main(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", "6"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// Open opens a driver, whose value is a D.
func Open[D any](t testing.TB, d driver.Driver, options map[string]string) D {
	t.Helper()
	opened, err := d.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	return opened.(D)
}

// Look has a door of this machine say how it stands.
func Look(t testing.TB, door any) driver.View {
	t.Helper()
	view, err := door.(driver.Looker).Look(t.Context(), driver.LookRequest{Host: host.Local(), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return view
}

// ShowsOnly looks that a door shows one credential and nothing else: at so many listeners,
// and in files with its key.
func ShowsOnly(t testing.TB, door any, p driver.Public, listeners int) {
	t.Helper()
	view := Look(t, door)
	live := 0
	for _, s := range view.Shown {
		if !s.Is(p) {
			t.Errorf("%s shows %v", s.At, s.Names())
		}
		if s.Live {
			live++
		} else if !s.Key {
			t.Errorf("%s does not fit its key", s.At)
		}
	}
	if live != listeners {
		t.Errorf("%d of %d listeners show it: %q", live, listeners, view.Notes)
	}
}

// Install installs at a door, and keeps nothing of what was there.
func Install(t testing.TB, door any, h driver.Host, m driver.Material) (driver.Installed, error) {
	t.Helper()
	return door.(driver.Installer).Install(t.Context(), driver.InstallRequest{Host: h, New: m, Now: time.Now, Keep: func(driver.Material) error { return nil }})
}

// Block blocks at a door of this machine.
func Block(t testing.TB, door any, r driver.BlockRequest) driver.Blocked {
	t.Helper()
	r.Host, r.Now = host.Local(), time.Now
	blocked, err := door.(driver.Blocker).Block(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return blocked
}

// Probe tries a credential from this machine.
func Probe(t testing.TB, r driver.ProbeRequest) driver.Probed {
	t.Helper()
	r.Host, r.Now = host.Local(), time.Now
	probed, err := probing.Probe(context.WithoutCancel(t.Context()), r) // Good is asked at the end of a test, too
	if err != nil {
		t.Fatal(err)
	}
	return probed
}

// Outcomes are those of all attempts, by way.
func Outcomes(attempts []driver.Attempt) map[string]string {
	all := map[string]string{}
	for _, a := range attempts {
		all[a.Way] = a.Outcome
	}
	return all
}

// Refused looks that attempts with a credential that is blocked led nowhere. A session that
// is not taken up is no way in.
func Refused(t testing.TB, attempts []driver.Attempt) {
	t.Helper()
	for _, a := range attempts {
		if a.Outcome != driver.OutcomeRefused && a.Outcome != driver.OutcomeNotResumed {
			t.Errorf("blocked, it is %s at %s, %s (%s)", a.Outcome, a.Address, a.Way, a.Answer)
		}
	}
}

// Ended looks that none of the connections which a probe has held is served any more, and
// closes them.
func Ended(t testing.TB, held driver.Probed) {
	t.Helper()
	for _, open := range held.Open {
		if a := open.Try(t.Context()); a.Outcome == driver.OutcomeAccepted {
			t.Errorf("an open connection is still served: %s", a.Answer)
		}
		open.Close()
	}
}

// GoOn looks that all of them are still served, and closes them.
func GoOn(t testing.TB, held driver.Probed) {
	t.Helper()
	for _, open := range held.Open {
		if a := open.Try(t.Context()); a.Outcome != driver.OutcomeAccepted {
			t.Errorf("somebody else's open connection: %s (%s)", a.Outcome, a.Answer)
		}
		open.Close()
	}
}

// TrustWantsLists has a door that reads revocation lists trust a certificate of a CA that it
// does not know: without the lists of that CA it refuses, and with them it changes something
// the first time alone.
func TrustWantsLists(t testing.TB, door any, r driver.TrustRequest, lists [][]byte) {
	t.Helper()
	truster := door.(driver.Truster)
	if _, err := truster.Trust(t.Context(), r); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("without lists: %v, want ErrInvalid", err)
	}
	r.CRLs = lists
	for _, want := range []bool{true, false} {
		if changed, err := truster.Trust(t.Context(), r); err != nil || changed.Changed != want {
			t.Fatalf("%+v, %v; want a change: %v", changed, err, want)
		}
	}
}

// AllAccepted looks that attempts let somebody in, each of them.
func AllAccepted(t testing.TB, attempts []driver.Attempt) {
	t.Helper()
	for _, a := range attempts {
		if a.Outcome != driver.OutcomeAccepted {
			t.Errorf("it is %s at %s, %s (%s)", a.Outcome, a.Address, a.Way, a.Answer)
		}
	}
}

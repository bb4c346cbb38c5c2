// SPDX-License-Identifier: Apache-2.0

package entra_test

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	emulator "github.com/tallystick/tallystick/internal/lab/entra"
)

func TestSignInsAreWatched(t *testing.T) {
	w := newTower(t, emulator.Config{})
	d, b := w.open(nil), newBook()
	w.signIn(5)
	w.read(d, b, time.Minute)
	w.has(b, 5)
	w.signIn(3)
	w.read(d, b, time.Minute)
	w.has(b, 8)
	if len(b.troubles) > 0 || b.formats["entra-signin"] < 8 {
		t.Errorf("%v %v", b.troubles, b.formats)
	}
	if late := w.clock().Sub(b.closed); late < 10*time.Minute || late > 12*time.Minute {
		t.Errorf("the book is closed up to %v before now", late)
	}
	if len(b.position) > 2000 {
		t.Errorf("the position has %d bytes: %s", len(b.position), b.position)
	}
}

func TestOnlySomeApplicationsAreWatched(t *testing.T) {
	w := newTower(t, emulator.Config{})
	w.signIn(3)
	product, other := w.product.Application.AppID, w.world.NewID()
	for only, want := range map[string]int{strings.ToUpper(product): 3, product + "," + other: 3, other: 0, other + "," + w.world.NewID(): 0} {
		d, b := w.open(map[string]string{"only": only}), newBook()
		w.read(d, b, time.Minute)
		if len(b.ids) != want || b.closed.IsZero() {
			t.Errorf("only %s: %d records, want %d", only, len(b.ids), want)
		}
	}
}

func TestWhatIsFromBeforeTheFirstRoundIsRead(t *testing.T) {
	w := newTower(t, emulator.Config{})
	for range 20 {
		w.signIn(2)
		w.pass(time.Hour)
	}
	d, b := w.open(map[string]string{"since": "24h"}), newBook()
	if _, err := w.round(d, b); err != nil {
		t.Fatal(err)
	}
	w.has(b, 40)
	short := newBook()
	w.read(w.open(map[string]string{"since": "150m"}), short, time.Minute)
	if n := len(short.ids); n < 4 || n > 8 {
		t.Errorf("of two hours and a half there are %d records", n)
	}
}

func TestLateRecordsInAnyOrderAndTwice(t *testing.T) {
	w := newTower(t, emulator.Config{SignInLatency: func(r *rand.Rand) time.Duration {
		if r.IntN(4) == 0 {
			return time.Duration(r.Int64N(int64(5 * time.Hour)))
		}
		return time.Duration(r.Int64N(int64(10 * time.Minute)))
	}, Faults: emulator.Faults{SignInsTwice: true}})
	d, b := w.open(nil), newBook()
	for range 60 {
		w.signIn(1)
		w.read(d, b, 5*time.Minute)
	}
	closed := b.closed
	w.read(d, b, 26*time.Hour)
	w.has(b, 60)
	// It was an hour or more late, so the book is closed later than the option says.
	if late := w.clock().Sub(closed); late < 27*time.Hour {
		t.Errorf("the book was closed %v ago, when records were hours late", late-26*time.Hour)
	}
}

func TestTheLimitOfReportsIsKept(t *testing.T) {
	w := newTower(t, emulator.Config{})
	asked, throttled := 0, 0
	w.world.SetFaults(func(f *emulator.Faults) {
		f.Inject = func(a emulator.Attempt) *emulator.Injected {
			if strings.Contains(a.Path, "auditLogs") {
				asked++
			}
			return nil
		}
	})
	d, b := w.open(map[string]string{"every": "1s", "logs": "sign-ins,audits"}), newBook()
	for end := w.clock().Add(10 * time.Minute); w.clock().Before(end); {
		again, err := w.round(d, b)
		if err != nil {
			t.Fatal(err)
		}
		throttled += len(b.troubles)
		w.pass(again)
	}
	if throttled > 0 || asked > 305 || asked < 250 {
		t.Errorf("asked %d times in ten minutes, and throttled %d times", asked, throttled)
	}
}

func TestThrottlingWithAndWithoutRetryAfter(t *testing.T) {
	for _, said := range []time.Duration{0, 40 * time.Second} {
		w := newTower(t, emulator.Config{})
		w.signIn(3)
		w.world.SetFaults(func(f *emulator.Faults) {
			f.Inject = func(a emulator.Attempt) *emulator.Injected {
				if strings.Contains(a.Path, "signIns") {
					return &emulator.Injected{Status: http.StatusTooManyRequests, RetryAfter: said}
				}
				return nil
			}
		})
		d, b := w.open(nil), newBook()
		var waits []time.Duration
		for range 8 {
			again, err := w.round(d, b)
			if err != nil {
				t.Fatal(err)
			}
			if len(b.last) != 1 || !errors.Is(b.last[0].Err, tallystick.ErrUnavailable) || b.last[0].Log != "sign-ins" {
				t.Fatalf("%v", b.troubles)
			}
			waits = append(waits, again)
			w.pass(again)
		}
		switch {
		case said > 0 && (waits[0] != said || waits[7] != said || !strings.Contains(b.troubles[0], "asks to come again")):
			t.Errorf("told to wait %v, and waits %v: %v", said, waits, b.troubles)
		case said == 0 && (waits[0] > 2*time.Second || waits[7] < time.Minute || waits[7] > 4*time.Minute):
			t.Errorf("told nothing, and waits %v", waits)
		}
		w.world.SetFaults(func(f *emulator.Faults) { f.Inject = nil })
		w.read(d, b, time.Minute)
		w.has(b, 3)
		if len(b.troubles) > 0 {
			t.Errorf("it is over, and shows %v", b.troubles)
		}
	}
}

func TestConsentIsTakenBackAndGivenAgain(t *testing.T) {
	w := newTower(t, emulator.Config{})
	d, b := w.open(nil), newBook()
	w.signIn(2)
	w.read(d, b, time.Minute)
	for _, g := range reports {
		w.tenant.Revoke(w.watcher.Principal, g)
	}
	w.pass(2 * time.Hour) // the token has ended
	w.signIn(2)
	again, err := w.round(d, b)
	if err != nil || len(b.last) != 1 || !errors.Is(b.last[0].Err, tallystick.ErrDenied) || !strings.Contains(b.last[0].Do, "grants AuditLog.Read.All") {
		t.Fatalf("%v %v %v", again, err, b.troubles)
	}
	closed := b.closed
	w.read(d, b, time.Hour)
	if len(b.last) != 1 || b.closed != closed {
		t.Errorf("%v; the book went on to %v", b.troubles, b.closed)
	}
	for _, g := range reports {
		w.tenant.Consent(w.watcher.Principal, g)
	}
	w.read(d, b, 20*time.Minute)
	w.has(b, 4)
	if len(b.last) > 0 || !b.closed.After(closed) {
		t.Errorf("%v; the book is closed up to %v", b.troubles, b.closed)
	}
	w.tenant.SetEnabled(w.watcher.Principal, false)
	w.pass(2 * time.Hour)
	if _, err := w.round(d, b); err != nil || len(b.last) != 1 || b.last[0].Log != "" || !strings.Contains(b.last[0].Do, "/adminconsent?client_id=") {
		t.Errorf("%v %v", err, b.troubles)
	}
}

func TestATenantWithoutALicence(t *testing.T) {
	w := newTower(t, emulator.Config{})
	w.tenant.SetLicences(false, false)
	d, b := w.open(map[string]string{"logs": "sign-ins,audits"}), newBook()
	w.read(d, b, time.Minute)
	if len(b.last) != 1 || b.last[0].Log != "sign-ins" || !strings.Contains(b.last[0].Do, "P1 or P2") || !b.closed.IsZero() {
		t.Errorf("%v, closed up to %v", b.troubles, b.closed)
	}
	asked := 0
	w.world.SetFaults(func(f *emulator.Faults) {
		f.Inject = func(a emulator.Attempt) *emulator.Injected {
			if strings.Contains(a.Path, "signIns") {
				asked++
			}
			return nil
		}
	})
	w.read(d, b, 5*time.Hour)
	if asked < 10 || asked > 40 {
		t.Errorf("in five hours it was asked for %d times", asked)
	}
}

func TestPagesAndLinksThatEnd(t *testing.T) {
	w := newTower(t, emulator.Config{Faults: emulator.Faults{SkipTokenLife: time.Second, NoThrottling: true}})
	w.fill(2500, 175*time.Second)
	stale := 0
	w.world.SetFaults(func(f *emulator.Faults) {
		f.Inject = func(a emulator.Attempt) *emulator.Injected {
			if strings.Contains(a.Path, "signIns") {
				w.pass(2 * time.Second) // each link has ended when it is followed
				stale++
			}
			return nil
		}
	})
	d, b := w.open(nil), newBook()
	w.read(d, b, 10*time.Minute)
	w.has(b, 2500)
	if len(b.troubles) > 0 || stale < 4 {
		t.Errorf("%v, %d requests", b.troubles, stale)
	}
	if b.largest > 1000 {
		t.Errorf("a batch has %d records", b.largest)
	}
}

func TestARoundThatEndsInTheMiddleIsTakenUp(t *testing.T) {
	w := newTower(t, emulator.Config{Faults: emulator.Faults{NoThrottling: true}})
	w.fill(3000, 90*time.Second)
	b, full := newBook(), errors.New("the disk is full")
	for n := range 4 {
		b.fails, b.after = full, n
		if _, err := w.round(w.open(nil), b); !errors.Is(err, full) { // as after a start
			t.Fatalf("%v after %d batches", err, n)
		}
		w.pass(11 * time.Second)
	}
	b.fails = nil
	w.read(w.open(nil), b, time.Minute)
	w.has(b, 3000)
	if _, err := w.open(nil).Watch(t.Context(), watchFrom("{"), b); !errors.Is(err, tallystick.ErrDamaged) {
		t.Errorf("a position that cannot be read: %v", err)
	}
}

func TestAuditsAreWatched(t *testing.T) {
	w := newTower(t, emulator.Config{})
	d, b := w.open(map[string]string{"logs": "audits"}), newBook()
	w.read(d, b, time.Minute)
	w.tenant.AddSecret(w.product.Application, "second", "another secret of a test")
	w.read(d, b, 5*time.Minute)
	for _, a := range w.tenant.Audits() {
		if b.ids[a.ID] == 0 {
			t.Errorf("%s is missing", a.ID)
		}
	}
	if b.formats["entra-audit"] == 0 || !b.closed.IsZero() {
		t.Errorf("%v; changes close no book of uses: %v", b.formats, b.closed)
	}
}

func TestOptionsOfAWatch(t *testing.T) {
	w := newTower(t, emulator.Config{})
	for name, value := range map[string]string{"logs": "sign-ins,moat", "only": "me", "every": "1ms", "late": "25h", "since": "9000h", "manage": "http://x"} {
		if _, err := entraOpen(w.options, name, value); !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%s: %v", name, value, err)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package postfix_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/drivers/postfix"
	"github.com/tallystick/tallystick/internal/lab"
)

// request is for the account relay at the other Postfix.
func (r *route) request(next string) driver.SupplyRequest {
	return driver.SupplyRequest{Host: host.Local(), System: r.to.SMTP, Account: "relay", Old: driver.NewSecret("outdated"), New: driver.NewSecret(next), Now: time.Now}
}

// Mail that waits because its password was refused is delivered once the right one is supplied,
// from a table of any type. It is not sent back to its sender meanwhile.
func TestSupply(t *testing.T) {
	for _, mapType := range []string{"hash", "lmdb", "texthash"} {
		t.Run(mapType, func(t *testing.T) {
			t.Parallel()
			r := startRoute(t, mapType, false, "")
			right := r.relay.new.Reveal()
			r.fill(t, fmt.Sprintf(relays, r.hop(), "outdated"))
			if err := mailTo(r.from.SMTP, "waits@supply.test"); err != nil {
				t.Fatal(err)
			}
			r.awaitRefusal(t)
			for call, want := range []bool{true, false} {
				changed, err := r.supplier.SupplySecret(t.Context(), r.request(right))
				if err != nil || changed.Changed != want {
					t.Errorf("call %d: %+v, %v", call+1, changed, err)
				}
			}
			if d := cmp.Diff(fmt.Sprintf(relays, r.hop(), right), lab.Read(t, r.table)); d != "" {
				t.Errorf("the table (-want +got):\n%s", d)
			}
			r.from.AwaitDelivery(t)
			r.to.AwaitDelivery(t)
			if got, err := filepath.Glob(filepath.Join(r.dovecot.Mail, "inbox", "new", "*")); err != nil || len(got) != 1 {
				t.Errorf("%d messages are delivered, want 1: %v", len(got), err)
			}
			r.tidy(t)
		})
	}
}

// awaitRefusal waits until mail waits for a password.
func (r *route) awaitRefusal(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		out, err := exec.Command(lab.Program(t, "postqueue"), "-c", r.from.Config, "-j").Output()
		if err == nil && strings.Contains(string(out), `"deferred"`) && strings.Contains(string(out), "SASL authentication failed") {
			return
		}
	}
	t.Fatal("no mail waits for a password")
}

// tidy looks that the table and what is made of it are for their owner alone, and nothing else
// is there.
func (r *route) tidy(t *testing.T) {
	t.Helper()
	files, err := os.ReadDir(filepath.Dir(r.table))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil || info.Mode().Perm() != 0o600 || !strings.HasPrefix(f.Name(), filepath.Base(r.table)) {
			t.Errorf("there is %s %v, %v", f.Name(), info.Mode(), err)
		}
	}
}

// says is what Postfix reads for a key.
func (r *route) says(t *testing.T, key string) string {
	t.Helper()
	out, err := exec.Command(lab.Program(t, "postmap"), "-c", r.from.Config, "-q", key, r.mapType+":"+r.table).Output()
	if err != nil {
		t.Fatalf("%s is not in the table: %v", key, err)
	}
	return strings.TrimSpace(string(out))
}

func TestSupplyOf(t *testing.T) {
	t.Parallel()
	r := startRoute(t, "hash", false, "smtp_sender_dependent_authentication = yes\n")
	r.fill(t, "a@one.test relay:outdated\nb@one.test relay:somebody else's\n"+fmt.Sprintf(relays, r.hop(), "outdated"))
	if _, err := r.supplier.SupplySecret(t.Context(), r.request("the next: one")); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"a@one.test": "relay:the next: one", "b@one.test": "relay:somebody else's", r.hop(): "relay:the next: one", "[mail.elsewhere.test]:587": "relay:another",
	} {
		if got := r.says(t, key); got != want {
			t.Errorf("%s has %q, want %q", key, got, want)
		}
	}
	for what, edit := range map[string]func(*driver.SupplyRequest){
		"account": func(s *driver.SupplyRequest) { s.Account = "nobody" },
		"relay":   func(s *driver.SupplyRequest) { s.System, s.Old = "mail.third.test", driver.NewSecret("x") },
	} {
		request := r.request("yet another")
		edit(&request)
		if _, err := r.supplier.SupplySecret(t.Context(), request); !errors.Is(err, tallystick.ErrNotFound) {
			t.Errorf("another %s gives %v, want ErrNotFound", what, err)
		}
	}
	for _, next := range []string{"", "a\nb", " a"} {
		if _, err := r.supplier.SupplySecret(t.Context(), r.request(next)); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%q gives %v, want ErrInvalid", next, err)
		}
	}
	server := drivertest.Open[driver.Supplier](t, postfix.Driver(), map[string]string{"config": r.from.Config})
	if _, err := server.SupplySecret(t.Context(), r.request("x")); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("a door with role server gives %v, want ErrInvalid", err)
	}
}

// Whatever write a call ends at, Postfix finds one password or the other, and the next call
// completes it.
func TestSupplyIsCutOff(t *testing.T) {
	t.Parallel()
	r := startRoute(t, "hash", false, "")
	faulty := drivertest.Faulty(host.Local())
	faulty.Reads = func(c driver.Command) bool {
		return c.Args[0] == "postconf" || c.Args[0] == "postqueue" || c.Args[0] == "postmap" && strings.Contains(strings.Join(c.Args, " "), " -q ")
	}
	for n, last := 1, "first"; ; n++ {
		for _, when := range []drivertest.When{drivertest.Before, drivertest.After, drivertest.Killed} {
			r.fill(t, fmt.Sprintf(relays, r.hop(), last))
			next := fmt.Sprintf("number %d, cut %s", n, when)
			request := r.request(next)
			request.Host = faulty
			faulty.Fail(n, when, nil)
			_, err := r.supplier.SupplySecret(t.Context(), request)
			if faulty.Count() < n {
				if n < 3 || err != nil {
					t.Errorf("a call makes %d writes, %v", n-1, err)
				}
				return
			}
			if said := r.says(t, r.hop()); err == nil || said != "relay:"+last && said != "relay:"+next {
				t.Errorf("after write %d failed %s Postfix reads %q: %v", n, when, said, err)
			}
			faulty.Fail(0, drivertest.Never, nil)
			changed, err := r.supplier.SupplySecret(t.Context(), request)
			if said := r.says(t, r.hop()); err != nil || said != "relay:"+next {
				t.Errorf("the call after it: %+v, %v; Postfix reads %q", changed, err, said)
			}
			last = next
		}
	}
}

// Accounts of one table are supplied at once, and none is lost.
func TestManySupplies(t *testing.T) {
	t.Parallel()
	r := startRoute(t, "hash", false, "")
	const atOnce = 24
	var text strings.Builder
	for i := range 500 {
		fmt.Fprintf(&text, "relay%d.test:587  account%d:first\n", i, i)
	}
	r.fill(t, text.String())
	var group sync.WaitGroup
	for i := range atOnce {
		group.Go(func() {
			request := r.request("next")
			request.System, request.Account = fmt.Sprintf("relay%d.test", i), fmt.Sprintf("account%d", i)
			if _, err := r.supplier.SupplySecret(t.Context(), request); err != nil {
				t.Errorf("account %d: %v", i, err)
			}
		})
	}
	group.Wait()
	for i := range 500 {
		want := fmt.Sprintf("account%d:first", i)
		if i < atOnce {
			want = fmt.Sprintf("account%d:next", i)
		}
		if got := strings.Count(lab.Read(t, r.table), fmt.Sprintf("relay%d.test:587  %s\n", i, want)); got != 1 {
			t.Errorf("account %d has not its password in the source", i)
		}
		if i < atOnce+2 {
			if got := r.says(t, fmt.Sprintf("relay%d.test:587", i)); got != want {
				t.Errorf("account %d has %q, want %q", i, got, want)
			}
		}
	}
	r.tidy(t)
}

// What fails once a table is written does not say that nothing was changed, and the next call
// completes it. A table that cannot be read is found out before.
func TestSupplyFailsAfterTheWrite(t *testing.T) {
	t.Parallel()
	r := startRoute(t, "hash", false, "")
	r.fill(t, fmt.Sprintf(relays, r.hop(), "outdated"))
	for _, word := range []string{"hash", "-q", "postqueue"} { // what makes the index, what asks it, and what has mail tried again
		request := r.request("without " + word)
		for _, kind := range []error{tallystick.ErrInvalid, tallystick.ErrDenied, tallystick.ErrNotFound} {
			request.Host = drivertest.ClosedHost{Host: host.Local(), Word: word, Kind: kind}
			for call := range 2 {
				if _, err := r.supplier.SupplySecret(t.Context(), request); err == nil || errors.Is(err, kind) {
					t.Errorf("call %d without %s (%v) gives %v", call+1, word, kind, err)
				}
			}
		}
		if !strings.Contains(lab.Read(t, r.table), request.New.Reveal()) {
			t.Errorf("without %s the table is not written", word)
		}
		request.Host = host.Local()
		if _, err := r.supplier.SupplySecret(t.Context(), request); err != nil || r.says(t, r.hop()) != "relay:"+request.New.Reveal() {
			t.Errorf("the call after it: %v; Postfix reads %q", err, r.says(t, r.hop()))
		}
	}
	before := lab.Read(t, r.table)
	lab.Write(t, r.from.Config+"/main.cf", lab.Read(t, r.from.Config+"/main.cf")+"smtp_sasl_password_maps = hash:"+r.table+", texthash:"+t.TempDir()+"\n")
	if _, err := r.supplier.SupplySecret(t.Context(), r.request("never")); !errors.Is(err, tallystick.ErrInvalid) || lab.Read(t, r.table) != before {
		t.Errorf("with a table that is a directory: %v, and the other one is\n%s", err, lab.Read(t, r.table))
	}
}

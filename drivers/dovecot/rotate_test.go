// SPDX-License-Identifier: Apache-2.0

package dovecot_test

import (
	"bufio"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/drivers/dovecot"
	"github.com/tallystick/tallystick/internal/lab"
)

// A mailer is a Dovecot with many accounts, whose passwords a door rotates.
type mailer struct {
	*lab.Dovecot
	rotator    driver.Rotator
	users, old string // passwd-files
	next       atomic.Int64
}

// accounts is how many there are.
const accounts = 2_000

func account(n int64) (name string, password driver.Secret) {
	return fmt.Sprintf("user%04d", n), driver.NewSecret(fmt.Sprintf("first-%04d-password", n))
}

// secondPassdb asks a further file, of old passwords.
const secondPassdb = "passdb {\n  driver = passwd-file\n  mechanisms = plain login\n  args = scheme=PLAIN %s\n}\n"

func startMailer(t *testing.T, two bool, main string, options map[string]string) *mailer {
	t.Helper()
	users := map[string]string{}
	for n := range int64(accounts) {
		name, password := account(n)
		users[name] = password.Reveal()
	}
	m := &mailer{}
	if two {
		m.old = filepath.Join(lab.OpenDir(t), "old")
		lab.Write(t, m.old, "")
		if err := os.Chmod(m.old, 0o644); err != nil {
			t.Fatal(err)
		}
		main += fmt.Sprintf(secondPassdb, m.old)
		options["passwd-file-old"] = m.old
	}
	m.Dovecot = lab.StartDovecot(t, lab.DovecotSettings{Users: users, NoLists: true, Main: main})
	m.users = filepath.Join(filepath.Dir(m.Config), "users")
	options["config"] = m.Config
	m.rotator = drivertest.Open[driver.Rotator](t, dovecot.Driver(), options)
	return m
}

// fresh returns an account that nobody has had.
func (m *mailer) fresh(t *testing.T) (string, driver.Secret) {
	n := m.next.Add(1) - 1
	if n >= accounts {
		t.Fatal("there are no more accounts")
	}
	return account(n)
}

// signIn is USER and PASS of POP3 (RFC 1939 section 7), over TLS.
func (m *mailer) signIn(t *testing.T, user string, password driver.Secret) bool {
	t.Helper()
	conn, err := tls.Dial("tcp", m.POP3S, m.PKI.ClientConfig(driver.Material{}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	in := bufio.NewReader(conn)
	for _, say := range []string{"", "USER " + user, "PASS " + password.Reveal()} {
		if say != "" {
			fmt.Fprintf(conn, "%s\r\n", say)
		}
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatalf("signing in as %s: %v", user, err)
		}
		if say == "" || strings.HasPrefix(say, "USER") {
			continue
		}
		if strings.HasPrefix(line, "-ERR [SYS") || strings.HasPrefix(line, "-ERR [IN-USE") {
			t.Fatalf("Dovecot is in trouble: %s", line)
		}
		return strings.HasPrefix(line, "+OK")
	}
	return false
}

func TestRotator(t *testing.T) {
	for name, two := range map[string]bool{"two": true, "none": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			drivertest.Rotator(t, rotatorCase(t, two))
		})
	}
}

// rotatorCase brings the suite a server of its own: each edit of a file waits for the one before.
func rotatorCase(t *testing.T, two bool) drivertest.RotatorCase {
	c := drivertest.RotatorCase{Host: host.Local(), Missing: "nobody", Refused: driver.NewSecret(strings.Repeat("longer than crypt takes ", 30))}
	main := "auth_cache_size = 1M\n"
	if two { // it writes more, so that its writes are those that fail
		main = ""
		faulty := drivertest.Faulty(c.Host)
		faulty.Reads = func(c driver.Command) bool {
			return c.Args[0] == "doveconf" || c.Args[0] == "doveadm" && strings.Contains(strings.Join(c.Args, " "), " who ")
		}
		c.Host = faulty
		c.Another = func(t *testing.T) drivertest.RotatorCase { return rotatorCase(t, two) }
	}
	m := startMailer(t, two, main, map[string]string{})
	c.Rotator, c.Fresh, c.SignIn = m.rotator, m.fresh, m.signIn
	return c
}

// TestManyRotations rotates accounts all at once, and changes no other line, nor its end.
func TestManyRotations(t *testing.T) {
	t.Parallel()
	m := startMailer(t, true, "", map[string]string{})
	before := lab.Read(t, m.users)
	var group sync.WaitGroup
	const atOnce = 24
	rotated := map[string]bool{}
	for i := range int64(atOnce) {
		name, old := account(61 * i)
		rotated[name] = true
		next := driver.NewSecret("Aa1" + rand.Text()[:21])
		group.Go(func() {
			request := driver.SecretRequest{Host: host.Local(), Account: name, Old: old, New: next, Now: time.Now}
			if _, err := m.rotator.SetSecret(t.Context(), request); err != nil {
				t.Errorf("%s: set: %v", name, err)
			}
			if _, err := m.rotator.DropSecret(t.Context(), request); err != nil {
				t.Errorf("%s: drop: %v", name, err)
			}
			request.TryOld = true
			tested, err := m.rotator.TestSecret(t.Context(), request)
			if err != nil || len(tested.New) != 4 || len(tested.Old) != 4 {
				t.Errorf("%s: %d and %d tries, %v", name, len(tested.Old), len(tested.New), err)
			}
			if !in(driver.Probed{Attempts: tested.New}) {
				t.Errorf("%s: the new password does not get in: %+v", name, tested.New)
			}
			drivertest.Refused(t, tested.Old)
		})
	}
	group.Wait()
	unchanged := func(text string) (kept []string) {
		for line := range strings.Lines(text) {
			if name, _, _ := strings.Cut(line, ":"); !rotated[name] {
				kept = append(kept, line)
			}
		}
		return kept
	}
	after := lab.Read(t, m.users)
	if d := cmp.Diff(unchanged(before), unchanged(after)); d != "" {
		t.Errorf("lines of others have changed:\n%s", d)
	}
	if strings.Count(after, "\n") != accounts || strings.Count(after, "{SHA512-CRYPT}") != atOnce || lab.Read(t, m.old) != "" {
		t.Errorf("%d lines, %d new passwords, and %q of old ones", strings.Count(after, "\n"), strings.Count(after, "{SHA512-CRYPT}"), lab.Read(t, m.old))
	}
}

// TestOpenSessionsEnd looks that who is signed in is cut off with the old password.
func TestOpenSessionsEnd(t *testing.T) {
	t.Parallel()
	m := startMailer(t, false, "", map[string]string{})
	name, old := m.fresh(t)
	conn, err := tls.Dial("tcp", m.IMAPS, m.PKI.ClientConfig(driver.Material{}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	in := bufio.NewReader(conn)
	fmt.Fprintf(conn, "a LOGIN %s %s\r\n", name, old.Reveal())
	for line := ""; !strings.HasPrefix(line, "a OK"); {
		if line, err = in.ReadString('\n'); err != nil {
			t.Fatalf("after %q: %v", line, err)
		}
	}
	request := driver.SecretRequest{Host: host.Local(), Account: name, Old: old, New: driver.NewSecret("a new one"), Now: time.Now}
	if _, err := m.rotator.DropSecret(t.Context(), request); !errors.Is(err, tallystick.ErrConflict) {
		t.Errorf("a drop before the new one is set gives %v, want ErrConflict", err)
	}
	if _, err := m.rotator.SetSecret(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	blocked, err := m.rotator.DropSecret(t.Context(), request)
	if err != nil || blocked.Closed != 1 {
		t.Errorf("closed %d, %v", blocked.Closed, err)
	}
	for err == nil {
		_, err = in.ReadString('\n') // a farewell, perhaps
	}
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("the session goes on: %v", err)
	}
}

// TestAccountsElsewhere looks that a door whose accounts are in no file says so, and tries them.
func TestAccountsElsewhere(t *testing.T) {
	t.Parallel()
	m := startMailer(t, false, "", map[string]string{})
	text := strings.Replace(lab.Read(t, m.Config), "  driver = passwd-file\n  mechanisms = plain login\n", "  driver = static\n  mechanisms = plain login\n", 1)
	config := m.Config + ".static" // only the door reads it: the server goes on with its file
	lab.Write(t, config, text)
	m.rotator = drivertest.Open[driver.Rotator](t, dovecot.Driver(), map[string]string{"config": config})
	name, old := m.fresh(t)
	standing, err := m.rotator.LookAccount(t.Context(), driver.AccountRequest{Host: host.Local(), Account: name, Now: time.Now})
	if err != nil || len(standing.Notes) != 1 || !strings.Contains(standing.Notes[0], "static") || len(standing.Listeners) != 4 {
		t.Errorf("it stands as %+v, %v", standing, err)
	}
	request := driver.SecretRequest{Host: host.Local(), Account: name, Old: driver.NewSecret("wrong one"), New: old, TryOld: true, Now: time.Now}
	if _, err := m.rotator.SetSecret(t.Context(), request); !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(err.Error(), "listeners") {
		t.Errorf("set gives %v, want ErrInvalid that says what to do", err)
	}
	tested, err := m.rotator.TestSecret(t.Context(), request)
	if err != nil || !in(driver.Probed{Attempts: tested.New}) || len(tested.Old) != 4 {
		t.Errorf("tested: %+v, %v", tested, err)
	}
	drivertest.Refused(t, tested.Old)
}

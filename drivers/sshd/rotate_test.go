// SPDX-License-Identifier: Apache-2.0

package sshd

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/internal/lab"
)

// A rotating sshd has keys added to the file of its account.
type rotating struct {
	*lab.Sshd
	mu sync.Mutex // held while the file is written
}

// authorize adds a key of its own to the account, and returns its private half.
func (d *rotating) authorize(t *testing.T, options string) driver.Secret {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	m := lab.SSHKey(t)
	put(t, d.AuthorizedKeys, get(t, d.AuthorizedKeys)+options+lab.AuthorizedLine(t, m.Public))
	return driver.NewSecret(lab.SSHKeyPEM(t, m.Key))
}

// signIn signs in by ssh.
func (d *rotating) signIn(t *testing.T, account string, secret driver.Secret) bool {
	t.Helper()
	_, port, err := net.SplitHostPort(d.Address)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(lab.Program(t, "ssh"), "-F", "none", "-i", lab.File(t, "key", secret.Reveal()), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
		"-o", "IdentityAgent=none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-p", port, account+"@127.0.0.1", "true").CombinedOutput()
	if err != nil && !strings.Contains(string(out), "Permission denied") {
		t.Fatalf("ssh: %v\n%s", err, out)
	}
	return err == nil
}

func nextKey(t *testing.T) driver.Secret {
	return driver.NewSecret(lab.SSHKeyPEM(t, lab.SSHKey(t).Key))
}

func TestRotator(t *testing.T) {
	t.Parallel()
	drivertest.Rotator(t, rotatorCase(t))
}

// rotatorCase brings the suite a server of its own: two would write the one file of keys.
func rotatorCase(t *testing.T) drivertest.RotatorCase {
	d := &rotating{Sshd: lab.StartSshd(t, lab.SshdSettings{HostCertificate: true})}
	h := drivertest.Faulty(host.Local())
	h.Reads = reads
	return drivertest.RotatorCase{
		Rotator: drivertest.Open[*Door](t, Driver(), map[string]string{"program": lab.Program(t, "sshd"), "config": d.Config, "log": d.Log, "patience": "5s"}),
		Host:    h, Another: rotatorCase, SignIn: d.signIn, Next: nextKey, Missing: "no-such-account",
		Fresh: func(t *testing.T) (string, driver.Secret) { return d.Account, d.authorize(t, "") },
	}
}

// The next key gets the options of the one before, the sessions of that are ended, and what
// stands elsewhere in the file stays.
func TestRotation(t *testing.T) {
	t.Parallel()
	d := &rotating{Sshd: lab.StartSshd(t, lab.SshdSettings{Authorized: []string{"# people"}})}
	const options = `from="127.0.0.1",command="/bin/true # \"x\"" `
	old, next := d.authorize(t, options), nextKey(t)
	bob := d.authorize(t, "")
	before, door := get(t, d.AuthorizedKeys), opened(t, d.Sshd)
	request := driver.SecretRequest{Host: host.Local(), Account: d.Account, Old: old, New: next, Now: time.Now}
	if _, err := door.DropSecret(t.Context(), request); !errors.Is(err, tallystick.ErrConflict) {
		t.Errorf("dropped before the next one is set: %v", err)
	}
	set := func(withdraw bool) {
		t.Helper()
		r := request
		r.Withdraw = withdraw
		if changed, err := door.SetSecret(t.Context(), r); err != nil || !changed.Changed.Changed {
			t.Fatalf("%+v, %v", changed, err)
		}
	}
	set(false)
	if n := strings.Count(get(t, d.AuthorizedKeys), options); n != 2 {
		t.Errorf("%d lines have the options, want 2", n)
	}
	set(true)
	if got := get(t, d.AuthorizedKeys); got != before {
		t.Errorf("withdrawn, the file is\n%s\nand was\n%s", got, before)
	}
	set(false)
	hers, his := held(t, d.Sshd, old), held(t, d.Sshd, bob)
	blocked, err := door.DropSecret(t.Context(), request)
	if err != nil || blocked.Closed != 1 || len(blocked.Left) != 0 {
		t.Errorf("%+v, %v; want one session closed", blocked, err)
	}
	for name, row := range map[string]struct {
		open driver.OpenConnection
		want string
	}{"the old key": {hers, driver.OutcomeRefused}, "another": {his, driver.OutcomeAccepted}} {
		if got := row.open.Try(t.Context()); got.Outcome != row.want {
			t.Errorf("a session of %s is %+v", name, got)
		}
	}
	set(true) // after all: it comes back where the next one is
	request.Old, request.New = next, old
	if tested := test(t, door, request); tested.Old[0].Outcome != driver.OutcomeRefused || tested.New[0].Outcome != driver.OutcomeAccepted {
		t.Errorf("withdrawn after the drop: %+v", tested)
	}
}

// What fails once the old key is refused does not say that nothing was changed, and the next call
// completes it. Sessions of which a log says too much are left, and named.
func TestDropFailsAfterTheWrite(t *testing.T) {
	t.Parallel()
	d := &rotating{Sshd: lab.StartSshd(t, lab.SshdSettings{})}
	old, next, door := d.authorize(t, ""), nextKey(t), opened(t, d.Sshd)
	request := driver.SecretRequest{Host: host.Local(), Account: d.Account, Old: old, New: next, Now: time.Now}
	if _, err := door.SetSecret(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	hers := held(t, d.Sshd, old)
	for _, kind := range []error{tallystick.ErrInvalid, tallystick.ErrDenied, tallystick.ErrNotFound} {
		bad := request
		bad.Host = drivertest.ClosedHost{Host: request.Host, Word: "ss", Kind: kind}
		if _, err := door.DropSecret(t.Context(), bad); err == nil || errors.Is(err, kind) {
			t.Errorf("without ss it gives %v", err)
		}
	}
	if d.signIn(t, d.Account, old) {
		t.Error("the old key gets in")
	}
	log := get(t, d.Log)
	for line := range strings.Lines(log) {
		if strings.Contains(line, "Accepted publickey") {
			put(t, d.Log, log+strings.Repeat(line, 2<<20/len(line)))
		}
	}
	if blocked, err := door.DropSecret(t.Context(), request); err != nil || blocked.Closed != 0 || len(blocked.Left) != 1 {
		t.Errorf("with a log of too much: %+v, %v", blocked, err)
	}
	put(t, d.Log, log)
	if blocked, err := door.DropSecret(t.Context(), request); err != nil || blocked.Closed != 1 {
		t.Errorf("in the end: %+v, %v", blocked, err)
	}
	if got := hers.Try(t.Context()); got.Outcome != driver.OutcomeRefused {
		t.Errorf("its session is %+v", got)
	}
}

func held(t *testing.T, d *lab.Sshd, secret driver.Secret) driver.OpenConnection {
	t.Helper()
	m, err := parsePrivate([]byte(secret.Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	probed := drivertest.Probe(t, driver.ProbeRequest{Credential: m, Hold: true, Listeners: []driver.Listener{{Address: d.Address, Protocol: "ssh", Details: map[string]string{"user": d.Account}}}})
	if len(probed.Open) != 1 {
		t.Fatalf("%+v", probed.Attempts)
	}
	t.Cleanup(func() { probed.Open[0].Close() })
	return probed.Open[0]
}

func test(t *testing.T, door *Door, r driver.SecretRequest) driver.Tested {
	t.Helper()
	r.TryOld = true
	tested, err := door.TestSecret(t.Context(), r)
	if err != nil || len(tested.Old) != 1 || len(tested.New) != 1 {
		t.Fatalf("%+v, %v", tested, err)
	}
	return tested
}

// Whoever else answers at the address has said nothing of the keys.
func TestAnotherHostKey(t *testing.T) {
	t.Parallel()
	d := &rotating{Sshd: lab.StartSshd(t, lab.SshdSettings{})}
	secret := d.authorize(t, "")
	request := driver.SecretRequest{Host: host.Local(), Account: d.Account, Old: nextKey(t), New: secret, Now: time.Now}
	door := opened(t, d.Sshd)
	if tested := test(t, door, request); tested.New[0].Outcome != driver.OutcomeAccepted || tested.Old[0].Outcome != driver.OutcomeRefused {
		t.Errorf("%+v", tested)
	}
	// A configuration that names another host key than sshd has read.
	other := lab.File(t, "other", lab.SSHKeyPEM(t, lab.SSHKey(t).Key))
	put(t, d.Config, strings.ReplaceAll(get(t, d.Config), d.HostKey, other))
	tested := test(t, door, request)
	for why, a := range map[string]driver.Attempt{"another host key": tested.New[0], "not tried": tested.Old[0]} {
		if a.Outcome != driver.OutcomeFailed || !strings.Contains(a.Answer, why) {
			t.Errorf("%+v", a)
		}
	}
}

func TestAccountsAsTheyStand(t *testing.T) {
	t.Parallel()
	d := lab.StartSshd(t, lab.SshdSettings{})
	door := opened(t, d)
	look := func(name string) (driver.Account, error) {
		return door.LookAccount(t.Context(), driver.AccountRequest{Host: host.Local(), Account: name, Now: time.Now})
	}
	for _, name := range []string{"", "a,user=root", "-C", "daemon"} { // the last is there, and the option leaves it out
		if _, err := look(name); !errors.Is(err, tallystick.ErrNotFound) {
			t.Errorf("%q: %v, want ErrNotFound", name, err)
		}
	}
	for line, want := range map[string]string{"PubkeyAuthentication no": "PubkeyAuthentication", "PermitRootLogin no": "PermitRootLogin"} {
		before := get(t, d.Config)
		put(t, d.Config, line+"\n"+before)
		account, err := look(d.Account)
		if err != nil || !strings.Contains(account.Barred, want) && (want != "PermitRootLogin" || os.Getuid() == 0) {
			t.Errorf("%s: %+v, %v", line, account, err)
		}
		put(t, d.Config, before)
	}
	put(t, d.Config, "PasswordAuthentication yes\nAuthenticationMethods publickey,password\nAuthorizedKeysCommand /bin/true\nAuthorizedKeysCommandUser nobody\n"+get(t, d.Config))
	if account, err := look(d.Account); err != nil || len(account.Notes) != 2 {
		t.Errorf("%+v, %v; want a note on each", account, err)
	}
}

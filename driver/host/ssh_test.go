// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/internal/lab"
)

// machine starts an sshd and returns how it is reached.
func machine(t *testing.T) (*lab.Sshd, host.SSHConfig) {
	t.Helper()
	user := lab.SSHKey(t)
	// The shell of the user who runs the test reads no ~/.bashrc then, which may take its time.
	d := lab.StartSshd(t, lab.SshdSettings{Authorized: []string{lab.AuthorizedLine(t, user.Public)}, Config: "SetEnv SHLVL=2\n"})
	key, err := ssh.ParsePublicKey(d.Host.SSH)
	if err != nil {
		t.Fatal(err)
	}
	return d, host.SSHConfig{Name: "web1", Address: d.Address, User: d.Account, Key: lab.SSHSigner(t, user.Key), HostKeys: []ssh.PublicKey{key}}
}

func reached(t *testing.T, c host.SSHConfig) *host.SSH {
	t.Helper()
	h, err := host.NewSSH(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func TestSSHKeepsTheContract(t *testing.T) {
	t.Parallel()
	_, config := machine(t)
	h := reached(t, config)
	if h.Name() != "web1" {
		t.Errorf("it is called %s", h.Name())
	}
	t.Run("", func(t *testing.T) { contract(t, h) })
}

func TestStrangersAreNotSpokenTo(t *testing.T) {
	t.Parallel()
	_, config := machine(t)
	other := lab.SSHSigner(t, lab.SSHKey(t).Key)
	with := func(change func(*host.SSHConfig)) host.SSHConfig {
		c := config
		change(&c)
		return c
	}
	for what, row := range map[string]struct {
		config host.SSHConfig
		want   error
	}{
		"another host key": {with(func(c *host.SSHConfig) { c.HostKeys = []ssh.PublicKey{other.PublicKey()} }), tallystick.ErrDenied},
		"another kind":     {with(func(c *host.SSHConfig) { c.HostKeys = []ssh.PublicKey{ecdsaKey(t)} }), tallystick.ErrDenied},
		"another user key": {with(func(c *host.SSHConfig) { c.Key = other }), tallystick.ErrDenied},
		"nobody there":     {with(func(c *host.SSHConfig) { c.Address = "127.0.0.1:1" }), tallystick.ErrUnavailable},
	} {
		_, err := reached(t, row.config).ReadFile(t.Context(), "/etc/hostname", 100)
		if !errors.Is(err, row.want) {
			t.Errorf("%s gives %v, want %v", what, err, row.want)
		}
	}
	for _, config := range []host.SSHConfig{{}, with(func(c *host.SSHConfig) { c.HostKeys = nil }), with(func(c *host.SSHConfig) { c.Address = "web1" })} {
		if _, err := host.NewSSH(config); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%+v gives %v, want ErrInvalid", config, err)
		}
	}
}

func ecdsaKey(t *testing.T) ssh.PublicKey {
	t.Helper()
	return lab.SSHSigner(t, lab.NewKey(t)).PublicKey()
}

// A lossy is a way to a server that can be cut after a number of bytes.
type lossy struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
	left  int  // bytes to the server until it is cut; negative is for ever. Guarded by mu
	stuck bool // from then on bytes are swallowed, and nothing is closed
}

func newLossy(t *testing.T, to string) *lossy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &lossy{Listener: listener, left: -1}
	t.Cleanup(func() { listener.Close(); l.cut() })
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			through, err := net.Dial("tcp", to)
			if err != nil {
				from.Close()
				continue
			}
			l.mu.Lock()
			l.conns = append(l.conns, from, through)
			l.mu.Unlock()
			go func() { io.Copy(from, through); from.Close() }()
			go func() { io.Copy(writer{l, through}, from); through.Close() }()
		}
	}()
	return l
}

type writer struct {
	*lossy
	to net.Conn
}

func (w writer) Write(b []byte) (int, error) {
	w.mu.Lock()
	n := len(b)
	if w.left >= 0 {
		n = min(n, w.left)
		w.left -= n
	}
	w.mu.Unlock()
	if _, err := w.to.Write(b[:n]); err != nil {
		return 0, err
	}
	if n < len(b) && !w.stuck {
		w.cut()
		return 0, io.ErrClosedPipe
	}
	return len(b), nil
}

// cut closes every connection that there is.
func (l *lossy) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range l.conns {
		conn.Close()
	}
	l.conns = nil
}

func (l *lossy) after(bytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left = bytes
}

// A connection that is cut in the middle of a write leaves the old file or the new one,
// and the next call goes over a new connection.
func TestCutOffWrite(t *testing.T) {
	t.Parallel()
	d, config := machine(t)
	way := newLossy(t, d.Address)
	config.Address = way.Addr().String()
	h := reached(t, config)
	path := filepath.Join(t.TempDir(), "key.pem")
	old, next := bytes.Repeat([]byte("old"), 30_000), bytes.Repeat([]byte("new"), 40_000)
	outcomes := map[string]int{}
	for _, at := range []int{0, 100, 2_000, 5_000, 10_000, 50_000, 100_000, 119_000, 123_000, 130_000} {
		way.after(-1)
		if err := h.WriteFile(t.Context(), path, old, 0o600); err != nil {
			t.Fatalf("over a new connection: %v", err)
		}
		way.after(at)
		err := h.WriteFile(t.Context(), path, next, 0o600)
		got, readErr := os.ReadFile(path)
		switch {
		case readErr == nil && bytes.Equal(got, next):
			outcomes["new"]++
		case readErr == nil && bytes.Equal(got, old) && err != nil:
			outcomes["old"]++
		default:
			t.Errorf("cut after %d bytes: %v, and there are %d bytes (%v)", at, err, len(got), readErr)
		}
		if err != nil && !errors.Is(err, tallystick.ErrUnavailable) {
			t.Errorf("cut after %d bytes: %v, want ErrUnavailable", at, err)
		}
	}
	if outcomes["old"] < 5 || outcomes["new"] == 0 {
		t.Errorf("outcomes: %v: the connection was not cut where it should", outcomes)
	}
	way.after(-1)
	if err := h.WriteFile(t.Context(), path, next, 0o600); err != nil {
		t.Error(err)
	}
	nothingLeft(t, path)
}

// nothingLeft waits until scripts that were cut off have swept up, because the server
// tells them a little later.
func nothingLeft(t *testing.T, path string) {
	t.Helper()
	var left []string
	for range 100 {
		left, _ = filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
		if len(left) == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("left behind: %q", left)
}

func TestConnectionIsMadeAgain(t *testing.T) {
	t.Parallel()
	d, config := machine(t)
	way := newLossy(t, d.Address)
	config.Address = way.Addr().String()
	h := reached(t, config)
	for range 3 {
		if output, err := h.Run(t.Context(), driver.Command{Args: []string{"echo", "here"}}); err != nil || string(output.Stdout) != "here\n" {
			t.Fatalf("%q, %v", output.Stdout, err)
		}
		way.cut()
	}
	if err := h.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if _, err := h.Stat(t.Context(), "/"); !errors.Is(err, tallystick.ErrUnavailable) {
		t.Errorf("a closed host gives %v", err)
	}
}

// A machine that has gone without a word holds nobody up longer than its caller wants.
func TestSilence(t *testing.T) {
	t.Parallel()
	d, config := machine(t)
	way := newLossy(t, d.Address)
	way.stuck = true
	config.Address = way.Addr().String()
	h := reached(t, config)
	if _, err := h.Stat(t.Context(), "/"); err != nil {
		t.Fatal(err)
	}
	way.after(0)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := h.Stat(ctx, "/"); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 5*time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	way.after(-1)
	if _, err := h.Stat(t.Context(), "/"); err != nil {
		t.Errorf("over a new connection: %v", err)
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	_, config := machine(t)
	h := reached(t, config)
	dir := t.TempDir()
	var group sync.WaitGroup
	for i := range 40 {
		group.Go(func() {
			path := filepath.Join(dir, string(rune('a'+i%26))+strings.Repeat("x", i))
			if err := h.WriteFile(t.Context(), path, []byte(path), 0o600); err != nil {
				t.Error(err)
			}
			if got, err := h.ReadFile(t.Context(), path, 1000); err != nil || string(got) != path {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	group.Wait()
}

// What goes over the wire as the words of commands can be seen by others on that machine
// (ps): content is not among it.
func TestContentIsNoArgument(t *testing.T) {
	t.Parallel()
	_, config := machine(t)
	h := reached(t, config)
	path := filepath.Join(t.TempDir(), "pipe")
	secret := "correct-horse-battery"
	seen := make(chan string, 1)
	go func() {
		var all []string
		for range 50 {
			files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
			for _, file := range files {
				text, _ := os.ReadFile(file)
				all = append(all, string(text))
			}
		}
		seen <- strings.Join(all, "\n")
	}()
	for range 5 {
		if err := h.WriteFile(t.Context(), path, []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Run(t.Context(), driver.Command{Args: []string{"cat"}, Stdin: []byte(secret)}); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Contains(<-seen, secret) {
		t.Error("content is among the words of a command")
	}
}

func TestDialedConnectionsKeepDeadlines(t *testing.T) {
	t.Parallel()
	_, config := machine(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	conn, err := reached(t, config).Dial(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it says %v", err)
	}
}

func TestNeededAlgorithmsOnly(t *testing.T) {
	t.Parallel()
	d, config := machine(t)
	config.HostKeys = slices.Concat([]ssh.PublicKey{ecdsaKey(t)}, config.HostKeys)
	if _, err := reached(t, config).Stat(t.Context(), "/"); err != nil {
		t.Errorf("with a further known key: %v\n%s", err, d.Address)
	}
}

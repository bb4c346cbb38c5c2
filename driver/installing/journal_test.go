// SPDX-License-Identifier: Apache-2.0

package installing_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/internal/lab"
)

// A mortal host is used by a process that is killed after so many calls of it: nothing happens
// any more then, and nothing is undone.
type mortal struct {
	driver.Host
	kill func()

	mu   sync.Mutex
	left int // guarded by mu
}

var errKilled = errors.New("killed")

// dead says whether the process is, and counts a call where it is not.
func (m *mortal) dead() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left == 0 {
		return true
	}
	m.left--
	return false
}

// done ends the process when that was its last call.
func (m *mortal) done(err error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left == 0 {
		m.kill()
		return errKilled
	}
	return err
}

func (m *mortal) ReadFile(ctx context.Context, path string, limit int64) ([]byte, error) {
	if m.dead() {
		return nil, errKilled
	}
	content, err := m.Host.ReadFile(ctx, path, limit)
	return content, m.done(err)
}

func (m *mortal) Stat(ctx context.Context, path string) (driver.FileInfo, error) {
	if m.dead() {
		return driver.FileInfo{}, errKilled
	}
	info, err := m.Host.Stat(ctx, path)
	return info, m.done(err)
}

func (m *mortal) WriteFile(ctx context.Context, path string, content []byte, mode fs.FileMode) error {
	if m.dead() {
		return errKilled
	}
	return m.done(m.Host.WriteFile(ctx, path, content, mode))
}

func (m *mortal) WriteLike(ctx context.Context, path string, content []byte, like string) error {
	if m.dead() {
		return errKilled
	}
	return m.done(m.Host.WriteLike(ctx, path, content, like))
}

func (m *mortal) Remove(ctx context.Context, path string) error {
	if m.dead() {
		return errKilled
	}
	return m.done(m.Host.Remove(ctx, path))
}

func (m *mortal) Run(ctx context.Context, c driver.Command) (driver.Output, error) {
	if m.dead() {
		return driver.Output{}, errKilled
	}
	output, err := m.Host.Run(ctx, c)
	return output, m.done(err)
}

func (m *mortal) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if m.dead() {
		return nil, errKilled
	}
	conn, err := m.Host.Dial(ctx, network, address)
	if err = m.done(err); err != nil && conn != nil {
		conn.Close()
		conn = nil
	}
	return conn, err
}

// A site is a server whose certificate and key are two files. Its reload takes them together,
// and a pair that does not fit it leaves.
type site struct {
	cert, key, taken string
	old, next        driver.Material
	listeners        []driver.Listener
}

func newSite(t *testing.T, p *lab.PKI, seen bool) site {
	t.Helper()
	dir := t.TempDir()
	s := site{filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), filepath.Join(t.TempDir(), "taken"), server(t, p, "www.lab.test"), server(t, p, "www.lab.test"), nil}
	s.reset(t)
	if !seen {
		return s
	}
	var mu sync.Mutex
	shows := pair(s.old)
	s.listeners = []driver.Listener{stage(t, func() []tls.Certificate {
		mu.Lock()
		defer mu.Unlock()
		if now, err := tls.LoadX509KeyPair(s.taken, s.taken); err == nil {
			shows = now
		}
		return []tls.Certificate{shows}
	})}
	return s
}

// reset puts the old pair into place.
func (s site) reset(t *testing.T) {
	t.Helper()
	chain, key := lab.MaterialPEM(t, s.old)
	for path, text := range map[string]string{s.cert: chain, s.key: key, s.taken: chain + key} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// install has the new one installed, with a checker.
func (s site) install(ctx context.Context, h driver.Host, checker string, patience time.Duration) error {
	_, err := installing.Exchange{
		Request: driver.InstallRequest{Host: h, New: s.next, Now: time.Now, Keep: func(old driver.Material) error {
			if !old.Is(s.old.Public) || old.Key == nil {
				return fmt.Errorf("kept is %v, with a key: %v", old, old.Key != nil)
			}
			return nil
		}},
		Read: func(ctx context.Context, h driver.Host) (driver.Material, error) {
			certificate, err := h.ReadFile(ctx, s.cert, 1<<20)
			if err != nil {
				return driver.Material{}, err
			}
			key, err := h.ReadFile(ctx, s.key, 1<<20)
			if err != nil {
				return driver.Material{}, err
			}
			return installing.ReadPEM(append(certificate, key...))
		},
		Write: func(_ context.Context, m driver.Material) ([]installing.File, error) {
			chain, err := installing.PEM(m, installing.Chain)
			if err != nil {
				return nil, err
			}
			key, err := installing.PEM(m, installing.Key)
			return []installing.File{{Path: s.cert, Content: chain, Mode: 0o644}, {Path: s.key, Content: key, Mode: 0o600, Key: true}}, err
		},
		Check: []string{checker}, Reload: []string{"sh", "-c", `cat "$0" "$1" >"$2.new" && mv "$2.new" "$2"`, s.cert, s.key, s.taken},
		Timeout: time.Minute, Listeners: s.listeners, Patience: patience,
	}.Do(ctx)
	return err
}

// has looks that a pair is in the files, works, and is what the server has, and that nothing else is there.
func (s site) has(t *testing.T, what string, want driver.Material) {
	t.Helper()
	for _, files := range [][2]string{{s.cert, s.key}, {s.taken, s.taken}} {
		if got, err := tls.LoadX509KeyPair(files[0], files[1]); err != nil || string(got.Certificate[0]) != string(want.Chain[0]) {
			t.Errorf("%s: another pair is in %s, or half of one (%v)", what, files[0], err)
		}
	}
	if _, err := installing.ServedEverywhere(context.Background(), host.Local(), s.listeners, want.Public, 0, time.Now); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	entries, err := os.ReadDir(filepath.Dir(s.cert))
	if err != nil || len(entries) != 2 {
		t.Errorf("%s: there are %v (%v)", what, entries, err)
	}
}

// A process may be killed after each call of its host. Then one comes whose checker says no,
// or one whose checker says yes; and one that was killed as well may have been in between.
func TestKilled(t *testing.T) {
	t.Parallel()
	p := lab.NewPKI(t)
	for _, seen := range []bool{false, true} {
		t.Run(fmt.Sprintf("seen %v", seen), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, p, seen)
			half := 0
			for calls, ended := 1, false; !ended; calls++ {
				for _, between := range []string{"", "false", "true"} { // the checker of one that is killed as well
					for _, checker := range []string{"false", "true"} {
						what := fmt.Sprintf("killed after %d calls, %q between, then %s", calls, between, checker)
						s.reset(t)
						ended = s.killed(t, calls, "true")
						if _, err := tls.LoadX509KeyPair(s.cert, s.key); err != nil {
							half++
						}
						if between != "" {
							s.killed(t, calls, between)
						}
						done := s.done()
						err := s.install(t.Context(), host.Local(), checker, 20*time.Second)
						want := s.next
						if checker == "false" && !done {
							want = s.old
						}
						if (err == nil) != (want.Is(s.next.Public)) {
							t.Errorf("%s: %v", what, err)
						}
						s.has(t, what, want)
						if t.Failed() {
							return
						}
					}
				}
			}
			if half == 0 {
				t.Error("no call was killed between the two files")
			}
		})
	}
}

// killed installs until so many calls of the host were made, and says whether it came to its end before.
func (s site) killed(t *testing.T, calls int, checker string) bool {
	t.Helper()
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	return s.install(ctx, &mortal{Host: host.Local(), kill: kill, left: calls}, checker, 0) == nil
}

// done says whether the new pair has been installed to the end.
func (s site) done() bool {
	there, err := tls.LoadX509KeyPair(s.cert, s.key)
	_, journal := os.Stat(installing.JournalFor(s.cert))
	return err == nil && string(there.Certificate[0]) == string(s.next.Chain[0]) && errors.Is(journal, fs.ErrNotExist)
}

// Who may not read the key may not read its journal.
func TestJournalOfAKey(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.NewPKI(t), false)
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = 4711, 4712
	}
	if err := errors.Join(os.Chown(s.key, uid, gid), os.Chmod(s.key, 0o440), os.Chmod(s.cert, 0o644)); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for calls := 1; !s.killed(t, calls, "true"); calls++ {
		info, err := os.Stat(installing.JournalFor(s.cert))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		stat, _ := info.Sys().(*syscall.Stat_t)
		if err != nil || info.Mode() != 0o440 || stat.Uid != uint32(uid) || stat.Gid != uint32(gid) {
			t.Errorf("%v, %v, %v", info.Mode(), stat, err)
		}
		seen++
	}
	if seen == 0 {
		t.Error("there was none")
	}
}

// What somebody has put into the files since counts, and not what was there before.
func TestJournalThatIsOutdated(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.NewPKI(t), false)
	if s.killed(t, 9, "true") {
		t.Fatal("it was not killed")
	}
	if _, err := os.Stat(installing.JournalFor(s.cert)); err != nil {
		t.Fatal(err)
	}
	by := server(t, lab.NewPKI(t), "www.lab.test")
	chain, key := lab.MaterialPEM(t, by)
	if err := errors.Join(os.WriteFile(s.cert, []byte(chain), 0o600), os.WriteFile(s.key, []byte(key), 0o600)); err != nil {
		t.Fatal(err)
	}
	change := installing.Change{Host: host.Local(), Files: []installing.File{{Path: s.cert, Content: []byte("x")}, {Path: s.key, Content: []byte("y")}}, Check: func(context.Context) error { return errKilled }}
	if _, err := change.Do(t.Context()); !errors.Is(err, errKilled) {
		t.Errorf("it says %v", err)
	}
	if got, err := tls.LoadX509KeyPair(s.cert, s.key); err != nil || string(got.Certificate[0]) != string(by.Chain[0]) {
		t.Errorf("what was done by hand is gone (%v)", err)
	}
	if _, err := os.Stat(installing.JournalFor(s.cert)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is still a journal: %v", err)
	}
}

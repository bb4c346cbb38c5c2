// SPDX-License-Identifier: Apache-2.0

package custody_test

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/store"
)

// A swtpm is an emulator of a TPM 2.0 that listens on a unix socket.
type swtpm struct {
	state, socket string
	running       *exec.Cmd
}

// newSwtpm makes a TPM and starts it.
func newSwtpm(t *testing.T) *swtpm {
	t.Helper()
	for _, tool := range []string{"swtpm", "swtpm_setup"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("the tests need %s: apt-get install -y --no-install-recommends swtpm swtpm-tools", tool)
		}
	}
	// The path of a socket has at most 108 bytes.
	dir, err := os.MkdirTemp("", "swtpm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &swtpm{state: filepath.Join(dir, "state"), socket: filepath.Join(dir, "sock")}
	if err := os.Mkdir(s.state, 0o700); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "swtpm_setup", "--tpm2", "--tpmstate", s.state, "--overwrite").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(s.stop)
	s.start(t)
	return s
}

func (s *swtpm) start(t *testing.T) {
	t.Helper()
	s.running = exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+s.state, "--server", "type=unixio,path="+s.socket,
		"--ctrl", "type=unixio,path="+s.socket+".ctrl", "--flags", "not-need-init,startup-clear")
	if err := s.running.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("unix", s.socket); err == nil {
			c.Close()
			return
		} else if time.Now().After(deadline) {
			t.Fatal("swtpm does not listen:", err)
		}
	}
}

func (s *swtpm) stop() {
	if s.running != nil {
		_ = s.running.Process.Kill() // it may have ended
		_ = s.running.Wait()
		s.running = nil
	}
	os.Remove(s.socket)
}

func TestTPM(t *testing.T) {
	chip := newSwtpm(t)
	for _, parent := range []string{custody.ParentECC, custody.ParentRSA} {
		options := map[string]string{"device": chip.socket, "parent": parent}
		fresh := setting(t, custody.Setting{Kind: custody.KindTPM, Options: options})
		wraps(t, fresh)
		keeps(t, func([]store.WrappingKey) custody.Wrapper { return fresh }, func(known []store.WrappingKey) custody.Wrapper {
			return setting(t, custody.Setting{Kind: custody.KindTPM, Options: options, Known: known})
		})
	}
}

// While the TPM is away nothing new is unsealed; when it is back everything goes on.
func TestTPMGoneForAWhile(t *testing.T) {
	chip := newSwtpm(t)
	db, _ := sqliteStore(t)
	fresh, err := custody.NewTPM(chip.socket, custody.ParentECC, "")
	if err != nil {
		t.Fatal(err)
	}
	c := openCustody(t, custody.Config{DB: db, Wrapper: fresh})
	id, err := c.Put(t.Context(), owner, []byte("kept"))
	if err != nil {
		t.Fatal(err)
	}
	chip.stop()
	known, err := db.WrappingKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	again, err := custody.NewTPM(chip.socket, custody.ParentECC, known[0].Parameters)
	if err != nil {
		t.Fatal(err)
	}
	c = openCustody(t, custody.Config{DB: db, Wrapper: again})
	if _, err := c.Get(t.Context(), id); !errors.Is(err, tallystick.ErrUnavailable) {
		t.Error(err)
	}
	chip.start(t)
	eventually(t, func() error {
		got, err := c.Get(t.Context(), id)
		if err == nil && string(got) != "kept" {
			t.Errorf("%q", got)
		}
		return err
	})
}

// eventually calls fn until it returns nil, for a while.
func eventually(t *testing.T, fn func() error) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := fn()
		if err == nil {
			return
		}
		if !errors.Is(err, tallystick.ErrUnavailable) || time.Now().After(deadline) {
			t.Fatal("it does not come back:", err)
		}
	}
}

func TestAnotherTPM(t *testing.T) {
	db, _ := sqliteStore(t)
	first, err := custody.NewTPM(newSwtpm(t).socket, custody.ParentECC, "")
	if err != nil {
		t.Fatal(err)
	}
	c := openCustody(t, custody.Config{DB: db, Wrapper: first})
	if _, err := c.Put(t.Context(), owner, []byte("kept")); err != nil {
		t.Fatal(err)
	}
	other, err := custody.NewTPM(newSwtpm(t).socket, custody.ParentECC, first.Identity().Parameters)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := custody.Open(t.Context(), custody.Config{DB: db, Wrapper: other, Now: now}); !errors.Is(err, custody.ErrWrongKey) {
		t.Error(err)
	}
}

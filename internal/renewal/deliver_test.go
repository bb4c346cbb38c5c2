// SPDX-License-Identifier: Apache-2.0

package renewal_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/renewal"
)

// pair makes a key with a certificate of its own, both PEM.
func pair(t testing.TB, serial int64) (key, chain []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func mine() error { return nil }

func writeAll(t testing.TB, dir string, order int64, key, chain []byte) {
	t.Helper()
	if err := renewal.WriteFiles(dir, order, key, chain, mine); err != nil {
		t.Fatal(err)
	}
}

func serialOf(t testing.TB, dir string) int64 {
	t.Helper()
	return delivered(t, dir).SerialNumber.Int64()
}

// Files that somebody else wrote are taken over: what they are, whose they are and
// who may read them stays, also of the key.
func TestFilesThatAreThereAreTakenOver(t *testing.T) {
	dir := t.TempDir()
	key, chain := pair(t, 1)
	for name, text := range map[string][]byte{"key.pem": key, "cert.pem": chain, "fullchain.pem": chain} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "key.pem"), 0o640); err != nil {
		t.Fatal(err)
	}
	group := os.Getgid()
	if os.Getuid() == 0 {
		group = 65534
		if err := os.Chown(filepath.Join(dir, "key.pem"), 0, group); err != nil {
			t.Fatal(err)
		}
	}
	key, chain = pair(t, 2)
	writeAll(t, dir, 10, key, chain)
	writeAll(t, dir, 10, key, chain) // again, as after a crash
	if n := serialOf(t, dir); n != 2 {
		t.Errorf("it is certificate %d", n)
	}
	for name, mode := range map[string]os.FileMode{"key.pem": 0o640, "cert.pem": 0o600, "fullchain.pem": 0o600, "chain.pem": 0o644} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != mode {
			t.Errorf("%s is %s, want %s", name, info.Mode(), mode)
		}
		if own := info.Sys().(*syscall.Stat_t); name == "key.pem" && int(own.Gid) != group {
			t.Errorf("the key is of group %d, want %d", own.Gid, group)
		}
	}
	for order := range int64(3) {
		key, chain = pair(t, 20+order)
		writeAll(t, dir, 20+order, key, chain)
	}
	kept, err := filepath.Glob(filepath.Join(dir, ".tally", "[0-9]*"))
	if err != nil || len(kept) != 2 {
		t.Errorf("%q are kept, %v; want the newest and the one before it", kept, err)
	}
}

// A new key is nobody else's.
func TestANewKeyIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	key, chain := pair(t, 1)
	writeAll(t, dir, 1, key, append(bytes.Clone(chain), chain...))
	info, err := os.Stat(filepath.Join(dir, "key.pem"))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("the key is %v, %v", info.Mode(), err)
	}
	above, err := os.ReadFile(filepath.Join(dir, "chain.pem"))
	if err != nil || !bytes.Equal(above, chain) {
		t.Errorf("chain.pem has %q, %v", above, err)
	}
}

// What stands in the way is left alone.
func TestWhatIsNoCertificateIsNotTakenOver(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "key.pem"), 0o700); err != nil {
		t.Fatal(err)
	}
	key, chain := pair(t, 1)
	if err := renewal.WriteFiles(dir, 1, key, chain, mine); err == nil || !strings.Contains(err.Error(), "key.pem is there") {
		t.Error(err)
	}
	outside := filepath.Join(t.TempDir(), "secret")
	dir = t.TempDir()
	if err := errors.Join(os.WriteFile(outside, key, 0o600), os.Symlink(outside, filepath.Join(dir, "key.pem"))); err != nil {
		t.Fatal(err)
	}
	if err := renewal.WriteFiles(dir, 1, key, chain, mine); err == nil {
		t.Error("a link that leads out of the directory was followed")
	}
	if text, err := os.ReadFile(outside); err != nil || !bytes.Equal(text, key) {
		t.Errorf("the file outside was changed: %v", err)
	}
}

// A full disk changes nothing, and leaves nothing half behind.
func TestAFullDisk(t *testing.T) {
	dir := t.TempDir()
	key, chain := pair(t, 1)
	writeAll(t, dir, 1, key, chain)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	small := limit
	small.Cur = 100 // bytes in a file
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small); err != nil {
		t.Fatal(err)
	}
	key, chain = pair(t, 2)
	err := renewal.WriteFiles(dir, 2, key, chain, mine)
	if e := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); e != nil {
		t.Fatal(e)
	}
	if err == nil {
		t.Fatal("it was written all the same")
	}
	if n := serialOf(t, dir); n != 1 {
		t.Errorf("it is certificate %d", n)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".tally", ".*.new")); err != nil || len(left) > 0 {
		t.Errorf("%q are left, %v", left, err)
	}
	writeAll(t, dir, 2, key, chain)
	if n := serialOf(t, dir); n != 2 {
		t.Errorf("it is certificate %d", n)
	}
}

// A process that has lost its order does not turn the files back.
func TestALostOrderTurnsNothing(t *testing.T) {
	dir := t.TempDir()
	key, chain := pair(t, 2)
	writeAll(t, dir, 2, key, chain)
	key, chain = pair(t, 1)
	lost := errors.New("lost")
	if err := renewal.WriteFiles(dir, 1, key, chain, func() error { return lost }); !errors.Is(err, lost) {
		t.Error(err)
	}
	if n := serialOf(t, dir); n != 2 {
		t.Errorf("it is certificate %d", n)
	}
}

// Whoever opens the directory once finds files of one order, at every instant.
func TestReadersFindFilesThatBelongTogether(t *testing.T) {
	dir := t.TempDir()
	pairs := make([][2][]byte, 20)
	for i := range pairs {
		pairs[i][0], pairs[i][1] = pair(t, int64(i+1))
	}
	writeAll(t, dir, 1, pairs[0][0], pairs[0][1])
	stop := make(chan struct{})
	var readers sync.WaitGroup
	reads := 0
	readers.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			version, err := os.OpenRoot(filepath.Join(dir, ".tally", "current"))
			if err != nil {
				t.Error(err)
				return
			}
			key, err := version.ReadFile("key.pem")
			if errors.Is(err, os.ErrNotExist) { // it was the one before the last meanwhile
				_ = version.Close()
				continue
			}
			chain, err2 := version.ReadFile("fullchain.pem")
			if _, err := tls.X509KeyPair(chain, key); err2 == nil && err != nil {
				t.Error(err)
			}
			reads++
			_ = version.Close()
		}
	})
	for i, p := range pairs {
		writeAll(t, dir, int64(i+1), p[0], p[1])
	}
	close(stop)
	if readers.Wait(); reads == 0 {
		t.Error("nobody has read anything")
	}
}

// A process that is killed while it writes leaves files that belong together, and
// the next one finishes its work.
func TestKilledWhileItWrites(t *testing.T) {
	dir := t.TempDir()
	key, chain := pair(t, 1)
	for name, text := range map[string][]byte{"key.pem": key, "cert.pem": chain, "fullchain.pem": chain} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 25 {
		cmd := exec.Command(os.Args[0], dir)
		cmd.Env = append(os.Environ(), "RENEWAL_TEST_CHILD=write")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 1)); err != nil { // it has begun
			t.Fatal(err)
		}
		time.Sleep(time.Duration(n) * 700 * time.Microsecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		serialOf(t, dir)
	}
	key, chain = pair(t, 1<<62)
	writeAll(t, dir, 1<<62, key, chain)
	if n := serialOf(t, dir); n != 1<<62 {
		t.Errorf("it is certificate %d", n)
	}
}

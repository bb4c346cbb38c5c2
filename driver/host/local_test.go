// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/host"
)

func TestLocalKeepsTheContract(t *testing.T) {
	t.Parallel()
	contract(t, host.Local())
}

// contract is what both hosts keep. The files of h are those of this machine.
func contract(t *testing.T, h driver.Host) {
	for name, test := range map[string]func(*testing.T, driver.Host){
		"write": writes, "modes": keepsModes, "owners": keepsOwners, "access list": keepsAccessList, "links": followsLinks, "like": writesLike, "no files": noFiles,
		"limits": limits, "remove": removes, "run": runs, "timeout": timesOut, "output": boundsOutput, "readers": readersSeeWholeFiles, "names": oddNames, "dial": dials,
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); test(t, h) })
	}
}

func put(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, h driver.Host, path, text string) {
	t.Helper()
	if err := h.WriteFile(t.Context(), path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != text {
		t.Errorf("%s holds %q (%v)", path, got, err)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q (%v)", left, err)
	}
}

func writes(t *testing.T, h driver.Host) {
	path := filepath.Join(t.TempDir(), "cert.pem")
	for _, text := range []string{"new", "newer", "", strings.Repeat("\x00\xff\n", 100_000)} {
		write(t, h, path, text)
		if got, err := h.ReadFile(t.Context(), path, 1<<20); err != nil || string(got) != text {
			t.Errorf("%d bytes are read as %d (%v)", len(text), len(got), err)
		}
	}
	info, err := h.Stat(t.Context(), path)
	if err != nil || info.Size != 300_000 || info.Mode != 0o640 || info.Owner == "" || info.Group == "" || time.Since(info.Modified) > time.Minute {
		t.Errorf("%+v, %v", info, err)
	}
	if info, err = h.Stat(t.Context(), filepath.Dir(path)); err != nil || !info.Mode.IsDir() {
		t.Errorf("%+v, %v", info, err)
	}
}

func keepsModes(t *testing.T, h driver.Host) {
	path := filepath.Join(t.TempDir(), "key.pem")
	for _, mode := range []fs.FileMode{0o600, 0o444, 0o666, 0o400} {
		put(t, path, "old", 0o600)
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		write(t, h, path, "new")
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("%v has become %v (%v)", mode, info.Mode(), err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// keepsOwners gives files to others, which root alone can.
func keepsOwners(t *testing.T, h driver.Host) {
	path := filepath.Join(t.TempDir(), "key.pem")
	put(t, path, "old", 0o640)
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = 4711, 4712
	}
	for _, what := range []string{path, filepath.Dir(path)} {
		if err := os.Chown(what, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	write(t, h, path, "new")
	added := filepath.Join(filepath.Dir(path), "added")
	write(t, h, added, "new")
	for _, what := range []string{path, added} {
		info, err := os.Stat(what)
		if err != nil {
			t.Fatal(err)
		}
		if stat := info.Sys().(*syscall.Stat_t); int(stat.Uid) != uid || int(stat.Gid) != gid || info.Mode() != 0o640 {
			t.Errorf("%s is of %d:%d, %v", what, stat.Uid, stat.Gid, info.Mode())
		}
	}
}

// keepsAccessList gives a file to a further user (acl(5)), as is done for keys.
func keepsAccessList(t *testing.T, h driver.Host) {
	path := filepath.Join(t.TempDir(), "key.pem")
	put(t, path, "old", 0o600)
	acl := "\x02\x00\x00\x00" + entry(1, 6, -1) + entry(2, 4, 65534) + entry(4, 0, -1) + entry(0x10, 4, -1) + entry(0x20, 0, -1)
	if err := unix.Setxattr(path, "system.posix_acl_access", []byte(acl), 0); err != nil {
		t.Fatalf("the file system of the tests has no access lists: %v", err)
	}
	write(t, h, path, "new")
	got := make([]byte, 1024)
	if n, err := unix.Getxattr(path, "system.posix_acl_access", got); err != nil || string(got[:n]) != acl {
		t.Errorf("the list has become %x (%v), want %x", got[:max(0, n)], err, acl)
	}
}

// writesLike makes a file that only those may read who may read another one.
func writesLike(t *testing.T, h driver.Host) {
	dir := t.TempDir()
	key, link, path := filepath.Join(dir, "key.pem"), filepath.Join(dir, "link.pem"), filepath.Join(t.TempDir(), "journal")
	put(t, key, "key", 0o640)
	acl := "\x02\x00\x00\x00" + entry(1, 6, -1) + entry(2, 4, 65534) + entry(4, 0, -1) + entry(0x10, 4, -1) + entry(0x20, 0, -1)
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = 4711, 4712
	}
	if err := errors.Join(os.Chown(key, uid, gid), unix.Setxattr(key, "system.posix_acl_access", []byte(acl), 0), os.Symlink("key.pem", link)); err != nil {
		t.Fatal(err)
	}
	for _, like := range []string{key, link} {
		for _, before := range []string{"", "there"} { // for what it replaces, too
			os.Remove(path)
			if before != "" {
				put(t, path, before, 0o666)
			}
			if err := h.WriteLike(t.Context(), path, []byte("secret"), like); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode() != 0o640 || info.Sys().(*syscall.Stat_t).Uid != uint32(uid) || info.Sys().(*syscall.Stat_t).Gid != uint32(gid) {
				t.Errorf("%+v, %v", info, err)
			}
			got := make([]byte, 1024)
			if n, err := unix.Getxattr(path, "system.posix_acl_access", got); err != nil || string(got[:n]) != acl {
				t.Errorf("its list is %x (%v)", got[:max(0, n)], err)
			}
			if text, err := os.ReadFile(path); err != nil || string(text) != "secret" {
				t.Errorf("it holds %q (%v)", text, err)
			}
		}
	}
	if err := h.WriteLike(t.Context(), path, []byte("other"), filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("like a file that is not there: %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "secret" {
		t.Errorf("it holds %q (%v)", text, err)
	}
}

// entry is one entry of an access list, as Linux keeps it.
func entry(tag, permission byte, id int32) string {
	return string([]byte{tag, 0, permission, 0, byte(id), byte(id >> 8), byte(id >> 16), byte(id >> 24)})
}

func followsLinks(t *testing.T, h driver.Host) {
	dir, real := t.TempDir(), t.TempDir()
	put(t, filepath.Join(real, "v1.pem"), "old", 0o600)
	for link, target := range map[string]string{
		"absolute": filepath.Join(real, "v1.pem"), "second": "absolute", "dir": real, "through": "dir/v1.pem", "dangling": "dir/v2.pem", "loop": "loop",
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, link := range []string{"absolute", "second", "through"} {
		write(t, h, filepath.Join(dir, link), link)
		if got, err := os.ReadFile(filepath.Join(real, "v1.pem")); err != nil || string(got) != link {
			t.Errorf("behind %s stands %q (%v)", link, got, err)
		}
	}
	write(t, h, filepath.Join(dir, "dangling"), "new")
	for _, link := range []string{"absolute", "second", "through", "dangling"} {
		if info, err := os.Lstat(filepath.Join(dir, link)); err != nil || info.Mode()&fs.ModeSymlink == 0 {
			t.Errorf("%s is no link any more (%v)", link, err)
		}
	}
	if err := h.WriteFile(t.Context(), filepath.Join(dir, "loop"), nil, 0o600); err == nil {
		t.Error("a link that leads to itself was written")
	}
	if err := h.Remove(t.Context(), filepath.Join(dir, "absolute")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(real, "v1.pem")); err != nil {
		t.Errorf("what a removed link leads to: %v", err)
	}
}

func noFiles(t *testing.T, h driver.Host) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing", "file")
	_, err := h.ReadFile(t.Context(), missing, 10)
	_, statErr := h.Stat(t.Context(), missing)
	for _, err := range []error{err, statErr, h.WriteFile(t.Context(), missing, nil, 0o600)} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("what is not there gives %v", err)
		}
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, dir, "relative", ""} {
		if _, err := h.ReadFile(t.Context(), path, 10); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("reading %q gives %v, want ErrInvalid", path, err)
		}
		if err := h.WriteFile(t.Context(), path, nil, 0o600); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("writing %q gives %v, want ErrInvalid", path, err)
		}
	}
	if err := h.Remove(t.Context(), dir); err == nil {
		t.Error("a directory was removed")
	}
}

func limits(t *testing.T, h driver.Host) {
	path := filepath.Join(t.TempDir(), "file")
	put(t, path, "0123456789", 0o600)
	if text, err := h.ReadFile(t.Context(), path, 10); err != nil || string(text) != "0123456789" {
		t.Errorf("%q, %v", text, err)
	}
	if text, err := h.ReadFile(t.Context(), path, 9); !errors.Is(err, tallystick.ErrInvalid) || text != nil {
		t.Errorf("%q, %v, want ErrInvalid", text, err)
	}
}

func removes(t *testing.T, h driver.Host) {
	path := filepath.Join(t.TempDir(), "file")
	put(t, path, "text", 0o600)
	for range 2 {
		if err := h.Remove(t.Context(), path); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("it is there: %v", err)
		}
	}
	if err := h.Remove(t.Context(), filepath.Join(path, "beneath", "nothing")); err != nil {
		t.Error(err)
	}
}

func runs(t *testing.T, h driver.Host) {
	dir := t.TempDir()
	for what, row := range map[string]struct {
		command driver.Command
		want    driver.Output
	}{
		"words":       {driver.Command{Args: []string{"printf", "%s|", "a b", "$HOME", "'", "\"", "*", "", "\n", "-x", "ü"}}, driver.Output{Stdout: []byte("a b|$HOME|'|\"|*||\n|-x|ü|")}},
		"status":      {driver.Command{Args: []string{"sh", "-c", "echo no >&2; exit 7"}}, driver.Output{Stderr: []byte("no\n"), Exit: 7}},
		"signal":      {driver.Command{Args: []string{"sh", "-c", "kill -9 $$"}}, driver.Output{Exit: -1}},
		"input":       {driver.Command{Args: []string{"cat"}, Stdin: []byte("a\x00b")}, driver.Output{Stdout: []byte("a\x00b")}},
		"no input":    {driver.Command{Args: []string{"cat"}}, driver.Output{}},
		"unread":      {driver.Command{Args: []string{"true"}, Stdin: make([]byte, 1<<20)}, driver.Output{}},
		"directory":   {driver.Command{Args: []string{"pwd"}, Dir: dir}, driver.Output{Stdout: []byte(dir + "\n")}},
		"root":        {driver.Command{Args: []string{"pwd"}}, driver.Output{Stdout: []byte("/\n")}},
		"environment": {driver.Command{Args: []string{"sh", "-c", `echo "$LANG $A$HOME"`}, Env: []string{"A=x 'y"}}, driver.Output{Stdout: []byte("C x 'y\n")}},
		"of root":     {driver.Command{Args: []string{"sshd", "-V"}, Env: []string{"A=b"}}, driver.Output{Exit: -2}},
	} {
		output, err := h.Run(t.Context(), row.command)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if row.want.Exit != -2 && (output.Exit != row.want.Exit || string(output.Stdout) != string(row.want.Stdout) || string(output.Stderr) != string(row.want.Stderr)) {
			t.Errorf("%s gives %d, %q, %q", what, output.Exit, output.Stdout, output.Stderr)
		}
	}
	for _, program := range []string{"no-such-program", "/no/such/program"} {
		if _, err := h.Run(t.Context(), driver.Command{Args: []string{program}}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s gives %v", program, err)
		}
	}
	for _, args := range [][]string{nil, {""}, {"./relative"}, {"echo", "a\x00b"}} {
		if _, err := h.Run(t.Context(), driver.Command{Args: args}); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%q gives %v, want ErrInvalid", args, err)
		}
	}
}

// timesOut looks that a slow command goes with what it started.
func timesOut(t *testing.T, h driver.Host) {
	mark := filepath.Join(t.TempDir(), "mark")
	began := time.Now()
	output, err := h.Run(t.Context(), driver.Command{
		Args: []string{"sh", "-c", `echo begun; (sleep 1.5; touch "$1") & sleep 30`, "sh", mark}, Timeout: 300 * time.Millisecond,
	})
	if !errors.Is(err, os.ErrDeadlineExceeded) || output.Exit != -1 || string(output.Stdout) != "begun\n" || time.Since(began) > 10*time.Second {
		t.Errorf("after %v: %d, %q, %v", time.Since(began), output.Exit, output.Stdout, err)
	}
	time.Sleep(2 * time.Second)
	if _, err := os.Stat(mark); err == nil {
		t.Error("what it started went on")
	}
}

func boundsOutput(t *testing.T, h driver.Host) {
	output, err := h.Run(t.Context(), driver.Command{Args: []string{"sh", "-c", "head -c 3000000 /dev/zero; head -c 2000000 /dev/zero >&2"}})
	if err != nil || output.Exit != 0 || len(output.Stdout) != 1<<20 || len(output.Stderr) != 1<<20 {
		t.Errorf("%d, %d and %d bytes, %v", output.Exit, len(output.Stdout), len(output.Stderr), err)
	}
}

func readersSeeWholeFiles(t *testing.T, h driver.Host) {
	path := filepath.Join(t.TempDir(), "file")
	a, b := strings.Repeat("a", 1<<18), strings.Repeat("b", 1<<18)
	put(t, path, a, 0o600)
	done := make(chan struct{})
	var writers sync.WaitGroup
	for _, text := range []string{a, b} {
		writers.Add(1)
		go func() {
			defer writers.Done()
			for range 5 {
				if err := h.WriteFile(t.Context(), path, []byte(text), 0o600); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	go func() { writers.Wait(); close(done) }()
	for {
		if got, err := os.ReadFile(path); err != nil || string(got) != a && string(got) != b {
			t.Fatalf("a reader saw %d bytes (%v)", len(got), err)
		}
		select {
		case <-done:
			return
		default:
		}
	}
}

func oddNames(t *testing.T, h driver.Host) {
	dir := t.TempDir()
	for _, name := range []string{"a b", "$HOME", "'quoted'", `"`, "-rf", "*", "line\nbreak", "ü", `back\slash`, ";true"} {
		path := filepath.Join(dir, name)
		write(t, h, path, name)
		write(t, h, path, name+" again")
		if got, err := h.ReadFile(t.Context(), path, 100); err != nil || string(got) != name+" again" {
			t.Errorf("%q holds %q (%v)", name, got, err)
		}
		if _, err := h.Stat(t.Context(), path); err != nil {
			t.Error(err)
		}
		if err := h.Remove(t.Context(), path); err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// What a killed writer left goes with the next write; what another one is writing stays.
func TestLeftoversGo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "key.pem")
	dead, alive := filepath.Join(dir, ".key.pem.tallystick-AAAAAAAAAAAA"), filepath.Join(dir, ".key.pem.tallystick-BBBBBBBBBBBB")
	put(t, dead, "half a k", 0o600)
	put(t, alive, "half a k", 0o600)
	file, err := os.Open(alive)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if err := host.Local().WriteFile(t.Context(), path, []byte("key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dead); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what a dead writer left: %v", err)
	}
	if _, err := os.Stat(alive); err != nil {
		t.Errorf("what another writes: %v", err)
	}
}

func TestLabelOfSELinuxStays(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Log("only root may set a label; keepsAccessList goes through the same code")
		return
	}
	path := filepath.Join(t.TempDir(), "key.pem")
	put(t, path, "old", 0o600)
	label := "system_u:object_r:cert_t:s0\x00"
	if err := unix.Setxattr(path, "security.selinux", []byte(label), 0); err != nil {
		t.Fatal(err)
	}
	write(t, host.Local(), path, "new")
	got := make([]byte, 100)
	if n, err := unix.Getxattr(path, "security.selinux", got); err != nil || string(got[:n]) != label {
		t.Errorf("the label is %q (%v)", got[:max(0, n)], err)
	}
}

// A disk that is full leaves the old file, and says so.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Log("only root can mount a small disk")
		return
	}
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, 0) })
	path := filepath.Join(dir, "key.pem")
	put(t, path, "old", 0o600)
	if err := host.Local().WriteFile(t.Context(), path, make([]byte, 1<<20), 0o600); !errors.Is(err, tallystick.ErrNoSpace) {
		t.Errorf("a full disk gives %v", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "old" {
		t.Errorf("it holds %q (%v)", got, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func dials(t *testing.T, h driver.Host) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	path := filepath.Join(t.TempDir(), "socket")
	socket, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	for _, l := range []net.Listener{listener, socket} {
		go func() {
			if conn, err := l.Accept(); err == nil {
				conn.Write([]byte("hello"))
				conn.Close()
			}
		}()
		conn, err := h.Dial(t.Context(), l.Addr().Network(), l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(conn); err != nil || string(text) != "hello" {
			t.Errorf("%q, %v", text, err)
		}
		conn.Close()
	}
}

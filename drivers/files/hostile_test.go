// SPDX-License-Identifier: Apache-2.0

package files

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
)

// asNobody names the variable that makes the test program look at a target and
// print what it missed, so that a test can do so as an account without rights.
const asNobody = "TALLYSTICK_TEST_TARGET"

func TestMain(m *testing.M) {
	target := os.Getenv(asNobody)
	if target == "" {
		os.Exit(m.Run())
	}
	opened, err := Driver().Open(nil)
	if err != nil {
		panic(err)
	}
	b := &book{}
	err = opened.(driver.Finder).Find(context.Background(), driver.FindRequest{Targets: []string{target}, Now: time.Now}, b)
	if err != nil {
		panic(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode([][]string{b.places(target), b.missed(target)}); err != nil {
		panic(err)
	}
}

func TestDenied(t *testing.T) {
	root := tree(t)
	key, certificate := selfSigned(t)
	write(t, root+"/open/cert.pem", certificate, 0o644)
	write(t, root+"/open/key.pem", key, 0o600)
	write(t, root+"/shut/key.pem", key, 0o644)
	write(t, root+"/open/photo.png", "", 0o600)
	symlink(t, root+"/shut/key.pem", root+"/open/link.pem")
	for _, name := range []string{"/shut", "/open/key.pem"} {
		if os.Getuid() != 0 { // the owner is let in by its bits; take them away
			if err := os.Chmod(root+name, 0); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.Chmod(root+name, 0o700) })
		} else if err := os.Chmod(root+name, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	got := lookAsNobody(t, root)
	want := [][]string{{"open/cert.pem"}, {"open/key.pem denied", "open/link.pem denied", "shut denied"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// lookAsNobody runs this program as the account nobody when it may, else as it is.
func lookAsNobody(t *testing.T, root string) [][]string {
	t.Helper()
	program := filepath.Join(tree(t), "look")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	write(t, program, read(t, self), 0o755)
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), asNobody+"="+root)
	cmd.Stderr = os.Stderr
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var got [][]string
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	return got
}

func symlink(t *testing.T, to, at string) {
	t.Helper()
	if err := os.Symlink(to, at); err != nil {
		t.Fatal(err)
	}
}

func TestLinks(t *testing.T) {
	root := tree(t)
	_, certificate := selfSigned(t)
	write(t, root+"/in/cert.pem", certificate, 0o644)
	write(t, root+"/out/cert.pem", certificate, 0o644)
	symlink(t, "cert.pem", root+"/in/one.pem")
	symlink(t, "one.pem", root+"/in/two.pem")
	symlink(t, "../out/cert.pem", root+"/in/three.pem")
	symlink(t, root+"/out/cert.pem", root+"/in/four.pem")
	symlink(t, "..", root+"/in/up")
	symlink(t, root+"/out", root+"/in/sideways")
	symlink(t, "nowhere", root+"/in/dangling.pem")
	symlink(t, "loop-b.pem", root+"/in/loop-a.pem")
	symlink(t, "loop-a.pem", root+"/in/loop-b.pem")
	symlink(t, "/proc/self/mem", root+"/in/memory.pem")
	symlink(t, "/dev/zero", root+"/in/zero.pem")

	b := find(t, nil, root+"/in")
	if d := cmp.Diff([]string{"in/cert.pem", "out/cert.pem"}, b.places(root)); d != "" || len(b.Sightings) != 2 {
		t.Fatalf("%d sightings\n%s", len(b.Sightings), d)
	}
	for _, name := range []string{"/in/cert.pem", "/out/cert.pem"} {
		if links := b.at(root + name)[0].File.Links; links != 2 {
			t.Errorf("%d links lead to %s, want 2", links, name)
		}
	}
	if d := cmp.Diff([]string{"in/loop-a.pem symlink-loop", "in/loop-b.pem symlink-loop"}, b.missed(root)); d != "" {
		t.Error(d)
	}
	symlink(t, root+"/in", root+"/door")
	if got := find(t, nil, root+"/door").places(root); len(got) != 2 {
		t.Errorf("a target that is a link is followed: %v", got)
	}
	if d := cmp.Diff([]string{"in/loop-a.pem symlink-loop"}, missedAt(t, root, "in/loop-a.pem")); d != "" {
		t.Error(d)
	}
}

func missedAt(t *testing.T, root, name string) []string {
	t.Helper()
	return find(t, nil, filepath.Join(root, name)).missed(root)
}

func TestWhatIsNoFile(t *testing.T) {
	root := tree(t)
	if err := unix.Mkfifo(root+"/fifo.pem", 0o644); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", root+"/socket.pem")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	symlink(t, "fifo.pem", root+"/link.pem")
	write(t, root+"/empty.pem", "", 0o644)
	b := find(t, nil, root) // a FIFO that is opened blocks here
	if len(b.Sightings)+len(b.missed(root)) != 0 {
		t.Errorf("%v %v", b.Sightings, b.missed(root))
	}
	if d := cmp.Diff([]string{"fifo.pem not-a-file"}, missedAt(t, root, "fifo.pem")); d != "" {
		t.Error(d)
	}
}

func TestHugeFiles(t *testing.T) {
	root := tree(t)
	_, certificate := selfSigned(t)
	for _, name := range []string{"disk.img", "big.pem", "store.jks", "bundle"} {
		write(t, filepath.Join(root, name), "", 0o644)
	}
	write(t, root+"/bundle", certificate, 0o644)
	write(t, root+"/store.jks", "\xfe\xed\xfe\xed\x00\x00\x00\x02", 0o644)
	for _, name := range []string{"disk.img", "big.pem", "store.jks", "bundle"} {
		if err := os.Truncate(filepath.Join(root, name), 10<<30); err != nil { // sparse
			t.Fatal(err)
		}
	}
	write(t, root+"/line.pem", strings.Repeat("A", 3<<20), 0o644)
	start := time.Now()
	b := find(t, nil, root)
	if d := cmp.Diff([]string{"big.pem too-large", "bundle too-large", "store.jks too-large"}, b.missed(root)); d != "" {
		t.Error(d)
	}
	if spent := time.Since(start); spent > 5*time.Second {
		t.Errorf("took %v", spent)
	}
}

func TestNamesThatAreNotUTF8(t *testing.T) {
	root := tree(t)
	_, certificate := selfSigned(t)
	name := root + "/caf\xe9 \n?#%41/\xff.pem"
	write(t, name, certificate, 0o644)
	b := find(t, nil, root)
	if len(b.Sightings) != 1 || b.Sightings[0].Place.Path() != name {
		t.Fatalf("%+v", b.Sightings)
	}
	if _, err := json.Marshal(b.Sightings); err != nil {
		t.Error(err)
	}
}

func TestPseudoFileSystems(t *testing.T) {
	for _, target := range []string{"/", "/proc"} {
		b := find(t, map[string]string{"exclude": "/[^p]*"}, target)
		named := 0
		for _, m := range b.Misses {
			if m.Place == "file:///proc" && m.Error == "pseudo-filesystem" && m.Detail == "proc" {
				named++
			}
		}
		if named != 1 {
			t.Errorf("looking at %s named /proc %d times: %v", target, named, b.Misses)
		}
		for _, s := range b.Sightings {
			if strings.HasPrefix(s.Place.Path(), "/proc/") {
				t.Errorf("%s was looked at", s.Place)
			}
		}
	}
}

func TestDeepAndWide(t *testing.T) {
	root := tree(t)
	_, certificate := selfSigned(t)
	deep := filepath.Join(root, strings.Repeat("d/", maxDepth-2))
	write(t, deep+"/cert.pem", certificate, 0o644)
	write(t, deep+"/x/y/cert.pem", certificate, 0o644)
	for i := range 3 * batchSize {
		write(t, filepath.Join(root, "wide", strconv.Itoa(i)), certificate, 0o644)
		write(t, filepath.Join(root, "dirs", strconv.Itoa(i), "cert.pem"), certificate, 0o644)
	}
	b := find(t, nil, root)
	if got, want := len(b.Sightings), 6*batchSize+1; got != want {
		t.Errorf("%d sightings, want %d", got, want)
	}
	if missed := b.missed(root); len(missed) != 1 || !strings.HasSuffix(missed[0], "d/x/y too-deep") {
		t.Errorf("%v", missed)
	}
}

// A file that is written to all the time is seen as one of its states, or
// missed, but never as a mixture.
func TestFileThatChanges(t *testing.T) {
	root := tree(t)
	_, first := selfSigned(t)
	_, second := selfSigned(t)
	path := root + "/cert.pem"
	write(t, path, first, 0o644)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				os.WriteFile(path, []byte([]string{first, second}[i%2]), 0o644)
			}
		}
	}()
	known := map[string]bool{}
	for _, text := range []string{first, second} {
		other := filepath.Join(t.TempDir(), "cert.pem")
		write(t, other, text, 0o644)
		known[string(find(t, nil, other).Sightings[0].Credential.ID)] = true
	}
	for range 200 {
		b := find(t, nil, root)
		for _, s := range b.Sightings {
			if !known[string(s.Credential.ID)] {
				t.Errorf("saw a certificate that was never there: %s", s.Credential.ID)
			}
		}
	}
	close(stop)
	<-done
}

func TestMalformed(t *testing.T) {
	root := tree(t)
	_, certificate := selfSigned(t)
	lines := strings.Split(certificate, "\n")
	write(t, root+"/cut.pem", lines[0]+"\n"+lines[1]+"\n-----END CERTIFICATE-----\n", 0o644)
	write(t, root+"/broken.pem", lines[0]+"\nAAAA\n-----END CERTIFICATE-----\n", 0o644)
	write(t, root+"/some.pem", strings.Repeat("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 1000)+certificate, 0o644)
	b := find(t, nil, root)
	if d := cmp.Diff([]string{"some.pem"}, b.places(root)); d != "" {
		t.Fatal(d)
	}
	count := map[string]int{}
	for _, m := range b.Misses {
		count[filepath.Base(m.Place.Path())]++
		if m.Error == "" || m.Detail == "" || strings.Contains(m.Error, " ") {
			t.Errorf("%+v", m)
		}
	}
	if count["cut.pem"] == 0 || count["broken.pem"] == 0 || count["some.pem"] < 2 || count["some.pem"] > maxProblems+1 {
		t.Errorf("misses by file: %v", count)
	}
}

func TestStopsWhenTold(t *testing.T) {
	root := tree(t)
	_, certificate := selfSigned(t)
	for i := range 2000 {
		write(t, fmt.Sprintf("%s/%d/%d.pem", root, i%20, i), certificate, 0o644)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b := &book{drivertest.Recorder{Answer: func() error { cancel(); return nil }}}
	request := driver.FindRequest{Targets: []string{root}, Now: time.Now}
	if err := finderWith(t, nil).Find(ctx, request, b); !errors.Is(err, context.Canceled) || len(b.Sightings) > 10 {
		t.Errorf("%v after %d sightings", err, len(b.Sightings))
	}
	full := &os.PathError{Op: "write", Path: "/db", Err: unix.ENOENT} // looks like a file that has gone, but is the sink's
	b = &book{drivertest.Recorder{Answer: func() error { return full }}}
	if err := finderWith(t, nil).Find(context.Background(), request, b); !errors.Is(err, full) || len(b.Sightings) > 600 {
		t.Errorf("%v after %d sightings", err, len(b.Sightings))
	}
	for _, target := range []string{"", "a\x00b"} {
		request.Targets = []string{target}
		if err := finderWith(t, nil).Find(context.Background(), request, &book{}); err == nil {
			t.Errorf("target %q is taken", target)
		}
	}
}

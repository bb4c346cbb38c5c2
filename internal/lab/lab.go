// SPDX-License-Identifier: Apache-2.0

// Package lab starts other people's servers for tests and benchmarks, signs in to them
// by other people's libraries, and plays the CAs that certify both.
//
// Every server listens on loopback alone, on ports that were free, keeps its
// files in a directory of its own, and is ended by its process id when the test
// that started it ends. A program that is missing fails the test and says how it
// is brought: a test that is skipped tests nothing.
package lab

import (
	"bytes"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// TB is what the lab needs of a test or benchmark: a testing.TB is one. A program that is
// no test can start the same servers with one of its own, as long as Fatal and Fatalf do
// not return, and what was given to Cleanup is called at the end, the last first.
type TB interface {
	Helper()
	Logf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Failed() bool
	Cleanup(func())
	TempDir() string
}

// Program returns the path of a program: one that scripts/test-servers built, or
// one of the machine, also where only root looks.
func Program(t TB, name string) string {
	t.Helper()
	var places []string
	if cache, err := os.UserCacheDir(); err == nil {
		places = append(places, filepath.Join(cache, "tallystick-test", "bin"))
	}
	places = append(places, filepath.SplitList(os.Getenv("PATH"))...)
	for _, dir := range append(places, "/usr/sbin", "/usr/local/sbin") {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path
		}
	}
	t.Fatalf("this test needs the program %s: run scripts/test-tools and scripts/test-servers", name)
	return ""
}

// FreePort returns a port of 127.0.0.1 that nobody listens on now, neither by TCP
// nor by UDP. It is below those that the kernel gives to outgoing connections
// (net.ipv4.ip_local_port_range), so that none of them takes it before the server does,
// also one that is started again. Until the test ends it is given to nobody else, also
// not by another process: who has it holds the same port of another loopback address.
func FreePort(t TB) int {
	t.Helper()
	for range 100 {
		port := 20_000 + rand.IntN(12_000)
		held, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 255, 255, 254), Port: port})
		if err != nil {
			continue
		}
		if isFree(port) {
			t.Cleanup(func() { held.Close() })
			return port
		}
		held.Close()
	}
	t.Fatal("couldn't find a free port")
	return 0
}

// noFork lets no process be started until it is undone: it would have each socket of this one until
// its program runs.
func noFork() (undo func()) {
	syscall.ForkLock.RLock()
	return syscall.ForkLock.RUnlock
}

func isFree(port int) bool {
	defer noFork()()
	tcp, err := net.Listen("tcp", Loopback(port))
	if err != nil {
		return false
	}
	defer tcp.Close()
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		return false
	}
	defer udp.Close()
	return true
}

// Loopback returns 127.0.0.1 with a port.
func Loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// A Process is a server that runs.
type Process struct {
	PID int
	log *record
}

// Log returns what it has printed so far.
func (p *Process) Log() string { return p.log.String() }

// A record keeps what a process prints.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// Start runs a server in dir, with env beside a bare environment, until the test
// ends, and returns when every one of the addresses takes connections.
func Start(t TB, dir string, env, command []string, addresses ...string) *Process {
	t.Helper()
	p := &Process{log: &record{}}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, p.log, p.log
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}, env...)
	// The server goes when the test is killed, too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("couldn't start %s: %v", command[0], err)
	}
	p.PID = cmd.Process.Pid
	ended := make(chan struct{})
	go func() {
		cmd.Wait() // what it says is of no interest: it is told to end
		close(ended)
	}()
	t.Cleanup(func() {
		stop(cmd, ended)
		if t.Failed() {
			t.Logf("%s printed:\n%s", filepath.Base(command[0]), last(p.Log(), 8000))
		}
	})
	for _, address := range addresses {
		waitFor(t, p, ended, address)
	}
	return p
}

func stop(cmd *exec.Cmd, ended <-chan struct{}) {
	cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		cmd.Process.Kill()
		<-ended
	}
}

// waitFor waits until a server takes connections at address, for two minutes
// at most: two cores may be busy with other tests.
func waitFor(t TB, p *Process, ended <-chan struct{}, address string) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-ended:
			t.Fatalf("the server for %s ended:\n%s", address, last(p.Log(), 8000))
		case <-time.After(20 * time.Millisecond):
		}
	}
	t.Fatalf("nothing listens at %s:\n%s", address, last(p.Log(), 8000))
}

func last(text string, most int) string {
	return strings.TrimSpace(text[max(0, len(text)-most):])
}

// Run runs a program to its end, and returns what it prints.
func Run(t TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(Program(t, name), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Keytool runs Java's keytool, in half of the time that it takes when it readies itself for
// long work.
func Keytool(t TB, args ...string) string {
	t.Helper()
	return Run(t, "keytool", append([]string{"-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC"}, args...)...)
}

// write puts a file into dir.
func write(t TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	Write(t, path, text)
	return path
}

// Write writes a file, for its owner alone.
func Write(t TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Read reads a file.
func Read(t TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

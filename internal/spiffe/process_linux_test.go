// SPDX-License-Identifier: Apache-2.0

package spiffe

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A process that has gone is nobody, whoever has its number by now.
func TestProcessThatHasGone(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	leave := exec.CommandContext(t.Context(), self, socket)
	leave.Env = append(os.Environ(), "TALLY_TEST_WORKLOAD=leave")
	if err := leave.Run(); err != nil {
		t.Fatal(err)
	}
	conn, err := listener.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if c, err := identify(conn); err == nil {
		t.Errorf("%s is somebody", c)
	}
}

// What was learnt of a process ends with it.
func TestProcessThatGoes(t *testing.T) {
	sleep := exec.CommandContext(t.Context(), "sleep", "60")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := openDirectory(int32(sleep.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	file, path, _, err := p.program()
	if err != nil {
		t.Fatal(err)
	}
	_ = file.Close()
	if filepath.Base(path) != "sleep" && filepath.Base(path) != "coreutils" {
		t.Error(path)
	}
	_ = sleep.Process.Kill()
	_ = sleep.Wait() // it was killed
	if _, path, _, err := p.program(); err == nil {
		t.Errorf("a process that has ended runs %s", path)
	}
}

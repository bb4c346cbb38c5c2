// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/tallystick/tallystick/internal/lab"
)

func TestPebbleStandsAndGoes(t *testing.T) {
	var pid int
	t.Run("stands", func(t *testing.T) {
		p := lab.StartPebble(t, lab.PebbleSettings{})
		pid = p.PID
		block, _ := pem.Decode([]byte(p.Root(t, 0)))
		if block == nil {
			t.Fatal("pebble shows no root")
		}
		if root, err := x509.ParseCertificate(block.Bytes); err != nil || !root.IsCA {
			t.Errorf("the root: %v", err)
		}
	})
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d is there after its test: %v", pid, err)
	}
}

func TestStepCAListensOnLoopbackAlone(t *testing.T) {
	ca := lab.StartStepCA(t, lab.StepCASettings{Password: "correct horse"})
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(ca.URL, "https://"))
	output, err := exec.Command("ss", "-Hltn", "sport", "=", ":"+port).Output()
	if err != nil {
		t.Fatal(err)
	}
	if fields := strings.Fields(string(output)); len(fields) < 4 || fields[3] != "127.0.0.1:"+port || strings.Count(string(output), "\n") != 1 {
		t.Errorf("step-ca listens at %s", output)
	}
}

func TestNamedTakesUpdatesWithItsKeyOnly(t *testing.T) {
	s := lab.StartNamed(t, "lab.test")
	host, port, _ := net.SplitHostPort(s.Address)
	update := "server " + host + " " + port + "\nzone lab.test\nupdate add _acme-challenge.www.lab.test 1 TXT proof\nsend\n"
	if output, err := nsupdate(update); err == nil {
		t.Errorf("an update without a key was taken: %s", output)
	}
	if output, err := nsupdate(update, "-y", "hmac-sha256:"+s.KeyName+":"+s.Key); err != nil {
		t.Errorf("the update was refused: %s", output)
	}
}

func nsupdate(text string, options ...string) ([]byte, error) {
	command := exec.Command("nsupdate", append(options, "-t", "5")...)
	command.Stdin = strings.NewReader(text)
	return command.CombinedOutput()
}

func TestMissingProgramSaysWhatToDo(t *testing.T) {
	fake := &failing{TB: t}
	func() {
		defer func() { _ = recover() }()
		lab.Program(fake, "no-such-program")
	}()
	if !strings.Contains(fake.text, "scripts/test-servers") {
		t.Errorf("it says %q", fake.text)
	}
}

// A failing is a test whose failure ends in a panic that can be caught.
type failing struct {
	testing.TB
	text string
}

func (f *failing) Fatalf(format string, args ...any) {
	f.text = format
	panic("ended")
}

// SPDX-License-Identifier: Apache-2.0

package dovecot_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/internal/lab"
)

// signIn makes a connection, signs in as carol by her certificate, and signs out.
func (s *server) signIn(config *tls.Config) error {
	conn, err := tls.Dial("tcp", s.IMAPS, config)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	in := bufio.NewReader(conn)
	for _, step := range []struct{ say, want string }{
		{"", "* OK"}, {"a AUTHENTICATE EXTERNAL =\r\n", "a OK"}, {"b LOGOUT\r\n", "b OK"},
	} {
		if _, err := conn.Write([]byte(step.say)); err != nil {
			return err
		}
		for line := ""; !strings.HasPrefix(line, step.want); {
			if line, err = in.ReadString('\n'); err != nil {
				return fmt.Errorf("after %q: %w", step.say, err)
			}
		}
	}
	return nil
}

// Under a steady load of sign-ins changes of the certificate lose none: without a hold
// some are lost here.
func TestInstallUnderLoad(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Fatal("this test holds connections back with nft, which root alone may: run it as root")
	}
	s := start(t, lab.DovecotSettings{})
	// It trusts whatever the server shows, which changes.
	config := &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{{Certificate: s.carol.Chain, PrivateKey: s.carol.Key}}}
	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	var tried, lost atomic.Int64
	for range 4 {
		load.Go(func() {
			for ctx.Err() == nil {
				tried.Add(1)
				if err := s.signIn(config); err != nil {
					lost.Add(1)
					t.Log(err)
				}
			}
		})
	}
	for range 5 {
		time.Sleep(200 * time.Millisecond)
		if _, err := s.install(t, host.Local(), map[string]string{}); err != nil {
			t.Error(err)
		}
	}
	cancel()
	load.Wait()
	if lost.Load() > 0 || tried.Load() < 50 {
		t.Errorf("over 5 changes %d of %d sign-ins were lost, want none of at least 50", lost.Load(), tried.Load())
	}
}

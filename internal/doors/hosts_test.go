// SPDX-License-Identifier: Apache-2.0

package doors_test

import (
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/drivers/pemfile"
	"github.com/tallystick/tallystick/internal/config"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/lab"
)

// A door on a host is reached over SSH by the key of its configuration, and the host
// must show the key that stands there.
func TestADoorOnAHost(t *testing.T) {
	key := lab.SSHKey(t)
	public, err := ssh.ParsePublicKey(key.SSH)
	if err != nil {
		t.Fatal(err)
	}
	server := lab.StartSshd(t, lab.SshdSettings{Authorized: []string{strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))}})
	block, err := ssh.MarshalPrivateKey(key.Key, "")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	keyFile := filepath.Join(dir, "id")
	client := lab.NewPKI(t).Client(t, "journal")
	chain, private := lab.MaterialPEM(t, client)
	for path, text := range map[string][]byte{keyFile: pem.EncodeToMemory(block), filepath.Join(dir, "tls.pem"): []byte(chain + private)} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	look := func(hostKey []byte) (driver.View, error) {
		t.Helper()
		known, err := ssh.ParsePublicKey(hostKey)
		if err != nil {
			t.Fatal(err)
		}
		set, err := doors.Open(doors.Config{
			Doors: []config.Door{{Name: "journal", Driver: "pemfile", Host: "h", Options: map[string]driver.Secret{
				"bundle": driver.NewSecret(filepath.Join(dir, "tls.pem")), "role": driver.NewSecret("client")}}},
			Hosts: []config.Host{{Name: "h", Address: server.Address, User: server.Account, KeyFile: keyFile,
				HostKeys: []string{strings.TrimSpace(string(ssh.MarshalAuthorizedKey(known)))}, Timeout: 10 * time.Second}},
			Drivers: []driver.Driver{pemfile.Driver()}, Now: time.Now,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := set.Close(); err != nil {
				t.Error(err)
			}
		}()
		return set.Look(t.Context(), "journal")
	}
	view, err := look(server.Host.SSH)
	if err != nil || len(view.Shown) != 1 || !view.Shown[0].Is(client.Public) || !view.Shown[0].Key {
		t.Errorf("%+v, %v", view, err)
	}
	if _, err := look(key.SSH); err == nil {
		t.Error("a host with another key is believed")
	}
	if err := os.Chmod(keyFile, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := look(server.Host.SSH); !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(err.Error(), "only its owner can read") {
		t.Errorf("a key that others can read: %v", err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package sshd

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/internal/lab"
)

func TestDriver(t *testing.T) {
	t.Parallel()
	drivertest.Run(t, drivertest.Suite{Driver: Driver()})
}

func opened(t *testing.T, d *lab.Sshd) *Door {
	t.Helper()
	return drivertest.Open[*Door](t, Driver(), map[string]string{
		"program": lab.Program(t, "sshd"), "config": d.Config, "accounts": d.Account, "log": d.Log, "patience": "5s",
	})
}

func reads(c driver.Command) bool {
	return slices.Contains([]string{"ss", "grep", "id"}, c.Args[0]) || slices.Contains([]string{"-T", "-t", "-Q"}, c.Args[1])
}

// signIn signs in as a client that trusts the CA of the host certificate, or the host key.
// While sshd starts itself anew nobody listens for a moment.
func signIn(d *lab.Sshd, m driver.Material) error {
	public, err := ssh.ParsePublicKey(m.SSH)
	if err != nil {
		return err
	}
	signer, err := ssh.NewSignerFromSigner(m.Key)
	if err != nil {
		return err
	}
	if c, ok := public.(*ssh.Certificate); ok {
		if signer, err = ssh.NewCertSigner(c, signer); err != nil {
			return err
		}
	}
	checker := ssh.CertChecker{IsHostAuthority: func(key ssh.PublicKey, _ string) bool { return bytes.Equal(key.Marshal(), d.CA.PublicKey().Marshal()) }}
	config := &ssh.ClientConfig{User: d.Account, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, Timeout: 5 * time.Second}
	config.HostKeyCallback = func(_ string, remote net.Addr, key ssh.PublicKey) error {
		if d.HostCertificate == "" {
			return nil
		}
		return checker.CheckHostKey("localhost:22", remote, key)
	}
	for range 40 {
		var client *ssh.Client
		if client, err = ssh.Dial("tcp", d.Address, config); err == nil {
			return client.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("couldn't sign in: %w", err)
}

func TestDoor(t *testing.T) {
	t.Parallel()
	drivertest.Doors(t, drivertest.DoorSuite{Start: startDoor, Reads: reads})
}

func startDoor(t *testing.T) drivertest.Door {
	alice, bob, carol := lab.SSHKey(t), lab.SSHKey(t), lab.SSHKey(t)
	d := lab.StartSshd(t, lab.SshdSettings{HostCertificate: true, Spare: true, Authorized: []string{
		"# people", `from="127.0.0.1",no-pty ` + lab.AuthorizedLine(t, alice.Public), lab.AuthorizedLine(t, bob.Public)}})
	return drivertest.Door{
		Opened: opened(t, d), Host: host.Local(), Shown: d.Host, Next: d.Certify(t, lab.SSHKey(t), ssh.HostCert, "localhost"),
		Client: alice, NextClient: carol, Good: func() error { return signIn(d, bob) },
		Listeners: []driver.Listener{{Address: d.Address, Protocol: "ssh", Details: map[string]string{"user": d.Account}}},
	}
}

// SPDX-License-Identifier: Apache-2.0

package doors

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/internal/config"
	"github.com/tallystick/tallystick/internal/problem"
)

// maxKeyFile bounds the file of a private key, in bytes.
const maxKeyFile = 64 << 10

// hosts are the machines that doors are on. Each is connected to when it is first needed.
type hosts struct {
	configured []config.Host

	mu     sync.Mutex
	opened map[string]*host.SSH // guarded by mu
}

func newHosts(list []config.Host) (*hosts, error) {
	for i, h := range list {
		if slices.ContainsFunc(list[:i], func(o config.Host) bool { return o.Name == h.Name }) {
			return nil, fmt.Errorf("%w: two hosts are named %q", tallystick.ErrInvalid, h.Name)
		}
	}
	return &hosts{configured: list, opened: map[string]*host.SSH{}}, nil
}

func (h *hosts) has(name string) bool {
	return name == "" || slices.ContainsFunc(h.configured, func(one config.Host) bool { return one.Name == name })
}

// get returns a host; "" is this machine.
func (h *hosts) get(_ context.Context, name string) (driver.Host, error) {
	if name == "" {
		return host.Local(), nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if one := h.opened[name]; one != nil {
		return one, nil
	}
	i := slices.IndexFunc(h.configured, func(one config.Host) bool { return one.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("%w: there is no host %q", tallystick.ErrInvalid, name)
	}
	one, err := openSSH(h.configured[i])
	if err != nil {
		return nil, fmt.Errorf("couldn't use the host %s: %w", name, err)
	}
	h.opened[name] = one
	return one, nil
}

// openSSH reads the key to sign in with, each time anew until it can be used.
func openSSH(c config.Host) (*host.SSH, error) {
	text, err := readKeyFile(c.KeyFile)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	key, err := ssh.ParsePrivateKey(text)
	if err != nil { // what the error says is not of the key
		return nil, problem.With(fmt.Errorf("%w: %s holds no private key that can be used: %w", tallystick.ErrInvalid, c.KeyFile, err),
			"make one without a passphrase: ssh-keygen -t ed25519 -N ''")
	}
	var known []ssh.PublicKey
	for _, line := range c.HostKeys {
		one, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			return nil, fmt.Errorf("%w: a host key cannot be read: %w", tallystick.ErrInvalid, err)
		}
		known = append(known, one)
	}
	return host.NewSSH(host.SSHConfig{Name: c.Name, Address: c.Address, User: c.User, Key: key, HostKeys: known, Timeout: c.Timeout})
}

// readKeyFile reads a file that nobody but its owner can.
func readKeyFile(path string) (text []byte, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 || info.Size() > maxKeyFile {
		return nil, problem.With(fmt.Errorf("%w: %s is not a file that only its owner can read", tallystick.ErrInvalid, path), "run chmod 600 "+path)
	}
	return io.ReadAll(io.LimitReader(file, maxKeyFile))
}

// close ends the connections.
func (h *hosts) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs error
	for _, one := range h.opened {
		errs = errors.Join(errs, one.Close())
	}
	h.opened = map[string]*host.SSH{}
	return errs
}

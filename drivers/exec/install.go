// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// undoing is the time that putting back has, also when the caller's has run out.
const undoing = 2 * time.Minute

// Install asks the program what it would replace, has that kept, and asks it to install.
// Where listeners of the options do not show the new one then, the old one is installed again.
func (d *Door) Install(ctx context.Context, r driver.InstallRequest) (driver.Installed, error) {
	if err := d.does("install"); err != nil {
		return driver.Installed{}, err
	}
	if err := installing.Check(r.New, r.Now()); err != nil {
		return driver.Installed{}, err
	}
	old, err := d.read(ctx, r)
	if err != nil {
		return driver.Installed{}, err
	}
	if err := installing.Replaceable(r, old); err != nil {
		return driver.Installed{}, err
	}
	changed, err := d.install(ctx, r, r.New)
	var seen []driver.Shown
	if err == nil && len(d.listeners) > 0 {
		seen, err = installing.ServedEverywhere(ctx, r.Host, d.listeners, r.New.Public, d.patience, r.Now)
	}
	if err != nil {
		return driver.Installed{}, errors.Join(err, d.back(ctx, r, old))
	}
	return driver.Installed{Changed: changed, Shown: seen}, nil
}

// back installs the old one again, where its key is at hand and the program may have got
// as far as replacing it.
func (d *Door) back(ctx context.Context, r driver.InstallRequest, old driver.Material) error {
	if old.Key == nil || old.Is(r.New.Public) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoing)
	defer cancel()
	if _, err := d.install(ctx, r, old); err != nil {
		return fmt.Errorf("%w: couldn't install the old one again: %w", tallystick.ErrDamaged, err)
	}
	return nil
}

// read asks for what the door holds.
func (d *Door) read(ctx context.Context, r driver.InstallRequest) (driver.Material, error) {
	a, err := d.ask(ctx, r.Host, request{Verb: "read"}, r.Now)
	if err != nil || a.Held == nil {
		return driver.Material{}, err
	}
	return a.Held.material()
}

func (h *held) material() (driver.Material, error) {
	credential, err := h.public.read()
	m := driver.Material{Public: credential}
	if err != nil || h.Key == "" {
		return m, err
	}
	m.Key, err = installing.ReadKey([]byte(h.Key))
	return m, err
}

func (d *Door) install(ctx context.Context, r driver.InstallRequest, m driver.Material) (driver.Changed, error) {
	key, err := keyPEM(m)
	if err != nil {
		return driver.Changed{}, err
	}
	a, err := d.ask(ctx, r.Host, request{Verb: "install", New: written(m.Public), Key: key}, r.Now)
	return a.changed(), err
}

// keyPEM writes a key: in the form of OpenSSH for SSH keys, else PKCS #8.
func keyPEM(m driver.Material) (string, error) {
	if len(m.SSH) > 0 {
		block, err := ssh.MarshalPrivateKey(m.Key, "")
		if err != nil {
			return "", invalid("a private key that cannot be taken out of where it is cannot be given to a program")
		}
		return string(pem.EncodeToMemory(block)), nil
	}
	text, err := installing.PEM(m, installing.Key)
	return string(text), err
}

func (a answer) changed() driver.Changed {
	return driver.Changed{Changed: a.Changed, How: cleaned(a.How), Detail: clean(a.Detail)}
}

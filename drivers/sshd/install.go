// SPDX-License-Identifier: Apache-2.0

package sshd

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/driver/processes"
)

// A slot is a host key with the files that go with it.
type slot struct {
	path        string
	public      string        // "" where there is none
	certificate string        // "" where there is none
	certified   driver.Public // what stands there
	old         driver.Material
}

// begun says whether a call that was killed has written the new certificate over the old
// one already, and so has had that kept.
func (p slot) begun(certificate *ssh.Certificate) bool {
	_, old, err := plain(p.old.Public)
	return err == nil && old == nil && certificate != nil && p.certified.Is(driver.Public{SSH: certificate.Marshal()})
}

// Install replaces a host key, and the host certificate where it has one, and makes sshd
// read them with SIGHUP. Clients that have the old host key in known_hosts refuse the new
// one: those that trust the CA of host certificates notice nothing.
func (d *Door) Install(ctx context.Context, r driver.InstallRequest) (driver.Installed, error) {
	if err := installing.Check(r.New, r.Now()); err != nil {
		return driver.Installed{}, err
	}
	key, certificate, err := plain(r.New.Public)
	if err != nil {
		return driver.Installed{}, err
	}
	s, err := d.load(ctx, r.Host)
	if err != nil {
		return driver.Installed{}, err
	}
	change := installing.Change{Host: r.Host, Files: s.hostFiles(), Journal: s.journal("host-keys"), Patience: d.options.Patience}
	before, unfinished, err := change.Before(ctx)
	if err != nil {
		return driver.Installed{}, err
	}
	place, err := d.slot(ctx, before, s, key)
	if err != nil {
		return driver.Installed{}, err
	}
	if err := place.takes(certificate); err != nil {
		return driver.Installed{}, err
	}
	if change.Files, err = place.files(r.New, key, certificate); err != nil {
		return driver.Installed{}, err
	}
	there := place.old.Is(r.New.Public) && !unfinished
	if there {
		if shown, err := installing.ServedEverywhere(ctx, r.Host, s.listeners(), r.New.Public, 0, r.Now); err == nil {
			return driver.Installed{Shown: shown}, nil
		}
	} else if r.Keep != nil && !place.begun(certificate) {
		if err := r.Keep(place.old); err != nil {
			return driver.Installed{}, fmt.Errorf("couldn't keep what would be replaced: %w", err)
		}
	}
	return d.replace(ctx, r, s, place, change)
}

// hostFiles are all files of host keys: which of them Install replaces can be told from what is
// in them alone.
func (s *site) hostFiles() []installing.File {
	var files []installing.File
	for _, path := range s.hostKeys {
		files = append(files, installing.File{Path: path}, installing.File{Path: path + ".pub"})
	}
	for _, path := range s.hostCertificates {
		files = append(files, installing.File{Path: path})
	}
	return files
}

// replace puts the files into place and has them read.
func (d *Door) replace(ctx context.Context, r driver.InstallRequest, s *site, place slot, change installing.Change) (driver.Installed, error) {
	var shown []driver.Shown
	signalled := false
	change.Check = func(ctx context.Context) error {
		output, err := r.Host.Run(ctx, driver.Command{Args: []string{d.options.Program, "-t", "-f", d.options.Config}})
		if err == nil && output.Exit != 0 {
			err = invalid("sshd -t refuses it: %s", installing.Said(output))
		}
		return err
	}
	change.Reload = func(ctx context.Context) error {
		if _, err := installing.ServedEverywhere(ctx, r.Host, s.listeners(), r.New.Public, 0, r.Now); err == nil {
			return nil // sshd before 9.8 reads its keys for each connection, and would stop listening for nothing
		}
		signalled = true
		master, err := processes.Master(ctx, r.Host, s.pidFile)
		if err != nil {
			return err
		}
		return processes.Signal(ctx, r.Host, "HUP", master)
	}
	change.Arrived = func(ctx context.Context) (err error) {
		shown, err = installing.ServedEverywhere(ctx, r.Host, s.listeners(), r.New.Public, d.options.Patience, r.Now)
		return err
	}
	change.Returned = func(ctx context.Context) error {
		_, err := installing.ServedEverywhere(ctx, r.Host, s.listeners(), place.old.Public, d.options.Patience, r.Now)
		return err
	}
	how, err := change.Do(ctx)
	if err != nil {
		return driver.Installed{}, err
	}
	if !signalled {
		how = slices.DeleteFunc(how, func(way string) bool { return way == "reload" })
	}
	return driver.Installed{Changed: driver.Changed{Changed: true, How: how, Detail: "sshd has read " + installing.Paths(change.Files)}, Shown: shown}, nil
}

// slot finds the host key that a new one takes the place of.
func (d *Door) slot(ctx context.Context, h driver.Host, s *site, key ssh.PublicKey) (slot, error) {
	var fit []slot
	for _, path := range s.hostKeys {
		old, err := readHostKey(ctx, h, path)
		if err != nil {
			return slot{}, fmt.Errorf("couldn't read the host key %s: %w", path, err)
		}
		public, err := ssh.ParsePublicKey(old.SSH)
		if err != nil {
			return slot{}, err
		}
		if d.options.HostKey == path || d.options.HostKey == "" && public.Type() == key.Type() {
			fit = append(fit, slot{path: path, old: old})
		}
	}
	if len(fit) != 1 {
		return slot{}, invalid("of the host keys of sshd, %d are of the type %s: name the one to be replaced in option host-key", len(fit), key.Type())
	}
	place := fit[0]
	if _, err := h.Stat(ctx, place.path+".pub"); err == nil {
		place.public = place.path + ".pub"
	} else if !errors.Is(err, fs.ErrNotExist) {
		return slot{}, err
	}
	return place, place.certify(ctx, h, s, key)
}

// certify finds the certificate of the host key, and the file for the new one: a spare
// one where the configuration names one, so that the new certificate is there before the
// new key is, and the old one until then.
func (p *slot) certify(ctx context.Context, h driver.Host, s *site, key ssh.PublicKey) error {
	own := p.old.SSH
	for _, path := range s.hostCertificates {
		public, err := readPublic(ctx, h, path)
		if errors.Is(err, fs.ErrNotExist) {
			p.certificate, p.certified = path, driver.Public{}
			continue
		}
		if err != nil {
			return fmt.Errorf("couldn't read the host certificate %s: %w", path, err)
		}
		certified, certificate, err := plain(public)
		if err != nil || certificate == nil {
			return invalid("%s holds no certificate", path)
		}
		switch {
		case bytes.Equal(certified.Marshal(), own):
			p.old.SSH = public.SSH
			if p.certificate == "" {
				p.certificate, p.certified = path, public
			}
		case certified.Type() == key.Type() && !s.shows(ctx, h, certified):
			p.certificate, p.certified = path, public
		}
	}
	return nil
}

// shows says whether a key is one of the host keys. A certificate of another is not
// shown: it is what was before, or what a call that was killed has written.
func (s *site) shows(ctx context.Context, h driver.Host, key ssh.PublicKey) bool {
	return slices.ContainsFunc(s.hostKeys, func(path string) bool {
		m, err := readHostKey(ctx, h, path)
		return err == nil && bytes.Equal(m.SSH, key.Marshal())
	})
}

// takes says whether what is new can stand where the old one does.
func (p slot) takes(certificate *ssh.Certificate) error {
	switch {
	case certificate == nil && p.certificate != "":
		return invalid("the configuration names a HostCertificate for this host key, and clients go by it: bring a certificate for the new one")
	case certificate == nil:
		return nil
	case p.certificate == "":
		return invalid("the configuration names no HostCertificate for %s: add one, or bring a key alone", p.path)
	case certificate.CertType != ssh.HostCert:
		return invalid("the certificate is one of a user, not of a host")
	}
	_, old, err := plain(p.old.Public)
	if err != nil || old == nil || len(certificate.ValidPrincipals) == 0 {
		return err
	}
	for _, name := range old.ValidPrincipals {
		if !slices.Contains(certificate.ValidPrincipals, name) {
			return invalid("the new host certificate is not for %s, and the old one is", name)
		}
	}
	return nil
}

// files are what the files of the slot shall be.
func (p slot) files(m driver.Material, key ssh.PublicKey, certificate *ssh.Certificate) ([]installing.File, error) {
	// The key comes last: a call that was killed is known by the new certificate, and does
	// not take the new key for the old one.
	var files []installing.File
	if p.public != "" {
		files = append(files, installing.File{Path: p.public, Content: ssh.MarshalAuthorizedKey(key), Mode: 0o644})
	}
	if certificate != nil {
		files = append(files, installing.File{Path: p.certificate, Content: ssh.MarshalAuthorizedKey(certificate), Mode: 0o644})
	}
	if sameKey(p.old.Public, key) {
		return files, nil // in whatever form its key is written
	}
	block, err := ssh.MarshalPrivateKey(m.Key, "")
	if err != nil {
		return nil, invalid("the private key cannot be written for sshd: %v", err)
	}
	return append(files, installing.File{Path: p.path, Content: pem.EncodeToMemory(block), Mode: 0o600, Key: true}), nil
}

func sameKey(p driver.Public, key ssh.PublicKey) bool {
	have, _, err := plain(p)
	return err == nil && same(have, key)
}

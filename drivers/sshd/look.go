// SPDX-License-Identifier: Apache-2.0

package sshd

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/probing"
)

// Look reads the configuration, the files that it names, and what the listeners show.
func (d *Door) Look(ctx context.Context, r driver.LookRequest) (driver.View, error) {
	s, err := d.load(ctx, r.Host)
	if err != nil {
		return driver.View{}, err
	}
	view := driver.View{}
	for _, path := range s.hostKeys {
		m, err := readHostKey(ctx, r.Host, path)
		if err != nil {
			view.Notes = append(view.Notes, fmt.Sprintf("couldn't read the host key %s: %v", path, err))
			continue
		}
		view.Shown = append(view.Shown, driver.Shown{Public: m.Public, At: path, Key: true})
	}
	for _, path := range s.hostCertificates {
		certificate, err := readPublic(ctx, r.Host, path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the place of the next
		}
		key, _, plainErr := plain(certificate)
		if err != nil || plainErr != nil {
			view.Notes = append(view.Notes, fmt.Sprintf("couldn't read the host certificate %s: %v", path, cmp.Or(err, plainErr)))
			continue
		}
		if s.shows(ctx, r.Host, key) {
			view.Shown = append(view.Shown, driver.Shown{Public: certificate, At: path})
		}
	}
	live, _ := probing.Look(ctx, r.Host, s.listeners(), r.Now)
	view.Shown = append(view.Shown, live...)
	slices.SortFunc(view.Shown, func(a, b driver.Shown) int {
		return cmp.Or(strings.Compare(a.At, b.At), strings.Compare(string(a.SSH), string(b.SSH)))
	})
	if err := s.lookAtUsers(ctx, r.Host, &view); err != nil {
		return driver.View{}, err
	}
	return view, ctx.Err()
}

// lookAtUsers says who gets in, and who is refused.
func (s *site) lookAtUsers(ctx context.Context, h driver.Host, view *driver.View) error {
	read := map[string]bool{}
	for _, a := range s.accounts {
		lets := a.userCAs != ""
		for _, path := range a.keys {
			f, err := readKeys(ctx, h, path)
			if errors.Is(err, fs.ErrPermission) {
				view.Notes = append(view.Notes, "couldn't read "+path)
			} else if err != nil {
				return err
			}
			for _, line := range f.lines {
				if line.key == nil || line.blocked {
					continue
				}
				lets = true
				as := a.name
				if line.authority {
					as += ", by its certificates"
				}
				view.Accepts = append(view.Accepts, driver.Accepted{Name: nameOf(line.key), As: as, At: path})
			}
		}
		if lets {
			for _, address := range s.addresses {
				view.Listeners = append(view.Listeners, driver.Listener{Address: address, Protocol: "ssh", Details: map[string]string{"user": a.name}})
			}
		}
		if a.userCAs == "" || read[a.userCAs] {
			continue
		}
		read[a.userCAs] = true
		cas, err := readKeys(ctx, h, a.userCAs)
		if err != nil {
			return err
		}
		for _, line := range cas.lines {
			if line.key != nil {
				view.Accepts = append(view.Accepts, driver.Accepted{Name: nameOf(line.key), As: "whom it certifies", At: a.userCAs})
			}
		}
	}
	return s.lookAtRevoked(ctx, h, view)
}

func (s *site) lookAtRevoked(ctx context.Context, h driver.Host, view *driver.View) error {
	for _, path := range s.revoked {
		list, err := readRevoked(ctx, h, path)
		if err != nil {
			return err
		}
		names, all := list.names()
		view.Denies = append(view.Denies, names...)
		if !all {
			view.Notes = append(view.Notes, path+" refuses also certificates, or keys by SHA-1, which are not listed here")
		}
	}
	if len(s.unlisted) > 0 {
		view.Notes = append(view.Notes, "RevokedKeys is not set: no key can be blocked")
	}
	for _, command := range s.commands {
		view.Notes = append(view.Notes, "AuthorizedKeysCommand lets in keys that only it knows: "+command)
	}
	for _, list := range []*[]string{&view.Denies, &view.Notes} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	slices.SortFunc(view.Accepts, func(a, b driver.Accepted) int {
		return cmp.Or(strings.Compare(a.At, b.At), strings.Compare(a.As, b.As), strings.Compare(a.Name, b.Name))
	})
	view.Accepts = slices.Compact(view.Accepts)
	return nil
}

// listeners are the addresses without a user: for looking at host keys.
func (s *site) listeners() []driver.Listener {
	var all []driver.Listener
	for _, address := range s.addresses {
		all = append(all, driver.Listener{Address: address, Protocol: "ssh"})
	}
	return all
}

// readHostKey reads a private key. Host keys have no passphrase.
func readHostKey(ctx context.Context, h driver.Host, path string) (driver.Material, error) {
	text, err := h.ReadFile(ctx, path, maxFile)
	if err != nil {
		return driver.Material{}, err
	}
	return parsePrivate(text)
}

// parsePrivate reads a private key without a passphrase. Its errors quote nothing of it.
func parsePrivate(text []byte) (driver.Material, error) {
	raw, err := ssh.ParseRawPrivateKey(text)
	if err != nil {
		return driver.Material{}, invalid("it holds no private key that can be read")
	}
	if key, ok := raw.(*ed25519.PrivateKey); ok {
		raw = *key
	}
	key, ok := raw.(crypto.Signer)
	if !ok {
		return driver.Material{}, invalid("it holds a key that cannot sign")
	}
	signer, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		return driver.Material{}, invalid("it holds a key that is none of SSH")
	}
	return driver.Material{Public: driver.Public{SSH: signer.PublicKey().Marshal()}, Key: key}, nil
}

// readPublic reads a file with a public key or a certificate.
func readPublic(ctx context.Context, h driver.Host, path string) (driver.Public, error) {
	text, err := h.ReadFile(ctx, path, maxFile)
	if err != nil {
		return driver.Public{}, err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return driver.Public{}, invalid("it holds no public key")
	}
	return driver.Public{SSH: key.Marshal()}, nil
}

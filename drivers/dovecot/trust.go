// SPDX-License-Identifier: Apache-2.0

package dovecot

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/blocking"
	"github.com/tallystick/tallystick/driver/installing"
)

// Trust adds the CAs above the new certificate to the files of ssl_ca by which the other
// one gets in, where they are not in them, and their lists where Dovecot wants lists. The
// user is who the certificate names, so that both name the same. Lists stay when the CAs
// are taken away again: they let nobody in.
func (d *door) Trust(ctx context.Context, request driver.TrustRequest) (driver.Changed, error) {
	h := request.Host
	next, err := request.New.Leaf()
	if err != nil {
		return driver.Changed{}, err
	}
	like, err := request.Like.Leaf()
	if err != nil && !request.Withdraw {
		return driver.Changed{}, fmt.Errorf("%w: %w", tallystick.ErrNotFound, err)
	}
	c, err := d.read(ctx, h)
	if err != nil {
		return driver.Changed{}, err
	}
	var files []installing.File
	found := request.Withdraw
	for _, path := range d.authorityFiles(c) {
		text, err := h.ReadFile(ctx, path, blocking.MaxFile)
		if err != nil {
			return driver.Changed{}, fmt.Errorf("couldn't read the CAs of Dovecot: %w", err)
		}
		after := blocking.WithdrawAuthorities(text, request.New)
		if !request.Withdraw {
			after, err = d.admit(c, text, request)
			if errors.Is(err, tallystick.ErrNotFound) {
				continue
			}
			if err != nil {
				return driver.Changed{}, err
			}
			found = true
		}
		files = append(files, installing.File{Path: path, Content: after, Mode: 0o644})
	}
	if !found {
		return driver.Changed{}, fmt.Errorf("%w: Dovecot does not let in the certificate whose rights the new one should get", tallystick.ErrNotFound)
	}
	if !request.Withdraw && userOf(c, next) != userOf(c, like) {
		return driver.Changed{}, invalid("the new certificate names the user %q and the old one %q, and Dovecot signs in whom the certificate names: have it made for the same user", userOf(c, next), userOf(c, like))
	}
	return d.trusted(ctx, h, c, files, request)
}

// admit returns a file of CAs by which the new certificate gets in as the other does. It
// is ErrNotFound where the other does not.
func (d *door) admit(c *block, text []byte, request driver.TrustRequest) ([]byte, error) {
	lists, err := blocking.ReadLists(text)
	if err != nil {
		return nil, err
	}
	like, _ := request.Like.Leaf() // it was read before
	now := request.Now()
	// A retry may come after the other was blocked.
	if err := blocking.Trusted(request.Like.Chain, blocking.ReadCertificates(text), now); err != nil || like == nil {
		return nil, fmt.Errorf("%w: %w", tallystick.ErrNotFound, err)
	}
	after, err := blocking.Admit(text, request)
	if err != nil {
		return nil, fmt.Errorf("the root of the new certificate has to be put into ssl_ca first: %w", err)
	}
	if !wantsLists(c) {
		return after, nil
	}
	merged, err := lists.Merge(request.CRLs, slices.Concat(request.New.Chain, request.Authorities), blocking.ReadCertificates(after), now)
	if err != nil {
		return nil, err
	}
	if next, err := request.New.Leaf(); err != nil || merged.Has(next) {
		return nil, errors.Join(invalid("the new certificate is on a revocation list"), err)
	}
	if slices.Equal(merged, lists) {
		return after, nil
	}
	return withLists(after, merged), nil
}

// trusted makes Dovecot read what was added or taken away.
func (d *door) trusted(ctx context.Context, h driver.Host, c *block, files []installing.File, request driver.TrustRequest) (driver.Changed, error) {
	how, err := d.reread(ctx, h, c, files, request.Now, func(context.Context) error { return nil })
	if err != nil || how == nil {
		return driver.Changed{}, err
	}
	how = slices.DeleteFunc(how, func(s string) bool { return s == "files" })
	return driver.Changed{Changed: true, How: append([]string{"authorities"}, how...), Detail: "CAs in ssl_ca; doveadm reload"}, nil
}

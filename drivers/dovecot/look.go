// SPDX-License-Identifier: Apache-2.0

package dovecot

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/blocking"
	"github.com/tallystick/tallystick/driver/probing"
)

// Bounds on what one look reports.
const (
	maxUsers       = 100_000
	maxAuthorities = 2_000
)

// Look says how Dovecot stands.
func (d *door) Look(ctx context.Context, request driver.LookRequest) (driver.View, error) {
	h := request.Host
	c, err := d.read(ctx, h)
	if err != nil {
		return driver.View{}, err
	}
	var view driver.View
	for _, p := range c.ports() {
		if p.signsIn {
			view.Listeners = append(view.Listeners, p.Listener)
		}
	}
	s, err := d.slot(ctx, h, c)
	if err != nil {
		return driver.View{}, err
	}
	if s == nil {
		view.Notes = append(view.Notes, "has no certificate")
	} else {
		if m, err := s.Read(ctx, h); err == nil {
			view.Shown = append(view.Shown, driver.Shown{Public: m.Public, At: s.Certificate, Key: m.Key != nil})
		} else {
			view.Notes = append(view.Notes, err.Error())
		}
		shown, _ := probing.Look(ctx, h, s.listeners, request.Now)
		view.Shown = append(view.Shown, shown...)
	}
	if c.values["shutdown_clients"] == "yes" {
		view.Notes = append(view.Notes, "shutdown_clients is yes: each reload ends all sessions")
	}
	if err := d.lookClients(ctx, h, c, &view); err != nil {
		return driver.View{}, err
	}
	slices.Sort(view.Notes)
	return view, ctx.Err()
}

// lookClients fills in who gets in.
func (d *door) lookClients(ctx context.Context, h driver.Host, c *block, view *driver.View) error {
	if !verifies(c) {
		return nil
	}
	for _, path := range d.authorityFiles(c) {
		text, err := h.ReadFile(ctx, path, blocking.MaxFile)
		if err != nil {
			return fmt.Errorf("couldn't read the CAs of Dovecot: %w", err)
		}
		for _, ca := range blocking.ReadCertificates(text) {
			view.Authorities = append(view.Authorities, ca.Raw)
		}
		if !wantsLists(c) {
			continue
		}
		lists, err := blocking.ReadLists(text)
		if err != nil {
			return fmt.Errorf("couldn't read %s: %w", path, err)
		}
		names, whole := lists.Names()
		if view.Denies = append(view.Denies, names...); !whole {
			view.Notes = append(view.Notes, "the lists in "+path+" are too long to be shown")
		}
	}
	if !wantsLists(c) {
		view.Notes = append(view.Notes, "ssl_require_crl is no: revocation lists are not looked at, and nobody can be blocked")
	}
	slices.SortFunc(view.Authorities, slices.Compare)
	view.Authorities = slices.CompactFunc(view.Authorities, slices.Equal)
	view.Authorities = view.Authorities[:min(len(view.Authorities), maxAuthorities)]
	slices.Sort(view.Denies)
	view.Denies = slices.Compact(view.Denies)
	for _, path := range userFiles(c) {
		text, err := h.ReadFile(ctx, path, blocking.MaxFile)
		if err != nil {
			return fmt.Errorf("couldn't read the users of Dovecot: %w", err)
		}
		for _, user := range usersIn(string(text)) {
			view.Accepts = append(view.Accepts, driver.Accepted{Name: tallystick.NormalName("account:dovecot/" + user), As: user, At: path})
		}
	}
	slices.SortFunc(view.Accepts, func(a, b driver.Accepted) int {
		return slices.Compare([]string{a.Name, a.As, a.At}, []string{b.Name, b.As, b.At})
	})
	view.Accepts = slices.Compact(view.Accepts)
	return nil
}

// verifies says whether clients are asked for certificates.
func verifies(c *block) bool { return c.values["ssl_verify_client_cert"] == "yes" }

// wantsLists says whether certificates on lists are refused.
func wantsLists(c *block) bool { return c.values["ssl_require_crl"] == "yes" }

// authorityFiles are those of ssl_ca, in any block.
func (d *door) authorityFiles(c *block) []string {
	var paths []string
	for b := range c.all {
		if path := d.file(b.values["ssl_ca"]); path != "" {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// userFiles are the passwd-files that know users of SASL EXTERNAL.
func userFiles(c *block) []string {
	if !slices.Contains(strings.Fields(c.values["auth_mechanisms"]), "external") {
		return nil
	}
	var paths []string
	for _, b := range c.blocks {
		mechanisms := strings.Fields(b.values["mechanisms"])
		if b.kind != "passdb" || b.values["driver"] != "passwd-file" || b.values["deny"] == "yes" || len(mechanisms) > 0 && !slices.Contains(mechanisms, "external") {
			continue
		}
		words := strings.Fields(b.values["args"]) // scheme=PLAIN username_format=%n /path
		if len(words) > 0 && strings.HasPrefix(words[len(words)-1], "/") && !strings.Contains(words[len(words)-1], "%") {
			paths = append(paths, words[len(words)-1])
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// usersIn reads the names of a passwd-file.
func usersIn(text string) []string {
	var users []string
	for line := range strings.Lines(text) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name != "" && name[0] != '#' && len(users) < maxUsers {
			users = append(users, name)
		}
	}
	return users
}

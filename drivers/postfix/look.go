// SPDX-License-Identifier: Apache-2.0

package postfix

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/blocking"
	"github.com/tallystick/tallystick/driver/probing"
)

// Bounds on what one look reports.
const (
	maxEntries     = 100_000
	maxAuthorities = 2_000
)

// Look says how Postfix stands: a client shows what it signs in with.
func (d *door) Look(ctx context.Context, request driver.LookRequest) (driver.View, error) {
	h := request.Host
	c, err := d.read(ctx, h)
	if err != nil {
		return driver.View{}, err
	}
	s, err := d.stand(ctx, h, c)
	if err != nil {
		return driver.View{}, err
	}
	view := driver.View{Listeners: s.all, Notes: s.notes}
	if s.Certificate != "" {
		if m, err := s.Read(ctx, h); err == nil {
			view.Shown = append(view.Shown, driver.Shown{Public: m.Public, At: s.Certificate, Key: m.Key != nil})
		} else {
			view.Notes = append(view.Notes, err.Error())
		}
	}
	shown, _ := probing.Look(ctx, h, s.all, request.Now)
	view.Shown = append(view.Shown, shown...)
	if d.Role == roleServer {
		if err := d.lookAccess(ctx, h, c, &view); err != nil {
			return driver.View{}, err
		}
	}
	slices.Sort(view.Notes)
	view.Notes = slices.Compact(view.Notes)
	return view, nil
}

// lookAccess fills in who gets in, and who does not.
func (d *door) lookAccess(ctx context.Context, h driver.Host, c *configuration, view *driver.View) error {
	all, notes := c.accesses()
	view.Notes = append(view.Notes, notes...)
	view.Notes = append(view.Notes, "reads no revocation list: who is blocked stands in tables")
	clients, denied := tables(all, access.clientTables), tables(all, func(a access) []table { return a.denied })
	for _, t := range sorted(clients) {
		text, err := t.read(ctx, h)
		if err != nil {
			return err
		}
		for _, e := range entries(text) {
			for _, name := range names(clients[t], e.key) {
				view.Accepts = append(view.Accepts, driver.Accepted{Name: name, As: e.value, At: t.path})
			}
		}
	}
	for _, t := range sorted(denied) {
		text, err := t.read(ctx, h)
		if err != nil {
			return err
		}
		for _, e := range entries(text) {
			if refuses(e.value) {
				view.Denies = append(view.Denies, names(denied[t], e.key)...)
			}
		}
	}
	view.Accepts = view.Accepts[:min(len(view.Accepts), maxEntries)]
	view.Denies = view.Denies[:min(len(view.Denies), maxEntries)]
	slices.SortFunc(view.Accepts, func(a, b driver.Accepted) int {
		return slices.Compare([]string{a.Name, a.As, a.At}, []string{b.Name, b.As, b.At})
	})
	slices.Sort(view.Denies)
	view.Denies = slices.Compact(view.Denies)
	if slices.ContainsFunc(all, func(a access) bool { return a.anybody }) {
		var err error
		if view.Authorities, err = d.authorities(ctx, h, c); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(all, func(a access) bool { return len(a.denied) == 0 }) {
		view.Notes = append(view.Notes, "a service has no check_ccert_access before what it permits, so that a certificate is blocked there by its entry in relay_clientcerts alone")
	}
	return nil
}

// refuses says whether the right-hand side of access(5) keeps a client out.
func refuses(value string) bool {
	word, _, _ := strings.Cut(value, " ")
	switch strings.ToUpper(word) {
	case "REJECT", "DEFER", "DEFER_IF_REJECT", "DEFER_IF_PERMIT":
		return true
	}
	return len(word) == 3 && (word[0] == '4' || word[0] == '5')
}

// names returns what a fingerprint may name: Postfix looks up those of certificates and
// of public keys in one table, and an entry does not say which it is.
func names(digest, key string) []string {
	sum, err := hex.DecodeString(strings.ToLower(strings.ReplaceAll(key, ":", "")))
	if err != nil {
		return nil
	}
	switch text := hex.EncodeToString(sum); {
	case digest == "sha256" && len(sum) == 32:
		return []string{"cert-sha256:" + text, "spki-sha256:" + text}
	case digest == "sha1" && len(sum) == 20:
		return []string{"x5t:" + text}
	}
	return nil
}

// authorities reads the CAs of smtpd.
func (d *door) authorities(ctx context.Context, h driver.Host, c *configuration) ([][]byte, error) {
	var found [][]byte
	for _, s := range c.doors() {
		path := c.of(s, "smtpd_tls_CAfile")
		if path == "" {
			continue
		}
		text, err := h.ReadFile(ctx, under(d.Config, path), maxTable)
		if err != nil {
			return nil, fmt.Errorf("couldn't read the CAs of Postfix: %w", err)
		}
		for _, ca := range blocking.ReadCertificates(text) {
			found = append(found, ca.Raw)
		}
	}
	slices.SortFunc(found, slices.Compare)
	found = slices.CompactFunc(found, slices.Equal)
	return found[:min(len(found), maxAuthorities)], nil
}

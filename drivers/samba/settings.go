// SPDX-License-Identifier: Apache-2.0

package samba

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/blocking"
	"github.com/tallystick/tallystick/driver/installing"
)

// settings are what smb.conf says, with Samba's own defaults.
type settings struct {
	realm, private      string
	tls                 bool
	cert, key, cafile   string // absolute paths
	domainControllerFor string // the server role
}

// settings asks testparm, which knows includes and defaults. It changes nothing.
func (d *door) settings(ctx context.Context, h driver.Host) (settings, error) {
	text, err := installing.Run(ctx, h, "testparm", "-s", "-v", d.Config)
	if err != nil {
		return settings{}, fmt.Errorf("couldn't read %s: %w", d.Config, err)
	}
	values := globals(text)
	s := settings{
		realm: strings.ToUpper(values["realm"]), private: values["private dir"], tls: values["tls enabled"] == "Yes",
		cert: values["tls certfile"], key: values["tls keyfile"], cafile: values["tls cafile"], domainControllerFor: values["server role"],
	}
	if s.domainControllerFor != "active directory domain controller" || s.private == "" {
		return settings{}, invalid("%s is not of a domain controller (server role)", d.Config)
	}
	for _, file := range []*string{&s.cert, &s.key, &s.cafile} {
		if *file != "" && !path.IsAbs(*file) {
			*file = path.Join(s.private, *file)
		}
	}
	return s, nil
}

// globals reads the section [global] of what testparm prints.
func globals(text string) map[string]string {
	values := map[string]string{}
	in := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			in = strings.EqualFold(line, "[global]")
		}
		if name, value, ok := strings.Cut(line, "="); ok && in {
			values[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	return values
}

// pkinit is what the KDC says about certificates of clients.
type pkinit struct {
	on      bool
	anchors []*x509.Certificate
	// unread is why the anchors may be more than is known; "" where they are all known.
	unread string
}

// pkinit reads the file that the KDC (Heimdal) finds its settings in. One that is not
// there lets nobody in by certificate.
func (d *door) pkinit(ctx context.Context, h driver.Host) (pkinit, error) {
	text, err := h.ReadFile(ctx, d.KDCConfig, blocking.MaxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return pkinit{}, nil
	}
	if err != nil {
		return pkinit{}, err
	}
	on, stores, included := readKDC(string(text))
	p := pkinit{on: on}
	if included {
		p.on, p.unread = true, d.KDCConfig+" includes other files, which are not read"
	}
	for _, store := range stores {
		file, ok := strings.CutPrefix(store, "FILE:")
		if !ok {
			p.unread = fmt.Sprintf("pkinit_anchors names %q: only FILE: is read", store)
			continue
		}
		text, err := h.ReadFile(ctx, file, blocking.MaxFile)
		if err != nil {
			return pkinit{}, fmt.Errorf("couldn't read the anchors of the KDC: %w", err)
		}
		p.anchors = append(p.anchors, blocking.ReadCertificates(text)...)
	}
	return p, nil
}

// readKDC reads the section [kdc] of a krb5.conf: whether certificates get in, and by
// which stores of anchors; and whether the file names others.
func readKDC(text string) (on bool, stores []string, included bool) {
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "#"), strings.HasPrefix(line, ";"):
			continue
		case strings.HasPrefix(line, "include ") || strings.HasPrefix(line, "includedir "):
			included = true
		case strings.HasPrefix(line, "["):
			section = strings.Trim(line, "[] \t")
		}
		name, value, _ := strings.Cut(line, "=")
		if section != "kdc" {
			continue
		}
		switch strings.TrimSpace(name) {
		case "enable-pkinit":
			on = slices.Contains([]string{"yes", "true", "1"}, strings.ToLower(strings.TrimSpace(value)))
		case "pkinit_anchors":
			stores = append(stores, strings.Fields(value)...)
		}
	}
	return on, stores, included
}

// lets says whether the KDC lets in whoever has the certificate and its key, as one of the
// principals that the certificate names.
func (p pkinit) lets(public driver.Public, at time.Time) bool {
	leaf, err := public.Leaf()
	if err != nil || !p.on || len(principals(leaf)) == 0 {
		return false
	}
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	for _, ca := range p.anchors {
		options.Roots.AddCert(ca)
	}
	for _, der := range public.Chain[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			options.Intermediates.AddCert(c)
		}
	}
	// The names in a certificate are of Microsoft's kind, which Go does not know.
	leaf.UnhandledCriticalExtensions = nil
	_, err = leaf.Verify(options)
	return err == nil || p.unread != "" && !at.After(leaf.NotAfter)
}

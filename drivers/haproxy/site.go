// SPDX-License-Identifier: Apache-2.0

package haproxy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path"
	"slices"
	"strings"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/blocking"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/driver/network"
	"github.com/tallystick/tallystick/driver/probing"
)

const maxConfig = 16 << 20 // bytes of one file

// A site is what a configuration says about TLS.
type site struct {
	binds     []bind
	upstreams []string // files with what HAProxy itself signs in with, at servers
	notes     []string
}

// A bind is one line of that name that speaks TLS.
type bind struct {
	proxy     string // the frontend that it is in
	http      bool
	addresses []string // that can be tried
	files     []string // certificates; the first is shown to who names no other
	verify    bool     // asks clients for certificates
	clientCA  string   // file of CAs whose clients get in
	crl       string
	ticketKey bool // sessions can be resumed after a reload
	denies    bool // its frontend answers no to those on the driver's list
}

// A parser makes a site of sections.
type parser struct {
	door            *Door
	ctx             context.Context
	host            driver.Host
	site            *site
	crtBase, caBase string
	mode            string // of the defaults section in force
}

func (d *Door) load(ctx context.Context, h driver.Host) (*site, error) {
	p := &parser{door: d, ctx: ctx, host: h, site: &site{}, mode: "tcp"}
	for _, name := range d.options.Config {
		text, err := h.ReadFile(ctx, name, maxConfig)
		if err != nil {
			return nil, fmt.Errorf("couldn't read the configuration of HAProxy: %w", err)
		}
		all, err := sections(string(text))
		if err != nil {
			return nil, fmt.Errorf("couldn't read the configuration of HAProxy, %s: %w", name, err)
		}
		for _, one := range all {
			if err := p.section(one); err != nil {
				return nil, err
			}
		}
	}
	slices.Sort(p.site.upstreams)
	p.site.upstreams = slices.Compact(p.site.upstreams)
	return p.site, nil
}

func (p *parser) section(s section) error {
	mode := p.mode
	for _, line := range s.lines {
		switch {
		case len(line) < 2:
		case s.keyword == "global" && line[0] == "crt-base":
			p.crtBase = line[1]
		case s.keyword == "global" && line[0] == "ca-base":
			p.caBase = line[1]
		case line[0] == "mode":
			mode = line[1]
		}
	}
	if s.keyword == "defaults" {
		p.mode = mode
	}
	denies := p.denies(s.lines)
	for _, line := range s.lines {
		switch {
		case line[0] == "bind" && (s.keyword == "frontend" || s.keyword == "listen") && slices.Contains(line, "ssl"):
			one := bind{proxy: s.name, http: mode == "http", denies: denies}
			if err := p.bind(&one, line[1:]); err != nil {
				return err
			}
			p.site.binds = append(p.site.binds, one)
		case line[0] == "server" || line[0] == "default-server":
			if file := p.under(p.crtBase, value(line, "crt")); file != "" {
				p.site.upstreams = append(p.site.upstreams, file)
			}
		}
	}
	return nil
}

// bind reads the words of a bind line.
func (p *parser) bind(b *bind, line []string) error {
	for _, address := range strings.Split(line[0], ",") {
		if found := p.door.reach(address); found == "" || slices.Contains(line, "accept-proxy") {
			p.site.notes = append(p.site.notes, "a listener is not tried: "+network.Clean(address))
		} else {
			b.addresses = append(b.addresses, found)
		}
	}
	for i, word := range line[:len(line)-1] {
		switch word {
		case "crt":
			if err := p.certificates(b, p.under(p.crtBase, line[i+1])); err != nil {
				return err
			}
		case "crt-list":
			if err := p.list(b, p.under(p.crtBase, line[i+1])); err != nil {
				return err
			}
		case "ca-file", "ca-verify-file":
			b.clientCA = p.under(p.caBase, line[i+1])
		case "crl-file":
			b.crl = p.under(p.caBase, line[i+1])
		case "verify":
			b.verify = line[i+1] == "optional" || line[i+1] == "required"
		case "tls-ticket-keys":
			b.ticketKey = true
		}
	}
	return nil
}

// certificates adds a file, or those of a directory.
func (p *parser) certificates(b *bind, name string) error {
	if name == "" {
		p.site.notes = append(p.site.notes, "a certificate of "+b.proxy+" is named by a variable, and is not looked at")
		return nil
	}
	info, err := p.host.Stat(p.ctx, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil || !info.Mode.IsDir() {
		b.files = append(b.files, name)
		return nil
	}
	out, err := installing.Run(p.ctx, p.host, "sh", "-c", `for f in "$0"/*; do if [ -f "$f" ]; then printf '%s\n' "$f"; fi; done`, name)
	for _, file := range strings.FieldsFunc(out, func(c rune) bool { return c == '\n' }) {
		// What belongs to a certificate of that name; section 3.1, ssl-load-extra-files.
		if !slices.Contains([]string{".key", ".ocsp", ".sctl", ".issuer"}, path.Ext(file)) {
			b.files = append(b.files, file)
		}
	}
	return err
}

// list adds the certificates of a crt-list.
func (p *parser) list(b *bind, name string) error {
	if name == "" {
		return nil
	}
	text, err := p.host.ReadFile(p.ctx, name, maxConfig)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) > 0 && !strings.HasPrefix(fields[0], "#") {
			b.files = append(b.files, p.under(p.crtBase, fields[0]))
		}
	}
	return nil
}

// denies says whether the lines of a frontend refuse those on the driver's list.
func (p *parser) denies(lines [][]string) bool {
	list := p.door.options.Deny
	matches := func(line []string) bool { return slices.Contains(line, sample) && slices.Contains(line, list) }
	var names []string
	for _, line := range lines {
		if line[0] == "acl" && len(line) > 2 && matches(line) {
			names = append(names, line[1])
		}
	}
	return slices.ContainsFunc(lines, func(line []string) bool {
		i := slices.Index(line, "if")
		if i < 0 || line[0] != "http-request" && line[0] != "tcp-request" ||
			!slices.ContainsFunc(line[:i], func(w string) bool { return w == "deny" || w == "reject" || w == "silent-drop" }) {
			return false
		}
		return matches(line) || len(line) == i+2 && slices.Contains(names, line[i+1])
	})
}

// sample is what the list is compared with.
const sample = "ssl_c_der,sha2(256),hex"

func value(line []string, key string) string {
	if i := slices.Index(line, key); i >= 0 && i+1 < len(line) {
		return line[i+1]
	}
	return ""
}

// under returns a path beneath a base, "" for one that nobody knows.
func (p *parser) under(base, name string) string {
	switch {
	case name == "" || name == unknown || base == unknown || strings.HasPrefix(name, "@"):
		return ""
	case path.IsAbs(name):
		return path.Clean(name)
	case base == "": // HAProxy looks in the directory that it was started in
		return path.Join(path.Dir(p.door.options.Config[0]), name)
	}
	return path.Join(base, name)
}

// reach returns the address at which a listener can be tried, "" where it cannot.
func (d *Door) reach(address string) string {
	for _, prefix := range []string{"ipv4@", "ipv6@", "tcp@", "tcp4@", "tcp6@"} {
		address = strings.TrimPrefix(address, prefix)
	}
	if socket := strings.TrimPrefix(address, "unix@"); strings.HasPrefix(socket, "/") {
		return socket
	}
	i := strings.LastIndexByte(address, ':')
	if i < 0 || strings.ContainsAny(address, unknown+"@") || address[i+1:] == "" || strings.Trim(address[i+1:], "0123456789") != "" {
		return ""
	}
	host, port := strings.Trim(address[:i], "[]"), address[i+1:]
	return net.JoinHostPort(probing.Reach(host, d.options.Address), port)
}

// files returns all certificates, those that are shown and those for signing in.
func (s *site) files() []string {
	all := slices.Clone(s.upstreams)
	for _, b := range s.binds {
		all = append(all, b.files...)
	}
	all = slices.DeleteFunc(all, func(name string) bool { return name == "" })
	slices.Sort(all)
	return slices.Compact(all)
}

// ofVerifying collects something of the binds that let clients in by certificate.
func (s *site) ofVerifying(of func(bind) string) []string {
	var all []string
	for _, b := range s.binds {
		if text := of(b); b.verify && text != "" {
			all = append(all, text)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (s *site) clientCAs() []string { return s.ofVerifying(func(b bind) string { return b.clientCA }) }
func (s *site) crls() []string      { return s.ofVerifying(func(b bind) string { return b.crl }) }

func (s *site) verifies() bool {
	return slices.ContainsFunc(s.binds, func(b bind) bool { return b.verify })
}

// denied says whether a bind that lets clients in goes by the list, and whether all do.
func (s *site) denied() (some, all bool) {
	all = true
	for _, b := range s.binds {
		if b.verify {
			some, all = some || b.denies, all && b.denies
		}
	}
	return some, all
}

// read reads a file with its key, which may be beside it (ssl-load-extra-files).
func read(ctx context.Context, h driver.Host, name string) (driver.Material, error) {
	text, err := h.ReadFile(ctx, name, blocking.MaxFile)
	if err != nil {
		return driver.Material{}, err
	}
	m, err := installing.ReadPEM(text)
	if err != nil || m.Key != nil {
		return m, err
	}
	if key, err := h.ReadFile(ctx, name+".key", blocking.MaxFile); err == nil {
		return installing.ReadPEM(slices.Concat(text, []byte("\n"), key))
	}
	return m, nil
}

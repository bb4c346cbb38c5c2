// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"context"
	"fmt"
	"net"
	"path"
	"slices"
	"strings"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/driver/probing"
)

const (
	maxConfig   = 4 << 20 // bytes of one file
	maxIncludes = 10_000  // files in all
)

// A site is what a configuration says about TLS.
type site struct {
	pidFile   string
	servers   []server
	upstreams []installing.Pair // what nginx itself signs in with, at other servers
	notes     []string
}

// A server is one server {} that speaks TLS.
type server struct {
	listeners []driver.Listener
	pairs     []installing.Pair
	verify    bool     // asks clients for certificates, and lets in by them
	clientCAs []string // files of CAs whose clients get in
	crl       string
	outlives  bool // its sessions can be resumed after a reload
	denies    bool // answers no to those on the driver's list
}

// load reads the configuration. It reads the files itself, and does not ask nginx -T for
// them, which prints nothing while a certificate and a key do not fit, as they are
// after an installation that was killed between the two.
func (d *Door) load(ctx context.Context, h driver.Host) (*site, error) {
	read := 0
	fetch := func(name string) (string, error) {
		if read++; read > maxIncludes {
			return "", invalid("the configuration has more than %d files", maxIncludes)
		}
		text, err := h.ReadFile(ctx, name, maxConfig)
		return string(text), err
	}
	r := &reader{files: func(pattern string) ([]string, error) {
		names, err := d.expand(ctx, h, d.absolute(pattern))
		if err != nil {
			return nil, err
		}
		var texts []string
		for _, name := range names {
			text, err := fetch(name)
			if err != nil {
				return nil, err
			}
			texts = append(texts, text)
		}
		return texts, nil
	}}
	text, err := fetch(d.options.Config)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the configuration of nginx: %w", err)
	}
	tree, err := r.read(text, 0)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the configuration of nginx, %s: %w", d.options.Config, err)
	}
	return d.evaluate(tree), nil
}

// expand returns the files that a pattern of include stands for, in the order of nginx.
func (d *Door) expand(ctx context.Context, h driver.Host, pattern string) ([]string, error) {
	if !strings.ContainsAny(pattern, "*?[") {
		return []string{pattern}, nil
	}
	// The shell expands as glob(3) does, which nginx calls; IFS keeps names with blanks whole.
	out, err := installing.Run(ctx, h, "sh", "-c", `IFS=; for f in $0; do if [ -e "$f" ]; then printf '%s\n' "$f"; fi; done`, pattern)
	if err != nil {
		return nil, err
	}
	return strings.FieldsFunc(out, func(c rune) bool { return c == '\n' }), nil
}

// absolute makes paths as nginx does: those of the configuration begin at its directory.
func (d *Door) absolute(name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join(path.Dir(d.options.Config), name)
}

// evaluate finds the servers that speak TLS.
func (d *Door) evaluate(tree []directive) *site {
	s := &site{pidFile: d.options.PIDFile}
	if found := last(lookup("pid", tree)); found != "" {
		s.pidFile = d.absolute(found)
	}
	for _, section := range tree {
		if section.name != "http" && section.name != "stream" && section.name != "mail" {
			continue
		}
		secure := secureAddresses(section.block)
		for _, one := range section.block {
			if one.name == "server" {
				d.server(s, section, one.block, tree, secure)
			}
		}
	}
	d.gatherUpstreams(s, tree, tree)
	slices.SortFunc(s.upstreams, func(a, b installing.Pair) int { return strings.Compare(a.Certificate, b.Certificate) })
	s.upstreams = slices.Compact(s.upstreams)
	slices.Sort(s.notes)
	s.notes = slices.Compact(s.notes)
	return s
}

// secureAddresses are the listen addresses of which one server says that they speak TLS:
// it is so for all servers at that address.
func secureAddresses(section []directive) map[string]bool {
	secure := map[string]bool{}
	for _, one := range section {
		if one.name != "server" {
			continue
		}
		on := last(lookup("ssl", one.block)) == "on"
		for _, listen := range lookup("listen", one.block) {
			if len(listen) > 0 && (on || slices.Contains(listen[1:], "ssl")) {
				secure[listen[0]] = true
			}
		}
	}
	return secure
}

// server reads one server {} into s.
func (d *Door) server(s *site, section directive, block, tree []directive, secure map[string]bool) {
	one := server{listeners: d.listeners(s, section.name, block, secure)}
	if len(one.listeners) == 0 {
		return
	}
	inherit := func(name string) [][]string { return lookup(name, block, section.block, tree) }
	one.pairs = d.pairs(s, inherit("ssl_certificate"), inherit("ssl_certificate_key"))
	verify := last(inherit("ssl_verify_client"))
	one.verify = verify == "on" || verify == "optional"
	for _, name := range []string{"ssl_client_certificate", "ssl_trusted_certificate"} {
		if file := last(inherit(name)); file != "" {
			one.clientCAs = append(one.clientCAs, d.absolute(file))
		}
	}
	if file := last(inherit("ssl_crl")); file != "" {
		one.crl = d.absolute(file)
	}
	one.outlives = slices.ContainsFunc(inherit("ssl_session_cache"), func(args []string) bool {
		return slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "shared:") })
	}) || len(inherit("ssl_session_ticket_key")) > 0
	one.denies = section.name == "http" && d.denied(section.block, block)
	s.servers = append(s.servers, one)
}

// denied says whether a server answers no to those on the driver's list: the map that
// includes it sets a variable, and the server returns 4xx where that is set.
func (d *Door) denied(section, block []directive) bool {
	for _, m := range section {
		if m.name != "map" || len(m.args) != 2 || m.args[0] != "$ssl_client_fingerprint" || !d.includesList(m.block) {
			continue
		}
		if slices.ContainsFunc(block, func(i directive) bool {
			return i.name == "if" && strings.Trim(strings.Join(i.args, ""), "()") == m.args[1] && refuses(i.block)
		}) {
			return true
		}
	}
	return false
}

func (d *Door) includesList(block []directive) bool {
	return slices.ContainsFunc(block, func(i directive) bool {
		return i.name == "include" && len(i.args) == 1 && d.absolute(i.args[0]) == d.options.Deny
	})
}

func refuses(block []directive) bool {
	return slices.ContainsFunc(block, func(r directive) bool {
		return r.name == "return" && len(r.args) > 0 && len(r.args[0]) == 3 && r.args[0][0] == '4'
	})
}

// pairs joins certificates with their keys, which nginx does by their order.
func (d *Door) pairs(s *site, certificates, keys [][]string) []installing.Pair {
	var pairs []installing.Pair
	for i, args := range certificates {
		if len(args) != 1 {
			continue
		}
		if strings.Contains(args[0], "$") || strings.HasPrefix(args[0], "data:") {
			s.notes = append(s.notes, "a certificate that is named by a variable is not looked at: "+args[0])
			continue
		}
		p := installing.Pair{Certificate: d.absolute(args[0])}
		if i < len(keys) && len(keys[i]) == 1 && !strings.HasPrefix(keys[i][0], "engine:") && !strings.Contains(keys[i][0], "$") {
			p.Key = d.absolute(keys[i][0])
		}
		pairs = append(pairs, p)
	}
	return pairs
}

// gatherUpstreams finds what nginx signs in with elsewhere, at any depth; scopes are the
// blocks around, the innermost first.
func (d *Door) gatherUpstreams(s *site, block []directive, scopes ...[]directive) {
	for _, one := range block {
		if protocol, ok := strings.CutSuffix(one.name, "_ssl_certificate"); ok {
			s.upstreams = append(s.upstreams, d.pairs(s, [][]string{one.args}, lookup(protocol+"_ssl_certificate_key", scopes...))...)
		}
		if len(one.block) > 0 {
			d.gatherUpstreams(s, one.block, append([][]directive{one.block}, scopes...)...)
		}
	}
}

// listeners returns the addresses at which a server speaks TLS.
func (d *Door) listeners(s *site, section string, block []directive, secure map[string]bool) []driver.Listener {
	var found []driver.Listener
	for _, args := range lookup("listen", block) {
		if len(args) == 0 || !secure[args[0]] {
			continue
		}
		if slices.Contains(args[1:], "proxy_protocol") {
			s.notes = append(s.notes, "a listener that wants the PROXY protocol is not tried: "+args[0])
			continue
		}
		l := driver.Listener{Address: d.reach(args[0]), Protocol: "tls", ServerName: serverName(lookup("server_name", block))}
		if section == "http" {
			l.Protocol = "https"
			if d.options.Path != "/" {
				l.Details = map[string]string{"path": d.options.Path}
			}
		}
		found = append(found, l)
	}
	return found
}

// reach returns the address at which a listener can be tried.
func (d *Door) reach(listen string) string {
	if socket, ok := strings.CutPrefix(listen, "unix:"); ok {
		return socket
	}
	host, port, err := net.SplitHostPort(listen)
	switch {
	case err == nil:
	case strings.Trim(listen, "0123456789") == "":
		host, port = "*", listen
	default: // an address without a port
		host, port = strings.Trim(listen, "[]"), "80"
	}
	return net.JoinHostPort(probing.Reach(host, d.options.Address), port)
}

// serverName returns the first name that can stand in a handshake.
func serverName(found [][]string) string {
	for _, args := range found {
		for _, name := range args {
			if name != "" && name != "_" && !strings.ContainsAny(name, "*~$") && !strings.HasPrefix(name, ".") && net.ParseIP(name) == nil {
				return strings.ToLower(name)
			}
		}
	}
	return ""
}

// lookup returns the arguments of a directive in the innermost block that has it, as
// nginx inherits; of several in one block all.
func lookup(name string, scopes ...[]directive) [][]string {
	for _, scope := range scopes {
		var found [][]string
		for _, one := range scope {
			if one.name == name {
				found = append(found, one.args)
			}
		}
		if found != nil {
			return found
		}
	}
	return nil
}

// last returns the value of a directive that has one.
func last(found [][]string) string {
	if len(found) == 0 || len(found[len(found)-1]) == 0 {
		return ""
	}
	return found[len(found)-1][0]
}

// SPDX-License-Identifier: Apache-2.0

package dovecot

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/driver/probing"
)

// Bounds on what is read of doveconf's answer: a true one has some 1,200 lines.
const (
	maxLines = 50_000
	maxDepth = 10
)

// A block is a part of the configuration: "service imap-login { ... }". The outermost
// has neither kind nor name.
type block struct {
	kind, name string
	values     map[string]string
	blocks     []*block
}

// read asks doveconf, which knows defaults and included files. It is told to show the
// settings that it hides, because the name of the key's file is one; none is kept but by name.
func (d *door) read(ctx context.Context, h driver.Host) (*block, error) {
	text, err := installing.Run(ctx, h, "doveconf", "-c", d.Config, "-P")
	if err != nil {
		return nil, fmt.Errorf("couldn't read the configuration of Dovecot in %s: %w", d.Config, err)
	}
	return parse(text), nil
}

// parse reads what doveconf(1) prints.
func parse(text string) *block {
	top := &block{values: map[string]string{}}
	open := []*block{top}
	n := 0
	for line := range strings.Lines(text) {
		if n++; n > maxLines {
			break
		}
		line = strings.TrimSpace(line)
		inner := open[len(open)-1]
		switch key, value, assigned := strings.Cut(line, " ="); {
		case line == "" || line[0] == '#':
		case line == "}":
			if len(open) > 1 {
				open = open[:len(open)-1]
			}
		case assigned && !strings.ContainsAny(key, " {"):
			inner.values[key] = strings.TrimSpace(value)
		case strings.HasSuffix(line, "{"):
			kind, name, _ := strings.Cut(strings.TrimSpace(strings.TrimSuffix(line, "{")), " ")
			if len(open) > maxDepth {
				return top
			}
			b := &block{kind: kind, name: strings.Trim(name, `" `), values: map[string]string{}}
			inner.blocks = append(inner.blocks, b)
			open = append(open, b)
		}
	}
	return top
}

// all walks over a block and those in it.
func (b *block) all(yield func(*block) bool) { b.walk(yield) }

func (b *block) walk(yield func(*block) bool) bool {
	if !yield(b) {
		return false
	}
	for _, inner := range b.blocks {
		if !inner.walk(yield) {
			return false
		}
	}
	return true
}

// file returns the path in a value that begins with "<", which is how Dovecot 2.3 is told
// to read a file; "" for other values. Relative paths are of the configuration's directory.
func (d *door) file(value string) string {
	path, ok := strings.CutPrefix(value, "<")
	if path = strings.TrimSpace(path); !ok || path == "" {
		return ""
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(d.Config), path)
	}
	return path
}

// A port is one address that Dovecot listens on with TLS.
type port struct {
	driver.Listener
	service string // "imap"
	signsIn bool   // a prober can sign in there
}

// ports returns where clients get TLS: by STARTTLS, or at once where the listener says so.
func (b *block) ports() []port {
	if b.values["ssl"] == "no" {
		return nil
	}
	var all []port
	for _, service := range b.blocks {
		protocol, isLogin := strings.CutSuffix(service.name, "-login")
		if service.kind != "service" || !isLogin && service.name != "lmtp" || !slices.Contains(strings.Fields(b.values["protocols"]), named(protocol)) {
			continue
		}
		for _, listener := range service.blocks {
			number := listener.values["port"]
			if listener.kind != "inet_listener" || number == "" || number == "0" {
				continue
			}
			for _, host := range hosts(listener.values["address"], b.values["listen"]) {
				p := port{service: named(protocol), signsIn: protocol == "imap" || protocol == "pop3"}
				p.Listener = driver.Listener{Address: net.JoinHostPort(host, number), Protocol: spoken(protocol, listener.values["ssl"] == "yes")}
				all = append(all, p)
			}
		}
	}
	slices.SortFunc(all, func(a, b port) int { return strings.Compare(a.Address, b.Address) })
	return all
}

// named is what the setting protocols calls a service.
func named(service string) string {
	if service == "managesieve" {
		return "sieve"
	}
	return service
}

// spoken is what package probing calls a protocol.
func spoken(service string, wrapped bool) string {
	name := named(service)
	if name == "submission" {
		name = "smtp"
	}
	if wrapped && (name == "imap" || name == "pop3" || name == "smtp") {
		name += "s"
	}
	return name
}

// hosts are where a listener is reached from its own machine: its address, or the one of
// all listeners. What listens everywhere is reached at 127.0.0.1.
func hosts(own, general string) []string {
	if own == "" {
		own = general
	}
	var all []string
	for _, host := range strings.FieldsFunc(own, func(r rune) bool { return r == ',' || r == ' ' }) {
		all = append(all, probing.Reach(strings.Trim(host, "[]"), ""))
	}
	if slices.Contains(all, "127.0.0.1") { // the same processes; not every machine has IPv6
		all = slices.DeleteFunc(all, func(host string) bool { return host == "::1" })
	}
	return all
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/scan"
)

// scanTargets reads where a scan looks.
type scanTargets struct{ scan.Targets }

// implicit are the schemes that begin with a TLS handshake, and their ports
// (the IANA registry of service names).
var implicit = map[string]string{
	"https": "443", "ldaps": "636", "imaps": "993", "pop3s": "995", "smtps": "465", "ftps": "990",
}

// maxTargets bounds what standard input may name, in bytes.
const maxTargets = 64 << 20

// maxBlock is how many bits of addresses a block may have: 2^24 of them.
const maxBlock = 24

// parseTargets reads the arguments of a scan. "-" stands for the lines of in.
func parseTargets(args []string, portList string, in io.Reader) (scan.Targets, error) {
	ports, err := parsePorts(portList)
	if err != nil {
		return scan.Targets{}, err
	}
	targets := scanTargets{scan.Targets{Machine: len(args) == 0}}
	for _, arg := range args {
		if arg != "-" {
			err = targets.add(arg, ports)
		} else {
			err = targets.addLines(in, ports)
		}
		if err != nil {
			return scan.Targets{}, err
		}
	}
	return targets.Targets, nil
}

// addLines adds the targets of a list, one a line; empty lines and those that
// begin with # are left out.
func (t *scanTargets) addLines(in io.Reader, ports []uint16) error {
	lines := bufio.NewScanner(io.LimitReader(in, maxTargets))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if err := t.add(line, ports); err != nil {
			return fmt.Errorf("standard input, line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("couldn't read targets from standard input: %w", err)
	}
	return nil
}

// targetForms is the hint of a target that is none.
const targetForms = "a target is a file, a directory, host:port, https://host, a host, an address or a block such as 10.0.0.0/24"

// add adds one target.
func (t *scanTargets) add(text string, ports []uint16) error {
	if isPath(text) {
		t.Paths = append(t.Paths, text)
		return nil
	}
	if scheme, rest, ok := strings.Cut(text, "://"); ok {
		return t.addURL(text, strings.ToLower(scheme), rest)
	}
	if block, err := netip.ParsePrefix(text); err == nil {
		return t.addBlock(block, ports)
	}
	if address, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		t.Hosts = append(t.Hosts, scan.Hosts{Name: address.String(), Ports: ports})
		return nil
	}
	if name, port, err := net.SplitHostPort(text); err == nil {
		return t.addEndpoint(text, name, port)
	}
	if !isHostName(text) {
		return usage(fmt.Errorf("%q is neither a file here nor an endpoint", text), targetForms)
	}
	t.Hosts = append(t.Hosts, scan.Hosts{Name: text, Ports: ports})
	return nil
}

// addURL adds scheme://rest.
func (t *scanTargets) addURL(text, scheme, rest string) error {
	switch scheme {
	case "file":
		t.Paths = append(t.Paths, tallystick.Place(text).Path())
		return nil
	case "truststore":
		t.Stores = append(t.Stores, text)
		return nil
	}
	port, known := implicit[scheme]
	if !known && scheme != "tls" {
		return usage(fmt.Errorf("%s:// is not a protocol that this version speaks", clean(scheme)), "it speaks tls, https, ldaps, imaps, pop3s, smtps and ftps; "+targetForms)
	}
	u, err := url.Parse("tls://" + rest)
	if err != nil || u.User != nil || u.Hostname() == "" {
		return usage(fmt.Errorf("%q is not an endpoint", text), targetForms)
	}
	if u.Port() != "" {
		port = u.Port()
	}
	return t.addEndpoint(text, u.Hostname(), port)
}

// addEndpoint adds one host at one port.
func (t *scanTargets) addEndpoint(text, name, port string) error {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return usage(fmt.Errorf("%q: the port is not a number between 1 and 65535", text), targetForms)
	}
	if address, err := netip.ParseAddr(name); err == nil {
		name = address.String()
	} else if !isHostName(name) {
		return usage(fmt.Errorf("%q: %q is not the name of a host", text, name), targetForms)
	}
	t.Hosts = append(t.Hosts, scan.Hosts{Name: name, Ports: []uint16{uint16(n)}})
	return nil
}

func (t *scanTargets) addBlock(block netip.Prefix, ports []uint16) error {
	if bits := block.Addr().BitLen() - block.Bits(); bits > maxBlock {
		return usage(fmt.Errorf("%s has 2^%d addresses: 2^%d are the most", block, bits, maxBlock), "name smaller blocks")
	}
	t.Hosts = append(t.Hosts, scan.Hosts{Block: block.Masked(), Ports: ports})
	return nil
}

// isPath says whether a target is a path: it is written as one, something is
// there, or it ends as the files of credentials do.
func isPath(text string) bool {
	if text == "." || text == ".." || filepath.IsAbs(text) || strings.HasPrefix(text, "./") || strings.HasPrefix(text, "../") {
		return true
	}
	if _, err := os.Lstat(text); err == nil {
		return true
	}
	switch strings.ToLower(filepath.Ext(text)) {
	case ".pem", ".crt", ".cer", ".der", ".key", ".p12", ".pfx", ".p7b", ".p7c", ".jks", ".pub":
		return true
	}
	return false
}

// isHostName says whether text could be a host name (RFC 1123 section 2.1),
// with the underscores that people use all the same.
func isHostName(text string) bool {
	if text == "" || len(text) > 253 {
		return false
	}
	return !strings.ContainsFunc(text, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_')
	})
}

// parsePorts reads "443,8443,9000-9010".
func parsePorts(list string) ([]uint16, error) {
	var ports []uint16
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			to = from
		}
		first, err := strconv.ParseUint(from, 10, 16)
		last, err2 := strconv.ParseUint(to, 10, 16)
		if errors.Join(err, err2) != nil || first == 0 || last < first {
			return nil, usage(fmt.Errorf("--ports %q is not a list of ports", list), "write it as 443,8443,9000-9010")
		}
		for n := first; n <= last; n++ {
			ports = append(ports, uint16(n))
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports), nil
}

// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/tallystick/tallystick"
)

// A target is one endpoint to look at.
type target struct {
	host    string // name or address, without brackets
	port    string
	process string // local program that listens there, when the driver found the endpoint itself
}

func (t target) hostport() string { return net.JoinHostPort(t.host, t.port) }

func (t target) place() tallystick.Place { return tallystick.TLSPlace(t.hostport()) }

// serverName is the name for SNI; addresses are not sent (RFC 6066 section 3).
func (t target) serverName() string {
	if _, err := netip.ParseAddr(t.host); err == nil {
		return ""
	}
	return strings.TrimSuffix(t.host, ".")
}

// parseTarget reads host:port, tls://host:port or https://host[:port].
func parseTarget(text string) (target, error) {
	hostport := text
	if strings.Contains(text, "://") {
		u, err := url.Parse(text)
		if err != nil || u.User != nil || (u.Scheme != "tls" && u.Scheme != "https") {
			return target{}, invalid("%q is not a TLS endpoint: host:port, tls://host:port or https://host", text)
		}
		hostport = u.Host
		if u.Port() == "" && u.Scheme == "https" {
			hostport = net.JoinHostPort(u.Hostname(), "443")
		}
	}
	host, port, err := net.SplitHostPort(hostport)
	if err != nil || host == "" || strings.ContainsAny(host, " /\\@\x00") {
		return target{}, invalid("%q is not a TLS endpoint: host:port, tls://host:port or https://host", text)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return target{}, invalid("%q: the port is not a number between 1 and 65535", text)
	}
	return target{host: strings.ToLower(host), port: strconv.FormatUint(n, 10)}, nil
}

func parseTargets(texts []string) ([]target, error) {
	targets := make([]target, 0, len(texts))
	for _, text := range texts {
		t, err := parseTarget(text)
		if err != nil {
			return nil, err
		}
		targets = append(targets, t)
	}
	return targets, nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", tallystick.ErrInvalid, fmt.Sprintf(format, args...))
}

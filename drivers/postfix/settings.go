// SPDX-License-Identifier: Apache-2.0

package postfix

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// Bounds on what is read of postconf's answers: its largest true one has some 1,000
// parameters.
const (
	maxLines    = 20_000
	maxServices = 500
)

// A configuration is what postconf says.
type configuration struct {
	main      map[string]string            // parameters of main.cf and their defaults
	overrides map[string]map[string]string // of services of master.cf, by "name/type"
	services  []service                    // those that talk SMTP with clients
}

// A service is one line of master.cf by which clients come in.
type service struct {
	name, kind string // "submission", "inet"
	command    string // "smtpd" or "postscreen"
}

// read asks postconf.
func (d *door) read(ctx context.Context, h driver.Host) (*configuration, error) {
	ask := func(arguments ...string) (string, error) {
		answer, err := installing.Run(ctx, h, append([]string{"postconf", "-c", d.Config}, arguments...)...)
		if err != nil {
			return "", fmt.Errorf("couldn't read the configuration of Postfix in %s: %w", d.Config, err)
		}
		return answer, nil
	}
	main, err := ask("-x")
	if err != nil {
		return nil, err
	}
	master, err := ask("-M")
	if err != nil {
		return nil, err
	}
	overrides, err := ask("-xP")
	if err != nil {
		return nil, err
	}
	return &configuration{main: parseParameters(main), overrides: parseOverrides(overrides), services: parseServices(master)}, nil
}

// parseParameters reads the lines "name = value" of postconf(1).
func parseParameters(text string) map[string]string {
	values := map[string]string{}
	for name, value := range assignments(text) {
		values[name] = value
	}
	return values
}

// parseOverrides reads the lines "service/type/name = value" of postconf -P.
func parseOverrides(text string) map[string]map[string]string {
	values := map[string]map[string]string{}
	for path, value := range assignments(text) {
		i := strings.LastIndexByte(path, '/')
		if i < 0 {
			continue
		}
		if values[path[:i]] == nil {
			values[path[:i]] = map[string]string{}
		}
		values[path[:i]][path[i+1:]] = value
	}
	return values
}

func assignments(text string) func(func(string, string) bool) {
	return func(yield func(string, string) bool) {
		n := 0
		for line := range strings.Lines(text) {
			if n++; n > maxLines {
				return
			}
			name, value, ok := strings.Cut(line, "=")
			if name = strings.TrimSpace(name); ok && name != "" && !yield(name, strings.TrimSpace(value)) {
				return
			}
		}
	}
}

// parseServices reads the lines of postconf -M, of which those are of interest that run
// smtpd or postscreen (master(5)).
func parseServices(text string) []service {
	var services []service
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 8 || fields[7] != "smtpd" && fields[7] != "postscreen" || len(services) == maxServices {
			continue
		}
		if s := (service{fields[0], fields[1], fields[7]}); !slices.Contains(services, s) {
			services = append(services, s)
		}
	}
	return services
}

// of returns the value of a parameter for a service.
func (c *configuration) of(s service, name string) string {
	if s.command == "postscreen" { // it hands over to the smtpd that waits for it
		s = service{"smtpd", "pass", "smtpd"}
	}
	if value, ok := c.overrides[s.name+"/"+s.kind][name]; ok {
		return value
	}
	return c.main[name]
}

// doors returns the services that listen on the network.
func (c *configuration) doors() []service {
	return slices.DeleteFunc(slices.Clone(c.services), func(s service) bool { return s.kind != "inet" })
}

// secures says whether a service speaks TLS, and whether from the first byte on.
func (c *configuration) secures(s service) (speaks, wrapped bool) {
	if yes(c.of(s, "smtpd_tls_wrappermode")) {
		return true, true
	}
	switch level := c.of(s, "smtpd_tls_security_level"); level {
	case "":
		return yes(c.of(s, "smtpd_use_tls")) || yes(c.of(s, "smtpd_enforce_tls")), false
	default:
		return level != "none", false
	}
}

func yes(value string) bool { return strings.EqualFold(value, "yes") }

// wellKnown are the names that master.cf has ports by (services(5)).
var wellKnown = map[string]string{"smtp": "25", "submission": "587", "submissions": "465", "smtps": "465"}

// addresses returns where a service listens, as host:port; none where its port has a
// name that is not known.
func (c *configuration) addresses(s service) []string {
	host, port, err := net.SplitHostPort(s.name)
	if err != nil {
		host, port = "", s.name
	}
	if number, ok := wellKnown[port]; ok {
		port = number
	}
	if port == "" || strings.Trim(port, "0123456789") != "" {
		return nil
	}
	hosts := []string{host}
	if host == "" {
		hosts = c.interfaces()
	}
	for i := range hosts {
		hosts[i] = net.JoinHostPort(hosts[i], port)
	}
	return hosts
}

// interfaces are the hosts that a service without one listens on, as a machine that is
// that one reaches them: those of inet_interfaces, or loopback for all.
func (c *configuration) interfaces() []string {
	var hosts []string
	for _, name := range list(c.main["inet_interfaces"]) {
		if name != "all" && name != "loopback-only" {
			hosts = append(hosts, strings.Trim(name, "[]"))
			continue
		}
		protocols := list(c.main["inet_protocols"])
		if slices.Contains(protocols, "all") || slices.Contains(protocols, "ipv4") {
			hosts = append(hosts, "127.0.0.1") // the same processes; not every machine has IPv6
		} else if slices.Contains(protocols, "ipv6") {
			hosts = append(hosts, "::1")
		}
	}
	return hosts
}

// list splits a value of main.cf at commas and white space.
func list(value string) []string {
	return strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
}

// under makes a path of the configuration absolute.
func under(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

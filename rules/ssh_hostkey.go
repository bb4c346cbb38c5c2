// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

func sshSharedHostKey() rule.Rule {
	return rule.Rule{
		Name:  "ssh-shared-host-key",
		Title: "Several SSH servers have one host key",
		About: "Servers at different names or addresses show the same host key: they were copied from one image, or are one machine with several " +
			"addresses. Each of the former can stand in for the others unnoticed, and so can who takes the key from the weakest of them.",
		Severity:  tallystick.SeverityLow,
		Citation:  "RFC 4251 section 9.3.4; NIST IR 7966 section 4.3",
		URL:       "https://www.rfc-editor.org/rfc/rfc4251#section-9.3.4",
		Effective: day(2006, time.January, 1),
		Do: "Make new host keys on the copies (rm /etc/ssh/ssh_host_*, ssh-keygen -A, restart sshd), and have images make theirs at the first " +
			"start; accept the finding where it is one machine or a cluster that means it.",
		Check: func(s rule.Subject) []rule.Hit {
			if s.Credential.Kind != tallystick.KindKey {
				return nil // that of a certificate is seen by its bare key too
			}
			hosts := sshHosts(s.Sightings)
			if len(hosts) < 2 {
				return nil
			}
			return one(0, "the host key of %s", list(hosts))
		},
	}
}

// sshHosts returns the hosts that show a key. A name and the addresses behind
// it are one, and so are the ports of a host and this machine's own addresses.
func sshHosts(sightings []tallystick.Sighting) []string {
	nameOf := map[string]string{} // of an address that a name led to
	for i := range sightings {
		seen := &sightings[i]
		if name, _ := seen.Place.HostPort(); isHostKey(seen) && seen.SSH.Address != "" {
			address := addressOf(seen.SSH.Address)
			if known, ok := nameOf[address]; !ok || name < known {
				nameOf[address] = name
			}
		}
	}
	hosts := map[string]bool{}
	for i := range sightings {
		seen := &sightings[i]
		if !isHostKey(seen) {
			continue
		}
		host, _ := seen.Place.HostPort()
		at := cmp.Or(addressOf(seen.SSH.Address), host)
		if address, err := netip.ParseAddr(at); err == nil && address.IsLoopback() {
			hosts["this machine"] = true
			continue
		}
		hosts[cmp.Or(nameOf[at], host)] = true
	}
	return slices.Sorted(maps.Keys(hosts))
}

// addressOf takes the port from an address that may have one.
func addressOf(text string) string {
	if at, err := netip.ParseAddrPort(text); err == nil {
		return at.Addr().String()
	}
	return strings.Trim(text, "[]")
}

// sha1Alone says what a server signs with when that is SHA-1 alone.
func sha1Alone(s *tallystick.SSHFacts) string {
	algorithms := s.HostKeys
	if len(algorithms) == 0 {
		algorithms = s.Signatures
	}
	for _, name := range algorithms {
		name, _, _ = strings.Cut(name, "-cert-v")
		if hash, _ := brokenHash(name); hash == "" {
			return ""
		}
	}
	if len(algorithms) == 0 {
		return ""
	}
	return "the server signs with " + list(algorithms) + " alone"
}

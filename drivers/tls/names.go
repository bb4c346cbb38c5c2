// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
)

// mostNames bounds the names that are learnt about one address.
const mostNames = 8

// furtherNames returns the names to ask for at a target that is an address:
// those that the operator lists, and those that were learnt, if wanted.
func (l *lookout) furtherNames(ctx context.Context, address netip.Addr, leaf *tallystick.Credential) []string {
	names := slices.Clone(l.options.Names)
	var learnt []string
	if l.options.FollowNames {
		learnt = append(learnt, leaf.Names...)
	}
	if l.options.ReverseDNS {
		ctx, cancel := context.WithTimeout(ctx, l.options.Timeout)
		defer cancel()
		if found, err := net.DefaultResolver.LookupAddr(ctx, address.String()); err == nil {
			slices.Sort(found)
			learnt = append(learnt, found...)
		} // An address without names is no miss: it was seen as what it is.
	}
	room := mostNames
	for _, name := range learnt {
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		if room > 0 && isHostName(name) && !slices.Contains(names, name) && !l.dialer.Exclude.Name(name) {
			names = append(names, name)
			room--
		}
	}
	return names
}

// isHostName says whether text could be the host_name of SNI (RFC 6066 section
// 3): no address, no wildcard.
func isHostName(text string) bool {
	if _, err := netip.ParseAddr(text); err == nil || text == "" || len(text) > 253 || text[0] == '.' {
		return false
	}
	return !strings.ContainsFunc(text, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_')
	})
}

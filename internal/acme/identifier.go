// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/idna"

	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/store"
)

// The types of identifiers.
const (
	typeDNS = "dns" // RFC 8555 section 9.7.7
	typeIP  = "ip"  // RFC 8738
)

const (
	maxName  = 253 // RFC 1035 section 2.3.4
	maxLabel = 63
)

// readIdentifier checks what an order is for, and returns it as it is kept: names in
// lower case, addresses as RFC 5952 writes them.
func readIdentifier(id store.ACMEIdentifier) (store.ACMEIdentifier, *Problem) {
	bad := func(kind, why string) (store.ACMEIdentifier, *Problem) {
		if len(id.Value) > maxName {
			id.Value = id.Value[:maxName]
		}
		return id, problem(0, kind, "%s", why).about(id)
	}
	switch id.Type {
	case typeIP:
		ip, err := netip.ParseAddr(id.Value)
		if err != nil || ip.Zone() != "" || ip.Is4In6() || ip.String() != id.Value {
			return bad("malformed", "it is no address in its shortest form (RFC 8738 section 3)")
		}
		if ip.IsUnspecified() || ip.IsMulticast() {
			return bad("rejectedIdentifier", "it is not the address of one machine")
		}
		return id, nil
	case typeDNS:
		id.Value = strings.ToLower(id.Value)
		if why := notName(id.Value); why != "" {
			return bad("malformed", why)
		}
		return id, nil
	}
	return bad("unsupportedIdentifier", "identifiers are of type dns or ip")
}

// notName says why a text is no host name, perhaps with "*." before it; "" if it is one.
func notName(name string) string {
	host := strings.TrimPrefix(name, "*.")
	if len(name) > maxName || host == "" {
		return "a name has between 1 and 253 characters"
	}
	if host != name && !strings.Contains(host, ".") {
		return "a wildcard stands before at least two labels"
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return "it is an address; order it as type ip"
	}
	labels := strings.Split(host, ".")
	for _, label := range labels {
		if why := notLabel(label); why != "" {
			return why
		}
	}
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		return "its last label is a number" // so that no resolver takes it for an address
	}
	if strings.Contains(host, "xn--") {
		if back, err := idna.Lookup.ToUnicode(host); err != nil || back == host {
			return "one of its A-labels cannot be decoded (RFC 5890 section 2.3.2.1)"
		}
	}
	return ""
}

func notLabel(label string) string {
	if label == "" || len(label) > maxLabel || label[0] == '-' || label[len(label)-1] == '-' {
		return "a label is empty, longer than 63 characters, or begins or ends with a hyphen"
	}
	for _, c := range []byte(label) {
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-') {
			return "labels are letters, digits and hyphens; write other scripts as A-labels"
		}
	}
	return ""
}

// readIdentifiers reads all of an order, each once.
func (x *exchange) readIdentifiers(list []store.ACMEIdentifier) ([]store.ACMEIdentifier, error) {
	if len(list) == 0 || len(list) > x.Limits.Names {
		return nil, malformed("an order is for between 1 and %d names", x.Limits.Names)
	}
	var out []store.ACMEIdentifier
	var wrong []*Problem
	for _, id := range list {
		id, p := readIdentifier(id)
		if p == nil && strings.HasPrefix(id.Value, "*.") && !slices.Contains(x.Challenges, dns01) {
			p = problem(0, "rejectedIdentifier", "wildcards are proven by dns-01, which is not offered here").about(id)
		}
		if p != nil {
			wrong = append(wrong, p)
		} else if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out, together(wrong)
}

// namesOf makes of identifiers what package ca takes.
func namesOf(ids []store.ACMEIdentifier) *ca.Names {
	names := &ca.Names{}
	for _, id := range ids {
		if id.Type == typeDNS {
			names.DNS = append(names.DNS, id.Value)
		} else if ip, err := netip.ParseAddr(id.Value); err == nil {
			names.IPs = append(names.IPs, ip)
		}
	}
	slices.Sort(names.DNS)
	slices.SortFunc(names.IPs, netip.Addr.Compare)
	return names
}

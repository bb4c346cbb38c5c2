// SPDX-License-Identifier: Apache-2.0

package renewal

import (
	"fmt"
	"net/mail"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
)

// nameForm is what a renewal can be called: it names files and orders.
var nameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// dnsForm is a host name in ASCII, also with a wildcard as its first label (RFC
// 1123 section 2.1; RFC 9525 section 6.3). Underscores are borne: private names have them.
var dnsForm = regexp.MustCompile(`^(\*\.)?[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$`)

const (
	maxNames = 100
	maxName  = 253
)

// normalNames returns names in the form and the order in which they are compared:
// DNS names in lower case, addresses in their shortest form, each once.
func normalNames(names []string) ([]string, error) {
	if len(names) == 0 || len(names) > maxNames {
		return nil, fmt.Errorf("%w: a certificate is for 1 to %d names", tallystick.ErrInvalid, maxNames)
	}
	list := make([]string, 0, len(names))
	for _, name := range names {
		one, err := normalName(strings.TrimSpace(name))
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

func normalName(name string) (string, error) {
	wrong := fmt.Errorf("%w: %.100q is not a host name, an address, an e-mail address or a URI", tallystick.ErrInvalid, name)
	if ip, err := netip.ParseAddr(name); err == nil {
		if ip.Zone() != "" {
			return "", wrong
		}
		return ip.Unmap().String(), nil
	}
	switch {
	case strings.Contains(name, "://"):
		u, err := url.Parse(name)
		if err != nil || u.Host == "" || len(name) > 2048 || u.User != nil {
			return "", wrong
		}
		return u.String(), nil
	case strings.Contains(name, "@"):
		a, err := mail.ParseAddress(name)
		if err != nil || a.Address != name || len(name) > maxName {
			return "", wrong
		}
		return name, nil
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if len(name) > maxName || !dnsForm.MatchString(name) {
		return "", wrong
	}
	return name, nil
}

// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"crypto/x509"
	"fmt"
	"net/mail"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Bounds of what a certificate may name. A common name has at most 64 characters
// (RFC 5280 appendix A.1, ub-common-name); the other bounds are ours.
const (
	maxNames      = 100
	maxCommonName = 64
	maxName       = 253 // of DNS: RFC 1035 section 2.3.4
	maxURI        = 2048
)

// namesOf takes the names from a certificate request; see fit for its common name.
func namesOf(csr *x509.CertificateRequest) Names {
	n := Names{CommonName: csr.Subject.CommonName, DNS: csr.DNSNames, Emails: csr.EmailAddresses}
	for _, ip := range csr.IPAddresses {
		if a, ok := netip.AddrFromSlice(ip); ok {
			n.IPs = append(n.IPs, a.Unmap())
		}
	}
	for _, u := range csr.URIs {
		n.URIs = append(n.URIs, u.String())
	}
	return n
}

// fit makes names as they are kept, for a profile: lower case, sorted, each once. The
// common name of a request for a host is one of its names when it stands alone, as old
// clients write it; a certificate for a host has none (RFC 9525 section 2).
// What cannot be a name, or not of this profile, is ErrBadName.
func (n Names) fit(p Profile) (Names, error) {
	host := p.accepts("dns") && !p.accepts("common-name")
	if n.CommonName != "" && host {
		// The common name of a server is only kept where it is one of its names.
		if len(n.DNS) == 0 && len(n.IPs) == 0 {
			if ip, err := netip.ParseAddr(n.CommonName); err == nil {
				n.IPs = []netip.Addr{ip}
			} else {
				n.DNS = []string{n.CommonName}
			}
		}
		n.CommonName = ""
	}
	out := Names{CommonName: n.CommonName}
	var err error
	if out.DNS, err = fitEach(n.DNS, fitDNS); err != nil {
		return Names{}, err
	}
	if out.Emails, err = fitEach(n.Emails, fitEmail); err != nil {
		return Names{}, err
	}
	if out.URIs, err = fitEach(n.URIs, fitURI); err != nil {
		return Names{}, err
	}
	if out.Principals, err = fitEach(n.Principals, fitText); err != nil {
		return Names{}, err
	}
	for _, ip := range n.IPs {
		if !ip.IsValid() || ip.Zone() != "" || ip.IsUnspecified() {
			return Names{}, fmt.Errorf("%w: %s is not an address of one machine", ErrBadName, ip)
		}
		out.IPs = append(out.IPs, ip.Unmap())
	}
	slices.SortFunc(out.IPs, netip.Addr.Compare)
	out.IPs = slices.Compact(out.IPs)
	return out, out.check(p)
}

// check says whether the names suit the profile.
func (n Names) check(p Profile) error {
	if n.CommonName != "" {
		if _, err := fitText(n.CommonName); err != nil || utf8.RuneCountInString(n.CommonName) > maxCommonName {
			return fmt.Errorf("%w: the common name %.80q has more than %d characters, or some that cannot be printed", ErrBadName, n.CommonName, maxCommonName)
		}
	}
	for _, sort := range []struct {
		name  string
		count int
	}{{"dns", len(n.DNS)}, {"ip", len(n.IPs)}, {"email", len(n.Emails)}, {"uri", len(n.URIs)}, {"principal", len(n.Principals)}} {
		if sort.count > 0 && !p.accepts(sort.name) {
			return fmt.Errorf("%w: certificates of profile %s hold no names of sort %s", ErrBadName, p.Name, sort.name)
		}
	}
	if n.CommonName != "" && !p.accepts("common-name") {
		return fmt.Errorf("%w: certificates of profile %s have no common name", ErrBadName, p.Name)
	}
	all := n.All()
	if len(all) == 0 {
		return fmt.Errorf("%w: the request names nothing; a certificate of profile %s is for names of sort %s", ErrBadName, p.Name, strings.Join(p.Accepts, ", "))
	}
	if len(all) > maxNames {
		return fmt.Errorf("%w: %d names are more than %d", ErrBadName, len(all), maxNames)
	}
	if p.Name == "spiffe" && (len(n.URIs) != 1 || !strings.HasPrefix(n.URIs[0], "spiffe://")) {
		return fmt.Errorf("%w: an X.509-SVID has exactly one URI, which begins with spiffe://", ErrBadName)
	}
	if p.Name == "postgresql" && n.CommonName == "" {
		return fmt.Errorf("%w: a role of PostgreSQL is named by the common name", ErrBadName)
	}
	return nil
}

// fitEach fits all and leaves out what is there twice.
func fitEach(list []string, fit func(string) (string, error)) ([]string, error) {
	var out []string
	for _, name := range list {
		name, err := fit(name)
		if err != nil {
			return nil, err
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// fitDNS takes host names with an optional "*." in front (RFC 9525 section 6.3),
// in lower case, as A-labels (RFC 5280 section 7.2).
func fitDNS(name string) (string, error) {
	bad := func(why string) (string, error) {
		return "", fmt.Errorf("%w: %.80q is no host name: %s", ErrBadName, name, why)
	}
	if len(name) > maxName {
		return bad(fmt.Sprintf("it has more than %d characters", maxName))
	}
	host := strings.TrimSuffix(name, ".")
	if !isASCII(host) {
		ascii, err := idna.Lookup.ToASCII(host)
		if err != nil {
			return bad("it cannot be written as A-labels")
		}
		host = ascii
	}
	host = strings.ToLower(host)
	rest, wild := strings.CutPrefix(host, "*.")
	if wild && !strings.Contains(rest, ".") {
		return bad("a wildcard stands before at least two labels")
	}
	if _, err := netip.ParseAddr(rest); err == nil {
		return bad("it is an address; ask for it as one")
	}
	for label := range strings.SplitSeq(rest, ".") {
		if len(label) == 0 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return bad("a label is empty, too long, or begins or ends with a hyphen")
		}
		for _, r := range label {
			if !('a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-') {
				return bad("labels are letters, digits and hyphens")
			}
		}
	}
	labels := strings.Split(rest, ".")
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		return bad("it ends like an address")
	}
	for _, label := range labels {
		if strings.HasPrefix(label, "xn--") {
			if _, err := idna.Lookup.ToUnicode(label); err != nil {
				return bad("an A-label cannot be read")
			}
		}
	}
	return host, nil
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
}

func fitEmail(name string) (string, error) {
	address, err := mail.ParseAddress(name)
	if err != nil || address.Name != "" || address.Address != name || len(name) > maxName || !isASCII(name) {
		return "", fmt.Errorf("%w: %.80q is no mail address", ErrBadName, name)
	}
	user, domain, _ := strings.Cut(name, "@")
	return user + "@" + strings.ToLower(domain), nil
}

func fitURI(name string) (string, error) {
	u, err := url.Parse(name)
	if err != nil || !u.IsAbs() || u.Host == "" || u.User != nil || len(name) > maxURI || !isASCII(name) {
		return "", fmt.Errorf("%w: %.80q is no URI with a scheme and a host (RFC 5280 section 4.2.1.6)", ErrBadName, name)
	}
	for segment := range strings.SplitSeq(strings.TrimPrefix(u.Path, "/"), "/") {
		if segment == "." || segment == ".." || segment == "" && u.Path != "" && u.Path != "/" && u.Scheme == "spiffe" {
			return "", fmt.Errorf("%w: the path of %.80q is not in its plain form", ErrBadName, name)
		}
	}
	u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	return u.String(), nil
}

func fitText(name string) (string, error) {
	if name == "" || len(name) > maxName || !utf8.ValidString(name) || strings.TrimSpace(name) != name || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "", fmt.Errorf("%w: %.80q is empty, too long, or has characters that cannot be printed", ErrBadName, name)
	}
	return name, nil
}

// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net/netip"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// A Function is what expressions can use beside what CEL has.
type Function struct{ Name, Example, About string }

// Functions lists them, for documents and hints.
func Functions() []Function {
	return []Function{
		{"under", "under(n, 'lab.test')", "whether a text is a host name and the domain or below it: `lab.test`, `a.lab.test`, `*.lab.test`; not `evillab.test`, `me@lab.test` or `spiffe://x/a.lab.test`"},
		{"inside", "inside(ip, '10.0.0.0/8')", "whether an IP address is inside a network"},
		{"glob", "glob(n, 'web-*.lab.test')", "whether a text is of a form: `*` stands for any characters but dots, `**` for any characters"},
		{"hostname", "hostname(n)", "whether a text is a host name: labels of letters, digits and hyphens, with a whole `*` as the first label at most"},
	}
}

// declarations returns them for CEL.
func declarations() []cel.EnvOption {
	two := func(name string, f func(a, b string) (bool, error)) cel.EnvOption {
		return cel.Function(name, cel.Overload(name+"_string_string", []*cel.Type{cel.StringType, cel.StringType}, cel.BoolType,
			cel.BinaryBinding(func(a, b ref.Val) ref.Val {
				x, okX := a.(types.String)
				y, okY := b.(types.String)
				if !okX || !okY {
					return types.MaybeNoSuchOverloadErr(a)
				}
				is, err := f(string(x), string(y))
				if err != nil {
					return types.WrapErr(err)
				}
				return types.Bool(is)
			})))
	}
	return []cel.EnvOption{
		two("under", func(name, domain string) (bool, error) { return under(name, domain), nil }),
		two("inside", inside),
		two("glob", func(text, pattern string) (bool, error) { return glob(text, pattern), nil }),
		cel.Function("hostname", cel.Overload("hostname_string", []*cel.Type{cel.StringType}, cel.BoolType,
			cel.UnaryBinding(func(a ref.Val) ref.Val {
				name, ok := a.(types.String)
				if !ok {
					return types.MaybeNoSuchOverloadErr(a)
				}
				return types.Bool(hostname(string(name)))
			}))),
	}
}

// under says whether a host name is the domain or below it. Names are compared without
// regard to case (RFC 4343). It is false of what is no host name, because it is asked of
// names of all sorts, and the path of a URI or the realm of a principal can end like a domain.
func under(name, domain string) bool {
	domain = strings.Trim(domain, ".")
	at := len(name) - len(domain)
	if domain == "" || at < 0 || !strings.EqualFold(name[at:], domain) || at > 0 && name[at-1] != '.' {
		return false
	}
	return hostname(name)
}

// inside says whether an address is inside a network, or is that address.
func inside(ip, network string) (bool, error) {
	address, err := netip.ParseAddr(ip)
	if err != nil {
		return false, fmt.Errorf("%.80q is no IP address", ip)
	}
	prefix, err := parseNetwork(network)
	if err != nil {
		return false, err
	}
	return prefix.Contains(address.Unmap()), nil
}

func parseNetwork(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil && address.Zone() == "" {
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return prefix, fmt.Errorf("%.80q is no network such as 10.0.0.0/8", text)
	}
	return prefix.Masked(), nil
}

// hostname says whether a text is a host name (RFC 1034 section 3.5, with the digits
// of RFC 1123 section 2.1), or one with a wildcard in place of its first label
// (RFC 9525 section 6.3).
func hostname(name string) bool {
	rest := strings.TrimPrefix(name, "*.")
	if rest == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(rest, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if c != '-' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
				return false
			}
		}
	}
	return true
}

// glob says whether a pattern stands for the whole text. It walks through the text
// once with the set of positions in the pattern that could be reached so far, so
// that no pattern takes longer than the product of the two lengths.
func glob(text, pattern string) bool {
	if !strings.Contains(pattern, "*") {
		return text == pattern
	}
	now, next := make([]bool, len(pattern)+1), make([]bool, len(pattern)+1)
	globReach(now, pattern, 0)
	for _, c := range []byte(text) {
		for at := range len(pattern) {
			if !now[at] {
				continue
			}
			switch {
			case strings.HasPrefix(pattern[at:], "**") || pattern[at] == '*' && c != '.':
				globReach(next, pattern, at)
			case pattern[at] != '*' && pattern[at] == c:
				globReach(next, pattern, at+1)
			}
		}
		now, next = next, now
		clear(next)
	}
	return now[len(pattern)]
}

// globReach adds a position to the set, and those behind stars, which may stand for
// nothing.
func globReach(set []bool, pattern string, at int) {
	set[at] = true
	for at < len(pattern) && pattern[at] == '*' {
		if strings.HasPrefix(pattern[at:], "**") {
			at++
		}
		at++
		set[at] = true
	}
}

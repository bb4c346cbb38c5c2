// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"slices"
	"strings"

	"github.com/tallystick/tallystick/drivers/tls/hello"
)

// hellos are the offers that the plan is made of, built once. Those that are
// sent get their server name in a copy.
type hellos struct {
	first    hello.Offer                   // the chain, from nearly every server
	web      hello.Offer                   // likewise, and which of the protocols of the web it speaks
	clear    hello.Offer                   // the chain in clear text, from servers that speak TLS 1.2
	fallback []hello.Offer                 // the chain, from servers that refuse the first, in this order
	groups   hello.Offer                   // the group that is preferred
	version  map[hello.Version]hello.Offer // whether it is accepted
	all      map[hello.Version]hello.Offer // every suite of it
	weak     map[hello.Version]hello.Offer // the suites that nobody should accept, and those without forward secrecy
	rsa, ec  hello.Offer                   // the chain of one kind of key
	hybrids  hello.Offer                   // whether there is a group that stands against a quantum computer
	// broken and lasting hold every suite that isBroken and isForwardSecret
	// say yes to; names are slow to take apart.
	broken, lasting map[hello.Suite]bool
}

// readable are the suites of TLS 1.3 whose flight can be decrypted.
var readable = []hello.Suite{0x1301, 0x1302, 0x1303}

func newHellos(prove bool) *hellos {
	depth := hello.ReadCertificate
	if prove {
		depth = hello.ReadProof
	}
	old := []hello.Version{hello.TLS12, hello.TLS11, hello.TLS10}
	usual := usualSuites()
	curves := []hello.Group{hello.X25519, hello.P256, hello.P384, hello.P521, 0x001e, 0x001a, 0x001b, 0x001c}
	h := &hellos{
		first: hello.Offer{
			Versions: append([]hello.Version{hello.TLS13}, old...), Suites: slices.Concat(readable, usual),
			Groups: curves, Schemes: hello.Schemes(), Staple: true, Read: depth,
		},
		version: map[hello.Version]hello.Offer{}, all: map[hello.Version]hello.Offer{}, weak: map[hello.Version]hello.Offer{},
		broken: map[hello.Suite]bool{}, lasting: map[hello.Suite]bool{},
	}
	for _, s := range slices.Concat(hello.SuitesOf(hello.TLS12), hello.SuitesOf(hello.TLS13)) {
		h.broken[s], h.lasting[s] = isBroken(s), isForwardSecret(s)
	}
	widest := h.first
	widest.Suites = slices.Concat(readable, hello.SuitesOf(hello.TLS12))
	widest.Groups = append([]hello.Group{hello.X25519}, hello.Groups()...)
	h.clear = h.first
	h.clear.Versions, h.clear.Suites = old, usual
	small := hello.Offer{Versions: old, Suites: usual, Groups: curves, Schemes: hello.Schemes(), Read: depth}
	h.fallback = []hello.Offer{
		widest, small,
		{Versions: []hello.Version{hello.TLS10}, Suites: usual, Bare: true, Read: depth},
		{Versions: []hello.Version{hello.SSL30}, Suites: hello.SuitesOf(hello.SSL30), Bare: true, Read: depth},
	}
	h.versions()
	h.groups, h.hybrids = h.version[hello.TLS13], h.version[hello.TLS13]
	h.web, h.rsa, h.ec = h.first, h.first, h.first
	h.rsa.Schemes, h.rsa.ChainSchemes = hello.RSASchemes(), hello.Schemes()
	h.ec.Schemes, h.ec.ChainSchemes = hello.ECSchemes(), hello.Schemes()
	h.rsa.Suites = slices.Concat(readable, slices.DeleteFunc(slices.Clone(usual), func(s hello.Suite) bool { return !strings.Contains(s.String(), "RSA_") }))
	h.ec.Suites = slices.Concat(readable, slices.DeleteFunc(slices.Clone(usual), func(s hello.Suite) bool { return !strings.Contains(s.String(), "_ECDSA_") }))
	h.rsa.Staple, h.ec.Staple = false, false
	h.hybrids.Groups = hello.HybridGroups()
	h.web.ALPN = []string{"h2", "http/1.1"}
	for _, o := range []*hello.Offer{&h.first, &h.web, &h.clear, &h.groups, &h.hybrids, &h.rsa, &h.ec} {
		*o = o.Prepare()
	}
	return h
}

// versions builds the offers of one version each.
func (h *hellos) versions() {
	for _, v := range hello.Versions() {
		o := hello.Offer{
			Versions: []hello.Version{v}, Suites: hello.SuitesOf(v), Groups: hello.Groups(), Schemes: hello.Schemes(),
			NoShare: true, Bare: v == hello.SSL30,
		}.Prepare()
		h.all[v] = o
		o.Suites = usualFor(v)
		h.version[v] = o
		if o.Suites = slices.DeleteFunc(hello.SuitesOf(v), func(s hello.Suite) bool { return !h.broken[s] && h.lasting[s] }); v != hello.TLS13 {
			h.weak[v] = o
		}
	}
}

// usualSuites are those of TLS 1.2 and older that any server has one of, the
// ones that make the server sign first: a signature proves that it has the key.
func usualSuites() []hello.Suite {
	var signing, static []hello.Suite
	for _, s := range hello.SuitesOf(hello.TLS12) {
		exchange, cipher, _ := strings.Cut(s.String(), "_WITH_")
		usual := strings.HasPrefix(cipher, "AES_") || strings.HasPrefix(cipher, "CHACHA20_POLY1305_SHA256") ||
			strings.HasPrefix(cipher, "CAMELLIA_") || cipher == "3DES_EDE_CBC_SHA" || strings.HasPrefix(cipher, "RC4_128_")
		switch {
		case !usual || strings.HasSuffix(cipher, "_OLD"):
		case exchange == "TLS_ECDHE_ECDSA", exchange == "TLS_ECDHE_RSA", exchange == "TLS_DHE_RSA":
			signing = append(signing, s)
		case exchange == "TLS_RSA":
			static = append(static, s)
		}
	}
	return append(signing, static...)
}

// usualFor orders the usual suites for a hello that asks for no more than the
// version: a server that follows the client's order is spared a signature.
func usualFor(v hello.Version) []hello.Suite {
	if v == hello.TLS13 {
		return readable
	}
	suites := usualSuites()
	slices.SortStableFunc(suites, func(a, b hello.Suite) int { return rank(a) - rank(b) })
	return suites
}

func rank(s hello.Suite) int {
	if strings.HasPrefix(s.String(), "TLS_RSA_WITH_AES_") {
		return 0
	}
	return 1
}

// isBroken says whether a suite protects nothing or is known to be broken: NULL,
// anonymous, export, RC4 (RFC 7465), RC2, DES and Triple DES (NIST SP 800-131A).
func isBroken(s hello.Suite) bool {
	for word := range strings.SplitSeq(s.String(), "_") {
		switch word {
		case "NULL", "anon", "EXPORT", "EXPORT1024", "DES40", "RC4", "RC2", "DES", "3DES":
			return true
		}
	}
	return false
}

// isForwardSecret says whether a suite makes a key of its own for each
// connection. The suites of TLS 1.3 name no key exchange, because theirs does.
func isForwardSecret(s hello.Suite) bool {
	exchange, _, named := strings.Cut(s.String(), "_WITH_")
	return !named || strings.Contains(exchange, "DHE_") || strings.HasSuffix(exchange, "_anon") || strings.HasPrefix(exchange, "TLS_ECCPWD")
}

// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"context"
	gotls "crypto/tls"
	"slices"
)

// broken are the suites of crypto/tls that no server should take any more:
// RC4 (RFC 7465) and 3DES (Sweet32, NIST SP 800-131A).
var broken = [...]uint16{
	gotls.TLS_RSA_WITH_RC4_128_SHA, gotls.TLS_ECDHE_RSA_WITH_RC4_128_SHA, gotls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA,
	gotls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, gotls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA,
}

// static are its suites without forward secrecy: what was recorded can be
// read by whoever gets the key later.
var static = [...]uint16{
	gotls.TLS_RSA_WITH_AES_128_GCM_SHA256, gotls.TLS_RSA_WITH_AES_256_GCM_SHA384, gotls.TLS_RSA_WITH_AES_128_CBC_SHA256,
	gotls.TLS_RSA_WITH_AES_128_CBC_SHA, gotls.TLS_RSA_WITH_AES_256_CBC_SHA,
}

// versions are those that crypto/tls speaks, oldest first.
var versions = [...]uint16{gotls.VersionTLS10, gotls.VersionTLS11, gotls.VersionTLS12, gotls.VersionTLS13}

// accepted is what a server agreed to.
type accepted struct{ versions, suites []uint16 }

// add notes what one hello brought. A server has accepted what its ServerHello
// chose, even when it ends the handshake later.
func (c *accepted) add(a answer) {
	if a.version != 0 && !slices.Contains(c.versions, a.version) {
		c.versions = append(c.versions, a.version)
	}
	if a.suite != 0 && !slices.Contains(c.suites, a.suite) {
		c.suites = append(c.suites, a.suite)
	}
}

// ask makes the further handshakes that the package comment lists. They go to
// the address that answered first, so that they describe one server.
func (l lookout) ask(ctx context.Context, t target, first answer) accepted {
	var c accepted
	c.add(first)
	hello := func(o offer) answer {
		a := handshake(ctx, first.address, t.serverName(), l.timeout, o)
		c.add(a)
		return a
	}
	for _, version := range versions {
		if !slices.Contains(c.versions, version) {
			hello(only(version))
		}
	}
	if !slices.ContainsFunc(c.versions, func(v uint16) bool { return v <= gotls.VersionTLS12 }) {
		return c // TLS 1.3 has none of the suites below
	}
	old := offer{min: gotls.VersionTLS10, max: gotls.VersionTLS12, suites: slices.Clone(broken[:])}
	for len(old.suites) > 0 {
		a := hello(old)
		i := slices.Index(old.suites, a.suite)
		if i < 0 {
			break
		}
		old.suites = slices.Delete(old.suites, i, i+1)
	}
	old.suites = static[:]
	hello(old)
	return c
}

// protocols returns the words of TLSFacts.Protocols, oldest first.
func (c *accepted) protocols() []string {
	var words []string
	for i, version := range versions {
		if slices.Contains(c.versions, version) {
			words = append(words, [...]string{"tls1.0", "tls1.1", "tls1.2", "tls1.3"}[i])
		}
	}
	return words
}

// suiteNames returns IANA names, sorted.
func (c *accepted) suiteNames() []string {
	var names []string
	for _, suite := range c.suites {
		names = append(names, gotls.CipherSuiteName(suite))
	}
	slices.Sort(names)
	return names
}

// groupName returns the name in the IANA registry "TLS Supported Groups".
func groupName(group gotls.CurveID) string {
	switch group {
	case 0:
		return ""
	case gotls.CurveP256:
		return "secp256r1"
	case gotls.CurveP384:
		return "secp384r1"
	case gotls.CurveP521:
		return "secp521r1"
	case gotls.X25519:
		return "x25519"
	}
	return group.String()
}

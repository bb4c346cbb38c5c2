// SPDX-License-Identifier: Apache-2.0

package hello

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Version is a protocol version as it stands on the wire.
type Version uint16

// The versions that have been given a number. SSL 2.0 has a hello of its own
// form and is not asked for.
const (
	SSL30 Version = 0x0300
	TLS10 Version = 0x0301
	TLS11 Version = 0x0302
	TLS12 Version = 0x0303
	TLS13 Version = 0x0304
)

// Versions lists every version that can be offered, oldest first.
func Versions() []Version { return []Version{SSL30, TLS10, TLS11, TLS12, TLS13} }

// String returns "ssl3", "tls1.0" ... "tls1.3", or the number.
func (v Version) String() string {
	switch v {
	case SSL30:
		return "ssl3"
	case TLS10, TLS11, TLS12, TLS13:
		return fmt.Sprintf("tls1.%d", v-TLS10)
	}
	return fmt.Sprintf("0x%04x", uint16(v))
}

// A Suite is the number of a cipher suite.
type Suite uint16

type suite struct {
	number Suite
	name   string
}

// String returns the name in the IANA registry, or the number where there is none.
func (s Suite) String() string {
	for _, table := range [][]suite{suites[:], unregistered[:]} {
		if i, ok := slices.BinarySearchFunc(table, s, func(row suite, n Suite) int { return cmp.Compare(row.number, n) }); ok {
			return table[i].name
		}
	}
	return fmt.Sprintf("0x%04x", uint16(s))
}

// SuitesOf returns every suite that a server could choose in version v, those
// that protect well first.
func SuitesOf(v Version) []Suite {
	var strong, rest []Suite
	for _, table := range [][]suite{suites[:], unregistered[:]} {
		for _, row := range table {
			switch {
			case (v == TLS13) != isTLS13(row):
			case v == TLS13, strings.Contains(row.name, "ECDHE_") && strings.Contains(row.name, "_GCM_"):
				strong = append(strong, row.number)
			default:
				rest = append(rest, row.number)
			}
		}
	}
	return append(strong, rest...)
}

// isTLS13 says whether a suite belongs to TLS 1.3, whose suites name no key
// exchange (RFC 8446 appendix B.4; RFC 9150, RFC 8998, RFC 9367).
func isTLS13(s suite) bool {
	return !strings.Contains(s.name, "_WITH_") || strings.Contains(s.name, "_MGM_")
}

// A Group is the number of a key exchange group.
type Group uint16

// The groups whose secret this package can compute.
const (
	P256               Group = 0x0017
	P384               Group = 0x0018
	P521               Group = 0x0019
	X25519             Group = 0x001d
	SecP256r1MLKEM768  Group = 0x11eb
	X25519MLKEM768     Group = 0x11ec
	SecP384r1MLKEM1024 Group = 0x11ed
)

// groups are the names of the IANA registry "TLS Supported Groups"
// (https://www.iana.org/assignments/tls-parameters/tls-parameters-8.csv).
var groups = map[Group]string{
	0x0001: "sect163k1", 0x0002: "sect163r1", 0x0003: "sect163r2", 0x0004: "sect193r1", 0x0005: "sect193r2",
	0x0006: "sect233k1", 0x0007: "sect233r1", 0x0008: "sect239k1", 0x0009: "sect283k1", 0x000a: "sect283r1",
	0x000b: "sect409k1", 0x000c: "sect409r1", 0x000d: "sect571k1", 0x000e: "sect571r1",
	0x000f: "secp160k1", 0x0010: "secp160r1", 0x0011: "secp160r2", 0x0012: "secp192k1", 0x0013: "secp192r1",
	0x0014: "secp224k1", 0x0015: "secp224r1", 0x0016: "secp256k1",
	P256: "secp256r1", P384: "secp384r1", P521: "secp521r1",
	0x001a: "brainpoolP256r1", 0x001b: "brainpoolP384r1", 0x001c: "brainpoolP512r1",
	X25519: "x25519", 0x001e: "x448",
	0x001f: "brainpoolP256r1tls13", 0x0020: "brainpoolP384r1tls13", 0x0021: "brainpoolP512r1tls13",
	0x0022: "GC256A", 0x0023: "GC256B", 0x0024: "GC256C", 0x0025: "GC256D", 0x0026: "GC512A", 0x0027: "GC512B", 0x0028: "GC512C",
	0x0029: "curveSM2",
	0x0100: "ffdhe2048", 0x0101: "ffdhe3072", 0x0102: "ffdhe4096", 0x0103: "ffdhe6144", 0x0104: "ffdhe8192",
	0x0200: "MLKEM512", 0x0201: "MLKEM768", 0x0202: "MLKEM1024",
	SecP256r1MLKEM768: "SecP256r1MLKEM768", X25519MLKEM768: "X25519MLKEM768", SecP384r1MLKEM1024: "SecP384r1MLKEM1024",
	0x11ee: "curveSM2MLKEM768", 0x6399: "X25519Kyber768Draft00", 0x639a: "SecP256r1Kyber768Draft00",
}

// String returns the name in the IANA registry, "" for no group, or the number.
func (g Group) String() string {
	if name, ok := groups[g]; ok {
		return name
	}
	if g == 0 {
		return ""
	}
	return fmt.Sprintf("0x%04x", uint16(g))
}

// Hybrid says whether the group stands against a quantum computer.
func (g Group) Hybrid() bool {
	name := g.String()
	return strings.Contains(name, "MLKEM") || strings.Contains(name, "Kyber")
}

// Groups returns every group that is worth asking for: hybrids first, as new
// servers prefer them, then by how common they are.
func Groups() []Group {
	list := append(HybridGroups(), X25519, P256, P384, P521, 0x001e,
		0x0016, 0x001a, 0x001b, 0x001c, 0x001f, 0x0020, 0x0021, 0x0100, 0x0101, 0x0102, 0x0103, 0x0104, 0x0029)
	for g := Group(0x0001); g < 0x0016; g++ {
		list = append(list, g)
	}
	return list
}

// HybridGroups returns the groups that stand against a quantum computer.
func HybridGroups() []Group {
	return []Group{X25519MLKEM768, SecP256r1MLKEM768, SecP384r1MLKEM1024, 0x11ee, 0x0200, 0x0201, 0x0202, 0x6399, 0x639a}
}

// A Scheme is the number of a signature scheme of TLS 1.2 or 1.3.
type Scheme uint16

// schemes are the names of the IANA registry "TLS SignatureScheme"
// (https://www.iana.org/assignments/tls-parameters/tls-signaturescheme.csv),
// and for the pairs of TLS 1.2 that it leaves out names made alike.
var schemes = map[Scheme]string{
	0x0101: "rsa_pkcs1_md5", 0x0201: "rsa_pkcs1_sha1", 0x0301: "rsa_pkcs1_sha224",
	0x0401: "rsa_pkcs1_sha256", 0x0501: "rsa_pkcs1_sha384", 0x0601: "rsa_pkcs1_sha512",
	0x0202: "dsa_sha1", 0x0302: "dsa_sha224", 0x0402: "dsa_sha256", 0x0502: "dsa_sha384", 0x0602: "dsa_sha512",
	0x0203: "ecdsa_sha1", 0x0303: "ecdsa_sha224",
	0x0403: "ecdsa_secp256r1_sha256", 0x0503: "ecdsa_secp384r1_sha384", 0x0603: "ecdsa_secp521r1_sha512",
	0x0704: "eccsi_sha256", 0x0708: "sm2sig_sm3",
	0x0709: "gostr34102012_256a", 0x070a: "gostr34102012_256b", 0x070b: "gostr34102012_256c", 0x070c: "gostr34102012_256d",
	0x070d: "gostr34102012_512a", 0x070e: "gostr34102012_512b", 0x070f: "gostr34102012_512c",
	0x0804: "rsa_pss_rsae_sha256", 0x0805: "rsa_pss_rsae_sha384", 0x0806: "rsa_pss_rsae_sha512",
	0x0807: "ed25519", 0x0808: "ed448",
	0x0809: "rsa_pss_pss_sha256", 0x080a: "rsa_pss_pss_sha384", 0x080b: "rsa_pss_pss_sha512",
	0x081a: "ecdsa_brainpoolP256r1tls13_sha256", 0x081b: "ecdsa_brainpoolP384r1tls13_sha384", 0x081c: "ecdsa_brainpoolP512r1tls13_sha512",
	0x0904: "mldsa44", 0x0905: "mldsa65", 0x0906: "mldsa87",
}

// String returns the name in the IANA registry, or the number.
func (s Scheme) String() string {
	if name, ok := schemes[s]; ok {
		return name
	}
	return fmt.Sprintf("0x%04x", uint16(s))
}

// RSASchemes returns what only a server with an RSA key can sign with.
func RSASchemes() []Scheme {
	return []Scheme{0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0809, 0x080a, 0x080b, 0x0301, 0x0201, 0x0101}
}

// ECSchemes returns what only a server with an ECDSA or EdDSA key can sign with.
func ECSchemes() []Scheme {
	return []Scheme{0x0403, 0x0807, 0x0503, 0x0603, 0x0808, 0x081a, 0x081b, 0x081c, 0x0303, 0x0203}
}

// Schemes returns every scheme that is worth offering.
func Schemes() []Scheme {
	return slices.Concat(ECSchemes(), RSASchemes(), []Scheme{
		0x0904, 0x0905, 0x0906, 0x0402, 0x0502, 0x0602, 0x0302, 0x0202, 0x0708, 0x0709, 0x070a, 0x070d,
	})
}

// SPDX-License-Identifier: Apache-2.0

package parse

// Object identifiers that the code branches on; those that are only
// translated stand in the tables below.
const (
	oidRSA  = "1.2.840.113549.1.1.1"
	oidOAEP = "1.2.840.113549.1.1.7"
	oidPSS  = "1.2.840.113549.1.1.10"
	oidDSA  = "1.2.840.10040.4.1"
	oidDH   = "1.2.840.113549.1.3.1"
	oidDHX  = "1.2.840.10046.2.1"
	oidEC   = "1.2.840.10045.2.1"

	oidX25519  = "1.3.101.110"
	oidEd25519 = "1.3.101.112"

	oidSubjectKeyID     = "2.5.29.14"
	oidSAN              = "2.5.29.17"
	oidBasicConstraints = "2.5.29.19"
	oidAuthorityKeyID   = "2.5.29.35"
	oidExtendedKeyUsage = "2.5.29.37"
	oidTimestamps       = "1.3.6.1.4.1.11129.2.4.2" // RFC 6962 section 3.3
)

// A word is a name for people with a size in bits, where it has one.
type word struct {
	name string
	bits int
}

// keyWords names the keys whose algorithm identifier alone says everything
// (RFC 8410, FIPS 204, FIPS 205, FIPS 203 by the NIST CSOR arcs).
var keyWords = map[string]word{
	oidX25519:                 {"x25519", 256},
	"1.3.101.111":             {"x448", 448},
	oidEd25519:                {"ed25519", 256},
	"1.3.101.113":             {"ed448", 448},
	"2.16.840.1.101.3.4.3.17": {"ml-dsa-44", 0},
	"2.16.840.1.101.3.4.3.18": {"ml-dsa-65", 0},
	"2.16.840.1.101.3.4.3.19": {"ml-dsa-87", 0},
	"2.16.840.1.101.3.4.3.20": {"slh-dsa-sha2-128s", 0},
	"2.16.840.1.101.3.4.3.21": {"slh-dsa-sha2-128f", 0},
	"2.16.840.1.101.3.4.3.22": {"slh-dsa-sha2-192s", 0},
	"2.16.840.1.101.3.4.3.23": {"slh-dsa-sha2-192f", 0},
	"2.16.840.1.101.3.4.3.24": {"slh-dsa-sha2-256s", 0},
	"2.16.840.1.101.3.4.3.25": {"slh-dsa-sha2-256f", 0},
	"2.16.840.1.101.3.4.3.26": {"slh-dsa-shake-128s", 0},
	"2.16.840.1.101.3.4.3.27": {"slh-dsa-shake-128f", 0},
	"2.16.840.1.101.3.4.3.28": {"slh-dsa-shake-192s", 0},
	"2.16.840.1.101.3.4.3.29": {"slh-dsa-shake-192f", 0},
	"2.16.840.1.101.3.4.3.30": {"slh-dsa-shake-256s", 0},
	"2.16.840.1.101.3.4.3.31": {"slh-dsa-shake-256f", 0},
	"2.16.840.1.101.3.4.4.1":  {"ml-kem-512", 0},
	"2.16.840.1.101.3.4.4.2":  {"ml-kem-768", 0},
	"2.16.840.1.101.3.4.4.3":  {"ml-kem-1024", 0},
	"1.2.643.2.2.19":          {"gost-2001", 256},
	"1.2.643.7.1.1.1.1":       {"gost-2012-256", 256},
	"1.2.643.7.1.1.1.2":       {"gost-2012-512", 512},
}

// curves names the named curves (RFC 5480 section 2.1.1.1, SEC 2, RFC 5639,
// GB/T 32918).
var curves = map[string]word{
	"1.3.132.0.33":          {"ecdsa-p224", 224},
	"1.2.840.10045.3.1.1":   {"ecdsa-p192", 192},
	"1.2.840.10045.3.1.7":   {"ecdsa-p256", 256},
	"1.3.132.0.34":          {"ecdsa-p384", 384},
	"1.3.132.0.35":          {"ecdsa-p521", 521},
	"1.3.132.0.10":          {"ecdsa-secp256k1", 256},
	"1.3.36.3.3.2.8.1.1.7":  {"ecdsa-brainpool256", 256},
	"1.3.36.3.3.2.8.1.1.11": {"ecdsa-brainpool384", 384},
	"1.3.36.3.3.2.8.1.1.13": {"ecdsa-brainpool512", 512},
	"1.2.156.10197.1.301":   {"sm2", 256},
}

// signatureWords names signature algorithms: family, then digest (RFC 3279,
// RFC 4055, RFC 5758, RFC 8410, FIPS 204 and 205).
var signatureWords = map[string]string{
	"1.2.840.113549.1.1.2":   "rsa-md2",
	"1.2.840.113549.1.1.3":   "rsa-md4",
	"1.2.840.113549.1.1.4":   "rsa-md5",
	"1.2.840.113549.1.1.5":   "rsa-sha1",
	"1.3.14.3.2.29":          "rsa-sha1",
	"1.2.840.113549.1.1.11":  "rsa-sha256",
	"1.2.840.113549.1.1.12":  "rsa-sha384",
	"1.2.840.113549.1.1.13":  "rsa-sha512",
	"1.2.840.113549.1.1.14":  "rsa-sha224",
	"1.3.36.3.3.1.2":         "rsa-ripemd160",
	"1.2.840.10040.4.3":      "dsa-sha1",
	"1.3.14.3.2.27":          "dsa-sha1",
	"2.16.840.1.101.3.4.3.1": "dsa-sha224",
	"2.16.840.1.101.3.4.3.2": "dsa-sha256",
	"2.16.840.1.101.3.4.3.3": "dsa-sha384",
	"2.16.840.1.101.3.4.3.4": "dsa-sha512",
	"1.2.840.10045.4.1":      "ecdsa-sha1",
	"1.2.840.10045.4.3.1":    "ecdsa-sha224",
	"1.2.840.10045.4.3.2":    "ecdsa-sha256",
	"1.2.840.10045.4.3.3":    "ecdsa-sha384",
	"1.2.840.10045.4.3.4":    "ecdsa-sha512",
	"1.2.156.10197.1.501":    "sm2-sm3",
	"1.2.643.2.2.3":          "gost-2001",
	"1.2.643.7.1.1.3.2":      "gost-2012-256",
	"1.2.643.7.1.1.3.3":      "gost-2012-512",
}

// digestWords names the digests that the parameters of a signature, a MAC or a
// key derivation choose (RFC 4055 section 2.1, RFC 8018 appendix B.1).
var digestWords = map[string]string{
	"1.3.14.3.2.26":           "sha1",
	"2.16.840.1.101.3.4.2.1":  "sha256",
	"2.16.840.1.101.3.4.2.2":  "sha384",
	"2.16.840.1.101.3.4.2.3":  "sha512",
	"2.16.840.1.101.3.4.2.4":  "sha224",
	"2.16.840.1.101.3.4.2.8":  "sha3-256",
	"2.16.840.1.101.3.4.2.9":  "sha3-384",
	"2.16.840.1.101.3.4.2.10": "sha3-512",
	"1.2.840.113549.2.7":      "sha1",
	"1.2.840.113549.2.8":      "sha224",
	"1.2.840.113549.2.9":      "sha256",
	"1.2.840.113549.2.10":     "sha384",
	"1.2.840.113549.2.11":     "sha512",
}

// usageWords names extended key usages (RFC 5280 section 4.2.1.12).
var usageWords = map[string]string{
	"2.5.29.37.0":       "any",
	"1.3.6.1.5.5.7.3.1": "server",
	"1.3.6.1.5.5.7.3.2": "client",
	"1.3.6.1.5.5.7.3.3": "code",
	"1.3.6.1.5.5.7.3.4": "email",
	"1.3.6.1.5.5.7.3.8": "time",
	"1.3.6.1.5.5.7.3.9": "ocsp",
}

// attributeWords names the attributes of distinguished names (RFC 4514 section
// 3, and what other tools write for the rest).
var attributeWords = map[string]string{
	"2.5.4.3":                    "CN",
	"2.5.4.4":                    "SN",
	"2.5.4.5":                    "serialNumber",
	"2.5.4.6":                    "C",
	"2.5.4.7":                    "L",
	"2.5.4.8":                    "ST",
	"2.5.4.9":                    "STREET",
	"2.5.4.10":                   "O",
	"2.5.4.11":                   "OU",
	"2.5.4.12":                   "title",
	"2.5.4.13":                   "description",
	"2.5.4.15":                   "businessCategory",
	"2.5.4.17":                   "postalCode",
	"2.5.4.42":                   "GN",
	"2.5.4.46":                   "dnQualifier",
	"2.5.4.65":                   "pseudonym",
	"2.5.4.97":                   "organizationIdentifier",
	"0.9.2342.19200300.100.1.1":  "UID",
	"0.9.2342.19200300.100.1.25": "DC",
	"1.2.840.113549.1.9.1":       "emailAddress",
	"1.2.840.113549.1.9.2":       "unstructuredName",
	"1.3.6.1.4.1.311.60.2.1.1":   "jurisdictionL",
	"1.3.6.1.4.1.311.60.2.1.2":   "jurisdictionST",
	"1.3.6.1.4.1.311.60.2.1.3":   "jurisdictionC",
}

// SPDX-License-Identifier: Apache-2.0

package parse

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// certSuffix ends the type of an OpenSSH certificate (PROTOCOL.certkeys).
const certSuffix = "-cert-v01@openssh.com"

// sshTypes are the key types that are read here (RFC 4253 section 6.6, RFC
// 5656, RFC 8709, OpenSSH PROTOCOL.u2f), with the word of their signatures.
var sshTypes = map[string]string{
	"ssh-rsa":                            "rsa-sha1",
	"rsa-sha2-256":                       "rsa-sha256",
	"rsa-sha2-512":                       "rsa-sha512",
	"ssh-dss":                            "dsa-sha1",
	"ecdsa-sha2-nistp256":                "ecdsa-sha256",
	"ecdsa-sha2-nistp384":                "ecdsa-sha384",
	"ecdsa-sha2-nistp521":                "ecdsa-sha512",
	"ssh-ed25519":                        "ed25519",
	"ssh-ed448":                          "ed448",
	"sk-ecdsa-sha2-nistp256@openssh.com": "ecdsa-sha256",
	"sk-ssh-ed25519@openssh.com":         "ed25519",
}

// sshCurves are the names of RFC 5656 section 10.1.
var sshCurves = map[string]string{
	"nistp256": "1.2.840.10045.3.1.7",
	"nistp384": "1.3.132.0.34",
	"nistp521": "1.3.132.0.35",
}

// isSSHType says that a word is the type of a key or certificate.
func isSSHType(s string) bool {
	_, ok := sshTypes[baseType(s)]
	return ok
}

// baseType is the type of the key in a certificate of type s.
func baseType(s string) string {
	base, isCert := strings.CutSuffix(s, certSuffix)
	if isCert && strings.HasPrefix(base, "sk-") {
		return base + "@openssh.com"
	}
	return base
}

// A wire is the rest of an SSH message (RFC 4251 section 5). Reading beyond
// its end empties it and sets short.
type wire struct {
	rest  []byte
	short bool
}

func (w *wire) take(n uint64) []byte {
	if n > uint64(len(w.rest)) {
		w.rest, w.short = nil, true
		return nil
	}
	b := w.rest[:n]
	w.rest = w.rest[n:]
	return b
}

func (w *wire) uint32() uint32 {
	if b := w.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (w *wire) uint64() uint64 {
	if b := w.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (w *wire) string() []byte { return w.take(uint64(w.uint32())) }

// sshCredential reads a public key or certificate in the form of the wire.
func sshCredential(blob []byte, comment string) (tallystick.Credential, []string, bool) {
	w := &wire{rest: blob}
	kind := string(w.string())
	if strings.HasSuffix(kind, certSuffix) {
		return sshCertificate(blob, w, kind)
	}
	spki := sshSPKI(kind, w)
	if spki == nil {
		return tallystick.Credential{}, nil, false
	}
	return bareKey(spki, comment), nil, true
}

// sshSPKI reads the fields of a public key of a type and returns it as the
// SubjectPublicKeyInfo that X.509 would carry, so that its KeyID is the same;
// nil when it cannot be read.
func sshSPKI(kind string, w *wire) []byte {
	var spki []byte
	name := strings.TrimSuffix(strings.TrimPrefix(kind, "sk-"), "@openssh.com")
	switch name {
	case "ssh-rsa":
		e, n := w.string(), w.string()
		spki = rsaSPKI(rsaPublicKey(n, e))
	case "ssh-dss":
		p, q, g, y := w.string(), w.string(), w.string(), w.string()
		spki = dsaSPKI(p, q, g, y)
	case "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521":
		oid, known := sshCurves[string(w.string())]
		point := w.string()
		if !known || len(point) == 0 || len(point) > maxPoint {
			return nil
		}
		spki = buildSPKI(oidEC, oidDER(oid), point)
	case "ssh-ed25519":
		spki = fixedSPKI(oidEd25519, w.string(), 32)
	case "ssh-ed448":
		spki = fixedSPKI("1.3.101.113", w.string(), 57)
	}
	if strings.HasPrefix(kind, "sk-") {
		w.string() // the application, which the key is bound to
	}
	if w.short {
		return nil
	}
	return spki
}

// maxPoint is the size of an uncompressed point of P-521.
const maxPoint = 133

func fixedSPKI(oid string, key []byte, size int) []byte {
	if len(key) != size {
		return nil
	}
	return buildSPKI(oid, nil, key)
}

// sshCertificate reads what follows the type of an OpenSSH certificate
// (PROTOCOL.certkeys); options are its critical options and extensions.
func sshCertificate(blob []byte, w *wire, kind string) (c tallystick.Credential, options []string, ok bool) {
	w.string() // nonce
	spki := sshSPKI(baseType(kind), w)
	if spki == nil {
		return c, nil, false
	}
	key, _ := Key(spki)
	c = tallystick.Credential{ID: tallystick.FingerprintOf(blob), Kind: tallystick.KindSSHCertificate, Key: key, Raw: blob}
	c.Serial = strconv.FormatUint(w.uint64(), 16)
	switch w.uint32() {
	case 1:
		c.Usages = []string{"user"}
	case 2:
		c.Usages = []string{"host"}
	}
	c.Subject = printable(string(w.string()))
	for principals := (&wire{rest: w.string()}); len(principals.rest) > 0; {
		c.Names = append(c.Names, printable(string(principals.string())))
	}
	c.NotBefore, c.NotAfter = sshTime(w.uint64()), sshTime(w.uint64())
	options = append(sshOptions(w.string()), sshOptions(w.string())...)
	w.string() // reserved
	c.Issuer = sshFingerprint(w.string())
	signature := &wire{rest: w.string()}
	c.Signature = sshTypes[string(signature.string())]
	return c, options, !w.short && len(w.rest) == 0 // Raw must hold nothing else
}

// sshTime reads seconds since 1970; zero and "forever" are no date, and neither
// is one beyond the year 9999.
func sshTime(seconds uint64) time.Time {
	if seconds == 0 || seconds > 253402300799 {
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0).UTC()
}

// sshOptions reads names with values, "name" or "name=value".
func sshOptions(b []byte) []string {
	var options []string
	for w := (&wire{rest: b}); len(w.rest) > 0; {
		option := printable(string(w.string()))
		value := &wire{rest: w.string()}
		if text := value.string(); len(text) > 0 {
			option += "=" + printable(string(text))
		}
		options = append(options, option)
	}
	return options
}

// sshFingerprint is what ssh-keygen -l shows.
func sshFingerprint(blob []byte) string {
	sum := sha256.Sum256(blob)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// SPDX-License-Identifier: Apache-2.0

package tallystick

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// NormalName returns the form in which names of credentials compare, so that
// "x5t-S256:9A:0C:..." and "cert-sha256:9a0c..." are one name. Digests are
// lower-case hexadecimal without separators, whether they were written so, in
// base64 (as x5t in a JWT, RFC 7515 section 4.1.7) or as OpenSSH prints them.
// Names are written by strangers: what is not text becomes U+FFFD, and one that is
// longer than 512 bytes is known by its digest.
func NormalName(name string) string { return bounded(normalName(name)) }

// maxName bounds a name in bytes: every store can index as much.
const maxName = 512

func bounded(name string) string {
	if !utf8.ValidString(name) || strings.IndexByte(name, 0) >= 0 {
		name = strings.ReplaceAll(strings.ToValidUTF8(name, "\uFFFD"), "\x00", "\uFFFD")
	}
	if len(name) <= maxName {
		return name
	}
	kind, _, _ := strings.Cut(name[:maxName/4], ":")
	return strings.ToValidUTF8(kind, "") + ":long-" + hexSHA256([]byte(name))
}

func normalName(name string) string {
	kind, value, ok := strings.Cut(strings.TrimSpace(name), ":")
	if !ok {
		return strings.ToLower(kind)
	}
	kind, value = strings.ToLower(strings.TrimSpace(kind)), strings.TrimSpace(value)
	switch kind {
	case "x5t":
		return "x5t:" + normalDigest(value, 20)
	case "x5t-s256", "x5t#s256", "cert-sha256": // SHA-256 of the DER certificate, all of them (RFC 7515 section 4.1.8)
		return "cert-sha256:" + normalDigest(value, 32)
	case "spki-sha256":
		for strings.HasPrefix(value, "sha256//") { // as curl writes it
			value = value[len("sha256//"):]
		}
		return "spki-sha256:" + normalDigest(value, 32)
	case "ssh":
		if rest, ok := cutPrefixFold(value, "SHA256:"); ok {
			value = rest
		}
		return "ssh:" + normalDigest(value, 32)
	case "entra-key":
		plain := withoutSeparators(value)
		if raw, err := hex.DecodeString(plain); err == nil && len(raw) == 16 {
			plain = guidText(raw)
		}
		return "entra-key:" + plain
	case "account":
		return "account:" + normalAccount(value)
	}
	return kind + ":" + strings.ToLower(value)
}

// normalDigest returns a digest of size bytes in hexadecimal; what is none is
// only brought to lower case.
func normalDigest(value string, size int) string {
	plain := withoutSeparators(value)
	if len(plain) == 2*size && isHex(plain) {
		return plain
	}
	if raw, ok := fromBase64(value); ok && len(raw) == size {
		return hex.EncodeToString(raw)
	}
	return plain
}

// withoutSeparators brings to lower case and drops what people and programs put
// between hexadecimal digits.
func withoutSeparators(value string) string {
	clean := true
	for i := range len(value) {
		if c := value[i]; c >= 'A' && c <= 'Z' || isSeparator(c) {
			clean = false
			break
		}
	}
	if clean {
		return value
	}
	out := make([]byte, 0, len(value))
	for i := range len(value) {
		c := value[i]
		switch {
		case isSeparator(c):
		case c >= 'A' && c <= 'Z':
			out = append(out, c+'a'-'A')
		default:
			out = append(out, c)
		}
	}
	return string(out)
}

func isSeparator(c byte) bool {
	return c == ':' || c == '-' || c == ' ' || c == '{' || c == '}' || c == '.' || c == '\t'
}

// normalAccount drops the spaces that LDAP allows around "," and "=" (RFC 4514
// section 2.4 writes none), and case, which directories ignore in names.
func normalAccount(value string) string {
	var out strings.Builder
	for i, part := range strings.Split(strings.ToLower(value), ",") {
		if i > 0 {
			out.WriteByte(',')
		}
		key, rest, ok := strings.Cut(strings.TrimSpace(part), "=")
		out.WriteString(strings.TrimSpace(key))
		if ok {
			out.WriteByte('=')
			out.WriteString(strings.TrimSpace(rest))
		}
	}
	return out.String()
}

// NormalUTI returns the form in which token identifiers compare. Entra ID writes
// one identifier in several ways: in a token as base64 of the 16 bytes of a GUID,
// little-endian, and in some sign-in logs as base64 of the GUID's text. What is
// neither comes back as it is.
func NormalUTI(uti string) string {
	if guid, ok := normalGUID(uti); ok {
		return guid
	}
	if len(uti) < 22 || len(uti) > 48 {
		return uti
	}
	raw, ok := fromBase64(uti)
	switch {
	case !ok:
		return uti
	case len(raw) == 16:
		raw[0], raw[1], raw[2], raw[3] = raw[3], raw[2], raw[1], raw[0]
		raw[4], raw[5] = raw[5], raw[4]
		raw[6], raw[7] = raw[7], raw[6]
		return guidText(raw)
	case len(raw) == 36:
		if guid, ok := normalGUID(string(raw)); ok {
			return guid
		}
	}
	return uti
}

// normalGUID returns a GUID in lower case and with dashes, which it may be
// written without, or in braces.
func normalGUID(s string) (string, bool) {
	if len(s) > 2 && s[0] == '{' && s[len(s)-1] == '}' {
		s = s[1 : len(s)-1]
	}
	if len(s) == 32 && isHex(s) {
		return strings.ToLower(s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]), true
	}
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return "", false
	}
	for i := range len(s) {
		if i != 8 && i != 13 && i != 18 && i != 23 && !isHexDigit(s[i]) {
			return "", false
		}
	}
	return strings.ToLower(s), true
}

func guidText(raw []byte) string {
	var text [36]byte
	hex.Encode(text[:], raw[:4])
	hex.Encode(text[9:], raw[4:6])
	hex.Encode(text[14:], raw[6:8])
	hex.Encode(text[19:], raw[8:10])
	hex.Encode(text[24:], raw[10:])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return string(text[:])
}

// fromBase64 decodes either alphabet, with or without padding. Encodings whose
// last bits are not zero are refused, so that no two texts mean the same bytes.
func fromBase64(s string) ([]byte, bool) {
	s = strings.TrimRight(s, "=")
	encoding := base64.RawURLEncoding
	if strings.ContainsAny(s, "+/") {
		encoding = base64.RawStdEncoding
	}
	raw, err := encoding.Strict().DecodeString(s)
	return raw, err == nil
}

func isHex(s string) bool {
	for i := range len(s) {
		if !isHexDigit(s[i]) {
			return false
		}
	}
	return true
}

func isHexDigit(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

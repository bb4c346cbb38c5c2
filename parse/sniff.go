// SPDX-License-Identifier: Apache-2.0

package parse

import (
	"bytes"
	"strings"
)

// SniffLength is how many bytes of the start of a file Sniff wants.
const SniffLength = 512

// Sniff says whether a file with this base name that starts with head could
// hold credentials, so that it is worth reading whole with Bytes. It allocates
// nothing and costs less than opening the file.
//
// It says yes to the marks of every format at the start of a file, to PEM
// within head, and to names that credentials go by, because there the PEM may
// stand behind more text than head holds. PEM far down in a file of another
// name is not found.
func Sniff(head []byte, name string) bool {
	if len(head) < 4 {
		return false
	}
	switch head[0] {
	case tagSequence:
		return startsDER(head) || hasName(name)
	case 0x7f: // ELF
		return false
	}
	if isKeystore(head) {
		return true
	}
	if hasName(name) {
		return !bytes.HasPrefix(head, []byte("\x89PNG")) && !bytes.HasPrefix(head, []byte("PK\x03\x04"))
	}
	if head[0] == 0xff || head[0] == 0xfe {
		return bytes.Contains(head, []byte("-\x00-\x00-\x00B\x00E\x00G\x00I\x00N"))
	}
	return bytes.Contains(head, []byte(pemBegin)) || bytes.Contains(head, []byte(" AAAA")) && hasKeyLine(head)
}

// startsDER looks at the first SEQUENCE: a length that is written as a length
// is, and inside a SEQUENCE, an INTEGER or an object identifier.
func startsDER(head []byte) bool {
	size, start, ok := length(head, 1)
	if !ok || start >= len(head) || size >= 0 && size < 16 {
		return false
	}
	inner := head[start]
	return inner == tagSequence || inner == tagInteger || inner == tagOID
}

// isContainer says that a file of this name is a certificate or a keystore by
// its name alone, so that other content in it is a fault.
func isContainer(name string) bool {
	return hasSuffix(name, ".p12", ".pfx", ".jks", ".jceks", ".p7b", ".p7c", ".crt", ".cer", ".der")
}

// hasName says that credentials go by such a name.
func hasName(name string) bool {
	return isContainer(name) || isAuthorizedKeys(name) || isKnownHosts(name) || name == "cacerts" ||
		hasSuffix(name, ".pem", ".key", ".pub", ".keystore", ".truststore", ".ovpn", ".ca-bundle")
}

// hasSuffix compares without regard to case and without allocating.
func hasSuffix(name string, suffixes ...string) bool {
	for _, suffix := range suffixes {
		if at := len(name) - len(suffix); at > 0 && strings.EqualFold(name[at:], suffix) {
			return true
		}
	}
	return false
}

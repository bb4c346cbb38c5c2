// SPDX-License-Identifier: Apache-2.0

package postgresql

import (
	"crypto/x509/pkix"
	"fmt"
	"strings"
)

// nameLimit is how many bytes of a name pg_stat_ssl has (NAMEDATALEN - 1).
const nameLimit = 63

// shortNames are those of OpenSSL.
var shortNames = map[string]string{
	"2.5.4.3": "CN", "2.5.4.4": "SN", "2.5.4.5": "serialNumber", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.9": "street",
	"2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.12": "title", "2.5.4.17": "postalCode", "2.5.4.42": "GN", "2.5.4.46": "dnQualifier",
	"2.5.4.97": "organizationIdentifier", "0.9.2342.19200300.100.1.1": "UID", "0.9.2342.19200300.100.1.25": "DC", "1.2.840.113549.1.9.1": "emailAddress",
}

// oneLine writes a name as pg_stat_ssl does: "/O=Lab/CN=Lab CA", the values as in RFC 2253,
// cut at nameLimit. It ends early at an attribute that has no name here.
func oneLine(name pkix.Name) string {
	var line strings.Builder
	for _, a := range name.Names {
		short, ok := shortNames[a.Type.String()]
		value, isText := a.Value.(string)
		if !ok || !isText {
			break
		}
		line.WriteString("/" + short + "=" + escaped(value))
	}
	return line.String()[:min(line.Len(), nameLimit)]
}

// escaped writes a value with the escapes of RFC 2253 section 2.4.
func escaped(value string) string {
	var text strings.Builder
	for i, c := range []byte(value) {
		switch {
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&text, `\%02X`, c)
		case strings.IndexByte(`,+"\<>;`, c) >= 0, i == 0 && (c == ' ' || c == '#'), i == len(value)-1 && c == ' ':
			text.WriteByte('\\')
			text.WriteByte(c)
		default:
			text.WriteByte(c)
		}
	}
	return text.String()
}

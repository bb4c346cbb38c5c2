// SPDX-License-Identifier: Apache-2.0

package parse

import (
	"encoding/hex"
	"net/netip"
	"time"

	"github.com/tallystick/tallystick"
)

// readExtensions reads the extensions (RFC 5280 section 4.2) that say who may
// use the certificate for what. Of a repeated one the first counts for a
// single value, and all count for names, because a reader elsewhere may believe
// any of them.
func readExtensions(c *tallystick.Credential, body []byte) {
	list, _, ok := expect(body, tagSequence)
	if !ok {
		return
	}
	for extension := range elements(list) {
		parts := children(extension.body, 3)
		if len(parts) < 2 || parts[0].tag != tagOID {
			continue
		}
		value := parts[1]
		if value.tag == tagBoolean && len(parts) > 2 { // whether it is critical
			value = parts[2]
		}
		if value.tag == tagOctetString {
			readExtension(c, oidText(parts[0].body), value.body)
		}
	}
}

func readExtension(c *tallystick.Credential, oid string, value []byte) {
	switch oid {
	case oidTimestamps:
		c.Logged = true
	case oidSAN:
		names, _, _ := expect(value, tagSequence)
		for e := range elements(names) {
			if name, ok := generalName(e); ok {
				c.Names = append(c.Names, name)
			}
		}
	case oidBasicConstraints:
		body, _, _ := expect(value, tagSequence)
		flag, _, ok := expect(body, tagBoolean)
		c.IsCA = c.IsCA || ok && len(flag) > 0 && flag[0] != 0 // BER: anything but zero is true
	case oidSubjectKeyID:
		if id, _, ok := expect(value, tagOctetString); ok && c.SubjectKeyID == "" {
			c.SubjectKeyID = hex.EncodeToString(id)
		}
	case oidAuthorityKeyID:
		body, _, _ := expect(value, tagSequence)
		if id, _, ok := expect(body, tagImplicit); ok && c.AuthorityKeyID == "" {
			c.AuthorityKeyID = hex.EncodeToString(id)
		}
	case oidExtendedKeyUsage:
		body, _, _ := expect(value, tagSequence)
		for e := range elements(body) {
			if e.tag == tagOID {
				c.Usages = append(c.Usages, usageWord(oidText(e.body)))
			}
		}
	}
}

// usageWord names a usage, by its dotted identifier when it has no word.
func usageWord(oid string) string {
	if word, ok := usageWords[oid]; ok {
		return word
	}
	return oid
}

// generalName reads an e-mail address, DNS name, URI or IP address of a SAN
// (RFC 5280 section 4.2.1.6). Other kinds do not speak for a machine.
func generalName(e element) (string, bool) {
	switch e.tag {
	case tagImplicit + 1, tagImplicit + 2, tagImplicit + 6:
		return printable(string(e.body)), true
	case tagImplicit + 7:
		if address, ok := netip.AddrFromSlice(e.body); ok {
			return address.String(), true
		}
		return "#" + hex.EncodeToString(e.body), true
	}
	return "", false
}

// validity reads both times of a Validity; one that cannot be read is zero.
func validity(body []byte) (from, until time.Time) {
	times := children(body, 2)
	if len(times) > 0 {
		from = timeOf(times[0])
	}
	if len(times) > 1 {
		until = timeOf(times[1])
	}
	return from, until
}

// timeLayouts are the forms of RFC 5280 section 4.1.2.5 and, after them, those
// of X.680 that it forbids.
var timeLayouts = map[byte][]string{
	tagUTCTime: {"060102150405Z0700", "0601021504Z0700"},
	tagTime: {"20060102150405Z0700", "20060102150405", "20060102150405.999999999Z0700",
		"200601021504Z0700", "2006010215Z0700"},
}

func timeOf(e element) time.Time {
	for _, tag := range []byte{e.tag, tagTime + tagUTCTime - e.tag} { // a few carry the other one's form
		for _, layout := range timeLayouts[tag] {
			t, err := time.Parse(layout, string(e.body))
			if err != nil {
				continue
			}
			if tag == tagUTCTime && t.Year() >= 2050 {
				t = t.AddDate(-100, 0, 0) // two digits mean 1950 to 2049
			}
			if t = t.UTC(); t.Year() > 9999 || t.Year() < 0 {
				return time.Time{} // beyond what RFC 3339 and so JSON can say
			}
			return t
		}
	}
	return time.Time{}
}

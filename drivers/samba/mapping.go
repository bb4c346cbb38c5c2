// SPDX-License-Identifier: Apache-2.0

package samba

import (
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/tallystick/tallystick/driver"
)

// known is what the directory may know a certificate by.
type known struct {
	der         []byte
	leaf        *x509.Certificate
	mapping     string   // X509:<I>...<SR>...: it alone
	keyMappings []string // X509:<SKI>... and X509:<SHA1-PUKEY>...: its key
	principals  []string // user@REALM, which it names itself
}

func knownOf(public driver.Public) (known, error) {
	leaf, err := public.Leaf()
	if err != nil {
		return known{}, err
	}
	key := sha1.Sum(keyBits(leaf.RawSubjectPublicKeyInfo)) // as Active Directory does
	k := known{
		der: leaf.Raw, leaf: leaf, principals: principals(leaf), mapping: mappingOf(leaf.RawIssuer, leaf.SerialNumber),
		keyMappings: []string{"X509:<SHA1-PUKEY>" + hex.EncodeToString(key[:])},
	}
	if len(leaf.SubjectKeyId) > 0 {
		k.keyMappings = append(k.keyMappings, "X509:<SKI>"+hex.EncodeToString(leaf.SubjectKeyId))
	}
	return k, nil
}

// isMapping says whether a value maps the certificate or its key. Values that name a
// subject or a mail address map others as well, and are none.
func (k known) isMapping(value string) bool {
	return slices.ContainsFunc(append(k.keyMappings, k.mapping), func(own string) bool { return sameMapping(own, value) })
}

func sameMapping(a, b string) bool {
	plain := func(text string) string { return strings.ToLower(strings.ReplaceAll(text, ", ", ",")) }
	return plain(a) == plain(b)
}

// mappingOf writes the mapping by issuer and serial number: the parts of the name in the
// order of the certificate, and the bytes of the number the other way round ([MS-ADA1]
// section 2.61, KB5014754).
func mappingOf(issuer []byte, serial *big.Int) string {
	number := serial.Bytes()
	slices.Reverse(number)
	return "X509:<I>" + nameText(issuer) + "<SR>" + hex.EncodeToString(number)
}

// serialIn reads the number of such a mapping, and the text before it.
func serialIn(value string) (prefix string, serial *big.Int, ok bool) {
	prefix, digits, ok := strings.Cut(value, "<SR>")
	number, err := hex.DecodeString(digits)
	if !ok || err != nil || len(number) == 0 || len(number) > 64 {
		return "", nil, false
	}
	slices.Reverse(number)
	return prefix + "<SR>", new(big.Int).SetBytes(number), true
}

// nameText writes a name as Windows does (CertNameToStr).
func nameText(der []byte) string {
	var name pkix.RDNSequence
	if rest, err := asn1.Unmarshal(der, &name); err != nil || len(rest) > 0 {
		return ""
	}
	words := map[string]string{
		"2.5.4.3": "CN", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "S", "2.5.4.9": "STREET", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.4": "SN",
		"2.5.4.5": "SERIALNUMBER", "2.5.4.12": "T", "2.5.4.42": "G", "0.9.2342.19200300.100.1.25": "DC", "1.2.840.113549.1.9.1": "E",
	}
	var parts []string
	for _, set := range name {
		var values []string
		for _, one := range set {
			word, ok := words[one.Type.String()]
			if !ok {
				word = "OID." + one.Type.String()
			}
			text, _ := one.Value.(string)
			if strings.ContainsAny(text, ",+=\"\n<>#;") || strings.TrimSpace(text) != text {
				text = `"` + strings.ReplaceAll(text, `"`, `""`) + `"`
			}
			values = append(values, word+"="+text)
		}
		parts = append(parts, strings.Join(values, " + "))
	}
	return strings.Join(parts, ",")
}

// keyBits returns the bits of a SubjectPublicKeyInfo, which is what identifiers of keys are
// made of.
func keyBits(spki []byte) []byte {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(spki, &info); err != nil {
		return nil
	}
	return info.Key.Bytes
}

// principals returns whom a certificate names: the user principal name of Microsoft and
// that of RFC 4556 section 3.2.2, in the extension of alternative names.
func principals(c *x509.Certificate) []string {
	var names []string
	for _, extension := range c.Extensions {
		if !extension.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) {
			continue
		}
		content := cryptobyte.String(extension.Value)
		if !content.ReadASN1(&content, cbasn1.SEQUENCE) {
			return nil
		}
		for !content.Empty() {
			var one cryptobyte.String
			var tag cbasn1.Tag
			if !content.ReadAnyASN1(&one, &tag) {
				return names
			}
			if name := principal(one); tag == cbasn1.Tag(0).ContextSpecific().Constructed() && name != "" {
				names = append(names, name)
			}
		}
	}
	return names
}

// principal reads one otherName; "" is none that names a principal.
func principal(name cryptobyte.String) string {
	var kind asn1.ObjectIdentifier
	explicit := cbasn1.Tag(0).ContextSpecific().Constructed()
	var value cryptobyte.String
	if !name.ReadASN1ObjectIdentifier(&kind) || !name.ReadASN1(&value, explicit) {
		return ""
	}
	switch kind.String() {
	case "1.3.6.1.4.1.311.20.2.3":
		var text cryptobyte.String
		if !value.ReadASN1(&text, cbasn1.UTF8String) {
			return ""
		}
		return string(text)
	case "1.3.6.1.5.2.2":
		return kerberosName(value)
	}
	return ""
}

// kerberosName reads KRB5PrincipalName of RFC 4556 section 3.2.2.
func kerberosName(value cryptobyte.String) string {
	tag := func(n cbasn1.Tag) cbasn1.Tag { return n.ContextSpecific().Constructed() }
	var realm, name, parts cryptobyte.String
	if !value.ReadASN1(&value, cbasn1.SEQUENCE) || !value.ReadASN1(&realm, tag(0)) || !realm.ReadASN1(&realm, cbasn1.GeneralString) ||
		!value.ReadASN1(&name, tag(1)) || !name.ReadASN1(&name, cbasn1.SEQUENCE) || !name.SkipASN1(tag(0)) ||
		!name.ReadASN1(&parts, tag(1)) || !parts.ReadASN1(&parts, cbasn1.SEQUENCE) {
		return ""
	}
	var words []string
	for !parts.Empty() {
		var word cryptobyte.String
		if !parts.ReadASN1(&word, cbasn1.GeneralString) {
			return ""
		}
		words = append(words, string(word))
	}
	return strings.Join(words, "/") + "@" + string(realm)
}

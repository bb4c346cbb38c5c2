// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/parse"
)

// The attributes of Active Directory that decide who gets in, whichever log
// tells of them: Windows' 5136 and Samba's dsdbChange.

// directoryChange returns what one value of an attribute means, nil when it
// decides nothing.
func directoryChange(attribute, value string, added bool) *tallystick.Change {
	pick := func(add, remove tallystick.ChangeKind) tallystick.ChangeKind {
		if added {
			return add
		}
		return remove
	}
	c := &tallystick.Change{Detail: attribute}
	switch strings.ToLower(attribute) {
	case "msds-keycredentiallink":
		c.Kind = pick(tallystick.ChangeCredentialAdded, tallystick.ChangeCredentialRemoved)
		c.Credential = keyCredentialNames(value)
		value = strings.Join(c.Credential, " ") // the blob says nothing to people
	case "usercertificate":
		c.Kind = pick(tallystick.ChangeCredentialAdded, tallystick.ChangeCredentialRemoved)
		if names := certificateValueNames(value); names != nil {
			c.Credential, value = names, strings.Join(names, " ")
		}
	case "altsecurityidentities":
		c.Kind = pick(tallystick.ChangeCredentialAdded, tallystick.ChangeCredentialRemoved)
	case "msds-allowedtoactonbehalfofotheridentity", "msds-groupmsamembership":
		c.Kind = pick(tallystick.ChangeTrustAdded, tallystick.ChangeTrustRemoved)
	case "msds-allowedtodelegateto":
		c.Kind = pick(tallystick.ChangeGrantAdded, tallystick.ChangeGrantRemoved)
		c.Grants = delegations(value)
	case "msds-managedaccountprecededbylink": // its keys are told to who has this one
		c.Kind = pick(tallystick.ChangeTrustAdded, tallystick.ChangeTrustRemoved)
	case "serviceprincipalname":
		c.Kind = tallystick.ChangeSetting
	case "unicodepwd", "userpassword", "dbcspwd":
		c.Kind = tallystick.ChangeCredentialAltered
		value = ""
	default:
		return nil
	}
	if added {
		c.After = value
	} else {
		c.Before = value
	}
	return c
}

// delegations names the services towards which an account may act as anybody.
func delegations(value string) (list []string) {
	for _, service := range strings.Fields(value) {
		list = append(list, "delegation to "+service)
	}
	return list
}

// toDirectory says which object a change is about. Uses name accounts and no
// objects: the last names are those that a directory gives by default.
func toDirectory(c *tallystick.Change, dn, domain string) {
	name, labels := "", []string(nil)
	for i, part := range splitDN(dn) {
		key, value, _ := strings.Cut(part, "=")
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "dc":
			labels = append(labels, strings.ToLower(value))
		case "cn", "uid":
			if i == 0 {
				name = value
			}
		}
	}
	if len(labels) > 0 {
		domain = strings.Join(labels, ".")
	}
	domain = strings.ToLower(domain)
	c.Target, c.TargetName = "ad:"+domain+"/"+strings.ToLower(dn), name
	if name == "" {
		c.TargetName = dn
		return
	}
	short, _, _ := strings.Cut(domain, ".")
	c.Accounts = []string{windowsAccount(short, name), windowsAccount(short, name+"$")}
}

// splitDN cuts a distinguished name at its commas (RFC 4514 section 2.4).
func splitDN(dn string) (parts []string) {
	from := 0
	for i := 0; i < len(dn); i++ {
		switch dn[i] {
		case '\\':
			i++
		case ',':
			parts = append(parts, strings.TrimSpace(dn[from:i]))
			from = i + 1
		}
	}
	return append(parts, strings.TrimSpace(dn[min(from, len(dn)):]))
}

// keyCredentialNames names the key in a value of msDS-KeyCredentialLink,
// "B:<digits>:<hexadecimal>:<DN>": version 2 of a KEYCREDENTIALLINK_BLOB is a list
// of entries, of which 1 is the SHA-256 of the key ([MS-ADTS] section 2.2.20).
func keyCredentialNames(value string) []string {
	fields := strings.SplitN(value, ":", 4)
	if len(fields) < 3 || !strings.EqualFold(fields[0], "B") {
		return nil
	}
	blob, err := hex.DecodeString(fields[2])
	if err != nil || len(blob) < 4 || binary.LittleEndian.Uint32(blob) != 0x200 {
		return nil
	}
	for rest := blob[4:]; len(rest) >= 3; {
		size, id := int(binary.LittleEndian.Uint16(rest)), rest[2]
		if len(rest) < 3+size {
			return nil
		}
		if id == 1 && size == sha256.Size {
			return []string{"key-credential:" + hex.EncodeToString(rest[3:3+size])}
		}
		rest = rest[3+size:]
	}
	return nil
}

// certificateValueNames names a certificate that a log has in base64 or hexadecimal.
func certificateValueNames(value string) []string {
	if names := certificateNames(value); names != nil {
		return names
	}
	der, err := hex.DecodeString(strings.TrimPrefix(strings.ReplaceAll(value, " ", ""), "0x"))
	if err != nil || len(der) == 0 || der[0] != 0x30 {
		return nil
	}
	one, two := sha1.Sum(der), sha256.Sum256(der)
	names := []string{"x5t:" + hex.EncodeToString(one[:]), "cert-sha256:" + hex.EncodeToString(two[:])}
	if c, err := parse.Certificate(der); err == nil && c.Key.ID != "" {
		names = append(names, "spki-sha256:"+string(c.Key.ID))
	}
	return names
}

// SPDX-License-Identifier: Apache-2.0

package adbytes

import "strings"

// A Control is the number userAccountControl ([MS-ADTS] section 2.2.16).
type Control uint32

// What it says of an account.
const (
	Disabled            Control = 0x2
	NoPasswordNeeded    Control = 0x20
	ReversiblePassword  Control = 0x80
	PersonAccount       Control = 0x200
	WorkstationAccount  Control = 0x1000
	ServerAccount       Control = 0x2000
	PasswordNeverOld    Control = 0x10000
	TrustedForAnything  Control = 0x80000
	NotDelegated        Control = 0x100000
	NoPreAuthentication Control = 0x400000
	TrustedWithoutProof Control = 0x1000000
	ReadOnlyController  Control = 0x4000000
)

// Has says whether all bits are set.
func (c Control) Has(bits Control) bool { return c&bits == bits }

// Opening returns what the bits that are set let others do, in words; of those that make no
// difference to who gets in it says nothing.
func (c Control) Opening() []string {
	var words []string
	for _, one := range []struct {
		bit  Control
		word string
	}{
		{NoPasswordNeeded, "needs no password"}, {ReversiblePassword, "password kept readable"}, {PasswordNeverOld, "password never expires"},
		{TrustedForAnything, "delegation to any service"}, {NoPreAuthentication, "needs no pre-authentication"},
		{TrustedWithoutProof, "delegation without a sign-in"},
	} {
		if c.Has(one.bit) {
			words = append(words, one.word)
		}
	}
	return words
}

// MappingStrength says of a value of altSecurityIdentities how well it names a certificate:
// "strong" or "weak" as KB5014754 calls it, "" for what maps none (a Kerberos name, say).
// Where it names a certificate by the issuer and the serial number, or by the key, nobody
// else can get one that fits; where by a name, whoever is given that name by a CA can.
func MappingStrength(value string) string {
	if len(value) < len("X509:") || !strings.EqualFold(value[:len("X509:")], "X509:") {
		return ""
	}
	tags := map[string]bool{}
	for rest := value; ; {
		_, after, ok := strings.Cut(rest, "<")
		if !ok {
			break
		}
		tag, behind, ok := strings.Cut(after, ">")
		if !ok {
			break
		}
		tags[strings.ToUpper(tag)] = true
		rest = behind
	}
	switch {
	case tags["SKI"], tags["SHA1-PUKEY"], tags["I"] && tags["SR"]:
		return "strong"
	}
	return "weak"
}

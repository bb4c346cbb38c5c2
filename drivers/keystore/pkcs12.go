// SPDX-License-Identifier: Apache-2.0

package keystore

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"unicode/utf16"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// The structures of RFC 7292 section 4 and appendix A, as far as an alias is concerned:
// the library neither reads nor writes the friendly names of keys, by which Java programs
// find their entry.
type (
	pfx struct {
		Version  int
		AuthSafe contentInfo
		MacData  macData `asn1:"optional"`
	}
	contentInfo struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue // [0], with what it contains
	}
	macData struct {
		Mac struct {
			Algorithm asn1.RawValue
			Digest    []byte
		}
		Salt       []byte
		Iterations int `asn1:"optional,default:1"`
	}
	safeBag struct {
		ID         asn1.ObjectIdentifier
		Value      asn1.RawValue
		Attributes []attribute `asn1:"set,optional"`
	}
	attribute struct {
		ID    asn1.ObjectIdentifier
		Value asn1.RawValue `asn1:"set"`
	}
)

var (
	oidData         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidShroudedKey  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, 2}
	oidFriendlyName = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 20}
)

// readPKCS12 reads the one entry of a PKCS #12 file.
func readPKCS12(content []byte, passphrase string) (driver.Material, string, error) {
	alias, keys, err := aliasOf(content)
	if err != nil {
		return driver.Material{}, "", err
	}
	if keys != 1 {
		return driver.Material{}, "", invalid("the PKCS #12 file has %d private keys, and the driver works at files with one: put the entry into a file of its own", keys)
	}
	key, first, rest, err := pkcs12.DecodeChain(content, passphrase)
	if err != nil {
		return driver.Material{}, "", invalid("couldn't open the PKCS #12 file: %v", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return driver.Material{}, "", invalid("couldn't use the private key of the PKCS #12 file")
	}
	m := driver.Material{Key: signer}
	all := append([]*x509.Certificate{first}, rest...)
	for _, c := range all {
		if own, ok := c.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); ok && own.Equal(signer.Public()) {
			m.Chain = installing.Ladder(c, all)
			break
		}
	}
	if len(m.Chain) == 0 {
		return driver.Material{}, "", invalid("no certificate of the PKCS #12 file is for its private key")
	}
	for _, c := range all {
		if !bytes.Equal(c.RawIssuer, c.RawSubject) && !contains(m.Chain, c.Raw) {
			return driver.Material{}, "", invalid("the PKCS #12 file has certificates of other entries, which would be lost: put the entry into a file of its own")
		}
	}
	return m, alias, nil
}

func contains(chain [][]byte, der []byte) bool {
	for _, other := range chain {
		if bytes.Equal(other, der) {
			return true
		}
	}
	return false
}

// writePKCS12 writes a file with one entry: AES-256 and HMAC with SHA-256, which Java has
// read since version 8u301 and OpenSSL since 1.1.
func writePKCS12(m driver.Material, alias, passphrase string) ([]byte, error) {
	var chain []*x509.Certificate
	for _, der := range m.Chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, invalid("couldn't read the chain: %v", err)
		}
		chain = append(chain, c)
	}
	content, err := pkcs12.Modern2023.Encode(m.Key, chain[0], chain[1:], passphrase)
	if err != nil {
		return nil, invalid("couldn't write a PKCS #12 file: %v", err)
	}
	if alias == "" {
		return content, nil
	}
	return named(content, alias, passphrase)
}

// safes unwraps the parts of a file.
func safes(content []byte) (pfx, []contentInfo, error) {
	var file pfx
	var octets []byte
	var parts []contentInfo
	rest, err := asn1.Unmarshal(content, &file)
	if err == nil && len(rest) == 0 {
		_, err = asn1.Unmarshal(file.AuthSafe.Content.Bytes, &octets)
	}
	if err == nil {
		_, err = asn1.Unmarshal(octets, &parts)
	}
	if err != nil || len(rest) > 0 {
		return pfx{}, nil, invalid("it is no PKCS #12 file in DER")
	}
	return file, parts, nil
}

// bags reads the bags of a part that is not encrypted; keys are encrypted one by one.
func bags(part contentInfo) ([]safeBag, error) {
	var octets []byte
	var all []safeBag
	if _, err := asn1.Unmarshal(part.Content.Bytes, &octets); err != nil {
		return nil, invalid("it is no PKCS #12 file in DER")
	}
	if _, err := asn1.Unmarshal(octets, &all); err != nil {
		return nil, invalid("it is no PKCS #12 file in DER")
	}
	return all, nil
}

// aliasOf returns the alias of the last private key, and how many there are.
func aliasOf(content []byte) (alias string, keys int, err error) {
	_, parts, err := safes(content)
	if err != nil {
		return "", 0, err
	}
	for _, part := range parts {
		if !part.Type.Equal(oidData) {
			continue
		}
		all, err := bags(part)
		if err != nil {
			return "", 0, err
		}
		for _, bag := range all {
			if !bag.ID.Equal(oidShroudedKey) {
				continue
			}
			keys++
			for _, a := range bag.Attributes {
				var text asn1.RawValue
				if _, err := asn1.Unmarshal(a.Value.Bytes, &text); err == nil && a.ID.Equal(oidFriendlyName) {
					alias = fromBMP(text.Bytes)
				}
			}
		}
	}
	return alias, keys, nil
}

// named gives the key of a file that the library has written an alias, and seals the file
// again.
func named(content []byte, alias, passphrase string) ([]byte, error) {
	file, parts, err := safes(content)
	if err != nil {
		return nil, err
	}
	last := &parts[len(parts)-1]
	all, err := bags(*last)
	if err != nil {
		return nil, err
	}
	name, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagBMPString, Bytes: toBMP(alias)})
	if err != nil {
		return nil, fmt.Errorf("couldn't write an alias: %w", err)
	}
	for i := range all {
		all[i].Attributes = append(all[i].Attributes, attribute{oidFriendlyName, asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: name}})
	}
	if last.Content, err = wrapped(all); err != nil {
		return nil, err
	}
	if file.AuthSafe.Content, err = wrapped(parts); err != nil {
		return nil, err
	}
	var sealed []byte
	if _, err := asn1.Unmarshal(file.AuthSafe.Content.Bytes, &sealed); err != nil {
		return nil, fmt.Errorf("couldn't seal a PKCS #12 file: %w", err)
	}
	mac := hmac.New(sha256.New, macKey(passphrase, file.MacData.Salt, file.MacData.Iterations))
	mac.Write(sealed)
	file.MacData.Mac.Digest = mac.Sum(nil)
	return asn1.Marshal(file)
}

// wrapped is a value in an octet string in [0].
func wrapped(value any) (asn1.RawValue, error) {
	inner, err := asn1.Marshal(value)
	if err != nil {
		return asn1.RawValue{}, fmt.Errorf("couldn't write a PKCS #12 file: %w", err)
	}
	octets, err := asn1.Marshal(inner)
	return asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: octets}, err
}

// macKey derives the key of the seal (RFC 7292 appendix B.2, with ID 3 and SHA-256, whose
// output is as long as the key, so that there is one round alone).
func macKey(passphrase string, salt []byte, iterations int) []byte {
	const block = 64 // of SHA-256
	fill := func(b []byte) []byte {
		if len(b) == 0 {
			return nil
		}
		size := (len(b) + block - 1) / block * block
		return bytes.Repeat(b, size/len(b)+1)[:size]
	}
	input := bytes.Repeat([]byte{3}, block)
	input = append(append(input, fill(salt)...), fill(append(toBMP(passphrase), 0, 0))...)
	sum := sha256.Sum256(input)
	for range iterations - 1 {
		sum = sha256.Sum256(sum[:])
	}
	return sum[:]
}

func toBMP(text string) []byte {
	var b []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		b = binary.BigEndian.AppendUint16(b, unit)
	}
	return b
}

func fromBMP(b []byte) string {
	var units []uint16
	for ; len(b) >= 2; b = b[2:] {
		units = append(units, binary.BigEndian.Uint16(b))
	}
	return string(utf16.Decode(units))
}

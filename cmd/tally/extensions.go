// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"net"
	"strings"

	"github.com/tallystick/tallystick"
)

// An extension is a line about one extension of a certificate.
type extension struct{ name, value string }

// extensionsOf returns what the extensions of a certificate say (RFC 5280
// section 4.2), where a strict parser can read it.
func extensionsOf(c *tallystick.Credential) []extension {
	if c.Kind != tallystick.KindCertificate {
		return nil
	}
	parsed, err := x509.ParseCertificate(c.Raw)
	if err != nil {
		return nil
	}
	var list []extension
	for _, x := range parsed.Extensions {
		name, value := extensionText(parsed, x)
		if x.Critical {
			value += " (critical)"
		}
		list = append(list, extension{name, value})
	}
	return list
}

// extensionNames are the extensions that people have words for, by OID.
var extensionNames = map[string]string{
	"2.5.29.14": "Subject key", "2.5.29.15": "Key usage", "2.5.29.17": "Alt. names", "2.5.29.18": "Issuer names",
	"2.5.29.19": "Basic", "2.5.29.30": "Name limits", "2.5.29.31": "CRL", "2.5.29.32": "Policies",
	"2.5.29.33": "Policy map", "2.5.29.35": "Authority key", "2.5.29.36": "Policy limits", "2.5.29.37": "Ext. usage", "2.5.29.54": "No any policy",
	"1.3.6.1.5.5.7.1.1": "Authority", "1.3.6.1.5.5.7.1.24": "TLS feature",
	"1.3.6.1.4.1.11129.2.4.2": "CT", "1.3.6.1.4.1.11129.2.4.3": "CT precert",
}

// extensionText says what one extension says.
func extensionText(c *x509.Certificate, x pkix.Extension) (name, value string) {
	id := x.Id.String()
	name = extensionNames[id]
	switch id {
	case "2.5.29.14":
		value = hex.EncodeToString(c.SubjectKeyId)
	case "2.5.29.35":
		value = hex.EncodeToString(c.AuthorityKeyId)
	case "2.5.29.15":
		value = keyUsageText(c.KeyUsage)
	case "2.5.29.37":
		value = extKeyUsageText(c)
	case "2.5.29.17":
		value = plural(len(c.DNSNames)+len(c.IPAddresses)+len(c.EmailAddresses)+len(c.URIs), "name")
	case "2.5.29.19":
		value = basicText(c)
	case "2.5.29.30":
		value = nameLimits(c)
	case "2.5.29.31":
		value = strings.Join(c.CRLDistributionPoints, " ")
	case "2.5.29.32":
		value = policiesText(c)
	case "1.3.6.1.5.5.7.1.1":
		value = authorityText(c)
	case "1.3.6.1.5.5.7.1.24":
		value = "OCSP answers must be stapled (RFC 7633)"
	case "1.3.6.1.4.1.11129.2.4.2":
		value = "timestamps of transparency logs (RFC 6962)"
	case "1.3.6.1.4.1.11129.2.4.3":
		value = "a precertificate: not to be used (RFC 6962)"
	default:
		value = plural(len(x.Value), "byte")
		if name == "" {
			name = "Extension"
			value = id + ", " + value
		}
	}
	if value == "" {
		value = "-"
	}
	return name, value
}

// keyUsages are the bits of KeyUsage, in their order.
var keyUsages = [...]string{
	"digital signature", "content commitment", "key encipherment", "data encipherment", "key agreement",
	"certificate signing", "CRL signing", "encipher only", "decipher only",
}

func keyUsageText(usage x509.KeyUsage) string {
	var list []string
	for bit, name := range keyUsages {
		if usage&(1<<bit) != 0 {
			list = append(list, name)
		}
	}
	return strings.Join(list, ", ")
}

// extKeyUsages are the purposes of RFC 5280 section 4.2.1.12.
var extKeyUsages = map[x509.ExtKeyUsage]string{
	x509.ExtKeyUsageAny: "any", x509.ExtKeyUsageServerAuth: "TLS server", x509.ExtKeyUsageClientAuth: "TLS client",
	x509.ExtKeyUsageCodeSigning: "code signing", x509.ExtKeyUsageEmailProtection: "e-mail", x509.ExtKeyUsageTimeStamping: "timestamping",
	x509.ExtKeyUsageOCSPSigning: "OCSP signing",
}

func extKeyUsageText(c *x509.Certificate) string {
	var list []string
	for _, usage := range c.ExtKeyUsage {
		if name := extKeyUsages[usage]; name != "" {
			list = append(list, name)
		} else {
			list = append(list, fmt.Sprintf("purpose %d", usage))
		}
	}
	return strings.Join(append(list, oidTexts(c.UnknownExtKeyUsage)...), ", ")
}

func oidTexts(ids []asn1.ObjectIdentifier) []string {
	var list []string
	for _, id := range ids {
		list = append(list, id.String())
	}
	return list
}

func basicText(c *x509.Certificate) string {
	switch {
	case !c.IsCA:
		return "not a CA"
	case c.MaxPathLen > 0 || c.MaxPathLenZero:
		return fmt.Sprintf("a CA, with at most %d CAs below it", c.MaxPathLen)
	}
	return "a CA"
}

func nameLimits(c *x509.Certificate) string {
	var list []string
	add := func(word string, names []string) {
		if len(names) > 0 {
			list = append(list, word+" "+strings.Join(names, " "))
		}
	}
	add("only", append(append(c.PermittedDNSDomains, c.PermittedEmailAddresses...), networks(c.PermittedIPRanges)...))
	add("not", append(append(c.ExcludedDNSDomains, c.ExcludedEmailAddresses...), networks(c.ExcludedIPRanges)...))
	return strings.Join(list, "; ")
}

func networks(list []*net.IPNet) []string {
	var texts []string
	for _, n := range list {
		texts = append(texts, n.String())
	}
	return texts
}

// policyNames are the policies of the CA/Browser Forum (Baseline Requirements
// section 7.1.6.1).
var policyNames = map[string]string{
	"2.23.140.1.1": "extended validation", "2.23.140.1.2.1": "domain validated", "2.23.140.1.2.2": "organization validated",
	"2.23.140.1.2.3": "individual validated", "2.5.29.32.0": "any",
}

func policiesText(c *x509.Certificate) string {
	var list []string
	for _, id := range c.Policies {
		text := id.String()
		if name := policyNames[text]; name != "" {
			text = name + " " + text
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

func authorityText(c *x509.Certificate) string {
	var list []string
	for _, url := range c.OCSPServer {
		list = append(list, "OCSP "+url)
	}
	for _, url := range c.IssuingCertificateURL {
		list = append(list, "issuer "+url)
	}
	return strings.Join(list, ", ")
}

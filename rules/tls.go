// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

func tlsRules() []rule.Rule {
	return []rule.Rule{noForwardSecrecy(), noPostQuantum(), oldProtocol(), weakCipher(), weakGroup()}
}

// atEndpoints is atPlaces for what a TLS endpoint accepts: the finding stands
// with the certificate that the endpoint serves as its own.
func atEndpoints(s *rule.Subject, judge func(*tallystick.TLSFacts) (string, tallystick.Severity)) []rule.Hit {
	return atPlaces(s, func(seen *tallystick.Sighting) (string, tallystick.Severity) {
		if !isServed(seen) {
			return "", 0
		}
		return judge(seen.TLS)
	})
}

func oldProtocol() rule.Rule {
	return rule.Rule{
		Name:  "old-protocol",
		Title: "Accepts a protocol below TLS 1.2",
		About: "The endpoint accepts SSL or TLS below 1.2, whose handshakes rest on MD5 and SHA-1. SSL 2 and 3 are high: their encryption " +
			"can be broken by an observer (RFC 6176, RFC 7568).",
		Severity:  tallystick.SeverityMedium,
		Citation:  "RFC 8996 (BCP 195)",
		URL:       "https://www.rfc-editor.org/rfc/rfc8996",
		Effective: day(2021, time.March, 1),
		Do:        "Set the lowest protocol of the server to TLS 1.2, or to TLS 1.3 where every client has it.",
		Check: func(s rule.Subject) []rule.Hit {
			return atEndpoints(&s, judgeProtocols)
		},
	}
}

func judgeProtocols(t *tallystick.TLSFacts) (string, tallystick.Severity) {
	var old []string
	severity := tallystick.SeverityMedium
	for _, protocol := range t.Protocols {
		switch protocol {
		case "ssl2", "ssl3":
			severity = tallystick.SeverityHigh
			old = append(old, protocol)
		case "tls1.0", "tls1.1":
			old = append(old, protocol)
		}
	}
	if old == nil {
		return "", 0
	}
	return "accepts " + list(slices.Sorted(slices.Values(old))), severity
}

func weakCipher() rule.Rule {
	return rule.Rule{
		Name:  "weak-cipher",
		Title: "Accepts a cipher that does not protect",
		About: "The endpoint accepts RC2, RC4, DES, Triple DES, IDEA, an export cipher, one that does not encrypt (NULL) or one that does not say who " +
			"is there (anonymous). The last three are high: nothing needs to be broken any more.",
		Severity:  tallystick.SeverityMedium,
		Citation:  "RFC 9325 section 4.1 (BCP 195); RFC 7465; RFC 5469",
		URL:       "https://www.rfc-editor.org/rfc/rfc9325#section-4.1",
		Effective: day(2022, time.November, 1),
		Do:        "Leave only AEAD suites with ephemeral key exchange in the server's cipher list.",
		Check: func(s rule.Subject) []rule.Hit {
			return atEndpoints(&s, judgeCiphers)
		},
	}
}

func judgeCiphers(t *tallystick.TLSFacts) (string, tallystick.Severity) {
	var weak []string
	worst := tallystick.SeverityInfo
	for _, suite := range t.Suites {
		if severity := cipherSeverity(suite); severity != 0 {
			weak = append(weak, suite)
			worst = max(worst, severity)
		}
	}
	if weak == nil {
		return "", 0
	}
	return "accepts " + list(slices.Sorted(slices.Values(weak))), worst
}

// cipherSeverity weighs an IANA suite name by its parts; zero is sound.
func cipherSeverity(suite string) tallystick.Severity {
	switch suite {
	case "TLS_SHA256_SHA256", "TLS_SHA384_SHA384": // integrity alone, RFC 9150
		return tallystick.SeverityHigh
	}
	worst := tallystick.Severity(0)
	for part := range strings.SplitSeq(suite, "_") {
		switch part {
		case "NULL", "anon", "EXPORT", "EXPORT1024", "DES40":
			return tallystick.SeverityHigh
		case "RC4", "RC2", "DES", "3DES", "IDEA":
			worst = tallystick.SeverityMedium
		}
	}
	return worst
}

func noForwardSecrecy() rule.Rule {
	return rule.Rule{
		Name:  "no-forward-secrecy",
		Title: "No forward secrecy",
		About: "No suite that was seen at the endpoint makes a key of its own for each connection: who records the traffic today and gets " +
			"the private key later can read all of it.",
		Severity:  tallystick.SeverityMedium,
		Citation:  "RFC 9325 section 4.1 (BCP 195)",
		URL:       "https://www.rfc-editor.org/rfc/rfc9325#section-4.1",
		Effective: day(2022, time.November, 1),
		Do:        "Enable TLS 1.3, or suites that begin with TLS_ECDHE_, and remove those that begin with TLS_RSA_.",
		Check: func(s rule.Subject) []rule.Hit {
			return atEndpoints(&s, judgeForwardSecrecy)
		},
	}
}

func judgeForwardSecrecy(t *tallystick.TLSFacts) (string, tallystick.Severity) {
	for _, suite := range t.Suites {
		if isForwardSecret(suite) {
			return "", 0
		}
	}
	if len(t.Suites) == 0 {
		return "", 0
	}
	return "only " + list(slices.Sorted(slices.Values(t.Suites))), 0
}

// isForwardSecret tells by the key exchange in an IANA suite name. The suites
// of TLS 1.3 name none ("TLS_AES_128_GCM_SHA256"): theirs is always ephemeral
// or a resumption that the server chose.
func isForwardSecret(suite string) bool {
	exchange, _, named := strings.Cut(suite, "_WITH_")
	return !named || strings.Contains(exchange, "DHE_") || strings.HasSuffix(exchange, "DHE") ||
		strings.Contains(exchange, "_anon") || strings.HasPrefix(exchange, "TLS_ECCPWD")
}

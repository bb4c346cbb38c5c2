// SPDX-License-Identifier: Apache-2.0

package files

import (
	"regexp"
	"strings"
)

// postfixFile recognises the parameters of smtpd(8), smtp(8), lmtp and
// tlsproxy(8) that name files: the daemon, then what the file is.
var postfixFile = regexp.MustCompile(`^(smtpd|smtp|lmtp|tlsproxy|tlsproxy_client)_(?:tls_)?` +
	`(cert_file|dcert_file|eccert_file|key_file|dkey_file|eckey_file|chain_files|CAfile|CApath)$`)

// postfixName is a parameter in a value: $name, ${name} or $(name).
var postfixName = regexp.MustCompile(`\$(?:(\w+)|\{(\w+)\}|\((\w+)\))`)

// readPostfix reads main.cf, or master.cf with its "-o name=value" overrides.
func readPostfix(c config) []reference {
	values := map[string]string{"config_directory": c.dir()}
	var found []reference
	for _, l := range lines(withoutComments(c.text), bySpace) {
		if key, value, ok := assignment(l.text); ok && !strings.ContainsAny(key, " \t") {
			values[key] = value
			found = append(found, postfixReferences(key, value, values, l.number)...)
			continue
		}
		w := words(strings.NewReplacer("{", " ", "}", " ").Replace(l.text))
		for i := 1; i < len(w); i++ {
			if key, value, ok := assignment(w[i]); ok && w[i-1] == "-o" {
				found = append(found, postfixReferences(key, value, values, l.number)...)
			}
		}
	}
	return found
}

// withoutComments blanks comment lines, which may stand between a line and its
// continuation (postconf(5)), and keeps the numbers of the others.
func withoutComments(text string) string {
	var kept strings.Builder
	for raw := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimLeft(raw, " \t"), "#") {
			kept.WriteString(" \n")
			continue
		}
		kept.WriteString(raw)
	}
	return kept.String()
}

// postfixReferences reads the files of one parameter. Values may name other
// parameters: by default the key is $smtpd_tls_cert_file.
func postfixReferences(key, value string, values map[string]string, number int) []reference {
	match := postfixFile.FindStringSubmatch(key)
	if match == nil {
		return nil
	}
	value = postfixName.ReplaceAllStringFunc(value, func(name string) string {
		return values[strings.Trim(name, "${}()")]
	})
	as := "certificate"
	switch what := match[2]; {
	case strings.HasSuffix(what, "key_file"):
		as = "key"
	case strings.HasPrefix(what, "CA") && match[1] == "smtpd":
		as = "client-ca"
	case strings.HasPrefix(what, "CA"):
		as = "ca"
	}
	var found []reference
	for _, path := range strings.FieldsFunc(value, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' }) {
		found = append(found, reference{path: path, line: number, as: as})
	}
	return found
}

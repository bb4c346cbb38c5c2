// SPDX-License-Identifier: Apache-2.0

package files

import "strings"

// dovecotFiles are the settings that name a file: those of 2.3, whose value
// begins with "<", and those of 2.4, which end in _file.
var dovecotFiles = map[string]string{
	"ssl_cert":             "certificate",
	"ssl_key":              "key",
	"ssl_alt_cert":         "certificate",
	"ssl_alt_key":          "key",
	"ssl_ca":               "client-ca",
	"ssl_client_cert":      "certificate",
	"ssl_client_key":       "key",
	"ssl_client_ca_file":   "ca",
	"ssl_client_ca_dir":    "ca",
	"ssl_server_cert_file": "certificate",
	"ssl_server_key_file":  "key",
	"ssl_server_ca_file":   "client-ca",
	"ssl_client_cert_file": "certificate",
	"ssl_client_key_file":  "key",
}

// readDovecot reads a dovecot configuration. Blocks such as local_name do not
// matter: a setting in any of them is a use. A relative path is relative to the
// directory of the file that has it.
func readDovecot(c config) []reference {
	var found []reference
	braces := func(r rune) bool { return r == '{' || r == '}' }
	for _, l := range lines(c.text, byBackslash) {
		text, _, _ := strings.Cut(" "+l.text, " #")
		for _, part := range strings.FieldsFunc(text, braces) {
			key, value, ok := assignment(part)
			as := dovecotFiles[key]
			if !ok || as == "" {
				continue
			}
			path := strings.Trim(strings.TrimLeft(value, "< \t"), `"`)
			if path == "" || !strings.HasPrefix(value, "<") && !strings.ContainsRune(path, '/') {
				continue // an empty setting, or a value in place
			}
			found = append(found, reference{path: path, base: c.dir(), line: l.number, as: as})
		}
	}
	return found
}

// SPDX-License-Identifier: Apache-2.0

package files

import "strings"

// apacheFiles are the directives of mod_ssl and mod_md that name a file or a
// directory, in lower case because Apache does not mind.
var apacheFiles = map[string]string{
	"sslcertificatefile":                  "certificate",
	"sslcertificatekeyfile":               "key",
	"sslcertificatechainfile":             "ca",
	"sslcacertificatefile":                "client-ca",
	"sslcacertificatepath":                "client-ca",
	"sslcadnrequestfile":                  "client-ca",
	"sslproxymachinecertificatefile":      "key", // holds certificates and keys
	"sslproxymachinecertificatepath":      "key",
	"sslproxymachinecertificatechainfile": "ca",
	"sslproxycacertificatefile":           "ca",
	"sslproxycacertificatepath":           "ca",
	"mdcertificatefile":                   "certificate",
	"mdcertificatekeyfile":                "key",
}

// readApache reads an Apache configuration. A relative path is relative to
// ServerRoot, which Debian sets to the configuration directory. Names with a
// ${variable} are left out: their value is in the environment of the service.
func readApache(c config) []reference {
	var found []reference
	root := c.home("apache2", "httpd")
	for _, l := range lines(c.text, byBackslash) {
		w := words(l.text)
		if len(w) < 2 || strings.Contains(w[1], "${") {
			continue
		}
		directive := strings.ToLower(w[0])
		if directive == "serverroot" {
			root = w[1]
		}
		if as := apacheFiles[directive]; as != "" {
			found = append(found, reference{path: w[1], base: root, line: l.number, as: as})
		}
	}
	return found
}

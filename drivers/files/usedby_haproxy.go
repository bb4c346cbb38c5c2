// SPDX-License-Identifier: Apache-2.0

package files

import "strings"

// haproxyFiles are the words of bind, server and crt-store load lines that
// are followed by a file; what a crt names may hold the key as well.
var haproxyFiles = map[string]string{
	"crt":            "certificate",
	"key":            "key",
	"ca-file":        "client-ca",
	"ca-verify-file": "client-ca",
	"ca-sign-file":   "key",
}

// readHAProxy reads an haproxy configuration or a crt-list, which has a file
// first on each line, where a configuration has a keyword. Relative paths are
// relative to crt-base, key-base or ca-base, or else to the root directory,
// where Debian's service runs.
func readHAProxy(c config) []reference {
	var found []reference
	bases := map[string]string{}
	for _, l := range lines(c.text, nil) {
		w := words(l.text)
		switch {
		case len(w) == 0:
		case strings.Contains(w[0], "/"):
			found = append(found, reference{path: w[0], line: l.number, as: "certificate"})
		case len(w) > 1 && strings.HasSuffix(w[0], "-base"):
			bases[w[0]] = w[1]
		case w[0] == "bind" || w[0] == "server" || w[0] == "default-server" || w[0] == "load":
			found = append(found, haproxyWords(w, l.number, bases)...)
		}
	}
	return found
}

// haproxyWords reads the files of one line.
func haproxyWords(w []string, number int, bases map[string]string) []reference {
	var found []reference
	for i := 1; i+1 < len(w); i++ {
		as := haproxyFiles[w[i]]
		if as == "" || strings.HasPrefix(w[i+1], "@") { // "@system-ca", "@store/name": no path
			continue
		}
		base := bases["crt-base"]
		switch {
		case as == "client-ca":
			base = bases["ca-base"]
		case as == "key" && bases["key-base"] != "":
			base = bases["key-base"]
		}
		if base == "" {
			base = "/"
		}
		if as == "client-ca" && w[0] != "bind" {
			as = "ca"
		}
		found = append(found, reference{path: w[i+1], base: base, line: number, as: as})
		if w[i] == "crt" { // haproxy looks for the key there as well (ssl-load-extra-files)
			found = append(found, reference{path: w[i+1] + ".key", base: base, line: number, as: "key"})
		}
		i++
	}
	return found
}

// SPDX-License-Identifier: Apache-2.0

package files

import (
	"encoding/base64"
	"path/filepath"
	"strings"
)

// slapdFiles are the options of slapd.conf(5) and, with "olc" before them, of
// slapd-config(5) that name a file, in lower case because OpenLDAP does not mind.
var slapdFiles = map[string]string{
	"tlscertificatefile":    "certificate",
	"tlscertificatekeyfile": "key",
	"tlscacertificatefile":  "client-ca",
	"tlscacertificatepath":  "client-ca",
	"tls_cert":              "certificate", // of a syncrepl
	"tls_key":               "key",
	"tls_cacert":            "ca",
	"tls_cacertdir":         "ca",
}

// isSlapdConfig accepts slapd.conf and the entries of cn=config. The clients'
// ldap.conf beside them configures no server.
func isSlapdConfig(name string) bool {
	return name == "slapd.conf" || filepath.Ext(name) == ".ldif"
}

// readSlapd reads slapd.conf or an LDIF file of cn=config.
func readSlapd(c config) []reference {
	if filepath.Ext(c.path) == ".ldif" {
		return readSlapdLDIF(c)
	}
	var found []reference
	for _, l := range lines(c.text, bySpace) {
		w := words(l.text)
		if len(w) < 2 {
			continue
		}
		if as := slapdFiles[strings.ToLower(w[0])]; as != "" {
			found = append(found, reference{path: w[1], line: l.number, as: as})
		}
		if strings.EqualFold(w[0], "syncrepl") {
			found = append(found, syncreplFiles(w, l.number)...)
		}
	}
	return found
}

// readSlapdLDIF reads attributes of the form "name: value" or, in base64,
// "name:: value" (RFC 2849 section 2).
func readSlapdLDIF(c config) []reference {
	var found []reference
	for _, l := range lines(c.text, byFold) {
		name, value, ok := strings.Cut(l.text, ":")
		if !ok {
			continue
		}
		if encoded, ok := strings.CutPrefix(value, ":"); ok {
			decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
			if err != nil {
				continue
			}
			value = string(decoded)
		}
		name, isConfig := strings.CutPrefix(strings.ToLower(name), "olc")
		if as := slapdFiles[name]; isConfig && as != "" {
			found = append(found, reference{path: strings.TrimSpace(value), line: l.number, as: as})
		}
		if isConfig && name == "syncrepl" {
			found = append(found, syncreplFiles(words(value), l.number)...)
		}
	}
	return found
}

// syncreplFiles reads the name=value words of a syncrepl directive.
func syncreplFiles(w []string, number int) []reference {
	var found []reference
	for _, word := range w {
		key, value, _ := assignment(word)
		if as := slapdFiles[strings.ToLower(key)]; as != "" && value != "" {
			found = append(found, reference{path: value, line: number, as: as})
		}
	}
	return found
}

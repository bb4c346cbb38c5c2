// SPDX-License-Identifier: Apache-2.0

package files

import (
	"path/filepath"
	"strings"
)

// postgresFiles are the settings that name a file.
var postgresFiles = map[string]string{"ssl_cert_file": "certificate", "ssl_key_file": "key", "ssl_ca_file": "client-ca"}

// isPostgresConfig accepts postgresql.conf and its parts, not the lists of
// clients and names beside it, which only the server may read.
func isPostgresConfig(name string) bool {
	return filepath.Ext(name) == ".conf" && !strings.HasPrefix(name, "pg_")
}

// readPostgreSQL reads a postgresql.conf or a part of one. A relative path is
// relative to the data directory, and with TLS on and no file named, the
// server uses server.crt and server.key there (PostgreSQL documentation,
// section 20.3.3).
func readPostgreSQL(c config) []reference {
	data, on := c.dir(), 0
	named := map[string]reference{}
	for _, l := range lines(c.text, nil) {
		key, value := postgresSetting(l.text)
		if key == "" {
			continue
		}
		switch {
		case key == "data_directory":
			data = value
		case key == "ssl" && value != "":
			on = 0
			if strings.HasPrefix("on", value) || strings.HasPrefix("true", value) || strings.HasPrefix("yes", value) || value == "1" {
				on = l.number
			}
		case postgresFiles[key] != "":
			named[key] = reference{path: value, line: l.number, as: postgresFiles[key]} // the last one holds
		}
	}
	defaults := map[string]string{"ssl_cert_file": "server.crt", "ssl_key_file": "server.key"}
	var found []reference
	for key, as := range postgresFiles {
		r, ok := named[key]
		if !ok && on > 0 && defaults[key] != "" {
			r = reference{path: defaults[key], line: on, as: as}
		}
		if r.path != "" {
			r.base = data
			found = append(found, r)
		}
	}
	return found
}

// postgresSetting reads "key = 'value' # comment"; the equals sign and the
// quotes may be missing, and a quote inside is doubled.
func postgresSetting(text string) (key, value string) {
	text = strings.TrimSpace(text)
	end := strings.IndexAny(text, " \t=")
	if end < 0 || strings.HasPrefix(text, "#") {
		return "", ""
	}
	key = strings.ToLower(text[:end])
	value = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(text[end:]), "="))
	if !strings.HasPrefix(value, "'") {
		value, _, _ = strings.Cut(value, "#")
		return key, strings.ToLower(strings.TrimSpace(value))
	}
	var inside strings.Builder
	for i := 1; i < len(value); i++ {
		if value[i] == '\'' {
			if i+1 == len(value) || value[i+1] != '\'' {
				break
			}
			i++
		}
		inside.WriteByte(value[i])
	}
	return key, inside.String()
}

// SPDX-License-Identifier: Apache-2.0

package files

import "strings"

// nginxFiles are the directives of the http, mail, stream and proxying modules
// that name a file, and what the file is for.
var nginxFiles = map[string]string{
	"ssl_certificate":               "certificate",
	"ssl_certificate_key":           "key",
	"ssl_client_certificate":        "client-ca",
	"ssl_trusted_certificate":       "ca",
	"proxy_ssl_certificate":         "certificate",
	"proxy_ssl_certificate_key":     "key",
	"proxy_ssl_trusted_certificate": "ca",
	"grpc_ssl_certificate":          "certificate",
	"grpc_ssl_certificate_key":      "key",
	"grpc_ssl_trusted_certificate":  "ca",
	"uwsgi_ssl_certificate":         "certificate",
	"uwsgi_ssl_certificate_key":     "key",
	"uwsgi_ssl_trusted_certificate": "ca",
}

// readNginx reads an nginx configuration. A relative path is relative to the
// directory of nginx.conf, also in an included file. Names with a variable
// stand for files that only a request decides; "data:" and "engine:" are no files.
func readNginx(c config) []reference {
	var found []reference
	home := c.home("nginx")
	for _, s := range nginxStatements(c.text) {
		if len(s.words) != 2 {
			continue
		}
		as, path := nginxFiles[s.words[0]], s.words[1]
		if s.words[0] == "include" {
			as = included
		}
		if as == "" || strings.Contains(path, "$") || strings.HasPrefix(path, "data:") || strings.HasPrefix(path, "engine:") {
			continue
		}
		found = append(found, reference{path: path, base: home, line: s.number, as: as})
	}
	return found
}

// A statement is what stands before one ; { or }, with the line of its end.
type statement struct {
	number int
	words  []string
}

// nginxStatements takes the text apart; statements may span lines and share one.
func nginxStatements(text string) []statement {
	var all []statement
	var current strings.Builder
	var quote byte
	number := 1
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '\n' {
			number++
		}
		switch {
		case c == '\\' && i+1 < len(text) && text[i+1] != '\n':
			current.WriteString(text[i : i+2])
			i++
		case quote != 0:
			current.WriteByte(c)
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
			current.WriteByte(c)
		case c == '#':
			for i+1 < len(text) && text[i+1] != '\n' {
				i++
			}
		case c == ';' || c == '{' || c == '}':
			all = append(all, statement{number, words(current.String())})
			current.Reset()
		case c == '\n' || c == '\r':
			current.WriteByte(' ')
		default:
			current.WriteByte(c)
		}
	}
	return all
}

// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"html"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/driver"
)

// Secrets are taken out in each form in which a program quotes what it was given.
func TestRedact(t *testing.T) {
	t.Parallel()
	const odd = "p/ss+wörd' <\"1\"> \x00&\n"
	for name, form := range map[string]string{
		"as it is": odd, "base64": base64.StdEncoding.EncodeToString([]byte(odd)), "base64 of URLs": base64.URLEncoding.EncodeToString([]byte(odd)),
		"base64 without padding": base64.RawStdEncoding.EncodeToString([]byte(odd)), "base64 of URLs without it": base64.RawURLEncoding.EncodeToString([]byte(odd)),
		"hexadecimal": hex.EncodeToString([]byte(odd)), "in capitals": strings.ToUpper(hex.EncodeToString([]byte(odd))), "SQL": strings.ReplaceAll(odd, "'", "''"),
		"HTML": html.EscapeString(odd), "HTML by name": strings.ReplaceAll(html.EscapeString(odd), "&#34;", "&quot;"),
		"a query in small letters": strings.NewReplacer("%2F", "%2f", "%2B", "%2b", "%C3%B6", "%c3%b6", "%3C", "%3c", "%3E", "%3e", "%0A", "%0a").Replace(url.QueryEscape(odd)),
		"a query":                  url.QueryEscape(odd), "a path": url.PathEscape(odd), "Go": inside(strconv.Quote(odd)), "ASCII": inside(strconv.QuoteToASCII(odd)),
		"JSON": inside(jsonOf(t, odd)), "JSON without HTML": inside(strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(jsonOf(t, odd))),
	} {
		if got := driver.Redact("no: '"+form+"' is wrong", driver.NewSecret("another"), driver.NewSecret(odd)); got != "no: '[redacted]' is wrong" {
			t.Errorf("%s: it says %q", name, got)
		}
	}
}

func TestRedactOddSecrets(t *testing.T) {
	t.Parallel()
	key := "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIPpq\nshort\n-----END PRIVATE KEY-----\n"
	for _, row := range []struct {
		text, want string
		secrets    []string
	}{
		{"nothing is taken out", "nothing is taken out", nil},
		{"nothing is taken out", "nothing is taken out", []string{""}},
		{"the passwords are pass and password", "the [redacted]s are [redacted] and [redacted]", []string{"pass", "password"}},
		{"abcdefgh12345678zzzz, abcdefgh1234 and efgh12345678zzzz", "[redacted], [redacted] and [redacted]", []string{"abcdefgh1234", "efgh12345678zzzz"}},
		{"aaaaaaaaaaab", "[redacted]b", []string{"aaaaaaaaaa"}},
		{"who would guess ab from abc", "[redacted]", []string{"ab"}},
		{"a short one that is not there", "a short one that is not there", []string{"xyz"}},
		{"at MC4CAQAwBQYDK2VwBCIEIPpq, in a short line", "at [redacted], in a short line", []string{key}},
		{"no -----BEGIN PRIVATE KEY----- is found", "no -----BEGIN PRIVATE KEY----- is found", []string{key}},
		{"all of it: " + key, "all of it: [redacted]", []string{key}},
	} {
		var secrets []driver.Secret
		for _, text := range row.secrets {
			secrets = append(secrets, driver.NewSecret(text))
		}
		if got := driver.Redact(row.text, secrets...); got != row.want {
			t.Errorf("%q without %q is %q, want %q", row.text, row.secrets, got, row.want)
		}
	}
}

// inside returns a quoted text without its quotes.
func inside(quoted string) string { return quoted[1 : len(quoted)-1] }

func jsonOf(t *testing.T, text string) string {
	t.Helper()
	written, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(written)
}

// FuzzRedact: what was redacted does not have the secrets in it any more, which may overlap.
func FuzzRedact(f *testing.F) {
	f.Add("secret", "secretary", "the secret is secretary")
	f.Add("a", "b", "a")
	f.Add("abcdef", "defghi", "abcdefghi")
	f.Add("line one is long\nline two is long\n", "", "line two is long")
	f.Fuzz(func(t *testing.T, one, other, said string) {
		got := driver.Redact(said, driver.NewSecret(one), driver.NewSecret(other))
		for _, text := range []string{one, other} {
			ours := strings.Contains(driver.Secret{}.String(), text) || strings.ContainsAny(text, "[]")
			if strings.Contains(got, text) && !ours {
				t.Errorf("%q is in %q", text, got)
			}
		}
	})
}

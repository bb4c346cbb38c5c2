// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"html"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Redact takes secrets out of what another side has said, which may repeat what it was given. Call
// it before the text is cut or cleaned: of half a secret it knows nothing.
//
// Each is taken out as it is, in base64 and hexadecimal, as URLs, HTML and SQL have it, and as Go and JSON
// quote it, and of one that has lines, such as a key, each line by itself: programs show a line where
// something is wrong with it. What overlaps goes as one. A secret of a few letters would show by where
// it is left out, so all of such a text is.
//
// A secret that was encoded together with something else, such as the user and password of HTTP Basic,
// is not found: whoever sends that gives it as a secret of its own.
func Redact(text string, secrets ...Secret) string { return Redactor(secrets...)(text) }

// Redactor makes a Redact of the same secrets for many texts. It may be called by several
// goroutines.
func Redactor(secrets ...Secret) func(text string) string {
	const few = 4 // bytes
	var forms []string
	for _, s := range secrets {
		forms = append(forms, s.forms()...)
	}
	slices.Sort(forms)
	forms = slices.Compact(forms)
	return func(text string) string {
		var found []span
		for _, form := range forms {
			for from := 0; ; {
				at := strings.Index(text[from:], form)
				if at < 0 {
					break
				}
				if len(form) < few {
					return redacted
				}
				found = append(found, span{from + at, from + at + len(form)})
				from += at + 1
			}
		}
		return without(text, found)
	}
}

// A span is a part of a text, from one byte to before another.
type span struct{ from, to int }

// without leaves parts out of a text.
func without(text string, parts []span) string {
	slices.SortFunc(parts, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	var left strings.Builder
	done := 0
	for i, p := range parts {
		if i == 0 || p.from >= done { // else it overlaps the one before
			left.WriteString(text[done:p.from] + redacted)
		}
		done = max(done, p.to)
	}
	return left.String() + text[done:]
}

// forms are those in which a secret is quoted; an empty one has none.
func (s Secret) forms() []string {
	const words = 8 // a line that is shorter may be part of anything
	text := s.text
	if text == "" {
		return nil
	}
	digits, markup := hex.EncodeToString([]byte(text)), html.EscapeString(text)
	forms := []string{
		text, strings.ReplaceAll(text, "'", "''"), digits, strings.ToUpper(digits), markup, strings.ReplaceAll(markup, "&#34;", "&quot;"),
	}
	for _, base := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		forms = append(forms, base.EncodeToString([]byte(text)))
	}
	for _, escaped := range []string{url.QueryEscape(text), url.PathEscape(text)} {
		forms = append(forms, escaped, escape.ReplaceAllStringFunc(escaped, strings.ToLower))
	}
	for _, quoted := range []string{strconv.Quote(text), strconv.QuoteToASCII(text), marshalled(text, true), marshalled(text, false)} {
		forms = append(forms, quoted[1:len(quoted)-1])
	}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); len(line) >= words && !strings.HasPrefix(line, "-----") {
			forms = append(forms, line)
		}
	}
	return forms
}

// escape is a byte in a URL (RFC 3986 section 2.1), of which either case is the same.
var escape = regexp.MustCompile("%[0-9A-F]{2}")

// marshalled writes a text as JSON does, which may escape what means something to HTML.
func marshalled(text string, html bool) string {
	var written bytes.Buffer
	encoder := json.NewEncoder(&written)
	encoder.SetEscapeHTML(html)
	_ = encoder.Encode(text) // of a string it cannot fail
	return strings.TrimSpace(written.String())
}

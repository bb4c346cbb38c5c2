// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Redact takes secrets out of what another side has said, which may repeat what it was given. Call
// it before the text is cut or cleaned: of half a secret it knows nothing.
//
// Each is taken out as it is, in base64, as URLs and as Go and JSON quote it, and of one that has
// lines, such as a key, each line by itself: programs show a line where something is wrong
// with it. A secret of a few letters would show by where it is left out, so all of such a text is.
func Redact(text string, secrets ...Secret) string { return Redactor(secrets...)(text) }

// Redactor makes a Redact of the same secrets for many texts. It may be called by several
// goroutines.
func Redactor(secrets ...Secret) func(text string) string {
	const few = 4 // bytes
	var forms []string
	for _, s := range secrets {
		forms = append(forms, s.forms()...)
	}
	// A replacer takes the first that fits, and one may be part of another.
	slices.SortFunc(forms, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b)) })
	forms = slices.Compact(forms)
	var pairs []string
	for _, form := range forms {
		pairs = append(pairs, form, redacted)
	}
	replacer := strings.NewReplacer(pairs...)
	return func(text string) string {
		if slices.ContainsFunc(forms, func(form string) bool { return len(form) < few && strings.Contains(text, form) }) {
			return redacted
		}
		return replacer.Replace(text)
	}
}

// forms are those in which a secret is quoted; an empty one has none.
func (s Secret) forms() []string {
	const words = 8 // a line that is shorter may be part of anything
	text := s.text
	if text == "" {
		return nil
	}
	forms := []string{
		text, base64.StdEncoding.EncodeToString([]byte(text)), base64.URLEncoding.EncodeToString([]byte(text)), url.QueryEscape(text), url.PathEscape(text),
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

// marshalled writes a text as JSON does, which may escape what means something to HTML.
func marshalled(text string, html bool) string {
	var written bytes.Buffer
	encoder := json.NewEncoder(&written)
	encoder.SetEscapeHTML(html)
	_ = encoder.Encode(text) // of a string it cannot fail
	return strings.TrimSpace(written.String())
}

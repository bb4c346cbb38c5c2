// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tallystick/tallystick/driver"
)

// maxSecret bounds a secret, in bytes.
const maxSecret = 64 << 10

// A secret is one in a request or an answer. It is there in one of two forms, because JSON
// carries text alone.
type secret struct {
	Text   string `json:"text,omitempty"`
	Base64 string `json:"base64,omitempty"` // of what is no UTF-8
}

// tell writes a secret for the program; nil where there is none.
func tell(s driver.Secret) *secret {
	switch text := s.Reveal(); {
	case text == "":
		return nil
	case !utf8.ValidString(text):
		return &secret{Base64: base64.StdEncoding.EncodeToString([]byte(text))}
	default:
		return &secret{Text: text}
	}
}

// read reads one that the program tells. Its errors quote nothing of it.
func (s *secret) read() (driver.Secret, error) {
	text := s.Text
	if s.Base64 != "" {
		decoded, err := base64.StdEncoding.DecodeString(s.Base64)
		if err != nil || text != "" {
			return driver.Secret{}, invalid("a secret of the answer has one of text and base64")
		}
		text = string(decoded)
	}
	if text == "" || len(text) > maxSecret {
		return driver.Secret{}, invalid("a secret of the answer is empty, or longer than %d bytes", maxSecret)
	}
	return driver.NewSecret(text), nil
}

// hidden are texts that a program may know and that are shown nowhere: the longest first, in
// each form in which programs quote what they were given.
type hidden []string

// hidden are those of a request.
func (r request) hidden() hidden {
	var h hidden
	for _, s := range []*secret{r.OldSecret, r.NewSecret} {
		if s != nil {
			if read, err := s.read(); err == nil {
				h = h.and(read)
			}
		}
	}
	return h.and(driver.NewSecret(r.Key))
}

// and adds those of a secret. Of one that has lines, such as a key, each line is one: programs
// show a line where something is wrong with it.
func (h hidden) and(s driver.Secret) hidden {
	const words = 8 // a line that is shorter may be part of anything
	text := s.Reveal()
	if text == "" {
		return h
	}
	all := append(slices.Clone(h), text, base64.StdEncoding.EncodeToString([]byte(text)), url.QueryEscape(text), url.PathEscape(text))
	for _, quoted := range []string{strconv.Quote(text), strconv.QuoteToASCII(text), marshalled(text, true), marshalled(text, false)} {
		all = append(all, strings.Trim(strings.TrimSpace(quoted), `"`))
	}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); len(line) >= words && !strings.HasPrefix(line, "-----") {
			all = append(all, line)
		}
	}
	all = slices.DeleteFunc(all, func(one string) bool { return one == "" })
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b)) })
	return slices.Compact(all)
}

// marshalled writes a text as JSON does, which may escape what means something to HTML.
func marshalled(text string, html bool) string {
	var written bytes.Buffer
	encoder := json.NewEncoder(&written)
	encoder.SetEscapeHTML(html)
	if encoder.Encode(text) != nil {
		return ""
	}
	return written.String()
}

// strip takes what is hidden out of a text. A secret of a few letters would show by where it is
// left out, and so all of the text is.
func (h hidden) strip(text string) string {
	const few = 4
	var pairs []string
	for _, one := range h {
		if len(one) < few && strings.Contains(text, one) {
			return redacted
		}
		pairs = append(pairs, one, redacted)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

const redacted = "[redacted]"

// hide takes what is hidden out of everything that is shown of an answer; in listeners and
// addresses texts that are known stay. Words of which the protocol knows a few are checked, and
// need not be hidden.
func (a *answer) hide(h hidden, known []string) {
	unknown := func(text string) string {
		if slices.Contains(known, text) {
			return text
		}
		return h.strip(text)
	}
	texts := slices.Concat([]*string{&a.Detail}, pointers(a.How), pointers(a.Left))
	if a.Error != nil {
		texts = append(texts, &a.Error.Text)
	}
	if a.Account != nil {
		texts = append(texts, &a.Account.Name, &a.Account.Barred)
		texts = append(texts, pointers(a.Account.Notes)...)
		for i, l := range a.Account.Listeners {
			a.Account.Listeners[i] = edited(l, unknown)
		}
	}
	for i := range a.Tries {
		texts = append(texts, &a.Tries[i].Address, &a.Tries[i].Way, &a.Tries[i].Answer, &a.Tries[i].Served)
	}
	for _, trials := range [][]trial{a.Old, a.New} {
		for i := range trials {
			trials[i].Listener, trials[i].Address = edited(trials[i].Listener, unknown), unknown(trials[i].Address)
			texts = append(texts, &trials[i].Answer, &trials[i].Served)
		}
	}
	for _, text := range texts {
		*text = h.strip(*text)
	}
}

func pointers(texts []string) []*string {
	var all []*string
	for i := range texts {
		all = append(all, &texts[i])
	}
	return all
}

// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"encoding/base64"
	"slices"
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

// secrets are those of a request, which a program may repeat.
func (r request) secrets() []driver.Secret {
	all := []driver.Secret{driver.NewSecret(r.Key)}
	for _, s := range []*secret{r.OldSecret, r.NewSecret} {
		if s != nil {
			if read, err := s.read(); err == nil {
				all = append(all, read)
			}
		}
	}
	return all
}

// hide takes secrets out of everything that is shown of an answer; in listeners and
// addresses texts that are known stay. Words of which the protocol knows a few are checked, and
// need not be hidden.
func (a *answer) hide(redact func(string) string, known []string) {
	unknown := func(text string) string {
		if slices.Contains(known, text) {
			return text
		}
		return redact(text)
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
		*text = redact(*text)
	}
}

func pointers(texts []string) []*string {
	var all []*string
	for i := range texts {
		all = append(all, &texts[i])
	}
	return all
}

// SPDX-License-Identifier: Apache-2.0

package signin

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/tallystick/tallystick/driver"
)

// A verdict is what came of a try.
type verdict struct{ outcome, answer string }

func accepted(answer string) verdict { return verdict{driver.OutcomeAccepted, answer} }
func refused(answer string) verdict  { return verdict{driver.OutcomeRefused, answer} }
func failed(answer string) verdict   { return verdict{driver.OutcomeFailed, answer} }

// A mechanism is how a name and a password are said, one answer to each challenge.
type mechanism struct {
	name    string
	answers []string
}

// choose takes the first mechanism that a server offers.
func choose(offered []string, user, password string) (mechanism, bool) {
	for _, m := range []mechanism{
		{"PLAIN", []string{encode("\x00" + user + "\x00" + password)}},
		{"LOGIN", []string{encode(user), encode(password)}},
	} {
		if slices.ContainsFunc(offered, func(word string) bool { return strings.EqualFold(word, m.name) }) {
			return m, true
		}
	}
	return mechanism{}, false
}

func encode(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// withhold takes out of foreign words what would tell the password: a server may repeat what
// it was sent.
func withhold(answer, user string, password driver.Secret) string {
	return driver.Redact(answer, password, driver.NewSecret("\x00"+user+"\x00"+password.Reveal()))
}

// exchange answers the challenges of a server. It returns the line that is none, and whether
// all was said before it: what a server says earlier is not about the password.
func (t *talk) exchange(m mechanism, next func() (string, error), isChallenge func(string) bool) (line string, said bool, err error) {
	for i := 0; ; i++ {
		if line, err = next(); err != nil || !isChallenge(line) {
			return line, i == len(m.answers), err
		}
		if i == len(m.answers) {
			return line, false, nil // it wants more than the mechanism has
		}
		if err = t.send(m.answers[i]); err != nil {
			return "", false, err
		}
	}
}

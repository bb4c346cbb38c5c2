// SPDX-License-Identifier: Apache-2.0

package signin

import (
	"slices"
	"strconv"
	"strings"
)

// A dialogue is how a protocol signs in, after TLS has begun, and how it says goodbye.
type dialogue struct {
	signIn  func(t *talk, user, password string) (verdict, error)
	goodbye string
}

// dialogueOf returns the dialogue of a protocol.
func dialogueOf(protocol string) (dialogue, bool) {
	d, ok := map[string]dialogue{
		"imap": {imap, "z LOGOUT"}, "imaps": {imap, "z LOGOUT"}, "pop3": {pop3, "QUIT"}, "pop3s": {pop3, "QUIT"},
		"smtp": {smtp, "QUIT"}, "smtps": {smtp, "QUIT"}, "submission": {smtp, "QUIT"},
	}[protocol]
	return d, ok
}

const neither = "it offers neither SASL PLAIN nor LOGIN: "

// imap is AUTHENTICATE (RFC 9051 section 6.2.2).
func imap(t *talk, user, password string) (verdict, error) {
	if !t.greeted {
		greeting, err := t.line()
		if err != nil || !strings.HasPrefix(greeting, "* OK") {
			return failed(greeting), err
		}
	}
	var offered []string
	if err := t.send("c CAPABILITY"); err != nil {
		return verdict{}, err
	}
	answer, err := t.until(func(line string) bool {
		for _, word := range strings.Fields(line) {
			if name, is := strings.CutPrefix(strings.ToUpper(word), "AUTH="); is && strings.HasPrefix(line, "* ") {
				offered = append(offered, name)
			}
		}
		return strings.HasPrefix(line, "c ") || strings.HasPrefix(line, "* BYE")
	})
	if err != nil {
		return verdict{}, err
	}
	m, ok := choose(offered, user, password)
	if !ok {
		return failed(neither + answer), nil
	}
	if err := t.send("a AUTHENTICATE " + m.name); err != nil {
		return verdict{}, err
	}
	tagged := func() (string, error) {
		return t.until(func(line string) bool {
			return strings.HasPrefix(line, "a ") || strings.HasPrefix(line, "+") || strings.HasPrefix(line, "* BYE")
		})
	}
	line, said, err := t.exchange(m, tagged, func(line string) bool { return strings.HasPrefix(line, "+") })
	if err != nil || !said {
		return failed(line), err
	}
	return imapVerdict(line), nil
}

// imapTrouble are the codes of a server that says nothing about the password (RFC 5530
// section 3).
var imapTrouble = []string{"UNAVAILABLE", "SERVERBUG", "INUSE", "LIMIT", "PRIVACYREQUIRED", "CONTACTADMIN", "CANNOT"}

func imapVerdict(line string) verdict {
	rest, tagged := strings.CutPrefix(line, "a ")
	switch status, text, _ := strings.Cut(rest, " "); {
	case tagged && status == "OK":
		return accepted(line)
	case tagged && status == "NO" && !slices.Contains(imapTrouble, code(text)):
		return refused(line)
	}
	return failed(line)
}

// code returns the word of a code between brackets at the beginning of a text; "" where
// there is none.
func code(text string) string {
	rest, has := strings.CutPrefix(text, "[")
	inside, _, closed := strings.Cut(rest, "]")
	word, _, _ := strings.Cut(inside, " ")
	if !has || !closed {
		return ""
	}
	return strings.ToUpper(word)
}

// pop3 is AUTH (RFC 5034 section 4).
func pop3(t *talk, user, password string) (verdict, error) {
	if !t.greeted {
		greeting, err := t.line()
		if err != nil || !strings.HasPrefix(greeting, "+OK") {
			return failed(greeting), err
		}
	}
	if err := t.send("CAPA"); err != nil {
		return verdict{}, err
	}
	var offered []string
	answer, err := t.until(func(line string) bool {
		if words := strings.Fields(line); len(words) > 0 && strings.EqualFold(words[0], "SASL") {
			offered = words[1:]
		}
		return line == "." || strings.HasPrefix(line, "-ERR")
	})
	if err != nil {
		return verdict{}, err
	}
	m, ok := choose(offered, user, password)
	if !ok {
		return failed(neither + answer), nil
	}
	if err := t.send("AUTH " + m.name); err != nil {
		return verdict{}, err
	}
	line, said, err := t.exchange(m, t.line, func(line string) bool { return line == "+" || strings.HasPrefix(line, "+ ") })
	if err != nil || !said {
		return failed(line), err
	}
	return pop3Verdict(line), nil
}

// pop3Verdict reads an answer. A mailbox that is in use is opened to nobody, and is said of
// those alone who have signed in (RFC 2449 section 8.1.2).
func pop3Verdict(line string) verdict {
	text, no := strings.CutPrefix(line, "-ERR ")
	switch word := code(text); {
	case strings.HasPrefix(line, "+OK"), no && word == "IN-USE":
		return accepted(line)
	case strings.HasPrefix(line, "-ERR") && word != "LOGIN-DELAY" && word != "SYS" && !strings.HasPrefix(word, "SYS/"):
		return refused(line)
	}
	return failed(line)
}

// smtp is AUTH (RFC 4954 section 4). After TLS has begun a client greets again (RFC 3207
// section 4.2).
func smtp(t *talk, user, password string) (verdict, error) {
	if !t.greeted {
		greeting, err := t.reply(nil)
		if err != nil || !strings.HasPrefix(greeting, "220") {
			return failed(greeting), err
		}
	}
	if err := t.send("EHLO tallystick.invalid"); err != nil {
		return verdict{}, err
	}
	var offered []string
	answer, err := t.reply(func(text string) {
		if words := strings.Fields(text); len(words) > 0 && strings.EqualFold(words[0], "AUTH") {
			offered = append(offered, words[1:]...)
		}
	})
	if err != nil || !strings.HasPrefix(answer, "250") {
		return failed(answer), err
	}
	m, ok := choose(offered, user, password)
	if !ok {
		return failed(neither + answer), nil
	}
	if err := t.send("AUTH " + m.name); err != nil {
		return verdict{}, err
	}
	next := func() (string, error) { return t.reply(nil) }
	line, said, err := t.exchange(m, next, func(line string) bool { return strings.HasPrefix(line, "334") })
	if err != nil || !said {
		return failed(line), err
	}
	return smtpVerdict(line), nil
}

// smtpVerdict reads an answer (RFC 4954 section 6): 535 alone is about the password.
func smtpVerdict(line string) verdict {
	switch line[:3] {
	case "235":
		return accepted(line)
	case "535":
		return refused(line)
	}
	return failed(line)
}

// reply reads an answer of SMTP (RFC 5321 section 4.2), and returns its last line; each is
// told of without its code. The line has three digits at least.
func (t *talk) reply(tell func(text string)) (string, error) {
	return t.until(func(line string) bool {
		number, err := strconv.Atoi(line[:min(3, len(line))])
		if err != nil || len(line) < 3 || number < 200 || number > 599 {
			return false // no line of an answer
		}
		if tell != nil && len(line) > 4 {
			tell(line[4:])
		}
		return len(line) == 3 || line[3] != '-'
	})
}

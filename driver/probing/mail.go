// SPDX-License-Identifier: Apache-2.0

package probing

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tallystick/tallystick/driver/starttls"
)

// maxLines bounds the lines that a server says before its answer.
const maxLines = 100

// ungreeted says whether the greeting of a server still has to be read: a dialogue
// before TLS has done that.
func (t *talk) ungreeted() bool {
	p, _ := starttls.Lookup(t.Protocol)
	return p.Direct()
}

// external is the answer of SASL EXTERNAL (RFC 4422 appendix A): whom the client
// wants to be, or nobody in particular.
func (t *talk) external() string { return base64.StdEncoding.EncodeToString([]byte(t.Details["user"])) }

// imap signs in by SASL EXTERNAL (RFC 9051 section 6.2.2).
func imap(t *talk) (verdict, error) {
	if t.ungreeted() {
		greeting, err := t.line()
		if err != nil {
			return verdict{}, err
		}
		if !strings.HasPrefix(greeting, "* OK") {
			return failed(greeting), nil
		}
	}
	if err := t.send("p AUTHENTICATE EXTERNAL\r\n"); err != nil {
		return verdict{}, err
	}
	answer, err := t.tagged("p")
	if err == nil && strings.HasPrefix(answer, "+") {
		if err = t.send("%s\r\n", t.external()); err == nil {
			answer, err = t.tagged("p")
		}
	}
	if err != nil {
		return verdict{}, err
	}
	return imapVerdict(answer), nil
}

func imapAgain(t *talk) (verdict, error) {
	if err := t.send("q NOOP\r\n"); err != nil {
		return verdict{}, err
	}
	answer, err := t.tagged("q")
	if err != nil {
		return verdict{}, err
	}
	return t.parting(imapVerdict(answer))
}

// imapVerdict reads a tagged answer. Codes of RFC 5530 section 3 tell a server in
// trouble from one that says no.
func imapVerdict(answer string) verdict {
	_, rest, _ := strings.Cut(answer, " ")
	code, _, _ := strings.Cut(strings.TrimPrefix(rest, "NO "), "]")
	switch {
	case strings.HasPrefix(rest, "OK"):
		return accepted(answer)
	case strings.HasPrefix(rest, "NO") && !slices.Contains([]string{"[UNAVAILABLE", "[SERVERBUG", "[INUSE", "[LIMIT"}, code):
		return refused(answer)
	case strings.HasPrefix(answer, "* BYE"): // of a connection that is open
		return refused(answer)
	}
	return failed(answer)
}

// tagged reads up to the answer to a command, a request to go on, or a farewell.
func (t *talk) tagged(tag string) (string, error) {
	for range maxLines {
		line, err := t.line()
		if err != nil || strings.HasPrefix(line, tag+" ") || strings.HasPrefix(line, "+") || strings.HasPrefix(line, "* BYE") {
			return line, err
		}
	}
	return "", fmt.Errorf("no answer in %d lines", maxLines)
}

// pop3 signs in by SASL EXTERNAL (RFC 5034 section 4).
func pop3(t *talk) (verdict, error) {
	if t.ungreeted() {
		greeting, err := t.line()
		if err != nil {
			return verdict{}, err
		}
		if !strings.HasPrefix(greeting, "+OK") {
			return failed(greeting), nil
		}
	}
	if err := t.send("AUTH EXTERNAL\r\n"); err != nil {
		return verdict{}, err
	}
	answer, err := t.line()
	if err == nil && strings.HasPrefix(answer, "+ ") || answer == "+" {
		if err = t.send("%s\r\n", t.external()); err == nil {
			answer, err = t.line()
		}
	}
	if err != nil {
		return verdict{}, err
	}
	return pop3Verdict(answer), nil
}

func pop3Again(t *talk) (verdict, error) {
	if err := t.send("NOOP\r\n"); err != nil {
		return verdict{}, err
	}
	answer, err := t.line()
	if err != nil {
		return verdict{}, err
	}
	return t.parting(pop3Verdict(answer))
}

// pop3Verdict reads an answer. Codes of RFC 3206 and RFC 2449 section 8.1 tell a server
// in trouble from one that says no.
func pop3Verdict(answer string) verdict {
	switch {
	case strings.HasPrefix(answer, "+OK"):
		return accepted(answer)
	case strings.HasPrefix(answer, "-ERR") && !strings.Contains(answer, "[SYS/") && !strings.Contains(answer, "[IN-USE]"):
		return refused(answer)
	}
	return failed(answer)
}

// smtp greets again under TLS, as it must (RFC 3207 section 4.2), and asks whether
// mail would be taken.
func smtp(t *talk) (verdict, error) {
	if t.ungreeted() {
		code, text, err := t.reply()
		if err != nil {
			return verdict{}, err
		}
		if code != 220 {
			return smtpVerdict(code, text), nil
		}
	}
	code, text, err := t.command("EHLO tallystick.invalid")
	if err != nil {
		return verdict{}, err
	}
	if code != 250 {
		return smtpVerdict(code, text), nil
	}
	return mail(t)
}

// mail names a sender and a recipient, and takes both back: nothing is sent.
func mail(t *talk) (verdict, error) {
	sender, recipient := t.Details["sender"], t.Details["recipient"]
	if strings.ContainsAny(sender+recipient, "<>\r\n") {
		return verdict{}, invalid("%q or %q is no address", sender, recipient)
	}
	code, text, err := t.command("MAIL FROM:<" + sender + ">")
	if err == nil && code == 250 && recipient != "" {
		code, text, err = t.command("RCPT TO:<" + recipient + ">")
	}
	if err != nil {
		return verdict{}, err
	}
	if _, _, err := t.command("RSET"); err != nil && code/100 == 2 {
		return verdict{}, err
	}
	return smtpVerdict(code, text), nil
}

// smtpVerdict reads an answer. 454 4.7.1 is how Postfix says by default that it does
// not relay for this client (defer_unauth_destination); others with a 4 say nothing.
func smtpVerdict(code int, text string) verdict {
	switch {
	case code/100 == 2:
		return accepted(text)
	case code/100 == 5, strings.HasPrefix(text, "454 4.7.1"):
		return refused(text)
	}
	return failed(text)
}

func (t *talk) command(line string) (int, string, error) {
	if err := t.send("%s\r\n", line); err != nil {
		return 0, "", err
	}
	return t.reply()
}

// reply reads an answer of SMTP (RFC 5321 section 4.2), which may have several lines.
func (t *talk) reply() (code int, text string, err error) {
	var lines []string
	for range maxLines {
		line, err := t.line()
		if err != nil {
			return 0, "", err
		}
		if len(line) < 3 {
			return 0, "", fmt.Errorf("answered %q", clean(line))
		}
		if code, err = strconv.Atoi(line[:3]); err != nil || code < 200 || code > 599 {
			return 0, "", fmt.Errorf("answered %q", clean(line))
		}
		lines = append(lines, line)
		if len(line) == 3 || line[3] != '-' {
			return code, strings.Join(lines, "\n"), nil
		}
	}
	return 0, "", fmt.Errorf("no answer in %d lines", maxLines)
}

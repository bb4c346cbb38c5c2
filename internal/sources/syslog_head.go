// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"bytes"
	"errors"
	"strings"
	"time"
)

// A syslogHead is a message taken apart.
type syslogHead struct {
	line string // as a syslog server writes it into a file: time, host, program, text
	text string
}

var (
	errPriority = errors.New("expected a syslog message that begins with its priority, such as <13>")
	errHead     = errors.New("expected a syslog message with the head of RFC 5424 or RFC 3164")
)

// record returns what the reader of a format wants: some read lines of the files
// that syslog servers write, others what a program has to say.
func (h syslogHead) record(format string) string {
	switch format {
	case "openldap", "dovecot", "postfix", "openssh":
		return h.line
	}
	return h.text
}

// parseSyslog reads a message of RFC 5424 section 6 or, as it is seen, of RFC 3164.
func parseSyslog(message []byte) (syslogHead, error) {
	message = bytes.TrimRight(message, "\r\n\x00")
	priority, rest, ok := bytes.Cut(message, []byte(">"))
	if !ok || len(priority) < 2 || len(priority) > 4 || priority[0] != '<' || bytes.ContainsFunc(priority[1:], notDigit) {
		return syslogHead{}, errPriority
	}
	if after, ok := bytes.CutPrefix(rest, []byte("1 ")); ok {
		return parse5424(string(after))
	}
	return parse3164(string(rest))
}

func notDigit(r rune) bool { return r < '0' || r > '9' }

// parse5424 reads what stands behind the version.
func parse5424(text string) (syslogHead, error) {
	var words [5]string // TIMESTAMP HOSTNAME APP-NAME PROCID MSGID
	for i := range words {
		var ok bool
		if words[i], text, ok = strings.Cut(text, " "); !ok || words[i] == "" {
			return syslogHead{}, errHead
		}
	}
	text, ok := pastData(text)
	if !ok {
		return syslogHead{}, errHead
	}
	text = strings.TrimPrefix(strings.TrimPrefix(text, " "), "\ufeff")
	program := words[2]
	if words[3] != "-" {
		program += "[" + words[3] + "]"
	}
	return syslogHead{line: words[0] + " " + words[1] + " " + program + ": " + text, text: text}, nil
}

// pastData steps over STRUCTURED-DATA: "-", or elements in brackets, in whose
// quoted values brackets and quotes are escaped.
func pastData(text string) (rest string, ok bool) {
	if rest, ok := strings.CutPrefix(text, "-"); ok {
		return rest, rest == "" || rest[0] == ' '
	}
	for strings.HasPrefix(text, "[") {
		end, quoted := -1, false
		for i := 1; i < len(text) && end < 0; i++ {
			switch b := text[i]; {
			case quoted && b == '\\':
				i++
			case b == '"':
				quoted = !quoted
			case b == ']' && !quoted:
				end = i
			}
		}
		if end < 0 {
			return "", false
		}
		text, ok = text[end+1:], true
	}
	return text, ok && (text == "" || text[0] == ' ')
}

// parse3164 reads what stands behind the priority: a time, often a host, a program
// with a colon, and its text. Programs leave out the host, or all of it.
func parse3164(text string) (syslogHead, error) {
	h := syslogHead{line: text}
	rest := text
	if len(text) > len(time.Stamp) {
		if _, err := time.Parse(time.Stamp, text[:len(time.Stamp)]); err == nil {
			rest = text[len(time.Stamp):]
		}
	}
	if first, after, ok := strings.Cut(text, " "); ok && len(rest) == len(text) {
		if _, err := time.Parse(time.RFC3339Nano, first); err == nil {
			rest = " " + after
		}
	}
	if len(rest) == len(text) {
		return h, errHead
	}
	h.text = strings.TrimPrefix(rest, " ")
	for range 2 { // the host may be left out
		word, after, ok := strings.Cut(strings.TrimPrefix(rest, " "), " ")
		if ok && strings.HasSuffix(word, ":") && !strings.ContainsAny(word, `{"`) {
			h.text = after
			break
		}
		rest = after
	}
	return h, nil
}

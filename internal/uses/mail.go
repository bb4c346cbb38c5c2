// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// dovecotFormat is Dovecot's log: logins by password or certificate. The line of
// a login names the account; the subject of a certificate stands in a line of its
// own that shares no id with it, and is not used. What was wrong about a password
// stands in a line before, with the id of the session.
func dovecotFormat() Format {
	return Format{
		Name: "dovecot", layout: byLine, remembers: true,
		is: func(record string) bool {
			return strings.Contains(record, "-login: ") && (strings.Contains(record, "user=<") || strings.Contains(record, "rip=") || strings.Contains(record, "SSL certificate")) ||
				strings.Contains(record, " dovecot: ") || strings.Contains(record, " auth: Info: passwd-file(")
		},
		reader: func(s Settings) ReadFunc {
			return (&dovecotLog{near: s.Near, wrong: map[string][]string{}}).read
		},
	}
}

// A dovecotLog reads a log. It can begin anywhere: without the lines before, a use has no marks
// of wrong passwords.
type dovecotLog struct {
	near  time.Time
	wrong map[string][]string // marks of wrong passwords, by session
}

func (l *dovecotLog) read(record string, sink Sink) error {
	_, event, ok := strings.Cut(record, "-login: ")
	if !ok {
		l.noteWrong(record)
		return nil
	}
	session := between(event, "session=<", ">")
	wrong := l.wrong[session]
	delete(l.wrong, session)
	user := between(event, "user=<", ">")
	method := wordAfter(event, "method=")
	if user == "" || method == "" {
		return nil
	}
	u := tallystick.Use{Source: "dovecot", Side: tallystick.SideRelying, Level: tallystick.LevelRequest, Count: 1,
		Credential: []string{"account:mail/" + user}, Operation: method, Address: wordAfter(event, "rip="),
		IDs: tallystick.UseIDs{Session: session}}
	switch {
	case strings.Contains(event, "Login: user=<"):
		u.Outcome = tallystick.OutcomeSuccess
	case strings.Contains(event, "auth failed"):
		u.Outcome, u.Detail = tallystick.OutcomeAttempt, "auth failed"
	default:
		return nil
	}
	if len(wrong) > 0 {
		u.Detail = strings.TrimPrefix(u.Detail+"; wrong password "+strings.Join(wrong, " "), "; ")
	}
	at, err := headTime(record, l.near)
	if err != nil {
		return err
	}
	u.Time, u.Until = at, at
	protocol := "imap"
	if strings.Contains(record, "pop3-login: ") {
		protocol = "pop3"
	} else if strings.Contains(record, "submission-login: ") {
		protocol = "smtp"
	}
	u.RelyingParty = serverParty(protocol, wordAfter(event, "lip="), wordAfter(event, "lport="))
	sink.Use(&u)
	return nil
}

const (
	// maxWrongSessions bounds what is remembered of sessions that never end, and maxWrong of one.
	maxWrongSessions = 10_000
	maxWrong         = 8
	maxSession       = 100 // bytes
)

// noteWrong remembers of a line about a wrong password which one it was, where Dovecot is told to say
// so: auth_verbose_passwords = sha1:6 has it write the first digits of the SHA-1, in a line before that
// of the session's end. A line with more behind the digits ("trying the next passdb") says nothing yet:
// the password may be right there. The names of users may have anything in them, so it is read from
// behind.
func (l *dovecotLog) noteWrong(record string) {
	head, digits, _ := cutLast(record, " (SHA1 of given password: ")
	digits, last := strings.CutSuffix(strings.TrimRight(digits, " \r\n"), ")")
	head, _, _ = cutLast(head, ">): ")
	_, session, ok := cutLast(head, ",<")
	mark := markOf(digits)
	if !ok || !last || session == "" || len(session) > maxSession || mark == "" {
		return
	}
	if len(l.wrong) >= maxWrongSessions {
		clear(l.wrong)
	}
	if marks := l.wrong[session]; len(marks) < maxWrong && !slices.Contains(marks, mark) {
		l.wrong[strings.Clone(session)] = append(marks, mark)
	}
}

// markOf is how a Use names a password: by the first six digits of its SHA-1; "" where there are less.
func markOf(digits string) string {
	const enough = 6
	if len(digits) < enough || strings.Trim(digits, "0123456789abcdef") != "" {
		return ""
	}
	return "sha1:" + digits[:enough]
}

// cutLast cuts at the last place where there is a separator.
func cutLast(s, separator string) (before, behind string, found bool) {
	at := strings.LastIndex(s, separator)
	if at < 0 {
		return s, "", false
	}
	return s[:at], s[at+len(separator):], true
}

// between returns the text between two marks.
func between(s, open, end string) string {
	rest, ok := after(s, open)
	if !ok {
		return ""
	}
	text, _, ok := strings.Cut(rest, end)
	if !ok {
		return ""
	}
	return text
}

// postfixFormat is Postfix's log: mail that was let in by a password, and client
// certificates, which it names at smtpd_tls_loglevel 2 alone.
func postfixFormat() Format {
	return Format{
		Name: "postfix", layout: byLine,
		is: func(record string) bool {
			return strings.Contains(record, " postfix/") || strings.Contains(record, "/smtpd[")
		},
		reader: func(s Settings) ReadFunc {
			return func(record string, sink Sink) error { return readPostfix(record, s.Near, sink) }
		},
	}
}

func readPostfix(record string, near time.Time, sink Sink) error {
	before, event, ok := strings.Cut(record, "smtpd[")
	if !ok {
		return nil
	}
	process, event, _ := strings.Cut(event, "]: ")
	u := tallystick.Use{Source: "postfix", Side: tallystick.SideRelying, Level: tallystick.LevelRequest, Count: 1, Outcome: tallystick.OutcomeSuccess}
	switch {
	case strings.Contains(event, ", sasl_method=") && strings.Contains(event, ": client="):
		u.IDs.Queue, _, _ = strings.Cut(event, ": ")
		u.Operation = "SASL " + wordAfter(event, "sasl_method=")
		u.Credential = []string{"account:mail/" + wordAfter(event, "sasl_username=")}
	case strings.Contains(event, "authentication failed:") && strings.Contains(event, "SASL "):
		u.Operation = "SASL " + wordAfter(event, "SASL ")
		u.Outcome, u.Detail = tallystick.OutcomeAttempt, "authentication failed"
		user := wordAfter(event, "sasl_username=")
		if user == "" {
			return nil // nobody is named
		}
		u.Credential = []string{"account:mail/" + user}
	case strings.Contains(event, "subject_CN=") && strings.Contains(event, ", fingerprint="):
		u.Operation = "client certificate"
		u.Resource = between(event, "subject_CN=", ", issuer")
		u.Credential = []string{thumbprintName(wordAfter(event, ", fingerprint="))}
		u.IDs.Session = process
	default:
		return nil
	}
	at, err := headTime(record, near)
	if err != nil {
		return err
	}
	u.Time, u.Until = at, at
	u.Address = between(event, "[", "]")
	u.RelyingParty = "smtp:" + hostBefore(before)
	sink.Use(&u)
	return nil
}

// hostBefore returns the host that syslog writes before the program's name.
func hostBefore(head string) string {
	fields := strings.Fields(head)
	if len(fields) < 2 {
		return ""
	}
	return fields[len(fields)-2]
}

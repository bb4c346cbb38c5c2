// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// postgresFormat is PostgreSQL's log with log_connections on.
func postgresFormat() Format {
	return Format{
		Name: "postgresql", layout: byLine,
		is: func(record string) bool {
			return strings.Contains(record, " LOG:  ") || strings.Contains(record, " FATAL:  ")
		},
		reader: func(s Settings) ReadFunc {
			return func(record string, sink Sink) error { return readPostgres(record, s.Near, sink) }
		},
	}
}

func readPostgres(record string, near time.Time, sink Sink) error {
	u := tallystick.Use{Source: "postgresql", Side: tallystick.SideRelying, Level: tallystick.LevelRequest, Count: 1, RelyingParty: "postgres:"}
	prefix, event, ok := strings.Cut(record, " LOG:  connection authenticated: identity=\"")
	if ok {
		identity, rest, _ := strings.Cut(event, "\" method=")
		u.Operation, _, _ = strings.Cut(rest, " ")
		u.Outcome = tallystick.OutcomeSuccess
		u.Credential = []string{"account:postgres/" + identity}
		if u.Operation == "cert" {
			u.Credential = []string{"x509-subject:" + identity}
		}
	} else if prefix, event, ok = strings.Cut(record, " FATAL:  "); ok && strings.Contains(event, "authentication failed for user \"") {
		u.Operation, _, _ = strings.Cut(event, " ")
		u.Outcome, u.Detail = tallystick.OutcomeAttempt, "authentication failed"
		u.Credential = []string{"account:postgres/" + quoted(event, "for user ")}
	} else {
		return nil
	}
	at, err := headTime(prefix, near)
	if err != nil {
		return err
	}
	u.Time, u.Until = at, at
	u.Address = wordAfter(prefix, " h=")
	u.IDs.Session = between(prefix, " [", "]")
	sink.Use(&u)
	return nil
}

// openSSHFormat is sshd's log as syslog or journald keep it. A key that was not
// taken is no attempt to break in: clients offer every key that they have.
func openSSHFormat() Format {
	return Format{
		Name: "openssh", layout: byLine,
		is: func(record string) bool {
			return strings.Contains(record, "sshd[") || strings.Contains(record, "sshd-session[") || strings.Contains(record, " ssh2: ") ||
				strings.HasPrefix(record, "Accepted ") || strings.HasPrefix(record, "Connection closed by ")
		},
		reader: func(s Settings) ReadFunc {
			return func(record string, sink Sink) error { return readOpenSSH(record, s.Near, sink) }
		},
	}
}

// sshMessage parts what sshd says from who and when stand before it. Anything
// else in the line may be the text of whoever connected, or of another program.
func sshMessage(record string) (head, event string) {
	head, event, ok := strings.Cut(record, ": ")
	program, rest, _ := strings.Cut(head[strings.LastIndexByte(head, ' ')+1:], "[")
	if pid, closed := strings.CutSuffix(rest, "]"); ok && closed && digits(pid) >= 0 {
		switch program {
		case "sshd", "sshd-session", "sshd-auth":
			return head, event
		}
	}
	return "", record
}

func readOpenSSH(record string, near time.Time, sink Sink) error {
	head, event := sshMessage(record)
	outcome, verb := tallystick.OutcomeSuccess, "Accepted "
	if !strings.HasPrefix(event, verb) {
		outcome, verb = tallystick.OutcomeAttempt, "Failed "
	}
	event, ok := strings.CutPrefix(event, verb)
	if !ok {
		return nil
	}
	method, event, _ := strings.Cut(event, " for ")
	user, event, ok := strings.Cut(event, " from ")
	if !ok {
		return nil
	}
	user = strings.TrimPrefix(user, "invalid user ")
	at, err := headTime(head, near)
	if err != nil {
		return err
	}
	address, event, _ := strings.Cut(event, " port ")
	port, event, _ := strings.Cut(event, " ")
	u := tallystick.Use{Source: "openssh", Side: tallystick.SideRelying, Level: tallystick.LevelRequest, Time: at, Until: at, Count: 1,
		Address: address, Port: max(0, digits(port)), Operation: method, Resource: "account:ssh/" + user, Outcome: outcome}
	if host := hostBefore(head); host != "" {
		u.RelyingParty = "ssh:" + host
	}
	key := wordAfter(event, " SHA256:")
	switch {
	case method == "password" || method == "keyboard-interactive/pam":
		u.Credential = []string{"account:ssh/" + user}
	case key != "":
		u.Credential = []string{tallystick.NormalName("ssh:SHA256:" + key)}
		u.IDs.Serial = between(event, "(serial ", ")")
	default:
		return nil
	}
	sink.Use(&u)
	return nil
}

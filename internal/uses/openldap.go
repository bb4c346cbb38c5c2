// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// openLDAPFormat is slapd's log at level stats. A bind is told in pieces: the
// connection's address, the BIND that asks, and either a BIND with mech= when it
// succeeded or a RESULT with an error.
func openLDAPFormat() Format {
	return Format{
		Name: "openldap", layout: byLine,
		is: func(record string) bool {
			return strings.Contains(record, " conn=") && (strings.Contains(record, " ACCEPT from ") || strings.Contains(record, " op=") || strings.Contains(record, " fd="))
		},
		reader:    func(s Settings) ReadFunc { return (&openLDAP{near: s.Near, conns: map[string]*ldapConn{}}).read },
		following: true,
	}
}

type openLDAP struct {
	near  time.Time
	conns map[string]*ldapConn
}

// An ldapConn is an open connection.
type ldapConn struct {
	address, local string
	port           int
	dn             map[string]string // of binds that are not answered yet, by operation
}

// maxConns bounds what is remembered of a log that never closes a connection.
const maxConns = 100_000

func (l *openLDAP) read(record string, sink Sink) error {
	head, rest, ok := strings.Cut(record, "conn=")
	if !ok {
		return nil
	}
	number, rest, _ := strings.Cut(rest, " ")
	conn := l.conns[number]
	if address, ok := after(rest, "ACCEPT from IP="); ok {
		if len(l.conns) >= maxConns {
			clear(l.conns)
		}
		remote, local, _ := strings.Cut(address, " ")
		conn = &ldapConn{local: strings.Clone(strings.Trim(local, "() \r")), dn: map[string]string{}}
		conn.local = strings.TrimPrefix(conn.local, "IP=")
		conn.address, conn.port = splitAddress(strings.Clone(remote))
		l.conns[strings.Clone(number)] = conn
		return nil
	}
	if conn == nil {
		conn = &ldapConn{dn: map[string]string{}}
	}
	operation, _ := after(rest, "op=")
	operation, _, _ = strings.Cut(operation, " ")
	switch {
	case strings.Contains(rest, " closed"):
		delete(l.conns, number)
	case strings.Contains(rest, "BIND dn=\"") && strings.Contains(rest, " mech="):
		delete(conn.dn, operation)
		return l.bind(head, number, operation, quoted(rest, "BIND dn="), wordAfter(rest, " mech="), conn, sink, tallystick.OutcomeSuccess, "")
	case strings.Contains(rest, "BIND dn=\""):
		if len(conn.dn) < 1000 {
			conn.dn[strings.Clone(operation)] = strings.Clone(quoted(rest, "BIND dn="))
		}
	case strings.Contains(rest, "RESULT tag=97"):
		dn, open := conn.dn[operation]
		code := wordAfter(rest, " err=")
		delete(conn.dn, operation)
		if open && dn != "" && code != "0" {
			return l.bind(head, number, operation, dn, "", conn, sink, tallystick.OutcomeAttempt, "err="+code)
		}
	}
	return nil
}

func (l *openLDAP) bind(head, conn, operation, dn, mech string, c *ldapConn, sink Sink, outcome tallystick.Outcome, detail string) error {
	if dn == "" || strings.EqualFold(mech, "ANONYMOUS") {
		return nil
	}
	at, err := slapdTime(head, l.near)
	if err != nil {
		return err
	}
	u := tallystick.Use{Source: "openldap", Side: tallystick.SideRelying, Level: tallystick.LevelRequest, Time: at, Until: at, Count: 1,
		Credential: []string{"account:ldap/" + dn}, RelyingParty: "ldap:" + c.local, Address: c.address, Port: c.port,
		Operation: mech, Outcome: outcome, Detail: detail, IDs: tallystick.UseIDs{Session: conn + "/" + operation}}
	sink.Use(&u)
	return nil
}

// slapdTime reads the time before "conn=": hexadecimal seconds and nanoseconds
// (OpenLDAP 2.5 and later), a time with year and zone, or that of syslog.
func slapdTime(head string, near time.Time) (time.Time, error) {
	word, _, _ := strings.Cut(head, " ")
	if seconds, fraction, ok := strings.Cut(word, "."); ok && len(seconds) == 8 {
		s, err1 := strconv.ParseInt(seconds, 16, 64)
		n, err2 := strconv.ParseInt(fraction, 16, 64)
		if err1 == nil && err2 == nil && n < 1e9 {
			return time.Unix(s, n).UTC(), nil
		}
	}
	return headTime(head, near)
}

// headTime reads the time that a line of a log begins with.
func headTime(line string, near time.Time) (time.Time, error) {
	word, rest, _ := strings.Cut(line, " ")
	if t, err := readTime(word); err == nil {
		return t, nil
	}
	if len(rest) >= 8 { // "2026-11-22 04:58:49.374 UTC"
		clock, rest, _ := strings.Cut(rest, " ")
		zone, _, _ := strings.Cut(rest, " ")
		if t, err := readTime(word + " " + clock + " " + zone); err == nil {
			return t, nil
		}
	}
	if len(line) >= len(time.Stamp) {
		if t, err := syslogTime(line[:len(time.Stamp)], near); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New("expected a line that begins with a time, such as Nov 22 04:54:13 or 2026-11-22T04:54:13+00:00")
}

// after returns what follows mark.
func after(s, mark string) (string, bool) {
	_, rest, ok := strings.Cut(s, mark)
	return rest, ok
}

// wordAfter returns the word that follows mark, without a comma.
func wordAfter(s, mark string) string {
	rest, _ := after(s, mark)
	word, _, _ := strings.Cut(rest, " ")
	return strings.TrimRight(word, ",\r")
}

// quoted returns what stands in double quotes behind mark.
func quoted(s, mark string) string {
	rest, _ := after(s, mark+"\"")
	text, _, _ := strings.Cut(rest, "\"")
	return text
}

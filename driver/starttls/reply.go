// SPDX-License-Identifier: Apache-2.0

package starttls

import (
	"slices"
	"strconv"
	"strings"

	"github.com/tallystick/tallystick/driver/network"
)

// A reply is an answer with a code of three digits (RFC 5321 section 4.2, RFC 959
// section 4.2).
type reply struct {
	code  int
	lines []string // without the codes
}

func (r reply) String() string {
	return strconv.Itoa(r.code) + " " + network.Quote(strings.Join(r.lines, " "))
}

// offers says whether a line begins with a keyword. The first line is a greeting.
func (r reply) offers(keyword string) bool {
	return slices.ContainsFunc(r.lines[1:], func(line string) bool { return word(line, 0) == keyword })
}

// reply reads the lines up to the one that has a space, or nothing, behind the
// code of the first. In between, FTP allows lines without any code.
func (d *dialogue) reply() (reply, error) {
	var r reply
	for {
		line, err := d.line()
		if err != nil {
			return r, err
		}
		code, text, last, ok := splitReply(line)
		switch {
		case !ok && (d.name != "ftp" || r.lines == nil):
			return r, d.unlike("%s", network.Quote(line))
		case !ok, r.lines != nil && d.name == "ftp" && code != r.code:
			r.lines = append(r.lines, line)
			continue
		case r.lines != nil && code != r.code:
			return r, d.unlike("%s", network.Quote(line))
		}
		d.spoken = true
		r.code, r.lines = code, append(r.lines, text)
		if last {
			return r, nil
		}
	}
}

// splitReply takes a line apart: "250-SIZE" is 250, "SIZE" and not the last.
func splitReply(line string) (code int, text string, last, ok bool) {
	if len(line) < 3 || strings.Trim(line[:3], "0123456789") != "" {
		return 0, "", false, false
	}
	code, _ = strconv.Atoi(line[:3]) // three digits cannot fail
	switch {
	case code < 100:
		return 0, "", false, false
	case len(line) == 3:
		return code, "", true, true
	case line[3] == ' ' || line[3] == '-':
		return code, line[4:], line[3] == ' ', true
	}
	return 0, "", false, false
}

// command sends a command that asks for TLS, and wants one code for an answer.
func (d *dialogue) command(command string, want int) error {
	if err := d.send("%s\r\n", command); err != nil {
		return err
	}
	answer, err := d.reply()
	if err != nil {
		return err
	}
	if answer.code != want {
		return d.fail(NoStartTLS, "%s", answer)
	}
	return nil
}

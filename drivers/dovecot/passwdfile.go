// SPDX-License-Identifier: Apache-2.0

package dovecot

import (
	"bytes"
	"strings"
)

// entryOf finds the line of an account in a passwd-file: the first that begins with its name,
// which is the one that Dovecot takes. It is without its end; start is where it begins.
func entryOf(text []byte, name string) (line []byte, start int, there bool) {
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte(name)); ok && len(rest) > 0 && rest[0] == ':' && isEntry(line) {
			return bytes.TrimRight(line, "\r\n"), start, true
		}
		start += len(line)
	}
	return nil, 0, false
}

// isEntry says whether a line is no comment.
func isEntry(line []byte) bool { return len(line) > 0 && line[0] != '#' && line[0] != ':' }

// passwordIn returns the second field of a line.
func passwordIn(line []byte) string {
	fields := bytes.SplitN(line, []byte(":"), 3)
	if len(fields) < 2 {
		return ""
	}
	return string(fields[1])
}

// withPassword returns a line with another password; all else of it stays.
func withPassword(line []byte, password string) []byte {
	fields := bytes.SplitN(line, []byte(":"), 3)
	out := append(bytes.Clone(fields[0]), ':')
	out = append(out, password...)
	if len(fields) == 3 {
		out = append(append(out, ':'), fields[2]...)
	}
	return out
}

// withEntry returns a passwd-file with this line for an account, in its place or at the end.
// Every other byte stays. A nil line takes the account's away.
func withEntry(text []byte, name string, line []byte) []byte {
	old, start, there := entryOf(text, name)
	before, after := text[:start], text[start:]
	switch {
	case !there && line == nil:
		return text
	case !there:
		if len(text) > 0 && text[len(text)-1] != '\n' {
			text = append(text, '\n')
		}
		return append(append(text, line...), '\n')
	case line == nil:
		_, rest, _ := bytes.Cut(after, []byte("\n"))
		return bytes.Join([][]byte{before, rest}, nil)
	}
	return bytes.Join([][]byte{before, line, after[len(old):]}, nil)
}

// lockedOut says why a password field lets nobody in, or "".
func lockedOut(field string) string {
	text := field
	if i := strings.IndexByte(field, '}'); strings.HasPrefix(field, "{") && i > 0 {
		text = field[i+1:]
	}
	switch {
	case text == "":
		return "it has no password"
	case text[0] == '!' || text[0] == '*':
		return "its password is locked (it begins with " + text[:1] + ")"
	}
	return ""
}

// SPDX-License-Identifier: Apache-2.0

package files

import "strings"

// A line is one logical line of a configuration with the number of its first
// physical one, from 1.
type line struct {
	number int
	text   string
}

// lines splits text; continues says, of what has been joined so far and the
// next physical line, whether that goes on with it, and returns the two joined.
func lines(text string, continues func(sofar, next string) (string, bool)) []line {
	var all []line
	number := 0
	for raw := range strings.Lines(text) {
		number++
		raw = strings.TrimRight(raw, "\r\n")
		if len(all) > 0 && continues != nil {
			last := &all[len(all)-1]
			if joined, ok := continues(last.text, raw); ok {
				last.text = joined
				continue
			}
		}
		all = append(all, line{number, raw})
	}
	return all
}

// bySpace goes on where a line begins with white space, as in postfix and slapd.conf.
func bySpace(sofar, next string) (string, bool) {
	if next == "" || next[0] != ' ' && next[0] != '\t' || strings.HasPrefix(sofar, "#") || len(sofar) > maxLine {
		return "", false
	}
	return sofar + " " + strings.TrimLeft(next, " \t"), true
}

// byFold goes on where a line begins with one space, which is not part of the
// value (RFC 2849 section 2).
func byFold(sofar, next string) (string, bool) {
	if !strings.HasPrefix(next, " ") || len(sofar) > maxLine {
		return "", false
	}
	return sofar + next[1:], true
}

// byBackslash goes on after a line that ends with one.
func byBackslash(sofar, next string) (string, bool) {
	if !strings.HasSuffix(sofar, `\`) || len(sofar) > maxLine {
		return "", false
	}
	return sofar[:len(sofar)-1] + next, true
}

// maxLine bounds a logical line, so that joining stays linear.
const maxLine = 64 << 10

// words splits a line at white space. Double and single quotes keep it
// together, a backslash takes the next character as it is, and # begins a
// comment where a word could begin.
func words(text string) []string {
	var all []string
	var word strings.Builder
	var quote byte
	inside := false // of a word, which may be empty: ""
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\' && quote != '\'' && i+1 < len(text):
			i++
			word.WriteByte(text[i])
			inside = true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteByte(c)
		case c == '"' || c == '\'':
			quote, inside = c, true
		case c == '#' && !inside:
			return all
		case c == ' ' || c == '\t':
			if inside {
				all = append(all, word.String())
				word.Reset()
				inside = false
			}
		default:
			word.WriteByte(c)
			inside = true
		}
	}
	if inside {
		all = append(all, word.String())
	}
	return all
}

// assignment splits "key = value" and trims both.
func assignment(text string) (key, value string, ok bool) {
	key, value, ok = strings.Cut(text, "=")
	return strings.TrimSpace(key), strings.TrimSpace(value), ok
}

// SPDX-License-Identifier: Apache-2.0

package haproxy

import "strings"

const maxLines = 200_000 // of a configuration

// A section is one of a configuration: its keyword and name, and its lines.
type section struct {
	keyword, name string
	lines         [][]string
}

// keywords begin a section. What else stands at the beginning of a line belongs to the
// section that it is in.
const keywords = " global defaults frontend listen backend peers resolvers mailers userlist program http-errors ring cache fcgi-app log-forward "

// sections takes a configuration apart. A word with a variable of the environment, whose
// value only the server knows, becomes unknown.
func sections(text string) ([]section, error) {
	var all []section
	count := 0
	for line := range strings.Lines(text) {
		if count++; count > maxLines {
			return nil, invalid("the configuration has more than %d lines", maxLines)
		}
		found, err := words(strings.TrimRight(line, "\r\n"))
		if err != nil {
			return nil, invalid("line %d: %v", count, err)
		}
		switch {
		case len(found) == 0:
		case strings.Contains(keywords, " "+found[0]+" ") && !(found[0] == "cache" && len(found) != 2):
			one := section{keyword: found[0]}
			if len(found) > 1 {
				one.name = found[1]
			}
			all = append(all, one)
		case len(all) > 0:
			all[len(all)-1].lines = append(all[len(all)-1].lines, found)
		}
	}
	return all, nil
}

// unknown stands in the place of a word that the environment of the server decides.
const unknown = "\x00"

// words takes a line apart as section 2.2 of HAProxy's configuration manual says:
// backslashes, strong and weak quotation marks, comments.
func words(line string) ([]string, error) {
	var all []string
	var word strings.Builder
	inside, quote := false, byte(0)
	add := func() {
		if inside {
			text := word.String()
			if strings.Contains(text, unknown) {
				text = unknown
			}
			all = append(all, text)
		}
		word.Reset()
		inside = false
	}
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c == '\\' && quote != '\'' && i+1 < len(line):
			i++
			word.WriteByte(line[i])
			inside = true
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote, inside = c, true
		case quote == '"' && c == '$':
			word.WriteString(unknown)
		case quote == 0 && c == '#':
			add()
			return all, nil
		case quote == 0 && (c == ' ' || c == '\t'):
			add()
		default:
			word.WriteByte(c)
			inside = true
		}
	}
	if quote != 0 {
		return nil, invalid("a quotation mark is never closed")
	}
	add()
	return all, nil
}

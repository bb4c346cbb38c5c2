// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"strings"
)

// A directive is one of a configuration, with what is in its braces.
type directive struct {
	name  string
	args  []string
	block []directive
}

const (
	maxDirectives = 200_000 // in all files together
	maxDepth      = 64      // of braces and includes
)

// A reader reads a configuration with what it includes.
type reader struct {
	// files returns the text of the files that a pattern of include stands for.
	files func(pattern string) ([]string, error)
	count int
}

// read reads a text, whose braces are closed, at a depth of braces and includes.
func (r *reader) read(text string, depth int) ([]directive, error) {
	scan := &scanner{text: text}
	found, err := r.block(scan, depth, false)
	return found, err
}

// block reads directives up to the brace that closes them, or to the end of the file.
func (r *reader) block(scan *scanner, depth int, inside bool) ([]directive, error) {
	if depth > maxDepth {
		return nil, invalid("its braces and includes are more than %d deep", maxDepth)
	}
	var found []directive
	for {
		words, end, err := scan.statement()
		if err != nil {
			return nil, err
		}
		switch end {
		case 0, '}':
			if len(words) > 0 || inside != (end == '}') {
				return nil, invalid("line %d: a brace or a semicolon is missing or too many", scan.line())
			}
			return found, nil
		}
		if len(words) == 0 {
			return nil, invalid("line %d: a directive has no name", scan.line())
		}
		if r.count++; r.count > maxDirectives {
			return nil, invalid("it has more than %d directives", maxDirectives)
		}
		d := directive{name: words[0], args: words[1:]}
		switch {
		case end == '{' && strings.HasSuffix(d.name, "_by_lua_block"):
			err = scan.skipBraces()
		case end == '{':
			d.block, err = r.block(scan, depth+1, true)
		case d.name == "include" && len(d.args) == 1:
			// What is included stands in the place of the directive, whatever it is in.
			included, err := r.include(d.args[0], depth)
			if err != nil {
				return nil, err
			}
			// The directive itself stays: the driver looks for its own file among them.
			found = append(append(found, d), included...)
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, d)
	}
}

func (r *reader) include(pattern string, depth int) ([]directive, error) {
	texts, err := r.files(pattern)
	if err != nil {
		return nil, err
	}
	var all []directive
	for _, text := range texts {
		one, err := r.read(text, depth+1)
		if err != nil {
			return nil, err
		}
		all = append(all, one...)
	}
	return all, nil
}

// A scanner takes one text apart, as ngx_conf_read_token does.
type scanner struct {
	text string
	at   int
}

func (s *scanner) line() int { return strings.Count(s.text[:s.at], "\n") + 1 }

// statement returns the words up to one of ; { }, which it returns too, or 0 at the end.
func (s *scanner) statement() (words []string, end byte, err error) {
	for {
		s.space()
		if s.at >= len(s.text) {
			return words, 0, nil
		}
		switch c := s.text[s.at]; c {
		case ';', '{', '}':
			s.at++
			return words, c, nil
		case '"', '\'':
			word, ok := s.quoted(c)
			if !ok {
				return nil, 0, invalid("line %d: a quotation mark is never closed", s.line())
			}
			words = append(words, word)
		default:
			words = append(words, s.bare())
		}
	}
}

// space skips blanks and comments.
func (s *scanner) space() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		case '#':
			end := strings.IndexByte(s.text[s.at:], '\n')
			if end < 0 {
				s.at = len(s.text)
				return
			}
			s.at += end
		default:
			return
		}
	}
}

func (s *scanner) quoted(mark byte) (string, bool) {
	var word strings.Builder
	for s.at++; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; {
		case c == mark:
			s.at++
			return word.String(), true
		case c == '\\' && s.at+1 < len(s.text):
			s.at++
			word.WriteString(escaped(s.text[s.at]))
		default:
			word.WriteByte(c)
		}
	}
	return "", false
}

// bare reads a word without quotation marks. A brace after $ is of a variable, "${name}".
func (s *scanner) bare() string {
	var word strings.Builder
	for ; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; {
		case c == '\\' && s.at+1 < len(s.text):
			s.at++
			word.WriteString(escaped(s.text[s.at]))
		case c == '$' && strings.HasPrefix(s.text[s.at:], "${"):
			word.WriteString("${")
			s.at++
		case strings.IndexByte(" \t\r\n;{", c) >= 0:
			return word.String()
		case c == '}' && !strings.Contains(word.String(), "${"):
			return word.String()
		default:
			word.WriteByte(c)
		}
	}
	return word.String()
}

// escaped is what a character after a backslash stands for: those that are not special
// keep the backslash, because regular expressions need it.
func escaped(c byte) string {
	switch c {
	case '"', '\'', '\\', ' ', ';', '{', '}', '#':
		return string(c)
	case 't':
		return "\t"
	case 'r':
		return "\r"
	case 'n':
		return "\n"
	}
	return "\\" + string(c)
}

// skipBraces skips a block of Lua up to its closing brace.
func (s *scanner) skipBraces() error {
	for depth := 1; s.at < len(s.text); {
		switch c := s.text[s.at]; {
		case c == '"' || c == '\'':
			if _, ok := s.quoted(c); !ok {
				return invalid("a block of Lua is never closed")
			}
			continue
		case strings.HasPrefix(s.text[s.at:], "--"):
			end := strings.IndexByte(s.text[s.at:], '\n')
			if end < 0 {
				return invalid("a block of Lua is never closed")
			}
			s.at += end
		case c == '{':
			depth++
		case c == '}':
			if depth--; depth == 0 {
				s.at++
				return nil
			}
		}
		s.at++
	}
	return invalid("a block of Lua is never closed")
}

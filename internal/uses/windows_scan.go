// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// An XML event as Windows writes it has elements, attributes and text, and nothing
// else that XML can have. A scan of just that takes a tenth of the time that the
// XML decoder takes; what it does not know it leaves to the decoder, which
// FuzzScanIsTheDecoder compares it with.

// scan reads an event, and says whether it could.
func (f windowsFields) scan(record string) bool {
	if !plainXML(record) {
		return false
	}
	s := eventScan{fields: f, text: record}
	for s.at < len(record) {
		from := s.at
		tag := strings.IndexByte(record[from:], '<')
		if tag < 0 || from+tag+1 == len(record) {
			return false
		}
		s.at = from + tag
		text, ok := record[from:s.at], false
		if record[s.at+1] == '/' {
			ok = s.end(text)
		} else {
			ok = strings.IndexByte(text, '&') < 0 && s.start()
		}
		if !ok {
			return false
		}
		if s.depth == 0 {
			return true
		}
	}
	return false
}

// plainXML says whether all characters of a record are of XML, and none is what
// only the decoder knows.
func plainXML(record string) bool {
	ascii := true
	for i := range len(record) {
		if b := record[i]; b < ' ' && b != '\t' && b != '\n' && b != '\r' {
			return false
		} else if b >= utf8.RuneSelf {
			ascii = false
		}
	}
	return !strings.Contains(record, "]]>") &&
		(ascii || utf8.ValidString(record) && !strings.ContainsAny(record, "\ufffe\uffff"))
}

// maxScan is the depth to which a scan follows elements.
const maxScan = 16

type eventScan struct {
	fields windowsFields
	text   string
	at     int
	open   [maxScan]string // the elements that are open
	depth  int
	key    string // the field that the innermost element is, or ""
}

// start reads a start tag.
func (s *eventScan) start() bool {
	if s.key != "" || s.depth == maxScan { // elements in a field
		return false
	}
	s.at++
	name := s.name()
	if name == "" {
		return false
	}
	s.open[s.depth] = name
	s.depth++
	s.key = s.field(name)
	for {
		spaces := s.at
		for s.at < len(s.text) && strings.IndexByte(" \t\r\n", s.text[s.at]) >= 0 {
			s.at++
		}
		rest := s.text[s.at:]
		switch {
		case strings.HasPrefix(rest, "/>"):
			s.at += 2
			return s.close("")
		case strings.HasPrefix(rest, ">"):
			s.at++
			return true
		case spaces == s.at || !s.attribute():
			return false
		}
	}
}

// field returns the field that the element is which is open now.
func (s *eventScan) field(name string) string {
	if s.depth != 3 {
		return ""
	}
	switch s.open[1] {
	case "System":
		switch name {
		case "EventID", "Computer", "EventRecordID":
			return strings.ToLower(name)
		}
	case "EventData":
		if name == "Data" {
			return "data"
		}
	}
	return ""
}

// name reads a name.
func (s *eventScan) name() string {
	from := s.at
	for ; s.at < len(s.text); s.at++ {
		b := s.text[s.at]
		letter := b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b == '_'
		if !letter && (s.at == from || (b < '0' || b > '9') && b != '-' && b != '.') {
			break
		}
	}
	return s.text[from:s.at]
}

// attribute reads an attribute.
func (s *eventScan) attribute() bool {
	name := s.name()
	rest := s.text[s.at:]
	if name == "" || len(rest) < 2 || rest[0] != '=' || rest[1] != '\'' && rest[1] != '"' {
		return false
	}
	end := strings.IndexByte(rest[2:], rest[1])
	if end < 0 || strings.IndexByte(rest[2:2+end], '<') >= 0 {
		return false
	}
	s.at += 2 + end + 1
	value, ok := plainText(rest[2 : 2+end])
	switch {
	case s.key == "data" && name == "Name" && value != "":
		s.key = strings.ToLower(value)
	case s.key == "data" && name == "Name", s.depth == 3 && s.key != "" && s.open[1] == "EventData" && name == "Name":
		return false // a name twice, or none
	case name == "SystemTime" && s.depth == 3 && s.open[1] == "System" && s.open[2] == "TimeCreated":
		s.fields["systemtime"] = value
	}
	return ok
}

// end reads an end tag; text is what is before it.
func (s *eventScan) end(text string) bool {
	s.at += 2
	name := s.name()
	if s.depth == 0 || name != s.open[s.depth-1] || !strings.HasPrefix(s.text[s.at:], ">") {
		return false
	}
	s.at++
	return s.close(text)
}

// close ends the innermost element.
func (s *eventScan) close(text string) bool {
	s.depth--
	value, ok := plainText(text)
	if s.key != "" {
		s.fields[s.key] = value
		s.key = ""
	}
	return ok
}

// plainText resolves the references of text and makes its ends of lines "\n".
func plainText(text string) (string, bool) {
	if strings.IndexByte(text, '\r') >= 0 {
		text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	}
	if strings.IndexByte(text, '&') < 0 {
		return text, true
	}
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "&")
		out.WriteString(before)
		if !found {
			return out.String(), true
		}
		name, rest, found := strings.Cut(rest, ";")
		if !found {
			return "", false
		}
		switch name {
		case "lt":
			name = "<"
		case "gt":
			name = ">"
		case "amp":
			name = "&"
		case "quot":
			name = `"`
		case "apos":
			name = "'"
		default:
			number, err := strconv.ParseUint(strings.TrimPrefix(name, "#"), 10, 16)
			if err != nil || name[0] != '#' || number < ' ' || number >= 0xd800 {
				return "", false
			}
			name = string(rune(number))
		}
		out.WriteString(name)
		text = rest
	}
}

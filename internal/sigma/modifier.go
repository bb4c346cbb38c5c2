// SPDX-License-Identifier: Apache-2.0

package sigma

import (
	"fmt"
	"slices"
	"strings"
)

// modifiers are what stands behind a field ("Sigma Modifiers", version 2.1).
type modifiers struct {
	all, cased, neq, windash, expand bool

	position string   // "contains", "startswith", "endswith" or ""
	encoding []string // "utf16le" and the like, then "base64" or "base64offset"
	kind     string   // "re", "cidr", "exists", "fieldref", "number", "time", or "" for text
	operator string   // of numbers and times
	part     string   // of a time
	flags    string   // of a regular expression

	chain []string
}

// readModifiers reads a chain of modifiers. reason says what is wrong with it.
func readModifiers(chain []string) (m modifiers, reason string) {
	m.chain = chain
	for i, word := range chain {
		if slices.Contains(chain[:i], word) {
			return m, fmt.Sprintf("modifier %q is there twice", word)
		}
		if !m.take(word, i) {
			if reason := m.misplaced(word); reason != "" {
				return m, reason
			}
			return m, fmt.Sprintf("modifier %q is not known", word)
		}
	}
	return m, m.conflict()
}

// take adds a modifier; it is false for one that is not known or does not fit
// behind those before it.
func (m *modifiers) take(word string, at int) bool {
	switch word {
	case "all":
		m.all = true
	case "cased":
		m.cased = true
	case "neq":
		m.neq = true
	case "windash":
		m.windash = true
	case "expand":
		m.expand = true
	case "contains", "startswith", "endswith":
		if m.position != "" {
			return false
		}
		m.position = word
	case "wide", "utf16", "utf16le", "utf16be", "base64", "base64offset":
		return m.takeEncoding(word)
	case "re", "cidr", "exists", "fieldref":
		return m.takeKind(word)
	case "i", "m", "s":
		// They belong to the re before them.
		if at == 0 || !slices.Contains([]string{"re", "i", "m", "s"}, m.chain[at-1]) {
			return false
		}
		m.flags += word
	case "lt", "lte", "gt", "gte":
		if m.operator != "" || m.kind != "" && m.kind != "time" {
			return false
		}
		m.operator = word
		if m.kind == "" {
			m.kind = "number"
		}
	case "minute", "hour", "day", "week", "month", "year":
		m.part = word
		return m.takeKind("time")
	default:
		return false
	}
	return true
}

func (m *modifiers) takeKind(kind string) bool {
	if m.kind != "" {
		return false
	}
	m.kind = kind
	return true
}

// takeEncoding adds an encoding: characters to bytes once, then base64 once. It
// works on the bare value, so a position comes behind it.
func (m *modifiers) takeEncoding(word string) bool {
	isBase64 := strings.HasPrefix(word, "base64")
	if m.position != "" || len(m.encoding) == 2 || len(m.encoding) == 1 && (!isBase64 || strings.HasPrefix(m.encoding[0], "base64")) {
		return false
	}
	m.encoding = append(m.encoding, word)
	return true
}

// known are all modifiers of the specification.
const known = " all cased neq windash expand contains startswith endswith wide utf16 utf16le utf16be base64 base64offset re cidr exists fieldref i m s lt lte gt gte minute hour day week month year "

// misplaced says of a known modifier that it stands in the wrong place.
func (m *modifiers) misplaced(word string) string {
	if word != "" && !strings.Contains(word, " ") && strings.Contains(known, " "+word+" ") {
		return fmt.Sprintf("modifier %q cannot stand there", word)
	}
	return ""
}

// conflict says which modifiers make no sense together.
func (m *modifiers) conflict() string {
	text := m.kind == ""
	switch {
	case !text && (m.windash || len(m.encoding) > 0):
		return fmt.Sprintf("a modifier of texts beside %q", m.named())
	case m.position != "" && !text && m.kind != "fieldref":
		return fmt.Sprintf("modifier %q beside %q", m.position, m.named())
	case m.cased && !text && m.kind != "fieldref":
		return fmt.Sprintf("modifier \"cased\" beside %q", m.named())
	case m.expand && (m.kind == "exists" || m.kind == "fieldref" || m.kind == "number" || m.kind == "time" || m.kind == "re"):
		return fmt.Sprintf("modifier \"expand\" beside %q", m.named())
	case m.all && (m.kind == "exists" || m.neq):
		return "modifier \"all\" beside \"exists\" or \"neq\""
	case m.neq && (m.kind == "exists" || m.operator != ""):
		return "modifier \"neq\" beside a comparison"
	case m.windash && len(m.encoding) > 0:
		return "modifier \"windash\" beside an encoding"
	case slices.Contains(m.encoding, "base64offset") && m.position == "":
		return "modifier \"base64offset\" without \"contains\", \"startswith\" or \"endswith\" behind it"
	}
	return ""
}

// named is the modifier that says what the value is.
func (m *modifiers) named() string {
	switch m.kind {
	case "number":
		return m.operator
	case "time":
		return m.part
	}
	return m.kind
}

// against says why the modifiers do not fit a field and how many values it has.
func (m *modifiers) against(field string, values int) string {
	switch {
	case values == 0:
		return "there is no value"
	case m.all && values == 1:
		return "modifier \"all\" wants more than one value"
	case m.kind == "exists" && values > 1:
		return "modifier \"exists\" wants one value"
	case field == "" && m.kind != "" && m.kind != "re":
		return fmt.Sprintf("modifier %q without a field", m.named())
	}
	return ""
}

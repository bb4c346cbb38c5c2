// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"slices"
	"strings"
	"time"
)

// A term is one condition of a $filter. All must hold: of OData's grammar the
// emulator takes what Graph's pages on these resources show, and refuses the rest.
type term struct {
	path   string   // "appId", "status/errorCode", of a lambda "signInEventTypes" or "targetResources/id"
	op     string   // eq ne gt ge lt le startswith in any
	values []string // one, or those of in
}

// parseFilter reads a filter; ok is false where it is not understood.
func parseFilter(text string) (terms []term, ok bool) {
	if strings.TrimSpace(text) == "" {
		return nil, true
	}
	for _, part := range splitAnd(text) {
		t, ok := parseTerm(strings.TrimSpace(part))
		if !ok {
			return nil, false
		}
		terms = append(terms, t)
	}
	return terms, len(terms) <= 32
}

// splitAnd splits at the word and, outside of quotes and parentheses.
func splitAnd(text string) (parts []string) {
	depth, quoted, start := 0, false, 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\'':
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')':
			depth--
		case depth == 0 && strings.HasPrefix(text[i:], " and "):
			parts, start = append(parts, text[start:i]), i+5
			i += 4
		}
	}
	return append(parts, text[start:])
}

func parseTerm(text string) (term, bool) {
	if inner, ok := strings.CutPrefix(text, "("); ok && strings.HasSuffix(inner, ")") && !strings.ContainsAny(inner[:len(inner)-1], "()") {
		text = strings.TrimSpace(inner[:len(inner)-1])
	}
	if inner, ok := strings.CutPrefix(text, "startswith("); ok {
		path, value, found := strings.Cut(strings.TrimSuffix(inner, ")"), ",")
		literal, ok := literalOf(strings.TrimSpace(value))
		return term{strings.TrimSpace(path), "startswith", []string{literal}}, found && ok
	}
	if path, inner, ok := strings.Cut(text, "/any("); ok && strings.HasSuffix(inner, ")") {
		variable, condition, found := strings.Cut(strings.TrimSuffix(inner, ")"), ":")
		t, ok := parseTerm(strings.TrimSpace(condition))
		variable = strings.TrimSpace(variable)
		sub, isVariable := strings.CutPrefix(t.path, variable)
		return term{path + sub, "any", t.values}, found && ok && isVariable && t.op == "eq"
	}
	words := strings.SplitN(text, " ", 3)
	if len(words) != 3 {
		return term{}, false
	}
	if words[1] == "in" {
		return parseIn(words[0], strings.TrimSpace(words[2]))
	}
	literal, ok := literalOf(strings.TrimSpace(words[2]))
	return term{words[0], words[1], []string{literal}}, ok && slices.Contains([]string{"eq", "ne", "gt", "ge", "lt", "le"}, words[1])
}

func parseIn(path, list string) (term, bool) {
	inner, ok := strings.CutPrefix(list, "(")
	if !ok || !strings.HasSuffix(inner, ")") {
		return term{}, false
	}
	t := term{path: path, op: "in"}
	for part := range strings.SplitSeq(strings.TrimSuffix(inner, ")"), ",") {
		literal, ok := literalOf(strings.TrimSpace(part))
		if !ok {
			return t, false
		}
		t.values = append(t.values, literal)
	}
	return t, true
}

// literalOf reads a text in quotes, or a number, time, GUID or boolean without them.
func literalOf(text string) (string, bool) {
	if inner, ok := strings.CutPrefix(text, "'"); ok {
		inner, ended := strings.CutSuffix(inner, "'")
		return strings.ReplaceAll(inner, "''", "'"), ended && !strings.Contains(strings.ReplaceAll(inner, "''", ""), "'")
	}
	return text, text != "" && !strings.ContainsAny(text, " '()")
}

// holds says whether a term holds for the values of its path. Comparisons of order
// are for times alone.
func (t term) holds(values ...string) bool {
	switch t.op {
	case "eq", "any", "in":
		return slices.ContainsFunc(values, func(v string) bool {
			return slices.ContainsFunc(t.values, func(want string) bool { return strings.EqualFold(v, want) })
		})
	case "ne":
		return len(values) == 0 || !strings.EqualFold(values[0], t.values[0])
	case "startswith":
		return len(values) > 0 && len(values[0]) >= len(t.values[0]) && strings.EqualFold(values[0][:len(t.values[0])], t.values[0])
	}
	return false
}

// A window is a span of time that a filter asks for.
type window struct{ from, until int64 } // nanoseconds, from included, until not

// windowOf takes the conditions on a time out of a filter.
func windowOf(terms []term, path string) (w window, rest []term, ok bool) {
	w = window{from: -1 << 62, until: 1<<63 - 1}
	for _, t := range terms {
		if t.path != path {
			rest = append(rest, t)
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, t.values[0])
		if err != nil {
			return w, nil, false
		}
		switch n := at.UnixNano(); t.op {
		case "ge":
			w.from = max(w.from, n)
		case "gt":
			w.from = max(w.from, n+1)
		case "lt":
			w.until = min(w.until, n)
		case "le":
			w.until = min(w.until, n+1)
		case "eq":
			w.from, w.until = max(w.from, n), min(w.until, n+1)
		default:
			return w, nil, false
		}
	}
	return w, rest, true
}

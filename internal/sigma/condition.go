// SPDX-License-Identifier: Apache-2.0

package sigma

import (
	"fmt"
	"slices"
	"strings"
)

// searches are the search identifiers of a rule.
type searches struct {
	names  []string // in their order
	byName map[string]node
}

// parseCondition reads a condition. From the least to the most binding: or,
// and, not, "1 of", brackets. reason says why it cannot be read.
func parseCondition(line string, searches searches) (n node, reason string) {
	if strings.Contains(line, "|") {
		return nil, "aggregations behind \"|\" are not supported (they are gone since version 2): write a correlation rule"
	}
	p := conditionParser{words: conditionWords(line), searches: searches}
	if len(p.words) > maxWords {
		return nil, fmt.Sprintf("it has more than %d words", maxWords)
	}
	n = p.or(0)
	if p.reason == "" && p.at < len(p.words) {
		p.fail("%q is not expected here", p.words[p.at])
	}
	return n, p.reason
}

// maxWords bounds a condition, and with it how deep it nests.
const maxWords = 4000

// maxNesting bounds brackets and nots within each other.
const maxNesting = 100

// conditionWords cuts a condition into words and brackets.
func conditionWords(line string) []string {
	line = strings.NewReplacer("(", " ( ", ")", " ) ").Replace(line)
	return strings.Fields(line)
}

type conditionParser struct {
	words    []string
	at       int
	searches searches
	reason   string // the first mistake
}

func (p *conditionParser) fail(format string, args ...any) {
	if p.reason == "" {
		p.reason = fmt.Sprintf(format, args...)
	}
}

// is takes the next word when it is this one.
func (p *conditionParser) is(word string) bool {
	if p.reason == "" && p.at < len(p.words) && strings.EqualFold(p.words[p.at], word) {
		p.at++
		return true
	}
	return false
}

func (p *conditionParser) or(depth int) node {
	any := anyOf{p.and(depth)}
	for p.is("or") {
		any = append(any, p.and(depth))
	}
	return any.simple()
}

func (p *conditionParser) and(depth int) node {
	all := allOf{p.not(depth)}
	for p.is("and") {
		all = append(all, p.not(depth))
	}
	return all.simple()
}

func (p *conditionParser) not(depth int) node {
	if depth > maxNesting {
		p.fail("it is nested too deep")
		return allOf{}
	}
	if p.is("not") {
		return not{p.not(depth + 1)}
	}
	if p.is("(") {
		n := p.or(depth + 1)
		if !p.is(")") {
			p.fail("a bracket is not closed")
		}
		return n
	}
	return p.term()
}

// term reads a search identifier, or "1 of" several.
func (p *conditionParser) term() node {
	if p.reason != "" {
		return allOf{}
	}
	if p.at >= len(p.words) {
		p.fail("a search identifier is expected at its end")
		return allOf{}
	}
	word := p.words[p.at]
	p.at++
	if p.at < len(p.words) && strings.EqualFold(p.words[p.at], "of") {
		p.at++
		return p.of(word)
	}
	n, ok := p.searches.byName[word]
	if !ok {
		p.fail("there is no search identifier %q", word)
		return allOf{}
	}
	return n
}

// of reads what follows "1 of", "any of" or "all of".
func (p *conditionParser) of(count string) node {
	if p.at >= len(p.words) {
		p.fail("\"them\" or a pattern is expected behind \"of\"")
		return allOf{}
	}
	pattern := p.words[p.at]
	p.at++
	var nodes []node
	for _, name := range p.searches.names {
		if strings.EqualFold(pattern, "them") && !strings.HasPrefix(name, "_") || starMatch(pattern, name) {
			nodes = append(nodes, p.searches.byName[name])
		}
	}
	if len(nodes) == 0 {
		p.fail("no search identifier fits %q", pattern)
	}
	switch strings.ToLower(count) {
	case "1", "any":
		return anyOf(nodes).simple()
	case "all":
		return allOf(nodes).simple()
	}
	p.fail("%q is not supported, only 1 of, any of and all of", count+" of")
	return allOf{}
}

// starMatch says whether a name fits a pattern in which * is any text.
func starMatch(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	last := len(parts) - 1
	name, ok := strings.CutPrefix(name, parts[0])
	if !ok {
		return false
	}
	for _, part := range slices.Clone(parts[1:last]) {
		i := strings.Index(name, part)
		if i < 0 {
			return false
		}
		name = name[i+len(part):]
	}
	return strings.HasSuffix(name, parts[last])
}

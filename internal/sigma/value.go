// SPDX-License-Identifier: Apache-2.0

package sigma

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/netip"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf16"

	"github.com/goccy/go-yaml/ast"
)

// A valueBuilder makes matchers of the values of a field.
type valueBuilder struct {
	*document
	modifiers
	keyword bool
	as      comparison
}

// matchers returns what one value stands for. reason says why it cannot be used.
func (b *valueBuilder) matchers(n ast.Node) (list []matcher, reason string) {
	value, kind, ok := scalar(n)
	if !ok {
		return nil, "a value that is no text, number, boolean or null"
	}
	if kind == ast.NullType {
		if b.keyword || len(b.chain) > 0 && !(len(b.chain) == 1 && b.neq) {
			return nil, "null with a modifier or as a keyword"
		}
		return []matcher{nullMatcher{}}, ""
	}
	switch b.modifiers.kind {
	case "exists":
		if kind != ast.BoolType {
			return nil, "modifier \"exists\" wants true or false"
		}
		return []matcher{existsMatcher(value == "true")}, ""
	case "number", "time":
		return b.numbers(value)
	case "re":
		return b.expression(value)
	case "fieldref":
		return b.reference(value)
	}
	return b.texts(value)
}

func (b *valueBuilder) numbers(value string) ([]matcher, string) {
	n, ok := number(value)
	if !ok {
		return nil, fmt.Sprintf("modifier %q wants a number, and %q is none", b.named(), value)
	}
	limit := Limit{Operator: b.operator, Value: n}
	if limit.Operator == "" {
		limit.Operator = "eq"
	}
	if b.modifiers.kind == "time" {
		return []matcher{timeMatcher{part: b.part, Limit: limit}}, ""
	}
	return []matcher{numberMatcher{limit}}, ""
}

func (b *valueBuilder) reference(value string) ([]matcher, string) {
	if value == "" {
		return nil, "modifier \"fieldref\" wants the name of a field"
	}
	other, mapped := b.fields.field(value)
	if !mapped && b.options.MappedOnly {
		return nil, fmt.Sprintf("field %q is no member of the records kept", value)
	}
	return []matcher{&fieldMatcher{other: other, as: b.as,
		before: b.position == "contains" || b.position == "endswith", past: b.position == "contains" || b.position == "startswith"}}, ""
}

// texts makes matchers of text or of networks, with placeholders and encodings.
func (b *valueBuilder) texts(value string) (list []matcher, reason string) {
	values := []string{value}
	if b.expand {
		if values, reason = b.expanded(value); reason != "" {
			return nil, reason
		}
	}
	for _, value := range values {
		if b.modifiers.kind == "cidr" {
			network, err := netip.ParsePrefix(value)
			if err != nil {
				return nil, fmt.Sprintf("modifier \"cidr\" wants a network such as 192.0.2.0/24 or 2001:db8::/32, and %q is none", value)
			}
			if unmapped := network.Addr().Unmap(); unmapped != network.Addr() && network.Bits() >= 96 {
				network = netip.PrefixFrom(unmapped, network.Bits()-96)
			}
			list = append(list, cidrMatcher{network.Masked()})
			continue
		}
		patterns, reason := b.encoded(readPattern(value))
		if reason != "" {
			return nil, reason
		}
		for _, atoms := range patterns {
			list = append(list, &textMatcher{pattern: newPattern(b.placed(atoms)), as: b.as})
		}
	}
	return list, ""
}

// placed folds a pattern, and puts wildcards around it as the modifiers say. A
// keyword is looked for anywhere.
func (b *valueBuilder) placed(atoms []atom) []atom {
	if b.windash {
		atoms = withDashes(atoms)
	}
	position := b.position
	if b.keyword && position == "" {
		position = "contains"
	}
	var out []atom
	if position == "contains" || position == "endswith" {
		out = append(out, atom{kind: anyRun})
	}
	out = append(out, atoms...)
	if position == "contains" || position == "startswith" {
		out = append(out, atom{kind: anyRun})
	}
	return b.as.applyTo(out)
}

// encoded encodes a value as the modifiers say; base64offset gives three.
func (b *valueBuilder) encoded(atoms []atom) ([][]atom, string) {
	if len(b.encoding) == 0 {
		return [][]atom{atoms}, ""
	}
	plain, ok := plainText(atoms)
	if !ok {
		return nil, fmt.Sprintf("a wildcard under modifier %q", b.encoding[0])
	}
	if plain == "" {
		return nil, fmt.Sprintf("an empty text under modifier %q", b.encoding[0])
	}
	bytes := []byte(plain)
	var texts []string
	for _, encoding := range b.encoding {
		switch encoding {
		case "base64":
			texts = append(texts, base64.StdEncoding.EncodeToString(bytes))
		case "base64offset":
			for offset := range 3 {
				if part := base64At(bytes, offset); part != "" {
					texts = append(texts, part)
				}
			}
		default:
			bytes = asUTF16(plain, encoding)
		}
	}
	if texts == nil {
		texts = []string{string(bytes)}
	}
	var all [][]atom
	for _, text := range texts {
		all = append(all, []atom{{literal, text}})
	}
	return all, ""
}

// base64At returns the characters of base64 that are the same whatever stands
// around the bytes, when they begin at this offset of a group of three.
func base64At(b []byte, offset int) string {
	whole := base64.StdEncoding.EncodeToString(append(make([]byte, offset), b...))
	from := (offset*8 + 5) / 6
	to := (offset + len(b)) * 8 / 6
	if from >= to {
		return ""
	}
	return whole[from:to]
}

func asUTF16(text, encoding string) []byte {
	order := binary.ByteOrder(binary.LittleEndian)
	if encoding == "utf16be" {
		order = binary.BigEndian
	}
	units := utf16.Encode([]rune(text))
	if encoding == "utf16" {
		units = append([]uint16{0xfeff}, units...)
	}
	out := make([]byte, 2*len(units))
	for i, unit := range units {
		order.PutUint16(out[2*i:], unit)
	}
	return out
}

// expanded replaces the placeholders of a value by what is given for them.
func (b *valueBuilder) expanded(value string) ([]string, string) {
	done := []string{""}
	for rest := value; ; {
		plain, after, found := cutPercent(rest)
		name, behind, closed := cutPercent(after)
		if !found || !closed {
			return appendEach(done, []string{strings.ReplaceAll(rest, `\%`, `%`)}), ""
		}
		given, ok := b.options.Placeholders[name]
		if !ok {
			return nil, fmt.Sprintf("no value is given for placeholder %%%s%%", name)
		}
		if len(done)*len(given) > maxValues {
			return nil, fmt.Sprintf("placeholder %%%s%% makes more than %d values", name, maxValues)
		}
		done = appendEach(appendEach(done, []string{strings.ReplaceAll(plain, `\%`, `%`)}), given)
		rest = behind
	}
}

// cutPercent cuts at the first % that has no backslash before it.
func cutPercent(s string) (before, after string, found bool) {
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && (i == 0 || s[i-1] != '\\') {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

func appendEach(list, ends []string) []string {
	var out []string
	for _, begin := range list {
		for _, end := range ends {
			out = append(out, begin+end)
		}
	}
	return out
}

// maxExpression bounds a regular expression, in bytes.
const maxExpression = 10_000

// expression compiles a regular expression; those that package regexp does not
// have are named.
func (b *valueBuilder) expression(value string) ([]matcher, string) {
	if len(value) > maxExpression {
		return nil, fmt.Sprintf("a regular expression of more than %d bytes", maxExpression)
	}
	text := value
	if b.flags != "" {
		text = "(?" + b.flags + ")" + text
	}
	expression, err := regexp.Compile(text)
	if err != nil {
		return nil, fmt.Sprintf("regular expression %q: %s", value, notSupported(value, err))
	}
	return []matcher{&regexpMatcher{expression: expression, as: comparisonOf(true, b.rule.normalised)}}, ""
}

// notSupported names what an expression has that would need backtracking.
func notSupported(value string, err error) string {
	for _, one := range []struct{ text, name string }{
		{"(?=", "lookahead"}, {"(?!", "lookahead"}, {"(?<=", "lookbehind"}, {"(?<!", "lookbehind"}, {"(?>", "an atomic group"},
		{"(?(", "a condition"}, {"(?R", "recursion"}, {"(?#", "a comment"}, {"\\K", "\\K"}, {"\\G", "\\G"}, {"\\Z", "\\Z"}, {"\\h", "\\h"}, {"\\R", "\\R"},
		{"++", "a possessive quantifier"}, {"*+", "a possessive quantifier"}, {"?+", "a possessive quantifier"},
	} {
		if strings.Contains(value, one.text) {
			return one.name + " of PCRE is not supported"
		}
	}
	if problem, ok := err.(*syntax.Error); ok {
		if problem.Code == syntax.ErrInvalidEscape && len(problem.Expr) == 2 && problem.Expr[1] >= '1' && problem.Expr[1] <= '9' {
			return "a back reference of PCRE is not supported"
		}
		return problem.Code.String() + ": " + problem.Expr
	}
	return err.Error()
}

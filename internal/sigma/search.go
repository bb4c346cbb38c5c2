// SPDX-License-Identifier: Apache-2.0

package sigma

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// search reads a search identifier: a mapping of fields, a list of such, or a
// list of keywords.
func (d *document) search(s pair) (node, *Refusal) {
	if members, ok := pairs(s.value); ok {
		return d.mapping(s, members)
	}
	list, ok := items(s.value)
	if !ok {
		list = []ast.Node{s.value}
	}
	var any anyOf
	var keywords []ast.Node
	for _, one := range list {
		if members, ok := pairs(one); ok {
			n, err := d.mapping(s, members)
			if err != nil {
				return nil, err
			}
			any = append(any, n)
			continue
		}
		keywords = append(keywords, one)
	}
	if len(keywords) > 0 {
		n, err := d.item(pair{at: s.at}, keywords)
		if err != nil {
			return nil, err
		}
		any = append(any, n)
	}
	if len(any) == 0 {
		return nil, d.refuse(s.at, "search identifier %q is empty", s.key)
	}
	return any.simple(), nil
}

// mapping reads a mapping of fields, which must all fit.
func (d *document) mapping(s pair, members []pair) (node, *Refusal) {
	var all allOf
	for _, m := range members {
		values, ok := items(m.value)
		if !ok {
			values = []ast.Node{m.value}
		}
		n, err := d.item(m, values)
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	if len(all) == 0 {
		return nil, d.refuse(s.at, "search identifier %q is empty", s.key)
	}
	return all.simple(), nil
}

// maxValues bounds the values of one field; public rules have up to 1,500.
const maxValues = 50_000

// item reads "field|modifier: values". Of keywords the key is "".
func (d *document) item(m pair, values []ast.Node) (node, *Refusal) {
	words := strings.Split(m.key, "|")
	mods, reason := readModifiers(words[1:])
	if reason == "" {
		reason = mods.against(words[0], len(values))
	}
	if reason != "" {
		return nil, d.refuse(m.at, "%s in %q", reason, m.key)
	}
	n := &item{all: mods.all}
	if words[0] != "" {
		var mapped bool
		if n.field, mapped = d.fields.field(words[0]); !mapped && d.options.MappedOnly {
			return nil, d.refuse(m.at, "field %q is no member of the records kept", words[0])
		}
	}
	if words[0] == "" && d.options.MappedOnly {
		return nil, d.refuse(m.at, "keywords want the record as it was written, which is not kept")
	}
	builder := valueBuilder{document: d, modifiers: mods, keyword: words[0] == "", as: comparisonOf(mods.cased, d.rule.normalised)}
	for _, value := range values {
		matchers, reason := builder.matchers(value)
		if reason == "" && len(n.values)+len(matchers) > maxValues {
			reason = fmt.Sprintf("more than %d values", maxValues)
		}
		if reason != "" {
			return nil, d.refuse(value, "%s in %q", reason, m.key)
		}
		if mods.all && len(matchers) > 1 { // what one value stands for is linked with or, as anywhere
			matchers = []matcher{oneOf(matchers)}
		}
		n.values = append(n.values, matchers...)
	}
	if mods.neq {
		return not{n}, nil
	}
	return n, nil
}

// oneOf fits when one of its matchers does.
type oneOf []matcher

func (m oneOf) fits(f *found, v *view) bool {
	for _, one := range m {
		if one.fits(f, v) {
			return true
		}
	}
	return false
}

// scalar returns a value of a rule as text, and whether it is text, a number or
// something else.
func scalar(n ast.Node) (value string, kind ast.NodeType, ok bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, ast.StringType, true
	case *ast.LiteralNode:
		return n.Value.Value, ast.StringType, true
	case *ast.NullNode, nil:
		return "", ast.NullType, true
	case *ast.BoolNode:
		return strconv.FormatBool(n.Value), ast.BoolType, true
	case *ast.IntegerNode:
		return fmt.Sprint(n.Value), ast.IntegerType, true
	case *ast.FloatNode:
		if math.IsInf(n.Value, 0) || math.IsNaN(n.Value) {
			return "", ast.FloatType, false
		}
		return strconv.FormatFloat(n.Value, 'f', -1, 64), ast.FloatType, true
	}
	return "", 0, false
}

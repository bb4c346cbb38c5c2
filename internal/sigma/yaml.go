// SPDX-License-Identifier: Apache-2.0

package sigma

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// These bound a file and each rule of it: the parser takes quadratic time in how
// deep and how wide a rule is. The largest public rule has 300 kB, 4,000 values
// and four levels.
const (
	maxFile    = 64 << 20
	maxRule    = 384 << 10
	maxDepth   = 16
	maxMembers = 2000
)

// A written is one document of a file.
type written struct {
	name  string // of the file
	lines int    // before it
	text  string
}

// place returns "file:line:column".
func (w written) place(t *token.Token) string {
	if t == nil || t.Position == nil {
		return fmt.Sprintf("%s:%d:1", w.name, w.lines+1)
	}
	return fmt.Sprintf("%s:%d:%d", w.name, w.lines+t.Position.Line, t.Position.Column)
}

// documentsOf cuts a file at its lines "---" (YAML 1.2.2 section 9.1.2: nothing
// else can begin so).
func documentsOf(text, name string) (all []written) {
	w := written{name: name}
	from, line := 0, 0
	for at := 0; at < len(text); line++ {
		end := strings.IndexByte(text[at:], '\n') + 1
		if end == 0 {
			end = len(text) - at
		}
		if marker := strings.TrimRight(text[at:at+end], "\r\n"); marker == "---" || strings.HasPrefix(marker, "--- ") {
			w.text = text[from:at]
			all = append(all, w)
			from, w.lines = at, line
		}
		at += end
	}
	w.text = text[from:]
	return append(all, w)
}

// parse returns the content of the document, or nil when it is empty.
func (w written) parse() (ast.Node, *Refusal) {
	if len(w.text) > maxRule {
		return nil, &Refusal{Place: w.place(nil), Reason: fmt.Sprintf("the rule is larger than %d bytes", maxRule)}
	}
	tokens := lexer.Tokenize(w.text)
	if t, reason := notPlain(tokens); t != nil {
		return nil, &Refusal{Place: w.place(t), Reason: reason}
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil {
		if e, ok := errors.AsType[yaml.Error](err); ok && e.GetToken() != nil {
			return nil, &Refusal{Place: w.place(e.GetToken()), Reason: "this is not YAML: " + e.GetMessage()}
		}
		return nil, &Refusal{Place: w.place(nil), Reason: "this is not YAML"}
	}
	for _, d := range file.Docs {
		if d.Body != nil && d.Body.Type() != ast.NullType && d.Body.Type() != ast.CommentType {
			return d.Body, nil
		}
	}
	return nil, nil
}

// notPlain returns what no rule needs and hostile files have: aliases, tags and
// the like, and nesting without end.
func notPlain(tokens token.Tokens) (*token.Token, string) {
	flow, entries, members := 0, 0, 0
	var columns []int // of the block mappings that the token is in
	for _, t := range tokens {
		entries++
		switch t.Type {
		case token.AnchorType, token.AliasType, token.TagType, token.MergeKeyType, token.MappingKeyType, token.DirectiveType:
			return t, fmt.Sprintf("YAML's %q is not supported: write it out, or put it in quotes if it is text", t.Value)
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow--
		case token.CollectEntryType:
			members++
		case token.MappingValueType:
			members++
			columns = deeper(columns, t)
		}
		if t.Type != token.SequenceEntryType {
			entries = 0
		}
		if flow > maxDepth || entries > maxDepth || len(columns) > maxDepth {
			return t, "this is nested too deep"
		}
		if members > maxMembers {
			return t, fmt.Sprintf("the rule has more than %d members", maxMembers)
		}
	}
	return nil, ""
}

// deeper follows how deep block mappings nest, by the columns of their keys.
func deeper(columns []int, colon *token.Token) []int {
	column := colon.Position.Column
	if colon.Prev != nil {
		column = colon.Prev.Position.Column
	}
	for len(columns) > 0 && columns[len(columns)-1] >= column {
		columns = columns[:len(columns)-1]
	}
	return append(columns, column)
}

// A pair is a member of a mapping.
type pair struct {
	key   string
	at    ast.Node // the key
	value ast.Node
}

// pairs returns the members of a mapping in their order; ok is false for anything else.
func pairs(n ast.Node) (list []pair, ok bool) {
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		return nil, false
	}
	for _, v := range values {
		key := ""
		switch k := v.Key.(type) {
		case *ast.StringNode:
			key = k.Value
		case ast.ScalarNode:
			key = k.GetToken().Value
		}
		list = append(list, pair{key: key, at: v.Key, value: v.Value})
	}
	return list, true
}

// items returns the elements of a sequence.
func items(n ast.Node) ([]ast.Node, bool) {
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		return nil, false
	}
	return s.Values, true
}

// text returns a scalar as it is written, without its quotes; null is "".
func text(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case nil:
		return "", true
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.NullNode:
		return "", true
	case ast.ScalarNode:
		return n.GetToken().Value, true
	}
	return "", false
}

// texts returns a scalar, or the scalars of a sequence.
func texts(n ast.Node) ([]string, bool) {
	if list, ok := items(n); ok {
		var all []string
		for _, one := range list {
			s, ok := text(one)
			if !ok {
				return nil, false
			}
			all = append(all, s)
		}
		return all, true
	}
	s, ok := text(n)
	if !ok || s == "" {
		return nil, ok
	}
	return []string{s}, true
}

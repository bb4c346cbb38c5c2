// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/tallystick/tallystick"
)

// Parse reads the text of a configuration file, which errors call by name.
// Defaults are not filled in, and paths stay as written. A text that is not
// understood is ErrInvalid, with a line for each mistake. No error quotes a
// value, because it could be a secret, except where the value is a name.
func Parse(name string, text []byte) (*Config, error) {
	if len(text) > maxFile {
		return nil, fmt.Errorf("%w: %s is larger than %d bytes", tallystick.ErrInvalid, name, maxFile)
	}
	d := &decoder{name: name, at: map[string]*token.Position{}}
	root := d.parse(text)
	c := &Config{file: d}
	if root != nil && len(d.mistakes) == 0 {
		d.value(root, reflect.ValueOf(c).Elem(), "")
	}
	if len(d.mistakes) == 0 {
		c.check(d)
	}
	if len(d.mistakes) > 0 {
		return nil, fmt.Errorf("%w: %w", tallystick.ErrInvalid, errors.Join(d.mistakes...))
	}
	return c, nil
}

// Where says where in the file a value stands, such as "tally.yaml:7:5" for
// discovery[0].targets[1], for who finds a mistake that this package cannot
// know. What is not in a file is called by its path.
func (c *Config) Where(path string) string {
	if c.file == nil {
		return path
	}
	return c.file.where(c.file.find(path))
}

// maxDepth is how deep lists and mappings may nest; Config needs four levels.
// The parser takes quadratic time in the depth.
const maxDepth = 16

// parse returns the one document of the text, or nil when it is empty.
func (d *decoder) parse(text []byte) ast.Node {
	tokens := lexer.Tokenize(string(text))
	if d.plain(tokens); len(d.mistakes) > 0 {
		return nil
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil {
		if e, ok := errors.AsType[yaml.Error](err); ok && e.GetToken() != nil {
			d.mistake(e.GetToken().Position, "this is not YAML: %s", e.GetMessage())
		} else {
			d.mistake(nil, "this is not YAML")
		}
		return nil
	}
	if len(file.Docs) > 1 {
		var at *token.Position
		if start := file.Docs[1].Start; start != nil {
			at = start.Position
		}
		d.mistake(at, "there is a second document after the first")
		return nil
	}
	if len(file.Docs) == 0 {
		return nil
	}
	return file.Docs[0].Body
}

// plain refuses what the configuration has no use for and hostile files have:
// aliases, tags and the like, and nesting without end.
func (d *decoder) plain(tokens token.Tokens) {
	flow, entries := 0, 0
	for _, t := range tokens {
		entries++
		switch t.Type {
		case token.AnchorType, token.AliasType, token.TagType, token.MergeKeyType, token.MappingKeyType, token.DirectiveType:
			d.mistake(t.Position, "%q is not supported here: write it out, or put it in quotes if it is text", t.Value)
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow--
		}
		if t.Type != token.SequenceEntryType {
			entries = 0
		}
		if flow > maxDepth || entries > maxDepth {
			d.mistake(t.Position, "this is nested too deep")
		}
		if len(d.mistakes) > 0 {
			return
		}
	}
}

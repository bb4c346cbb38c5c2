// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/problem"
)

// A decoder puts YAML into a Config. It takes scalars as they are written
// rather than as YAML types them: a passphrase of 007 stays one.
type decoder struct {
	name     string
	at       map[string]*token.Position // where a path such as discovery[0].every stands
	mistakes []error
}

// maxMistakes is how many are told at once.
const maxMistakes = 20

// mistake notes what is wrong at a position, which may be unknown.
func (d *decoder) mistake(at *token.Position, format string, args ...any) {
	if len(d.mistakes) < maxMistakes {
		d.mistakes = append(d.mistakes, fmt.Errorf("%s: %s", d.where(at), fmt.Sprintf(format, args...)))
	}
}

// where writes a position as compilers do.
func (d *decoder) where(at *token.Position) string {
	if at == nil {
		return d.name
	}
	return fmt.Sprintf("%s:%d:%d", d.name, at.Line, at.Column)
}

// wrong notes what is wrong with the value at a path, or with the absence of one.
func (d *decoder) wrong(path, format string, args ...any) {
	d.mistake(d.find(path), "%s: %s", path, fmt.Sprintf(format, args...))
}

// find returns where a path stands, or else what is around it.
func (d *decoder) find(path string) *token.Position {
	for path != "" && d.at[path] == nil {
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return d.at[path]
}

// value decodes a node into v, which the path leads to.
func (d *decoder) value(node ast.Node, v reflect.Value, path string) {
	d.at[path] = position(node)
	if node.Type() == ast.NullType {
		return
	}
	switch target := v.Addr().Interface().(type) {
	case *driver.Secret:
		if text, ok := d.text(node, path); ok {
			*target = driver.NewSecret(text)
		}
		return
	case *time.Duration:
		d.duration(node, target, path)
		return
	}
	switch v.Kind() {
	case reflect.String:
		if text, ok := d.text(node, path); ok {
			v.SetString(text)
		}
	case reflect.Bool:
		if b, ok := node.(*ast.BoolNode); ok {
			v.SetBool(b.Value)
		} else {
			d.wrong(path, "it is true or false")
		}
	case reflect.Int:
		d.number(node, v, path)
	case reflect.Slice:
		d.list(node, v, path)
	default:
		d.mapping(node, v, path)
	}
}

// position returns where a node begins; the token of a mapping without braces
// is its first colon.
func position(node ast.Node) *token.Position {
	if m, ok := node.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		return m.Values[0].Key.GetToken().Position
	}
	return node.GetToken().Position
}

// text returns a scalar as it is written.
func (d *decoder) text(node ast.Node, path string) (string, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return node.GetToken().Value, true
	}
	d.wrong(path, "it is a text")
	return "", false
}

func (d *decoder) duration(node ast.Node, target *time.Duration, path string) {
	text, ok := d.text(node, path)
	if !ok {
		return
	}
	var err error
	if *target, err = time.ParseDuration(text); err != nil {
		d.wrong(path, "it is a duration such as 90s, 30m or 24h")
	}
}

func (d *decoder) number(node ast.Node, v reflect.Value, path string) {
	n, err := strconv.ParseInt(node.GetToken().Value, 10, 32)
	if _, scalar := node.(ast.ScalarNode); !scalar || err != nil {
		d.wrong(path, "it is a whole number such as 4")
		delete(d.at, path) // nothing more is to be said of it
		return
	}
	v.SetInt(n)
}

func (d *decoder) list(node ast.Node, v reflect.Value, path string) {
	list, ok := node.(*ast.SequenceNode)
	if !ok {
		d.wrong(path, "it is a list")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(list.Values), len(list.Values)))
	for i, item := range list.Values {
		d.value(item, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
}

// mapping decodes into a struct by the tags of its fields, or into a map.
func (d *decoder) mapping(node ast.Node, v reflect.Value, path string) {
	m, ok := node.(*ast.MappingNode)
	if !ok {
		if path == "" {
			d.mistake(position(node), "the file is a mapping, such as listen: 127.0.0.1:8443")
		} else {
			d.wrong(path, "it is a mapping of names to values")
		}
		return
	}
	for _, entry := range m.Values {
		key := entry.Key.GetToken()
		under := key.Value
		if path != "" {
			under = path + "." + key.Value
		}
		if v.Kind() == reflect.Map {
			value := reflect.New(v.Type().Elem()).Elem()
			d.value(entry.Value, value, under)
			if v.IsNil() {
				v.Set(reflect.MakeMap(v.Type()))
			}
			v.SetMapIndex(reflect.ValueOf(key.Value), value)
			continue
		}
		field, keys := fieldOf(v, key.Value)
		if !field.IsValid() {
			d.mistake(key.Position, "unknown key %q%s", key.Value, suggest(key.Value, keys))
			continue
		}
		d.value(entry.Value, field, under)
	}
}

// fieldOf returns the field of a struct that a key sets, and all keys.
func fieldOf(v reflect.Value, key string) (field reflect.Value, keys []string) {
	for i := range v.NumField() {
		if !v.Type().Field(i).IsExported() {
			continue
		}
		name := v.Type().Field(i).Tag.Get("yaml")
		if name == key {
			return v.Field(i), nil
		}
		keys = append(keys, name)
	}
	return reflect.Value{}, keys
}

// suggest ends a sentence about an unknown word with the known one that it may
// be a slip of, or with all of them.
func suggest(word string, known []string) string {
	if near := problem.Nearest(strings.ToLower(word), known); near != "" {
		return fmt.Sprintf(": did you mean %q?", near)
	}
	return ": it is one of " + strings.Join(known, ", ")
}

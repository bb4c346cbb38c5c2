// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick/internal/config"
)

var update = flag.Bool("update", false, "write docs/config.md")

// docs/config.md is the comments of the structs and the file of TestFull.
func TestDocument(t *testing.T) {
	example, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	m := manual{t: t, types: structs(t)}
	m.page.WriteString("# Configuration\n\nThis page is made from the comments in internal/config by `go test ./internal/config -update`.\n\n" +
		"`tally up --config FILE` reads a YAML file. Everything in it may be left out. " + m.about("Config") + "\n\n## An example\n\n```yaml\n")
	m.page.Write(example)
	m.page.WriteString("```\n\n## Keys\n")
	m.keys(reflect.TypeFor[config.Config](), "")
	path := filepath.Join("..", "..", "docs", "config.md")
	if *update {
		if err := os.WriteFile(path, m.page.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(have), m.page.String()); diff != "" {
		t.Errorf("run go test ./internal/config -update: %s", diff)
	}
}

// A manual is docs/config.md in the making.
type manual struct {
	t     *testing.T
	types map[string]*ast.GenDecl
	page  bytes.Buffer
}

// structs returns the types of the package by name.
func structs(t *testing.T) map[string]*ast.GenDecl {
	t.Helper()
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]*ast.GenDecl{}
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			d, ok := d.(*ast.GenDecl)
			if !ok || d.Tok != token.TYPE {
				continue
			}
			if spec := d.Specs[0].(*ast.TypeSpec); spec.Name.IsExported() {
				types[spec.Name.Name] = d
			}
		}
	}
	return types
}

// about returns the comment of a type after its first sentence, which is for
// those who read the source.
func (m *manual) about(name string) string {
	text := strings.Join(strings.Fields(m.types[name].Doc.Text()), " ")
	_, rest, _ := strings.Cut(text, ". ")
	return rest
}

// keys writes the fields of a struct, whose key is before theirs.
func (m *manual) keys(typ reflect.Type, before string) {
	fields := m.types[typ.Name()].Specs[0].(*ast.TypeSpec).Type.(*ast.StructType).Fields.List
	for i := range typ.NumField() {
		field := typ.Field(i)
		if !field.IsExported() {
			continue
		}
		key := before + field.Tag.Get("yaml")
		comment := strings.Join(strings.Fields(fields[i].Doc.Text()), " ")
		if comment == "" || field.Tag.Get("yaml") == "" {
			m.t.Errorf("%s.%s lacks a comment or a key", typ.Name(), field.Name)
		}
		fmt.Fprintf(&m.page, "\n### `%s`\n\n%s: %s\n", key, kindOf(field.Type), comment)
		inner := field.Type
		if inner.Kind() == reflect.Slice {
			inner, key = inner.Elem(), key+"[]"
		}
		if _, ok := m.types[inner.Name()]; !ok {
			continue
		}
		if about := m.about(inner.Name()); about != "" {
			fmt.Fprintf(&m.page, "\n%s\n", about)
		}
		m.keys(inner, key+".")
	}
}

// kindOf names what a key takes.
func kindOf(t reflect.Type) string {
	switch {
	case t.String() == "time.Duration":
		return "Duration"
	case t.String() == "driver.Secret":
		return "Text, kept secret"
	case t.Kind() == reflect.String:
		return "Text"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Int:
		return "Whole number"
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.String:
		return "List of texts"
	case t.Kind() == reflect.Slice:
		return "List"
	}
	return "Mapping"
}

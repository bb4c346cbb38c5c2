// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// A manifest is what is read of one: of a Secret, or of a list of them.
type manifest struct {
	Kind     string `yaml:"kind"`
	Type     string `yaml:"type"`
	Metadata struct {
		Name      string `yaml:"name"`
		Namespace string `yaml:"namespace"`
	} `yaml:"metadata"`
	Data       map[string]string `yaml:"data"`
	StringData map[string]string `yaml:"stringData"`
	Items      []manifest        `yaml:"items"`
}

// Bounds of a document: the parser takes quadratic time in how deep and how wide it is. A
// Secret has at most 1 MiB (https://kubernetes.io/docs/concepts/configuration/secret/).
const (
	maxManifest = 2 << 20
	maxDepth    = 16
	maxMembers  = 2000
)

// readKubernetes reads manifests, in YAML or JSON. The account is NAMESPACE/NAME/KEY;
// what is no Secret is left out.
func readKubernetes(name string, text []byte, like Entrust) ([]Entrust, error) {
	var list []Entrust
	for i, document := range strings.Split("\n"+string(text), "\n---") {
		document += "\n" // which the cut took
		if err := checkYAML(document); err != nil {
			return nil, fmt.Errorf("document %d: %w", i+1, err)
		}
		var m manifest
		if err := yaml.Unmarshal([]byte(document), &m); err != nil {
			return nil, fmt.Errorf("%w: document %d is not a manifest in YAML", tallystick.ErrInvalid, i+1) // what it says may quote a value
		}
		for _, one := range append(m.Items, m) {
			found, err := one.secrets(name, like)
			if err != nil {
				return nil, fmt.Errorf("document %d: %w", i+1, err)
			}
			list = append(list, found...)
		}
	}
	return list, nil
}

// secrets returns the entries of a Secret.
func (m manifest) secrets(name string, like Entrust) ([]Entrust, error) {
	if m.Kind != "Secret" {
		return nil, nil
	}
	values := map[string]string{}
	for key, encoded := range m.Data {
		value, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(encoded), ""))
		if err != nil {
			return nil, fmt.Errorf("%w: the data of a key of the Secret %q is not base64", tallystick.ErrInvalid, m.Metadata.Name)
		}
		values[key] = string(value)
	}
	maps.Copy(values, m.StringData) // as the API server does
	namespace := m.Metadata.Namespace
	if namespace == "" {
		namespace = "default"
	}
	var list []Entrust
	for _, key := range slices.Sorted(maps.Keys(values)) {
		e := like
		e.Account = namespace + "/" + m.Metadata.Name + "/" + key
		e.Value, e.Origin = driver.NewSecret(values[key]), "kubernetes:"+name+"#"+e.Account
		if m.Type == "kubernetes.io/tls" {
			e.Kind = Certificate
		}
		list = append(list, e)
	}
	return list, nil
}

// checkYAML refuses what no manifest needs and hostile files have: aliases, tags, and
// nesting or members without end.
func checkYAML(text string) error {
	if len(text) > maxManifest {
		return fmt.Errorf("%w: it has more than %d bytes", tallystick.ErrInvalid, maxManifest)
	}
	flow, entries, members := 0, 0, 0
	var columns []int // of the block mappings that the token is in
	for _, t := range lexer.Tokenize(text) {
		entries++
		switch t.Type {
		case token.AnchorType, token.AliasType, token.TagType, token.MergeKeyType, token.MappingKeyType, token.DirectiveType:
			return fmt.Errorf("%w: aliases, tags and the like of YAML are not read: write them out", tallystick.ErrInvalid)
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow--
		case token.CollectEntryType:
			members++
		case token.MappingValueType:
			members++
			column := t.Position.Column
			if t.Prev != nil {
				column = t.Prev.Position.Column
			}
			columns = append(slices.DeleteFunc(columns, func(c int) bool { return c >= column }), column)
		}
		if t.Type != token.SequenceEntryType {
			entries = 0
		}
		if flow > maxDepth || entries > maxDepth || len(columns) > maxDepth || members > maxMembers {
			return fmt.Errorf("%w: it is nested too deep, or has more than %d members", tallystick.ErrInvalid, maxMembers)
		}
	}
	return nil
}

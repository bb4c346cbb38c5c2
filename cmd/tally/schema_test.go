// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"reflect"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/go-cmp/cmp"
)

// TestSightingSchema holds docs/sighting.schema.json to what "tally scan --json"
// writes. Members may be added to a line, so the schema lets others through.
func TestSightingSchema(t *testing.T) {
	const file = "../../docs/sighting.schema.json"
	definitions := huma.NewMapRegistry("#/$defs/", huma.DefaultSchemaNamer)
	sighting := definitions.Schema(reflect.TypeFor[sightingLine](), true, "")
	miss := definitions.Schema(reflect.TypeFor[missLine](), true, "")
	for _, s := range definitions.Map() {
		s.AdditionalProperties = true
	}
	definitions.Map()["MissLine"].Properties["kind"].Enum = []any{"none"}
	text, err := json.MarshalIndent(map[string]any{
		"$schema":     "https://json-schema.org/draft/2020-12/schema",
		"$id":         "https://github.com/tallystick/tallystick/blob/main/docs/sighting.schema.json",
		"title":       "A line of tally scan --json",
		"description": "A credential at a place, or a place where nothing could be seen (kind none).",
		"if":          map[string]any{"properties": map[string]any{"kind": map[string]any{"const": "none"}}},
		"then":        miss, "else": sighting, "$defs": definitions.Map(),
	}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, '\n')
	if *update {
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(have), string(text)); d != "" {
		t.Errorf("docs/sighting.schema.json is old; go test ./cmd/tally -run TestSightingSchema -update writes it anew:\n%s", d)
	}
}

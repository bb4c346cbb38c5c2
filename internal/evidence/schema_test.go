// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/audit"
)

// TestSchema holds docs/evidence.schema.json to what is written. Members may be added
// to an object, so the schema lets others through.
func TestSchema(t *testing.T) {
	const file = "../../docs/evidence.schema.json"
	definitions := huma.NewMapRegistry("#/$defs/", huma.DefaultSchemaNamer)
	members := map[string]any{}
	for name, kind := range map[string]reflect.Type{
		manifestName: reflect.TypeFor[Manifest](), recallName: reflect.TypeFor[Document](), targetsName: reflect.TypeFor[tallystick.RecallTarget](),
		stepsName: reflect.TypeFor[Step](), eventsName: reflect.TypeFor[Event](), recordsName: reflect.TypeFor[quote](),
	} {
		members[name] = definitions.Schema(kind, true, "")
	}
	members["the text of a record"] = definitions.Schema(reflect.TypeFor[audit.Record](), true, "")
	for _, s := range definitions.Map() {
		s.AdditionalProperties = true
	}
	hashes := map[string]any{"type": "array", "items": map[string]any{"type": "string", "description": "32 bytes in base64"}}
	number, text := map[string]any{"type": "integer"}, map[string]any{"type": "string"}
	object := func(properties map[string]any, required ...string) map[string]any {
		return map[string]any{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
	}
	members["the first line of proof.ndjson"] = object(map[string]any{"checkpoint": text, "record": number, "text": text, "path": hashes}, "checkpoint", "record", "text", "path")
	members["the other lines of proof.ndjson"] = object(map[string]any{"record": number, "path": hashes, "rest": number}, "record", "path", "rest")
	all, err := json.MarshalIndent(map[string]any{
		"$schema":     "https://json-schema.org/draft/2020-12/schema",
		"$id":         "https://github.com/tallystick/tallystick/blob/main/docs/evidence.schema.json",
		"title":       "Members of the evidence of a recall",
		"description": "What is under each name is the schema of that member; of one that ends in .ndjson, of each line. docs/evidence.md says what it means.",
		"properties":  members, "$defs": definitions.Map(),
	}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	all = append(all, '\n')
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(file, all, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(have), string(all)); d != "" {
		t.Errorf("docs/evidence.schema.json is old; go test ./internal/evidence -run TestSchema -update writes it anew:\n%s", d)
	}
}

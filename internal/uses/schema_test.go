// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
)

// recordSchema is what the tests want of docs/use-record.schema.json.
type recordSchema struct {
	Properties map[string]struct {
		Enum       []string
		Properties map[string]any
	}
	Examples []json.RawMessage
}

func readSchema(t *testing.T) (s recordSchema) {
	t.Helper()
	text, err := os.ReadFile("../../docs/use-record.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSchemaNamesWhatTheReaderKnows gives the reader every member of the schema:
// one that it does not know ends among the others.
func TestSchemaNamesWhatTheReaderKnows(t *testing.T) {
	s := readSchema(t)
	values := map[string]any{
		"v": 1, "seq": 7, "port": 443, "count": 2, "side": "holder", "level": "call", "time": "2026-11-20T10:15:30Z", "until": "2026-11-20T10:16:30Z",
		"closed": "2026-11-20T10:15:30Z", "credential": []string{"x5t:00"}, "unknown": "kept", "last": 9,
	}
	ids := map[string]string{"unknown": "kept"}
	for name := range s.Properties["ids"].Properties {
		ids[name] = name
	}
	for name := range s.Properties {
		if name == "lost" {
			continue // a record with it is no use, see TestALossIsRead
		}
		if _, ok := values[name]; !ok {
			values[name] = name
		}
	}
	values["ids"] = ids
	record, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	var got *tallystick.Use
	if err := newUseReader(Settings{}).read(string(record), sinkFunc(func(u *tallystick.Use) { got = Keep(u) })); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{"unknown": `"kept"`, "hash": `"hash"`, "last": "9"}, got.Other); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[string]string{"unknown": "kept"}, got.IDs.Other); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(ids, got.IDs.Map()); d != "" {
		t.Error(d)
	}
	got.Other, got.IDs = nil, tallystick.UseIDs{}
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range values {
		if value == name && name != "outcome" && name != "hash" && !strings.Contains(string(text), `"`+name+`"`) {
			t.Errorf("the reader drops %s", name)
		}
	}
}

func TestSchemaEnumerations(t *testing.T) {
	s := readSchema(t)
	for member, want := range map[string][]string{
		"side":  {string(tallystick.SideHolder), string(tallystick.SideRelying)},
		"level": {string(tallystick.LevelSignature), string(tallystick.LevelRequest), string(tallystick.LevelToken), string(tallystick.LevelCall)},
	} {
		if d := cmp.Diff(want, s.Properties[member].Enum); d != "" {
			t.Errorf("%s:\n%s", member, d)
		}
	}
}

func TestSchemaExamplesAreRead(t *testing.T) {
	s := readSchema(t)
	if len(s.Examples) < 3 {
		t.Fatalf("there are %d examples", len(s.Examples))
	}
	for _, example := range s.Examples {
		if err := newUseReader(Settings{}).read(string(example), &printer{}); err != nil {
			t.Errorf("%s: %v", example, err)
		}
	}
}

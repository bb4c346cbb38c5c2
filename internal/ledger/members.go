// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// writeNames makes a JSON array of text.
func writeNames(names []string) string {
	out := []byte{'['}
	for i, name := range names {
		if i > 0 {
			out = append(out, ',')
		}
		if plainText(name) {
			out = append(append(append(out, '"'), name...), '"')
			continue
		}
		var text bytes.Buffer
		encoder := json.NewEncoder(&text)
		encoder.SetEscapeHTML(false)
		if encoder.Encode(name) != nil {
			continue // cannot be: text has JSON
		}
		out = append(out, bytes.TrimSpace(text.Bytes())...)
	}
	return string(append(out, ']'))
}

// plainText says whether a text is its own JSON.
func plainText(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// writeStrings makes a JSON object of text.
func writeStrings(m map[string]string) string {
	text, err := json.Marshal(m)
	if err != nil {
		return "{}" // cannot be: text has JSON
	}
	return string(text)
}

// readStrings is the inverse of writeStrings.
func readStrings(text []byte) map[string]string {
	var m map[string]string
	if err := json.Unmarshal(text, &m); err != nil || len(m) == 0 {
		return nil
	}
	return m
}

// writeMembers makes one JSON object of members whose values are JSON already.
// A value that is none, which no reader of records gives, becomes a string. The
// member "hash" is left out when it is kept elsewhere.
func writeMembers(m map[string]string, withoutHash bool) string {
	var out bytes.Buffer
	out.WriteByte('{')
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if withoutHash && key == "hash" {
			continue
		}
		if out.Len() > 1 {
			out.WriteByte(',')
		}
		name, err := json.Marshal(key)
		if err != nil {
			continue // cannot be
		}
		out.Write(name)
		out.WriteByte(':')
		value := m[key]
		if strings.TrimSpace(value) != value || !json.Valid([]byte(value)) {
			text, err := json.Marshal(value)
			if err != nil {
				text = []byte("null") // cannot be
			}
			value = string(text)
		}
		out.WriteString(value)
	}
	out.WriteByte('}')
	return out.String()
}

// readMembers is the inverse of writeMembers; values come back letter by letter.
func readMembers(text []byte) map[string]string {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil || len(raw) == 0 {
		return nil
	}
	m := make(map[string]string, len(raw))
	for key, value := range raw {
		m[key] = string(value)
	}
	return m
}

// readHash reads the value of the member "hash" that package holder writes: a
// JSON string of 64 lower-case digits.
func readHash(value string) (hash [32]byte, ok bool) {
	if len(value) != 66 || value[0] != '"' || value[65] != '"' {
		return hash, false
	}
	upper, ok := hexInto(hash[:], value[1:65])
	return hash, ok && !upper
}

func hashMember(hash *[32]byte) string { return `"` + hex.EncodeToString(hash[:]) + `"` }

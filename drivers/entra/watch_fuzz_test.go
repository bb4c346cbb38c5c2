// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"encoding/json"
	"strings"
	"testing"
)

// FuzzTextIn compares with encoding/json what is taken out of records in a shorter way.
func FuzzTextIn(f *testing.F) {
	for _, seed := range []string{
		`{"id":"1","createdDateTime":"2026-11-22T10:00:00Z","status":{"createdDateTime":"x"}}`,
		`{"a":"\"createdDateTime\":\"x\"","createdDateTime" : "y"}`, `{"a":["createdDateTime","x"],"b":{"createdDateTime":"z"},"createdDateTime":null}`,
		`{"createdDateTime":{"a":"b"}}`, `{"createdDateTime":"`, `{"createdDateTime`, `["createdDateTime","x"]`, `{"x":"createdDateTime","y":"z"}`, `\`, `"`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, record string) {
		got := textIn([]byte(record), "createdDateTime")
		var all map[string]json.RawMessage
		if json.Unmarshal([]byte(record), &all) != nil || strings.Contains(record, `\`) || strings.Count(record, `createdDateTime"`) > 1 {
			return // not a record, or one whose members are escaped or stand twice, where the first counts here
		}
		var want string
		if json.Unmarshal(all["createdDateTime"], &want) != nil {
			want = ""
		}
		if got != want && !strings.ContainsRune(want, '\ufffd') {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

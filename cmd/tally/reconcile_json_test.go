// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"testing"
)

func TestVerdictLinesDoNotSteerATerminal(t *testing.T) {
	const foreign = "\u009b31m\u202eevil\u2066\u007f\x1b[2J \U000e0001 Zo\u00eb"
	var out bytes.Buffer
	encoder := json.NewEncoder(escaping{&out})
	if err := encoder.Encode(foreign); err != nil {
		t.Fatal(err)
	}
	if want := `"\u009b31m\u202eevil\u2066\u007f\u001b[2J \udb40\udc01 Zoë"` + "\n"; out.String() != want {
		t.Errorf("%q is written, want %q", out.String(), want)
	}
	var got string
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || got != foreign {
		t.Errorf("it reads as %q: %v", got, err)
	}
}

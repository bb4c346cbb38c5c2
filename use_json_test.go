// SPDX-License-Identifier: Apache-2.0

package tallystick_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
)

func TestUseIsWrittenAsARecord(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 500, time.UTC)
	use := tallystick.Use{
		ID: "a", Source: "entra", Seq: 7, Side: tallystick.SideRelying, Level: tallystick.LevelToken, Time: at, Until: at.Add(time.Minute), Count: 3,
		Credential: []string{"x5t:00"}, Holder: "sync", RelyingParty: "entra:t/graph", Outcome: tallystick.OutcomeSuccess, Address: "192.0.2.1", Port: 9,
		Agent: "a", Operation: "o", Resource: "r", Detail: "d <&>",
		IDs:   tallystick.UseIDs{UTI: "u", Correlation: "c", Request: "r", Session: "s", Queue: "q", Serial: "e", Parent: "p", Other: map[string]string{"trace": "x"}},
		Other: map[string]string{"hash": `"00"`, "more": `{"a":[1]}`},
	}
	text, err := json.Marshal(use)
	if err != nil {
		t.Fatal(err)
	}
	var back tallystick.Use
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(use, back); d != "" {
		t.Errorf("%s\n%s", text, d)
	}
	one := tallystick.Use{Side: tallystick.SideHolder, Time: at, Until: at, Count: 1, Credential: []string{"x5t:00"}, Other: map[string]string{"bad": "{"}}
	const want = `{"v":1,"side":"holder","time":"2026-11-22T12:00:00.0000005Z","credential":["x5t:00"]}`
	if text, err := json.Marshal(one); err != nil || string(text) != want {
		t.Errorf("%s, %v", text, err)
	}
}

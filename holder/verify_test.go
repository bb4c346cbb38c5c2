// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
)

// chained returns a use, a loss and a closing mark, as a book has them.
func chained(source string) []string {
	var c chain
	lines := c.appendUse(nil, &tallystick.Use{Source: source, Side: tallystick.SideHolder, Credential: []string{"ssh:x"}})
	lines = c.appendLost(lines, source, lost{n: 3})
	return strings.Split(strings.TrimSpace(string(c.appendClosing(lines, source, time.Unix(0, 0)))), "\n")
}

// What is found at its usual place is what is there.
func TestTheNumberOfALine(t *testing.T) {
	for _, source := range []string{"s", `a "quoted" \ one`, `","seq":7,"`, "", "ü\n"} {
		for i, want := range []uint64{1, 2, 2} {
			seq, closing, err := place([]byte(chained(source)[i]))
			if seq != want || closing != (i == 2) || err != nil {
				t.Errorf("line %d of %q: %d, %t, %v", i, source, seq, closing, err)
			}
		}
	}
}

func FuzzFollow(f *testing.F) {
	f.Add([]byte(strings.Join(chained("s"), "\n")))
	f.Add([]byte(strings.Join(chained(`"\`), "\n")))
	f.Add([]byte(`{"v":1,"source":"s","seq":` + strings.Repeat("9", 30) + `,"hash":"` + strings.Repeat("0", 64) + `"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var at Follower
		for line := range bytes.Lines(text) {
			line = bytes.TrimRight(line, "\n")
			if err := at.Follow(line); err == nil && !IsChained(string(line)) {
				t.Fatalf("%q has no hash and is followed", line)
			}
		}
	})
}

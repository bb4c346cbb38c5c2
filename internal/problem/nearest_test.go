// SPDX-License-Identifier: Apache-2.0

package problem_test

import (
	"strings"
	"testing"

	"github.com/tallystick/tallystick/internal/problem"
)

func TestNearest(t *testing.T) {
	words := []string{"listen", "discovery", "data", "rate"}
	for word, want := range map[string]string{
		"lisen": "listen", "dicsovery": "discovery", "date": "data", "rat": "rate", "zzz": "", "unrelated-word": "",
		strings.Repeat("listen", 1000): "",
	} {
		if got := problem.Nearest(word, words); got != want {
			t.Errorf("the nearest to %.20q is %q, want %q", word, got, want)
		}
	}
}

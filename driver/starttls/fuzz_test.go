// SPDX-License-Identifier: Apache-2.0

package starttls

import (
	"context"
	"strings"
	"testing"
)

// FuzzUpgrade lets a server say anything. Whatever it says, the dialogue ends,
// reads within its limit, quotes nothing unprintable, and comes to the same end
// when the bytes arrive one by one; only what is behind the end of a dialogue is
// then not seen yet.
func FuzzUpgrade(f *testing.F) {
	for _, c := range conversations {
		if text := strings.Join(c.says, ""); len(text) < 2000 {
			f.Add(c.protocol, text)
		}
	}
	f.Fuzz(func(t *testing.T, protocol, says string) {
		p, ok := Lookup(protocol)
		if !ok || p.Direct() {
			return
		}
		whole := &script{says: []string{says}}
		if says == "" {
			whole.says = nil
		}
		err := Upgrade(context.Background(), whole, protocol, "localhost")
		word := wordOf(err)
		if whole.read > readLimit {
			t.Errorf("read %d bytes", whole.read)
		}
		if err != nil && strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("an error with unprintable characters: %q", err)
		}
		split := &script{says: strings.Split(says, "")}
		if says == "" {
			split.says = nil
		}
		again := wordOf(Upgrade(context.Background(), split, protocol, "localhost"))
		if again != word && !(word == Injected && again == "ready") {
			t.Errorf("%q at once gives %s, in pieces %s", says, word, again)
		}
	})
}

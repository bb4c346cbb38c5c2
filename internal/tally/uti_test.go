// SPDX-License-Identifier: Apache-2.0

package tally

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tallystick/tallystick"
)

// Token ids have one hash exactly when they have one normal form, however they
// are written.
func TestTokenIDsHashAsTheirNormalForm(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		draw := func(label string) string {
			var raw [16]byte
			binary.LittleEndian.PutUint64(raw[:], rapid.Uint64().Draw(rt, label))
			binary.LittleEndian.PutUint64(raw[8:], rapid.Uint64Range(1<<60, 1<<60+1).Draw(rt, label))
			short := base64.RawURLEncoding.EncodeToString(raw[:])
			guid := tallystick.NormalUTI(short)
			return rapid.SampledFrom([]string{
				short, guid, strings.ToUpper(guid), "{" + guid + "}", strings.ReplaceAll(guid, "-", ""), base64.StdEncoding.EncodeToString(raw[:]),
				base64.RawURLEncoding.EncodeToString([]byte(guid)), short[:21] + "B", short[:21], short + "A", guid[:35] + "g", "",
			}).Draw(rt, label)
		}
		a, b := draw("a"), draw("b")
		if rapid.Bool().Draw(rt, "equal") {
			b = tallystick.NormalUTI(a)
		}
		if same := tallystick.NormalUTI(a) == tallystick.NormalUTI(b); same != (hashUTI(a) == hashUTI(b)) {
			rt.Fatalf("%q and %q: one normal form is %v, and the hashes are %x and %x", a, b, same, hashUTI(a), hashUTI(b))
		}
		if (a == "") != (hashUTI(a) == 0) {
			rt.Fatalf("the hash of %q is %x", a, hashUTI(a))
		}
	})
}

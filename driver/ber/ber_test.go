// SPDX-License-Identifier: Apache-2.0

package ber_test

import (
	"bytes"
	"testing"

	"github.com/tallystick/tallystick/driver/ber"
)

func TestLongLengthsAreTaken(t *testing.T) {
	content, rest, ok := ber.Element([]byte("\x04\x84\x00\x00\x00\x02abc"), ber.OctetString)
	if !ok || string(content) != "ab" || string(rest) != "c" {
		t.Errorf("got %q, %q, %v", content, rest, ok)
	}
}

func TestWhatIsNoElement(t *testing.T) {
	for _, data := range []string{"", "\x04", "\x04\x03ab", "\x02\x00", "\x04\x80", "\x04\x82\x01", "\x04\x85\x00\x00\x00\x00\x01a"} {
		if content, _, ok := ber.Element([]byte(data), ber.OctetString); ok {
			t.Errorf("%x is an element with %x", data, content)
		}
	}
}

// FuzzElement: what is read is a part of what was there.
func FuzzElement(f *testing.F) {
	f.Add([]byte("\x30\x03\x02\x01\x05rest"))
	f.Add([]byte("\x30\x84\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if content, rest, ok := ber.Element(data, ber.Sequence); ok && !bytes.HasSuffix(data, append(bytes.Clone(content), rest...)) {
			t.Errorf("%x is not in %x", content, data)
		}
	})
}

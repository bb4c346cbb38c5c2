// SPDX-License-Identifier: Apache-2.0

package adbytes_test

import (
	"bytes"
	"testing"

	"github.com/tallystick/tallystick/driver/adbytes"
)

func FuzzKeyCredential(f *testing.F) {
	f.Add(keyCredential(f, true))
	f.Add(keyCredential(f, true)[:60])
	f.Add([]byte{0, 2, 0, 0, 0, 0, 3, 0, 0, 1})
	f.Add([]byte{0, 2, 0, 0, 255, 255, 3})
	f.Fuzz(func(t *testing.T, blob []byte) {
		k, err := adbytes.ReadKeyCredential(blob)
		if err != nil {
			return
		}
		if len(k.ID) != 64 || len(k.SPKI) > len(blob)+200 {
			t.Errorf("%+v of %d bytes", k, len(blob))
		}
	})
}

func FuzzDescriptor(f *testing.F) {
	f.Add(descriptor(0xf01ff, 0))
	f.Add(descriptor(0, 5))
	f.Add(descriptor(1, 11)[:50])
	f.Add([]byte{1, 0, 4, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := adbytes.ReadDescriptor(b)
		if err != nil {
			return
		}
		if len(d.Entries) > len(b)/4 || len(d.Allowed()) > len(d.Entries)+1 {
			t.Errorf("%d entries of %d bytes", len(d.Entries), len(b))
		}
	})
}

func FuzzNameBinary(f *testing.F) {
	f.Add("B:4:00ff:CN=x,DC=lab,DC=test")
	f.Add("B:-2::")
	f.Add("B:99999999999999999999:00:CN=x")
	f.Add("b:2:zz:<GUID=1>;CN=x")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := adbytes.ReadNameBinary(text)
		if err == nil && 2*len(n.Bytes) > len(text) {
			t.Errorf("%d bytes of %q", len(n.Bytes), text)
		}
	})
}

func FuzzMetadata(f *testing.F) {
	f.Add(metadata(36, 1, 13_000_000_000))
	f.Add(metadata(36, 1, 1<<63)[:63])
	f.Add(append([]byte{1, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255}, make([]byte, 100)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := adbytes.ReadMetadata(b)
		if err == nil && len(all) > len(b)/48 {
			t.Errorf("%d attributes of %d bytes", len(all), len(b))
		}
	})
}

func FuzzSID(f *testing.F) {
	f.Add([]byte{1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0})
	f.Add([]byte{1, 255, 0, 0, 0, 0, 0, 5})
	f.Fuzz(func(t *testing.T, b []byte) {
		sid, size, err := adbytes.ReadSID(b)
		if err != nil {
			return
		}
		again, _, err := adbytes.ReadSID(bytes.Clone(b[:size]))
		if err != nil || again != sid || size > len(b) {
			t.Errorf("%s %d of %d bytes: %v", sid, size, len(b), err)
		}
	})
}

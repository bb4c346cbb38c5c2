// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/evtx"
)

// eventLog is a file with what change makes of an event log.
func eventLog(t *testing.T, change func([]byte) []byte) string {
	t.Helper()
	log, err := os.ReadFile("testdata/windows-evtx.log")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "Security.evtx")
	if err := os.WriteFile(path, change(log), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEventLogThatIsCompressed(t *testing.T) {
	path := eventLog(t, func(log []byte) []byte {
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		if _, err := w.Write(log); err != nil || w.Close() != nil {
			t.Fatal("couldn't compress it")
		}
		return packed.Bytes()
	})
	want, err := os.ReadFile("testdata/windows-evtx.golden")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), found(t, path, "")); d != "" {
		t.Error(d)
	}
}

func TestEventLogThatIsDamaged(t *testing.T) {
	path := eventLog(t, func(log []byte) []byte {
		damaged := bytes.Clone(log[4096:])
		damaged[700] ^= 1
		return append(append(log[:4096:4096], damaged...), log[4096:]...)
	})
	want := "line 1: chunk 0, byte 4096: its records do not match their checksum\n" + found(t, "testdata/windows-evtx.log", "")
	if d := cmp.Diff(want, found(t, path, "")); d != "" {
		t.Error(d)
	}
}

// TestEventLogIsReadAgain finds a record by its offset.
func TestEventLogIsReadAgain(t *testing.T) {
	log, err := Open("testdata/windows-evtx.log", "", Settings{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	var offsets []int64
	err = log.Blocks(func(b *Block) error {
		b.Each(func(_ string, offset int64, _ int) { offsets = append(offsets, offset) })
		return nil
	}, func(_ int, err error) { t.Error(err) })
	if err != nil || len(offsets) != 2 {
		t.Fatal(offsets, err)
	}
	var ids []string
	err = log.Details(offsets[1:], func(_ int64, u *tallystick.Use) error { ids = append(ids, u.ID); return nil })
	if d := cmp.Diff([]string{"windows:dc1.lab.test/772"}, ids); d != "" || err != nil {
		t.Error(d, err)
	}
}

func TestTextIsNoEventLog(t *testing.T) {
	log, err := Open("testdata/windows-xml.log", "windows-evtx", Settings{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if err := log.Blocks(func(*Block) error { return nil }, func(int, error) {}); !errors.Is(err, evtx.ErrNotEVTX) {
		t.Error(err)
	}
}

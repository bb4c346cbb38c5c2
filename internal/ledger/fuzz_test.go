// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// seedLog makes a log with something of everything.
func seedLog(f *testing.F) (dir string, log []byte) {
	f.Helper()
	dir = f.TempDir()
	l, err := Open(dir, Options{})
	if err != nil {
		f.Fatal(err)
	}
	for _, batch := range []Batch{{Uses: randomUses(1, 8)}, {Marks: []Mark{{Last: 3}}}, {Lines: []Line{
		{Source: "a", Seq: 1, Text: []byte(`{"seq":1,"hash":"` + formHex.text(cell{}) + formHex.text(cell{}) + `"}`)},
	}}} {
		if _, err := l.Append(context.Background(), batch); err != nil {
			f.Fatal(err)
		}
	}
	if log, err = os.ReadFile(filepath.Join(dir, walName(1))); err != nil {
		f.Fatal(err)
	}
	if err := l.Seal(context.Background()); err != nil {
		f.Fatal(err)
	}
	if err := l.Close(); err != nil {
		f.Fatal(err)
	}
	return dir, log
}

// FuzzLogFile reads any bytes as a log.
func FuzzLogFile(f *testing.F) {
	_, log := seedLog(f)
	f.Add(log)
	f.Add(log[:len(log)-1])
	f.Add(log[:walHeader])
	f.Fuzz(func(t *testing.T, data []byte) {
		tb, all := newTable(&hashKey{1}), books{}
		w := &wal{name: "log"}
		end, err := w.read(data, func(body []byte) error { return readBody(tb, all, body) })
		if err == nil && (end < walHeader || end > int64(len(data))) {
			t.Fatalf("%d whole bytes of %d", end, len(data))
		}
		readAll(tb)
	})
}

// FuzzLogBody reads any bytes as the body of a frame whose checksum is right.
func FuzzLogBody(f *testing.F) {
	_, log := seedLog(f)
	w := &wal{name: "log"}
	if _, err := w.read(log, func(body []byte) error { f.Add(body); return nil }); err != nil {
		f.Fatal(err)
	}
	s := newSealer()
	f.Fuzz(func(t *testing.T, body []byte) {
		tb, all := newTable(&hashKey{1}), books{}
		if readBody(tb, all, body) != nil {
			return
		}
		all.public()
		readAll(tb)
		if tb.rows.n > 0 {
			s.read(tb)
			if _, err := s.parquet(); err != nil {
				t.Fatal(err)
			}
			if _, err := s.index(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func readAll(tb *table) {
	for i := range tb.rows.n {
		tb.use(tb.rows.at(i))
	}
}

// FuzzIndex reads any bytes as the sections of an index.
func FuzzIndex(f *testing.F) {
	dir, _ := seedLog(f)
	index, err := directory(dir).open("00000001.index")
	if err != nil {
		f.Fatal(err)
	}
	defer index.Close()
	for section := range sections {
		data, err := readSection(index, section)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if groups, err := readGroups(data); err == nil && len(groups) > 0 && groups[len(groups)-1].end < groups[0].end {
			t.Fatal("groups go back")
		}
		if ids, err := readIdentities(data); err == nil {
			ids.has(0)
			ids.has(1 << 63)
			if len(data) >= 8 {
				ids.has(binary.LittleEndian.Uint64(data))
			}
		}
		names(data).groups(1, func(uint32) {})
		_, _ = readSources(data)
	})
}

// FuzzManifest reads any bytes as a manifest whose checksum is right.
func FuzzManifest(f *testing.F) {
	dir, _ := seedLog(f)
	data, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data[:len(data)-10])
	f.Fuzz(func(t *testing.T, text []byte) {
		if m, err := decodeManifest(sealedText(text)); err == nil && m.Version > manifestVersion {
			t.Fatal("it is newer, and was read")
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/tallystick/tallystick/driver"
)

// A Book is a driver.WatchSink that remembers what a watcher of a directory hands over and what
// it asks to be remembered, as a source does.
type Book struct {
	Memory   map[string][]byte
	Position string
	Records  []driver.DirectoryRecord // of the last round
	Troubles []driver.WatchTrouble    // of the last round
	// Fail, when it is not nil, is what the watcher is told in place of its batch being taken.
	Fail error
}

// Remembered returns what is remembered.
func (b *Book) Remembered(_ context.Context, keys []string) ([][]byte, error) {
	values := make([][]byte, len(keys))
	for i, key := range keys {
		values[i] = b.Memory[key]
	}
	return values, nil
}

// Take takes a batch.
func (b *Book) Take(batch driver.WatchBatch) (int, error) {
	if b.Fail != nil {
		return 0, b.Fail
	}
	for _, text := range batch.Records {
		var r driver.DirectoryRecord
		if err := json.Unmarshal(text, &r); err != nil {
			return 0, err
		}
		b.Records = append(b.Records, r)
	}
	if b.Memory == nil {
		b.Memory = map[string][]byte{}
	}
	for _, r := range batch.Remember {
		if b.Memory[r.Key] = r.Value; len(r.Value) == 0 {
			delete(b.Memory, r.Key)
		}
	}
	if batch.Position != "" {
		b.Position = batch.Position
	}
	return len(batch.Records), nil
}

// Trouble notes trouble.
func (b *Book) Trouble(trouble driver.WatchTrouble) { b.Troubles = append(b.Troubles, trouble) }

// Watch has one round read, and returns what it found changed.
func (b *Book) Watch(t testing.TB, opened any) []driver.DirectoryRecord {
	t.Helper()
	b.Records, b.Troubles = nil, nil
	request := driver.WatchRequest{Position: b.Position, Now: time.Now, Memory: b}
	if _, err := opened.(driver.Watcher).Watch(t.Context(), request, b); err != nil {
		t.Fatal(err)
	}
	return b.Records
}

// Attributes lists the attributes of the last round, in the order of its records.
func (b *Book) Attributes() []string {
	var names []string
	for _, r := range b.Records {
		names = append(names, r.Attribute)
	}
	return names
}

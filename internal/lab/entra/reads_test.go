// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/uses"
)

// A readLog is what the readers of the product make of a log.
type readLog struct {
	format  string
	uses    []*tallystick.Use
	changes []tallystick.Change
}

func (r *readLog) Use(u *tallystick.Use)       { r.uses = append(r.uses, uses.Keep(u)) }
func (r *readLog) Change(c *tallystick.Change) { r.changes = append(r.changes, uses.KeepChange(c)) }
func (r *readLog) Close(tallystick.ClosingMark) {
}
func (r *readLog) Lost(*tallystick.Use) {}

// asProduct has the readers recognise and read a text; a malformed record fails
// the test.
func asProduct(t *testing.T, text []byte) *readLog {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := uses.Open(path, "", uses.Settings{}, nil)
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	defer log.Close()
	r, read := &readLog{format: log.Format.Name}, log.Reader()
	if err := log.Blocks(func(b *uses.Block) error {
		b.Each(func(record string, _ int64, _ int) {
			if err := read(record, r); err != nil {
				t.Errorf("%v: %s", err, record)
			}
		})
		return nil
	}, func(line int, err error) { t.Errorf("line %d: %v", line, err) }); err != nil {
		t.Fatal(err)
	}
	return r
}

// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/tallystick/tallystick"
)

var errReadOnly = errors.New("the ledger is open for reading only")

// writable says why a ledger cannot be changed.
func (l *Ledger) writable() error {
	if l.options.ReadOnly {
		return errReadOnly
	}
	return nil
}

// A readOnlyDirectory is files that another process may be changing.
type readOnlyDirectory struct{ directory }

func (d readOnlyDirectory) open(name string) (file, error) {
	f, err := os.Open(d.path(name))
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

func (readOnlyDirectory) create(string) (file, error) { return nil, errReadOnly }
func (readOnlyDirectory) rename(string, string) error { return errReadOnly }
func (readOnlyDirectory) remove(string) error         { return errReadOnly }
func (readOnlyDirectory) sync() error                 { return errReadOnly }

// What is read while its writer replaces it does not fit together: a log is gone
// because it has become a segment, or a segment has expired. A fresh look shows it
// as it is then; what is still wrong after readTries of them is damage.
const (
	readTries = 20
	readPause = 10 * time.Millisecond
)

func openReadOnly(dir string, options Options) (*Ledger, error) {
	l := &Ledger{options: options, files: readOnlyDirectory{directory(dir)}}
	l.cache = newCache(l.files, options.Open)
	var err error
	for range readTries {
		if err = l.readAsItIs(); !errors.Is(err, tallystick.ErrDamaged) && !errors.Is(err, fs.ErrNotExist) {
			break
		}
		time.Sleep(readPause)
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't open the ledger in %s: %w", dir, err)
	}
	return l, nil
}

// readAsItIs reads the manifest and the whole frames of the logs that it does not
// cover. A log that is sealed while it is read is no harm: the manifest that was
// read does not have its records.
func (l *Ledger) readAsItIs() error {
	m, err := readManifest(l.files)
	if err != nil {
		return err
	}
	if m == nil {
		return fmt.Errorf("there is no manifest: %w", fs.ErrNotExist)
	}
	logs, _, err := m.look(l.files)
	if err != nil {
		return err
	}
	last, err := lastWritten(l.files, logs)
	if err != nil {
		return err
	}
	l.manifest, l.books, l.number, l.full, l.logBytes = m, m.books(), m.Sealed, nil, 0
	l.table = newTable(&m.Key)
	for i, number := range logs {
		if i > 0 {
			l.setAside()
			l.table = newTable(&m.Key)
		}
		l.wal, err = readWAL(l.files, number, i >= last, func(body []byte) error { return readBody(l.table, l.books, body) })
		if err != nil {
			return err
		}
		l.number, l.logBytes = number, l.wal.size
	}
	l.visible = l.table
	return nil
}

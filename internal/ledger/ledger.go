// SPDX-License-Identifier: Apache-2.0

// Package ledger keeps uses: it takes them in, keeps them on disk in few bytes,
// and finds those of a credential and a time.
//
// What Append has returned for is on the disk, in a write-ahead log with one
// fsync for all who wait. A log that has grown large or old is sealed: its
// records, sorted by credential and time, become a Parquet file, with an index
// beside it, and the log is removed. What a ledger consists of is in its
// manifest, which is replaced as a whole; so a crash at any instant loses nothing
// that was acknowledged, and nothing is there twice. A record that was there
// already is known by its identity and dropped, so that reading a log twice
// changes nothing.
//
// Beside the records the ledger keeps the books: for each source how far it is
// closed, which numbers are missing, and whether its hashes follow.
//
// Why it is so, and what it costs, is docs/design/0003-the-ledger.md.
package ledger

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
)

// Options bound a ledger. The zero value has sensible ones.
type Options struct {
	// A log is sealed when it has SealRecords records, 512 Ki when it is 0, or
	// SealBytes bytes, 128 MiB when it is 0; and by Run when its first record came
	// SealAge ago, an hour when it is 0.
	SealRecords int
	SealBytes   int64
	SealAge     time.Duration
	// Retention is how old records may become before Run removes their segment; 0
	// is for ever.
	Retention time.Duration
	// Open is how many segments are kept open and ready for queries, 16 when it is
	// 0; each takes a few megabytes.
	Open int
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// ReadOnly opens what another process may be writing: it takes no lock and
	// changes nothing, and sees the ledger as it was when it was opened.
	ReadOnly bool
	// Sealed is told each segment that was sealed, oldest first, so that its root
	// can be recorded where nobody can change it. It is told again of what it has
	// returned an error for, and after a crash perhaps of what it had recorded. It
	// is called by the goroutine that happens to seal, within its call of Append,
	// Seal or Run, one call at a time; it may read the ledger, and must not call
	// Append, Seal, Expire or Close, nor wait for anybody who does. Records of the
	// segment may belong to calls of Append that have not returned yet.
	Sealed func(ctx context.Context, s Segment) error

	files files // nil is the disk
}

func (o Options) orDefaults() Options {
	o.SealRecords, o.SealBytes = cmp.Or(o.SealRecords, 512<<10), cmp.Or(o.SealBytes, 128<<20)
	o.SealAge, o.Open = cmp.Or(o.SealAge, time.Hour), cmp.Or(o.Open, 16)
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// A Ledger is an open one. Its methods are safe for several goroutines; a second
// process that opens it gets ErrInUse.
type Ledger struct {
	options Options
	files   files
	lock    io.Closer
	cache   *cache

	queueing sync.Mutex
	queue    []*request // guarded by queueing

	committing sync.Mutex
	table      *table    // guarded by committing, as all up to the next mutex
	wal        *wal      //
	number     uint32    // of wal
	started    time.Time // when the first record of table came
	books      books     //
	closed     bool      //

	sealing sync.Mutex // held by whoever changes the manifest; before mu
	sealer  *sealer    // guarded by sealing

	mu       sync.Mutex
	visible  *table       // guarded by mu; what is in table and on the disk
	logBytes int64        // guarded by mu; size of wal
	full     []*fullTable // guarded by mu; waiting to be sealed, oldest first
	manifest *manifest    // guarded by mu; replaced, never changed

	bookLock sync.Mutex // held while books change, and by their readers
}

// A fullTable takes no more records.
type fullTable struct {
	*table
	number uint32
	wal    *wal
	books  books // as they were at its end
}

// Open opens or makes the ledger in a directory. A ledger that is not what was
// written is ErrDamaged, and the error names the file; nothing is changed then.
func Open(dir string, options Options) (*Ledger, error) {
	if options.ReadOnly {
		return openReadOnly(dir, options.orDefaults())
	}
	l := &Ledger{options: options.orDefaults(), files: options.files, sealer: newSealer()}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("couldn't make the ledger's directory: %w", noSpace(err))
	}
	lock, err := directory(dir).lock()
	if err != nil {
		return nil, fmt.Errorf("couldn't open the ledger in %s: %w", dir, noSpace(err))
	}
	l.lock = lock
	if l.files == nil {
		l.files = directory(dir)
	}
	l.cache = newCache(l.files, l.options.Open)
	if err := l.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("couldn't open the ledger in %s: %w", dir, err), l.closeFiles())
	}
	return l, nil
}

// load reads the manifest and the logs that it does not cover.
func (l *Ledger) load() error {
	m, err := readManifest(l.files)
	if err != nil {
		return err
	}
	if m == nil {
		if m, err = newManifest(l.files); err != nil {
			return err
		}
	}
	logs, err := m.logs(l.files)
	if err != nil {
		return err
	}
	l.manifest, l.books, l.number = m, m.books(), m.Sealed
	last, err := lastWritten(l.files, logs)
	if err != nil {
		return err
	}
	for i, number := range logs {
		if l.table != nil {
			l.setAside()
		}
		t := newTable(&m.Key)
		w, err := openWAL(l.files, number, i >= last, func(body []byte) error { return readBody(t, l.books, body) })
		if err != nil {
			return err
		}
		l.table, l.wal, l.number, l.started = t, w, number, l.options.Now()
	}
	if l.table == nil {
		if err := l.startLog(); err != nil {
			return err
		}
	}
	l.visible, l.logBytes = l.table.snapshot(), l.wal.size
	return nil
}

// lastWritten returns which of the logs was written to last: the last one that
// has anything. A log may have been begun behind it, and not been used because
// that went wrong.
func lastWritten(files files, logs []uint32) (int, error) {
	last := len(logs) - 1
	for ; last > 0; last-- {
		f, err := files.open(walName(logs[last]))
		if err != nil {
			return 0, err
		}
		size, err := f.size()
		if err = errors.Join(err, f.Close()); err != nil {
			return 0, err
		}
		if size > walHeader {
			break
		}
	}
	return last, nil
}

// newManifest makes the manifest of an empty ledger.
func newManifest(files files) (*manifest, error) {
	names, err := files.list()
	if err != nil {
		return nil, fmt.Errorf("couldn't list the ledger: %w", err)
	}
	if slices.ContainsFunc(names, func(name string) bool { return name != "lock" && name != manifestName+".new" }) {
		return nil, fmt.Errorf("there are files and no manifest: %w", tallystick.ErrDamaged)
	}
	m := &manifest{Version: manifestVersion, Horizon: minTime}
	if err := binary.Read(rand.Reader, binary.LittleEndian, &m.Key); err != nil {
		return nil, err
	}
	return m, m.write(files)
}

// startLog begins the next log with an empty table.
func (l *Ledger) startLog() error {
	w, err := createWAL(l.files, l.number+1)
	if err != nil {
		return err
	}
	t := newTable(&l.manifest.Key)
	if l.table != nil {
		t.expect(l.table)
	}
	l.table, l.wal, l.number = t, w, l.number+1
	return nil
}

// setAside puts the table with those that wait to be sealed.
func (l *Ledger) setAside() {
	l.full = append(slices.Clone(l.full), &fullTable{table: l.table, number: l.number, wal: l.wal, books: l.books.clone()})
}

// Close gives the ledger up. What was acknowledged is on the disk already.
func (l *Ledger) Close() error {
	l.sealing.Lock()
	defer l.sealing.Unlock()
	l.committing.Lock()
	defer l.committing.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	return l.closeFiles()
}

func (l *Ledger) closeFiles() error {
	err := l.cache.close()
	if l.options.ReadOnly {
		return err
	}
	for _, f := range l.full {
		err = errors.Join(err, f.wal.f.Close())
	}
	if l.wal != nil {
		err = errors.Join(err, l.wal.f.Close())
	}
	return errors.Join(err, l.lock.Close())
}

// Books returns what is known of each source, by source and side.
func (l *Ledger) Books() []Book {
	l.bookLock.Lock()
	defer l.bookLock.Unlock()
	return l.books.public()
}

// Segments returns the sealed files, oldest first.
func (l *Ledger) Segments() []Segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.manifest.Segments)
}

// Sealed returns the number of the newest log that is in a segment, or was empty;
// 0 before the first one.
func (l *Ledger) Sealed() uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.manifest.Sealed
}

// A Size is what a ledger takes on the disk.
type Size struct {
	Segments int
	Records  int64 // that can be found, sealed or not
	Bytes    int64 // of segments and logs
}

// Size returns how large the ledger is.
func (l *Ledger) Size() Size {
	l.mu.Lock()
	defer l.mu.Unlock()
	size := Size{Segments: len(l.manifest.Segments), Records: int64(l.visible.rows.n), Bytes: l.logBytes}
	for i := range l.manifest.Segments {
		size.Records += int64(l.manifest.Segments[i].Records)
		size.Bytes += l.manifest.Segments[i].Bytes
	}
	for _, f := range l.full {
		size.Records += int64(f.rows.n)
		size.Bytes += f.wal.size
	}
	return size
}

// Run seals logs that are old and removes segments that have expired, until ctx
// ends; it returns why. What could not be done is tried again, and failed is told.
func (l *Ledger) Run(ctx context.Context, failed func(error)) error {
	if err := l.writable(); err != nil {
		return err
	}
	ticker := time.NewTicker(min(l.options.SealAge, time.Minute))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		if err := l.tick(ctx); err != nil && ctx.Err() == nil {
			failed(err)
		}
	}
}

func (l *Ledger) tick(ctx context.Context) error {
	now := l.options.Now()
	l.committing.Lock()
	old := l.table.rows.n > 0 && now.Sub(l.started) >= l.options.SealAge
	l.committing.Unlock()
	var sealed, expired error
	if old {
		sealed = l.Seal(ctx)
	} else {
		sealed = l.tellWaiting(ctx)
	}
	if l.options.Retention > 0 {
		_, expired = l.Expire(ctx, now.Add(-l.options.Retention))
	}
	return errors.Join(sealed, expired)
}

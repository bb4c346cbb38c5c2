// SPDX-License-Identifier: Apache-2.0

// Package archive keeps what sources wrote as it was received, so that a finding
// can show the record that proves it.
//
// Each source has a directory, and in it a file for each stretch of time. A file
// is frames: records, compressed together, behind a head that says of which times
// they are. The heads are the index: to find the records of an instant, they are
// walked, and only frames of that time are unpacked. What Append has returned for
// is on the disk; a frame that was torn by a crash is cut off when its file is
// written to again. What is too old goes by removing files.
package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/tallystick/tallystick"
)

const (
	stretchTime = 24 * time.Hour // that one file is written to
	stretchSize = 256 << 20      // bytes of one file, about
	// MaxBatch bounds what Append takes at once, in bytes.
	MaxBatch = 64 << 20
	// maxFound bounds what Find returns.
	maxFound = 100
	suffix   = ".raw"
)

// An Archive is a directory of them. Its methods are safe to call from several
// goroutines; one process writes at a time.
type Archive struct {
	dir string
	now func() time.Time

	packer   *zstd.Encoder // EncodeAll and DecodeAll are safe to share
	unpacker *zstd.Decoder

	mu   sync.Mutex
	open map[int64]*stretch // guarded by mu; what is written to, by source
}

// A stretch is a file that is written to.
type stretch struct {
	mu    sync.Mutex
	file  *os.File  // nil when there is none, or nobody knows how it ends
	size  int64     // of what is whole
	began time.Time // as its name says
}

// Open returns the archive in a directory, which is made when something is kept.
func Open(dir string, now func() time.Time) (*Archive, error) {
	packer, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("couldn't open the archive: %w", err)
	}
	unpacker, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(MaxBatch*2), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("couldn't open the archive: %w", err)
	}
	return &Archive{dir: dir, now: now, packer: packer, unpacker: unpacker, open: map[int64]*stretch{}}, nil
}

// Close gives the files up. What was acknowledged is on the disk already.
func (a *Archive) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var err error
	for source, s := range a.open {
		err = errors.Join(err, s.close())
		delete(a.open, source)
	}
	return err
}

func (a *Archive) dirOf(source int64) string {
	return filepath.Join(a.dir, strconv.FormatInt(source, 10))
}

func (a *Archive) stretchOf(source int64) *stretch {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.open[source]
	if s == nil {
		s = &stretch{}
		a.open[source] = s
	}
	return s
}

// Append keeps records of a source whose times are from first to last. When it
// returns nil they are on the disk; when it does not, none of them is, or all may
// come to be. The records together are at most MaxBatch.
func (a *Archive) Append(ctx context.Context, source int64, first, last time.Time, records [][]byte) error {
	if err := ctx.Err(); err != nil || len(records) == 0 {
		return err
	}
	frame, err := a.pack(first, last, records)
	if err != nil {
		return err
	}
	s := a.stretchOf(source)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(a.dirOf(source), a.now()); err != nil {
		return fmt.Errorf("couldn't keep what source %d wrote: %w", source, noSpace(err))
	}
	if err := s.write(frame); err != nil {
		return fmt.Errorf("couldn't keep what source %d wrote: %w", source, noSpace(err))
	}
	return nil
}

// ready opens the file to write to: the newest, or a new one.
func (s *stretch) ready(dir string, now time.Time) error {
	if s.file != nil && s.size < stretchSize && now.Sub(s.began) < stretchTime {
		return nil
	}
	if s.file != nil {
		if err := s.close(); err != nil {
			return err
		}
	} else if taken, err := s.takeUp(dir, now); taken || err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	name := filepath.Join(dir, fmt.Sprintf("%020d%s", max(now.UnixMicro(), 0), suffix))
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := syncDir(dir); err != nil {
		return errors.Join(err, file.Close())
	}
	s.file, s.size, s.began = file, 0, now
	return nil
}

// takeUp goes on with the newest file of before, if there is room in it. What is
// not whole at its end is cut off, also when it is not gone on with.
func (s *stretch) takeUp(dir string, now time.Time) (bool, error) {
	names, err := list(dir)
	if err != nil || len(names) == 0 {
		return false, err
	}
	newest := names[len(names)-1]
	file, err := os.OpenFile(filepath.Join(dir, newest), os.O_RDWR, 0)
	if err != nil {
		return false, err
	}
	whole, err := wholeSize(file)
	if err == nil {
		err = file.Truncate(whole)
	}
	if err != nil {
		return false, errors.Join(err, file.Close())
	}
	s.file, s.size, s.began = file, whole, beganAt(newest)
	if whole < stretchSize && now.Sub(s.began) < stretchTime {
		return true, nil
	}
	return false, s.close()
}

// write adds a frame, or nothing of it.
func (s *stretch) write(frame []byte) error {
	_, err := s.file.WriteAt(frame, s.size)
	if err == nil {
		err = s.file.Sync()
	}
	if err == nil {
		s.size += int64(len(frame))
		return nil
	}
	if cut := s.file.Truncate(s.size); cut != nil {
		return errors.Join(err, s.close()) // it is looked at again when it is opened
	}
	return err
}

func (s *stretch) close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}

// Expire removes the files of a source in which everything was kept before a time.
func (a *Archive) Expire(ctx context.Context, source int64, before time.Time) error {
	names, err := list(a.dirOf(source))
	for _, name := range names {
		if beganAt(name).Add(stretchTime).After(before) || ctx.Err() != nil {
			break // they are in order
		}
		err = errors.Join(err, os.Remove(filepath.Join(a.dirOf(source), name)))
	}
	if err != nil {
		return fmt.Errorf("couldn't remove what source %d wrote long ago: %w", source, err)
	}
	return ctx.Err()
}

// Sources returns the numbers of all sources of which something is kept.
func (a *Archive) Sources() ([]int64, error) {
	entries, err := os.ReadDir(a.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("couldn't list the archive: %w", err)
	}
	var all []int64
	for _, e := range entries {
		if n, err := strconv.ParseInt(e.Name(), 10, 64); err == nil {
			all = append(all, n)
		}
	}
	return all, nil
}

// Find returns the records of a source that have a use of the given time and that
// match, as they were received, each once and at most 100 of them. Damage is
// ErrDamaged, beside what was found elsewhere.
func (a *Archive) Find(ctx context.Context, source int64, at time.Time, match func(record []byte) bool) ([][]byte, error) {
	names, err := list(a.dirOf(source))
	if err != nil {
		return nil, fmt.Errorf("couldn't look into the archive: %w", err)
	}
	var found [][]byte
	seen := map[string]bool{}
	for i, name := range names {
		err = errors.Join(err, a.findIn(ctx, filepath.Join(a.dirOf(source), name), i == len(names)-1, at, func(record []byte) bool {
			if !match(record) || seen[string(record)] {
				return true
			}
			seen[string(record)] = true
			found = append(found, slices.Clone(record))
			return len(found) < maxFound
		}))
		if len(found) == maxFound || ctx.Err() != nil {
			break
		}
	}
	return found, errors.Join(err, ctx.Err())
}

// list returns the names of a source's files, the oldest first.
func list(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) && !beganAt(e.Name()).IsZero() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, err
}

// beganAt reads the time in a file's name; zero: it is no name of ours.
func beganAt(name string) time.Time {
	us, err := strconv.ParseInt(strings.TrimSuffix(name, suffix), 10, 64)
	if err != nil || us < 0 || us == math.MaxInt64 {
		return time.Time{}
	}
	return time.UnixMicro(us)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// noSpace gives a full disk its kind.
func noSpace(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", tallystick.ErrNoSpace, err)
	}
	return err
}

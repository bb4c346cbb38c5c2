// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/uses"
)

// A fault is that a batch could not be handed over: nothing more is read then.
type fault struct{ error }

func (f fault) Unwrap() error { return f.error }

// file reads what is new in a file, and says whether it is read to its end. The
// place is nil when there is nothing in it yet.
func (w *watcher) file(ctx context.Context, f found, now time.Time) (*place, bool, error) {
	if p := w.unchanged(f, now); p != nil {
		return p, true, nil
	}
	// A FIFO that took the file's place would hold us up, and a link would lead us
	// to what its owner may not read.
	flags := os.O_RDONLY | syscall.O_NONBLOCK
	if !f.main {
		flags |= syscall.O_NOFOLLOW
	}
	file, err := os.OpenFile(f.path, flags, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil // rotated or taken away this instant
	}
	if err != nil {
		return nil, false, fmt.Errorf("couldn't read %s: %w", f.name, err)
	}
	defer file.Close()
	if f.info, err = file.Stat(); err != nil || !f.info.Mode().IsRegular() {
		return nil, false, errors.Join(fmt.Errorf("couldn't read %s: it is not a file", f.name), err)
	}
	if f.info.Size() == 0 {
		return nil, true, nil
	}
	p, err := w.position.known(f.info, file)
	if err != nil {
		return nil, false, fmt.Errorf("couldn't read %s: %w", f.name, err)
	}
	if p != nil && !p.Whole && !p.Packed {
		if err := p.grow(file, f.info.Size()); err != nil {
			return nil, false, fmt.Errorf("couldn't read %s: %w", f.name, err)
		}
		return w.ended(p, f, w.follow(ctx, p, f, file, now))
	}
	if w.inTheMaking(f, now) && p != nil {
		return p, false, nil
	}
	return w.look(ctx, p, f, file, now)
}

// unchanged returns the place of a file of which nothing new is to be read.
func (w *watcher) unchanged(f found, now time.Time) *place {
	p := w.index[idOf(f.info)]
	if p == nil || p.Size != f.info.Size() || p.Changed != f.info.ModTime().UnixNano() || p.Partial && w.final(f, now) {
		return nil
	}
	return p
}

// final says that the last line of a file is one although it has no end.
func (w *watcher) final(f found, now time.Time) bool {
	return w.source.Once || !f.main && now.Sub(f.info.ModTime()) >= lineTime
}

// inTheMaking says that a file may be written just now.
func (w *watcher) inTheMaking(f found, now time.Time) bool {
	return !w.source.Once && now.Sub(f.info.ModTime()) < quietTime
}

// look finds out how a file is written that is new, or read as a whole, and reads it.
func (w *watcher) look(ctx context.Context, p *place, f found, file *os.File, now time.Time) (*place, bool, error) {
	// The file that is open, whatever has its name by now.
	same := fmt.Sprintf("/proc/self/fd/%d", file.Fd())
	log, err := uses.Open(same, w.source.Format, w.settings(f.info.ModTime().UTC()), nil)
	if err != nil {
		err = errors.New(strings.ReplaceAll(err.Error(), same, f.name))
		return w.unreadable(p, f, err)
	}
	defer log.Close()
	log.Name = f.name
	if begun, err := w.begun(f, log, now); err != nil || !begun {
		return nil, true, err
	}
	if p == nil {
		if len(w.position.Files) >= maxFiles {
			return nil, false, fmt.Errorf("there are more than %d files: take away those that were read", maxFiles)
		}
		p = &place{}
		w.position.Files = append(w.position.Files, p)
	}
	w.changed = true
	p.fileID = idOf(f.info)
	p.Format, p.Whole, p.Packed = log.Format.Name, !log.ByLine(), log.Packed()
	if err := w.recall(p, log); err != nil {
		return w.unreadable(p, f, err)
	}
	switch {
	case p.Whole || p.Packed:
		if w.inTheMaking(f, now) {
			return p, false, nil
		}
		if p.Whole {
			return w.ended(p, f, w.whole(ctx, p, f, log))
		}
		return w.ended(p, f, w.unpacked(ctx, p, f, log))
	case p.Offset > 0: // it begins as a file that was read; does it go on as that did?
		goesOn, err := p.same(file, f.info.Size())
		if err != nil {
			return w.unreadable(p, f, err)
		}
		if !goesOn {
			p.Offset, p.Line, p.TailSize, p.Skipping = 0, 0, 0, false
		}
	}
	return w.ended(p, f, w.follow(ctx, p, f, file, now))
}

// begun says that the first line of a file has come, or will not: by less nobody
// could tell how it is written.
func (w *watcher) begun(f found, log *uses.Log, now time.Time) (bool, error) {
	if log.Packed() || w.source.Once || now.Sub(f.info.ModTime()) >= lineTime {
		return true, nil
	}
	r, err := log.Plain()
	if err != nil {
		return false, err
	}
	defer r.Close()
	head := make([]byte, 64<<10)
	n, err := io.ReadFull(r, head)
	return err == nil || bytes.IndexByte(head[:n], '\n') >= 0, ignoreEnd(err)
}

// recall takes over for a file what is known of one that begins in the same way:
// it is a copy of it, and perhaps compressed.
func (w *watcher) recall(p *place, log *uses.Log) error {
	r, err := log.Plain()
	if err != nil {
		return err
	}
	defer r.Close()
	head := make([]byte, edge)
	n, err := io.ReadFull(r, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return err
	}
	head = head[:n]
	if p.HeadSize > 0 && int64(n) >= p.HeadSize && digest(head[:p.HeadSize]) == p.Head {
		return nil
	}
	p.Offset, p.Line, p.Tail, p.TailSize, p.Skipping = 0, 0, "", 0, false
	p.Head, p.HeadSize = "", 0
	if b := w.position.begun(head); b != nil && !p.Whole && w.source.Kind == store.SourceFile {
		b.keepTail()
		w.countAs(p, b)
		p.Offset, p.Line, p.Tail, p.TailSize, p.Skipping = b.Offset, b.Line, b.Tail, b.TailSize, b.Skipping
	}
	p.Head, p.HeadSize = digest(head), int64(n)
	return nil
}

// unreadable notes a file that cannot be made sense of. That of the source itself
// is an error of the source; any other is told once and passed over until it changes.
func (w *watcher) unreadable(p *place, f found, err error) (*place, bool, error) {
	if f.main && !w.source.Once {
		return nil, false, err
	}
	if p == nil {
		p = &place{Whole: true}
		p.fileID = idOf(f.info)
		w.position.Files = append(w.position.Files, p)
	}
	w.malformed(f.name, 0, err)
	return w.ended(p, f, nil)
}

// ended notes that a file is read to its end. One that cannot be is told once,
// and passed over until it changes.
func (w *watcher) ended(p *place, f found, err error) (*place, bool, error) {
	if _, ok := errors.AsType[fault](err); ok {
		return nil, false, err
	}
	if err != nil {
		w.malformed(f.name, p.Line+1, err)
	}
	p.Size, p.Changed, w.changed = f.info.Size(), f.info.ModTime().UnixNano(), true
	return p, true, nil
}

// follow reads lines from where the file was read up to.
func (w *watcher) follow(ctx context.Context, p *place, f found, file *os.File, now time.Time) error {
	stream, err := w.stream(p, f.info.ModTime().UTC(), func() (io.Reader, error) { return io.NewSectionReader(file, 0, p.Offset), nil })
	if err != nil {
		return err
	}
	// What is written while it is read is read next time.
	rest := io.NewSectionReader(file, p.Offset, max(0, f.info.Size()-p.Offset))
	return w.lines(ctx, p, f, stream, rest, w.final(f, now))
}

// unpacked reads the lines of a compressed file behind those that are known.
func (w *watcher) unpacked(ctx context.Context, p *place, f found, log *uses.Log) error {
	if p.Offset > 0 && log.Following() {
		p.Offset, p.Line, p.TailSize, p.Skipping = 0, 0, 0, false // what comes again changes nothing
	}
	r, err := log.Plain()
	if err != nil {
		return err
	}
	defer func() { r.Close() }()
	if ok, err := p.step(r); err != nil {
		return err
	} else if !ok {
		p.Offset, p.Line, p.TailSize, p.Skipping = 0, 0, 0, false
		r.Close()
		if r, err = log.Plain(); err != nil {
			return err
		}
	}
	stream, err := w.stream(p, f.info.ModTime().UTC(), nil)
	if err != nil {
		return err
	}
	return w.lines(ctx, p, f, stream, r, true)
}

// step steps to the place in a stream, and says whether what stands before it is
// what was read.
func (f *place) step(r io.Reader) (bool, error) {
	if _, err := io.CopyN(io.Discard, r, f.Offset-f.TailSize); err != nil {
		return false, ignoreEnd(err)
	}
	tail := make([]byte, f.TailSize)
	if _, err := io.ReadFull(r, tail); err != nil {
		return false, ignoreEnd(err)
	}
	return f.TailSize == 0 || digest(tail) == f.Tail, nil
}

// notEnd returns what kept a file from being read to its end. Compressed data that
// ends too early is such a thing.
func notEnd(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// ignoreEnd drops that there is less than was asked for.
func ignoreEnd(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil
	}
	return err
}

// stream returns the stream for the next records of a file. One that must have
// seen the records before is given them again, after a start and once a day,
// because it dates what names no year by the day on which it was made.
func (w *watcher) stream(p *place, near time.Time, before func() (io.Reader, error)) (*uses.Stream, error) {
	key := p
	if w.source.Kind == store.SourceFile {
		key = nil
	}
	if s := w.streams[key]; s != nil && s.Format.Name == p.Format && near.Sub(s.near) < 24*time.Hour {
		return s.Stream, nil
	}
	stream, err := uses.NewStream(p.Format, w.settings(near))
	if err != nil || !stream.Remembering() {
		return stream, err
	}
	w.streams[key] = &streamOf{stream, near}
	if p.Offset == 0 || before == nil || !stream.Following() {
		return stream, nil
	}
	r, err := before()
	if err != nil {
		return nil, err
	}
	for l := newLines(r); ; {
		one, err := l.next()
		if record := one.record(false); record != "" && !one.tooLong {
			_ = stream.Read(record, nothing{}) // it was told when it was read first
		}
		if err != nil {
			return stream, ignoreEnd(err)
		}
	}
}

// nothing takes what was taken before.
type nothing struct{}

func (nothing) Use(*tallystick.Use)          {}
func (nothing) Close(tallystick.ClosingMark) {}
func (nothing) Lost(*tallystick.Use)         {}

// lines reads lines to the end. What stands there without an end waits, unless it
// is final.
func (w *watcher) lines(ctx context.Context, p *place, f found, stream *uses.Stream, r io.Reader, final bool) error {
	w.counting(p)
	l := newLines(r)
	l.skipping = p.Skipping
	p.Partial = false
	for {
		one, err := l.next()
		if err != nil && one.size > 0 && !one.tooLong && !(final && err == io.EOF) {
			p.Partial = !p.Packed // one that is compressed is whole, or damaged
			return notEnd(err)
		}
		if one.size > 0 {
			w.take(p, f, stream, one)
		}
		if err != nil {
			return notEnd(err)
		}
		if w.full() {
			if err := w.flush(ctx); err != nil {
				return fault{err}
			}
		}
	}
}

// take reads a line.
func (w *watcher) take(p *place, f found, stream *uses.Stream, one line) {
	w.changed = true
	if one.tooLong {
		if one.whole {
			w.malformed(f.name, p.Line+1, uses.ErrTooLong())
		}
	} else if record := one.record(p.Offset == 0); record != "" {
		if err := w.read(stream, record); err != nil {
			w.malformed(f.name, p.Line+1, err)
		}
	}
	p.advance(one)
}

// whole reads a file whose records are no lines from its beginning.
func (w *watcher) whole(ctx context.Context, p *place, f found, log *uses.Log) error {
	stream, err := uses.NewStream(p.Format, w.settings(f.info.ModTime().UTC()))
	if err != nil {
		return err
	}
	p.Line, w.repeats = 0, newRepeats()
	return log.Blocks(func(b *uses.Block) error {
		var failed error
		b.Each(func(record string, _ int64, line int) {
			if failed != nil {
				return
			}
			p.Line = int64(line)
			if err := w.read(stream, record); err != nil {
				w.malformed(f.name, int64(line), err)
			}
			if w.full() {
				failed = w.flush(ctx)
			}
		})
		if failed != nil {
			return fault{failed}
		}
		return nil
	}, func(line int, err error) { w.malformed(f.name, int64(line), err) })
}

// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/uses"
)

// A watcher reads the files of one source. It is used by one goroutine.
type watcher struct {
	*feed
	position *position
	changed  bool // the position is not stored
	stored   time.Time
	closed   time.Time // up to where it said that the book is closed
	// streams are of formats whose records need those before them, by file; that
	// of nil is for a file that is rotated.
	streams map[*place]*streamOf
	index   map[fileID]*place // of this pass
	counts  []counted         // of files that grow, the one that was read last at the end
	missing time.Time         // since when the file itself is not there
}

// A streamOf is a stream and when the file was written that it was made for.
type streamOf struct {
	*uses.Stream
	near time.Time
}

const (
	storeEvery = time.Second // while a file is read
	// quietTime is for how long a file that is read as a whole must not have
	// changed, and lineTime one whose last line has no end.
	quietTime = 2 * time.Second
	lineTime  = time.Minute
	// absentTime is how long a file may be absent while it is rotated.
	absentTime = 10 * time.Second
)

func (s *Sources) newWatcher(ctx context.Context, one store.Source) (*watcher, error) {
	text, err := s.DB.SourcePosition(ctx, one.ID)
	if err != nil {
		return nil, err
	}
	at, err := readPosition(text)
	if err != nil {
		return nil, err
	}
	w := &watcher{feed: s.newFeed(one), position: at, streams: map[*place]*streamOf{}, changed: one.Error != ""}
	w.newest = at.Newest
	return w, nil
}

// pass reads what is there, and says whether that was all for good.
func (w *watcher) pass(ctx context.Context) (done bool, err error) {
	// What could not be handed over before is handed over first.
	if err := w.flush(ctx); err != nil {
		return false, err
	}
	now := w.Now()
	files, missing := w.files()
	if missing != nil && (len(files) == 0 || !errors.Is(missing, fs.ErrNotExist)) {
		return false, missing
	}
	w.index = w.position.index()
	there := map[*place]bool{}
	open := 0
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		p, ended, err := w.file(ctx, f, now)
		if err != nil {
			return false, err
		}
		there[p] = true
		if !ended {
			open++
		}
	}
	w.position.seen(now, there)
	for p := range w.streams {
		if p != nil && !there[p] {
			delete(w.streams, p)
		}
	}
	if missing != nil {
		// It was rotated, and its writer has not made a new one yet.
		return false, errors.Join(w.end(ctx), w.absent(now, missing))
	}
	w.missing = time.Time{}
	w.settle(now)
	done = w.source.Once && open == 0
	if done {
		w.progress.Done = now
	}
	return done, w.end(ctx)
}

// absent is nil for a moment after a file has gone.
func (w *watcher) absent(now time.Time, err error) error {
	if w.missing.IsZero() {
		w.missing = now
	}
	if now.Sub(w.missing) < absentTime {
		return nil
	}
	return err
}

// settle closes the book, when it is one that does not say so itself: up to now,
// since all that is there was read, or for what is read once up to its last
// record.
func (w *watcher) settle(now time.Time) {
	if w.source.Settle == 0 {
		return
	}
	if w.source.Once {
		now = w.newest
	}
	closed := now.Add(-w.source.Settle)
	if now.IsZero() || closed.Sub(w.closed) < min(max(w.source.Settle/10, time.Second), 30*time.Second) {
		return
	}
	w.mark(closed)
	w.closed = closed
}

// flush hands over what was read, and now and then stores the position.
func (w *watcher) flush(ctx context.Context) error {
	if w.empty() {
		return nil
	}
	if _, err := w.hand(ctx); err != nil {
		return err
	}
	if w.Now().Sub(w.stored) < storeEvery {
		return nil
	}
	return w.keep(ctx)
}

// end hands over the rest and stores the position.
func (w *watcher) end(ctx context.Context) error {
	if _, err := w.hand(ctx); err != nil {
		return err
	}
	if !w.changed && w.progress.Heard.IsZero() && w.progress.Malformed == 0 && w.progress.Done.IsZero() {
		return nil
	}
	return w.keep(ctx)
}

// leave stores the position when all that was read up to there was handed over;
// the rest is read again. One that was removed meanwhile has none.
func (w *watcher) leave(ctx context.Context) error {
	if !w.changed || !w.empty() {
		return nil
	}
	if err := w.keep(ctx); !errors.Is(err, tallystick.ErrNotFound) {
		return err
	}
	return nil
}

// keep stores the position. The feed is empty then: all that was read up to there
// is durable.
func (w *watcher) keep(ctx context.Context) error {
	w.position.Newest = w.newest
	text, err := w.position.text()
	if err != nil {
		return err
	}
	if err := w.store(ctx, text); err != nil {
		return err
	}
	w.changed, w.stored = false, w.Now()
	return nil
}

// A found is a file that is to be read.
type found struct {
	path string
	name string // for people
	info os.FileInfo
	main bool // it is the file that the source names
}

// files returns what is there, the oldest first.
func (w *watcher) files() ([]found, error) {
	if w.source.Kind == store.SourceDirectory {
		return w.inDirectory()
	}
	info, missing := os.Stat(w.source.Path)
	if missing != nil {
		missing = fmt.Errorf("couldn't read %s: %w", w.source.Path, pathless(missing))
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("couldn't read %s: it is not a file", w.source.Path)
	}
	base := filepath.Base(w.source.Path)
	main := found{w.source.Path, base, info, true}
	if w.source.Once {
		if missing != nil {
			return nil, missing
		}
		return []found{main}, nil
	}
	files, err := w.older(base, info)
	if err != nil || missing != nil {
		return files, errors.Join(err, missing)
	}
	return append(files, main), nil
}

// older returns the files that a file was rotated to.
func (w *watcher) older(base string, main os.FileInfo) ([]found, error) {
	entries, err := os.ReadDir(filepath.Dir(w.source.Path))
	if err != nil {
		return nil, fmt.Errorf("couldn't look for rotated files: %w", err)
	}
	var files []found
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), base)
		if !ok || rest == "" || !rotated.MatchString(rest) {
			continue
		}
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || main != nil && os.SameFile(info, main) {
			continue // it was taken away, or the file's name is a link to it
		}
		files = append(files, found{filepath.Join(filepath.Dir(w.source.Path), e.Name()), e.Name(), info, false})
	}
	byAge(files)
	return files, nil
}

// pathless drops the path that an error repeats.
func pathless(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

// rotated matches what is behind the name of a file in those of its older parts:
// access.log.1, access.log.2.gz, access.log-20261122.zst, access.log.old.
var rotated = regexp.MustCompile(`^([.-][0-9][0-9T_-]*|\.old)?(\.gz|\.zst)?$`)

func byAge(files []found) {
	slices.SortStableFunc(files, func(a, b found) int { return a.info.ModTime().Compare(b.info.ModTime()) })
}

// passedOver says whether a name is that of a file in the making.
func passedOver(name string) bool {
	return strings.HasPrefix(name, ".") || slices.Contains([]string{".tmp", ".part", ".swp", ".partial"}, filepath.Ext(name)) || strings.HasSuffix(name, "~")
}

// inDirectory returns the files of a directory and those below it.
func (w *watcher) inDirectory() ([]found, error) {
	var files []found
	err := filepath.WalkDir(w.source.Path, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if path != w.source.Path && errors.Is(err, fs.ErrNotExist) {
				return nil // taken away meanwhile
			}
			return err
		}
		name, err := filepath.Rel(w.source.Path, path)
		if err != nil || name == "." {
			return err
		}
		if passedOver(d.Name()) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() {
			return nil // taken away meanwhile, or no file
		}
		if files = append(files, found{path, name, info, false}); len(files) > maxFiles {
			return fmt.Errorf("there are more than %d files: take away those that were read", maxFiles)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("couldn't read %s: %w", w.source.Path, err)
	}
	byAge(files)
	return files, nil
}

// SPDX-License-Identifier: Apache-2.0

package installing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// MaxFile bounds the files of doors that are read and replaced, in bytes: what can be read can
// be put back. Revocation lists of large CAs are the longest.
const MaxFile = 64 << 20

// undoing is the time that putting files back has.
const undoing = 2 * time.Minute

// A File is what a file shall be.
type File struct {
	Path    string
	Content []byte
	Mode    fs.FileMode // where there is none yet
	Key     bool        // a private key is in it
}

// A Change is a set of files that are replaced together, and how a system takes them up.
//
// What the files were is kept in a journal from before the first write until the change has
// come to its end, in one way or the other: a call that was killed leaves it behind, and the
// next one with the same files knows by it that the system need not have read them, and what to
// put back when it fails.
type Change struct {
	Host  driver.Host
	Files []File
	// Journal is the path of the journal; "" is JournalFor the first file. Where the set of files
	// differs from call to call it is named, and each call has all files that are of it, also
	// those that stay as they are. Nobody may write it who may not write all of them.
	Journal string
	// Check asks the system's own checker about what has been written; nil: it has none.
	Check func(context.Context) error
	// Reload makes the system read the files; nil: it does so by itself.
	Reload func(context.Context) error
	// Eager says that processes of the system read the files as they begin, reload or not. Then
	// Check is asked before the first write as well: what is wrong already could not be loaded
	// again either.
	Eager bool
	// Arrived returns when the system shows what has been written, and Returned when it shows
	// what was there before. nil: nobody can see it.
	Arrived, Returned func(context.Context) error
	// Back makes the system read what was put back; nil: Reload does, where something was. Back
	// is called after each Reload that has not led to what it should.
	Back func(context.Context) error
	// Patience is how long having files read may take. Putting back has so much time, and two
	// minutes, also when the caller's has run out.
	Patience time.Duration
}

// Unread says whether there is the journal of a change at a file, for a look: then nobody knows
// what of it the system has read.
func Unread(ctx context.Context, h driver.Host, path string) (bool, error) {
	_, err := h.Stat(ctx, JournalFor(path))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// noted is the path of the journal.
func (c Change) noted() string {
	if c.Journal != "" || len(c.Files) == 0 {
		return c.Journal
	}
	return JournalFor(c.Files[0].Path)
}

// Differs says whether there is anything to do: a file is not as it shall be, or a call was
// killed before the system had taken the files up.
func (c Change) Differs(ctx context.Context) (bool, error) {
	s, err := c.standing(ctx)
	return s.unfinished || len(c.differing(s)) > 0, err
}

// Before returns the host with the files of the change as they were before a call that was
// killed, for reading, and whether there was one. Where there was none it is Host.
func (c Change) Before(ctx context.Context) (driver.Host, bool, error) {
	s, err := c.standing(ctx)
	if err != nil || !s.unfinished {
		return c.Host, false, err
	}
	return earlier{c.Host, s.before}, true, nil
}

func (c Change) differing(s standing) []File {
	var differ []File
	for i, f := range c.Files {
		if s.now[i].Missing || !bytes.Equal(s.now[i].content, f.Content) {
			differ = append(differ, f)
		}
	}
	return differ
}

// Do writes those of the files that differ, in their order, checks them, has them read, and
// waits until they are shown. When one of that fails it puts back what was there and has
// that read again, also when ctx has ended; where this fails too the error wraps ErrDamaged.
// It returns in what ways the system was changed.
func (c Change) Do(ctx context.Context) ([]string, error) {
	r := running{Change: c}
	var err error
	if r.standing, err = c.standing(ctx); err != nil {
		return nil, err
	}
	r.journal = r.unfinished
	if c.Eager {
		if err := step(ctx, c.Check); err != nil {
			return nil, errors.Join(err, r.back(ctx))
		}
	}
	differ := c.differing(r.standing)
	var how []string
	if len(differ) > 0 {
		how = append(how, "files")
		if err := r.note(ctx); err != nil {
			return nil, errors.Join(err, r.forget(ctx))
		}
	}
	for _, f := range differ {
		r.wrote, r.taken = true, c.Eager
		if err := c.Host.WriteFile(ctx, f.Path, f.Content, f.Mode); err != nil {
			return nil, errors.Join(err, r.back(ctx))
		}
	}
	err = step(ctx, c.Check)
	if err == nil && c.Reload != nil {
		how = append(how, "reload")
	}
	if err == nil {
		r.taken = true
		err = step(ctx, c.Reload)
	}
	if err == nil {
		err = step(ctx, c.Arrived)
	}
	if err != nil {
		return nil, errors.Join(err, r.back(ctx))
	}
	return how, r.end(ctx)
}

// A running change is one that is being done.
type running struct {
	Change
	standing
	journal bool // there is one
	wrote   bool
	taken   bool // the system may have read what this call has written
}

// note writes the journal. Who may not read a key may not read its journal either.
func (r *running) note(ctx context.Context) error {
	var j journal
	like := ""
	for i, f := range r.Files {
		was := r.before[i]
		if wanted := digest(f.Content); !slices.Contains(was.Written, wanted) {
			was.Written = append(slices.Clone(was.Written), wanted)
		}
		j.Files = append(j.Files, was)
		if f.Key && !r.now[i].Missing {
			like = f.Path
		}
	}
	text, err := j.encode()
	if err != nil {
		return err
	}
	r.journal = true
	if like != "" {
		return r.Host.WriteLike(ctx, r.noted(), text, like)
	}
	return r.Host.WriteFile(ctx, r.noted(), text, 0o600)
}

// forget takes away a journal that could not be written for sure, unless it says of an
// earlier call what is still true.
func (r *running) forget(ctx context.Context) error {
	if r.unfinished {
		return nil
	}
	ctx, cancel := r.undoing(ctx)
	defer cancel()
	return r.end(ctx)
}

// end takes the journal away: nothing is to be put back any more.
func (r *running) end(ctx context.Context) error {
	if !r.journal {
		return nil
	}
	return r.Host.Remove(ctx, r.noted())
}

func (r *running) undoing(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), undoing+r.Patience)
}

// back undoes what was done, by this call and by one that was killed.
func (r *running) back(ctx context.Context) error {
	if !r.wrote && !r.unfinished && r.Back == nil {
		return nil
	}
	ctx, cancel := r.undoing(ctx)
	defer cancel()
	if err := r.putBack(ctx); err != nil {
		return err
	}
	if r.taken || r.unfinished {
		// Where it can be seen what the system shows, that counts, and not what the reload says:
		// one that cannot be done has not taken anything up.
		again := r.Reload
		if r.Back != nil {
			again = r.Back
		}
		err := step(ctx, again)
		if r.Returned != nil {
			err = r.Returned(ctx)
		}
		if err != nil && !r.taken {
			// It goes on as it did before this call, and the journal stays for the next one.
			return fmt.Errorf("the files are those of before a call that was killed, and could not be read again: %w", err)
		}
		if err != nil {
			return fmt.Errorf("%w: the files are put back, and the old ones could not be read again: %w", tallystick.ErrDamaged, err)
		}
	}
	return r.end(ctx)
}

// putBack puts the files back, the last first. Its error wraps ErrDamaged.
func (r *running) putBack(ctx context.Context) error {
	var failed []error
	for _, was := range slices.Backward(r.before) {
		now, err := save(ctx, r.Host, was.Path)
		switch {
		case err == nil && was.is(now):
			continue
		case was.Missing:
			err = r.Host.Remove(ctx, was.Path)
		default:
			// The mode counts only where somebody has removed the file meanwhile; then nobody
			// but its owner may read it, because it may hold a key.
			err = r.Host.WriteFile(ctx, was.Path, was.content, 0o600)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%w: couldn't put back %s: %w", tallystick.ErrDamaged, was.Path, err))
		}
	}
	return errors.Join(failed...)
}

func step(ctx context.Context, do func(context.Context) error) error {
	if do == nil {
		return ctx.Err()
	}
	return do(ctx)
}

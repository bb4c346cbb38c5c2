// SPDX-License-Identifier: Apache-2.0

package installing

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// A Change is a set of files that are replaced together, and how a system takes them up.
type Change struct {
	Host  driver.Host
	Files []File
	// Check asks the system's own checker about what has been written; nil: it has none.
	Check func(context.Context) error
	// Reload makes the system read the files; nil: it does so by itself.
	Reload func(context.Context) error
	// Eager says that processes of the system read the files as they begin, reload or not.
	Eager bool
	// Arrived returns when the system shows what has been written, and Returned when it shows
	// what was there before. nil: nobody can see it, and then Mark is wanted.
	Arrived, Returned func(context.Context) error
	// Mark is the path of a file that is there from before the first write until the system has
	// been made to read them. A call that finds it knows that an earlier one was killed. ""
	// where Arrived tells. See MarkFor.
	Mark string
}

// MarkFor returns the path of the Mark of a change at a file: a hidden one beside it.
func MarkFor(path string) string {
	directory, base := filepath.Split(path)
	return filepath.Join(directory, "."+base+".tallystick-unread")
}

// Marked says whether a call was killed before the system had read what it wrote.
func Marked(ctx context.Context, h driver.Host, mark string) (bool, error) {
	_, err := h.Stat(ctx, mark)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Do writes the files, checks them, has them read, and waits until they are shown. When
// one of that fails it puts them back and has them read again, also when ctx has ended; where
// this fails too the error wraps ErrDamaged. It returns in what ways the system was changed.
func (c Change) Do(ctx context.Context) ([]string, error) {
	r := running{Change: c}
	if err := r.mark(ctx); err != nil {
		return nil, err
	}
	how := []string{"files"}
	var err error
	if r.swapped, err = Swap(ctx, c.Host, c.Files); err != nil {
		return nil, errors.Join(err, r.unmark(ctx))
	}
	r.taken = c.Eager
	if !r.swapped.Changed() {
		how = nil
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
	if c.Mark != "" {
		err = c.Host.Remove(ctx, c.Mark)
	}
	return how, err
}

// A running change is one that is being done.
type running struct {
	Change
	swapped *Swapped
	earlier bool // a killed call has left its mark
	taken   bool // the system may have read what was written
}

func (r *running) mark(ctx context.Context) error {
	if r.Mark == "" {
		return nil
	}
	var err error
	if r.earlier, err = Marked(ctx, r.Host, r.Mark); err != nil || r.earlier {
		return err
	}
	if err := r.Host.WriteFile(ctx, r.Mark, nil, 0o600); err != nil {
		return errors.Join(err, r.unmark(ctx))
	}
	return nil
}

// unmark takes the mark away, unless it says of an earlier call what is still true.
func (r *running) unmark(ctx context.Context) error {
	if r.Mark == "" || r.earlier && !r.taken {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoing)
	defer cancel()
	return r.Host.Remove(ctx, r.Mark)
}

// back undoes what was done.
func (r *running) back(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoing)
	defer cancel()
	if err := r.swapped.Undo(ctx); err != nil {
		return err
	}
	if r.taken {
		// Where it can be seen what the system shows, that counts, and not what the reload says:
		// one that cannot be done has not taken anything up.
		err := step(ctx, r.Reload)
		if r.Returned != nil {
			err = r.Returned(ctx)
		}
		if err != nil {
			return fmt.Errorf("%w: the files are put back, and the old ones could not be read again: %w", tallystick.ErrDamaged, err)
		}
	}
	return r.unmark(ctx)
}

func step(ctx context.Context, do func(context.Context) error) error {
	if do == nil {
		return ctx.Err()
	}
	return do(ctx)
}

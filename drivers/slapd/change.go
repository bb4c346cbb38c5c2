// SPDX-License-Identifier: Apache-2.0

package slapd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// A change of what slapd reads. A change that slapd does not take, or that does not do
// what it should, is put back: slapd that has been given files which it cannot use
// refuses every handshake until it is given others.
type change struct {
	files  []installing.File
	sets   []setting    // what makes slapd read the files
	back   []setting    // what makes it read them again after they have been put back
	reread bool         // set also where no file differs
	check  func() error // whether it came about
	now    func() time.Time

	listeners []driver.Listener
}

// do makes the change. It returns false when there was nothing to do.
func (d *door) do(ctx context.Context, h driver.Host, s *session, c change) (bool, error) {
	swapped, err := installing.Swap(ctx, h, c.files)
	if err != nil {
		return false, err
	}
	if !swapped.Changed() && !c.reread {
		return false, nil
	}
	if err = d.quietly(ctx, h, s, c, func() error { return s.set(c.sets...) }); err == nil {
		err = c.check()
	}
	if err == nil {
		return true, nil
	}
	return false, errors.Join(err, d.undo(ctx, h, swapped, c))
}

// undo puts files back and has slapd read them, over a session of its own: the first may
// have ended with its context.
func (d *door) undo(ctx context.Context, h driver.Host, swapped *installing.Swapped, c change) error {
	failed := swapped.Undo(ctx)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	s, err := d.dial(ctx, h)
	if err == nil {
		defer s.close()
		err = d.quietly(ctx, h, s, c, func() error { return s.set(c.back...) })
	}
	if err != nil {
		err = fmt.Errorf("%w: slapd could not be made to read its old files again: %w", tallystick.ErrDamaged, err)
	}
	return errors.Join(failed, err)
}

// all returns the settings that make slapd read all files of TLS as they are named now.
func (now settings) all() []setting {
	var sets []setting
	for _, one := range []setting{{attrCA, now.ca}, {attrCert, now.cert}, {attrKey, now.key}, {attrList, now.list}} {
		if one.value != "" || one.attribute == attrList {
			sets = append(sets, one)
		}
	}
	return sets
}

// unread says whether a file was written after cn=config was changed last: then slapd has
// not read it, unless it was started again since.
func (now settings) unread(ctx context.Context, h driver.Host, path string) (bool, error) {
	info, err := h.Stat(ctx, path)
	if err != nil {
		return false, err
	}
	return info.Modified.After(now.changed), nil
}

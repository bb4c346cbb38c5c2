// SPDX-License-Identifier: Apache-2.0

package slapd

import (
	"context"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// A change of what slapd reads. A change that slapd does not take, or that does not do
// what it should, is put back: slapd that has been given files which it cannot use
// refuses every handshake until it is given others.
type change struct {
	files  []installing.File
	sets   []setting                   // what makes slapd read the files
	back   []setting                   // what makes it read them again after they have been put back
	reread bool                        // set also where no file differs
	check  func(context.Context) error // whether it came about; nil: nobody can see it
	now    func() time.Time

	listeners []driver.Listener
}

// do makes the change. It returns false when there was nothing to do.
func (d *door) do(ctx context.Context, h driver.Host, s *session, c change) (bool, error) {
	whole := installing.Change{
		Host: h, Files: c.files, Arrived: c.check,
		Reload: func(ctx context.Context) error {
			return d.quietly(ctx, h, s, c, func() error { return s.set(c.sets...) })
		},
		// Over a session of its own: the first may have ended with its context.
		Back: func(ctx context.Context) error {
			s, err := d.dial(ctx, h)
			if err != nil {
				return err
			}
			defer s.Close()
			return d.quietly(ctx, h, s, c, func() error { return s.set(c.back...) })
		},
	}
	if differs, err := whole.Differs(ctx); err != nil || !differs && !c.reread {
		return false, err
	}
	_, err := whole.Do(ctx)
	return err == nil, err
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

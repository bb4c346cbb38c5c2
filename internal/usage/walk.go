// SPDX-License-Identifier: Apache-2.0

package usage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/problem"
)

// The ledger is read from the past on, and people ask for the newest. So it is
// read in windows of time, the newest first, each longer than the one before
// while there is little in them.
const (
	firstWindow = 10 * time.Minute
	leastWindow = time.Second
	windowGrows = 4
	mostWindow  = 20 * 366 * 24 * time.Hour // beyond it a Duration soon overflows
	// mostInWindow bounds the uses that are held in memory, some ten megabytes.
	mostInWindow = 20_000
	// mostWalked bounds the uses that one question looks at.
	mostWalked = 200_000
)

// walk calls fn with the uses of a query window by window, the newest first, and
// those of a window by their time, until fn has enough. It returns from where on
// it has seen all; that is q.From at the end. From and To must be set.
func (u *Usage) walk(ctx context.Context, q ledger.Query, fn func([]tallystick.Use) (enough bool, err error)) (time.Time, error) {
	from, end, width, walked := q.From, q.To, firstWindow, 0
	for end.After(from) {
		q.To, q.From = end, end.Add(-width)
		if q.From.Before(from) {
			q.From = from
		}
		window, err := u.window(ctx, q)
		if errors.Is(err, errTooMany) && width > leastWindow {
			width = max(width/windowGrows, leastWindow)
			continue
		}
		if errors.Is(err, errTooMany) {
			err = fmt.Errorf("%w: more than %d uses in a second", tallystick.ErrInvalid, mostInWindow)
			return end, problem.With(err, "narrow it to one source or one relying party")
		}
		if err != nil {
			return end, err
		}
		end, walked = q.From, walked+len(window)
		enough, err := fn(window)
		if err != nil || enough || walked >= mostWalked {
			return end, err
		}
		if len(window) < mostInWindow/(2*windowGrows) {
			width = min(width*windowGrows, mostWindow)
		}
	}
	return from, nil
}

// window returns all uses of a query, or errTooMany.
func (u *Usage) window(ctx context.Context, q ledger.Query) ([]tallystick.Use, error) {
	var list []tallystick.Use
	err := u.Ledger.Scan(ctx, q, func(use *tallystick.Use) error {
		if len(list) == mostInWindow {
			return errTooMany
		}
		list = append(list, *use)
		return nil
	})
	return list, err
}

// bounds returns a time that has all records of the ledger that are between two;
// zero does not bound.
func (u *Usage) bounds(from, to time.Time) (time.Time, time.Time) {
	var first, last time.Time
	for _, b := range u.Ledger.Books() {
		if b.Records == 0 {
			continue
		}
		if first.IsZero() || b.First.Before(first) {
			first = b.First
		}
		if b.Last.After(last) {
			last = b.Last
		}
	}
	// The ledger compares microseconds.
	first, last = first.Truncate(time.Microsecond), last.Truncate(time.Microsecond).Add(time.Microsecond)
	if from.Before(first) {
		from = first
	}
	if to.IsZero() || to.After(last) {
		to = last
	}
	return from, to
}

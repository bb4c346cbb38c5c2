// SPDX-License-Identifier: Apache-2.0

package usage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/problem"
)

const (
	mostBins = 200
	// fineSpan is up to how long a time the uses themselves are counted; beyond it
	// the counts of hours are.
	fineSpan = 48 * time.Hour
	// mostCounted is how many uses are counted one by one, some seconds.
	mostCounted = 1_000_000
	// longestSpan is how long a time is drawn of one credential, and longestOfAll
	// of all of them: there is a count for each of them and each hour.
	longestSpan  = 5 * 366 * 24 * time.Hour
	longestOfAll = 100 * 24 * time.Hour
	// usualSpan is what is drawn when nobody says.
	usualSpan = 24 * time.Hour
)

// stepsOf are how long a bin may be: no more than three and a third times the one
// before, so that a chart of 200 bins or less has 60 or more.
func stepsOf() []time.Duration {
	const day = 24 * time.Hour
	return []time.Duration{
		time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second,
		time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
		time.Hour, 2 * time.Hour, 4 * time.Hour, 6 * time.Hour, 12 * time.Hour, day, 2 * day, 4 * day, 7 * day, 14 * day,
	}
}

// Chart counts the uses of a credential, or of all, from one time to another: the
// last day when the filter says neither. Its bins are so long that there are 60 to
// 200, and begin at whole steps in UTC; of more than two days and of all
// credentials they are whole hours, and then fewer. A time that is too long is
// ErrInvalid. Of the filter it takes the credential and the time.
func (u *Usage) Chart(ctx context.Context, actor gate.Actor, f Filter) (Chart, error) {
	s, err := u.subject(ctx, actor, f.Credential)
	if err != nil {
		return Chart{}, err
	}
	c, fine, err := u.chartOf(f, s != nil)
	if err != nil {
		return c, err
	}
	if fine {
		err = u.countFine(ctx, &c, s)
		if errors.Is(err, errTooMany) { // the counts of hours are coarse, and there
			c = blank(c.From, c.To, max(c.Step, time.Hour))
			fine = false
		}
	}
	if !fine {
		err = u.countHours(ctx, &c, s)
	}
	if err != nil {
		return c, err
	}
	if err := u.countVerdicts(ctx, &c, s); err != nil {
		return c, err
	}
	u.countPending(&c, s)
	return c, nil
}

// chartOf returns an empty chart, and whether uses are counted one by one.
func (u *Usage) chartOf(f Filter, one bool) (c Chart, fine bool, err error) {
	from, to := f.From, f.To
	if to.IsZero() {
		to = u.Now()
	}
	if from.IsZero() {
		from = to.Add(-usualSpan)
	}
	span, longest := to.Sub(from), longestOfAll
	if one {
		longest = longestSpan
	}
	switch {
	case span <= 0:
		return c, false, fmt.Errorf("%w: the time ends before it begins", tallystick.ErrInvalid)
	case span > longest:
		err = fmt.Errorf("%w: %d days are too long a time to draw", tallystick.ErrInvalid, span/(24*time.Hour))
		return c, false, problem.With(err, fmt.Sprintf("give a time of %d days at most; that of one credential may be longer", longest/(24*time.Hour)))
	}
	fine = one && span <= fineSpan
	step := stepOf(span)
	if !fine {
		step = max(step, time.Hour)
	}
	return blank(from, to, step), fine, nil
}

func stepOf(span time.Duration) time.Duration {
	steps := stepsOf()
	for _, step := range steps {
		// One more than fit, because the ends are moved to whole steps.
		if span <= (mostBins-1)*step {
			return step
		}
	}
	return steps[len(steps)-1]
}

// blank returns a chart of whole steps without a use.
func blank(from, to time.Time, step time.Duration) Chart {
	c := Chart{From: from.UTC().Truncate(step), To: to.UTC().Truncate(step), Step: step}
	if c.To.Before(to) {
		c.To = c.To.Add(step)
	}
	c.Bins = make([]Bin, c.To.Sub(c.From)/step)
	for i := range c.Bins {
		c.Bins[i].At = c.From.Add(time.Duration(i) * step)
	}
	return c
}

// bin returns the bin of a step, nil beside the chart.
func (c *Chart) bin(step int64) *Bin {
	if step < 0 || step >= int64(len(c.Bins)) {
		return nil
	}
	return &c.Bins[step]
}

// at returns the bin of a time, nil beside the chart.
func (c *Chart) at(t time.Time) *Bin {
	if t.Before(c.From) { // or the division rounds it into the first
		return nil
	}
	return c.bin(int64(t.Sub(c.From) / c.Step))
}

// errTooMany ends a count that would take too long.
var errTooMany = errors.New("more uses than are counted one by one")

// countFine counts the uses themselves.
func (u *Usage) countFine(ctx context.Context, c *Chart, s *subject) error {
	if len(s.names) == 0 {
		return nil
	}
	counted := 0
	return u.Ledger.Scan(ctx, ledger.Query{Names: s.names, From: c.From, To: c.To}, func(use *tallystick.Use) error {
		if counted++; counted > mostCounted {
			return errTooMany
		}
		if b := c.at(use.Time); b != nil && use.Outcome != tallystick.OutcomeAttempt {
			b.add(use.Side, use.Count)
		}
		return nil
	})
}

func (b *Bin) add(side tallystick.Side, uses int64) {
	if side == tallystick.SideHolder {
		b.Holder += uses
	} else {
		b.Relying += uses
	}
}

// countHours counts from the counts of hours.
func (u *Usage) countHours(ctx context.Context, c *Chart, s *subject) error {
	counts, err := u.DB.UseCounts(ctx, s.ids(), c.From, c.To, c.Step)
	for _, n := range counts {
		if b := c.bin(n.Step); b != nil {
			b.add(n.Side, n.Uses)
		}
	}
	return err
}

func (u *Usage) countVerdicts(ctx context.Context, c *Chart, s *subject) error {
	counts, err := u.DB.VerdictCounts(ctx, s.ids(), c.From, c.To, c.Step)
	for _, n := range counts {
		b := c.bin(n.Step)
		switch {
		case b == nil:
		case n.Verdict == tallystick.VerdictForeign:
			b.Foreign += n.Uses
		case n.Verdict == tallystick.VerdictUnconfirmed:
			b.Unconfirmed += n.Uses
		case n.Verdict == tallystick.VerdictAttempt:
			b.Attempts += n.Uses
		}
	}
	return err
}

// countPending asks whoever watches what waits for a book.
func (u *Usage) countPending(c *Chart, s *subject) {
	if u.Live == nil {
		return
	}
	add := func(at time.Time, count int64) {
		if b := c.at(at); b != nil {
			b.Pending += count
		}
	}
	if s == nil {
		u.Live.Pending(0, add)
		return
	}
	for _, id := range s.used {
		u.Live.Pending(id, add)
	}
}

// SPDX-License-Identifier: Apache-2.0

package renewal

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
)

// A Calendar says how much will be renewed on which day (UTC). It is what follows
// from the certificates there are, each renewed again and again; what fails, and
// what issuers say later, is not foreseen.
type Calendar struct {
	From     time.Time     `json:"from"`               // the beginning of the first day
	Lifetime time.Duration `json:"lifetime,omitempty"` // that no certificate is longer than; 0: as they are
	Issuers  []string      `json:"issuers"`            // in the order of Day.ByIssuer
	Days     []Day         `json:"days"`
	Total    int64         `json:"total"`
	Peak     int64         `json:"peak"` // of the fullest day
	PeakDay  time.Time     `json:"peak_day,omitzero"`
}

// A Day is one day of a calendar.
type Day struct {
	Renewals int64   `json:"renewals"`
	ByIssuer []int64 `json:"by_issuer"`
}

// maxCalendar is how far a calendar goes, in days.
const maxCalendar = 3 * 366

const day = 24 * time.Hour

// Calendar looks ahead from one day to another. With a lifetime it is what would be
// if no certificate that is issued from now on were good for longer, such as the 200,
// 100 and 47 days of the CA/Browser Forum (ballot SC-081).
func (e *Engine) Calendar(ctx context.Context, who gate.Actor, from, to time.Time, lifetime time.Duration) (Calendar, error) {
	if err := e.Gate.Check(ctx, who, gate.ReadInventory, "renewal calendar"); err != nil {
		return Calendar{}, err
	}
	from = from.UTC().Truncate(day)
	days := int((to.Sub(from) + day - 1) / day)
	if days < 1 || days > maxCalendar || lifetime < 0 || lifetime > 0 && lifetime < time.Minute {
		return Calendar{}, fmt.Errorf("%w: a calendar has 1 to %d days, and lifetimes in it are at least 1m", tallystick.ErrInvalid, maxCalendar)
	}
	c := Calendar{From: from, Lifetime: lifetime, Issuers: []string{}, Days: make([]Day, days)}
	counts := map[string][]int64{}
	now := e.Now()
	err := e.DB.EachRenewalLife(ctx, func(l store.RenewalLife) {
		of := counts[l.Issuer]
		if of == nil {
			of = make([]int64, days)
			counts[l.Issuer] = of
			c.Issuers = append(c.Issuers, l.Issuer)
		}
		foresee(of, l, from, now, lifetime)
	})
	if err != nil {
		return Calendar{}, err
	}
	slices.Sort(c.Issuers)
	c.sum(counts)
	return c, nil
}

// sum puts the numbers of the issuers side by side.
func (c *Calendar) sum(counts map[string][]int64) {
	for i := range c.Days {
		d := &c.Days[i]
		d.ByIssuer = make([]int64, len(c.Issuers))
		for n, issuer := range c.Issuers {
			d.ByIssuer[n] = counts[issuer][i]
			d.Renewals += d.ByIssuer[n]
		}
		if c.Total += d.Renewals; d.Renewals > c.Peak {
			c.Peak, c.PeakDay = d.Renewals, c.From.Add(time.Duration(i)*day)
		}
	}
}

// foresee counts the renewals of one certificate after the other.
func foresee(counts []int64, l store.RenewalLife, from, now time.Time, lifetime time.Duration) {
	const microsOfDay = int64(day / time.Microsecond)
	life := time.Duration(l.NotAfter-l.NotBefore) * time.Microsecond
	if l.NotAfter == 0 {
		if life = time.Duration(l.Lifetime) * time.Microsecond; life == 0 {
			life = guessedLifetime
		}
	}
	if lifetime > 0 {
		life = min(life, lifetime)
	}
	step := max(lifeShare(l.Name, life, l.Share).Microseconds(), 1)
	begin, first := from.UnixMicro(), max(l.Due, now.UnixMicro())
	end := begin + int64(len(counts))*microsOfDay
	if step < microsOfDay { // several a day: they are counted and not walked through
		for i := range counts {
			start := begin + int64(i)*microsOfDay
			counts[i] += renewalsUntil(start+microsOfDay, first, step) - renewalsUntil(start, first, step)
		}
		return
	}
	for at := first; at < end; at += step {
		if at >= begin {
			counts[(at-begin)/microsOfDay]++
		}
	}
}

// renewalsUntil returns how many of first, first+step ... are before an instant.
func renewalsUntil(until, first, step int64) int64 {
	if until <= first {
		return 0
	}
	return (until-first-1)/step + 1
}

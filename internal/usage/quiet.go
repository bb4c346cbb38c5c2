// SPDX-License-Identifier: Apache-2.0

package usage

import (
	"context"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// A QuietQuestion asks whether whoever is meant to have a credential still uses it.
type QuietQuestion struct {
	Names []string // of the credential
	// RelyingParties are all names that uses may have for the place in question; none is
	// any place. When none of them was ever seen, uses anywhere count: nobody knows what
	// the place is called in the books.
	RelyingParties []string
	// Since is from when on uses count, such as when its holder was given another one;
	// from Until on they do not, unless it is zero.
	Since, Until time.Time
}

// A Quiet is the answer, from what the books of both sides have.
type Quiet struct {
	// Books are the holder's sources that have ever recorded the credential.
	Books []string `json:"books,omitempty"`
	// Silent are those of Books that should have been heard again by now.
	Silent []string `json:"silent,omitempty"`
	// ClosedTo is up to when all of Books are closed; zero when one is not, or there is none.
	ClosedTo time.Time `json:"closed_to,omitzero"`
	// HolderUses counts the uses since Since that the holder recorded, the last at LastHolder.
	HolderUses int64     `json:"holder_uses"`
	LastHolder time.Time `json:"last_holder,omitzero"`
	// Refused are those of HolderUses that the other side refused.
	Refused int64 `json:"refused,omitempty"`
	// Foreign counts the uses since Since that were accepted and that the holder did not
	// make, the last at LastForeign; up to store.CountCap.
	Foreign     int64     `json:"foreign"`
	LastForeign time.Time `json:"last_foreign,omitzero"`
}

// For says for how long the holder has been quiet, as far as closed books show; 0
// when nothing shows it.
func (q Quiet) For(since time.Time) time.Duration {
	if q.LastHolder.After(since) {
		since = q.LastHolder
	}
	return max(q.ClosedTo.Sub(since), 0)
}

// bookAge is how far before Since a holder's book is looked for: who used the
// credential at all did so within it.
const bookAge = 90 * 24 * time.Hour

// Quiet answers. It is for the program itself and asks no gate. Books are those that
// have the credential at any relying party: who keeps one for a credential records
// all of its uses. A use that names no relying party may have been there. The answer is
// what the books said at one instant: see Fresh.
func (u *Usage) Quiet(ctx context.Context, q QuietQuestion) (Quiet, error) {
	r, err := u.reading(ctx, q)
	if err != nil {
		return Quiet{}, err
	}
	parties := append(slices.Clone(q.RelyingParties), "")
	if !slices.ContainsFunc(q.RelyingParties, func(party string) bool { return r.met[party] }) {
		parties, q.RelyingParties = r.parties(), []string{""}
	}
	answer := Quiet{Books: slices.Clone(r.sources)}
	slices.Sort(parties)
	for _, party := range slices.Compact(parties) {
		for _, use := range r.uses[party] {
			answer.count(use, q)
		}
	}
	answer.close(r.books, r.at)
	return answer, u.foreign(ctx, r.used, q, &answer)
}

// foreign fills in what the tally says of the other side's records.
func (u *Usage) foreign(ctx context.Context, used []int64, q QuietQuestion, answer *Quiet) error {
	for _, party := range q.RelyingParties {
		filter := store.VerdictFilter{Used: used, Verdict: tallystick.VerdictForeign, Party: party, From: q.Since, To: q.Until}
		n, err := u.DB.CountVerdicts(ctx, filter)
		if err != nil {
			return err
		}
		if n == 0 {
			continue
		}
		answer.Foreign += n
		newest, err := u.DB.Verdicts(ctx, filter, store.PageRequest{Desc: true, Limit: 1})
		if err != nil {
			return err
		}
		if len(newest.Items) > 0 && newest.Items[0].Use.Time.After(answer.LastForeign) {
			answer.LastForeign = newest.Items[0].Use.Time
		}
	}
	return nil
}

// count adds one use. A counted record may reach over Since: it counts as a whole,
// because nothing tells when within it the holder stopped.
func (q *Quiet) count(use madeUse, asked QuietQuestion) {
	if use.last.Before(asked.Since) || !asked.Until.IsZero() && !use.first.Before(asked.Until) {
		return
	}
	if use.refused {
		q.Refused += use.count
	}
	q.HolderUses += use.count
	if use.last.After(q.LastHolder) {
		q.LastHolder = use.last
	}
}

// close finds up to when all books are closed. Nobody writes in one that has ended.
func (q *Quiet) close(books []Book, now time.Time) {
	first := true
	for _, b := range books {
		if b.Side != tallystick.SideHolder || !slices.Contains(q.Books, b.Source) {
			continue
		}
		if b.Silent {
			q.Silent = append(q.Silent, b.Source)
		}
		closed := b.Closed
		if b.Ended != nil {
			closed = now
		}
		if first || closed.Before(q.ClosedTo) {
			q.ClosedTo, first = closed, false
		}
	}
}

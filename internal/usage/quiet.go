// SPDX-License-Identifier: Apache-2.0

package usage

import (
	"context"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ledger"
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
// all of its uses. A use that names no relying party may have been there.
func (u *Usage) Quiet(ctx context.Context, q QuietQuestion) (Quiet, error) {
	var answer, anywhere Quiet
	met := false
	query := ledger.Query{Names: q.Names, From: q.Since.Add(-bookAge), To: u.Now().Add(time.Hour)}
	err := u.Ledger.Scan(ctx, query, func(use *tallystick.Use) error {
		if use.Side == tallystick.SideHolder && !slices.Contains(answer.Books, use.Source) {
			answer.Books = append(answer.Books, use.Source)
		}
		anywhere.count(use, q)
		here := slices.Contains(q.RelyingParties, use.RelyingParty)
		if met = met || here; here || use.RelyingParty == "" {
			answer.count(use, q)
		}
		return nil
	})
	if err != nil {
		return Quiet{}, err
	}
	if !met {
		anywhere.Books = answer.Books
		answer, q.RelyingParties = anywhere, []string{""}
	}
	slices.Sort(answer.Books)
	books, err := u.books(ctx)
	if err != nil {
		return Quiet{}, err
	}
	answer.close(books, u.Now())
	return answer, u.foreign(ctx, q, &answer)
}

// foreign fills in what the tally says of the other side's records.
func (u *Usage) foreign(ctx context.Context, q QuietQuestion, answer *Quiet) error {
	used := []int64{}
	for _, name := range q.Names {
		rows, err := u.DB.UsedUnder(ctx, name)
		if err != nil {
			return err
		}
		for _, row := range rows {
			used = append(used, row.ID)
		}
	}
	slices.Sort(used)
	for _, party := range q.RelyingParties {
		filter := store.VerdictFilter{Used: slices.Compact(used), Verdict: tallystick.VerdictForeign, Party: party, From: q.Since, To: q.Until}
		n, err := u.DB.CountVerdicts(ctx, filter)
		if err != nil {
			return err
		}
		newest, err := u.DB.Verdicts(ctx, filter, store.PageRequest{Desc: true, Limit: 1})
		if err != nil {
			return err
		}
		answer.Foreign += n
		if len(newest.Items) > 0 && newest.Items[0].Use.Time.After(answer.LastForeign) {
			answer.LastForeign = newest.Items[0].Use.Time
		}
	}
	return nil
}

// count adds one use. A counted record may reach over Since: it counts as a whole,
// because nothing tells when within it the holder stopped.
func (q *Quiet) count(use *tallystick.Use, asked QuietQuestion) {
	last := use.Time
	if use.Until.After(last) {
		last = use.Until
	}
	if use.Side != tallystick.SideHolder || use.Outcome == tallystick.OutcomeAttempt || last.Before(asked.Since) || !asked.Until.IsZero() && !use.Time.Before(asked.Until) {
		return
	}
	if use.Outcome == tallystick.OutcomeRefused {
		q.Refused += use.Count
	}
	q.HolderUses += use.Count
	if last.After(q.LastHolder) {
		q.LastHolder = last
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

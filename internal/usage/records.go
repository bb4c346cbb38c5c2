// SPDX-License-Identifier: Apache-2.0

package usage

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/tally"
)

// Verdicts are the words that Filter.Verdict takes.
func Verdicts() []string {
	return []string{
		string(tallystick.VerdictForeign), string(tallystick.VerdictUnconfirmed), string(tallystick.VerdictAttempt),
		string(tallystick.VerdictMatched), string(tallystick.VerdictPending),
	}
}

// Records returns a page of records, the newest first, and how many the filter
// lets through: up to store.CountCap, 0 when that is not known. Whatever does not
// name a credential is of records that are not matched. Matched ones, pending ones
// and all of a credential are read from the ledger, which takes bounded work: a
// page may then have fewer records than it was asked for, and still a next one.
func (u *Usage) Records(ctx context.Context, actor gate.Actor, f Filter, page store.PageRequest) (store.Page[Record], int64, error) {
	s, err := u.subject(ctx, actor, f.Credential)
	if err != nil {
		return store.Page[Record]{}, 0, err
	}
	settled := f.Verdict == tallystick.VerdictMatched || f.Verdict == tallystick.VerdictPending
	if settled && s == nil {
		err := fmt.Errorf("%w: %s uses are listed of one credential at a time", tallystick.ErrInvalid, f.Verdict)
		return store.Page[Record]{}, 0, problem.With(err, "name the credential as well")
	}
	if s != nil && f.Incident == 0 && (settled || f.Verdict == "") {
		list, err := u.fromLedger(ctx, f, s, page)
		return list, 0, err
	}
	return u.fromVerdicts(ctx, f, s, page)
}

// fromVerdicts lists records that are not matched.
func (u *Usage) fromVerdicts(ctx context.Context, f Filter, s *subject, page store.PageRequest) (store.Page[Record], int64, error) {
	filter := store.VerdictFilter{
		Used: s.ids(), Verdict: f.Verdict, Side: f.Side, Source: f.Source, Party: f.Party, Address: f.Address, Incident: f.Incident, From: f.From, To: f.To,
	}
	rows, err := u.DB.Verdicts(ctx, filter, store.PageRequest{Desc: true, After: page.After, Limit: page.Limit})
	if err != nil {
		return store.Page[Record]{}, 0, err
	}
	list := store.Page[Record]{Next: rows.Next}
	if list.Items, err = u.recordsOf(ctx, rows.Items); err != nil {
		return list, 0, err
	}
	n, err := u.DB.CountVerdicts(ctx, filter)
	return list, n, err
}

// New returns the records that were found not to match after one: in the order in
// which that was found, and from where the next call goes on. After -1 it returns
// none, and where to go on from now.
func (u *Usage) New(ctx context.Context, actor gate.Actor, after int64, limit int) ([]Record, int64, error) {
	if err := u.Gate.Check(ctx, actor, gate.ReadUses, "new"); err != nil {
		return nil, after, err
	}
	rows, next, err := u.DB.NewVerdicts(ctx, after, limit)
	if err != nil {
		return nil, after, err
	}
	list, err := u.recordsOf(ctx, rows)
	return list, next, err
}

// recordsOf puts the credentials to verdicts.
func (u *Usage) recordsOf(ctx context.Context, rows []store.VerdictRow) ([]Record, error) {
	return withCredentials(ctx, u, rows, func(v *store.VerdictRow) int64 { return v.Used }, recordOf)
}

func recordOf(v *store.VerdictRow, c Credential) Record {
	return Record{
		Key: keyOf(v.Record, v.Used, v.Use.Time), Credential: c, Verdict: v.Verdict, Reason: v.Reason, Incident: v.Incident, Use: v.Use,
	}
}

// fromLedger lists records of one credential, whatever their verdict.
func (u *Usage) fromLedger(ctx context.Context, f Filter, s *subject, page store.PageRequest) (store.Page[Record], error) {
	list := store.Page[Record]{Items: []Record{}}
	at, err := parsePosition(page.After)
	if err != nil || len(s.names) == 0 {
		return list, err
	}
	q := f.query(s)
	q.From, q.To = u.bounds(f.From, f.To)
	if at != nil && at.end().Before(q.To) {
		q.To = at.end()
	}
	limit := page.Limit
	if limit <= 0 {
		limit = usualPage
	}
	limit = min(limit, mostPage)
	judge := u.judge(s)
	skip := at.skip()
	reached, err := u.walk(ctx, q, func(window []tallystick.Use) (bool, error) {
		for len(window) > 0 {
			// In pieces: a page rarely needs all of a window.
			piece := window[max(len(window)-judgedAtOnce, 0):]
			window = window[:len(window)-len(piece)]
			records, err := judge.records(ctx, piece)
			if err != nil {
				return true, err
			}
			for i := len(records) - 1; i >= 0; i-- {
				r := records[i]
				switch {
				case !f.lets(&r):
					continue
				case skip > 0 && at.is(r.Use.Time):
					skip--
					continue
				case len(list.Items) == limit:
					list.Next = positionBehind(at, list.Items).String()
					return true, nil
				}
				list.Items = append(list.Items, r)
			}
		}
		return false, nil
	})
	if err == nil && list.Next == "" && reached.After(q.From) {
		list.Next = position{At: reached.UnixMicro() - 1}.String()
	}
	return list, err
}

const (
	usualPage    = 50
	mostPage     = 1000
	judgedAtOnce = 512
)

// lets says whether a record passes what the ledger has not looked at.
func (f *Filter) lets(r *Record) bool {
	return (f.Verdict == "" || r.Verdict == f.Verdict) && (f.Address == "" || r.Use.Address == f.Address)
}

// A judge says what the verdict on uses of a credential is.
type judge struct {
	usage   *Usage
	subject *subject
	open    func(*tallystick.Use) bool
}

func (u *Usage) judge(s *subject) judge { return judge{u, s, u.openTo(s)} }

// records puts the verdicts to uses.
func (j judge) records(ctx context.Context, list []tallystick.Use) ([]Record, error) {
	keys := make([]string, len(list))
	for i := range list {
		keys[i] = tally.Key(&list[i])
	}
	said, err := j.usage.DB.VerdictsOn(ctx, keys)
	if err != nil {
		return nil, err
	}
	records := make([]Record, len(list))
	for i := range list {
		use := &list[i]
		if v, ok := said[keys[i]]; ok {
			records[i] = recordOf(&v, j.subject.credential)
			continue
		}
		records[i] = Record{
			Key: keyOf(keys[i], j.subject.first(), use.Time), Credential: j.subject.credential, Verdict: tallystick.VerdictMatched, Use: *use,
		}
		switch {
		case use.Side == tallystick.SideRelying && use.Outcome == tallystick.OutcomeAttempt:
			records[i].Verdict = tallystick.VerdictAttempt
		case j.open(use):
			records[i].Verdict = tallystick.VerdictPending
		}
	}
	return records, nil
}

// openTo returns what says whether a use of which nothing is said still waits for
// a book. Whoever watches knows; without them, it may when no holder's book is
// closed past it.
func (u *Usage) openTo(s *subject) func(*tallystick.Use) bool {
	if u.Live != nil {
		open := map[int64]bool{}
		for _, id := range s.used {
			u.Live.Pending(id, func(at time.Time, _ int64) { open[at.UnixMicro()] = true })
		}
		undecided, ok := u.Live.(Undecided)
		return func(use *tallystick.Use) bool {
			return open[use.Time.UnixMicro()] ||
				ok && slices.ContainsFunc(s.used, func(id int64) bool { return undecided.Undecided(id, use.Time) })
		}
	}
	var closed time.Time
	for _, b := range u.Ledger.Books() {
		if b.Side == tallystick.SideHolder && b.Closed.After(closed) {
			closed = b.Closed
		}
	}
	return func(use *tallystick.Use) bool { return use.Time.Add(tally.DefaultTolerance).After(closed) }
}

// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/query"
	"github.com/tallystick/tallystick/internal/store"
)

// A Question asks what could be read: by a host while it had wrapping keys, or with a
// wrapping key. One of the two is set.
type Question struct {
	Host, Key string
	From, To  time.Time // zero is any
}

// ParseQuestion reads a question from the parameters of an address: host or key, and
// from and to (see query.ParseSpan). None at all is the zero Question.
func ParseQuestion(q url.Values) (Question, error) {
	a := Question{Host: q.Get("host"), Key: q.Get("key")}
	if a.Host != "" && a.Key != "" {
		return a, fmt.Errorf("%w: ask for a host or for a wrapping key, not for both", tallystick.ErrInvalid)
	}
	var err error
	a.From, a.To, err = query.ParseSpan(q.Get("from"), q.Get("to"))
	return a, err
}

// String returns the question as the audit log has it.
func (q Question) String() string {
	text := "vault: under " + q.Key
	if q.Host != "" {
		text = "vault: from " + q.Host
	}
	if !q.From.IsZero() || !q.To.IsZero() {
		text += fmt.Sprintf(" between %s and %s", word(q.From, "ever"), word(q.To, "now"))
	}
	return text
}

func word(t time.Time, zero string) string {
	if t.IsZero() {
		return zero
	}
	return t.UTC().Format(time.RFC3339)
}

// Readable answers a question, with how many versions there are, up to store.CountCap. A
// host or a key that is not on record is ErrNotFound.
func (v *Vault) Readable(ctx context.Context, actor gate.Actor, q Question, page store.PageRequest) (store.Page[store.Exposure], int64, error) {
	if err := v.Gate.Check(ctx, actor, gate.ReadLineage, q.String()); err != nil {
		return store.Page[store.Exposure]{}, 0, err
	}
	reaches, err := v.reaches(ctx, q)
	if err != nil {
		return store.Page[store.Exposure]{}, 0, err
	}
	list, err := v.DB.Exposures(ctx, reaches, v.Now(), page)
	if err != nil {
		return list, 0, err
	}
	total, err := v.DB.CountExposures(ctx, reaches)
	return list, total, err
}

// reaches returns which wrapping keys a question is about, and from when to when.
func (v *Vault) reaches(ctx context.Context, q Question) ([]store.Reach, error) {
	keys, err := v.DB.WrappingKeys(ctx)
	if err != nil {
		return nil, err
	}
	used := map[string]store.WrappingKey{}
	for _, key := range keys {
		used[key.ID] = key
	}
	if q.Key != "" {
		if _, known := used[q.Key]; known {
			return inUse([]store.Reach{{WrappingKey: q.Key, From: q.From, To: q.To}}, used), nil
		}
		return nil, problem.With(fmt.Errorf("%w: there is no wrapping key %s", tallystick.ErrNotFound, q.Key), `run "tally custody status" to see them`)
	}
	if q.Host == "" {
		return nil, fmt.Errorf("%w: name a host or a wrapping key", tallystick.ErrInvalid)
	}
	readers, err := v.DB.Readers(ctx, q.Host)
	if err != nil {
		return nil, err
	}
	if len(readers) == 0 {
		return nil, problem.With(fmt.Errorf("%w: no host %q has said that it can use a wrapping key", tallystick.ErrNotFound, q.Host), `run "tally vault hosts" to see them`)
	}
	var list []store.Reach
	for _, r := range readers {
		from, to := r.Since, r.Until
		if q.From.After(from) {
			from = q.From
		}
		if !q.To.IsZero() && (to.IsZero() || q.To.Before(to)) {
			to = q.To
		}
		if to.IsZero() || from.Before(to) {
			list = append(list, store.Reach{WrappingKey: r.WrappingKey, From: from, To: to})
		}
	}
	return inUse(list, used), nil
}

// slack is how far the clocks of hosts may be apart.
const slack = time.Hour

// inUse leaves out reaches from before a wrapping key was first used, or after the last
// was taken from under it: there can be nothing, and to find that out takes longest.
func inUse(list []store.Reach, used map[string]store.WrappingKey) []store.Reach {
	return slices.DeleteFunc(list, func(r store.Reach) bool {
		key, known := used[r.WrappingKey]
		return !known || !r.To.IsZero() && r.To.Before(key.Since.Add(-slack)) || !key.Retired.IsZero() && r.From.After(key.Retired.Add(slack))
	})
}

// MarkReadable says of all that a question names, and that nothing has replaced since,
// that it is to be replaced now. It returns how many secrets that are.
func (v *Vault) MarkReadable(ctx context.Context, actor gate.Actor, q Question, reason string) (int64, error) {
	if err := v.Gate.Check(ctx, actor, gate.EntrustSecret, q.String()+": replace all: "+reason); err != nil {
		return 0, err
	}
	if err := checkText("reason", reason, maxText, false); err != nil {
		return 0, err
	}
	reaches, err := v.reaches(ctx, q)
	if err != nil {
		return 0, err
	}
	var marked int64
	request := store.PageRequest{Limit: maxTogether}
	for {
		page, err := v.DB.Exposures(ctx, reaches, v.Now(), request)
		if err != nil {
			return marked, err
		}
		versions := map[string]int64{}
		for _, x := range page.Items {
			if x.Current {
				versions[x.ID] = x.Version
			}
		}
		n, err := v.DB.MarkEntrusted(ctx, versions, actor.Name+": "+reason, v.Now())
		if marked += n; err != nil || page.Next == "" {
			return marked, err
		}
		request.After = page.Next
	}
}

// reportEvery is how often a process says what it can read.
const reportEvery = 5 * time.Minute

// report writes down which wrapping keys this host can use, unless it just has.
func (v *Vault) report(ctx context.Context, c *custody.Custody) error {
	keys, err := c.Ready(ctx)
	if err != nil || len(keys) == 0 {
		return err
	}
	now := v.Now()
	v.reporting.Lock()
	defer v.reporting.Unlock()
	if said := fmt.Sprint(keys); said != v.said || now.Sub(v.saidAt) >= reportEvery {
		err := v.DB.ReportReader(ctx, v.Host, keys, now)
		if errors.Is(err, tallystick.ErrConflict) { // another process of this host said so at the same instant
			err = v.DB.ReportReader(ctx, v.Host, keys, now)
		}
		if err != nil {
			return err
		}
		v.said, v.saidAt = said, now
	}
	return nil
}

// Report writes down which wrapping keys this host can use, where it uses any. Custody is
// not opened for it when nothing was ever kept.
func (v *Vault) Report(ctx context.Context) error {
	known, err := v.DB.WrappingKeys(ctx)
	if err != nil || len(known) == 0 {
		return err
	}
	one, err := v.open(ctx)
	if err != nil {
		return err
	}
	return v.report(ctx, one)
}

// Run reports again and again until ctx ends, and looks whether the database is as new as
// the witness. failed is told of what could not be done.
func (v *Vault) Run(ctx context.Context, failed func(error)) error {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		if err := v.Report(ctx); err != nil && ctx.Err() == nil {
			failed(err)
		}
		if err := v.Fresh(ctx); err != nil && ctx.Err() == nil {
			failed(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Hosts lists which hosts can or could use which wrapping keys.
func (v *Vault) Hosts(ctx context.Context, actor gate.Actor) ([]store.Reader, error) {
	if err := v.Gate.Check(ctx, actor, gate.ReadVault, "hosts"); err != nil {
		return nil, err
	}
	return v.DB.Readers(ctx, "")
}

// EndHost says that a host can use no wrapping key from now on: it was wiped, or its
// keys were taken away. One that says otherwise later is on record again.
func (v *Vault) EndHost(ctx context.Context, actor gate.Actor, host string) error {
	if err := v.Gate.Check(ctx, actor, gate.ManageVault, "vault: "+host+" can read nothing from now on"); err != nil {
		return err
	}
	return v.DB.EndReader(ctx, host, v.Now())
}

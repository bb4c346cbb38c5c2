// SPDX-License-Identifier: Apache-2.0

package renewal

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
)

// maxPage is how much a list returns at most.
const maxPage = 1000

// A Renewal is what there is to say of one.
type Renewal struct {
	Name        string    `json:"name"`
	Issuer      string    `json:"issuer"`
	Profile     string    `json:"profile"`
	Names       []string  `json:"names"`
	Key         string    `json:"key"`
	KeepKey     bool      `json:"keep_key,omitempty"`
	Directory   string    `json:"directory,omitempty"`
	Hook        *Hook     `json:"hook,omitempty"`
	State       string    `json:"state"` // one of States
	IssuedBy    string    `json:"issued_by,omitempty"`
	NotBefore   time.Time `json:"not_before,omitzero"`
	NotAfter    time.Time `json:"not_after,omitzero"`
	Due         time.Time `json:"due"`
	Why         string    `json:"why"`
	Explanation string    `json:"explanation,omitempty"`
	Failures    int64     `json:"failures,omitempty"`
	Error       string    `json:"error,omitempty"`
	Declared    bool      `json:"declared,omitempty"`
	Created     time.Time `json:"created"`
	CreatedBy   string    `json:"created_by"`
	// Certificate is the newest chain, as PEM.
	Certificate string `json:"certificate,omitempty"`
}

// States returns the words of Renewal.State, the worst first.
func States() []string {
	return []string{"expired", "refused", "failing", "paused", "due", "new", "good"}
}

func renewalOf(r store.Renewal, now time.Time) Renewal {
	one := Renewal{
		Name: r.Name, Issuer: r.Issuer, Profile: r.Profile, Names: r.Names, Key: r.Algorithm, KeepKey: r.KeepKey, Directory: r.Directory, State: stateOf(r, now),
		IssuedBy: r.IssuedBy, NotBefore: r.NotBefore, NotAfter: r.NotAfter, Due: r.Due, Why: r.Why, Explanation: r.Explanation, Failures: r.Failures, Error: r.Error,
		Declared: r.Declared, Created: r.Created, CreatedBy: r.CreatedBy, Certificate: string(r.Certificate),
	}
	if r.Hook != "" {
		var h Hook
		if json.Unmarshal([]byte(r.Hook), &h) == nil {
			one.Hook = &h
		}
	}
	return one
}

func stateOf(r store.Renewal, now time.Time) string {
	switch {
	case !r.NotAfter.IsZero() && !r.NotAfter.After(now):
		return "expired"
	case r.Refused:
		return "refused"
	case r.Failures > 0:
		return "failing"
	case r.Paused:
		return "paused"
	case r.NotAfter.IsZero():
		return "new"
	case !r.Due.After(now):
		return "due"
	}
	return "good"
}

// List returns at most limit renewals in the order of their names, from behind after on.
func (e *Engine) List(ctx context.Context, who gate.Actor, f store.RenewalFilter, after string, limit int) ([]Renewal, error) {
	if err := e.Gate.Check(ctx, who, gate.ReadInventory, "renewals"); err != nil {
		return nil, err
	}
	if err := checkFilter(f); err != nil {
		return nil, err
	}
	f.Now = e.Now()
	rows, err := e.DB.Renewals(ctx, f, after, min(max(limit, 1), maxPage))
	if err != nil {
		return nil, err
	}
	list := make([]Renewal, len(rows))
	for i, r := range rows {
		list[i] = renewalOf(r, f.Now)
	}
	return list, nil
}

// Get returns one renewal.
func (e *Engine) Get(ctx context.Context, who gate.Actor, name string) (Renewal, error) {
	if err := e.Gate.Check(ctx, who, gate.ReadInventory, "renewal "+name); err != nil {
		return Renewal{}, err
	}
	r, err := e.DB.Renewal(ctx, name)
	if err != nil {
		return Renewal{}, err
	}
	return renewalOf(r, e.Now()), nil
}

// An Order is what there is to say of one.
type Order struct {
	ID       int64     `json:"id"`
	Renewal  string    `json:"renewal,omitempty"`
	Issuer   string    `json:"issuer"`
	Profile  string    `json:"profile"`
	Why      string    `json:"why"`
	Step     string    `json:"step"`
	Failures int64     `json:"failures,omitempty"`
	Error    string    `json:"error,omitempty"`
	Next     time.Time `json:"next,omitzero"` // of one that is not over
	Began    time.Time `json:"began"`
	Ended    time.Time `json:"ended,omitzero"`
}

// Orders returns at most limit orders of a renewal, or of all when name is "", whose
// number is below before, the newest first; before 0 is from the newest on.
func (e *Engine) Orders(ctx context.Context, who gate.Actor, name string, before int64, limit int) ([]Order, error) {
	if err := e.Gate.Check(ctx, who, gate.ReadInventory, "orders "+name); err != nil {
		return nil, err
	}
	var of int64
	names := map[int64]string{}
	if name != "" {
		r, err := e.DB.Renewal(ctx, name)
		if err != nil {
			return nil, err
		}
		of, names[r.ID] = r.ID, r.Name
	}
	rows, err := e.DB.RenewalOrders(ctx, of, before, min(max(limit, 1), maxPage))
	if err != nil {
		return nil, err
	}
	list := make([]Order, len(rows))
	for i, o := range rows {
		called, known := names[o.Renewal]
		if !known {
			r, err := e.DB.RenewalByID(ctx, o.Renewal)
			if err != nil {
				return nil, err
			}
			called, names[o.Renewal] = r.Name, r.Name
		}
		list[i] = Order{ID: o.ID, Renewal: called, Issuer: o.Issuer, Profile: o.Profile, Why: o.Why, Step: o.Step, Failures: o.Failures, Error: o.Error, Began: o.Began, Ended: o.Ended}
		if o.Ended.IsZero() {
			list[i].Next = o.Next
		}
	}
	return list, nil
}

// An IssuerState is what there is to say of an issuer.
type IssuerState struct {
	Name   string   `json:"name"`
	Driver string   `json:"driver"`
	Verbs  []string `json:"verbs"` // issue, look (it says when to renew), revoke
	// Renewals is how many renewals have it, and Failing how many of those fail now.
	Renewals int64 `json:"renewals"`
	Failing  int64 `json:"failing"`
	// LastHour and LastWeek are how many orders were begun in this hour of the clock
	// and in the last 168, and PerHour and PerWeek how many may be; 0 is any number.
	LastHour int64 `json:"last_hour"`
	LastWeek int64 `json:"last_week"`
	PerHour  int   `json:"per_hour"`
	PerWeek  int   `json:"per_week"`
	// Resting says that it did not answer and is left alone for a moment.
	Resting bool `json:"resting,omitempty"`
}

// IssuerStates returns all issuers: the CAs of ours that sign, those of the
// configuration, and those that renewals name and that are not there any more.
func (e *Engine) IssuerStates(ctx context.Context, who gate.Actor) ([]IssuerState, error) {
	if err := e.Gate.Check(ctx, who, gate.ReadInventory, "issuers"); err != nil {
		return nil, err
	}
	var list []IssuerState
	if e.CA != nil {
		all, err := e.CA.Authorities(ctx)
		if err != nil {
			return nil, err
		}
		for _, a := range all {
			if a.Kind == ca.KindX509 && a.State == ca.Active {
				list = append(list, IssuerState{Name: OwnPrefix + a.Name, Driver: "ca", Verbs: []string{"issue", "look"}})
			}
		}
	}
	for _, i := range e.Issuers {
		verbs := []string{"issue"}
		if _, ok := i.Issuer.(driver.StandingLooker); ok {
			verbs = append(verbs, "look")
		}
		if _, ok := i.Issuer.(driver.Revoker); ok {
			verbs = append(verbs, "revoke")
		}
		list = append(list, IssuerState{Name: i.Name, Driver: i.Driver, Verbs: verbs, PerHour: i.Budget.PerHour, PerWeek: i.Budget.PerWeek})
	}
	return e.countAt(ctx, list)
}

// countAt fills in the numbers of issuers.
func (e *Engine) countAt(ctx context.Context, list []IssuerState) ([]IssuerState, error) {
	counts, err := e.DB.CountAtIssuers(ctx)
	if err != nil {
		return nil, err
	}
	hour, week, err := e.DB.IssuerHours(ctx, e.Now())
	if err != nil {
		return nil, err
	}
	for name := range counts {
		if !slices.ContainsFunc(list, func(i IssuerState) bool { return i.Name == name }) {
			list = append(list, IssuerState{Name: name, Verbs: []string{}})
		}
	}
	for i := range list {
		one := &list[i]
		n := counts[one.Name]
		one.Renewals, one.Failing, one.LastHour, one.LastWeek, one.Resting = n[0], n[1], hour[one.Name], week[one.Name], !e.rested(one.Name)
	}
	slices.SortFunc(list, func(a, b IssuerState) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// Stats are numbers for a monitor.
type Stats struct {
	store.RenewalNumbers
	Late     time.Duration    // since when the first of those due waits; 0 when none does
	LastHour map[string]int64 // orders begun in this hour of the clock, by issuer
}

// Stats counts. It is for the program itself and asks no gate.
func (e *Engine) Stats(ctx context.Context) (Stats, error) {
	numbers, err := e.DB.CountRenewals(ctx, e.Now())
	if err != nil {
		return Stats{}, err
	}
	s := Stats{RenewalNumbers: numbers}
	if !s.Oldest.IsZero() {
		s.Late = e.Now().Sub(s.Oldest)
	}
	s.LastHour, _, err = e.DB.IssuerHours(ctx, e.Now())
	return s, err
}

// checkFilter refuses a filter with words that are none.
func checkFilter(f store.RenewalFilter) error {
	states := []string{"", "paused", "refused", "failing", "overdue", "expired", "waiting"}
	if !slices.Contains(states, f.State) {
		return fmt.Errorf("%w: there is no state %q: it is one of %s", tallystick.ErrInvalid, f.State, strings.Join(states[1:], ", "))
	}
	return nil
}

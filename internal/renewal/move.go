// SPDX-License-Identifier: Apache-2.0

package renewal

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// A Selection picks renewals by patterns, in which * stands for anything within a
// part and ? for one letter (path.Match). Of each list that is not empty, one
// pattern must fit.
type Selection struct {
	Renewals []string `json:"renewals,omitempty"` // what they are called
	Names    []string `json:"names,omitempty"`    // of what they certify, one of which must fit
	Issuers  []string `json:"issuers,omitempty"`
	Profiles []string `json:"profiles,omitempty"`
}

// A MoveRequest says what goes where.
type MoveRequest struct {
	Selection
	To string `json:"to"` // the issuer
	// ProfilesThere are the new names of profiles that are called otherwise there.
	ProfilesThere map[string]string `json:"profiles_there,omitempty"`
	// NamesThere are names that become others: a name, or *.zone for all that end in
	// .zone, and what takes the place; "" leaves the name out.
	NamesThere map[string]string `json:"names_there,omitempty"`
	// Waves are how many go first, in percent of all, growing; what is left goes last.
	// The first wave has one at least. Without any it is one, then a tenth, then all.
	Waves []int `json:"waves,omitempty"`
	// Skip leaves out what the new issuer would refuse; otherwise nothing begins then.
	Skip bool `json:"skip,omitempty"`
}

// A Move is what there is to say of one.
type Move struct {
	ID        int64            `json:"id,omitempty"` // 0: it was tried only
	To        string           `json:"to"`
	State     string           `json:"state"` // running, done, stopped; tried
	Wave      int64            `json:"wave"`
	Waves     int64            `json:"waves"`
	Error     string           `json:"error,omitempty"`
	Created   time.Time        `json:"created,omitzero"`
	CreatedBy string           `json:"created_by,omitempty"`
	Ended     time.Time        `json:"ended,omitzero"`
	Counts    map[string]int64 `json:"counts"` // items by state
	Items     []Item           `json:"items,omitempty"`
	// Unforeseen says that nobody can tell beforehand what the issuer will refuse.
	Unforeseen bool `json:"unforeseen,omitempty"`
}

// An Item is one renewal of a move.
type Item struct {
	Renewal string     `json:"renewal"`
	Wave    int64      `json:"wave,omitempty"`
	State   string     `json:"state"` // waiting, running, done, failed, refused
	Before  store.Home `json:"before"`
	After   store.Home `json:"after"`
	Error   string     `json:"error,omitempty"`
}

// maxMove is how many renewals one move takes.
const maxMove = 100_000

// TryMove says what a move would do, and does nothing.
func (e *Engine) TryMove(ctx context.Context, who gate.Actor, request MoveRequest) (Move, error) {
	if err := e.Gate.Check(ctx, who, gate.ManageRenewals, "try move to "+request.To); err != nil {
		return Move{}, err
	}
	items, err := e.plan(ctx, who, request)
	if err != nil {
		return Move{}, err
	}
	m := Move{To: request.To, State: "tried", Waves: wavesOf(items), Counts: map[string]int64{}, Items: itemsOf(items), Unforeseen: !strings.HasPrefix(request.To, OwnPrefix)}
	for _, i := range items {
		m.Counts[i.State]++
	}
	return m, nil
}

// Move takes renewals to another issuer, in waves: the first goes alone, and each
// begins when all of the one before it have their new certificates in their places.
// When one of a wave fails, it goes back to the issuer that it had, and the move
// stops after that wave. It goes on over restarts.
func (e *Engine) Move(ctx context.Context, who gate.Actor, request MoveRequest) (Move, error) {
	if err := e.Gate.Check(ctx, who, gate.ManageRenewals, "move to "+request.To); err != nil {
		return Move{}, err
	}
	items, err := e.plan(ctx, who, request)
	if err != nil {
		return Move{}, err
	}
	refused := 0
	var why string
	for _, i := range items {
		if i.State == store.ItemRefused {
			refused++
			why = i.Name + ": " + i.Error
		}
	}
	if refused == len(items) || refused > 0 && !request.Skip {
		err := fmt.Errorf("%w: %d of %d would be refused, such as %s", tallystick.ErrInvalid, refused, len(items), why)
		return Move{}, problem.With(err, "try it first to see all of them; --skip leaves them where they are")
	}
	plan, err := json.Marshal(request)
	if err != nil {
		return Move{}, err
	}
	m, err := e.DB.AddMove(ctx, store.Move{
		Target: request.To, Plan: string(plan), State: store.MoveRunning, Wave: 1, Waves: wavesOf(items), Created: e.Now().UTC().Truncate(time.Microsecond), CreatedBy: who.Name,
	}, items)
	if errors.Is(err, tallystick.ErrConflict) {
		err = problem.With(err, "Some of these are on their way with another move. See \"tally renew move list\"; stop that one, or wait for it.")
	}
	if err != nil {
		return Move{}, err
	}
	e.Wake()
	return e.moveOf(ctx, m, true)
}

// plan returns what a move would take along, with its waves, and what would be refused.
func (e *Engine) plan(ctx context.Context, who gate.Actor, request MoveRequest) ([]store.MoveItem, error) {
	if err := request.check(); err != nil {
		return nil, err
	}
	if _, err := e.issuer(request.To); err != nil {
		return nil, err
	}
	if err := e.known(ctx, request.To); err != nil {
		return nil, err
	}
	var items []store.MoveItem
	keys := map[string]crypto.PublicKey{}
	for after := ""; ; {
		page, err := e.DB.Renewals(ctx, store.RenewalFilter{}, after, maxPage)
		if err != nil {
			return nil, err
		}
		for _, r := range page {
			after = r.Name
			if !request.picks(r) {
				continue
			}
			item := request.item(r)
			if item.State == store.ItemWaiting {
				if err := e.foretell(ctx, who, &item, r, keys); err != nil {
					return nil, err
				}
			}
			items = append(items, item)
		}
		if len(items) > maxMove {
			return nil, fmt.Errorf("%w: a move takes at most %d renewals", tallystick.ErrInvalid, maxMove)
		}
		if len(page) < maxPage {
			break
		}
	}
	if len(items) == 0 {
		return nil, problem.With(fmt.Errorf("%w: no renewal is picked by that, or all of them are there already", tallystick.ErrInvalid), `"tally renew list" shows them`)
	}
	request.assign(items)
	return items, nil
}

func (m MoveRequest) check() error {
	for _, list := range [][]string{m.Renewals, m.Names, m.Issuers, m.Profiles} {
		for _, pattern := range list {
			if _, err := path.Match(pattern, ""); err != nil {
				return fmt.Errorf("%w: the pattern %.80q is malformed", tallystick.ErrInvalid, pattern)
			}
		}
	}
	before := 0
	for _, percent := range m.Waves {
		if percent <= before || percent > 100 {
			return problem.With(fmt.Errorf("%w: waves are percentages that grow", tallystick.ErrInvalid), "such as 1, 10, 50")
		}
		before = percent
	}
	return nil
}

// picks says whether a renewal is meant. One that is at the issuer already is not.
func (m MoveRequest) picks(r store.Renewal) bool {
	fits := func(patterns []string, words ...string) bool {
		return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool {
			return slices.ContainsFunc(words, func(w string) bool { ok, _ := path.Match(p, w); return ok })
		})
	}
	return r.Issuer != m.To && fits(m.Renewals, r.Name) && fits(m.Names, r.Names...) && fits(m.Issuers, r.Issuer) && fits(m.Profiles, r.Profile)
}

// item returns what becomes of a renewal.
func (m MoveRequest) item(r store.Renewal) store.MoveItem {
	i := store.MoveItem{
		Renewal: r.ID, Name: r.Name, State: store.ItemWaiting, Before: store.Home{Issuer: r.Issuer, Profile: r.Profile, Names: r.Names},
		After: store.Home{Issuer: m.To, Profile: r.Profile},
	}
	if there, ok := m.ProfilesThere[r.Profile]; ok {
		i.After.Profile = there
	}
	var names []string
	for _, name := range r.Names {
		if there := m.nameThere(name); there != "" {
			names = append(names, there)
		}
	}
	var err error
	if i.After.Names, err = normalNames(names); err != nil {
		i.State, i.Error = store.ItemRefused, err.Error()
	}
	return i
}

// nameThere returns what a name becomes.
func (m MoveRequest) nameThere(name string) string {
	if there, ok := m.NamesThere[name]; ok {
		return there
	}
	for _, pattern := range slices.Sorted(maps.Keys(m.NamesThere)) {
		zone, wild := strings.CutPrefix(pattern, "*")
		if head, ok := strings.CutSuffix(name, zone); wild && ok && head != "" {
			there := m.NamesThere[pattern]
			if there == "" {
				return ""
			}
			return head + strings.TrimPrefix(there, "*")
		}
	}
	return name
}

// assign gives items their waves.
func (m MoveRequest) assign(items []store.MoveItem) {
	var waiting []*store.MoveItem
	for i := range items {
		if items[i].State == store.ItemWaiting {
			waiting = append(waiting, &items[i])
		}
	}
	ends := []int{1, (len(waiting) + 9) / 10}
	if len(m.Waves) > 0 {
		ends = nil
		for _, percent := range m.Waves {
			ends = append(ends, max(len(waiting)*percent/100, 1))
		}
	}
	ends = append(ends, len(waiting))
	wave, done := int64(0), 0
	for _, end := range ends {
		if end <= done {
			continue
		}
		wave++
		for _, i := range waiting[done:min(end, len(waiting))] {
			i.Wave = wave
		}
		done = end
	}
}

func wavesOf(items []store.MoveItem) int64 {
	var waves int64
	for _, i := range items {
		waves = max(waves, i.Wave)
	}
	return waves
}

func itemsOf(items []store.MoveItem) []Item {
	list := make([]Item, len(items))
	for n, i := range items {
		list[n] = Item{Renewal: i.Name, Wave: i.Wave, State: i.State, Before: i.Before, After: i.After, Error: i.Error}
	}
	return list
}

// foretell marks an item that the new issuer would refuse, as far as that can be told.
func (e *Engine) foretell(ctx context.Context, who gate.Actor, i *store.MoveItem, r store.Renewal, keys map[string]crypto.PublicKey) error {
	there := r
	there.Issuer, there.Profile, there.Names = i.After.Issuer, i.After.Profile, i.After.Names
	there.Name, there.Directory = "", r.Directory
	other, err := e.DB.SameRenewal(ctx, there)
	if err == nil {
		i.State, i.Error = store.ItemRefused, "the renewal "+other.Name+" is for the same names there already"
		return nil
	}
	authority, ours := strings.CutPrefix(i.After.Issuer, OwnPrefix)
	if !errors.Is(err, tallystick.ErrNotFound) || !ours {
		return ignoreNotFound(err)
	}
	key, made := keys[r.Algorithm]
	if !made {
		if key, err = sampleKey(r.Algorithm); err != nil {
			return err
		}
		keys[r.Algorithm] = key
	}
	names := namesFor(i.After.Names)
	request := ca.Request{Authority: authority, Profile: i.After.Profile, PublicKey: key, Names: &names, Lifetime: r.Lifetime, Via: ca.ViaRenewal}
	decision, err := e.CA.Try(ctx, who, actorOf(r.Name), request)
	switch {
	case errors.Is(err, tallystick.ErrDenied), errors.Is(err, tallystick.ErrInvalid), errors.Is(err, tallystick.ErrNotFound):
		i.State, i.Error = store.ItemRefused, err.Error()
		return nil
	case err == nil && !decision.Allowed:
		i.State, i.Error = store.ItemRefused, decision.Why
	case err == nil && decision.Approval:
		i.Error = "somebody must approve it"
	}
	return err
}

func ignoreNotFound(err error) error {
	if errors.Is(err, tallystick.ErrNotFound) {
		return nil
	}
	return err
}

// sampleKey makes a public key of a sort, to ask what would be said of one.
func sampleKey(kind string) (crypto.PublicKey, error) {
	if kind == "" {
		kind = string(custody.P256)
	}
	key, err := custody.Generate(custody.KeyType(kind))
	if err != nil {
		return nil, fmt.Errorf("couldn't make a key to try with: %w", err)
	}
	return key.Public(), nil
}

// namesFor sorts names by what they are.
func namesFor(names []string) ca.Names {
	var n ca.Names
	for _, name := range names {
		if ip, err := netip.ParseAddr(name); err == nil {
			n.IPs = append(n.IPs, ip)
			continue
		}
		switch {
		case strings.Contains(name, "://"):
			n.URIs = append(n.URIs, name)
		case strings.Contains(name, "@"):
			n.Emails = append(n.Emails, name)
		default:
			n.DNS = append(n.DNS, name)
		}
	}
	return n
}

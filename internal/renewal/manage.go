// SPDX-License-Identifier: Apache-2.0

package renewal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// DefaultProfile is what a certificate is for unless it is said otherwise.
const DefaultProfile = "server"

// A Wanted is what somebody wants to have renewed.
type Wanted struct {
	Name      string        `json:"name"`
	Issuer    string        `json:"issuer"`
	Profile   string        `json:"profile"`
	Names     []string      `json:"names"`
	Key       string        `json:"key,omitempty"`       // a custody.KeyType; "" is ecdsa-p256
	KeepKey   bool          `json:"keep_key,omitempty"`  // from certificate to certificate, unless it is recalled
	Lifetime  time.Duration `json:"lifetime,omitempty"`  // 0: what the issuer gives
	Share     float64       `json:"share,omitempty"`     // of the lifetime; 0 is two thirds
	Directory string        `json:"directory,omitempty"` // where its files are written; "" nowhere
	Hook      *Hook         `json:"hook,omitempty"`
}

// row checks what is wanted, and returns it as it is stored.
func (e *Engine) row(w Wanted) (store.Renewal, error) {
	wrong := func(hint, format string, args ...any) error {
		return problem.With(fmt.Errorf("%w: "+format, append([]any{tallystick.ErrInvalid}, args...)...), hint)
	}
	r := store.Renewal{
		Name: w.Name, Issuer: w.Issuer, Profile: w.Profile, Algorithm: w.Key, KeepKey: w.KeepKey, Lifetime: w.Lifetime, Share: DefaultShare, Directory: w.Directory,
	}
	if r.Profile == "" {
		r.Profile = DefaultProfile
	}
	if r.Algorithm == "" {
		r.Algorithm = string(custody.P256)
	}
	switch {
	case !nameForm.MatchString(w.Name):
		return r, wrong("call it shop-front, or the like", "the name of a renewal has lower-case letters, digits and hyphens, and at most 63 of them")
	case !slices.Contains(custody.KeyWords(), r.Algorithm):
		return r, wrong("it is one of "+strings.Join(custody.KeyWords(), ", "), "there is no sort of key %.40q", w.Key)
	case w.Lifetime < 0 || w.Lifetime > 0 && w.Lifetime < time.Minute:
		return r, wrong("", "a lifetime is at least 1m")
	case w.Share != 0 && (w.Share < 0.1 || w.Share > 0.9):
		return r, wrong("leave it out to renew after two thirds", "the share of the lifetime is between 0.1 and 0.9")
	case w.Directory != "" && (!filepath.IsAbs(w.Directory) || filepath.Clean(w.Directory) == "/" || strings.ContainsRune(w.Directory, 0)):
		return r, wrong("write it as /etc/ssl/shop-front", "the directory is an absolute path")
	case len(r.Profile) > 63 || strings.ContainsFunc(r.Profile, func(c rune) bool { return c <= ' ' || c > '~' }):
		return r, wrong("", "the name of a profile has at most 63 letters, digits and signs, and no spaces")
	}
	if w.Directory != "" {
		r.Directory = filepath.Clean(w.Directory)
	}
	if w.Share != 0 {
		r.Share = int64(w.Share*1000 + 0.5)
	}
	var err error
	if r.Names, err = normalNames(w.Names); err != nil {
		return r, err
	}
	if w.Hook != nil {
		if err := w.Hook.check(); err != nil {
			return r, err
		}
		text, err := json.Marshal(w.Hook)
		if err != nil {
			return r, err
		}
		r.Hook = string(text)
	}
	_, err = e.issuer(w.Issuer)
	return r, err
}

// Add adds a renewal; its first order begins at once. Files and commands are those of
// the user that Tallystick runs as, so that only administrators say where and what.
func (e *Engine) Add(ctx context.Context, who gate.Actor, w Wanted) (Renewal, error) {
	action := gate.ManageRenewals
	if w.Directory != "" || w.Hook != nil {
		action = gate.ManageDelivery
	}
	if err := e.Gate.Check(ctx, who, action, "add "+w.Name); err != nil {
		return Renewal{}, err
	}
	r, err := e.row(w)
	if err != nil {
		return Renewal{}, err
	}
	if err := e.known(ctx, r.Issuer); err != nil {
		return Renewal{}, err
	}
	r.Created = e.Now().UTC().Truncate(time.Microsecond)
	r.Due, r.Why, r.CreatedBy = r.Created, store.DueNew, who.Name
	added, err := e.DB.AddRenewal(ctx, r)
	if err != nil {
		return Renewal{}, e.taken(ctx, r, err)
	}
	e.Wake()
	return renewalOf(added, e.Now()), nil
}

// known is ErrNotFound for a CA of ours that is not there.
func (e *Engine) known(ctx context.Context, issuer string) error {
	name, ours := strings.CutPrefix(issuer, OwnPrefix)
	if !ours || e.CA == nil {
		return nil
	}
	all, err := e.CA.Authorities(ctx)
	if err != nil {
		return err
	}
	for _, a := range all {
		if a.Name == name {
			return nil
		}
	}
	return problem.With(fmt.Errorf("there is no issuer %q: %w", issuer, tallystick.ErrNotFound), `run "tally issuers" to see them`)
}

// taken says what is in the way of a renewal that could not be added.
func (e *Engine) taken(ctx context.Context, r store.Renewal, err error) error {
	if !errors.Is(err, tallystick.ErrConflict) {
		return err
	}
	other, looked := e.DB.SameRenewal(ctx, r)
	switch {
	case looked != nil:
		return err
	case other.Name == r.Name:
		return problem.With(err, fmt.Sprintf("There is a renewal called %s already. Choose another name, or remove that one first.", other.Name))
	case r.Directory != "" && other.Directory == r.Directory:
		return problem.With(err, fmt.Sprintf("The renewal %s writes to %s already. Name another directory, or remove that one first.", other.Name, other.Directory))
	}
	return problem.With(err, fmt.Sprintf("The renewal %s is for the same names from the same issuer already. Use that one, or give this one a directory of its own.", other.Name))
}

// Pause keeps a renewal from going on; an order that is under way rests.
func (e *Engine) Pause(ctx context.Context, who gate.Actor, name string) error {
	return e.turn(ctx, who, "pause", name, func(r store.Renewal) error { return e.DB.PauseRenewal(ctx, r.ID, true) })
}

// Resume lets a paused renewal go on.
func (e *Engine) Resume(ctx context.Context, who gate.Actor, name string) error {
	return e.turn(ctx, who, "resume", name, func(r store.Renewal) error { return e.DB.PauseRenewal(ctx, r.ID, false) })
}

// Ask has a certificate renewed now, whatever failed before. When an order is under
// way, that one goes on at once.
func (e *Engine) Ask(ctx context.Context, who gate.Actor, name string) error {
	return e.turn(ctx, who, "ask", name, func(r store.Renewal) error {
		if r.Paused {
			return problem.With(fmt.Errorf("%w: the renewal %s is paused", tallystick.ErrInvalid, name), `let it go on first: "tally renew resume"`)
		}
		why := store.DueAsked
		if r.Why == store.DueRecall && !r.Due.After(e.Now()) {
			why = store.DueRecall // its key must not be kept
		}
		return e.DB.AskRenewal(ctx, r.ID, why, e.Now())
	})
}

// Remove forgets a renewal and destroys its keys here. Files that were written stay.
func (e *Engine) Remove(ctx context.Context, who gate.Actor, name string) error {
	return e.turn(ctx, who, "remove", name, func(r store.Renewal) error {
		keys, err := e.DB.RemoveRenewal(ctx, r.ID)
		return errors.Join(err, e.destroy(ctx, keys))
	})
}

// turn changes a renewal.
func (e *Engine) turn(ctx context.Context, who gate.Actor, verb, name string, change func(store.Renewal) error) error {
	if err := e.Gate.Check(ctx, who, gate.ManageRenewals, verb+" "+name); err != nil {
		return err
	}
	r, err := e.DB.Renewal(ctx, name)
	if err != nil {
		return err
	}
	if err := change(r); err != nil {
		return err
	}
	e.Wake()
	return nil
}

// Declare makes the renewals of the configuration as it says: new ones are added,
// those that have changed are changed and, where another certificate is wanted, due
// at once, and those that it does not name any more are paused. It is called once,
// at the start. Mistakes are told together; they keep nobody else's renewals back.
func (e *Engine) Declare(ctx context.Context, list []Wanted) error {
	var mistakes []error
	named := map[string]bool{}
	for _, w := range list {
		named[w.Name] = true
		if err := e.declare(ctx, w); err != nil {
			mistakes = append(mistakes, fmt.Errorf("the renewal %q of the configuration: %w", w.Name, err))
		}
	}
	for after := ""; ; {
		page, err := e.DB.Renewals(ctx, store.RenewalFilter{Declared: true}, after, maxPage)
		if err != nil {
			return errors.Join(append(mistakes, err)...)
		}
		for _, r := range page {
			if after = r.Name; !named[r.Name] && !r.Paused {
				r.Paused, r.Error = true, `it stands in the configuration no more; "tally renew remove" forgets it`
				mistakes = append(mistakes, e.DB.ChangeRenewal(ctx, r))
			}
		}
		if len(page) < maxPage {
			return errors.Join(mistakes...)
		}
	}
}

func (e *Engine) declare(ctx context.Context, w Wanted) error {
	r, err := e.row(w)
	if err != nil {
		return err
	}
	r.Declared, r.Created = true, e.Now().UTC().Truncate(time.Microsecond)
	was, err := e.DB.Renewal(ctx, w.Name)
	if errors.Is(err, tallystick.ErrNotFound) {
		r.Due, r.Why, r.CreatedBy = r.Created, store.DueNew, "configuration"
		_, err := e.DB.AddRenewal(ctx, r)
		return e.taken(ctx, r, err)
	}
	if err != nil {
		return err
	}
	now := was
	now.Issuer, now.Profile, now.Names, now.Algorithm, now.Lifetime, now.Share, now.KeepKey = r.Issuer, r.Profile, r.Names, r.Algorithm, r.Lifetime, r.Share, r.KeepKey
	now.Directory, now.Hook, now.Declared = r.Directory, r.Hook, true
	if !was.Declared || was.Paused && strings.HasPrefix(was.Error, "it stands in the configuration no more") {
		now.Paused, now.Error = false, ""
	}
	if was.Issuer != r.Issuer || was.Profile != r.Profile || !slices.Equal(was.Names, r.Names) || was.Algorithm != r.Algorithm || was.Directory != r.Directory {
		now.Due, now.Why = r.Created, store.DueMoved
	}
	if fmt.Sprint(was) == fmt.Sprint(now) {
		return nil
	}
	return e.taken(ctx, r, e.DB.ChangeRenewal(ctx, now))
}

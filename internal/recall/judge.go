// SPDX-License-Identifier: Apache-2.0

package recall

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/store"
)

// judge makes an outcome of what a door said.
func (e *Engine) judge(ctx context.Context, s store.ClaimedStep, t doors.Task, r doors.Result, err error) outcome {
	if s.Act == tallystick.ActHold {
		return e.judgeHold(ctx, s, r, err)
	}
	if err != nil {
		return failedAct(s, t, r, err)
	}
	o := outcome{result: r}
	switch s.Act {
	case tallystick.ActKey:
		if t.Secret != nil {
			break
		}
		// An agent may be in wrong hands: it gets a certificate for what the old one is for.
		if o.err = doors.CheckRequest(t, r); o.err != nil {
			o.final = true
		}
		if len(r.SSH) > 0 {
			o.fresh = bestName(driver.Public{SSH: r.SSH})
		}
	case tallystick.ActInstall:
		if t.Secret != nil {
			o.said = installedSecretWords(s)
			break
		}
		o.err = shownEverywhere(r, t.New)
		o.said = fmt.Sprintf("%s has the new one.", s.Door)
		if takesBack(s) {
			o.said = fmt.Sprintf("%s has the old one again.", s.Door)
		}
	case tallystick.ActProbe:
		o.err = allAccepted(t.Listeners, r.Attempts)
		o.final = spent(t, r)
	case tallystick.ActBlock:
		o.said = blockedWords(s, r)
	case tallystick.ActLift:
		o.said = fmt.Sprintf("%s lets the old one in again.", s.Door)
	case tallystick.ActProve:
		if o.err = proven(t, r); t.Secret != nil {
			o.err, o.final = provenSecret(t, r), spent(t, r)
		}
	}
	return o
}

// failedAct is the outcome of an act that came to an error, with what was tried until then.
func failedAct(s store.ClaimedStep, t doors.Task, r doors.Result, err error) outcome {
	o := outcome{err: err, final: refused(err) || spent(t, r), asks: asks(s, t, err)}
	if len(r.Attempts)+len(r.NewAttempts) > 0 {
		o.result = r
	}
	return o
}

func blockedWords(s store.ClaimedStep, r doors.Result) string {
	text := fmt.Sprintf("%s refuses the old one", s.Door)
	if r.Blocked != nil && len(r.Blocked.How) > 0 {
		text += " (" + strings.Join(r.Blocked.How, ", ") + ")"
	}
	if r.Blocked != nil && r.Blocked.Closed > 0 {
		text += fmt.Sprintf("; %s closed", counted(r.Blocked.Closed, "open connection"))
	}
	if r.Blocked != nil && len(r.Blocked.Left) > 0 {
		text += "; still open: " + strings.Join(r.Blocked.Left, ", ")
	}
	return text + "."
}

// refused says that an error will be the same next time.
func refused(err error) bool {
	return (errors.Is(err, tallystick.ErrInvalid) || errors.Is(err, tallystick.ErrDenied)) && !temporary(err)
}

// asks says what the people of a door have to do when it denies a change to us; "" when that
// is not what the error says. What takes a step back is no matter for them.
func asks(s store.ClaimedStep, t doors.Task, err error) string {
	if !errors.Is(err, tallystick.ErrDenied) || takesBack(s) || t.Secret != nil {
		return ""
	}
	switch s.Act {
	case tallystick.ActTrust:
		return fmt.Sprintf("The door %s does not let Tallystick change it. Have its people let the new credential %s in beside the old %s, with the same rights. "+
			"The door is looked at again and again; where it does not show what they did, say that it is done.", s.Door, bestName(t.New), bestName(t.Old))
	case tallystick.ActBlock:
		return fmt.Sprintf("The door %s does not let Tallystick change it. Have its people take the old credential %s out, and end its sessions. "+
			"The door is looked at again and again; where it does not show what they did, say that it is done.", s.Door, bestName(t.Old))
	}
	return ""
}

// judgeHold takes what could be held. A door that refuses the old one already needs no
// session of it; after a deadline that blocks nobody waits for one.
func (e *Engine) judgeHold(ctx context.Context, s store.ClaimedStep, r doors.Result, err error) outcome {
	if err == nil {
		failed := slices.ContainsFunc(r.Attempts, func(a driver.Attempt) bool { return a.Outcome == driver.OutcomeFailed && a.Way != driver.WayOpen })
		if !failed {
			return outcome{result: r}
		}
		err = fmt.Errorf("%w: %s", tallystick.ErrUnavailable, firstOf(r.Attempts, driver.OutcomeFailed))
	}
	row, rowErr := e.DB.Recall(ctx, s.Recall)
	if rowErr != nil {
		return outcome{err: rowErr}
	}
	blocked := !row.Blocked.IsZero() && row.AtDeadline == tallystick.AtDeadlineBlock
	if blocked || s.Key == nil || errors.Is(err, tallystick.ErrNotFound) {
		return outcome{result: notHeld{err.Error()}, said: fmt.Sprintf("No session of the old one could be kept at %s: %s", s.Door, err)}
	}
	return outcome{err: err, final: refused(err)}
}

// notHeld is the result of a hold that came to nothing.
type notHeld struct {
	NotHeld string `json:"not_held"`
}

// shownEverywhere is an error when a listener shows something else after an install.
func shownEverywhere(r doors.Result, want driver.Public) error {
	if r.Installed == nil {
		return fmt.Errorf("%w: the door does not say what it shows", tallystick.ErrInvalid)
	}
	for _, shown := range r.Installed.Shown {
		if shown.Live && !shown.Is(want) {
			return fmt.Errorf("%s shows %s, which is not what was installed", shown.At, bestName(shown.Public))
		}
	}
	return nil
}

// allAccepted is an error unless every listener accepted the credential in every try.
func allAccepted(listeners []driver.Listener, attempts []driver.Attempt) error {
	for _, a := range attempts {
		switch a.Outcome {
		case driver.OutcomeRefused:
			return fmt.Errorf("the new one is refused: %s", describe(a))
		case driver.OutcomeFailed:
			return fmt.Errorf("%w: the new one could not be tried: %s", tallystick.ErrUnavailable, describe(a))
		}
	}
	if l, all := triedEverywhere(listeners, attempts, driver.OutcomeAccepted); !all {
		return fmt.Errorf("%w: the new one was not tried at %s", tallystick.ErrUnavailable, l.Address)
	}
	return nil
}

// triedEverywhere says whether every listener gave an outcome to a fresh connection, or which did not.
func triedEverywhere(listeners []driver.Listener, attempts []driver.Attempt, outcome string) (driver.Listener, bool) {
	for _, l := range listeners {
		if !slices.ContainsFunc(attempts, func(a driver.Attempt) bool {
			return a.Listener.Address == l.Address && a.Outcome == outcome && strings.HasPrefix(a.Way, driver.WayFresh)
		}) {
			return l, false
		}
	}
	return driver.Listener{}, true
}

// proven is an error unless the old one is refused in every way that was tried, at every
// listener, and the new one is accepted. A session that was not resumed says nothing, and
// the fresh connection in its place has an attempt of its own. A connection that ended is
// not one that is still open. What could not be tried is no proof.
func proven(t doors.Task, r doors.Result) error {
	if t.OldKeyName == "" {
		return provenByLook(t, r)
	}
	for _, a := range r.Attempts {
		switch {
		case a.Outcome == driver.OutcomeAccepted:
			return fmt.Errorf("the old one still gets in: %s", describe(a))
		case a.Outcome == driver.OutcomeFailed && a.Way != driver.WayOpen:
			return fmt.Errorf("%w: the old one could not be tried: %s", tallystick.ErrUnavailable, describe(a))
		}
	}
	if l, all := triedEverywhere(t.Listeners, r.Attempts, driver.OutcomeRefused); !all || len(r.Attempts) == 0 {
		return fmt.Errorf("%w: the old one was not tried at %s", tallystick.ErrUnavailable, l.Address)
	}
	if len(t.New.Names()) == 0 {
		return nil
	}
	return allAccepted(t.Listeners, r.NewAttempts)
}

// provenByLook is an error unless nothing shows the old one, or, of a door that lets
// others in and where nobody has the old key, the door says that it does not let it in.
func provenByLook(t doors.Task, r doors.Result) error {
	if r.View == nil {
		return fmt.Errorf("%w: the door does not say how it stands", tallystick.ErrInvalid)
	}
	for _, shown := range r.View.Shown {
		if shown.Is(t.Old) {
			return fmt.Errorf("%s still has the old one", shown.At)
		}
	}
	if len(t.Like.Names()) > 0 {
		return deniedByLook(t.Old, r.View)
	}
	served := ""
	switch {
	case len(t.Old.Chain) > 0:
		served = string(tallystick.FingerprintOf(t.Old.Chain[0]))
	case len(t.Old.SSH) > 0:
		served = string(tallystick.FingerprintOf(t.Old.SSH))
	}
	for _, a := range r.Attempts {
		switch {
		case a.Outcome == driver.OutcomeFailed:
			return fmt.Errorf("%w: it could not be looked at: %s", tallystick.ErrUnavailable, describe(a))
		case served != "" && a.Served == served:
			return fmt.Errorf("the old one is still shown: %s", describe(a))
		}
	}
	for _, l := range t.Listeners {
		if !slices.ContainsFunc(r.Attempts, func(a driver.Attempt) bool { return a.Listener.Address == l.Address && a.Served != "" }) {
			return fmt.Errorf("%w: nobody saw what is shown at %s", tallystick.ErrUnavailable, l.Address)
		}
	}
	return nil
}

func deniedByLook(old driver.Public, view *driver.View) error {
	names := old.Names()
	has := func(name string) bool { return slices.Contains(names, tallystick.NormalName(name)) }
	if slices.ContainsFunc(view.Denies, has) {
		return nil
	}
	named := slices.ContainsFunc(view.Accepts, func(a driver.Accepted) bool { return has(a.Name) })
	if named || len(view.Accepts) == 0 || len(view.Authorities) > 0 {
		return errors.New("the door does not say that it refuses the old one, and nobody has its key to try it")
	}
	return nil
}

// describe says of an attempt where and how it went.
func describe(a driver.Attempt) string {
	text := fmt.Sprintf("%s at %s (%s)", a.Way, a.Address, a.Listener.Protocol)
	if a.Answer != "" {
		text += ": " + a.Answer
	}
	return text
}

func firstOf(attempts []driver.Attempt, outcome string) string {
	i := slices.IndexFunc(attempts, func(a driver.Attempt) bool { return a.Outcome == outcome })
	if i < 0 {
		return ""
	}
	return describe(attempts[i])
}

// SPDX-License-Identifier: Apache-2.0

package finding

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// A Selection is the findings that something is done to at once.
type Selection struct {
	IDs []int64
	// Elsewhere is how many the filter names beside them that were left out:
	// those whose credential is also at other places than the filter's.
	Elsewhere int64

	filter string           // as the audit log names it; "" for one finding
	within tallystick.Place // of the filter; "" is everywhere
}

// One selects one finding.
func One(id int64) Selection { return Selection{IDs: []int64{id}} }

// MaxSelected is how many findings can be changed at once.
const MaxSelected = 10_000

// Select returns what a filter names, which must have a rule, a place or a
// credential, so that nobody accepts everything by leaving a word out. Of a
// finding that holds wherever its credential is, all those places must be within
// the filter's: what is accepted in one place must not fall silent in another, and
// is open again when the credential turns up elsewhere.
func (e *Engine) Select(ctx context.Context, actor gate.Actor, f store.FindingFilter) (Selection, error) {
	if f.Rule == "" && f.Place == "" && f.Credential == "" {
		return Selection{}, problem.With(fmt.Errorf("%w: say which findings: name a rule, a place or a credential", tallystick.ErrInvalid),
			"several of them together pick what all of them name")
	}
	if err := e.Gate.Check(ctx, actor, gate.ReadInventory, "findings"); err != nil {
		return Selection{}, err
	}
	f, err := e.narrow(ctx, f)
	if err != nil {
		return Selection{}, err
	}
	s := Selection{filter: filterText(f), within: f.Place}
	if f.Place != "" {
		if s.Elsewhere, err = e.DB.CountFindings(ctx, f); err != nil {
			return s, err
		}
		f.Within = true
	}
	for page := (store.PageRequest{Limit: 1000}); ; {
		list, err := e.DB.Findings(ctx, f, page)
		if err != nil {
			return s, err
		}
		for _, found := range list.Items {
			s.IDs = append(s.IDs, found.ID)
		}
		if page.After = list.Next; page.After == "" {
			break
		}
		if len(s.IDs) >= MaxSelected {
			return s, problem.With(fmt.Errorf("%w: these are more than %d findings", tallystick.ErrInvalid, MaxSelected), "narrow the filter, and take one part after the other")
		}
	}
	s.Elsewhere = max(0, s.Elsewhere-int64(len(s.IDs)))
	return s, nil
}

// Expect is ErrConflict when the selection has not as many findings as somebody
// saw who decided about them.
func (s Selection) Expect(n int) error {
	if len(s.IDs) == n {
		return nil
	}
	return problem.With(fmt.Errorf("%w: these are %d findings now, not %d", tallystick.ErrConflict, len(s.IDs), n), "look at the list again, and decide about what is there now")
}

// filterText writes a filter for the audit log.
func filterText(f store.FindingFilter) string {
	var parts []string
	for _, part := range []struct{ name, value string }{
		{"rule", f.Rule}, {"place", string(f.Place)}, {"credential", string(f.Credential)}, {"owner", f.Owner}, {"assignee", f.Assignee},
	} {
		if part.value != "" {
			parts = append(parts, part.name+"="+strconv.Quote(part.value))
		}
	}
	if f.Severity > 0 {
		parts = append(parts, "severity>="+f.Severity.String())
	}
	return strings.Join(parts, " ")
}

// maxAcceptance bounds how long a finding may be left standing, so that what
// was accepted is looked at again.
const maxAcceptance = 366 * 24 * time.Hour

// Accept lets findings stand until a moment, in the actor's name and for a
// reason, and returns how many: those that closed meanwhile are left as they are.
func (e *Engine) Accept(ctx context.Context, actor gate.Actor, s Selection, reason string, until time.Time) (int, error) {
	reason = strings.TrimSpace(reason)
	now := e.Now()
	switch {
	case reason == "":
		return 0, fmt.Errorf("%w: say why the finding is accepted", tallystick.ErrInvalid)
	case !until.After(now):
		return 0, fmt.Errorf("%w: the acceptance must end on a day to come", tallystick.ErrInvalid)
	case until.Sub(now) > maxAcceptance:
		return 0, fmt.Errorf("%w: an acceptance lasts a year at most", tallystick.ErrInvalid)
	}
	return e.change(ctx, actor, s, gate.AcceptFinding, "until "+until.UTC().Format(time.DateOnly), func() (int, error) {
		return e.DB.AcceptFindings(ctx, s.IDs, tallystick.Acceptance{By: actor.Name, Reason: reason, Until: until, Within: s.within}, now)
	})
}

// Reopen takes acceptances back, and returns of how many findings.
func (e *Engine) Reopen(ctx context.Context, actor gate.Actor, s Selection) (int, error) {
	return e.change(ctx, actor, s, gate.AcceptFinding, "no longer", func() (int, error) {
		return e.DB.AcceptFindings(ctx, s.IDs, tallystick.Acceptance{}, e.Now())
	})
}

// Assign says who is to see to findings, and returns how many they are; "" is
// nobody.
func (e *Engine) Assign(ctx context.Context, actor gate.Actor, s Selection, assignee string) (int, error) {
	assignee = strings.TrimSpace(assignee)
	return e.change(ctx, actor, s, gate.AssignFinding, "to "+assignee, func() (int, error) {
		return e.DB.AssignFindings(ctx, s.IDs, assignee, e.Now())
	})
}

// idsInRecord is how many findings one record of the audit log names; a record
// for each of ten thousand would take a minute.
const idsInRecord = 80

// change asks the gate about a selection and makes the change. A filter is on
// record with how many findings it named, and then which ones.
func (e *Engine) change(ctx context.Context, actor gate.Actor, s Selection, action gate.Action, how string, change func() (int, error)) (int, error) {
	if s.filter != "" {
		object := fmt.Sprintf("%d findings %s: %s", len(s.IDs), how, s.filter)
		if err := e.Gate.Check(ctx, actor, action, object); err != nil {
			return 0, err
		}
	}
	for ids := range slices.Chunk(s.IDs, idsInRecord) {
		if err := e.Gate.Check(ctx, actor, action, objectOf(ids...)+" "+how); err != nil {
			return 0, err
		}
	}
	n, err := change()
	if err == nil && n == 0 && s.filter == "" {
		err = fmt.Errorf("%s: %w", objectOf(s.IDs[0]), tallystick.ErrNotFound)
	}
	e.Wake(false)
	return n, err
}

// objectOf names findings for the audit log.
func objectOf(ids ...int64) string {
	text := "finding"
	if len(ids) > 1 {
		text += "s"
	}
	for _, id := range ids {
		text += " " + strconv.FormatInt(id, 10)
	}
	return text
}

// SPDX-License-Identifier: Apache-2.0

package recall

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/store"
)

// issuedResult is what an issue step keeps as its result.
type issuedResult struct {
	Chain [][]byte `json:"chain"`
}

// factsOf returns what a step is told by its plan: the facts of its first target, and
// what its own task says besides.
func factsOf(s store.ClaimedStep) (doors.Task, error) {
	var t doors.Task
	for _, text := range []json.RawMessage{s.Facts, s.Task} {
		if len(text) == 0 {
			continue
		}
		if err := json.Unmarshal(text, &t); err != nil {
			return t, fmt.Errorf("couldn't read what the step is about: %w: %w", tallystick.ErrDamaged, err)
		}
	}
	t.Act, t.Door, t.Name = s.Act, s.Door, fmt.Sprintf("%s/%d", nameOf(s.Recall), s.ID)
	return t, nil
}

// newOf returns the new credential that a step is about; the zero value while there is none.
func newOf(s store.ClaimedStep) (driver.Public, error) {
	if s.New == nil || len(s.New.Result) == 0 {
		return driver.Public{}, nil
	}
	if s.New.Act == tallystick.ActIssue {
		var made issuedResult
		err := json.Unmarshal(s.New.Result, &made)
		return driver.Public{Chain: made.Chain}, err
	}
	var made doors.Result
	err := json.Unmarshal(s.New.Result, &made)
	return driver.Public{SSH: made.SSH}, err
}

// taskOf completes what is to be done at a door. Keys are named by the step that made
// them, so that all who share one name the same, and one that was begun anew another.
func (e *Engine) taskOf(ctx context.Context, s store.ClaimedStep) (doors.Task, error) {
	t, err := factsOf(s)
	if err != nil {
		return t, err
	}
	if t.Secret != nil {
		return rotationTask(t, s), nil
	}
	key := s.Key
	if s.Act == tallystick.ActKey {
		key = &s.RecallStepRow
	}
	if key != nil {
		t.KeyName = fmt.Sprintf("%s/new/%d-%d", nameOf(s.Recall), key.ID, key.Round)
		t.OldKeyName = fmt.Sprintf("%s/old/%d", nameOf(s.Recall), key.ID)
	}
	connection := len(t.Like.Names()) > 0
	if connection {
		t.SessionName = fmt.Sprintf("%s/sessions/%d", nameOf(s.Recall), s.Target)
	}
	if t.New, err = newOf(s); err != nil {
		return t, fmt.Errorf("couldn't read the new credential: %w: %w", tallystick.ErrDamaged, err)
	}
	switch {
	case takesBack(s) && s.Act == tallystick.ActInstall:
		t.New, t.KeyName, t.OldKeyName = t.Old, t.OldKeyName, ""
	case s.Act == tallystick.ActProve && !connection:
		t.OldKeyName = "" // of a place it is looked at what is shown
	case s.Act == tallystick.ActBlock && e.CA != nil:
		t.CRLs, err = e.CA.Lists(ctx, t.Old)
	case s.Act == tallystick.ActTrust && e.CA != nil:
		if t.CRLs, err = e.CA.Lists(ctx, t.New); err == nil {
			t.Authorities, err = e.CA.Authorities(ctx, t.New)
		}
	}
	if s.Act == tallystick.ActProve && !s.Active {
		t.New = driver.Public{} // the deadline came before the new one: its own probe tries it
	}
	return t, err
}

// takesBack says whether a step undoes another.
func takesBack(s store.ClaimedStep) bool { return s.Phase == "" && s.Act != tallystick.ActGate }

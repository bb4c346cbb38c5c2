// SPDX-License-Identifier: Apache-2.0

package recall

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/usage"
)

// Marks knows which passwords were tried and refused: *usage.Usage.
type Marks interface {
	// Marked answers questions in their order.
	Marked(ctx context.Context, questions []usage.MarkedQuestion) ([]usage.Marked, error)
}

// A StillTried is an old password that somebody goes on with although it is refused: a program that
// was forgotten, or a thief.
type StillTried struct {
	Target int64     `json:"target"`
	Since  time.Time `json:"since"` // when it was proven that it is refused
	usage.Marked
}

// String says it for people.
func (s StillTried) String() string {
	text := "The old one was still tried " + counted(int(s.Times), "time") + " since it was refused, last at " + s.Last.UTC().Format("2006-01-02 15:04:05")
	if s.Address != "" {
		text += " from " + s.Address
	}
	return text + "."
}

// ownTries is for how long after a proof what servers write down may be of the proof itself: they
// write it when the session ends, by clocks of their own.
const ownTries = 10 * time.Second

// StillTried returns which of the entrusted passwords of a recall, or of one target of it, were tried
// after they were refused, as far as servers say so whose books are kept: Dovecot with
// auth_verbose_passwords = sha1:6. That nothing is returned does not say that nobody tries.
func (e *Engine) StillTried(ctx context.Context, who gate.Actor, id, target int64) ([]StillTried, error) {
	r, err := e.checked(ctx, who, gate.ReadRecalls, id)
	if err != nil {
		return nil, err
	}
	if e.Marks == nil || !ofSecrets(r.What) {
		return nil, nil
	}
	var list []StillTried
	for after := int64(0); ; {
		steps, err := e.DB.RecallSteps(ctx, id, store.StepFilter{Target: target, Act: tallystick.ActProve}, after, mostListed)
		if err != nil || len(steps) == 0 {
			return list, err
		}
		after = steps[len(steps)-1].ID
		asked, questions := markQuestions(steps)
		if len(questions) == 0 {
			continue
		}
		answers, err := e.Marks.Marked(ctx, questions)
		if err != nil {
			return list, fmt.Errorf("couldn't ask the books who tries old passwords: %w", err)
		}
		for i, a := range answers {
			if asked[i].Marked = a; a.Times > 0 {
				list = append(list, asked[i])
			}
		}
	}
}

// markQuestions asks about those of the steps that have proven a password dead.
func markQuestions(steps []store.RecallStepRow) ([]StillTried, []usage.MarkedQuestion) {
	var asked []StillTried
	var questions []usage.MarkedQuestion
	for _, s := range steps {
		var proof struct {
			Mark  string   `json:"old_mark"` // as doors.Result has them
			Names []string `json:"old_names"`
		}
		if s.State != tallystick.StepDone || len(s.Result) == 0 || json.Unmarshal(s.Result, &proof) != nil || proof.Mark == "" {
			continue
		}
		asked = append(asked, StillTried{Target: s.Target, Since: s.Ended})
		questions = append(questions, usage.MarkedQuestion{Names: proof.Names, Mark: proof.Mark, Since: s.Ended.Add(ownTries)})
	}
	return asked, questions
}

// SPDX-License-Identifier: Apache-2.0

package recall

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
)

// A MarkLedger is a Ledger that also knows which passwords were tried and refused.
type MarkLedger interface {
	// Marked answers questions in their order.
	Marked(ctx context.Context, questions []MarkQuestion) ([]MarkAnswer, error)
}

// A MarkQuestion asks who has tried a password at an account.
type MarkQuestion struct {
	Account []string // names of the account as uses have them: "account:mail/alice"
	Mark    string   // of doors.Result.OldMark
	Since   time.Time
}

// A MarkAnswer is what servers have written down.
type MarkAnswer struct {
	Times        int64     `json:"times"`
	Last         time.Time `json:"last,omitzero"`
	Address      string    `json:"address,omitempty"`       // from where, the last time
	RelyingParty string    `json:"relying_party,omitempty"` // and at which server
}

// A StillTried is an old password that somebody goes on with although it is refused: a program that
// was forgotten, or a thief.
type StillTried struct {
	Target int64     `json:"target"`
	Since  time.Time `json:"since"` // when it was proven that it is refused
	MarkAnswer
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
	if _, err := e.checked(ctx, who, gate.ReadRecalls, id); err != nil {
		return nil, err
	}
	books, known := e.Uses.(MarkLedger)
	if !known {
		return nil, nil
	}
	var list []StillTried
	for after := int64(0); ; {
		steps, err := e.DB.RecallSteps(ctx, id, store.StepFilter{Target: target, Act: tallystick.ActProve}, after, mostListed)
		if err != nil || len(steps) == 0 {
			return list, err
		}
		after = steps[len(steps)-1].ID
		asked, questions, err := e.markQuestions(ctx, steps)
		if err != nil {
			return list, err
		}
		answers, err := books.Marked(ctx, questions)
		if err != nil {
			return list, fmt.Errorf("couldn't ask the books who tries old passwords: %w", err)
		}
		for i, a := range answers {
			if asked[i].MarkAnswer = a; a.Times > 0 {
				list = append(list, asked[i])
			}
		}
	}
}

// markQuestions asks about those of the steps that have proven a password dead.
func (e *Engine) markQuestions(ctx context.Context, steps []store.RecallStepRow) ([]StillTried, []MarkQuestion, error) {
	var asked []StillTried
	var questions []MarkQuestion
	for _, s := range steps {
		var proof struct {
			OldMark string `json:"old_mark"`
		}
		if s.State != tallystick.StepDone || len(s.Result) == 0 || json.Unmarshal(s.Result, &proof) != nil || proof.OldMark == "" {
			continue
		}
		full, err := e.DB.RecallStep(ctx, s.ID)
		if err != nil {
			return nil, nil, err
		}
		facts, err := factsOf(full)
		if err != nil {
			return nil, nil, err
		}
		if facts.Secret != nil {
			asked = append(asked, StillTried{Target: s.Target, Since: s.Ended})
			questions = append(questions, MarkQuestion{Account: mailNames(facts.Secret.Account), Mark: proof.OldMark, Since: s.Ended.Add(ownTries)})
		}
	}
	return asked, questions, nil
}

// mailNames are what the books of mail servers call an account: by its name, and of a DN by the value
// that its entry has of its own, such as the uid.
func mailNames(account string) []string {
	names := []string{"account:mail/" + account}
	entry, _, _ := strings.Cut(account, ",")
	if _, value, is := strings.Cut(entry, "="); is && value != "" {
		names = append(names, "account:mail/"+value)
	}
	return names
}

// SPDX-License-Identifier: Apache-2.0

package usage

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ledger"
)

// A MarkedQuestion asks who has tried a password that records name by a mark.
type MarkedQuestion struct {
	Names []string // of the account, as uses have them: "account:mail/alice"
	Mark  string   // "sha1:76272d", a word of Use.Detail
	Since time.Time
}

// A Marked is how often it was tried, as those say who were asked to let it in.
type Marked struct {
	Times        int64     `json:"times"`
	Last         time.Time `json:"last,omitzero"`
	Address      string    `json:"address,omitempty"`       // from where, the last time
	RelyingParty string    `json:"relying_party,omitempty"` // and at which server
}

// Marked answers questions in their order, from one reading of the ledger. It is for the program
// itself and asks no gate.
func (u *Usage) Marked(ctx context.Context, questions []MarkedQuestion) ([]Marked, error) {
	answers := make([]Marked, len(questions))
	if len(questions) == 0 {
		return answers, nil
	}
	asking := map[string][]int{} // questions, by the name of an account
	query := ledger.Query{From: questions[0].Since, To: u.Now().Add(time.Hour), Side: tallystick.SideRelying}
	for i, q := range questions {
		for _, name := range q.Names {
			name = tallystick.NormalName(name)
			if len(asking[name]) == 0 {
				query.Names = append(query.Names, name)
			}
			asking[name] = append(asking[name], i)
		}
		if q.Since.Before(query.From) {
			query.From = q.Since
		}
	}
	if len(query.Names) == 0 {
		return answers, nil // no names would ask for all there is
	}
	err := u.Ledger.Scan(ctx, query, func(use *tallystick.Use) error {
		marks := strings.Fields(use.Detail)
		var counted []int
		for _, name := range use.Credential {
			for _, i := range asking[tallystick.NormalName(name)] {
				if q := questions[i]; !slices.Contains(counted, i) && !use.Time.Before(q.Since) && slices.Contains(marks, q.Mark) {
					counted = append(counted, i)
					answers[i] = Marked{answers[i].Times + use.Count, use.Time, use.Address, use.RelyingParty}
				}
			}
		}
		return nil
	})
	return answers, err
}

// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"context"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
)

// EndBook says that the writer of a book is gone for good, so that no verdict waits
// for it. What it says all the same is taken as a late record.
func (s *Sources) EndBook(ctx context.Context, by gate.Actor, source string, side tallystick.Side, reason string) error {
	if strings.TrimSpace(reason) == "" {
		return invalid("a book ends for a reason", "Say it with --reason: whoever looks at an old verdict wants to know.")
	}
	if side != tallystick.SideHolder && side != tallystick.SideRelying {
		return invalid("a book has a side", "It is holder or relying.")
	}
	if err := s.Gate.Check(ctx, by, gate.ManageSources, "end the "+string(side)+"'s book "+source); err != nil {
		return err
	}
	return s.DB.EndBook(ctx, store.EndedBook{Source: source, Side: side, Ended: s.Now(), Author: by.Name, Reason: reason})
}

// ReopenBook takes that back.
func (s *Sources) ReopenBook(ctx context.Context, by gate.Actor, source string, side tallystick.Side) error {
	if err := s.Gate.Check(ctx, by, gate.ManageSources, "reopen the "+string(side)+"'s book "+source); err != nil {
		return err
	}
	return s.DB.ReopenBook(ctx, source, side)
}

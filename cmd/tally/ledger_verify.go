// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/usage"
)

func (p *program) ledgerVerify() *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use: "verify", Short: "Check that no record of a use was changed, added or taken away",
		Long: `Check that no record of a use was changed, added or taken away: every segment of the
ledger is read and hashed, and its root must be in the audit log, which is checked
as "tally audit verify" does. Records that are not in a segment yet are not covered;
they are within the hour.

` + exitStatuses("0 every segment is what was sealed", "1 something failed, or a segment is not what was sealed", "2 bad usage"),
		Example: "  tally ledger verify --data /var/lib/tallystick",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.insideLedger(cmd.Context(), flags, p.verifyLedger)
		},
	}
	flags.addTo(cmd)
	return cmd
}

// verifyLedger is the command.
func (p *program) verifyLedger(ctx context.Context, h *house, u *usage.Usage) error {
	tampered := func(err error) error {
		return problem.With(err, "keep a copy of the data as evidence, and find out who could write to it")
	}
	if err := u.Ledger.Verify(ctx); err != nil {
		if errors.Is(err, tallystick.ErrDamaged) {
			err = tampered(err)
		}
		return err
	}
	report, err := h.records().Verify(ctx, h.actor)
	if err != nil {
		return err
	}
	if !report.OK() {
		return tampered(fmt.Errorf("%w: %s", audit.ErrTampered, report.Problem))
	}
	missing, err := h.unrecorded(ctx, u.Ledger.Segments())
	if err == nil && len(missing) > 0 { // it may have been sealed this moment
		time.Sleep(recordTime)
		missing, err = h.unrecorded(ctx, u.Ledger.Segments())
	}
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return tampered(fmt.Errorf("%w: the audit log has not the root of %s", tallystick.ErrDamaged, strings.Join(missing, ", ")))
	}
	var records int
	for _, s := range u.Ledger.Segments() {
		records += s.Records
	}
	p.say("%s with %s, each as it was sealed", plural(len(u.Ledger.Segments()), "segment"), plural(records, "record"))
	return nil
}

const (
	recordTime = 2 * time.Second // within which the root of a new segment is recorded
	// sealAction is what the audit log calls the sealing of a segment.
	sealAction = "seal-ledger"
	auditPage  = 1000
)

// unrecorded returns the segments whose roots are not in the audit log, by name.
func (h *house) unrecorded(ctx context.Context, segments []ledger.Segment) ([]string, error) {
	wanted := map[string]bool{}
	for _, s := range segments {
		wanted[sealObject(&s)] = true
	}
	for before := int64(0); len(wanted) > 0; {
		entries, err := h.records().List(ctx, h.actor, audit.Filter{Action: sealAction}, before, auditPage)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.Allowed {
				delete(wanted, e.Object)
			}
			before = e.ID
		}
		if len(entries) < auditPage {
			break
		}
	}
	var missing []string
	for _, s := range segments {
		if wanted[sealObject(&s)] {
			missing = append(missing, s.Name())
		}
	}
	return missing, nil
}

// sealObject is what the audit log says of a segment.
func sealObject(s *ledger.Segment) string {
	return "segment " + s.Name() + " " + hex.EncodeToString(s.Root)
}

// recordRoot returns a function for ledger.Options.Sealed that puts the roots of
// segments into the audit log, where nobody can change them.
func recordRoot(log *audit.Log, now func() time.Time) func(context.Context, ledger.Segment) error {
	return func(ctx context.Context, s ledger.Segment) error {
		return log.Append(ctx, audit.Record{
			Time: now(), Actor: "ledger", Role: "none", Via: "local", Action: sealAction, Object: sealObject(&s), Allowed: true,
		})
	}
}

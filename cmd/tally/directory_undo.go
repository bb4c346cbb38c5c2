// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/internal/directory"
)

func (p *program) directoryUndo() *cobra.Command {
	var flags dataFlags
	var yes, asJSON bool
	cmd := &cobra.Command{
		Use: "undo CHANGE", Short: "Take a change back in the directory in which it was made",
		Long: `Take a change back in the directory in which it was made: the values that it added
are taken away, those that it removed are put back, and what others have changed
since stays. CHANGE is the number of a change that a source with the driver ad or ldap
saw, as "tally directory changes" lists it. Without --yes it only looks, and says what
would be done. It looks again afterwards, and the audit log has who did it.

The account of the source must be one that may write there: give it another one for
this with the options write-bind and write-password-file.

` + listStatuses(),
		Example: "  tally directory undo 4711\n  tally directory undo 4711 --yes",
		Args:    exactly(1, "the number of a change"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil {
				return misuse(fmt.Errorf("%q is not the number of a change", clean(args[0])), `run "tally directory changes" to see them`)
			}
			return p.inside(cmd.Context(), flags, func(ctx context.Context, h *house) error {
				undone, err := h.directory.Undo(ctx, h.actor, id, !yes, directory.Opener(drivers.All()))
				if err != nil {
					return err
				}
				if asJSON {
					return json.NewEncoder(p.out).Encode(undone)
				}
				p.sayUndone(undone, yes)
				return nil
			})
		},
	}
	flags.addTo(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write one JSON object")
	return cmd
}

func (p *program) sayUndone(u directory.Undone, did bool) {
	fmt.Fprintf(p.out, "%s of %s\n  is  %s\n", u.Change.Values.Attribute, clean(u.DN), shownValues(u.Before))
	switch {
	case !u.Changed:
		p.say("it is as it was before the change: there is nothing to take back")
	case did:
		fmt.Fprintf(p.out, "  now %s\n", shownValues(u.Now))
		p.say("change %d is taken back", u.Change.ID)
	default:
		fmt.Fprintf(p.out, "  to  %s\n", shownValues(u.Now))
		p.say("hint: tally directory undo %d --yes", u.Change.ID)
	}
}

func shownValues(values []string) string {
	if len(values) == 0 {
		return "(nothing)"
	}
	var shown []string
	for _, value := range values {
		shown = append(shown, clean(value))
	}
	return strings.Join(shown, ", ")
}

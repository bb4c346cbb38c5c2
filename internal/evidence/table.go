// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"encoding/csv"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// columns are the head of targets.csv.
func columns() []string {
	return []string{
		"target", "kind", "wave", "state", "late", "old", "subject", "holder", "relying", "relying_party", "customer", "owner", "grants",
		"installed", "drained", "blocked", "proven", "blocked_by", "connections_closed", "connections_left",
		"old_refused", "old_not_resumed", "old_accepted", "ways_tried", "new_accepted", "done_by", "notes", "error", "proven_by",
	}
}

// writeTable writes targets.csv (RFC 4180): one row a target, for a spreadsheet.
func (s *summary) writeTable(w io.Writer) error {
	out := csv.NewWriter(w)
	out.UseCRLF = true
	if err := out.Write(columns()); err != nil {
		return err
	}
	for _, r := range s.rows {
		cells := []string{
			fmt.Sprint(r.ID), r.Kind, fmt.Sprint(r.Wave), r.State, fmt.Sprint(r.Late), r.Old, r.Subject, r.Holder, r.Relying, r.RelyingParty, r.Customer, r.Owner, strings.Join(r.Grants, " "),
			r.at(tallystick.ActInstall), r.at(tallystick.ActDrain), r.at(tallystick.ActBlock), r.at(tallystick.ActProve),
			strings.Join(r.How, " "), fmt.Sprint(r.Closed), strings.Join(r.Left, "; "),
			fmt.Sprint(r.Tried.Refused), fmt.Sprint(r.Tried.NotResumed), fmt.Sprint(r.Tried.Accepted), strings.Join(r.Tried.Ways, " "), fmt.Sprint(r.Fresh.Accepted),
			strings.Join(r.Hands, ", "), strings.Join(r.Notes, "; "), r.Error, r.ProvenBy(),
		}
		for i, cell := range cells {
			cells[i] = harmless(cell)
		}
		if err := out.Write(cells); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// at is when an act was done, "" when it was not.
func (r *row) at(act tallystick.Act) string {
	if t := r.Done[act]; !t.IsZero() {
		return t.UTC().Format(time.RFC3339)
	}
	return ""
}

// harmless keeps a spreadsheet from taking a cell for a formula, as the exports of the
// inventory do: strangers choose names (OWASP, "CSV Injection").
func harmless(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20", []rune(cell)[0]) {
		return "'" + cell
	}
	return cell
}

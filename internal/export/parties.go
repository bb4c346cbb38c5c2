// SPDX-License-Identifier: Apache-2.0

package export

import (
	"encoding/csv"
	"io"
	"strconv"

	"github.com/tallystick/tallystick/internal/usage"
)

// WriteParties writes the relying parties of a credential as CSV (RFC 4180,
// UTF-8), in the order that they are given in: who has to be told.
func WriteParties(w io.Writer, list []usage.Connection) error {
	out := csv.NewWriter(w)
	out.UseCRLF = true
	rows := [][]string{{"relying_party", "foreign", "accepted", "made", "first_use", "last_use"}}
	for _, c := range list {
		rows = append(rows, []string{
			harmless(c.Party), strconv.FormatInt(c.Foreign, 10), strconv.FormatInt(c.Relying, 10), strconv.FormatInt(c.Holder, 10),
			timeText(c.First), timeText(c.Last),
		})
	}
	return out.WriteAll(rows)
}

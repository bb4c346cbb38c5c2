// SPDX-License-Identifier: Apache-2.0

package export

import (
	"context"
	"encoding/csv"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick/internal/store"
)

// columns are the heads of the file; columns are added at the end.
var columns = []string{
	"fingerprint", "kind", "subject", "names", "issuer", "serial", "algorithm", "key_id", "signature", "is_ca",
	"not_before", "not_after", "first_seen", "places", "findings", "severity", "owner", "environment", "tags", "notes",
}

// writeCSV writes RFC 4180, with the encoding UTF-8.
func (s *Source) writeCSV(ctx context.Context, w io.Writer) error {
	out := csv.NewWriter(w)
	out.UseCRLF = true // RFC 4180 section 2
	if err := out.Write(columns); err != nil {
		return err
	}
	err := s.each(ctx, func(rows []store.CredentialRow) error {
		for _, r := range rows {
			if err := out.Write(cells(r)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	out.Flush()
	return out.Error()
}

func cells(r store.CredentialRow) []string {
	row := []string{
		string(r.ID), string(r.Kind), r.Subject, strings.Join(r.Names, " "), r.Issuer, r.Serial, r.Algorithm, string(r.KeyID),
		r.Signature, strconv.FormatBool(r.IsCA), timeText(r.NotBefore), timeText(r.NotAfter), timeText(r.FirstSeen),
		strconv.FormatInt(r.Places, 10), strconv.FormatInt(r.Findings, 10), r.Severity.String(),
		r.Annotation.Owner, r.Annotation.Environment, strings.Join(r.Annotation.Tags, " "), r.Annotation.Notes,
	}
	for i := range row {
		row[i] = harmless(row[i])
	}
	return row
}

// harmless keeps a spreadsheet from taking a cell for a formula: a certificate
// may call itself =HYPERLINK(...). An apostrophe in front makes it text (OWASP,
// "CSV Injection"). The characters are those that begin a formula in the common
// programs, or that are skipped before one.
func harmless(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20", []rune(cell)[0]) {
		return "'" + cell
	}
	return cell
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bufio"
	"context"
	"encoding/json"
	"io"

	"github.com/tallystick/tallystick/internal/store"
)

// writeJSON writes one object a line, with the members of a row of the API.
func (s *Source) writeJSON(ctx context.Context, w io.Writer) error {
	out := bufio.NewWriter(w)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	err := s.each(ctx, func(rows []store.CredentialRow) error {
		for _, r := range rows {
			if err := encoder.Encode(r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return out.Flush()
}

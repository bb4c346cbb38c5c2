// SPDX-License-Identifier: Apache-2.0

package postfix

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// tryAgain has mail tried again at once where some waits because a sign-in was refused: all that
// waits, because a destination that has refused once is left in peace for some minutes.
func (d *door) tryAgain(ctx context.Context, h driver.Host) error {
	output, err := h.Run(ctx, driver.Command{Args: []string{"postqueue", "-c", d.Config, "-j"}})
	if err != nil || !refusedMail(output.Stdout) { // there is none where Postfix does not run
		return err
	}
	if _, err := installing.Run(ctx, h, "postqueue", "-c", d.Config, "-f"); err != nil {
		return fmt.Errorf("couldn't have mail tried again: %w", err)
	}
	return nil
}

// refusedMail says whether mail waits for a sign-in, by the answer of postqueue -j, which has an
// object a message (postqueue(1)) and may be cut off.
func refusedMail(text []byte) bool {
	type recipient struct {
		Reason string `json:"delay_reason"`
	}
	for messages := json.NewDecoder(bytes.NewReader(text)); ; {
		var m struct {
			Recipients []recipient `json:"recipients"`
		}
		if messages.Decode(&m) != nil {
			return false
		}
		if slices.ContainsFunc(m.Recipients, func(r recipient) bool { return strings.Contains(r.Reason, "SASL authentication failed") }) {
			return true
		}
	}
}

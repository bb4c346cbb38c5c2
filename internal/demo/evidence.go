// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/tallystick/tallystick"
)

// prove exports the evidence of the recall and has another process read it again.
func (p *play) prove(ctx context.Context) error {
	p.result.LegitimateUses, p.result.LegitimateFailures = p.vendor.counts()
	for _, product := range p.vendor.products {
		for _, line := range product.troubles() {
			p.Story.Say("  a legitimate sign-in failed: %s", line)
		}
	}
	key, err := p.program.typed(ctx, "evidence", "key")
	if err != nil {
		return err
	}
	file := filepath.Join(p.Dir, recallName+".zip")
	if _, err := p.program.typed(ctx, "evidence", "export", recallName, "--out", file); err != nil {
		return err
	}
	p.result.Evidence = file
	p.Story.Did("tally evidence verify " + file + " --key ...")
	said, err := p.program.run(ctx, "evidence", "verify", file, "--key", strings.TrimSpace(key))
	if err != nil {
		return err
	}
	if !strings.HasPrefix(said, "Good: ") {
		return fmt.Errorf("%w: the evidence is not good: %s", tallystick.ErrDamaged, said)
	}
	p.result.Verified = true
	first, _, _ := strings.Cut(said, "\n")
	p.Story.Say("%s", first)
	return nil
}

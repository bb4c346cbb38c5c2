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
	if err := p.countMail(ctx); err != nil {
		return err
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

// countMail ends the mail service, and says what came of the messages.
func (p *play) countMail(ctx context.Context) error {
	if p.mail == nil {
		return nil
	}
	var err error
	if p.result.Mail, err = p.mail.close(ctx); err != nil {
		return err
	}
	for _, line := range p.mail.troubles() {
		p.Story.Say("  %s", line)
	}
	p.Story.Say("Mail: %s messages were sent by Postfix all the while and fetched from Dovecot; %d were lost, %d came twice.",
		number(p.result.Mail.Sent), p.result.Mail.Lost, p.result.Mail.Doubled)
	return nil
}

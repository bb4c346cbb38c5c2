// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/tallystick/tallystick"
)

// prove exports the evidence of the recalls and has another process read it again.
func (p *play) prove(ctx context.Context) error {
	if p.second != nil {
		p.second.stop() // what is sent from now on could not be fetched before the end
	}
	p.countUses()
	for _, line := range p.troubles() {
		p.Story.Say("  a legitimate use failed: %s", line)
	}
	if err := p.countMail(ctx); err != nil {
		return err
	}
	key, err := p.program.typed(ctx, "evidence", "key")
	if err != nil {
		return err
	}
	key = strings.TrimSpace(key)
	if p.result.Evidence, err = p.export(ctx, recallName, key); err != nil {
		return err
	}
	if p.second != nil {
		if p.result.Entrusted.Evidence, err = p.export(ctx, secondName, key); err != nil {
			return err
		}
		p.compare()
	}
	p.result.Verified = true
	return nil
}

// export writes the evidence of a recall into a file, and is an error unless another process
// says that it is good.
func (p *play) export(ctx context.Context, recall, key string) (string, error) {
	file := filepath.Join(p.Dir, recall+".zip")
	if _, err := p.program.typed(ctx, "evidence", "export", recall, "--out", file); err != nil {
		return "", err
	}
	p.Story.Did("tally evidence verify " + file + " --key ...")
	said, err := p.program.run(ctx, "evidence", "verify", file, "--key", key)
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(said, "Good: ") {
		return "", fmt.Errorf("%w: the evidence is not good: %s", tallystick.ErrDamaged, said)
	}
	first, _, _ := strings.Cut(said, "\n")
	p.Story.Say("%s", first)
	return file, nil
}

// countMail ends the mail service, and says what came of the messages.
func (p *play) countMail(ctx context.Context) error {
	mail := p.servers.mail
	if mail == nil {
		return nil
	}
	var err error
	if p.result.Mail, err = mail.close(ctx); err != nil {
		return err
	}
	for _, line := range mail.troubles() {
		p.Story.Say("  %s", line)
	}
	p.Story.Say("Mail: %s messages were sent by Postfix all the while and fetched from Dovecot; %d were lost, %d came twice.",
		number(p.result.Mail.Sent), p.result.Mail.Lost, p.result.Mail.Doubled)
	return nil
}

// counts returns how often the products wanted something, and how often they did not get it.
func (p *play) counts() (uses, failures int64) {
	uses, failures = p.vendor.counts()
	if p.second == nil {
		return uses, failures
	}
	for _, one := range p.second.keepers {
		uses += one.uses.Load()
		failures += one.failures.Load()
	}
	return uses, failures
}

func (p *play) countUses() { p.result.LegitimateUses, p.result.LegitimateFailures = p.counts() }

// troubles returns the first failures of each product.
func (p *play) troubles() []string {
	var all []string
	for _, one := range p.vendor.products {
		all = append(all, one.troubles()...)
	}
	if p.second != nil {
		for _, one := range p.second.keepers {
			all = append(all, one.troubles()...)
		}
	}
	return all
}

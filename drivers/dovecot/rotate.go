// SPDX-License-Identifier: Apache-2.0

package dovecot

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/driver/network"
)

// unseen is how long Dovecot may let in by what a passwd-file was: it looks at one once a second.
const unseen = 1100 * time.Millisecond

// LookAccount reads how an account stands in its passwd-file.
func (d *door) LookAccount(ctx context.Context, request driver.AccountRequest) (driver.Account, error) {
	s, err := d.seat(ctx, request.Host, request.Account)
	if err != nil {
		return driver.Account{}, err
	}
	account := driver.Account{
		Name: s.user, Overlap: driver.OverlapNone, MaxLength: maxPassphrase, MayTry: -1, // it only delays
		Listeners: d.entrances(s.config), Notes: s.notes,
	}
	if s.current == nil { // whoever keeps the password may count
		account.MaxLength, account.MayTry = 0, 1
		return account, nil
	}
	line, err := s.entry(ctx)
	if err != nil {
		return driver.Account{}, err
	}
	account.Barred = lockedOut(passwordIn(line))
	if s.two {
		account.Overlap = driver.OverlapTwo
	}
	return account, nil
}

// SetSecret writes the hash of New into the line of the account. Where Dovecot asks a second
// passwd-file, what the line was stands there before, and Old gets in by that.
func (d *door) SetSecret(ctx context.Context, request driver.SecretRequest) (driver.SecretSet, error) {
	s, err := d.seat(ctx, request.Host, request.Account)
	if err != nil {
		return driver.SecretSet{}, err
	}
	line, err := s.entry(ctx)
	if err != nil {
		return driver.SecretSet{}, err
	}
	wanted, change, what := request.New, s.set, "wrote "
	if request.Withdraw {
		wanted, change, what = request.Old, s.withdraw, "put back "
	}
	if err := fits(wanted); err != nil {
		return driver.SecretSet{}, err
	}
	changed, err := change(ctx, request, line)
	if err != nil {
		return driver.SecretSet{}, err
	}
	if changed || request.Again {
		err = driver.Unsettled(d.seen(ctx, request.Host, s))
	}
	if !changed {
		return driver.SecretSet{}, err
	}
	return driver.SecretSet{Changed: driver.Changed{Changed: true, How: []string{"files"}, Detail: what + s.current.Path}}, err
}

// fits says what is wrong with a secret that is to be set.
func fits(secret driver.Secret) error {
	switch text := secret.Reveal(); {
	case text == "":
		return invalid("an empty password is not set")
	case len(text) > maxPassphrase:
		return invalid("the password has %d bytes: Dovecot keeps %d at most", len(text), maxPassphrase)
	case strings.ContainsRune(text, 0):
		return invalid("the password has a NUL byte, which no mail protocol can carry")
	}
	return nil
}

// set makes the line of the account that of New.
func (s *seat) set(ctx context.Context, request driver.SecretRequest, line []byte) (bool, error) {
	if holds(passwordIn(line), request.New) {
		return false, nil
	}
	kept, err := s.keep(ctx, request, line)
	if err != nil {
		return false, err
	}
	hash := hashed(request.New.Reveal())
	changed, err := s.current.Edit(ctx, func(text []byte) ([]byte, error) {
		line, _, there := entryOf(text, s.name)
		if !there {
			return nil, s.missing()
		}
		return withEntry(text, s.name, withPassword(line, hash)), nil
	})
	if kept {
		err = driver.Unsettled(err)
	}
	return changed, err
}

// keep puts the line of the account into the file of old passwords where Dovecot asks that, and
// says whether it wrote there. A line that an earlier call has kept of Old stays. One of an
// earlier rotation goes, and one that is known to be of neither Old nor New is not kept:
// DropSecret could not tell that it is to go.
func (s *seat) keep(ctx context.Context, request driver.SecretRequest, line []byte) (bool, error) {
	if s.old == nil {
		return false, nil
	}
	return s.old.Edit(ctx, func(text []byte) ([]byte, error) {
		kept, _, there := entryOf(text, s.name)
		switch {
		case there && !request.Old.IsZero() && holds(passwordIn(kept), request.Old):
			return text, nil
		case s.two && mayHold(passwordIn(line), request.Old):
			return withEntry(text, s.name, line), nil
		}
		return withEntry(text, s.name, nil), nil
	})
}

// withdraw brings the line from before back where set has kept it, and the hash of the old
// password otherwise; then nothing is kept any more. A line that is not of the new password stays.
func (s *seat) withdraw(ctx context.Context, request driver.SecretRequest, _ []byte) (bool, error) {
	hash := hashed(request.Old.Reveal())
	if s.two {
		kept, err := s.lineIn(ctx, s.old)
		if err != nil {
			return false, err
		}
		if kept != nil && mayHold(passwordIn(kept), request.Old) {
			hash = passwordIn(kept)
		}
	}
	changed, err := s.current.Edit(ctx, func(text []byte) ([]byte, error) {
		line, _, there := entryOf(text, s.name)
		switch {
		case !there:
			return nil, s.missing()
		case !holds(passwordIn(line), request.New):
			return text, nil
		}
		return withEntry(text, s.name, withPassword(line, hash)), nil
	})
	if err != nil {
		return changed, err
	}
	forgot, err := s.forget(ctx, request.Old)
	if changed {
		err = driver.Unsettled(err)
	}
	return changed || forgot, err
}

// forget takes the account out of the file of old passwords, unless it stands there with another
// one than Old: that is of another rotation.
func (s *seat) forget(ctx context.Context, old driver.Secret) (bool, error) {
	if s.old == nil {
		return false, nil
	}
	return s.old.Edit(ctx, func(text []byte) ([]byte, error) {
		kept, _, there := entryOf(text, s.name)
		if !there || !mayHold(passwordIn(kept), old) {
			return text, nil
		}
		return withEntry(text, s.name, nil), nil
	})
}

// seen returns when Dovecot lets in by what the files are now.
func (d *door) seen(ctx context.Context, h driver.Host, s *seat) error {
	if err := network.Sleep(ctx, unseen); err != nil {
		return err
	}
	if size := s.config.values["auth_cache_size"]; size == "" || size == "0" {
		return nil
	}
	flush := []string{"doveadm", "-c", d.Config, "auth", "cache", "flush"}
	if !isPattern(s.user) { // else all are forgotten, who have to be looked up once more
		flush = append(flush, s.user)
	}
	if _, err := installing.Run(ctx, h, flush...); err != nil {
		return fmt.Errorf("couldn't have Dovecot forget the old password: %w", err)
	}
	return nil
}

// DropSecret takes the old password out of the second passwd-file, and ends the sessions of
// the account: those that New has begun, too, because Dovecot does not tell them apart.
func (d *door) DropSecret(ctx context.Context, request driver.SecretRequest) (driver.Blocked, error) {
	h := request.Host
	s, err := d.seat(ctx, h, request.Account)
	if err != nil {
		return driver.Blocked{}, err
	}
	line, err := s.entry(ctx)
	if err != nil {
		return driver.Blocked{}, err
	}
	if !holds(passwordIn(line), request.New) {
		return driver.Blocked{}, fmt.Errorf("%w: the password of %s in %s is not the new one: somebody has set it since, or nobody yet", tallystick.ErrConflict, s.name, s.current.Path)
	}
	forgot, err := s.forget(ctx, request.Old)
	if err != nil {
		return driver.Blocked{}, err
	}
	var blocked driver.Blocked
	if forgot {
		blocked.Changed = driver.Changed{Changed: true, How: []string{"files"}, Detail: "took it out of " + s.old.Path}
	}
	if err := d.seen(ctx, h, s); err != nil || !d.Kick {
		return blocked, driver.Unsettled(err)
	}
	ended, err := d.end(ctx, h, s.user)
	blocked.Closed, blocked.Left = ended.Closed, ended.Left
	if ended.Closed > 0 {
		blocked.How = append(blocked.How, "kick")
	}
	return blocked, driver.Unsettled(err)
}

// TestSecret signs in by IMAP, POP3 and what else the options name.
func (d *door) TestSecret(ctx context.Context, request driver.SecretRequest) (driver.Tested, error) {
	c, err := d.read(ctx, request.Host)
	if err != nil {
		return driver.Tested{}, err
	}
	client, err := d.client(ctx, request.Host, c)
	if err != nil {
		return driver.Tested{}, err
	}
	client.Now = request.Now
	return client.Test(ctx, request, request.Account, d.entrances(c))
}

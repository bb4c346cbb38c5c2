// SPDX-License-Identifier: Apache-2.0

package sshd

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// accountOf reads what counts for one account.
func (d *Door) accountOf(ctx context.Context, h driver.Host, name string) (*site, account, error) {
	if !isAccount(name) {
		return nil, account{}, fmt.Errorf("%w: %q is no name of an account", tallystick.ErrNotFound, name)
	}
	if len(d.options.Accounts) > 0 && !slices.Contains(d.options.Accounts, name) {
		return nil, account{}, fmt.Errorf("%w: option accounts leaves out the account %s: add it there", tallystick.ErrNotFound, name)
	}
	s, err := d.loadFor(ctx, h, []string{name})
	if err != nil {
		return nil, account{}, err
	}
	return s, s.accounts[0], nil
}

// LookAccount says where keys of an account stand, and what keeps all of them out.
func (d *Door) LookAccount(ctx context.Context, r driver.AccountRequest) (driver.Account, error) {
	s, a, err := d.accountOf(ctx, r.Host, r.Account)
	if err != nil {
		return driver.Account{}, err
	}
	account := driver.Account{Name: a.name, Overlap: driver.OverlapTwo, Form: driver.FormSSH, MayTry: -1, Listeners: s.listenersOf(a.name)}
	switch own := a.effective; {
	case own.first("pubkeyauthentication") == "no":
		account.Barred = "sshd lets nobody in by a key as this account (PubkeyAuthentication)"
	case a.id == "0" && own.first("permitrootlogin") == "no":
		account.Barred = "sshd does not let root in (PermitRootLogin)"
	}
	for _, path := range a.keys {
		f, err := readKeys(ctx, r.Host, path)
		if err != nil {
			return driver.Account{}, err
		}
		if len(f.lines) > 0 {
			account.Notes = append(account.Notes, "its keys stand in "+path)
		}
	}
	account.Notes = append(account.Notes, a.warnings()...)
	return account, nil
}

// warnings say what may surprise whoever rotates keys of the account.
func (a account) warnings() []string {
	var notes []string
	own := a.effective
	if command := own.first("authorizedkeyscommand"); command != "" {
		notes = append(notes, "AuthorizedKeysCommand lets in keys that only it knows, which are not rotated here: "+command)
	}
	if methods := own.first("authenticationmethods"); strings.Contains(methods, ",") {
		notes = append(notes, "AuthenticationMethods wants more than a key ("+methods+"): a key alone does not get in, and cannot be tried")
	}
	if penalties := own.first("persourcepenalties"); penalties != "" && penalties != "no" {
		notes = append(notes, "PerSourcePenalties keeps out for a while whoever has tried keys that are refused: name the machine that tries them in PerSourcePenaltyExemptList")
	}
	return notes
}

// listenersOf are where an account signs in.
func (s *site) listenersOf(name string) []driver.Listener {
	all := s.listeners()
	for i := range all {
		all[i].Details = map[string]string{"user": name}
	}
	return all
}

// A turn is the two keys of a rotation.
type turn struct{ old, new driver.Material }

// turnOf reads them. They are named, and nothing of them is quoted.
func turnOf(r driver.SecretRequest) (turn, error) {
	var t turn
	var err error
	if t.old, err = parsePrivate([]byte(r.Old.Reveal())); err != nil {
		return t, fmt.Errorf("couldn't read the old private key (OpenSSH's PEM, without a passphrase): %w", err)
	}
	if t.new, err = parsePrivate([]byte(r.New.Reveal())); err != nil {
		return t, fmt.Errorf("couldn't read the new private key (OpenSSH's PEM, without a passphrase): %w", err)
	}
	if string(t.old.SSH) == string(t.new.SSH) {
		return t, invalid("the new key is the old one")
	}
	return t, nil
}

// edit changes the files of keys of one account.
func (d *Door) edit(ctx context.Context, h driver.Host, s *site, a account, edit func(*keyFile)) (driver.Changed, error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	change := s.changeNoted(h, "authorized-keys-"+a.name)
	var err error
	if change.Files, _, err = s.edited(ctx, h, edit); err != nil {
		return driver.Changed{}, err
	}
	return write(ctx, change, "authorized-keys")
}

// SetSecret adds a line for the new key behind that of the old one, with the same options. To
// withdraw takes away the line that was added, and puts the old one back where it is gone.
func (d *Door) SetSecret(ctx context.Context, r driver.SecretRequest) (driver.SecretSet, error) {
	t, err := turnOf(r)
	if err != nil {
		return driver.SecretSet{}, err
	}
	s, a, err := d.accountOf(ctx, r.Host, r.Account)
	if err != nil {
		return driver.SecretSet{}, err
	}
	old, next := publicOf(t.old), publicOf(t.new)
	added, like := next, old
	if r.Withdraw {
		added, like = old, next
	}
	if revoked, err := s.refuses(ctx, r.Host, added); err != nil || revoked {
		return driver.SecretSet{}, cmp.Or(err, invalid("the key %s is on the list of revoked keys of sshd (RevokedKeys)", ssh.FingerprintSHA256(added)))
	}
	found := false
	changed, err := d.edit(ctx, r.Host, s, a, func(f *keyFile) {
		found = f.trust(added, like) || found
		if r.Withdraw {
			f.withdraw(next)
		}
	})
	if err == nil && !found {
		err = fmt.Errorf("%w: sshd does not let the key %s in as %s: no line of %s has it", tallystick.ErrNotFound, ssh.FingerprintSHA256(like), a.name, strings.Join(a.keys, ", "))
	}
	return driver.SecretSet{Changed: changed}, err
}

// DropSecret takes the lines of the old key away, and ends its sessions. It does not where the new
// key has no line: nobody would get in any more.
func (d *Door) DropSecret(ctx context.Context, r driver.SecretRequest) (driver.Blocked, error) {
	t, err := turnOf(r)
	if err != nil {
		return driver.Blocked{}, err
	}
	s, a, err := d.accountOf(ctx, r.Host, r.Account)
	if err != nil {
		return driver.Blocked{}, err
	}
	old, next := publicOf(t.old), publicOf(t.new)
	in, err := a.lets(ctx, r.Host, next)
	if err != nil || !in {
		return driver.Blocked{}, cmp.Or(err, fmt.Errorf("%w: sshd does not let the new key in as %s: set it first", tallystick.ErrConflict, a.name))
	}
	var blocked driver.Blocked
	if blocked.Changed, err = d.edit(ctx, r.Host, s, a, func(f *keyFile) { f.remove(old) }); err != nil || !d.options.Close {
		return blocked, err
	}
	if err := d.endSessions(ctx, r.Host, s, old, &blocked); err != nil {
		return driver.Blocked{}, driver.Unsettled(fmt.Errorf("the key is refused; its open sessions could not be looked for: %w", err))
	}
	return blocked, nil
}

// lets says whether a file of an account lets a key in.
func (a account) lets(ctx context.Context, h driver.Host, key ssh.PublicKey) (bool, error) {
	for _, path := range a.keys {
		f, err := readKeys(ctx, h, path)
		if err != nil || f.lets(key) {
			return err == nil, err
		}
	}
	return false, nil
}

// publicOf returns the public half of what parsePrivate has read.
func publicOf(m driver.Material) ssh.PublicKey {
	key, _, err := plain(m.Public)
	if err != nil {
		panic(err) // it was written by package ssh
	}
	return key
}

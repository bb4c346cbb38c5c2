// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/problem"
)

func (p *program) doorsAccount() *cobra.Command {
	var flags doorFlags
	cmd := &cobra.Command{
		Use: "account DOOR ACCOUNT", Short: "Show how an account stands whose secret can be rotated",
		Long: `Show how an account stands whose secret a recall can rotate: whether the old secret
still gets in once a new one is set, how long a new one may be, how many wrong tries
there are before it is locked out, and where it would be tried. It only reads, and
tries no secret. docs/rotation.md is the manual.

` + exitStatuses("0 done", "1 something failed, or there is no such door or account", "2 bad usage, or a configuration that cannot be used",
			"3 nobody gets in by the account: it is disabled, locked out, or its password has expired"),
		Example: "  tally doors account acme-ldap uid=sync,dc=acme,dc=example --config tally.yaml", Args: exactly(2, "a door and an account"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withDoors(flags, func(set *doors.Set) error { return p.lookAccount(cmd.Context(), set, args[0], args[1], flags.json) })
		},
	}
	flags.addTo(cmd)
	return cmd
}

func (p *program) lookAccount(ctx context.Context, set *doors.Set, door, name string, asJSON bool) error {
	account, err := set.Account(ctx, door, name)
	if err != nil {
		return err
	}
	if asJSON {
		err = writeJSON(p.out, account)
	} else {
		err = p.writeAccount(door, account)
	}
	if err != nil || account.Barred == "" {
		return err
	}
	return &statusError{err: fmt.Errorf("nobody gets in by this account: %s", account.Barred), status: problem.ExitFindings, hint: "a recall leaves it to people"}
}

func (p *program) writeAccount(door string, account driver.Account) error {
	s := &sheet{out: p.out}
	s.print("Account %s at the door %s\n", clean(account.Name), clean(door))
	s.put("The old one", overlapWords(account))
	s.put("The new one", formWords(account))
	s.put("Changed", instant(account.Changed))
	s.put("Wrong tries", triesWords(account.MayTry))
	var at []string
	for _, l := range account.Listeners {
		at = append(at, fmt.Sprintf("%s (%s)", l.Address, l.Protocol))
	}
	s.list("Tried at", at)
	s.list("Note", account.Notes)
	if account.Barred != "" {
		s.put("Barred", account.Barred)
	}
	return s.err
}

func overlapWords(a driver.Account) string {
	switch a.Overlap {
	case driver.OverlapTwo:
		return "gets in until it is taken away"
	case driver.OverlapTimed:
		return "gets in for " + a.OverlapTime.String() + " after a new one is set, or until it is taken away"
	}
	return "is refused as soon as a new one is set"
}

func formWords(a driver.Account) string {
	switch a.Form {
	case driver.FormSSH:
		return "is a private key"
	case driver.FormMade:
		return "is made by the system"
	}
	text := "is a text"
	if a.MinLength > 0 {
		text += fmt.Sprintf(" of at least %d characters", a.MinLength)
	}
	if a.MaxLength > 0 {
		text += fmt.Sprintf(", of at most %d", a.MaxLength)
	}
	return text
}

func triesWords(n int) string {
	switch {
	case n < 0:
		return "as many as you like"
	case n == 0:
		return "none: one more locks the account out, so that the old one cannot be tried"
	}
	return fmt.Sprintf("%d before it is locked out", n)
}

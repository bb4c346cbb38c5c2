// SPDX-License-Identifier: Apache-2.0

package web

import (
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
)

// accountFacts says whom a credential signs in as at a directory, and what that opens.
func accountFacts(f *tallystick.AccountFacts) []string {
	words := []string{fmt.Sprintf("signs in as %s, the account of a %s", f.Account, f.Kind)}
	for _, one := range []struct {
		is   bool
		word string
	}{
		{f.Disabled, "disabled"}, {f.Locked, "locked"}, {f.Privileged, "an administrator"}, {f.NoPassword, "needs no password"},
		{f.NoProof, "needs no pre-authentication"}, {f.Reversible, "password kept readable"}, {f.NeverExpires, "password never expires"},
		{f.Mapping == "weak", "weak mapping"},
	} {
		if one.is {
			words = append(words, one.word)
		}
	}
	if !f.PasswordSet.IsZero() && f.Form == tallystick.FormPassword {
		words = append(words, "password of "+f.PasswordSet.UTC().Format(time.DateOnly))
	}
	if !f.LastUsed.IsZero() {
		words = append(words, "last used on "+f.LastUsed.UTC().Format(time.DateOnly))
	}
	for _, part := range []struct {
		word string
		list []string
	}{{"is the service ", f.Services}, {"may act as ", f.Delegation}, {"acted for by ", f.ActedFor}, {"password read by ", f.Readers}, {"member of ", f.Groups}, {"owned by ", f.Owners}} {
		if len(part.list) > 0 {
			words = append(words, part.word+list(part.list))
		}
	}
	return words
}

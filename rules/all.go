// SPDX-License-Identifier: Apache-2.0

// Package rules is the list of everything that Tallystick calls wrong, one
// file for each rule or for a family that shares its measure.
package rules

import (
	"slices"

	"github.com/tallystick/tallystick/rule"
)

// All returns every rule, sorted by name within its family. It is the only list.
func All() []rule.Rule {
	return slices.Concat(
		accountRules(),
		bookRules(),
		chainRules(),
		changeRules(),
		clientRules(readDistrust()),
		distrustedRules(),
		expiryRules(),
		foreignRules(),
		shownRules(),
		namingRules(),
		privateKeyRules(),
		signatureRules(),
		sshRules(),
		sshServerRules(),
		stapleRules(),
		tlsRules(),
		useHabitRules(),
		useLifeRules(),
		weakRules(),
		wrappingRules(),
	)
}

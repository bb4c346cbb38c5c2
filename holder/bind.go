// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"strings"

	"github.com/tallystick/tallystick"
)

// A Bind is a sign-in with a name and a secret: an LDAP bind, a SASL exchange,
// a database login.
type Bind struct {
	// RelyingParty is who is asked: "ldap:host:port", "imap:host:port",
	// "smtp:host:port", "postgres:host:port".
	RelyingParty string
	// Account is the name that is signed in with: a DN, a user name.
	Account string
	// Names are further names of the credential.
	Names []string
	// Refused says whether an error of Do means that the secret was seen and
	// refused; nil takes every error for that. An error that it does not take so
	// (a connection that broke) leaves open what became of the sign-in.
	Refused func(error) bool
}

// Bind makes a sign-in by do and writes it down; it returns what do returns.
// The secret stays between do and the relying party.
func (b *Book) Bind(bind Bind, do func() error) (err error) {
	began := b.Begin()
	use := tallystick.Use{
		Level: tallystick.LevelRequest, RelyingParty: bind.RelyingParty, Operation: "bind",
		Credential: append([]string{accountName(bind)}, bind.Names...),
	}
	// Also when do panics: it may have been let in before.
	defer func() { began.End(&use) }()
	if err = do(); err == nil {
		use.Outcome = tallystick.OutcomeSuccess
	} else if bind.Refused == nil || bind.Refused(err) {
		use.Outcome = tallystick.OutcomeRefused
	}
	return err
}

// accountName is the name of an account in the words of the use record.
func accountName(b Bind) string {
	kind, _, ok := strings.Cut(b.RelyingParty, ":")
	if !ok {
		return "account:" + b.Account
	}
	return "account:" + kind + "/" + b.Account
}

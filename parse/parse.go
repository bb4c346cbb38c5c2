// SPDX-License-Identifier: Apache-2.0

// Package parse reads foreign bytes into credentials: X.509 certificates with a
// strict and a tolerant reader, PEM, DER, PKCS#7, PKCS#8, PKCS#12, JKS and
// JCEKS, OpenSSH keys and certificates, authorized_keys and known_hosts.
//
// It is pure: no files, no network, no clock. Everything it is given may have
// been written by an attacker, so each reader is bounded by the length of its
// input, never panics, and has a fuzz test. No private key byte leaves it: of a
// private key it returns the public half and what protects it.
package parse

import (
	"github.com/tallystick/tallystick"
)

// An Item is one credential found in some bytes.
type Item struct {
	Credential tallystick.Credential
	Role       tallystick.Role // holds for a private half, accepts for authorized_keys, known_hosts and trusted entries, presents otherwise
	Format     string          // as tallystick.FileFacts.Format
	Alias      string          // of a keystore entry
	Private    bool            // the private half was there
	// Passphrase says that the private half is encrypted; WeakPassphrase that
	// one of the passphrases that everybody knows ("changeit", "") opens it.
	Passphrase     bool
	WeakPassphrase bool
	SSH            *tallystick.SSHFacts
}

// A Problem is a part of the input that could not be read.
type Problem struct {
	Word   string // as tallystick.Miss.Error: "malformed", "unsupported", "truncated", "too-many", "too-much-work"
	Detail string // what was expected, and where; never bytes of the input
}

// A Result is what was in some bytes.
type Result struct {
	Items    []Item
	Problems []Problem
}

// SPDX-License-Identifier: Apache-2.0

package config

import (
	"time"

	"github.com/tallystick/tallystick/driver"
)

// Custody says where the key is that wraps the keys of all secrets.
type Custody struct {
	// One of file, passphrase, tpm, pkcs11 and transit. The default is file.
	Kind string `yaml:"kind"`

	// Of kind file: a file that only its owner can read, outside the data directory.
	// The default is $XDG_CONFIG_HOME/tallystick/wrapping.key, or
	// ~/.config/tallystick/wrapping.key; it is made when it is first needed. Of kind
	// passphrase: a file that holds the passphrase; without one it is asked for on the
	// terminal. Where systemd gives us a credential that is called tallystick.wrapping-key
	// or tallystick.passphrase, that is the default.
	File string `yaml:"file"`

	// What else the kind takes, by name: `tally custody kinds` lists it.
	Options map[string]driver.Secret `yaml:"options"`
}

// Vault says how entrusted credentials are kept.
type Vault struct {
	// The directory of the witness, a small file which says how far the vault has come.
	// When the database is restored from a backup, values that were changed since are
	// known by it and not handed out. So it must not be in what a backup brings back, and
	// not in the data directory. The default is $XDG_STATE_HOME/tallystick, or
	// ~/.local/state/tallystick, and the data directory where there is no home.
	Witness string `yaml:"witness"`

	// What this host is called where it is said what could be read from which host. The
	// default is its host name. Set it where that tells nobody which machine it is, as in a container.
	Host string `yaml:"host"`
}

// Issuing says how certificates are issued here.
type Issuing struct {
	// The URL under which others reach what is published of CAs: their certificates,
	// CRLs and OCSP, such as http://pki.example.com. It is written into certificates.
	// The default is https:// and the address that Tallystick listens on.
	URL string `yaml:"url"`

	// An address and port to publish those at without TLS, because whoever checks a
	// certificate must not need another one first (RFC 5280 section 8). Nothing else is
	// served there. Without it they are served beside the pages only.
	HTTP string `yaml:"http"`

	// What certificates may be for, beside the profiles that are built in
	// (`tally ca profiles` lists both). One with the name of a built-in takes its place.
	Profiles []Profile `yaml:"profiles"`

	// Who may have which certificate. All rules that apply must agree.
	Policies []Policy `yaml:"policies"`

	// The ACME server (RFC 8555).
	ACME ACME `yaml:"acme"`

	// The EST server (RFC 7030).
	EST EST `yaml:"est"`

	// The Workload API of SPIFFE, for programs on this machine.
	SPIFFE SPIFFE `yaml:"spiffe"`

	// Revocation lists and OCSP.
	Revocation Revocation `yaml:"revocation"`
}

// Profile says what a certificate is for and what it looks like. What is left out
// is as in the profile that it is like.
type Profile struct {
	// What it is asked for by.
	Name string `yaml:"name"`

	// A built-in profile to begin with.
	Like string `yaml:"like"`

	// The CA that signs it. The default is whichever one was asked.
	Authority string `yaml:"authority"`

	// How long certificates are valid unless another time is asked for.
	Lifetime time.Duration `yaml:"lifetime"`

	// The longest time that may be asked for. It is no less than lifetime.
	MaxLifetime time.Duration `yaml:"max_lifetime"`

	// The sorts of keys that are certified: some of ecdsa-p256, ecdsa-p384, ecdsa-p521,
	// ed25519, rsa-2048, rsa-3072 and rsa-4096. The default is all of them.
	Keys []string `yaml:"keys"`

	// Whether somebody who did not ask must approve each one.
	Approval bool `yaml:"approval"`
}

// Policy is one rule about who may have which certificate. docs/policy.md says how
// to write one, and `tally policy test` tries it out.
type Policy struct {
	// What decisions call the rule: lower-case letters, digits and hyphens. A rule with
	// the name of a built-in one takes its place.
	Name string `yaml:"name"`

	// A CEL expression: the rule applies to requests for which it is true. Without it
	// the rule applies to all.
	When string `yaml:"when"`

	// A CEL expression that must be true of the requests that it applies to.
	Require string `yaml:"require"`

	// Whether requests that it applies to and that fulfil it wait until somebody approves them.
	Approve bool `yaml:"approve"`

	// Whether requests of role client that it applies to and that fulfil it need not be proven
	// otherwise. Without such a rule clients get certificates only for names that they have
	// proven to control. A rule that grants says in when or require who may have which
	// names, and for which profile, as in
	// who == 'svc' && profile == 'server' && names.all(n, under(n, 'svc.example.com')).
	// A request with names of a sort that it says nothing of (dns, ips, emails, uris,
	// principals, common_name; names is all of them) is not granted by it.
	Grants bool `yaml:"grants"`

	// What to tell whoever is refused.
	Because string `yaml:"because"`

	// Where the rule comes from: a document and a section.
	Citation string `yaml:"citation"`

	// The day from which it holds, as in 2026-03-15; before it, it is only reported by
	// `tally policy test`.
	From string `yaml:"from"`
}

// Issuer is a CA of somebody else's.
type Issuer struct {
	// What to call it: lower-case letters, digits and hyphens, and at most 63 of them.
	Name string `yaml:"name"`

	// Which driver talks to it.
	Driver string `yaml:"driver"`

	// Settings of the driver, by name. They are not shown anywhere.
	Options map[string]driver.Secret `yaml:"options"`

	// The names of our profiles that it has other names for.
	Profiles map[string]string `yaml:"profiles"`

	// How many orders it may be asked for in an hour. 0 is without limit.
	PerHour int `yaml:"per_hour"`

	// How many orders it may be asked for in a week, which is 168 hours. 0 is without limit.
	PerWeek int `yaml:"per_week"`
}

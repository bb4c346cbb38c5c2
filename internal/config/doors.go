// SPDX-License-Identifier: Apache-2.0

package config

import (
	"time"

	"github.com/tallystick/tallystick/driver"
)

// Door is one installed system that shows a credential, or that lets others in by
// theirs, and that a recall works at. What credentials are there is not written here: the
// driver looks. `tally doors look NAME` tries a door out.
type Door struct {
	// What to call it: lower-case letters, digits and hyphens.
	Name string `yaml:"name"`

	// Which driver works there. docs/doors.md has a section on each, with what it takes.
	Driver string `yaml:"driver"`

	// On which of hosts it is. Without one it is on this machine.
	Host string `yaml:"host"`

	// Settings of the driver, by name. They are not shown anywhere.
	Options map[string]driver.Secret `yaml:"options"`

	// Who is responsible for it.
	Owner string `yaml:"owner"`

	// Whose it is, where you keep it for a customer.
	Customer string `yaml:"customer"`

	// The workload or product that signs in with the credential that the door holds, as uses
	// of it name it. Without one the door belongs to a server.
	Holder string `yaml:"holder"`

	// What uses call this door when it lets somebody in, such as ldap:dir.example.com:636.
	// By these names its log and the books of holders are found.
	RelyingParties []string `yaml:"relying_parties"`

	// What the secrets that customers have entrusted call the system that this door is of: a
	// recall of such a secret sets its next value here. Without any it is the name of the door.
	Systems []string `yaml:"systems"`

	// Who is meant to sign in here, by the holder of their doors. When several holders share
	// one credential, a recall gives each its own, and has it let in at the doors that name
	// that holder. Without any, every holder of what the door lets in may come.
	Holders []string `yaml:"holders"`

	// How it gets its next certificate.
	Issue DoorIssue `yaml:"issue"`
}

// DoorIssue says how a door gets its next certificate. What is left out is as in the one
// that it has.
type DoorIssue struct {
	// Who makes it: ca/NAME for a CA of your own, or one of issuers.
	Issuer string `yaml:"issuer"`

	// What it is for. The default is server, or client for a door that has a holder.
	Profile string `yaml:"profile"`

	// The sort of its key. The default is that of the one that it has.
	Key string `yaml:"key"`

	// What it is for: host names, addresses, e-mail addresses, URIs. The default is what
	// the one that it has is for.
	Names []string `yaml:"names"`

	// How long it should be valid. The default is what the issuer gives.
	Lifetime time.Duration `yaml:"lifetime"`
}

// Values returns the options as driver.Driver.Open takes them.
func (d Door) Values() map[string]string {
	values := make(map[string]string, len(d.Options))
	for name, value := range d.Options {
		values[name] = value.Reveal()
	}
	return values
}

// Host is a machine that is reached over SSH.
type Host struct {
	// What to call it: lower-case letters, digits and hyphens.
	Name string `yaml:"name"`

	// Its name or address, with a port if that is not 22.
	Address string `yaml:"address"`

	// As whom to sign in.
	User string `yaml:"user"`

	// A file with the private key to sign in with, as ssh-keygen makes it, without a
	// passphrase. Nobody but its owner can read it.
	KeyFile string `yaml:"key_file"`

	// The keys that the machine shows, as `ssh-keyscan` and known_hosts write them:
	// "ssh-ed25519 AAAA...". It must show one of them. Compare them with those on the machine.
	HostKeys []string `yaml:"host_keys"`

	// How long to wait for it to answer. The default is 15s.
	Timeout time.Duration `yaml:"timeout"`
}

// Recall is what is true of every recall that does not say otherwise.
type Recall struct {
	// For how long a holder must not have used the old credential before it is blocked. The
	// default is 1h.
	Quiet time.Duration `yaml:"quiet"`

	// How many targets the first wave has. The default is 1.
	Canary int `yaml:"canary"`

	// How many times larger each wave is than the one before. The default is 4.
	Growth int `yaml:"growth"`

	// How many targets of a wave may fail before the recall stops, in thousandths of the
	// wave. The default is 0: it stops at the first.
	Errors int `yaml:"errors"`

	// How many people beside the one who opened it must approve a recall, from 0 to 5. The
	// default is 1.
	Approvals int `yaml:"approvals"`

	// What happens at the deadline to what is not ready: block (it is blocked) or hold (it
	// is left). The default is block.
	AtDeadline string `yaml:"at_deadline"`

	// Where the server may try credentials when an agent says that one of its doors is
	// there: networks such as 10.0.0.0/8, addresses, and names of hosts, with a port or for all.
	// The default is none: the addresses of its own doors are always allowed.
	Connect []string `yaml:"connect"`
}

// Agents says where agents come in: programs on other machines (`tally agent run`) that
// do at their doors what the server asks for.
type Agents struct {
	// The address and port to serve them at, over TLS, such as 0.0.0.0:8445. It is not
	// served beside the pages, because there it asks for client certificates. Without it
	// no agent can come in.
	Listen string `yaml:"listen"`

	// The address and port under which agents reach it, when that is not the one that it
	// listens at, such as tally.example.com:8445.
	Address string `yaml:"address"`
}

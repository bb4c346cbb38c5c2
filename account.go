// SPDX-License-Identifier: Apache-2.0

package tallystick

import (
	"net/url"
	"time"
)

// ADPlace returns the place of an object of a domain of Active Directory: the domain's DNS
// name and the object's distinguished name.
func ADPlace(domain, dn string) Place { return objectPlace("ad", domain, dn) }

// LDAPPlace returns the place of an entry of a directory; hostport is as net.JoinHostPort makes it.
func LDAPPlace(hostport, dn string) Place { return objectPlace("ldap", hostport, dn) }

func objectPlace(scheme, host, dn string) Place {
	return Place((&url.URL{Scheme: scheme, Host: host, Path: "/" + dn}).String())
}

// The forms in which an account lets somebody in: AccountFacts.Form.
const (
	FormPassword    = "password"    // that the directory keeps for it
	FormCertificate = "certificate" // that stands in the account
	FormMapping     = "mapping"     // a description of certificates that sign in as it
	FormKey         = "key"         // a public key whose private half signs in as it
)

// AccountFacts describe whom a credential signs in as at a directory, and what that opens.
type AccountFacts struct {
	Directory string `json:"directory"` // domain, or host:port
	Account   string `json:"account"`   // its name there
	// Kind is "person", "service", "managed" (its password is made and changed by the
	// directory) or "computer".
	Kind  string `json:"kind,omitempty"`
	Form  string `json:"form"`
	KeyID string `json:"key_id,omitempty"` // as logs name a key, for that form

	Disabled bool `json:"disabled,omitempty"`
	Locked   bool `json:"locked,omitempty"`
	// Privileged says that the directory guards it as one of its administrators (adminCount).
	Privileged bool `json:"privileged,omitempty"`
	// PasswordSet is when its password was set; NeverExpires and NoPassword say that the one
	// it has may grow old without end, and that it may have none.
	PasswordSet  time.Time `json:"password_set,omitzero"`
	NeverExpires bool      `json:"never_expires,omitempty"`
	NoPassword   bool      `json:"no_password,omitempty"`
	// NoProof says that anybody is given a ticket of it to guess its password by (no
	// Kerberos pre-authentication); Reversible that the directory keeps its password readable.
	NoProof    bool `json:"no_proof,omitempty"`
	Reversible bool `json:"reversible,omitempty"`
	// LastUsed is when somebody last signed in as it, as far as the directory knows: some are
	// up to two weeks behind. Zero is not known. Created is when it was made.
	LastUsed time.Time `json:"last_used,omitzero"`
	Created  time.Time `json:"created,omitzero"`

	// Mapping of that form is "strong" where it names one certificate or key, and "weak" where
	// certificates that somebody else may get fit as well.
	Mapping  string   `json:"mapping,omitempty"`
	Services []string `json:"services,omitempty"` // names under which it is a service (servicePrincipalName)
	// Delegation says for whom it may act: "anybody everywhere", "anybody at NAME"; with
	// " without their sign-in" where it needs no ticket of theirs.
	Delegation []string `json:"delegation,omitempty"`
	// ActedFor are those who may act as anybody towards it.
	ActedFor []string `json:"acted_for,omitempty"`
	// Readers may read its password, where the directory makes it.
	Readers []string `json:"readers,omitempty"`
	Groups  []string `json:"groups,omitempty"` // that it is in, also by way of others
	Owners  []string `json:"owners,omitempty"`
}

// ChangedValues are the values of one attribute of a directory that a change added and
// removed, as they were stored, so that it can be undone. They are no secrets.
type ChangedValues struct {
	Object    string   `json:"object"` // what the directory itself calls it: an objectGUID, an entryUUID or a DN
	DN        string   `json:"dn"`
	Attribute string   `json:"attribute"`
	Added     [][]byte `json:"added,omitempty"`
	Removed   [][]byte `json:"removed,omitempty"`
}

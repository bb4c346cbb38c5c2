// SPDX-License-Identifier: Apache-2.0

package tallystick

import "time"

// A ChangeKind says what was altered that decides who gets in.
type ChangeKind string

const (
	ChangeCredentialAdded   ChangeKind = "credential-added" // a certificate, key, secret or password that opens Target
	ChangeCredentialRemoved ChangeKind = "credential-removed"
	ChangeCredentialAltered ChangeKind = "credential-altered" // a password was set, or several credentials replaced at once
	ChangeTrustAdded        ChangeKind = "trust-added"        // whoever another issuer vouches for gets in: a federated credential, a federated domain
	ChangeTrustRemoved      ChangeKind = "trust-removed"
	ChangeGrantAdded        ChangeKind = "grant-added" // Target may do more
	ChangeGrantRemoved      ChangeKind = "grant-removed"
	ChangeKeyRead           ChangeKind = "key-read"     // a private key was opened where it is kept
	ChangeKeyExported       ChangeKind = "key-exported" // and left it
	ChangeSetting           ChangeKind = "setting"      // anything else that decides who gets in
	// ChangeSuspected alters nothing: another detector says that a credential of Target is in
	// foreign hands.
	ChangeSuspected ChangeKind = "suspected"
)

// A Change is one alteration of who gets in, as the log of a directory, a tenant
// or a host has it. What was only tried is a change with Failed set.
type Change struct {
	ID     string     `json:"id,omitempty"` // the record's own, "" when it has none
	Source string     `json:"source"`       // the book that it was read from
	Time   time.Time  `json:"time"`
	Kind   ChangeKind `json:"kind"`
	Failed bool       `json:"failed,omitempty"`

	// Actor is who did it, in the form of a credential's name where there is one
	// ("account:entra-app/<app>", "account:ad/<domain>/<name>"); ActorKind is
	// "user", "application", "device" or "".
	Actor     string `json:"actor,omitempty"`
	ActorKind string `json:"actor_kind,omitempty"`
	Address   string `json:"address,omitempty"` // from where
	Agent     string `json:"agent,omitempty"`

	// Target is what it opens or what may do more, as "kind:name":
	// "entra-app:<tenant>/<object>", "ad:<domain>/<dn>", "entra-domain:<tenant>/<domain>".
	Target     string `json:"target"`
	TargetName string `json:"target_name,omitempty"` // for people
	// Accounts are the names under which uses of what Target's credentials open
	// are recorded ("account:entra-app/<app>"), so that a sign-in after a change
	// is known for what it is.
	Accounts []string `json:"accounts,omitempty"`
	// Credential has the names of the credential that was added or removed.
	Credential []string `json:"credential,omitempty"`
	// Existing says how many credentials Target had before, -1 when the record
	// does not say.
	Existing int `json:"existing"`
	// Grants are what was granted or taken: "full_access_as_app", "RoleManagement.ReadWrite.Directory".
	Grants []string `json:"grants,omitempty"`

	Operation   string `json:"operation,omitempty"` // as the log calls it
	Correlation string `json:"correlation,omitempty"`
	Before      string `json:"before,omitempty"` // values, where the log has them; never secrets
	After       string `json:"after,omitempty"`
	Detail      string `json:"detail,omitempty"`

	// Values are what can be put back, where who saw the change had them.
	Values *ChangedValues `json:"values,omitempty"`
}

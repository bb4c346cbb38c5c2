// SPDX-License-Identifier: Apache-2.0

package tallystick

import "time"

// A Side is who recorded a use.
type Side string

const (
	SideHolder  Side = "holder"  // has the key, and says "I used it"
	SideRelying Side = "relying" // accepted or refused it, and says "it was used here"
)

// A Level says what a use is one of. One signature can become several requests,
// a request becomes a token, and a token becomes calls; IDs.Parent ties them.
type Level string

const (
	LevelSignature Level = "signature"
	LevelRequest   Level = "request" // what a record means that names no level
	LevelToken     Level = "token"
	LevelCall      Level = "call"
)

// Rank orders the levels from the key to what it opens; an unknown level is a request.
func (l Level) Rank() int {
	switch l {
	case LevelSignature:
		return 0
	case LevelToken:
		return 2
	case LevelCall:
		return 3
	}
	return 1
}

// A Verdict is what the tally says of one use.
type Verdict string

const (
	VerdictMatched     Verdict = "matched"     // both sides recorded it
	VerdictForeign     Verdict = "foreign"     // accepted there, not made here
	VerdictUnconfirmed Verdict = "unconfirmed" // made here, not seen there
	VerdictPending     Verdict = "pending"     // not matched, and a book is still open
	// VerdictAttempt is a try that did not show that the key was held. It is no
	// use, and takes no part in the tally.
	VerdictAttempt Verdict = "attempt"
)

// An Outcome is how a use ended, and whether it shows that the key was held.
type Outcome string

const (
	OutcomeSuccess Outcome = "success"
	// OutcomeRefused was refused although the key was held: the credential has
	// expired, say, or was disabled. It counts as a use.
	OutcomeRefused Outcome = "refused"
	// OutcomeAttempt was refused without showing that the key was held: a bad
	// signature, or a reason that nobody wrote down.
	OutcomeAttempt Outcome = "attempt"
)

// A Use is one authentication or signature with a credential, or Count of them,
// as one side recorded it: version 1 of the use record (docs/use-record.schema.json).
type Use struct {
	// ID is the record's own id, given by who recorded it, or "": two records
	// with one id are the same record.
	ID string
	// Source is the book and has one writer; Seq numbers its records from 1
	// without gaps, or is 0.
	Source string
	Seq    uint64
	Side   Side
	Level  Level
	// Time is when that side saw it, in UTC. Where Count is more than 1 the
	// uses were made from Time to Until.
	Time, Until time.Time
	Count       int64 // at least 1

	Credential   []string // names of one credential, each "kind:value"; see NormalName
	Holder       string   // the workload or product that made it
	RelyingParty string   // "kind:name": "entra:<tenant>/<resource>", "ldap:host:port"; "" is not known

	Outcome   Outcome
	Address   string
	Port      int
	Agent     string
	Operation string
	Resource  string
	Detail    string

	IDs UseIDs
	// Other holds the members of the record that version 1 does not name, as
	// JSON. Nil when there are none.
	Other map[string]string
}

// UseIDs are the identifiers that can tie records to each other.
type UseIDs struct {
	// UTI names an access token, as Entra ID wrote it; see NormalUTI.
	UTI string
	// Correlation is chosen by the client: a thief can copy it.
	Correlation string
	Request     string
	Session     string
	Queue       string
	Serial      string
	Parent      string            // an identifier of the use that this one was made with
	Other       map[string]string // identifiers with other names, nil when there are none
}

// Map returns the identifiers that are set, under the names of the use record.
func (ids UseIDs) Map() map[string]string {
	all := map[string]string{}
	for name, value := range ids.Other {
		all[name] = value
	}
	for name, value := range map[string]string{
		"uti": ids.UTI, "correlation": ids.Correlation, "request": ids.Request, "session": ids.Session,
		"queue": ids.Queue, "serial": ids.Serial, "parent": ids.Parent,
	} {
		if value != "" {
			all[name] = value
		}
	}
	return all
}

// A ClosingMark says that Source has written down everything before Closed.
type ClosingMark struct {
	Source string
	Side   Side
	Closed time.Time
}

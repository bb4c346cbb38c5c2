// SPDX-License-Identifier: Apache-2.0

package tallystick

import (
	"cmp"
	"encoding/json"
	"strings"
	"time"
)

// A Recall replaces what is burnt everywhere by a date, and proves that the old one
// is dead. It is one plan of targets and steps; steps that wait for others say so.
type Recall struct {
	ID   int64  `json:"id"`
	Name string `json:"name"` // lower-case letters, digits and hyphens; unique
	What Burnt  `json:"what"`
	Why  string `json:"why"` // for people
	// Since is from when on it may have been in other hands; zero is not known.
	Since time.Time `json:"since,omitzero"`

	Deadline   time.Time     `json:"deadline"`
	AtDeadline string        `json:"at_deadline"` // AtDeadlineBlock or AtDeadlineHold
	Quiet      time.Duration `json:"quiet"`       // for which the holder must not have used the old one
	Waves      Waves         `json:"waves"`
	// Rehearse is after what time each block undoes itself; 0 is a recall in earnest.
	// A rehearsal issues nothing and revokes nothing.
	Rehearse time.Duration `json:"rehearse,omitempty"`

	State      RecallState `json:"state"`
	Reason     string      `json:"reason,omitempty"` // of a state that somebody or something brought about: "wave 2 has more failures than 1 in 100"
	OpenedBy   string      `json:"opened_by"`
	ApprovedBy []string    `json:"approved_by,omitempty"` // for the deadline that stands now
	Opened     time.Time   `json:"opened"`
	Started    time.Time   `json:"started,omitzero"`
	Ended      time.Time   `json:"ended,omitzero"`
	Blocked    time.Time   `json:"blocked,omitzero"` // when the deadline acted
}

// Burnt is what must be replaced: one word and a value. The words are the
// constants that begin with Burnt.
type Burnt struct {
	Kind  string `json:"kind"`
	Value string `json:"value"`
}

// The words of Burnt.Kind.
const (
	BurntCredential = "credential" // a Fingerprint, or any name of a credential
	BurntKey        = "key"        // a KeyID: every certificate of that key
	BurntIssuer     = "issuer"     // a CA, by its Fingerprint or as "ca/NAME": everything that it signed and that has not ended
	BurntPlace      = "place"      // a Place: every credential whose private half is at it or beneath it
	BurntWrapping   = "wrapping"   // a wrapping key of custody, by its name: every key and entrusted secret that was ever under it
	// BurntEntrusted is secrets that customers have entrusted: the id of one; "host/NAME" for all that
	// was readable from a host, also "host/NAME@FROM/TO" with two times (RFC 3339); or "due" for
	// all that somebody said is to be replaced.
	BurntEntrusted = "entrusted"
)

// String writes a Burnt as people do: "key:9a0c...".
func (b Burnt) String() string { return b.Kind + ":" + b.Value }

// ReadableFrom takes apart a Burnt of all that was readable from a host. from and to are empty
// where it has none; is says whether it is such a one.
func (b Burnt) ReadableFrom() (host, from, to string, is bool) {
	text, is := strings.CutPrefix(b.Value, "host/")
	if !is || b.Kind != BurntEntrusted {
		return "", "", "", false
	}
	host, span, _ := strings.Cut(text, "@")
	from, to, _ = strings.Cut(span, "/")
	return host, from, to, true
}

// EntrustedWords says what a Burnt of BurntEntrusted is, for people.
func (b Burnt) EntrustedWords() string {
	host, from, to, is := b.ReadableFrom()
	switch {
	case is && from+to == "":
		return "every entrusted secret that was readable from the host " + host
	case is:
		return "every entrusted secret that was readable from the host " + host + " between " + cmp.Or(from, "ever") + " and " + cmp.Or(to, "now")
	case b.Value == "due":
		return "every entrusted secret that was to be replaced"
	}
	return "the entrusted secret " + b.Value
}

// What happens at the deadline of a recall.
const (
	AtDeadlineBlock = "block" // the old one is blocked everywhere, ready or not
	AtDeadlineHold  = "hold"  // nothing is blocked that is not ready
)

// Waves say how a recall grows.
type Waves struct {
	Canary int `json:"canary"` // targets of the first wave; at least 1
	Growth int `json:"growth"` // each wave has this many times the targets of the one before; at least 1
	// Errors is how many of a wave's targets may fail before nothing further begins,
	// in thousandths of the wave, rounded down; one failed canary stops always.
	Errors int `json:"errors"`
}

// A RecallState is how far a recall is as a whole.
type RecallState string

const (
	RecallWaiting   RecallState = "waiting"  // for somebody's approval
	RecallApproved  RecallState = "approved" // and not begun
	RecallRunning   RecallState = "running"
	RecallPaused    RecallState = "paused"  // by a person
	RecallStopped   RecallState = "stopped" // by its error budget
	RecallDone      RecallState = "done"    // every target is proven, skipped or waived
	RecallCancelled RecallState = "cancelled"
)

// Over says that nothing more will happen.
func (s RecallState) Over() bool { return s == RecallDone || s == RecallCancelled }

// A Phase is what a target goes through, in this order (docs/design/0007-recall.md).
type Phase string

const (
	PhasePrepare  Phase = "prepare"  // the new one is made, and trusted beside the old
	PhaseActivate Phase = "activate" // the holder uses the new one, or the server shows it
	PhaseDrain    Phase = "drain"    // the holder no longer uses the old one
	PhaseRevoke   Phase = "revoke"   // the old one is refused
	PhaseProve    Phase = "prove"    // and that was tried
)

// Phases returns all of them in their order.
func Phases() []Phase {
	return []Phase{PhasePrepare, PhaseActivate, PhaseDrain, PhaseRevoke, PhaseProve}
}

// An Act is what one step does.
type Act string

const (
	ActKey     Act = "key"     // prepare: make a key where it will be used
	ActIssue   Act = "issue"   // prepare: have a certificate made for it
	ActTrust   Act = "trust"   // prepare: let the new one in beside the old
	ActInstall Act = "install" // activate: put the new one in the place of the old, look that it is shown
	ActProbe   Act = "probe"   // activate: try the new one where it must be accepted
	ActDrain   Act = "drain"   // drain: look into the ledger until the holder is quiet
	ActHold    Act = "hold"    // revoke: have sessions and open connections of the old one, to try them afterwards
	ActRevoke  Act = "revoke"  // revoke: have the issuer revoke the old one
	ActBlock   Act = "block"   // revoke: make a door refuse the old one
	ActLift    Act = "lift"    // rehearsal: undo that
	ActProve   Act = "prove"   // prove: try the old one in every way, and the new one
	ActPerson  Act = "person"  // any phase: somebody does something by hand and says so
	ActGate    Act = "gate"    // any phase: a wave is through, the next may begin
)

// A RecallTarget is one place or connection of a recall, or one task for a person.
type RecallTarget struct {
	ID     int64  `json:"id"`
	Recall int64  `json:"recall"`
	Kind   string `json:"kind"` // TargetPlace, TargetConnection or TargetPerson
	Wave   int    `json:"wave"` // from 1
	// Holder and Relying are doors, "" where none is known; of a place only Holder is set.
	Holder       string   `json:"holder,omitempty"`
	Relying      string   `json:"relying,omitempty"`
	RelyingParty string   `json:"relying_party,omitempty"` // as uses name it
	Customer     string   `json:"customer,omitempty"`
	Owner        string   `json:"owner,omitempty"`
	Grants       []string `json:"grants,omitempty"`
	// Old is the burnt credential here, by its best name, and Subject what people call it.
	Old     string `json:"old"`
	Subject string `json:"subject,omitempty"`
	// Instructions say what a person has to do where no driver can.
	Instructions string `json:"instructions,omitempty"`

	State string `json:"state"` // a Phase that is under way, or one of the words below
	Late  bool   `json:"late,omitempty"`
	// Asked says that a door denies us what is to be done there, so that its people were
	// asked to do it: Instructions say what. It goes on as soon as the door shows that they did.
	Asked bool   `json:"asked,omitempty"`
	Error string `json:"error,omitempty"` // why it cannot go on, with the next action
}

// Entrusted says whether the target is about a secret that a customer has entrusted. One door lets
// many of them in, so that people call the target by its Subject.
func (t RecallTarget) Entrusted() bool { return strings.HasPrefix(t.Old, EntrustedPrefix) }

// EntrustedPrefix begins the names of entrusted secrets as credentials: "entrusted:ID".
const EntrustedPrefix = "entrusted:"

// The words of RecallTarget.Kind.
const (
	TargetPlace      = "place"
	TargetConnection = "connection"
	TargetPerson     = "person"
)

// The words of RecallTarget.State beside the phases.
const (
	TargetProven  = "proven"
	TargetFailed  = "failed"
	TargetSkipped = "skipped" // somebody said so, with a reason
	TargetUndone  = "undone"  // rolled back
)

// A RecallStep is one durable act at one target, or at several that share it.
type RecallStep struct {
	ID     int64  `json:"id"`
	Recall int64  `json:"recall"`
	Target int64  `json:"target,omitempty"` // 0: it is of the recall as a whole
	Phase  Phase  `json:"phase"`
	Act    Act    `json:"act"`
	Wave   int    `json:"wave,omitempty"`
	Door   string `json:"door,omitempty"`  // where it is done
	Agent  string `json:"agent,omitempty"` // who does it; "" is the server

	State    string `json:"state"`    // one of the words below
	Waits    int    `json:"waits"`    // how many steps before it are not done
	Fence    int64  `json:"fence"`    // counts those who took it up
	Failures int64  `json:"failures"` // in a row
	Error    string `json:"error,omitempty"`
	Owner    string `json:"owner,omitempty"` // the node that works at it

	Next  time.Time `json:"next,omitzero"` // not before then
	Began time.Time `json:"began,omitzero"`
	Ended time.Time `json:"ended,omitzero"`
	// Task is what is to be done, and Result what came of it with the raw answers: JSON, no secret.
	Task   json.RawMessage `json:"task,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
}

// The words of RecallStep.State.
const (
	StepWaiting = "waiting" // for other steps
	StepReady   = "ready"   // to be taken up, not before Next
	StepRunning = "running"
	StepDone    = "done"
	StepFailed  = "failed"  // it is not tried again by itself
	StepSkipped = "skipped" // somebody said so, or the deadline left it behind
)

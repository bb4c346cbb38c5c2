// SPDX-License-Identifier: Apache-2.0

// Package evidence makes one file of a recall, for somebody who was not there and does not
// trust us, and verifies such a file on any machine without asking anybody.
//
// The file is a ZIP archive, so that people can open the report and auditors the table
// with what they have; of which every byte is decided by its members, so that nothing can be
// hidden in it (container.go). Three things hold it together. The manifest has the
// SHA-256 of each member. The audit log has a record with the SHA-256 of the manifest,
// which was appended when the file was made. And the proof shows that this record, and
// each of the others that the file quotes, is in the Merkle tree that one signed checkpoint of
// the log covers: the decisions of the gate about this recall, and for each step what
// came of it. So whoever trusts the key of the log, or has kept a
// checkpoint of it, knows that the file is what the log has recorded since, in order. docs/evidence.md
// is the format; it only gains members of its JSON objects.
package evidence

import (
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/gate"
)

// ErrBroken says that a file is not evidence as it was signed.
var ErrBroken = errors.New("the evidence is not what was signed")

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBroken, fmt.Sprintf(format, args...))
}

// Format is what the manifest says that the file is.
const Format = "tallystick-evidence/1"

// The members of the file. They stand in the order of memberNames.
const (
	readmeName   = "README.txt"
	reportName   = "report.html"
	tableName    = "targets.csv"
	recallName   = "recall.json"
	targetsName  = "targets.ndjson"
	stepsName    = "steps.ndjson"
	eventsName   = "events.ndjson"
	recordsName  = "records.ndjson"
	manifestName = "manifest.json"
	proofName    = "proof.ndjson"
)

// memberNames returns all members in their order. The manifest is about those before it.
func memberNames() []string {
	return []string{readmeName, reportName, tableName, recallName, targetsName, stepsName, eventsName, recordsName, manifestName, proofName}
}

// listed is how many members the manifest lists: all but itself and the proof.
const listed = 8

// SealAction is the action of the record of the audit log that holds the SHA-256 of a manifest.
const SealAction = "seal-evidence"

// A Manifest says what is in the file.
type Manifest struct {
	Format  string    `json:"format"`
	Recall  string    `json:"recall"` // its name
	Made    time.Time `json:"made"`
	By      string    `json:"by"`
	Members []Member  `json:"members"`
}

// A Member is one of the file: its content, and how that is packed.
type Member struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // of the content
	Packed string `json:"packed"` // SHA-256 of the bytes in the archive
}

// A Document is recall.json: what was burnt and why, who decided, and what the books say of
// its uses.
type Document struct {
	tallystick.Recall
	States map[string]int64 `json:"states"` // of the targets: how many are in which
	Uses   []Uses           `json:"uses"`
}

// Uses are those of one burnt credential: before the recall began, until the last door
// refused it, and since.
type Uses struct {
	Credential string `json:"credential"`
	Subject    string `json:"subject,omitempty"`
	Before     Count  `json:"before"`
	During     Count  `json:"during"`
	After      Count  `json:"after"`
	// Note says what the counts leave out, for people.
	Note string `json:"note,omitempty"`
}

// A Count is of uses from From, and before To, as both sides recorded them.
type Count struct {
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Holder  int64     `json:"holder"`
	Relying int64     `json:"relying"`
	Foreign int64     `json:"foreign"` // of Relying
	Pending int64     `json:"pending"` // of Relying: a book is still open
}

// A Step is one of the recall, with what came of it.
type Step struct {
	tallystick.RecallStep
	Also []int64 `json:"also,omitempty"` // further targets that share it
}

// An Event is one line of what happened, in plain words.
type Event struct {
	N      int64     `json:"n"` // from 1
	Time   time.Time `json:"time"`
	Kind   string    `json:"kind"`
	Target int64     `json:"target,omitempty"`
	Text   string    `json:"text"`
}

// A Source is what Export writes down.
type Source struct {
	Recall  tallystick.Recall
	Targets iter.Seq2[tallystick.RecallTarget, error]
	Steps   iter.Seq2[Step, error] // in the order of their numbers
	Events  iter.Seq2[Event, error]
	Uses    []Uses
	Log     *audit.Log
	By      gate.Actor
	Now     time.Time
}

// A quote is one line of records.ndjson: a record of the audit log as it is hashed.
type quote struct {
	Record int64  `json:"record"`
	Text   string `json:"text"`
}

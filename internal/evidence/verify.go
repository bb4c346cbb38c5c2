// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/gate"
)

// A Report is what Verify found in a file that is as it was signed.
type Report struct {
	Recall   string                 `json:"recall"`
	What     tallystick.Burnt       `json:"what"`
	State    tallystick.RecallState `json:"state"`
	Made     time.Time              `json:"made"`
	By       string                 `json:"by"`
	OpenedBy string                 `json:"opened_by"`
	// ApprovedBy are those who approved the deadline that stood when the file was made.
	ApprovedBy []string         `json:"approved_by,omitempty"`
	Targets    map[string]int64 `json:"targets"` // by state
	Steps      int64            `json:"steps"`
	Bound      int64            `json:"bound"`   // steps whose outcome is, byte for byte, what was recorded when they ended
	Records    int64            `json:"records"` // of the audit log, each proven
	Seal       int64            `json:"seal"`    // the number of the record that seals the file
	LogSize    int64            `json:"log_size"`
	Checkpoint string           `json:"checkpoint"`
}

// Verify says whether a file is evidence as Export made it, of a log with the public key
// that Log.VerifierKey returns. It asks nobody. A file that is anything else, in any byte, is
// ErrBroken; a key that is none is ErrInvalid. Until the signature is verified it takes
// little memory and reads the file once at most; then it takes what the owner of
// the key has put into the file.
func Verify(r io.ReaderAt, size int64, key string) (Report, error) {
	verifier, err := audit.NewVerifier(key)
	if err != nil {
		return Report{}, err
	}
	a, err := openArchive(r, size)
	if err != nil {
		return Report{}, err
	}
	v := verification{archive: a, results: map[int64][]outcome{}, proven: map[int64]bool{}, decided: map[string]bool{}, approved: map[string]bool{}}
	var digest string
	if v.manifest, digest, err = a.manifest(); err != nil {
		return Report{}, err
	}
	v.report = Report{Recall: v.manifest.Recall, Made: v.manifest.Made, By: v.manifest.By, Targets: map[string]int64{}}
	proof := a.bytes(proofName)
	if a.parts[proofName].method != stored {
		return Report{}, broken("its proof is packed in another way")
	}
	crc := crc32.NewIEEE()
	v.proof = newLineReader(proofName, io.TeeReader(proof, crc), readLine)
	if err := v.sealed(verifier, digest); err != nil {
		return Report{}, err
	}
	if err := v.contents(); err != nil {
		return Report{}, err
	}
	if crc.Sum32() != a.parts[proofName].crc {
		return Report{}, broken("the checksum of its proof is wrong")
	}
	return v.report, nil
}

// A verification is the state of one Verify.
type verification struct {
	*archive
	manifest  Manifest
	report    Report
	rehearsal bool
	tree      audit.Tree
	proof     lineReader
	results   map[int64][]outcome // by step: what the log says came of it
	proven    map[int64]bool      // targets that are proven, until a step has shown it
	decided   map[string]bool     // action and actor of what the gate has allowed
	deadline  time.Time
	approved  map[string]bool // who has approved it, as the log says
}

// An outcome is what one record says of a step.
type outcome struct{ said, sum, by string }

// sealed verifies the first line of the proof: the signature of the log, and that it
// covers the record with the manifest's hash.
func (v *verification) sealed(verifier audit.Verifier, digest string) error {
	var first seal
	if ok, err := v.proof.next(&first); err != nil || !ok {
		return broken("it has no proof")
	}
	var err error
	if v.tree, err = verifier.Open(first.Checkpoint); err != nil {
		return broken("the signature is not by this key, or what it signs was changed (%v)", err)
	}
	e, err := v.tree.Check(first.Proof)
	if err != nil || e.Action != SealAction || !e.Allowed || e.Object != audit.RecallObject(v.manifest.Recall) || e.Actor != v.manifest.By || e.Detail != sealDetail(digest) {
		return broken("the log has not sealed this manifest")
	}
	v.report.Seal, v.report.LogSize, v.report.Checkpoint = e.ID, v.tree.Size, first.Checkpoint
	return nil
}

// contents verifies every member that the manifest lists: what is in it, and for some what
// that says.
func (v *verification) contents() error {
	read := map[string]func(io.Reader) error{
		recordsName: v.records, recallName: v.recall, targetsName: v.targets, stepsName: v.steps,
	}
	// What the recall is about says which records are about it; the others are compared with those.
	for _, name := range []string{recallName, recordsName, targetsName, stepsName, eventsName, tableName, reportName, readmeName} {
		i := slices.IndexFunc(v.manifest.Members, func(m Member) bool { return m.Name == name })
		how := read[name]
		if how == nil {
			how = func(io.Reader) error { return nil }
		}
		if err := v.content(v.manifest.Members[i], how); err != nil {
			return err
		}
	}
	for step := range v.results {
		return broken("step %d is on record and left out", step)
	}
	for target := range v.proven {
		return broken("target %d is called proven, and no step shows that", target)
	}
	return nil
}

// records verifies that each quoted record is in the tree, with its line of the proof.
func (v *verification) records(r io.Reader) error {
	lines := newLineReader(recordsName, r, json.Unmarshal)
	about := ours(v.manifest.Recall, v.report.What)
	var last int64
	var before []tlog.Hash
	for {
		var q quote
		ok, err := lines.next(&q)
		if err != nil {
			return err
		}
		var line proofLine
		more, err := v.proof.next(&line)
		if err != nil {
			return err
		}
		if ok != more || ok && q.Record != line.Record {
			return broken("records and their proofs do not go together")
		}
		if !ok {
			return v.approvals()
		}
		path, err := line.whole(before)
		if err != nil {
			return err
		}
		if again := shorten(line.Record, path, before); again.Rest != line.Rest || line.Path == nil {
			return broken("the path of record %d is written in another way", line.Record)
		}
		before = path
		e, err := v.tree.Check(audit.Proof{Record: q.Record, Text: q.Text, Path: path})
		if err != nil || q.Record <= last || q.Record >= v.report.Seal || !about(e) {
			return broken("record %d is not one of the log about this recall", q.Record)
		}
		last = q.Record
		v.report.Records++
		v.note(e)
	}
}

// note takes from a record what the others are compared with.
func (v *verification) note(e audit.Entry) {
	if step, said, sum, is := audit.StepIn(v.manifest.Recall, e.Record); is {
		// More than one: it was done again, or by a node that was taken for dead. What came of it
		// must be one of them.
		v.results[step] = append(v.results[step], outcome{said, sum, e.Actor})
	} else if audit.Approves(v.manifest.Recall, v.deadline, e.Record) {
		v.approved[e.Actor] = true
	} else if e.Allowed {
		v.decided[e.Action+" "+e.Actor] = true
	}
}

// did says whether the log has a record of somebody who was allowed to do something.
func (v *verification) did(action gate.Action, who string) bool {
	return v.decided[string(action)+" "+who]
}

// approvals compares who opened and approved the recall with the records.
func (v *verification) approvals() error {
	if !v.did(gate.OpenRecall, v.report.OpenedBy) {
		return broken("%.100q has opened it according to the recall, and the log has no record of that", v.report.OpenedBy)
	}
	for _, who := range v.report.ApprovedBy {
		if strings.EqualFold(who, v.report.OpenedBy) {
			return broken("%.100q has opened it and approved it as well", who)
		}
		if !v.approved[who] {
			return broken("%.100q has approved it according to the recall, and the log has no record of that", who)
		}
	}
	return nil
}

// recall reads the document.
func (v *verification) recall(r io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(r, maxLine))
	if err != nil {
		return broken("%s cannot be unpacked", recallName)
	}
	var doc Document
	if err := json.Unmarshal(text, &doc); err != nil || doc.Name != v.manifest.Recall {
		return broken("%s is about another recall, or cannot be read", recallName)
	}
	v.rehearsal, v.deadline = doc.Rehearse > 0, doc.Deadline
	v.report.What, v.report.State, v.report.OpenedBy, v.report.ApprovedBy = doc.What, doc.State, doc.OpenedBy, doc.ApprovedBy
	return nil
}

// targets counts them.
func (v *verification) targets(r io.Reader) error {
	lines := newLineReader(targetsName, r, json.Unmarshal)
	for {
		var t tallystick.RecallTarget
		if ok, err := lines.next(&t); err != nil || !ok {
			return err
		}
		v.report.Targets[t.State]++
		if t.State == tallystick.TargetProven && t.Kind != tallystick.TargetPerson && !v.rehearsal {
			v.proven[t.ID] = true
		}
	}
}

// steps compares what came of each step with what the log has recorded of it.
func (v *verification) steps(r io.Reader) error {
	lines := newLineReader(stepsName, r, json.Unmarshal)
	for {
		var step Step
		if ok, err := lines.next(&step); err != nil || !ok {
			return err
		}
		v.report.Steps++
		recorded := v.results[step.ID]
		delete(v.results, step.ID)
		switch {
		case step.State != tallystick.StepDone || step.Act == tallystick.ActGate:
			continue
		}
		said, sum, by := audit.StepSaid(string(step.Act), step.Door, "done"), audit.SumOf(step.Result), saidBy(step.RecallStep)
		if !slices.ContainsFunc(recorded, func(o outcome) bool { return o.said == said && o.sum == sum && (by == "" || o.by == by) }) {
			return broken("what came of step %d (%s) is not what the log has recorded", step.ID, step.Act)
		}
		v.report.Bound++
		if step.Act == tallystick.ActProve {
			delete(v.proven, step.Target)
		}
	}
}

// saidBy returns who says that they did a step by hand, "" of what a program did, and nobody's
// name where a task for a person does not say.
func saidBy(step tallystick.RecallStep) string {
	var said struct {
		By string `json:"by"`
	}
	if err := json.Unmarshal(step.Result, &said); (err != nil || said.By == "") && step.Act == tallystick.ActPerson {
		return "\n"
	}
	return said.By
}

// Sentences say to a person what is proven, to whom, and what is not.
func (r Report) Sentences() []string {
	list := []string{
		fmt.Sprintf("No byte of the file was changed since %s, when %s had it made and sealed as record %d of the audit log.", r.Made.UTC().Format("2006-01-02 15:04:05 UTC"), r.By, r.Seal),
		fmt.Sprintf("The outcomes of %d steps, with the answers that were received, are what the log recorded when they ended.", r.Bound),
		fmt.Sprintf("%d records of who decided and what was done are in the log, in this order, under one signature over %d records.", r.Records, r.LogSize),
	}
	return append(list,
		fmt.Sprintf("It was opened by %s%s.", r.OpenedBy, approvedWords(r.ApprovedBy)),
		"You can trust that as far as you trust whoever has the key: only they could have written it, and they cannot take it back or change it now.",
		"That they wrote the truth is not proven by a signature. If you have kept an earlier checkpoint of their log, ask them for a proof that this one continues it.")
}

func approvedWords(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return " and approved by " + strings.Join(names, ", ")
}

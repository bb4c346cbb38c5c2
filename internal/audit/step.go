// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// stepAction is the action of the records that hold what came of a step of a recall.
const stepAction = "recall-step"

// sumMark stands before the SHA-256 that the detail of such a record ends with.
const sumMark = "sha256:"

// RecallObject is what a recall is called in the log. What is about a part of it begins
// with this and a slash.
func RecallObject(recall string) string { return "recall/" + recall }

// StepRecord returns a record that holds the SHA-256 of what came of a step, so that the
// result cannot be another one afterwards; said is for people, at most 1 KiB. Who did it and
// when is left to the caller. StepIn reads it.
func StepRecord(recall string, step int64, said string, result []byte) Record {
	return Record{
		Action: stepAction, Object: fmt.Sprintf("%s/%d", RecallObject(recall), step), Allowed: true,
		Detail: said + "; result " + sumMark + SumOf(result),
	}
}

// approvalAction is the action of the records that hold an approval which counted.
const approvalAction = "recall-approval"

// ApprovalRecord returns a record that somebody approved a deadline of a recall, and might. Who
// did it and when is left to the caller.
func ApprovalRecord(recall string, deadline time.Time) Record {
	return Record{Action: approvalAction, Object: RecallObject(recall), Allowed: true, Detail: "approved the deadline " + deadline.UTC().Format(time.RFC3339)}
}

// Approves says whether a record is that of an approval of a deadline of a recall.
func Approves(recall string, deadline time.Time, r Record) bool {
	want := ApprovalRecord(recall, deadline)
	return r.Allowed && r.Action == want.Action && r.Object == want.Object && r.Detail == want.Detail
}

// StepIn returns the step of a recall that a record is about, what was said of it, and
// the SumOf its result. It says whether it is such a record.
func StepIn(recall string, r Record) (step int64, said, sum string, is bool) {
	number, ours := strings.CutPrefix(r.Object, RecallObject(recall)+"/")
	if !ours || r.Action != stepAction {
		return 0, "", "", false
	}
	step, err := strconv.ParseInt(number, 10, 64)
	if i := strings.LastIndex(r.Detail, "; result "+sumMark); i >= 0 {
		said, sum = r.Detail[:i], r.Detail[i+len("; result "+sumMark):]
	}
	return step, said, sum, err == nil
}

// StepSaid is what a record says of a step: what was done where, and how it ended.
func StepSaid(act, door, how string) string {
	if door != "" {
		act += " at " + door
	}
	return act + ": " + how
}

// SumOf returns the SHA-256 of a result as records have it, in lower-case hex.
func SumOf(result []byte) string {
	sum := sha256.Sum256(result)
	return hex.EncodeToString(sum[:])
}

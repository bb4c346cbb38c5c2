// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/tallystick/tallystick/internal/audit"
)

// A seal is the first line of proof.ndjson: the checkpoint that everything is proven
// to, and the record that holds the SHA-256 of the manifest.
type seal struct {
	Checkpoint string `json:"checkpoint"`
	audit.Proof
}

// A proofLine is one further line: the path of one record of records.ndjson, which stand in
// the same order. Neighbours in a tree share most of their paths, so the hashes at the end
// that are as in the line before are only counted.
type proofLine struct {
	Record int64       `json:"record"`
	Path   []tlog.Hash `json:"path"`
	Rest   int         `json:"rest"` // how many of the last hashes before go on behind Path
}

// shorten returns the line for a path behind the line with the path before.
func shorten(record int64, path, before []tlog.Hash) proofLine {
	rest := 0
	for rest < len(path) && rest < len(before) && path[len(path)-1-rest] == before[len(before)-1-rest] {
		rest++
	}
	return proofLine{Record: record, Path: append([]tlog.Hash{}, path[:len(path)-rest]...), Rest: rest}
}

// maxPath is the longest path in a tree whose size is an int64.
const maxPath = 63

// whole returns the path of a line behind the line with the path before.
func (l proofLine) whole(before []tlog.Hash) ([]tlog.Hash, error) {
	if l.Rest < 0 || l.Rest > len(before) || len(l.Path)+l.Rest > maxPath {
		return nil, broken("the path of record %d goes nowhere", l.Record)
	}
	return append(slices.Clone(l.Path), before[len(before)-l.Rest:]...), nil
}

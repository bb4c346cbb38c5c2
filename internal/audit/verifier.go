// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/tallystick/tallystick"
)

// A Verifier tells what a log has signed from what it has not. It needs nothing
// of the log but its public key, so it works on any machine.
type Verifier struct {
	public    string
	name      string
	verifiers note.Verifiers
}

// NewVerifier reads a public key as Log.VerifierKey returns it; anything else is ErrInvalid.
func NewVerifier(public string) (Verifier, error) {
	v, err := note.NewVerifier(public)
	if err != nil {
		return Verifier{}, fmt.Errorf("%w: it is not the public key of an audit log", tallystick.ErrInvalid)
	}
	return Verifier{public, v.Name(), note.VerifierList(v)}, nil
}

// A Tree is what a checkpoint signs: so many records, and what they are.
type Tree struct {
	Size int64 // how many
	root tlog.Hash
}

// Open verifies a checkpoint of the log and returns what it signs. It takes the text
// that the log wrote and no other with the same meaning, such as one with a
// further signature.
func (v Verifier) Open(checkpoint string) (Tree, error) {
	n, err := note.Open([]byte(checkpoint), v.verifiers)
	if err != nil {
		return Tree{}, fmt.Errorf("its checkpoint is not signed by the key of this log: %w", err)
	}
	signature, err := base64.StdEncoding.Strict().DecodeString(n.Sigs[0].Base64)
	if err != nil || checkpoint != n.Text+"\n— "+v.name+" "+base64.StdEncoding.EncodeToString(signature)+"\n" {
		return Tree{}, errors.New("its checkpoint is not as this log writes it")
	}
	// Lines after the third are extensions, which this log has none of.
	lines := strings.Split(n.Text, "\n")
	if len(lines) != 4 || lines[0] != v.name || lines[3] != "" {
		return Tree{}, errors.New("its checkpoint is of another log")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 1 {
		return Tree{}, errors.New("its checkpoint has no size")
	}
	root, err := tlog.ParseHash(lines[2])
	return Tree{size, root}, err
}

// A Proof shows that one record is in a Tree: with the hashes on its path to the
// root (RFC 9162 section 2.1.3.1), the lowest first.
type Proof struct {
	Record int64 `json:"record"` // its number, from 1
	// Text is the record as it is hashed: a leaf, byte for byte.
	Text string      `json:"text"`
	Path []tlog.Hash `json:"path"`
}

// Check returns the record that p proves to be in t, and otherwise ErrTampered
// (RFC 9162 section 2.1.3.2). It takes time and memory in proportion to p.
func (t Tree) Check(p Proof) (Entry, error) {
	err := tlog.CheckRecord(p.Path, t.Size, t.root, p.Record-1, tlog.RecordHash([]byte(p.Text)))
	if err != nil {
		return Entry{}, fmt.Errorf("%w: record %d is not in it", ErrTampered, p.Record)
	}
	e := Entry{ID: p.Record}
	if err := json.Unmarshal([]byte(p.Text), &e.Record); err != nil {
		return Entry{}, fmt.Errorf("%w: record %d cannot be read", ErrTampered, p.Record)
	}
	return e, nil
}

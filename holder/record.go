// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// A record is a line of the book: version 1 of the use record, with the members
// that a holder can have.
type record struct {
	V            int               `json:"v"`
	Source       string            `json:"source"`
	Seq          uint64            `json:"seq,omitempty"`
	Side         tallystick.Side   `json:"side"`
	Level        tallystick.Level  `json:"level,omitempty"`
	Time         string            `json:"time,omitempty"`
	Count        int64             `json:"count,omitempty"`
	Until        string            `json:"until,omitempty"`
	Credential   []string          `json:"credential,omitempty"`
	Holder       string            `json:"holder,omitempty"`
	RelyingParty string            `json:"relying_party,omitempty"`
	Outcome      string            `json:"outcome,omitempty"`
	Address      string            `json:"address,omitempty"`
	Port         int               `json:"port,omitempty"`
	Agent        string            `json:"agent,omitempty"`
	Operation    string            `json:"operation,omitempty"`
	Resource     string            `json:"resource,omitempty"`
	Detail       string            `json:"detail,omitempty"`
	IDs          map[string]string `json:"ids,omitempty"`
	Closed       string            `json:"closed,omitempty"`
	// Last is the number of the last record before a closing mark, so that a
	// book whose end was cut off can be told.
	Last uint64 `json:"last,omitempty"`
	// Lost is how many uses of the time are known of by their number alone.
	Lost int64 `json:"lost,omitempty"`
}

// A chain is where a book stands: the number of its last record and the hash
// over everything up to it.
type chain struct {
	seq  uint64
	hash [sha256.Size]byte
}

// appendUse adds the line of a use. A use whose outcome is not known is written
// without one: it was made, whatever became of it.
func (c *chain) appendUse(lines []byte, u *tallystick.Use) []byte {
	c.seq++
	r := record{
		V: 1, Source: u.Source, Seq: c.seq, Side: u.Side, Level: u.Level, Time: stamp(u.Time),
		Holder: bounded(u.Holder), RelyingParty: bounded(u.RelyingParty), Outcome: string(u.Outcome), Address: bounded(u.Address), Port: u.Port,
		Agent: bounded(u.Agent), Operation: bounded(u.Operation), Resource: bounded(u.Resource), Detail: bounded(u.Detail), IDs: u.IDs.Map(),
	}
	for _, name := range u.Credential[:min(len(u.Credential), maxNames)] {
		r.Credential = append(r.Credential, bounded(name))
	}
	for name, id := range r.IDs {
		r.IDs[name] = bounded(id)
	}
	if u.Count > 1 {
		r.Count, r.Until = u.Count, stamp(u.Until)
	}
	return c.appendLine(lines, r)
}

// appendLost adds the line that says how many uses the book does not have. It
// closes nothing, and has no credential: readers of version 1 that do not know
// the member "lost" name it as a line that they cannot use.
func (c *chain) appendLost(lines []byte, source string, l lost) []byte {
	c.seq++
	return c.appendLine(lines, record{
		V: 1, Source: source, Seq: c.seq, Side: tallystick.SideHolder, Time: stamp(l.first), Until: stamp(l.last), Lost: l.n,
	})
}

// appendClosing adds a closing mark. It has no number of its own.
func (c *chain) appendClosing(lines []byte, source string, closed time.Time) []byte {
	return c.appendLine(lines, record{
		V: 1, Source: source, Side: tallystick.SideHolder, Closed: stamp(closed), Last: c.seq,
	})
}

// Bounds of what a program may write into a record, so that every line stays far
// below maxLine: a longer one could not be read back.
const (
	maxText  = 4 << 10 // bytes of one member
	maxNames = 32
)

func bounded(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "")
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// appendLine adds a line with its hash: SHA-256 over the hash of the line before
// it (32 zero bytes before the first) and the line as it is without the member
// "hash", which is always the last one.
func (c *chain) appendLine(lines []byte, r record) []byte {
	text, err := json.Marshal(r)
	if err != nil {
		panic(fmt.Sprintf("a record of text and numbers has no JSON: %v", err)) // cannot be
	}
	c.hash = next(c.hash, text)
	lines = append(lines, text[:len(text)-1]...)
	lines = append(lines, hashMember...)
	lines = hex.AppendEncode(lines, c.hash[:])
	return append(lines, "\"}\n"...)
}

const hashMember = `,"hash":"`

func next(previous [sha256.Size]byte, line []byte) [sha256.Size]byte {
	h := sha256.New()
	h.Write(previous[:])
	h.Write(line)
	return [sha256.Size]byte(h.Sum(nil))
}

// split takes a line apart into what was hashed and its hash.
func split(line []byte) (text []byte, hash [sha256.Size]byte, ok bool) {
	line = bytes.TrimRight(line, "\n")
	end := len(line) - len(`"}`)
	start := end - 2*sha256.Size
	if start < len(hashMember) || string(line[end:]) != `"}` || string(line[start-len(hashMember):start]) != hashMember {
		return nil, hash, false
	}
	if _, err := hex.Decode(hash[:], line[start:end]); err != nil {
		return nil, hash, false
	}
	return append(bytes.Clone(line[:start-len(hashMember)]), '}'), hash, true
}

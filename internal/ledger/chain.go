// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/tallystick/tallystick"
)

// A Line is one line of a holder's book as it was written. Package holder ends
// each with the member "hash": SHA-256 over the hash of the line before it (32
// zero bytes before the first) and the line without that member.
type Line struct {
	Source string
	Side   tallystick.Side
	// Seq is the number of the record, or of the last one before it when the line
	// is a closing mark.
	Seq  uint64
	Mark bool
	Text []byte
}

// A Chain is what the hashes of a book say.
type Chain struct {
	// Proved are the stretches of records in which every hash follows from the
	// line before.
	Proved []Span `json:"proved,omitempty"`
	// Broken are the numbers of the records whose hash does not follow: that line
	// or the one before it was changed, or a line between them removed. At most
	// 100 are kept; BrokenCount counts all.
	Broken      []uint64 `json:"broken,omitempty"`
	BrokenCount int64    `json:"broken_count,omitempty"`
}

// A chain is a Chain as it is kept. Stretches are joined when the lines between
// them arrive, whatever the order.
type chain struct {
	Runs        []chainRun `json:"runs,omitempty"`
	Broken      []uint64   `json:"broken,omitempty"`
	BrokenCount int64      `json:"broken_count,omitempty"`
}

// A chainRun is lines that follow from each other.
type chainRun struct {
	// From is the number of the first record, To of the last; To is one less when
	// there are only closing marks.
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
	// Head is the first line without its hash, which is proved when the lines
	// before it come; nil when it needs no proof, or is too long to be kept.
	Head     []byte `json:"head,omitempty"`
	HeadHash []byte `json:"head_hash,omitempty"`
	// Tail are the hashes of the last record and of the marks behind it.
	Tail [][]byte `json:"tail"`
}

const (
	maxRuns   = 32   // that wait for what is between them
	maxHead   = 4096 // bytes of a line that waits
	maxTail   = 64
	maxBroken = 100
)

func (c chain) clone() chain {
	c.Runs, c.Broken = slices.Clone(c.Runs), slices.Clone(c.Broken)
	for i := range c.Runs {
		c.Runs[i].Tail = slices.Clone(c.Runs[i].Tail)
	}
	return c
}

func (c chain) public() Chain {
	out := Chain{Broken: slices.Clone(c.Broken), BrokenCount: c.BrokenCount}
	for _, run := range c.Runs {
		if run.To >= run.From {
			out.Proved = append(out.Proved, Span{run.From, run.To})
		}
	}
	return out
}

// A bookChain is what the lines of one batch say about one book.
type bookChain struct {
	Source string     `json:"source"`
	Side   string     `json:"side"`
	Runs   []chainRun `json:"runs"`
	Broken []uint64   `json:"broken,omitempty"`
}

// valid says whether runs that were read back are such as follow makes.
func (b *bookChain) valid() bool {
	return !slices.ContainsFunc(b.Runs, func(r chainRun) bool { return len(r.Tail) == 0 || len(r.Tail) > maxTail || len(r.Head) > maxHead })
}

// follow checks the lines of a batch against each other. It needs nothing that
// is guarded, because it costs a SHA-256 a line.
func follow(lines []Line) []bookChain {
	var list []bookChain
	for i := range lines {
		l := &lines[i]
		text, hash := splitLine(l.Text)
		if hash == nil {
			continue // a line without a hash proves nothing
		}
		at := slices.IndexFunc(list, func(b bookChain) bool { return b.Source == l.Source && b.Side == string(l.Side) })
		if at < 0 {
			list = append(list, bookChain{Source: l.Source, Side: string(l.Side)})
			at = len(list) - 1
		}
		list[at].line(l, text, hash)
	}
	return list
}

// line takes the next line of a book.
func (b *bookChain) line(l *Line, text, hash []byte) {
	if n := len(b.Runs); n > 0 {
		run := &b.Runs[n-1]
		switch {
		case l.Seq == run.To+1 && !l.Mark, l.Seq == run.To && l.Mark:
			if follows(run.Tail[len(run.Tail)-1], text, hash) {
				run.extend(l, hash)
				return
			}
			b.Broken = append(b.Broken, l.Seq)
		case l.Seq == run.To && bytes.Equal(hash, run.Tail[0]):
			return // the same record again
		}
	}
	run := chainRun{From: l.Seq, To: l.Seq, HeadHash: hash, Tail: [][]byte{hash}}
	if l.Mark {
		run.From++ // it has no record of its own
	}
	if len(text) <= maxHead {
		run.Head = text
	}
	b.Runs = append(b.Runs, run)
}

func (run *chainRun) extend(l *Line, hash []byte) {
	if !l.Mark {
		run.To, run.Tail = l.Seq, nil
	}
	run.Tail = append(run.Tail, hash)
	if len(run.Tail) > maxTail {
		run.Tail = run.Tail[len(run.Tail)-maxTail:]
	}
}

// merge takes the runs of a batch into the chain of the book.
func (c *chain) merge(b *bookChain) {
	for _, seq := range b.Broken {
		c.breakAt(seq)
	}
	for _, run := range b.Runs {
		c.join(run)
	}
}

func (c *chain) breakAt(seq uint64) {
	if slices.Contains(c.Broken, seq) {
		return // told already, by the same lines
	}
	c.BrokenCount++
	if len(c.Broken) < maxBroken {
		c.Broken = append(c.Broken, seq)
	}
}

// join puts a run where it belongs: behind the run that it follows, before the
// one that follows it, and into one with those that it overlaps.
func (c *chain) join(run chainRun) {
	for i := range c.Runs {
		if c.Runs[i].covers(&run) {
			c.Runs[i].again(&run)
			return
		}
	}
	if run.From == 1 && len(run.Head) > 0 && !follows(make([]byte, sha256.Size), run.Head, run.HeadHash) {
		c.breakAt(run.From)
	}
	for i := 0; i < len(c.Runs); i++ {
		known := c.Runs[i]
		if known.To+1 < run.From || run.To+1 < known.From {
			continue
		}
		switch {
		case known.To+1 == run.From && len(run.Head) > 0 && !known.leadsTo(run.Head, run.HeadHash):
			c.breakAt(run.From)
		case run.To+1 == known.From && len(known.Head) > 0 && !run.leadsTo(known.Head, known.HeadHash):
			c.breakAt(known.From)
		}
		if known.From <= run.From {
			run.From, run.Head, run.HeadHash = known.From, known.Head, known.HeadHash
		}
		if known.To > run.To || run.From > run.To {
			run.To, run.Tail = known.To, known.Tail
		}
		c.Runs = slices.Delete(c.Runs, i, i+1)
		i--
	}
	if run.From == 1 {
		run.Head, run.HeadHash = nil, nil
	}
	i := 0
	for i < len(c.Runs) && c.Runs[i].From < run.From {
		i++
	}
	c.Runs = slices.Insert(c.Runs, i, run)
	if len(c.Runs) > maxRuns {
		c.Runs = slices.Delete(c.Runs, 0, 1)
	}
}

// covers says whether the records of another run are all in this one.
func (run *chainRun) covers(other *chainRun) bool {
	return run.From <= other.From && other.To <= run.To
}

// again takes lines that may have been there. What can be new are closing marks
// behind the last record.
func (run *chainRun) again(other *chainRun) {
	if other.To < run.To {
		return
	}
	last := run.Tail[len(run.Tail)-1]
	if other.From > other.To { // nothing but marks
		if follows(last, other.Head, other.HeadHash) {
			run.Tail = append(run.Tail, other.Tail...)
			run.Tail = run.Tail[max(0, len(run.Tail)-maxTail):]
		}
		return
	}
	if slices.ContainsFunc(other.Tail, func(h []byte) bool { return bytes.Equal(h, last) }) {
		run.Tail = other.Tail
	}
}

// leadsTo says whether a line follows from one of the last lines of the run. Any
// of them will do: marks may be sent again, and the records are what counts.
func (run *chainRun) leadsTo(text, hash []byte) bool {
	return slices.ContainsFunc(run.Tail, func(h []byte) bool { return follows(h, text, hash) })
}

func follows(previous, text, hash []byte) bool {
	h := sha256.New()
	h.Write(previous)
	h.Write(text)
	return bytes.Equal(h.Sum(nil), hash)
}

var hashStart = []byte(`,"hash":"`)

// splitLine takes a line apart into what was hashed and its hash, nil when it
// does not end with one.
func splitLine(line []byte) (text, hash []byte) {
	line = bytes.TrimRight(line, "\r\n")
	end := len(line) - len(`"}`)
	start := end - 2*sha256.Size
	if start < len(hashStart) || string(line[end:]) != `"}` || !bytes.HasSuffix(line[:start], hashStart) {
		return nil, nil
	}
	hash = make([]byte, sha256.Size)
	if _, err := hex.Decode(hash, line[start:end]); err != nil {
		return nil, nil
	}
	return append(bytes.Clone(line[:start-len(hashStart)]), '}'), hash
}

// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// A Prover proves that records are in the log. All of its proofs are to one
// checkpoint: the newest when it was made.
type Prover struct {
	Checkpoint string

	db     *store.DB
	tree   Tree
	hashes map[int64]map[int64][]byte // by block, then by position
}

// The hashes near each other are read together, since the paths of neighbours share
// most of them; beyond so many blocks what was read is forgotten, the cost of
// which is to read it again.
const (
	hashBlock  = 64
	hashBlocks = 4096
)

// Prover returns a Prover; of a log without records one that proves nothing.
func (l *Log) Prover(ctx context.Context) (*Prover, error) {
	head, err := l.db.AuditHead(ctx)
	if err != nil {
		return nil, err
	}
	p := &Prover{Checkpoint: head.Checkpoint, db: l.db, hashes: map[int64]map[int64][]byte{}}
	if head.Size == 0 {
		return p, nil
	}
	p.tree, err = l.key.Open(head.Checkpoint)
	if err != nil || p.tree.Size != head.Size {
		return nil, problem.With(fmt.Errorf("%w: its end does not match its checkpoint", ErrTampered), tamperedHint)
	}
	return p, nil
}

// Each calls fn with every record that keep picks, in order, with its proof, from the
// first on that is not certainly from before since. It ends with the first error of fn. A
// record that is not what was signed is ErrTampered.
func (p *Prover) Each(ctx context.Context, since time.Time, keep func(Entry) bool, fn func(Entry, Proof) error) error {
	first, err := p.db.FirstAudit(ctx, since.Add(-clocksApart))
	if err != nil {
		return err
	}
	for ; first > 0 && first <= p.tree.Size; first += page {
		rows, err := p.db.ReadAudit(ctx, first, min(first+page-1, p.tree.Size))
		if err != nil {
			return err
		}
		for _, row := range rows {
			e := Entry{ID: row.ID}
			if err := json.Unmarshal([]byte(row.Record), &e.Record); err != nil {
				return tamperedWith(row.ID)
			}
			if !keep(e) {
				continue
			}
			proof, err := p.prove(ctx, row)
			if err == nil {
				err = fn(e, proof)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// clocksApart is how far behind the clocks of nodes may be: the records of a log stand
// in the order in which they were appended, and carry the time of whoever asked.
const clocksApart = time.Hour

// prove proves one record, and that the log has not been changed there.
func (p *Prover) prove(ctx context.Context, row store.AuditRow) (Proof, error) {
	read := tlog.HashReaderFunc(func(positions []int64) ([]tlog.Hash, error) {
		hashes := make([]tlog.Hash, len(positions))
		for i, position := range positions {
			hash, err := p.hash(ctx, position)
			if err != nil {
				return nil, err
			}
			if copy(hashes[i][:], hash) != tlog.HashSize || len(hash) != tlog.HashSize {
				return nil, tamperedWith(row.ID)
			}
		}
		return hashes, nil
	})
	path, err := tlog.ProveRecord(p.tree.Size, row.ID-1, read)
	if err != nil {
		return Proof{}, fmt.Errorf("couldn't prove record %d of the audit log: %w", row.ID, err)
	}
	proof := Proof{Record: row.ID, Text: row.Record, Path: path}
	if _, err := p.tree.Check(proof); err != nil {
		return Proof{}, tamperedWith(row.ID)
	}
	return proof, nil
}

// hash returns the hash at a position, nil where there is none.
func (p *Prover) hash(ctx context.Context, position int64) ([]byte, error) {
	block := position / hashBlock
	if _, ok := p.hashes[block]; !ok {
		hashes, err := p.db.ReadAuditHashes(ctx, block*hashBlock, (block+1)*hashBlock-1)
		if err != nil {
			return nil, err
		}
		if len(p.hashes) >= hashBlocks {
			clear(p.hashes)
		}
		p.hashes[block] = hashes
	}
	return p.hashes[block][position], nil
}

func tamperedWith(record int64) error {
	return problem.With(fmt.Errorf("%w: record %d is not in it", ErrTampered, record), tamperedHint)
}

// SPDX-License-Identifier: Apache-2.0

// Package audit is the log of what was asked of the gate and what it answered:
// append-only, and such that a change to any of it shows.
//
// Each record is a leaf of a Merkle tree (RFC 6962 section 2.1). The root of the
// tree is signed whenever records are added, as a checkpoint
// (https://c2sp.org/tlog-checkpoint), with an Ed25519 key that stands in a file
// of the data directory and never in the database. So who owns the database but
// not that file can destroy the log but not rewrite it: Verify names the first
// record that is not what was signed. Somebody who owns both can still not
// change what is covered by a checkpoint that was kept elsewhere.
//
// The nodes of one installation append to one log, one after the other, and
// share one key file.
package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/batch"
)

// ErrTampered says that the log is not what was signed.
var ErrTampered = errors.New("the audit log is not what was signed")

const tamperedHint = "Keep a copy of the data as evidence. Until the log is restored from a backup, nothing that must be recorded is done."

// A Record is one decision of the gate. It holds names, never secrets.
type Record struct {
	Time    time.Time `json:"time"` // kept to the microsecond, in UTC
	Actor   string    `json:"actor"`
	Role    string    `json:"role"`
	Via     string    `json:"via"` // how the actor came in
	Action  string    `json:"action"`
	Object  string    `json:"object,omitempty"`
	Allowed bool      `json:"allowed"`
	Detail  string    `json:"detail,omitempty"` // why it was not allowed
}

// The longest that a part of a record may be, in bytes. Much of it comes from
// whoever asks; what is longer is cut, so that nobody fills the disk in few words.
const (
	maxName = 200
	maxText = 2000
)

// clean returns r as it is kept.
func (r Record) clean() Record {
	r.Time = r.Time.UTC().Truncate(time.Microsecond)
	for _, name := range []*string{&r.Actor, &r.Role, &r.Via, &r.Action} {
		*name = cut(*name, maxName)
	}
	r.Object, r.Detail = cut(r.Object, maxText), cut(r.Detail, maxText)
	return r
}

// cut returns at most n bytes of valid UTF-8 without NUL, which PostgreSQL refuses.
func cut(s string, n int) string {
	if len(s) > n {
		s = s[:n-len("…")]
		s = strings.ToValidUTF8(s, "") + "…"
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "?"), "\x00", "?")
}

// A Log is an open audit log. Its methods are safe to call from several
// goroutines and from several nodes on one store.
type Log struct {
	db  *store.DB
	key key

	queue batch.Queue[store.AuditRow] // of records to append
	last  end                         // for whoever works at queue

	mu   sync.Mutex
	seen int64 // guarded by mu; how many records the log has been seen to hold
}

// Open opens the log of a store with the key in a file, which is made when
// there is neither a file nor a record. A log that was signed with another key
// is ErrTampered.
func Open(ctx context.Context, db *store.DB, keyFile string) (*Log, error) {
	head, err := db.AuditHead(ctx)
	if err != nil {
		return nil, err
	}
	k, err := openKey(keyFile, head.Size == 0)
	if err != nil {
		return nil, fmt.Errorf("couldn't open the key of the audit log: %w", err)
	}
	if head.Size > 0 {
		if _, err := k.Open(head.Checkpoint); err != nil {
			return nil, problem.With(fmt.Errorf("%w: %w", ErrTampered, err),
				"If this is a further node, copy "+keyFile+" from the first one. Otherwise restore the file from a backup.")
		}
	}
	return &Log{db: db, key: k, seen: head.Size}, nil
}

// Append adds a record. It is durable when Append returns nil; after an error
// it may or may not be there. A log whose end is not what was signed last is
// ErrTampered, and is left as it is: signing on top of it would hide that. Records
// that come at the same time share a transaction and a checkpoint.
func (l *Log) Append(ctx context.Context, r Record) error {
	r = r.clean()
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("couldn't encode an audit record: %w", err)
	}
	row := store.AuditRow{Time: r.Time, Actor: r.Actor, Action: r.Action, Allowed: r.Allowed, Record: string(text)}
	return l.queue.Do(row, func(rows []store.AuditRow, errs []error) {
		// Whoever asked for one of them may give up; the others do not.
		err := l.append(context.WithoutCancel(ctx), rows)
		for i := range errs {
			errs[i] = err
		}
	})
}

// An end is what this process has signed last, and the edge of that tree.
type end struct {
	checkpoint string
	edge       edge
}

// append adds records under one checkpoint.
func (l *Log) append(ctx context.Context, rows []store.AuditRow) error {
	var size int64
	var next end
	err := l.db.AppendAudit(ctx, len(rows), func(head store.AuditHead, read func([]int64) ([][]byte, error)) (store.AuditAddition, error) {
		size = head.Size + int64(len(rows))
		e, err := l.verifiedEdge(head, read)
		if err != nil {
			return store.AuditAddition{}, problem.With(err, tamperedHint)
		}
		add := store.AuditAddition{Rows: rows, FirstHash: tlog.StoredHashIndex(0, head.Size)}
		for i, row := range rows {
			hashes, err := e.add(head.Size+int64(i), []byte(row.Record))
			if err != nil {
				return store.AuditAddition{}, err
			}
			add.Hashes = append(add.Hashes, hashes...)
		}
		add.Checkpoint, err = l.key.sign(size, e)
		next = end{add.Checkpoint, *e}
		return add, err
	})
	if err != nil {
		return err
	}
	l.last = next
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = max(l.seen, size)
	return nil
}

// verifiedEdge reads what the next record is hashed with, and checks that it is
// what the checkpoint signs.
func (l *Log) verifiedEdge(head store.AuditHead, read func([]int64) ([][]byte, error)) (*edge, error) {
	l.mu.Lock()
	seen := l.seen
	l.mu.Unlock()
	if head.Size < seen {
		return nil, fmt.Errorf("%w: it had %d records and has %d", ErrTampered, seen, head.Size)
	}
	if head.Size == 0 {
		return &edge{}, nil
	}
	if head.Checkpoint == l.last.checkpoint {
		e := l.last.edge // of the tree that we have signed ourselves
		return &e, nil
	}
	signed, err := l.key.Open(head.Checkpoint)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTampered, err)
	}
	e, err := readEdge(head.Size, read)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTampered, err)
	}
	root, err := tlog.TreeHash(head.Size, e)
	if err != nil {
		return nil, err
	}
	if signed != (Tree{Size: head.Size, root: root}) {
		return nil, fmt.Errorf("%w: its end does not match its checkpoint", ErrTampered)
	}
	return e, nil
}

// Checkpoint returns the newest checkpoint, "" while there are no records. One
// that is kept out of reach of this machine can be given to Verify later.
func (l *Log) Checkpoint(ctx context.Context) (string, error) {
	head, err := l.db.AuditHead(ctx)
	return head.Checkpoint, err
}

// VerifierKey returns the public key that checkpoints are verified with, in the
// form of https://c2sp.org/signed-note.
func (l *Log) VerifierKey() string { return l.key.public }

// An Entry is a record with its number in the log, from 1 without gaps.
type Entry struct {
	ID int64 `json:"id"`
	Record
}

// A Filter picks records; what is zero picks all.
type Filter = store.AuditFilter

// maxList is the most that List returns at once.
const maxList = 1000

// List returns at most limit records that the filter picks, newest first, whose
// number is below before; 0 is from the newest on. It does not verify them.
func (l *Log) List(ctx context.Context, f Filter, before int64, limit int) ([]Entry, error) {
	f.Actor, f.Action = cut(f.Actor, maxName), cut(f.Action, maxName) // as they are kept
	rows, err := l.db.ListAudit(ctx, f, before, max(1, min(limit, maxList)))
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, len(rows))
	for i, row := range rows {
		entries[i].ID = row.ID
		if err := json.Unmarshal([]byte(row.Record), &entries[i].Record); err != nil {
			return nil, problem.With(fmt.Errorf("%w: record %d cannot be read", ErrTampered, row.ID), tamperedHint)
		}
	}
	return entries, nil
}

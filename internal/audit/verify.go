// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/tallystick/tallystick/internal/store"
)

// A Report is the outcome of Verify.
type Report struct {
	Records int64 `json:"records"` // how many the log holds
	// Bad is the first record that is not what was signed. It is 0 when all
	// are, and when the log is consistent in itself but not with a signature,
	// so that nothing tells which record was changed.
	Bad        int64  `json:"bad,omitempty"`
	Problem    string `json:"problem,omitempty"` // what is wrong, or ""
	Checkpoint string `json:"checkpoint"`        // the newest one
}

// OK says that every record is what was signed.
func (r Report) OK() bool { return r.Problem == "" }

// page is how many records Verify reads at once.
const page = 1000

// Verify reads the whole log, hashes it anew and compares the outcome with the
// stored hashes, with the newest checkpoint, and with checkpoints of this log
// that were kept elsewhere. What does not match is in the report; the error is
// for what kept Verify from looking. It holds one page of records in memory,
// and does not stop others from appending.
func (l *Log) Verify(ctx context.Context, kept ...string) (Report, error) {
	head, err := l.db.AuditHead(ctx)
	if err != nil {
		return Report{}, err
	}
	v := verification{db: l.db, report: Report{Records: head.Size, Checkpoint: head.Checkpoint}}
	v.promise(l.key, kept, head.Size)
	if head.Size > 0 {
		v.promise(l.key, []string{head.Checkpoint}, head.Size)
	}
	for first := int64(0); first < head.Size && v.report.OK(); first += page {
		if err := v.page(ctx, first, min(first+page, head.Size)); err != nil {
			return Report{}, err
		}
	}
	if head.Newest > head.Size {
		v.bad(head.Size+1, "record %d was added past the end of the log", head.Size+1)
	}
	return v.report, nil
}

// A verification is the state of one Verify.
type verification struct {
	db       *store.DB
	report   Report
	promises []Tree // what checkpoints say
	edge     edge
}

// bad notes what is wrong, unless something was wrong before.
func (v *verification) bad(record int64, format string, args ...any) {
	if v.report.OK() {
		v.report.Bad, v.report.Problem = record, fmt.Sprintf(format, args...)
	}
}

// promise takes note of what checkpoints say about a log of the given size.
func (v *verification) promise(k key, checkpoints []string, size int64) {
	for _, text := range checkpoints {
		signed, err := k.Open(text)
		if err != nil {
			v.bad(0, "%v", err)
			continue
		}
		if signed.Size > size {
			v.bad(size+1, "the log has %d records, and there is a checkpoint over %d", size, signed.Size)
		}
		v.promises = append(v.promises, signed)
	}
}

// page verifies the records from index first to before index end.
func (v *verification) page(ctx context.Context, first, end int64) error {
	rows, err := v.db.ReadAudit(ctx, first+1, end)
	if err != nil {
		return err
	}
	hashes, err := v.db.ReadAuditHashes(ctx, tlog.StoredHashIndex(0, first), tlog.StoredHashIndex(0, end)-1)
	if err != nil {
		return err
	}
	for n := first; n < end && v.report.OK(); n++ {
		i := n - first
		if i >= int64(len(rows)) || rows[i].ID != n+1 {
			v.bad(n+1, "record %d is missing", n+1)
			break
		}
		if err := v.record(n, rows[i], hashes); err != nil {
			return err
		}
	}
	return nil
}

// record verifies the record with index n.
func (v *verification) record(n int64, row store.AuditRow, hashes map[int64][]byte) error {
	added, err := v.edge.add(n, []byte(row.Record))
	if err != nil {
		return err
	}
	position := tlog.StoredHashIndex(0, n)
	for level, hash := range added {
		if bytes.Equal(hash, hashes[position+int64(level)]) {
			continue
		}
		if level == 0 {
			v.bad(n+1, "record %d is not what was signed", n+1)
		} else {
			begin := n + 1 - int64(1)<<level
			v.bad(begin+1, "a hash over the records %d to %d is not what was signed", begin+1, n+1)
		}
	}
	v.columns(row)
	return v.keeps(n + 1)
}

// columns checks that what a search goes by is what the record says.
func (v *verification) columns(row store.AuditRow) {
	var r Record
	err := json.Unmarshal([]byte(row.Record), &r)
	if err != nil || !r.Time.Equal(row.Time) || r.Actor != row.Actor || r.Action != row.Action || r.Allowed != row.Allowed {
		v.bad(row.ID, "the columns of record %d are not what the record says", row.ID)
	}
}

// keeps checks the promises about a log of the given size.
func (v *verification) keeps(size int64) error {
	if !slices.ContainsFunc(v.promises, func(t Tree) bool { return t.Size == size }) {
		return nil
	}
	root, err := tlog.TreeHash(size, &v.edge)
	if err != nil {
		return fmt.Errorf("couldn't hash the audit log: %w", err)
	}
	for _, t := range v.promises {
		if t.Size == size && t.root != root {
			v.bad(0, "the first %d records are not what the checkpoint over them signs", size)
		}
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package audit_test

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// everything picks all records.
func everything(audit.Entry) bool { return true }

// proofs returns the proofs of all records that keep picks, and their checkpoint.
func proofs(t *testing.T, l *audit.Log, since time.Time, keep func(audit.Entry) bool) ([]audit.Proof, string) {
	t.Helper()
	p, err := l.Prover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var list []audit.Proof
	err = p.Each(t.Context(), since, keep, func(e audit.Entry, proof audit.Proof) error {
		if e.ID != proof.Record {
			t.Errorf("record %d has the proof of %d", e.ID, proof.Record)
		}
		list = append(list, proof)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list, p.Checkpoint
}

func treeOf(t *testing.T, l *audit.Log, checkpoint string) audit.Tree {
	t.Helper()
	v, err := audit.NewVerifier(l.VerifierKey())
	if err != nil {
		t.Fatal(err)
	}
	tree, err := v.Open(checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// Every record of a log of any size can be proven to its checkpoint.
func TestProofs(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		l := newLog(t, url)
		for size := 1; size <= 70; size++ {
			fill(t, l, 1)
			if size > 9 && size != 64 && size != 70 {
				continue
			}
			list, checkpoint := proofs(t, l, time.Time{}, everything)
			tree := treeOf(t, l, checkpoint)
			if len(list) != size || tree.Size != int64(size) {
				t.Fatalf("%d proofs in a tree of %d, want %d", len(list), tree.Size, size)
			}
			for _, p := range list {
				e, err := tree.Check(p)
				if diff := cmp.Diff(audit.Entry{ID: p.Record, Record: record(1)}, e); err != nil || diff != "" {
					t.Errorf("record %d of %d: %v %s", p.Record, size, err, diff)
				}
			}
		}
	})
}

func TestProofsOfSome(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		l := newLog(t, url)
		fill(t, l, 200) // one a minute
		keep := func(e audit.Entry) bool { return e.Action == "export" }
		list, _ := proofs(t, l, noon.Add(151*time.Minute), keep)
		var got []int64
		for _, p := range list {
			got = append(got, p.Record)
		}
		// An hour before is looked at too: clocks differ.
		var want []int64
		for n := int64(93); n <= 198; n += 3 {
			want = append(want, n)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// Nothing of a proof can be another: no bit of the record, of a hash or of the
// checkpoint, and no number.
func TestChangedProofs(t *testing.T) {
	l := newLog(t, filepath.Join(t.TempDir(), "tally.db"))
	fill(t, l, 11)
	list, checkpoint := proofs(t, l, time.Time{}, everything)
	tree, good := treeOf(t, l, checkpoint), list[6]
	refused := func(what string, p audit.Proof) {
		t.Helper()
		if e, err := tree.Check(p); !errors.Is(err, audit.ErrTampered) {
			t.Errorf("%s: %+v, %v", what, e, err)
		}
	}
	for i := range len(good.Text) * 8 {
		p := good
		p.Text = flipped(p.Text, i)
		refused("a bit of the record", p)
	}
	for h := range good.Path {
		for bit := range 256 {
			p := good
			p.Path = slices.Clone(p.Path)
			p.Path[h][bit/8] ^= 1 << (bit % 8)
			refused("a bit of a hash", p)
		}
	}
	for n := int64(-1); n < 14; n++ {
		if p := good; n != good.Record {
			p.Record = n
			refused("another number", p)
		}
	}
	for _, path := range [][]int{{}, {0}, {1, 2, 3}, {1, 0, 2, 3}, {0, 1, 2, 3, 3}} {
		p := good
		p.Path = nil
		for _, i := range path {
			p.Path = append(p.Path, good.Path[i])
		}
		refused("another path", p)
	}
	v, err := audit.NewVerifier(l.VerifierKey())
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(checkpoint) * 8 {
		if _, err := v.Open(flipped(checkpoint, i)); err == nil {
			t.Errorf("bit %d of the checkpoint", i)
		}
	}
	line := checkpoint[strings.Index(checkpoint, "\n\n")+2:]
	for _, more := range []string{line, "— other/log " + strings.Fields(line)[2] + "\n", "\n"} {
		if _, err := v.Open(checkpoint + more); err == nil {
			t.Errorf("a checkpoint with more: %q", more)
		}
	}
}

// flipped returns text with one bit changed.
func flipped(text string, bit int) string {
	b := []byte(text)
	b[bit/8] ^= 1 << (bit % 8)
	return string(b)
}

// A proof is the same after it was written down.
func TestProofAsJSON(t *testing.T) {
	l := newLog(t, filepath.Join(t.TempDir(), "tally.db"))
	fill(t, l, 5)
	list, checkpoint := proofs(t, l, time.Time{}, everything)
	text, err := json.Marshal(list[3])
	if err != nil {
		t.Fatal(err)
	}
	var again audit.Proof
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	if _, err := treeOf(t, l, checkpoint).Check(again); err != nil {
		t.Error(err)
	}
}

// What was changed in the store is not proven.
func TestTamperedRecordsAreNotProven(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		l := newLog(t, url)
		fill(t, l, 9)
		for _, sql := range []string{
			`UPDATE audit_log SET record = REPLACE(record, 'thing', 'thong') WHERE id = 7`,
			`UPDATE audit_log SET record = '{' WHERE id = 7`,
			`UPDATE audit_hashes SET hash = (SELECT hash FROM audit_hashes WHERE position = 0) WHERE position = 3`,
			`DELETE FROM audit_hashes WHERE position = 3`,
			`UPDATE audit_head SET size = 8`,
		} {
			for _, table := range []string{"audit_log", "audit_hashes", "audit_head"} {
				storetest.Exec(t, url, `CREATE TABLE saved_`+table+` AS SELECT * FROM `+table)
			}
			storetest.Exec(t, url, sql)
			p, err := l.Prover(t.Context())
			if err == nil {
				err = p.Each(t.Context(), time.Time{}, everything, func(audit.Entry, audit.Proof) error { return nil })
			}
			if !errors.Is(err, audit.ErrTampered) {
				t.Errorf("%s: %v", sql, err)
			}
			for _, table := range []string{"audit_log", "audit_hashes", "audit_head"} {
				storetest.Exec(t, url, `DELETE FROM `+table)
				storetest.Exec(t, url, `INSERT INTO `+table+` SELECT * FROM saved_`+table)
				storetest.Exec(t, url, `DROP TABLE saved_`+table)
			}
		}
	})
}

func TestNoVerifier(t *testing.T) {
	for _, key := range []string{"", "nonsense", "a+b+c", "tallystick/audit/1+00000000+AQ=="} {
		if _, err := audit.NewVerifier(key); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%q: %v", key, err)
		}
	}
}

func BenchmarkProve(b *testing.B) {
	l, err := audit.Open(b.Context(), storetest.Open(b, filepath.Join(b.TempDir(), "tally.db")), filepath.Join(b.TempDir(), "audit.key"))
	if err != nil {
		b.Fatal(err)
	}
	for n := range 2000 {
		if err := l.Append(b.Context(), record(n)); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		p, err := l.Prover(b.Context())
		if err == nil {
			err = p.Each(b.Context(), time.Time{}, everything, func(audit.Entry, audit.Proof) error { return nil })
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

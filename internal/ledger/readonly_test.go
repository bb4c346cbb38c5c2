// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
)

const churnKept = 2000

// childChurn appends for ever, seals often, and removes what is old.
func childChurn(dir string) error {
	l, err := Open(dir, Options{SealRecords: 300})
	if err != nil {
		return err
	}
	for next := 1; ; {
		var uses []tallystick.Use
		for range childBatch {
			uses = append(uses, holderUse(next))
			next++
		}
		if _, err := l.Append(context.Background(), Batch{Uses: uses}); err != nil {
			return err
		}
		fmt.Println(next - 1)
		if _, err := l.Expire(context.Background(), holderUse(next-churnKept).Time); err != nil {
			return err
		}
	}
}

// A reader sees what was acknowledged before it opened, without a hole, while
// logs become segments and segments go.
func TestReadOnlyBesideAWriter(t *testing.T) {
	dir := t.TempDir()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "LEDGER_CHILD=churn:"+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = child.Process.Kill() // it ends in no other way
		_ = child.Wait()
	})
	var acknowledged atomic.Int64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			n, _ := strconv.ParseInt(lines.Text(), 10, 64)
			acknowledged.Store(n)
		}
	}()
	first, last := uint64(0), uint64(0)
	for looks := 0; looks < 20 || last < 3*churnKept; looks++ {
		select {
		case <-ended:
			t.Fatal("the writer has ended by itself")
		case <-time.After(time.Millisecond):
		}
		if acknowledged.Load() > 0 {
			first, last = lookBeside(t, dir, &acknowledged)
		}
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-ended
	if first < churnKept {
		t.Errorf("it came to the records %d to %d: nothing has expired, and the test shows little", first, last)
	}
}

// lookBeside wants the records up to what is acknowledged, each once, but for
// those that expire while it looks.
func lookBeside(t *testing.T, dir string, acknowledged *atomic.Int64) (first, last uint64) {
	t.Helper()
	atLeast := uint64(acknowledged.Load())
	l, err := Open(dir, Options{ReadOnly: true, Open: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	all := scanAll(t, l, Query{})
	expiring := uint64(max(0, acknowledged.Load()+2*childBatch-churnKept))
	for _, u := range all {
		if first == 0 {
			first = u.Seq
		} else if u.Seq <= last || u.Seq > max(last+1, expiring) {
			t.Fatalf("record %d comes behind %d", u.Seq, last)
		}
		last = u.Seq
	}
	if last < atLeast {
		t.Fatalf("%d were acknowledged, and %d are seen", atLeast, last)
	}
	if b := l.Books(); len(b) != 1 || b[0].LastSeq != last || len(b[0].Missing) > 0 {
		t.Fatalf("with records up to %d the book says %+v", last, b)
	}
	if err := l.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	return first, last
}

// content returns the files of a directory.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[entry.Name()] = string(data)
	}
	return all
}

func TestReadOnlyChangesNothing(t *testing.T) {
	dir := t.TempDir()
	writer := open(t, dir, Options{})
	for n := range 3 {
		add(t, writer, holderUse(2*n+1), holderUse(2*n+2))
		if n == 0 {
			seal(t, writer)
		}
	}
	// What a crash leaves: half a frame, a log that was being made, and files of no
	// segment.
	log, err := os.ReadFile(filepath.Join(dir, walName(2)))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{walName(2): log[:len(log)-1], walName(3): log[:3], "00000002.parquet": nil, "manifest.new": nil} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := content(t, dir)
	l := open(t, dir, Options{ReadOnly: true, Retention: time.Hour})
	if got := len(scanAll(t, l, Query{})); got != 4 {
		t.Errorf("%d records, want those of the whole frames: 4", got)
	}
	if got := l.Size(); got.Records != 4 || got.Segments != 1 {
		t.Errorf("%+v", got)
	}
	_, appended := l.Append(t.Context(), Batch{Uses: []tallystick.Use{holderUse(9)}})
	_, expired := l.Expire(t.Context(), holderUse(99).Time)
	for what, err := range map[string]error{"Append": appended, "Expire": expired, "Seal": l.Seal(t.Context()), "Run": l.Run(t.Context(), func(error) {})} {
		if !errors.Is(err, errReadOnly) {
			t.Errorf("%s says %v", what, err)
		}
	}
	if d := cmp.Diff(before, content(t, dir)); d != "" {
		t.Error(d)
	}
}

func TestReadOnlySaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "none"), Options{ReadOnly: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	l := open(t, dir, Options{})
	add(t, l, holderUse(1))
	seal(t, l)
	if err := os.Remove(filepath.Join(dir, "00000001.index")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{ReadOnly: true}); !errors.Is(err, tallystick.ErrDamaged) {
		t.Errorf("a file is missing: %v", err)
	}
}

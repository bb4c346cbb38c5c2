// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
)

// The test program is also the child of the tests that kill one or bound its files.
func TestMain(m *testing.M) {
	var err error
	switch mode, dir, _ := strings.Cut(os.Getenv("LEDGER_CHILD"), ":"); mode {
	case "append":
		err = childAppend(dir)
	case "full":
		err = childFull(dir)
	case "churn":
		err = childChurn(dir)
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const childBatch = 100

// childAppend appends for ever, from where the ledger ends, and says after each
// batch how many records it has.
func childAppend(dir string) error {
	l, err := Open(dir, Options{SealRecords: 1000})
	if err != nil {
		return err
	}
	next := 1
	for _, b := range l.Books() {
		next = int(b.LastSeq) + 1
	}
	for {
		var uses []tallystick.Use
		for range childBatch {
			uses = append(uses, holderUse(next))
			next++
		}
		if _, err := l.Append(context.Background(), Batch{Uses: uses}); err != nil {
			return err
		}
		fmt.Println(next - 1)
	}
}

func TestKilledAtAnyInstantNothingIsLostAndNothingTwice(t *testing.T) {
	dir := t.TempDir()
	acknowledged := 0
	for round := range 6 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), "LEDGER_CHILD=append:"+dir)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		deadline := time.Now().Add(time.Duration(60+round*17) * time.Millisecond)
		killed := false
		for lines.Scan() { // also what it said before it was killed
			if acknowledged, err = strconv.Atoi(lines.Text()); err != nil {
				t.Fatal(err)
			}
			if !killed && time.Now().After(deadline) {
				killed = true
				if err := child.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := child.Wait(); err == nil || !killed {
			t.Fatalf("the child ended by itself: %v", err)
		}
		l, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		checkSequence(t, l, acknowledged)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if acknowledged < 2000 {
		t.Fatalf("only %d records were acknowledged: nothing was sealed, and the test shows little", acknowledged)
	}
}

// checkSequence wants the records from 1 to at least last, each once.
func checkSequence(t *testing.T, l *Ledger, last int) {
	t.Helper()
	next := uint64(1)
	for _, u := range scanAll(t, l, Query{}) {
		if u.Seq != next {
			t.Fatalf("record %d comes where %d belongs", u.Seq, next)
		}
		next++
	}
	if int(next-1) < last {
		t.Fatalf("%d records were acknowledged, and %d are there", last, next-1)
	}
	if err := l.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// childFull fills a disk that has no more room than 64 KiB a file, and goes on
// when there is more.
func childFull(dir string) error {
	signal.Ignore(syscall.SIGXFSZ)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	l, err := Open(dir, Options{})
	if err != nil {
		return err
	}
	small := limit
	small.Cur = 64 << 10
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small); err != nil {
		return err
	}
	n := 1
	for ; err == nil && n < 100_000; n++ {
		_, err = l.Append(context.Background(), Batch{Uses: []tallystick.Use{holderUse(n)}})
	}
	if !errors.Is(err, tallystick.ErrNoSpace) {
		return fmt.Errorf("no room is told as: %w", err)
	}
	n-- // the last one was refused
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	for range 10 {
		if _, err := l.Append(context.Background(), Batch{Uses: []tallystick.Use{holderUse(n)}}); err != nil {
			return fmt.Errorf("with room again: %w", err)
		}
		n++
	}
	small.Cur = 4 << 10 // no segment fits
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small); err != nil {
		return err
	}
	if err := l.Seal(context.Background()); !errors.Is(err, tallystick.ErrNoSpace) {
		return fmt.Errorf("no room to seal is told as: %w", err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	if err := l.Seal(context.Background()); err != nil {
		return fmt.Errorf("sealing with room again: %w", err)
	}
	fmt.Println(n - 1)
	return l.Close()
}

func TestFullDiskLosesNothingAndIsGoneOnFrom(t *testing.T) {
	dir := t.TempDir()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "LEDGER_CHILD=full:"+dir)
	child.Stderr = os.Stderr
	out, err := child.Output()
	if err != nil {
		t.Fatal(err)
	}
	last, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil || last < 100 {
		t.Fatalf("it says %q", out)
	}
	l := open(t, dir, Options{})
	checkSequence(t, l, last)
	if got := len(l.Segments()); got != 1 {
		t.Errorf("%d segments", got)
	}
}

// logOf makes a ledger with one log of several frames, and returns the log.
func logOf(t *testing.T, frames int) (dir string, log []byte) {
	t.Helper()
	dir = t.TempDir()
	l := open(t, dir, Options{})
	for n := range frames {
		add(t, l, holderUse(2*n+1), holderUse(2*n+2))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(filepath.Join(dir, walName(1)))
	if err != nil {
		t.Fatal(err)
	}
	return dir, log
}

// ends returns where the frames of a log end.
func ends(t *testing.T, log []byte) (ends []int) {
	t.Helper()
	at := walHeader
	w := &wal{name: "log"}
	_, err := w.read(log, func(body []byte) error {
		at += frameHeader + len(body)
		ends = append(ends, at)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return ends
}

func TestLogCutAtEveryByteKeepsItsWholeFrames(t *testing.T) {
	dir, log := logOf(t, 4)
	frames := ends(t, log)
	for size := range len(log) {
		if err := os.WriteFile(filepath.Join(dir, walName(1)), log[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Open(dir, Options{})
		if err != nil {
			t.Fatalf("cut at %d: %v", size, err)
		}
		want := 0
		for _, end := range frames {
			if end <= size {
				want += 2
			}
		}
		if got := len(scanAll(t, l, Query{})); got != want {
			t.Fatalf("cut at %d: %d records, want %d", size, got, want)
		}
		add(t, l, holderUse(100))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l, err = Open(dir, Options{})
		if err != nil {
			t.Fatalf("cut at %d and written on: %v", size, err)
		}
		if got := len(scanAll(t, l, Query{})); got != want+1 {
			t.Fatalf("cut at %d and written on: %d records, want %d", size, got, want+1)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDamageInTheMiddleOfALogIsAnErrorByName(t *testing.T) {
	dir, log := logOf(t, 3)
	frames := ends(t, log)
	for at := range frames[1] { // the last frame could as well be torn
		bad := append([]byte{}, log...)
		bad[at] ^= 0x10
		if err := os.WriteFile(filepath.Join(dir, walName(1)), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Open(dir, Options{})
		if err == nil {
			l.Close()
		}
		if !errors.Is(err, tallystick.ErrDamaged) || !strings.Contains(err.Error(), walName(1)) {
			t.Fatalf("byte %d changed: %v", at, err)
		}
	}
}

func TestDamagedSegmentIsFoundByVerify(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	for n := range 3000 {
		add(t, l, holderUse(n+1))
	}
	seal(t, l)
	s := l.Segments()[0]
	for _, name := range []string{s.Name(), s.indexName()} {
		path := filepath.Join(dir, name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(good); at += 1 + len(good)/50 {
			bad := append([]byte{}, good...)
			bad[at] ^= 1
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := l.Verify(t.Context()); !errors.Is(err, tallystick.ErrDamaged) || !strings.Contains(err.Error(), name) {
				t.Fatalf("%s, byte %d changed: %v", name, at, err)
			}
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := l.Verify(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMissingFilesAreDamage(t *testing.T) {
	for _, name := range []string{"manifest", "00000001.parquet", "00000001.index"} {
		dir := t.TempDir()
		l := open(t, dir, Options{})
		add(t, l, holderUse(1))
		seal(t, l)
		add(t, l, holderUse(2))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if l, err := Open(dir, Options{}); !errors.Is(err, tallystick.ErrDamaged) {
			t.Errorf("without %s: %v", name, err)
			if err == nil {
				l.Close()
			}
		}
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, Options{})
	if _, err := Open(dir, Options{}); !errors.Is(err, tallystick.ErrInUse) {
		t.Fatal(err)
	}
}

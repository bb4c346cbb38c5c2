// SPDX-License-Identifier: Apache-2.0

package custody_test

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// TestMain lets this program be the child that a test kills.
func TestMain(m *testing.M) {
	if job := os.Getenv("CUSTODY_TEST_CHILD"); job != "" {
		if err := child(context.Background(), job, os.Args[len(os.Args)-1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child works on a directory until it is killed, and says what is done.
func child(ctx context.Context, job, dir string) error {
	db, err := store.Open(ctx, filepath.Join(dir, "tally.db"))
	if err != nil {
		return err
	}
	from, err := custody.OpenFile(filepath.Join(dir, "from.key"), "", "", false)
	if err != nil {
		return err
	}
	c, err := custody.Open(ctx, custody.Config{DB: db, Wrapper: from, Now: time.Now})
	if err != nil {
		return err
	}
	if job == "rewrap" {
		to, err := custody.OpenFile(filepath.Join(dir, "to.key"), "", "", true)
		if err != nil {
			return err
		}
		return c.Rewrap(ctx, to, func(done, total int) { fmt.Println(done, total) })
	}
	for {
		id, signer, err := c.NewKey(ctx, custody.P256, owner)
		if err != nil {
			return err
		}
		public, err := x509.MarshalPKIXPublicKey(signer.Public())
		if err != nil {
			return err
		}
		fmt.Println(id, hex.EncodeToString(public)) // it leaves
	}
}

// killAfter runs a child and kills it some time after it has said a number of
// things. It returns all that it said.
func killAfter(t *testing.T, job, dir string, lines int, more time.Duration) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], dir)
	cmd.Env = append(os.Environ(), "CUSTODY_TEST_CHILD="+job)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said []string
	for scanner := bufio.NewScanner(out); scanner.Scan(); {
		if said = append(said, scanner.Text()); len(said) == lines {
			time.AfterFunc(more, func() { _ = cmd.Process.Kill() }) // it may be done
		}
	}
	_ = cmd.Wait() // it was killed
	return said
}

// Every key whose public half has left is there after a kill.
func TestKilledWhileMakingKeys(t *testing.T) {
	dir := t.TempDir()
	key, err := custody.OpenFile(filepath.Join(dir, "from.key"), "", "", true)
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for i := range 3 {
		said = append(said, killAfter(t, "keys", dir, 1+5*i, time.Duration(i)*time.Millisecond)...)
	}
	c := openCustody(t, custody.Config{DB: storetest.Open(t, filepath.Join(dir, "tally.db")), Wrapper: key})
	if len(said) < 15 {
		t.Fatalf("only %d keys", len(said))
	}
	for i, line := range said {
		id, public, ok := strings.Cut(line, " ")
		if !ok || len(public) != 182 {
			continue // the line was cut
		}
		signer, err := c.Signer(t.Context(), id)
		if err != nil {
			t.Fatalf("key %d of %d is lost: %v", i, len(said), err)
		}
		if der, err := x509.MarshalPKIXPublicKey(signer.Public()); err != nil || hex.EncodeToString(der) != public {
			t.Fatalf("key %d is another one, %v", i, err)
		}
	}
}

// A rewrap that is killed again and again loses nothing, and comes to its end.
func TestKilledWhileRewrapping(t *testing.T) {
	dir := t.TempDir()
	from, err := custody.OpenFile(filepath.Join(dir, "from.key"), "", "", true)
	if err != nil {
		t.Fatal(err)
	}
	to, err := custody.OpenFile(filepath.Join(dir, "to.key"), "", "", true)
	if err != nil {
		t.Fatal(err)
	}
	db := storetest.Open(t, filepath.Join(dir, "tally.db"))
	const n = 1500
	ids := putMany(t, openCustody(t, custody.Config{DB: db, Wrapper: from}), n)
	half := false
	for i := range 3 {
		killAfter(t, "rewrap", dir, 1, time.Duration(i)*3*time.Millisecond)
		c := openCustody(t, custody.Config{DB: db, Wrapper: from, Also: []custody.Wrapper{to}})
		allReadable(t, c, ids)
		under, err := db.CountSecrets(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		half = half || len(under) == 2
	}
	if !half {
		t.Error("no kill came in the middle")
	}
	c := openCustody(t, custody.Config{DB: db, Wrapper: from, Also: []custody.Wrapper{to}})
	if err := c.Rewrap(t.Context(), to, nil); err != nil {
		t.Fatal(err)
	}
	allReadable(t, openCustody(t, custody.Config{DB: db, Wrapper: to}), ids)
	lineage, err := c.Readable(t.Context(), from.Identity().ID)
	if err != nil || len(lineage) != n {
		t.Errorf("%d were under the old key, %v", len(lineage), err)
	}
}

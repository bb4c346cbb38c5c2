// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"bufio"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

func TestFlushPublishesWhatWasRevoked(t *testing.T) {
	h := newHouse(t)
	h.config.Shards = 4
	h.p = New(h.config)
	h.flush()
	if l := h.list(store.CompleteList); len(l.RevokedCertificateEntries) != 0 || l.Number.Int64() != 1 {
		t.Errorf("the first list: %+v", l)
	}
	h.revoke(0, 2_000)
	h.flush()
	complete := h.list(store.CompleteList)
	total := 0
	for shard := range int64(4) {
		l := h.list(shard)
		total += len(l.RevokedCertificateEntries)
		for _, e := range l.RevokedCertificateEntries {
			if e.SerialNumber.Bytes()[len(e.SerialNumber.Bytes())-1]%4 != byte(shard) {
				t.Fatalf("serial %x is in shard %d", e.SerialNumber, shard)
			}
		}
	}
	if len(complete.RevokedCertificateEntries) != 2_000 || total != 2_000 || complete.Number.Int64() != 2 {
		t.Errorf("%d entries, %d in shards, number %d", len(complete.RevokedCertificateEntries), total, complete.Number)
	}
	before := h.signed.Load()
	h.flush()
	if h.signed.Load() != before || h.list(store.CompleteList).Number.Int64() != 2 {
		t.Error("a list was signed although nothing was new")
	}
	// One more touches one shard and the complete list, and no other.
	h.revoke(2_000, 2_001)
	h.flush()
	for shard, want := range []int64{3, 2, 2, 2} {
		if got := h.list(int64(shard)).Number.Int64(); got != want {
			t.Errorf("shard %d has number %d, want %d", shard, got, want)
		}
	}
}

func TestAListIsMadeAnewAtAQuarterOfItsLifetime(t *testing.T) {
	h := newHouse(t)
	h.revoke(0, 5)
	h.flush()
	first := h.list(store.CompleteList)
	h.pass(41 * time.Hour)
	h.flush()
	if h.list(store.CompleteList).Number.Cmp(first.Number) != 0 {
		t.Error("signed before a quarter of 168 h")
	}
	h.pass(2 * time.Hour)
	h.flush()
	second := h.list(store.CompleteList)
	if second.Number.Int64() != 2 || !second.ThisUpdate.After(first.ThisUpdate) || len(second.RevokedCertificateEntries) != 5 {
		t.Errorf("after 43 h: %+v", second)
	}
}

// An entry stays until it has been on a list that was issued beyond the end of its certificate (RFC 5280 section 3.3).
func TestAnEntryLeavesAfterItWasOnAListBeyondItsEnd(t *testing.T) {
	h := newHouse(t)
	end := noon.Add(20 * time.Hour)
	short := dead(1)
	short.NotAfter = end
	_, err := h.db.Revoke(t.Context(), []store.Revocation{short, dead(2)})
	must(t, err)
	beyond := false
	for h.flush(); ; h.flush() {
		l := h.list(store.CompleteList)
		if len(l.RevokedCertificateEntries) == 1 {
			break
		}
		beyond = beyond || l.ThisUpdate.After(end)
		if h.pass(11 * time.Hour); h.clock.Load().After(noon.AddDate(0, 1, 0)) {
			t.Fatal("it never left")
		}
	}
	if !beyond {
		t.Error("it left before it was on a list beyond its end")
	}
}

func TestThisUpdateNeverGoesBack(t *testing.T) {
	h := newHouse(t)
	h.flush()
	first := h.list(store.CompleteList)
	h.pass(-time.Hour)
	for n := range 3 {
		h.revoke(n, n+1)
		h.flush()
		next := h.list(store.CompleteList)
		if !next.ThisUpdate.After(first.ThisUpdate) || next.Number.Cmp(first.Number) <= 0 || len(next.RevokedCertificateEntries) != n+1 {
			t.Errorf("with the clock an hour back: %+v after %+v", next, first)
		}
		first = next
	}
	h.p = New(h.config) // also after a start
	h.revoke(5, 6)
	h.flush()
	if next := h.list(store.CompleteList); !next.ThisUpdate.After(first.ThisUpdate) || len(next.RevokedCertificateEntries) != 4 {
		t.Errorf("after a start: %+v", next)
	}
}

func TestTheOldListIsServedWhileTheSignerIsAway(t *testing.T) {
	h := newHouse(t)
	h.revoke(0, 3)
	h.flush()
	away := fmt.Errorf("token: %w", tallystick.ErrUnavailable)
	h.broken.Store(&away)
	h.revoke(3, 4)
	if err := h.p.Flush(t.Context()); !errors.Is(err, tallystick.ErrUnavailable) {
		t.Fatalf("Flush says %v", err)
	}
	if n := len(h.list(store.CompleteList).RevokedCertificateEntries); n != 3 {
		t.Errorf("%d entries", n)
	}
	health := h.health()
	if health[0].State != Fresh || !health[0].Behind || !strings.Contains(health[0].Error, "token") || !health[0].Since.Equal(noon) {
		t.Errorf("%+v", health[0])
	}
	// It is asked again with back-off: in the first second not at all.
	before := h.signed.Load()
	for range 10 {
		_ = h.p.round(t.Context(), false)
	}
	if h.signed.Load() != before {
		t.Error("it was asked again without a pause")
	}
	h.pass(200 * time.Hour)
	if health = h.health(); health[0].State != Expired {
		t.Errorf("after its end: %+v", health[0])
	}
	h.broken.Store(nil)
	must(t, h.p.round(t.Context(), false))
	if health = h.health(); health[0].State != Fresh || health[0].Behind || health[0].Error != "" || health[0].Entries != 4 {
		t.Errorf("when it is back: %+v", health[0])
	}
}

func (h *house) health() []Health {
	h.Helper()
	all, err := h.p.Health(h.Context())
	must(h, err)
	return all
}

// A wrongSigner signs with another key than it says.
type wrongSigner struct {
	crypto.Signer
	says crypto.PublicKey
}

func (w wrongSigner) Public() crypto.PublicKey { return w.says }

func TestASignatureThatIsWrongIsNotPublished(t *testing.T) {
	h := newHouse(t)
	h.flush()
	h.key = wrongSigner{newKey(t, "ecdsa-p256"), h.key.Public()}
	h.revoke(0, 1)
	if err := h.p.Flush(t.Context()); !errors.Is(err, errWrongSignature) {
		t.Errorf("Flush says %v", err)
	}
	if l := h.list(store.CompleteList); l.Number.Int64() != 1 {
		t.Errorf("number %d is served", l.Number)
	}
}

// Two publishers on one database, as two processes are.
func TestTwoPublishersShareNumbers(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		h := newHouse(t)
		h.db = storetest.Open(t, url)
		h.config.DB = h.db
		one := New(h.config)
		h.config.DB = storetest.Open(t, url)
		two := New(h.config)
		must(t, one.Flush(t.Context()))
		must(t, two.Flush(t.Context()))
		for n := range 6 {
			h.revoke(n, n+1)
			errs := make(chan error, 2)
			for _, p := range []*Publisher{one, two} {
				go func() { errs <- p.Flush(t.Context()) }()
			}
			for range 2 {
				if err := <-errs; err != nil && !errors.Is(err, tallystick.ErrConflict) {
					t.Fatal(err)
				}
			}
		}
		must(t, one.Flush(t.Context()))
		must(t, two.Flush(t.Context()))
		a, b := one.authorities[7].lists[store.CompleteList], two.authorities[7].lists[store.CompleteList]
		if a.SHA256 != b.SHA256 || a.Entries != 6 {
			t.Errorf("number %d with %d entries, and number %d with %d", a.Number, a.Entries, b.Number, b.Entries)
		}
	})
}

func TestWhoDoesNotSignWaitsForWhoDoes(t *testing.T) {
	h := newHouse(t)
	reader := h.config
	reader.Signer = nil
	p := New(reader)
	h.revoke(0, 2)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := p.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nothing is published, and Flush says %v", err)
	}
	h.flush()
	must(t, p.Flush(t.Context()))
	if l := p.authorities[7].lists[store.CompleteList]; l == nil || l.Entries != 2 {
		t.Errorf("it has %+v", l)
	}
}

func TestRunPublishes(t *testing.T) {
	h := newHouse(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- h.p.Run(ctx) }()
	h.revoke(0, 3)
	h.p.Revoked()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if list, err := h.db.CRL(t.Context(), 7, store.CompleteList); err == nil && list.Entries == 3 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("not published: %v", err)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// publishForEver is a process that revokes and publishes until it is killed. It tells what is
// promised: how many revocations Flush has published.
func publishForEver() {
	dir := os.Getenv("TALLY_TEST_PUBLISH")
	ctx := context.Background()
	fail := func(err error) {
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
	}
	db, err := store.Open(ctx, filepath.Join(dir, "tally.db"))
	fail(err)
	text, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	fail(err)
	block, rest := pem.Decode(text)
	ca, err := x509.ParseCertificate(block.Bytes)
	fail(err)
	block, _ = pem.Decode(rest)
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	fail(err)
	p := New(Config{DB: db, Now: func() time.Time { return noon }, Shards: 2,
		Authorities: func(context.Context) ([]Authority, error) {
			return []Authority{{ID: 7, Name: "lab", Certificate: ca}}, nil
		},
		Signer: func(context.Context, string) (crypto.Signer, error) { return parsed.(crypto.Signer), nil }})
	first := 0
	fail(db.EachRevocation(ctx, 7, func(store.Revocation) error { first++; return nil }))
	for n := first; ; n += 20 {
		var list []store.Revocation
		for i := range 20 {
			list = append(list, dead(n+i))
		}
		_, err := db.Revoke(ctx, list)
		fail(err)
		fail(p.Flush(ctx))
		fmt.Println("published", n+20)
	}
}

// A process is killed at any instant while it publishes: numbers go on growing, a number is never
// given to two lists, and what Flush has promised is on the list.
func TestKilledWhilePublishing(t *testing.T) {
	dir := t.TempDir()
	key := newKey(t, "ecdsa-p256")
	ca := newCA(t, "Lab CA", key)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	writePEM(t, filepath.Join(dir, "ca.pem"), "CERTIFICATE", ca.Raw)
	file, err := os.OpenFile(filepath.Join(dir, "ca.pem"), os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	must(t, errors.Join(pem.Encode(file, &pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), file.Close()))
	numbers := map[string]string{}
	last, promised := int64(0), 0
	for round := range 12 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "TALLY_TEST_PUBLISH="+dir)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for range 2 + round%3 {
			if !lines.Scan() {
				t.Fatal("the process ended by itself")
			}
			if _, err := fmt.Sscanf(lines.Text(), "published %d", &promised); err != nil {
				t.Fatal(lines.Text())
			}
		}
		time.Sleep(time.Duration(round) * 700 * time.Microsecond)
		must(t, cmd.Process.Kill())
		for lines.Scan() { // what it said before it was killed counts
			if _, err := fmt.Sscanf(lines.Text(), "published %d", &promised); err != nil {
				t.Fatal(lines.Text())
			}
		}
		_ = cmd.Wait() // it was killed
		db, err := store.Open(t.Context(), filepath.Join(dir, "tally.db"))
		must(t, err)
		for _, shard := range []int64{store.CompleteList, 0, 1} {
			c, err := db.CRL(t.Context(), 7, shard)
			must(t, err)
			l, err := x509.ParseRevocationList(c.List)
			must(t, err)
			must(t, l.CheckSignatureFrom(ca))
			name := fmt.Sprint(shard, l.Number)
			if was := numbers[name]; was != "" && was != c.SHA256 {
				t.Errorf("number %s was given to two lists", name)
			}
			numbers[name] = c.SHA256
			if shard == store.CompleteList && (len(l.RevokedCertificateEntries) < promised || l.Number.Int64() <= last) {
				t.Errorf("number %d after %d with %d entries; %d were promised", l.Number, last, len(l.RevokedCertificateEntries), promised)
			}
			if shard == store.CompleteList {
				last = l.Number.Int64()
			}
		}
		must(t, db.Close())
	}
}

// The store refuses to write, as it does when its disk is full.
func TestTheOldListIsServedWhenNothingCanBeWritten(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		h := newHouse(t)
		h.config.DB = storetest.Open(t, url)
		h.db, h.p = h.config.DB, New(h.config)
		h.flush()
		h.revoke(0, 3)
		full, free := []string{`CREATE TRIGGER full_disk BEFORE INSERT ON crl_pieces BEGIN SELECT RAISE(ABORT, 'full'); END`}, []string{`DROP TRIGGER full_disk`}
		if h.db.Engine() == "postgres" {
			full = []string{`CREATE FUNCTION full_disk() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = 'disk_full'; END $$ LANGUAGE plpgsql`,
				`CREATE TRIGGER full_disk BEFORE INSERT ON crl_pieces FOR EACH ROW EXECUTE FUNCTION full_disk()`}
			free = []string{`DROP TRIGGER full_disk ON crl_pieces`}
		}
		for _, statement := range full {
			storetest.Exec(t, url, statement)
		}
		for range 3 {
			err := h.p.Flush(t.Context())
			if err == nil || h.db.Engine() == "postgres" && !errors.Is(err, tallystick.ErrNoSpace) {
				t.Fatalf("Flush says %v", err)
			}
		}
		if health := h.health()[0]; health.Number != 1 || health.State != Fresh || !health.Behind || health.Error == "" {
			t.Errorf("%+v", health)
		}
		for _, statement := range free {
			storetest.Exec(t, url, statement)
		}
		h.flush()
		if health := h.health()[0]; health.Number != 2 || health.Behind || health.Error != "" || health.Entries != 3 {
			t.Errorf("when there is space again: %+v", health)
		}
	})
}

// More is revoked at once than is merged.
func TestALargeBlockIsPublished(t *testing.T) {
	h := newHouse(t)
	h.p.most = 100
	h.revoke(0, 3)
	h.flush()
	h.revoke(3, 200)
	h.flush()
	if n := len(h.list(store.CompleteList).RevokedCertificateEntries); n != 200 {
		t.Errorf("%d entries", n)
	}
}

// The key of one CA is away; another CA's revocations are not held up by that, and nobody is told that they are.
func TestFlushDoesNotWaitForWhatIsOnlyDue(t *testing.T) {
	h := newHouse(t)
	h.flush()
	away := tallystick.ErrUnavailable
	h.broken.Store(&away)
	h.pass(60 * time.Hour)
	h.flush()
	if health := h.health()[0]; health.Error == "" || health.Number != 1 {
		t.Errorf("%+v", health)
	}
}

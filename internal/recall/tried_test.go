// SPDX-License-Identifier: Apache-2.0

package recall_test

import (
	"crypto/sha1"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/gate"
	books "github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
	"github.com/tallystick/tallystick/internal/usage"
	"github.com/tallystick/tallystick/internal/uses"
)

// dovecot writes what Dovecot logs of one who signs in with a wrong password.
func dovecot(at time.Time, account, password, session, address string) string {
	stamp := at.UTC().Format("2006-01-02T15:04:05-0700")
	return fmt.Sprintf("%[1]s auth: Info: passwd-file(%[2]s,%[5]s,<%[4]s>): Password mismatch (SHA1 of given password: %.6[3]x)\n", stamp, account, sha1.Sum([]byte(password)), session, address) +
		fmt.Sprintf("%s imap-login: Info: Disconnected: Aborted login by logging out (auth failed, 1 attempts in 2 secs): user=<%s>, method=PLAIN, rip=%s, lip=192.0.2.1, TLS, session=<%s>, lport=993", stamp, account, address, session)
}

// batch takes what comes of a log.
type batch struct{ books.Batch }

func (b *batch) Use(u *tallystick.Use)      { b.Uses = append(b.Uses, *uses.Keep(u)) }
func (*batch) Close(tallystick.ClosingMark) {}
func (*batch) Lost(*tallystick.Use)         {}

// Who goes on with an old password is found in the log of a mail server, once the password is
// proven dead and not before; tries of the proof itself and of other wrong ones are not counted.
func TestStillTried(t *testing.T) {
	s := newSafe(t, storetest.Open(t, filepath.Join(t.TempDir(), "tally.db")), driver.OverlapTwo)
	book, err := books.Open(t.TempDir(), books.Options{Now: s.Now})
	s.must(err)
	t.Cleanup(func() { s.must(book.Close()) })
	r := s.begin()
	s.turn()
	for _, step := range s.steps(r.ID) {
		if strings.Contains(string(step.Result), "old_mark") {
			t.Fatalf("a mark is kept before the old one is refused: %s", step.Result)
		}
	}
	s.done(r.ID)
	s.proven(r.ID)
	s.Marks = &usage.Usage{DB: s.DB, Ledger: book, Now: s.Now}
	if found, err := s.StillTried(t.Context(), vera, r.ID, 0); err != nil || len(found) != 0 {
		t.Fatalf("nobody has tried: %+v, %v", found, err)
	}
	ended := s.provenAt(r.ID, "svc1")
	stream, err := uses.NewStream("dovecot", uses.Settings{})
	s.must(err)
	var read batch
	last := ended.Add(2 * time.Hour).Truncate(time.Second)
	for i, log := range []string{
		dovecot(ended.Add(time.Second), "svc1", old("svc1"), "own", "127.0.0.1"),
		dovecot(ended.Add(time.Minute), "svc1", old("svc1"), "a", "192.0.2.7"),
		dovecot(last, "svc1", old("svc1"), "b", "192.0.2.8"),
		dovecot(last, "svc1", "mistyped", "c", "192.0.2.9"),
		dovecot(last, "svc2", old("svc1"), "d", "192.0.2.9"),
	} {
		for line := range strings.SplitSeq(log, "\n") {
			if err := stream.Read(line, &read); err != nil {
				t.Fatalf("line %d: %v", i, err)
			}
		}
	}
	s.clock.pass(3 * time.Hour)
	_, err = book.Append(t.Context(), read.Batch)
	s.must(err)
	found, err := s.StillTried(t.Context(), vera, r.ID, 0)
	if err != nil || len(found) != 1 || found[0].Times != 2 || !found[0].Last.Equal(last) || found[0].Address != "192.0.2.8" || found[0].RelyingParty != "imap:192.0.2.1:993" {
		t.Fatalf("%+v, %v", found, err)
	}
	if want := "The old one was still tried 2 times since it was refused, last at " + last.UTC().Format("2006-01-02 15:04:05") + " from 192.0.2.8."; found[0].String() != want {
		t.Errorf("it says %q, want %q", found[0], want)
	}
	target, err := s.DB.RecallTarget(t.Context(), found[0].Target)
	s.must(err)
	if !strings.HasPrefix(target.Subject, "svc1 ") {
		t.Errorf("it is said of %s", target.Subject)
	}
	if one, err := s.StillTried(t.Context(), vera, r.ID, target.ID+1); err != nil || len(one) != 0 {
		t.Errorf("of another: %+v, %v", one, err)
	}
	if _, err := s.StillTried(t.Context(), gate.Actor{}, r.ID, 0); err == nil {
		t.Error("nobody in particular is told")
	}
}

func (s *safe) steps(id int64) []store.RecallStepRow {
	s.t.Helper()
	steps, err := s.DB.RecallSteps(s.t.Context(), id, store.StepFilter{}, 0, 1000)
	s.must(err)
	return steps
}

// provenAt is when the old password of an account was proven dead.
func (s *safe) provenAt(id int64, account string) time.Time {
	s.t.Helper()
	for _, step := range s.steps(id) {
		if step.Act != tallystick.ActProve {
			continue
		}
		target, err := s.DB.RecallTarget(s.t.Context(), step.Target)
		s.must(err)
		if strings.HasPrefix(target.Subject, account+" ") {
			return step.Ended
		}
	}
	s.t.Fatalf("%s is not proven", account)
	return time.Time{}
}

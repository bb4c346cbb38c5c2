// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/profile"
	"github.com/tallystick/tallystick/internal/store"
)

const (
	ownBook = "tallystick-recalls"
	account = "account:mail/sync"
	smtp    = "smtp:mail.example.org:587"
	pop3    = "pop3:mail.example.org:995"
	imap    = "imap:mail.example.org:993"

	home     = "10.0.0.7"     // where its holder is
	ours     = "192.0.2.10"   // where this program is
	stranger = "198.51.100.9" // where a thief is
)

// here are the networks of this machine.
func (b *bench) here() []netip.Prefix {
	if b.translated {
		return nil
	}
	return []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
}

// signedIn is what the log of a server has of a sign-in.
func signedIn(party, address string, at time.Time) tallystick.Use {
	return tallystick.Use{
		ID: party + address + at.String(), Source: "mail", Side: tallystick.SideRelying, Level: tallystick.LevelRequest, Time: at, Until: at, Count: 1,
		Outcome: tallystick.OutcomeSuccess, Credential: []string{account}, RelyingParty: party, Operation: "PLAIN", Address: address,
	}
}

// try is what this program tells of one.
func try(party string, at time.Time) tallystick.Use {
	return tallystick.Use{
		Time: at, Until: at, Level: tallystick.LevelRequest, Count: 1, Outcome: tallystick.OutcomeSuccess, Credential: []string{"Account:mail/SYNC"},
		RelyingParty: party, Operation: "rotate", Side: tallystick.SideHolder,
	}
}

// booked is a try as it stands in our book.
func booked(u tallystick.Use) tallystick.Use {
	u.Source, u.ID = ownBook, u.RelyingParty+u.Time.String()
	return u
}

// newHabit makes a watch in which an account has signed in by SMTP for ten days, up to so long before
// noon, and in which it is noon now. With a book, its holder has written down the same.
func newHabit(t *testing.T, ago time.Duration, book bool) *bench {
	t.Helper()
	b := newBench(t)
	b.now = noon
	var list []tallystick.Use
	for i := range 240 {
		u := signedIn(smtp, home, noon.Add(-ago-time.Duration(240-i)*time.Hour))
		if book {
			h := u
			h.Source, h.Side, h.Operation = "broker", tallystick.SideHolder, ""
			list = append(list, h)
		}
		list = append(list, u)
	}
	b.append(t, list...)
	b.rest(t)
	if got := b.habits(t); len(got) != 0 {
		t.Fatalf("already: %v", got)
	}
	return b
}

// habits returns the findings about how the account is used, with their evidence.
func (b *bench) habits(t *testing.T) map[string]string {
	t.Helper()
	b.rest(t)
	page, err := b.DB.Findings(t.Context(), store.FindingFilter{Now: b.now}, store.PageRequest{})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, f := range page.Items {
		if f.Rule != "foreign-use" {
			all[f.Rule] = f.Evidence
		}
	}
	return all
}

// learned returns what is known of how the account is used.
func (b *bench) learned() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(profile.Encode(nil, &b.names[account].now().profile))
}

// networks returns from where it was learned that the account is used, but for its home.
func (b *bench) networks() []string {
	var list []string
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range b.names[account].now().profile.Networks {
		if !n.Prefix.Contains(netip.MustParseAddr(home)) {
			list = append(list, n.Prefix.String())
		}
	}
	slices.Sort(list)
	return list
}

var changeOfHabit = []string{"dormant-awakes", "use-new-network", "use-new-way"}

func TestOurOwnUseIsNoHabit(t *testing.T) {
	asleep := 100 * 24 * time.Hour
	at := noon.Add(-time.Second)
	for name, tell := range map[string]func(t *testing.T, b *bench){
		"nobody keeps a book": func(t *testing.T, b *bench) {
			b.Made(try(pop3, at))
			b.append(t, signedIn(pop3, ours, at))
		},
		"in our book": func(t *testing.T, b *bench) {
			b.append(t, booked(try(pop3, at)))
			b.append(t, signedIn(pop3, ours, at.Add(time.Second)))
		},
		"the log is read before it is told": func(t *testing.T, b *bench) {
			end := b.Begin()
			b.append(t, signedIn(pop3, ours, at))
			b.Made(try(pop3, at))
			end()
		},
		"another act goes on": func(t *testing.T, b *bench) {
			other, end := b.Begin(), b.Begin()
			b.append(t, signedIn(pop3, ours, at))
			other()
			b.rest(t)
			b.append(t, booked(try(pop3, at)))
			end()
		},
		"several tries": func(t *testing.T, b *bench) {
			for i := range 3 {
				b.Made(try(pop3, at.Add(time.Duration(i)*100*time.Millisecond)))
				b.append(t, signedIn(pop3, ours, at.Add(time.Duration(i)*time.Millisecond)))
			}
		},
		"from behind a translation": func(t *testing.T, b *bench) {
			b.translated = true
			b.Made(try(pop3, at))
			b.append(t, signedIn(pop3, "203.0.113.5", at))
		},
		"a server that the log calls otherwise": func(t *testing.T, b *bench) {
			b.Made(try("pop3:", at))
			b.append(t, signedIn(pop3, ours, at))
		},
		"a log that leaves out the port": func(t *testing.T, b *bench) {
			b.Made(try(pop3, at))
			b.append(t, signedIn("pop3:mail.example.org", ours, at))
		},
		"nobody knows by which protocol": func(t *testing.T, b *bench) {
			b.Made(try("", at))
			b.append(t, signedIn(pop3, ours, at))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newHabit(t, asleep, name == "in our book")
			before := b.learned()
			tell(t, b)
			if got := b.habits(t); len(got) != 0 {
				t.Errorf("our own use is told as %v", got)
			}
			if diff := cmp.Diff(before, b.learned()); diff != "" {
				t.Errorf("our own use was learned from:\n%s", diff)
			}
			b.now = noon.Add(24 * time.Hour)
			b.append(t, signedIn(pop3, stranger, b.now))
			if got := slices.Sorted(maps.Keys(b.habits(t))); !slices.Equal(got, changeOfHabit) {
				t.Errorf("a thief's is told as %v, not %v", got, changeOfHabit)
			}
		})
	}
}

// What a try does not explain is judged, and learned.
func TestWhatWeDidNotDoIsJudged(t *testing.T) {
	at := noon.Add(-time.Second)
	for name, test := range map[string]struct {
		tries []tallystick.Use
		log   tallystick.Use
	}{
		"no try":                   {nil, signedIn(pop3, ours, at)},
		"another account":          {[]tallystick.Use{func() tallystick.Use { u := try(pop3, at); u.Credential = []string{"account:mail/other"}; return u }()}, signedIn(pop3, ours, at)},
		"another protocol":         {[]tallystick.Use{try(smtp, at)}, signedIn(pop3, ours, at)},
		"another server":           {[]tallystick.Use{try(pop3, at)}, signedIn("pop3:other.example.org:995", ours, at)},
		"after the tolerance":      {[]tallystick.Use{try(pop3, at.Add(-2*time.Minute-time.Second))}, signedIn(pop3, ours, at)},
		"refused to us":            {[]tallystick.Use{func() tallystick.Use { u := try(pop3, at); u.Outcome = tallystick.OutcomeRefused; return u }()}, signedIn(pop3, ours, at)},
		"another token":            {[]tallystick.Use{func() tallystick.Use { u := try(pop3, at); u.IDs.UTI = token(1); return u }()}, func() tallystick.Use { u := signedIn(pop3, ours, at); u.IDs.UTI = token(2); return u }()},
		"unnamed, from elsewhere":  {[]tallystick.Use{try("", at)}, signedIn(pop3, stranger, at)},
		"several uses in a record": {[]tallystick.Use{try(pop3, at)}, func() tallystick.Use { u := signedIn(pop3, ours, at); u.Count = 2; return u }()},
	} {
		for _, during := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, while an act goes on: %v", name, during), func(t *testing.T) {
				b := newHabit(t, time.Hour, false)
				end := func() {}
				if during {
					end = b.Begin()
				}
				for _, u := range test.tries {
					b.Made(u)
				}
				b.append(t, test.log)
				if got := b.habits(t); during && len(got) != 0 {
					t.Errorf("told while it may still be ours: %v", got)
				}
				end()
				if got := b.habits(t); got["use-new-network"] == "" || got["use-new-way"] == "" {
					t.Errorf("only %v is told", got)
				}
				if len(b.networks()) != 1 {
					t.Error("it was not learned")
				}
			})
		}
	}
}

// A try explains one use. Of two, that which came from this machine is ours; where nothing tells which it
// is, neither is let off. The order in which a log has them does not matter.
func TestATryExplainsOneUse(t *testing.T) {
	at := noon.Add(-time.Second)
	for name, test := range map[string]struct {
		translated bool
		log        []tallystick.Use
		want       []string // networks that are learned
	}{
		"twice from here":         {false, []tallystick.Use{signedIn(pop3, ours, at), signedIn(pop3, ours, at.Add(time.Second))}, []string{"192.0.2.0/24"}},
		"a thief's beside it":     {false, []tallystick.Use{signedIn(pop3, ours, at), signedIn(pop3, stranger, at)}, []string{"198.51.100.0/24"}},
		"another way in":          {false, []tallystick.Use{signedIn(pop3, ours, at), signedIn(imap, stranger, at)}, []string{"198.51.100.0/24"}},
		"behind a translation":    {true, []tallystick.Use{signedIn(pop3, "203.0.113.5", at), signedIn(pop3, stranger, at)}, []string{"198.51.100.0/24", "203.0.113.0/24"}},
		"no address in the log":   {false, []tallystick.Use{signedIn(pop3, "", at), signedIn(pop3, stranger, at)}, []string{"198.51.100.0/24"}},
		"another way, translated": {true, []tallystick.Use{signedIn(pop3, "203.0.113.5", at), signedIn(imap, stranger, at)}, []string{"198.51.100.0/24"}},
	} {
		for _, way := range []string{"in order", "the other way round", "while an act goes on"} {
			t.Run(name+", "+way, func(t *testing.T) {
				b := newHabit(t, time.Hour, false)
				b.translated = test.translated
				log, end := slices.Clone(test.log), func() {}
				if way == "the other way round" {
					slices.Reverse(log)
				}
				if way == "while an act goes on" {
					end = b.Begin()
				}
				for i, u := range log {
					if i == 1 && way == "while an act goes on" || i == 0 && way != "while an act goes on" {
						b.Made(try(pop3, at))
					}
					b.append(t, u)
				}
				end()
				if diff := cmp.Diff(test.want, b.networks()); diff != "" {
					t.Errorf("learned are (-want +got):\n%s", diff)
				}
				got := b.habits(t)
				if got["use-new-way"] == "" || got["use-new-network"] == "" {
					t.Errorf("told is %v", got)
				}
				if len(test.want) == 1 && !strings.Contains(got["use-new-network"], test.want[0]) {
					t.Errorf("told is %q, not %s", got["use-new-network"], test.want[0])
				}
			})
		}
	}
}

// Our own try of what is blocked or gone is no sign of a copy that was forgotten. A second one like it is
// somebody's.
func TestOurTryOfABlockedCredentialIsNotTold(t *testing.T) {
	at := noon.Add(-time.Second)
	for _, outcome := range []tallystick.Outcome{tallystick.OutcomeRefused, tallystick.OutcomeAttempt} {
		ourTry, logged, thief := try(smtp, at), signedIn(smtp, ours, at), signedIn(smtp, stranger, at.Add(time.Second))
		ourTry.Outcome, logged.Outcome, thief.Outcome = tallystick.OutcomeRefused, outcome, outcome
		for name, tell := range map[string]func(b *bench){
			"told first":          func(b *bench) { b.Made(ourTry); b.append(t, logged) },
			"in our book":         func(b *bench) { b.append(t, booked(ourTry)); b.append(t, logged) },
			"the log comes first": func(b *bench) { end := b.Begin(); b.append(t, logged); b.Made(ourTry); end() },
		} {
			t.Run(string(outcome)+", "+name, func(t *testing.T) {
				b := newHabit(t, time.Hour, false)
				b.mu.Lock()
				one := b.names[account].now()
				one.blocked, one.sighted.Gone = noon.Add(-time.Hour), noon.Add(-time.Hour)
				b.mu.Unlock()
				if tell(b); len(b.habits(t)) != 0 {
					t.Errorf("ours is told: %v", b.habits(t))
				}
				b.Made(ourTry) // which no log has
				b.append(t, thief)
				got := b.habits(t)
				if got["blocked-still-tried"] == "" {
					t.Errorf("a thief's is not told; only %v", got)
				}
				if outcome != tallystick.OutcomeAttempt && got["use-of-gone"] == "" {
					t.Errorf("that it is used is not told; only %v", got)
				}
			})
		}
	}
}

// Attempts, which need no secret, push nothing out of what waits for our work to be over.
func TestAttemptsFromElsewhereAreNotHeld(t *testing.T) {
	b := newHabit(t, time.Hour, false)
	b.mu.Lock()
	b.names[account].now().blocked = noon.Add(-time.Hour)
	b.mu.Unlock()
	end := b.Begin()
	b.append(t, signedIn(pop3, ours, noon))
	for i := range 100 {
		attempt := signedIn(smtp, stranger, noon.Add(-time.Duration(i)*time.Millisecond))
		attempt.Outcome = tallystick.OutcomeAttempt
		b.append(t, attempt)
	}
	if len(b.own.held) != 1 {
		t.Errorf("%d are held, want ours alone", len(b.own.held))
	}
	b.Made(try(pop3, noon))
	end()
	// That a blocked one still works is told whoever shows it.
	if got := slices.Sorted(maps.Keys(b.habits(t))); !slices.Equal(got, []string{"blocked-still-tried", "use-after-block"}) {
		t.Errorf("told is %v", got)
	}
}

// A try that no log ever has leaves nothing behind, but for its time.
func TestATryIsForgotten(t *testing.T) {
	b := newHabit(t, time.Hour, false)
	for i := range 50 {
		b.Made(try([]string{pop3, imap, "pop3:", ""}[i%4], noon))
	}
	b.now = noon.Add(b.Tolerance + time.Second)
	b.append(t, signedIn(pop3, ours, b.now))
	if got := b.habits(t); got["use-new-way"] == "" {
		t.Errorf("only %v is told", got)
	}
	b.now = noon.Add(lateness + time.Second)
	b.rest(t)
	if len(b.own.all) != 0 || len(b.own.by) != 0 {
		t.Errorf("left are %d, under %d names", len(b.own.all), len(b.own.by))
	}
}

func TestWhatIsKnownOfTriesIsBounded(t *testing.T) {
	b := newHabit(t, time.Hour, false)
	for i := range mostOwn + 10 {
		b.Made(try(fmt.Sprintf("pop3:mail-%d.example.org:995", i), noon))
	}
	if n, kept := len(b.own.all), len(b.own.by[account].exact); n != mostOwn || kept != mostOwn {
		t.Errorf("%d are kept, %d by relying party; want %d", n, kept, mostOwn)
	}
	end := b.Begin()
	for i := range mostHeld + 10 {
		b.append(t, signedIn(imap, stranger, noon.Add(-time.Duration(i)*time.Microsecond)))
		if i == mostHeld-1 && len(b.networks()) != 0 {
			t.Fatal("judged although there was room")
		}
	}
	if len(b.own.held) > mostHeld || len(b.networks()) == 0 {
		t.Errorf("%d are held", len(b.own.held))
	}
	end()
}

// What was not in our book is foreign as ever: the tally knows nothing of what is told here.
func TestATryThatStandsInNoBookStaysForeign(t *testing.T) {
	b := newHabit(t, time.Hour, true)
	b.Made(try(pop3, noon))
	b.append(t, signedIn(pop3, ours, noon))
	b.close(t, "broker", tallystick.SideHolder, noon.Add(time.Hour))
	if got := b.habits(t); len(got) != 0 {
		t.Error(got)
	}
	if got := b.said(t, tallystick.VerdictForeign); len(got) != 1 {
		t.Errorf("%d are foreign", len(got))
	}
}

// A crash loses no judgement: what was held is judged before anything is saved as seen, and read again when
// it was not saved. Tries in our book are read again as well.
func TestOurOwnUsesAndACrash(t *testing.T) {
	restart := func(t *testing.T, b *bench) { b.stop(t); b.start(t) }
	t.Run("a thief's was held", func(t *testing.T) {
		for _, saved := range []bool{true, false} {
			b := newHabit(t, time.Hour, false)
			b.Begin()
			b.append(t, signedIn(pop3, stranger, noon))
			if saved {
				if err := b.save(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			restart(t, b)
			if got := b.habits(t); got["use-new-way"] == "" || len(b.networks()) != 1 {
				t.Errorf("saved %v: only %v is told", saved, got)
			}
		}
	})
	t.Run("a thief's is the first use after it", func(t *testing.T) {
		b := newHabit(t, 100*24*time.Hour, false)
		if err := b.save(t.Context()); err != nil {
			t.Fatal(err)
		}
		restart(t, b)
		b.append(t, signedIn(pop3, stranger, noon))
		if got := slices.Sorted(maps.Keys(b.habits(t))); !slices.Equal(got, changeOfHabit) {
			t.Errorf("only %v is told", got)
		}
	})
	t.Run("ours is in our book", func(t *testing.T) {
		b := newHabit(t, time.Hour, true)
		b.append(t, booked(try(pop3, noon)))
		restart(t, b)
		b.append(t, signedIn(pop3, ours, noon))
		restart(t, b)
		if got := b.habits(t); len(got) != 0 {
			t.Error(got)
		}
	})
}

// Two names that turn out to be of one credential are one for our uses too.
func TestATryOfAnotherNameOfTheCredential(t *testing.T) {
	b := newHabit(t, time.Hour, false)
	u := signedIn(smtp, home, noon.Add(-time.Minute))
	u.Credential = []string{account, "spki-sha256:" + strings.Repeat("ab", 32)}
	b.append(t, u)
	one := try(pop3, noon)
	one.Credential = u.Credential[1:]
	b.Made(one)
	b.append(t, signedIn(pop3, ours, noon))
	got := b.habits(t)
	if delete(got, "use-never-sighted"); len(got) != 0 { // which is of the key
		t.Error(got)
	}
}

func TestManyDoorsAtOnce(t *testing.T) {
	b := newHabit(t, time.Hour, false)
	before := b.learned()
	var doors sync.WaitGroup
	for i := range 40 {
		doors.Go(func() {
			end := b.Begin()
			at := noon.Add(time.Duration(i) * time.Millisecond)
			u := signedIn(pop3, ours, at)
			if i%2 == 0 {
				b.append(t, u)
				b.Made(try(pop3, at))
			} else {
				b.append(t, booked(try(pop3, at)))
				b.append(t, u)
			}
			end()
		})
	}
	doors.Wait()
	if got := b.habits(t); len(got) != 0 || before != b.learned() {
		t.Errorf("told are %v; learned: %v", got, before != b.learned())
	}
}

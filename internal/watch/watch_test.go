// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/tally"
	"github.com/tallystick/tallystick/rules"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// A bench is a watch over a real store and a real ledger.
type bench struct {
	*Watch
	dir        string
	now        time.Time
	translated bool // our uses come from addresses that are not this machine's
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{dir: t.TempDir(), now: noon.Add(48 * time.Hour)}
	b.start(t)
	t.Cleanup(func() { b.stop(t) })
	return b
}

func (b *bench) start(t *testing.T) {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(b.dir, "tally.db"))
	if err != nil {
		t.Fatal(err)
	}
	now := func() time.Time { return b.now }
	l, err := ledger.Open(filepath.Join(b.dir, "ledger"), ledger.Options{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	b.Watch, err = Open(t.Context(), Config{DB: db, Ledger: l, Rules: rules.All(), Own: ownBook, Here: b.here, Now: now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
}

// stop closes without saving, as a crash would.
func (b *bench) stop(t *testing.T) {
	t.Helper()
	if err := b.Ledger.Close(); err != nil {
		t.Error(err)
	}
	if err := b.DB.Close(); err != nil {
		t.Error(err)
	}
}

func (b *bench) append(t *testing.T, list ...tallystick.Use) {
	t.Helper()
	if _, err := b.Append(t.Context(), "test", ledger.Batch{Uses: list}, nil); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) close(t *testing.T, source string, side tallystick.Side, at time.Time) {
	t.Helper()
	mark := ledger.Mark{ClosingMark: tallystick.ClosingMark{Source: source, Side: side, Closed: at}}
	if _, err := b.Append(t.Context(), "test", ledger.Batch{Marks: []ledger.Mark{mark}}, nil); err != nil {
		t.Fatal(err)
	}
}

// rest runs rounds until nothing is left to do.
func (b *bench) rest(t *testing.T) {
	t.Helper()
	for range 1000 {
		if err := b.round(t.Context()); err != nil {
			t.Fatal(err)
		}
		select {
		case <-b.wake:
		default:
			return
		}
	}
	t.Fatal("a thousand rounds, and there is still something to do")
}

// said returns what is written down: by record, the verdict and for how many uses.
func (b *bench) said(t *testing.T, want tallystick.Verdict) map[string]int64 {
	t.Helper()
	all := map[string]int64{}
	list, err := b.DB.AllVerdicts(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range list {
		all[v.Record] = v.Uses
	}
	return all
}

// reference settles all records at once.
func reference(t *testing.T, list []tallystick.Use, want tallystick.Verdict) map[string]int64 {
	t.Helper()
	s := tally.New(tally.Options{Tolerance: tally.DefaultTolerance, CloseAtEnd: true})
	w := s.Writer()
	for i := range list {
		w.At(uint64(i))
		w.Use(&list[i])
	}
	w.Flush()
	result, err := s.Settle(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	// Nobody expects of a relying party that it confirms a use from before its
	// book of the credential.
	told := map[string]time.Time{}
	for i := range list {
		u := &list[i]
		if u.Side != tallystick.SideRelying {
			continue
		}
		if key := u.Credential[1] + u.RelyingParty; told[key].IsZero() || u.Time.Before(told[key]) {
			told[key] = u.Time
		}
	}
	all := map[string]int64{}
	for _, item := range result.Items {
		u := &list[item.Where]
		if item.Verdict == want && (want != tallystick.VerdictUnconfirmed || confirms(told[u.Credential[0]+u.RelyingParty], u)) {
			all[tally.Key(u)] = item.Count
		}
	}
	return all
}

func confirms(since time.Time, u *tallystick.Use) bool {
	return !since.IsZero() && !u.Time.Before(since)
}

// A history makes uses of a few credentials, with all that can go wrong.
type history struct {
	*rand.Rand
	seq  map[string]uint64
	uses []tallystick.Use
}

func (h *history) use(side tallystick.Side, source string, at time.Time) *tallystick.Use {
	h.seq[source]++
	h.uses = append(h.uses, tallystick.Use{
		Source: source, Seq: h.seq[source], Side: side, Level: tallystick.LevelToken, Time: at, Until: at, Count: 1, Outcome: tallystick.OutcomeSuccess,
	})
	return &h.uses[len(h.uses)-1]
}

// story makes n uses of a credential by its holder, each with what the relying
// party writes of it, and some by a thief.
func (h *history) story(credential int, n int, tokens bool) {
	at := noon.Add(time.Duration(h.IntN(3600)) * time.Second)
	for i := range n {
		at = at.Add(time.Duration(h.ExpFloat64() * float64(90*time.Second)))
		party := fmt.Sprintf("entra:tenant-%d/graph", h.IntN(3))
		name := fmt.Sprintf("x5t:%040d", credential)
		other := fmt.Sprintf("entra-key:%08d-0000-4000-8000-000000000000", credential)
		uti := fmt.Sprintf("%08d-1111-4000-8000-%012d", credential, i)
		kind := h.IntN(20)
		if kind == 3 && !tokens {
			h.counted(name, other, party, at)
			continue
		}
		if kind != 0 { // 0: a thief
			u := h.use(tallystick.SideHolder, fmt.Sprintf("broker-%d", credential%2), at)
			u.Credential, u.RelyingParty, u.Address = []string{name}, party, "203.0.113.7"
			if tokens {
				u.IDs.UTI = uti
			}
			if kind == 1 {
				continue // the relying party never saw it
			}
		}
		u := h.use(tallystick.SideRelying, "entra", at.Add(time.Duration(h.IntN(2000))*time.Millisecond))
		u.ID = fmt.Sprintf("r-%d-%d", credential, i)
		u.Credential, u.RelyingParty, u.Address = []string{other, name}, party, "203.0.113.7"
		if kind == 0 && h.IntN(2) == 0 {
			u.Address = "198.51.100.9"
		}
		if tokens {
			u.IDs.UTI = uti
			if kind == 0 {
				u.IDs.UTI = "f" + uti[1:]
			}
		}
		if kind == 2 && tokens { // a replay, much later
			again := *u
			again.ID, again.Time = u.ID+"-again", u.Time.Add(time.Duration(h.IntN(7200))*time.Second)
			h.uses = append(h.uses, again)
		}
	}
}

// counted makes uses of which the holder only says how many they were, and of which
// the relying party has as many, one less or one more.
func (h *history) counted(name, other, party string, at time.Time) {
	u := h.use(tallystick.SideHolder, "broker-0", at)
	u.Credential, u.RelyingParty, u.Count, u.Until = []string{name}, party, 3, at.Add(time.Minute)
	for n := range 2 + h.IntN(3) {
		u := h.use(tallystick.SideRelying, "entra", at.Add(time.Duration(h.IntN(60))*time.Second))
		u.ID = fmt.Sprintf("c-%s-%d-%d", name[30:], at.UnixNano(), n)
		u.Credential, u.RelyingParty = []string{other, name}, party
	}
}

func newHistory(seed uint64) *history {
	h := &history{Rand: rand.New(rand.NewPCG(seed, 1)), seq: map[string]uint64{}}
	for credential := range 4 {
		h.story(credential, 60, credential%2 == 0)
	}
	return h
}

// TestComesToWhatATallyOverAllSays feeds histories in several orders: in that of
// their time with closing marks between, with a part much later, in no order at
// all, and with the program killed now and then.
func TestComesToWhatATallyOverAllSays(t *testing.T) {
	for seed := range uint64(12) {
		for _, way := range []string{"in order", "late", "shuffled", "killed"} {
			t.Run(fmt.Sprintf("%d %s", seed, way), func(t *testing.T) {
				t.Parallel()
				h := newHistory(seed)
				list := slices.Clone(h.uses)
				b := newBench(t)
				switch way {
				case "shuffled":
					h.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
				case "late":
					slices.SortStableFunc(list, func(x, y tallystick.Use) int { return lateTime(x).Compare(lateTime(y)) })
				default:
					slices.SortStableFunc(list, func(x, y tallystick.Use) int { return x.Time.Compare(y.Time) })
				}
				for i := 0; i < len(list); {
					n := min(1+h.IntN(40), len(list)-i)
					b.append(t, slices.Clone(list[i:i+n])...)
					i += n
					if way != "shuffled" {
						for _, source := range []string{"broker-0", "broker-1"} {
							b.close(t, source, tallystick.SideHolder, list[i-1].Time.Add(-time.Second))
						}
						b.close(t, "entra", tallystick.SideRelying, list[i-1].Time.Add(-3*time.Second))
					}
					if h.IntN(2) == 0 {
						if err := b.round(t.Context()); err != nil {
							t.Fatal(err)
						}
					}
					if way == "killed" && h.IntN(3) == 0 {
						if h.IntN(2) == 0 {
							if err := b.save(t.Context()); err != nil {
								t.Fatal(err)
							}
						}
						b.stop(t)
						b.start(t)
					}
				}
				end := noon.Add(24 * time.Hour)
				for _, source := range []string{"broker-0", "broker-1"} {
					b.close(t, source, tallystick.SideHolder, end)
				}
				b.close(t, "entra", tallystick.SideRelying, end)
				b.rest(t)
				for _, verdict := range []tallystick.Verdict{tallystick.VerdictForeign, tallystick.VerdictUnconfirmed} {
					if diff := cmp.Diff(reference(t, h.uses, verdict), b.said(t, verdict)); diff != "" {
						t.Errorf("%s (-one tally over all +watch):\n%s", verdict, diff)
					}
				}
				if c := b.Counts(); c.Open != 0 || c.Spans != 0 {
					t.Errorf("%d records are still in memory, and %d spans wait", c.Open, c.Spans)
				}
			})
		}
	}
}

// lateTime has every seventh record come hours after its time.
func lateTime(u tallystick.Use) time.Time {
	if u.Seq%7 == 3 {
		return u.Time.Add(3 * time.Hour)
	}
	return u.Time
}

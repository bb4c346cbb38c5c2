// SPDX-License-Identifier: Apache-2.0

package evidence_test

import (
	"archive/zip"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/evidence"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// hostile is a name that a stranger chose.
const hostile = `=HYPERLINK("http://evil.example")<script>alert(1)</script>` + "\u202e"

// A story is a recall that has happened.
type story struct {
	log     *audit.Log
	recall  tallystick.Recall
	targets []tallystick.RecallTarget
	steps   []evidence.Step
	events  []evidence.Event
}

func all[T any](list []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, one := range list {
			if !yield(one, nil) {
				return
			}
		}
	}
}

// source is what is exported of the story.
func (s *story) source() evidence.Source {
	return evidence.Source{
		Recall: s.recall, Targets: all(s.targets), Steps: all(s.steps), Events: all(s.events), Log: s.log, By: gate.Local("ada"), Now: noon.Add(2 * time.Hour),
		Uses: []evidence.Uses{{Credential: s.targets[0].Old, Before: evidence.Count{From: noon.Add(-time.Hour), To: noon, Holder: 12, Relying: 15, Foreign: 3}, After: evidence.Count{From: noon, To: noon.Add(time.Hour)}}},
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// record has the log keep something.
func (s *story) record(t testing.TB, who, action, object, detail string) {
	t.Helper()
	must(t, s.log.Append(t.Context(), audit.Record{Time: noon, Actor: who, Role: "operator", Via: "session", Action: action, Object: object, Allowed: true, Detail: detail}))
}

// tell makes a story with so many targets.
func tell(t testing.TB, targets int) *story {
	t.Helper()
	log, err := audit.Open(t.Context(), storetest.Open(t, filepath.Join(t.TempDir(), "tally.db")), filepath.Join(t.TempDir(), "audit.key"))
	must(t, err)
	s := &story{log: log, recall: tallystick.Recall{
		ID: 7, Name: "sync-2026", What: tallystick.Burnt{Kind: tallystick.BurntKey, Value: strings.Repeat("9a", 32)}, Why: "It was on a host that was entered " + hostile,
		Deadline: noon.Add(72 * time.Hour), AtDeadline: tallystick.AtDeadlineBlock, State: tallystick.RecallDone, OpenedBy: "ada", ApprovedBy: []string{"bob"},
		Opened: noon, Started: noon.Add(time.Minute), Ended: noon.Add(time.Hour),
	}}
	s.record(t, "carol", "open-recall", "key:00", "") // of another one
	s.record(t, "ada", "open-recall", s.recall.What.String(), "")
	s.record(t, "bob", "approve-recall", "recall/sync-2026", "")
	approval := audit.ApprovalRecord("sync-2026", s.recall.Deadline)
	s.record(t, "bob", approval.Action, approval.Object, approval.Detail)
	for n := range int64(targets) {
		s.addTarget(t, n)
		s.record(t, "carol", "export", "credentials", "")
	}
	s.events = []evidence.Event{{N: 1, Time: noon, Kind: "people", Text: "ada opened the recall"}, {N: 2, Time: noon.Add(time.Hour), Kind: "step", Text: "All is proven " + hostile}}
	return s
}

func (s *story) addTarget(t testing.TB, n int64) {
	t.Helper()
	one := tallystick.RecallTarget{
		ID: 100 + n, Recall: 7, Kind: tallystick.TargetConnection, Wave: 1, Holder: "broker", Relying: fmt.Sprintf("ldap-%d", n), RelyingParty: hostile,
		Owner: "mail", Grants: []string{"full_access_as_app"}, Old: "cert-sha256:" + strings.Repeat("ab", 32), State: tallystick.TargetProven,
	}
	s.targets = append(s.targets, one)
	for i, act := range []tallystick.Act{tallystick.ActInstall, tallystick.ActBlock, tallystick.ActProve} {
		result := map[string]any{}
		switch act {
		case tallystick.ActBlock:
			result["blocked"] = driver.Blocked{Changed: driver.Changed{Changed: true, How: []string{"crl", "ticket-keys"}}, Closed: 2}
		case tallystick.ActProve:
			result["attempts"] = []driver.Attempt{{Way: driver.WayFresh13, Outcome: driver.OutcomeRefused, Answer: "tls: bad certificate <" + hostile}, {Way: driver.WayResumed12, Outcome: driver.OutcomeNotResumed}}
			result["new_attempts"] = []driver.Attempt{{Way: driver.WayFresh13, Outcome: driver.OutcomeAccepted}}
		}
		text, err := json.Marshal(result)
		must(t, err)
		step := tallystick.RecallStep{ID: 1000 + 10*n + int64(i), Recall: 7, Target: one.ID, Phase: tallystick.PhaseRevoke, Act: act, State: tallystick.StepDone, Ended: noon.Add(time.Duration(i) * time.Minute), Result: text}
		s.steps = append(s.steps, evidence.Step{RecallStep: step})
		done := audit.StepRecord("sync-2026", step.ID, audit.StepSaid(string(act), "", "done"), text)
		s.record(t, "node-1", done.Action, done.Object, done.Detail)
	}
	s.steps = append(s.steps, evidence.Step{RecallStep: tallystick.RecallStep{ID: 1009 + 10*n, Recall: 7, Act: tallystick.ActGate, State: tallystick.StepDone}})
}

// export returns the file.
func export(t testing.TB, s evidence.Source) []byte {
	t.Helper()
	var out bytes.Buffer
	_, err := evidence.Export(t.Context(), &out, s)
	must(t, err)
	return out.Bytes()
}

func verify(file []byte, key string) (evidence.Report, error) {
	return evidence.Verify(bytes.NewReader(file), int64(len(file)), key)
}

func TestExportAndVerify(t *testing.T) {
	s := tell(t, 3)
	file := export(t, s.source())
	report, err := verify(file, s.log.VerifierKey())
	must(t, err)
	want := evidence.Report{
		Recall: "sync-2026", What: s.recall.What, State: tallystick.RecallDone, Made: noon.Add(2 * time.Hour), By: "ada", OpenedBy: "ada", ApprovedBy: []string{"bob"},
		Targets: map[string]int64{"proven": 3}, Steps: 12, Bound: 9, Records: 12, Seal: 17, LogSize: 17, Checkpoint: report.Checkpoint,
	}
	if diff := cmp.Diff(want, report); diff != "" {
		t.Error(diff)
	}
	for _, sentence := range report.Sentences() {
		t.Log(sentence)
	}
}

// Every program that reads archives finds the same in the file.
func TestMembers(t *testing.T) {
	members := contents(t, export(t, tell(t, 2).source()))
	for _, row := range []struct{ member, has string }{
		{"README.txt", "tally evidence verify"},
		{"report.html", "All 2 targets are proven"},
		{"report.html", "old refused 1× (fresh-tls1.3); old not resumed 1×; new accepted 1×; 2 open connections closed"},
		{"report.html", "&lt;script&gt;"},
		{"targets.csv", "'=HYPERLINK"},
		{"recall.json", `"foreign":3`},
		{"events.ndjson", "ada opened the recall"},
		{"records.ndjson", "approve-recall"},
	} {
		if !strings.Contains(members[row.member], row.has) {
			t.Errorf("%s lacks %q:\n%s", row.member, row.has, members[row.member])
		}
	}
	if strings.Contains(members["report.html"], "<script") || strings.Contains(members["report.html"], "\u202e") {
		t.Error("the report has what a stranger wrote as it is")
	}
	if strings.Contains(members["records.ndjson"], "carol") {
		t.Error("records about something else are quoted")
	}
	rows, err := csv.NewReader(strings.NewReader(members["targets.csv"])).ReadAll()
	if err != nil || len(rows) != 3 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}

// contents unpacks a file with another program's eyes.
func contents(t testing.TB, file []byte) map[string]string {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	must(t, err)
	members := map[string]string{}
	for _, f := range r.File {
		in, err := f.Open()
		must(t, err)
		text, err := io.ReadAll(in)
		must(t, err)
		members[f.Name] = string(text)
	}
	return members
}

// No byte of the file can be another.
func TestEveryByteCounts(t *testing.T) {
	s := tell(t, 1)
	file, key := export(t, s.source()), s.log.VerifierKey()
	for i := range file {
		bit := byte(1) << (i % 8)
		file[i] ^= bit
		if _, err := verify(file, key); !errors.Is(err, evidence.ErrBroken) {
			t.Fatalf("byte %d of %d: %v", i, len(file), err)
		}
		file[i] ^= bit
	}
	if _, err := verify(file, key); err != nil {
		t.Error(err)
	}
}

func TestCutAndLengthened(t *testing.T) {
	s := tell(t, 1)
	file, key := export(t, s.source()), s.log.VerifierKey()
	for n := range len(file) {
		if _, err := verify(file[:n], key); !errors.Is(err, evidence.ErrBroken) {
			t.Fatalf("the first %d bytes: %v", n, err)
		}
	}
	for _, other := range [][]byte{append(slices.Clone(file), 0), append([]byte("#!/bin/sh\n"), file...), append(slices.Clone(file), file...)} {
		if _, err := verify(other, key); !errors.Is(err, evidence.ErrBroken) {
			t.Error(err)
		}
	}
}

// Archives with the same or similar members, as other programs write them.
func TestOtherArchives(t *testing.T) {
	s := tell(t, 1)
	file, key := export(t, s.source()), s.log.VerifierKey()
	r, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	must(t, err)
	for _, row := range []struct {
		name   string
		change func([]*zip.File) []*zip.File
	}{
		{"the same", func(f []*zip.File) []*zip.File { return f }},
		{"one twice", func(f []*zip.File) []*zip.File { return append(f, f[2]) }},
		{"one missing", func(f []*zip.File) []*zip.File { return slices.Delete(f, 6, 7) }},
		{"two swapped", func(f []*zip.File) []*zip.File { f[2], f[3] = f[3], f[2]; return f }},
	} {
		var out bytes.Buffer
		w := zip.NewWriter(&out)
		for _, f := range row.change(slices.Clone(r.File)) {
			must(t, w.Copy(f))
		}
		must(t, w.Close())
		_, err := verify(out.Bytes(), key)
		if row.name == "the same" && err == nil && bytes.Equal(out.Bytes(), file) {
			continue // then it is the file
		}
		if !errors.Is(err, evidence.ErrBroken) {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

func TestOtherKeys(t *testing.T) {
	s, other := tell(t, 1), tell(t, 1)
	file := export(t, s.source())
	if _, err := verify(file, other.log.VerifierKey()); !errors.Is(err, evidence.ErrBroken) {
		t.Error(err)
	}
	for _, key := range []string{"", "nonsense", s.log.VerifierKey() + "x"} {
		if _, err := verify(file, key); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("key %q: %v", key, err)
		}
	}
}

// Who has the key can seal what they like, but not against what they recorded before.
func TestAgainstTheRecord(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*story)
	}{
		{"another answer", func(s *story) {
			s.steps[2].Result = json.RawMessage(strings.Replace(string(s.steps[2].Result), "refused", "accepted", 1))
		}},
		{"no answer", func(s *story) { s.steps[2].Result = nil }},
		{"a step left out", func(s *story) { s.steps = slices.Delete(s.steps, 1, 2) }},
		{"a step invented", func(s *story) {
			s.steps = append(s.steps, evidence.Step{RecallStep: tallystick.RecallStep{ID: 5000, Act: tallystick.ActProve, State: tallystick.StepDone, Result: json.RawMessage(`{}`)}})
		}},
		{"another who opened it", func(s *story) { s.recall.OpenedBy = "eve" }},
		{"a task done by nobody", func(s *story) {
			step := tallystick.RecallStep{ID: 5000, Act: tallystick.ActPerson, State: tallystick.StepDone, Result: json.RawMessage(`{"by":"eve"}`)}
			s.steps = append(s.steps, evidence.Step{RecallStep: step})
		}},
		{"another deadline", func(s *story) { s.recall.Deadline = s.recall.Deadline.Add(time.Hour) }},
		{"another act", func(s *story) { s.steps[1].Act = tallystick.ActTrust }},
		{"another door", func(s *story) { s.steps[2].Door = "elsewhere" }},
		{"proven by no step", func(s *story) { s.steps[2].Target = 4711 }},
		{"approved by who opened it", func(s *story) { s.recall.ApprovedBy = []string{"Ada"} }},
		{"an approval invented", func(s *story) { s.recall.ApprovedBy = append(s.recall.ApprovedBy, "eve") }},
	} {
		s := tell(t, 2)
		row.change(s)
		if _, err := verify(export(t, s.source()), s.log.VerifierKey()); !errors.Is(err, evidence.ErrBroken) {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

// What a person says that they did is bound as well: by whom, what, and at which step.
func TestATaskByHandIsBound(t *testing.T) {
	for said, good := range map[string]bool{`{"by":"carol","note":"ticket 4711"}`: true, `{"by":"carol","note":"ticket 4712"}`: false, `{"by":"ada","note":"ticket 4711"}`: false, `{}`: false} {
		s := tell(t, 1)
		step := tallystick.RecallStep{ID: 5000, Act: tallystick.ActPerson, State: tallystick.StepDone, Result: json.RawMessage(said)}
		s.steps = append(s.steps, evidence.Step{RecallStep: step})
		done := audit.StepRecord("sync-2026", step.ID, audit.StepSaid("person", "", "done"), []byte(`{"by":"carol","note":"ticket 4711"}`))
		s.record(t, "carol", done.Action, done.Object, done.Detail)
		if _, err := verify(export(t, s.source()), s.log.VerifierKey()); good != (err == nil) {
			t.Errorf("%s: %v", said, err)
		}
	}
}

// What is made while the recall goes on is good, too, and again later.
func TestTwice(t *testing.T) {
	s := tell(t, 1)
	first := export(t, s.source())
	s.addTarget(t, 1)
	second := export(t, s.source())
	for _, file := range [][]byte{first, second} {
		if _, err := verify(file, s.log.VerifierKey()); err != nil {
			t.Error(err)
		}
	}
}

func TestErrorsEndTheExport(t *testing.T) {
	s := tell(t, 1)
	broken := s.source()
	broken.Steps = func(yield func(evidence.Step, error) bool) { yield(evidence.Step{}, tallystick.ErrUnavailable) }
	if _, err := evidence.Export(t.Context(), io.Discard, broken); !errors.Is(err, tallystick.ErrUnavailable) {
		t.Error(err)
	}
	odd := s.source()
	odd.Steps = all([]evidence.Step{{RecallStep: tallystick.RecallStep{ID: 1, Result: json.RawMessage(`{ "a":1}`)}}})
	if _, err := evidence.Export(t.Context(), io.Discard, odd); !errors.Is(err, tallystick.ErrDamaged) {
		t.Error(err)
	}
	if _, err := evidence.Export(t.Context(), &full{left: 3000}, s.source()); !errors.Is(err, tallystick.ErrNoSpace) {
		t.Error(err)
	}
}

// A full is a disk with little left.
type full struct{ left int }

func (f *full) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, tallystick.ErrNoSpace
	}
	return len(b), nil
}

// TestKept holds the format to a file that was made when it was laid down.
func TestKept(t *testing.T) {
	const name, keyName = "testdata/sync-2026.zip", "testdata/sync-2026.key"
	if *update {
		s := tell(t, 1)
		must(t, os.WriteFile(name, export(t, s.source()), 0o644))
		must(t, os.WriteFile(keyName, []byte(s.log.VerifierKey()+"\n"), 0o644))
	}
	file, key := kept(t)
	report, err := verify(file, key)
	must(t, err)
	if report.Bound != 3 || report.Records != 6 {
		t.Errorf("%+v", report)
	}
}

var update = flag.Bool("update", false, "write the kept evidence anew: only for a new format")

// kept reads the kept file and the public key that it was signed with.
func kept(t testing.TB) (file []byte, key string) {
	t.Helper()
	file, err := os.ReadFile("testdata/sync-2026.zip")
	must(t, err)
	text, err := os.ReadFile("testdata/sync-2026.key")
	must(t, err)
	return file, strings.TrimSpace(string(text))
}

func FuzzVerify(f *testing.F) {
	file, key := kept(f)
	f.Add(file)
	f.Add(file[:len(file)/2])
	f.Add(file[len(file)/2:])
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := verify(b, key); err == nil && !bytes.Equal(b, file) {
			t.Error("another file is taken for evidence")
		}
	})
}

func BenchmarkExportAndVerify(b *testing.B) {
	s := tell(b, 300)
	var size int
	for b.Loop() {
		file := export(b, s.source())
		size = len(file)
		if _, err := verify(file, s.log.VerifierKey()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(size), "bytes")
}

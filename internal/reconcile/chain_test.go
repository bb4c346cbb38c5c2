// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/holder"
	"github.com/tallystick/tallystick/internal/tally"
)

// bookOf has package holder write a book of n uses, and returns its lines; the
// last one is a closing mark.
func bookOf(t *testing.T, source string, n int) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "book")
	book, err := holder.Open(holder.Config{Source: source, File: path, Credential: []string{"x5t:aa"}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		book.Record(tallystick.Use{RelyingParty: "ldap:a:389", Time: start.Add(time.Duration(i) * time.Minute)})
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := book.Run(ctx); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Collect(strings.Lines(string(text)))
}

// run tallies books against a log of one use.
func run(t *testing.T, books ...string) *Files {
	t.Helper()
	dir := t.TempDir()
	inputs := []Input{{Path: filepath.Join(dir, "log"), Side: tallystick.SideRelying}}
	text := []string{fmt.Sprintf(`{"v":1,"source":"log","time":%q,"credential":"x5t:aa","relying_party":"ldap:a:389"}`, start.Format(time.RFC3339))}
	for i, book := range books {
		inputs = append(inputs, Input{Path: filepath.Join(dir, fmt.Sprint("book", i)), Side: tallystick.SideHolder})
		text = append(text, book)
	}
	for i, in := range inputs {
		if err := os.WriteFile(in.Path, []byte(text[i]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files, err := Run(t.Context(), tally.Options{CloseAtEnd: true}, inputs, nil, start)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { files.Close() })
	return files
}

func TestABrokenBookIsNamed(t *testing.T) {
	b1, b2 := bookOf(t, "b1", 8), bookOf(t, `b"2`, 2)
	whole := strings.Join(b1, "")
	var unchained strings.Builder
	for _, line := range b1 {
		at := strings.Index(line, `,"hash"`)
		unchained.WriteString(line[:at] + "}\n")
	}
	for name, c := range map[string]struct {
		books []string
		want  []string
	}{
		"whole":           {[]string{whole}, nil},
		"in parts":        {[]string{strings.Join(b1[3:], ""), strings.Join(b1[:3], "")}, nil},
		"two in one file": {[]string{b1[0] + b2[0] + b1[1] + b2[1] + strings.Join(b1[2:], "") + b2[2]}, nil},
		"without hashes":  {[]string{unchained.String()}, nil},
		"one removed":     {[]string{strings.Join(b1[:5], "") + strings.Join(b1[6:], "")}, []string{"book b1: record 7 follows record 5: a record between them is missing"}},
		"more removed":    {[]string{b1[0] + strings.Join(b1[3:], "")}, []string{"book b1: record 4 follows record 1: 2 records between them are missing"}},
		"the last removed": {[]string{strings.Join(b1[:7], "") + b1[8]},
			[]string{"book b1: a closing mark behind record 8 follows record 7: a record between them is missing"}},
		"one changed": {[]string{strings.Replace(whole, "10:03:00Z", "10:03:01Z", 1)},
			[]string{"book b1: the hash of record 4 does not follow from the line before it: one of the two was changed, or a line between them removed"}},
		"one doubled": {[]string{b2[0] + b2[0] + b2[1] + b2[2]}, []string{`book b"2: record 1 follows record 1: lines were moved or are there twice, or two programs write this book`}},
	} {
		files := run(t, c.books...)
		var got []string
		for _, b := range files.Broken {
			text, _, _ := strings.Cut(b.String(), " (")
			got = append(got, text)
		}
		if d := cmp.Diff(c.want, got); d != "" || files.BrokenCount != int64(len(c.want)) {
			t.Errorf("%s: %d broken places:\n%s", name, files.BrokenCount, d)
		}
		if sum := files.Result.Summary; sum.Malformed != 0 || sum.Foreign+sum.Matched != 1 {
			t.Errorf("%s: %+v", name, sum)
		}
	}
}

func TestTheBrokenLineIsNamed(t *testing.T) {
	b1 := bookOf(t, "b1", 4)
	files := run(t, b1[0]+b1[1]+b1[3]+b1[4])
	if len(files.Broken) != 1 || files.Broken[0].Line != 3 || files.Broken[0].Source != "b1" || filepath.Base(files.Broken[0].File) != "book0" {
		t.Errorf("%+v", files.Broken)
	}
}

// Without a loss in the book the second use is foreign; with it nobody can tell.
func TestALossOfTheHolderIsReadFromItsBook(t *testing.T) {
	book := bookOf(t, "b1", 1)
	for lost, want := range map[bool]tallystick.Verdict{false: tallystick.VerdictForeign, true: tallystick.VerdictPending} {
		text := strings.Replace(book[0], "aa", "AA", 1)
		text = strings.Replace(text, start.Format("T15:04:05Z"), start.Add(-time.Hour).Format("T15:04:05Z"), 1)
		if lost {
			line, err := json.Marshal(map[string]any{"v": 1, "source": "b1", "seq": 2, "side": "holder", "lost": 3, "time": start.Add(-time.Second), "until": start})
			if err != nil {
				t.Fatal(err)
			}
			text += string(line) + "\n"
		}
		var got []tallystick.Verdict
		files := run(t, text)
		if err := files.Each(t.Context(), func(v Verdict) error {
			if v.Use.Side == tallystick.SideRelying {
				got = append(got, v.Verdict)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]tallystick.Verdict{want}, got); d != "" || files.Result.Summary.Malformed != 0 || files.Other != 0 {
			t.Errorf("a loss is %t: %+v\n%s", lost, files.Result.Summary, d)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/holder"
)

// What package holder writes down is read as it was meant.
func TestABookOfAHolderIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "uses.ndjson")
	book, err := holder.Open(holder.Config{Source: "mailer-1", Holder: "mailer", File: path})
	if err != nil {
		t.Fatal(err)
	}
	refused := errors.New("refused")
	for _, result := range []error{nil, refused} {
		bind := holder.Bind{RelyingParty: "ldap:127.0.0.1:389", Account: "uid=svc1,dc=example"}
		if err := book.Bind(bind, func() error { return result }); !errors.Is(err, result) {
			t.Fatal(err)
		}
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
	var got kept
	for line := range strings.Lines(string(text)) {
		if err := newUseReader(Settings{}).read(strings.TrimSpace(line), &got); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
	}
	if len(got.uses) != 2 || len(got.marks) != 1 || got.marks[0].Source != "mailer-1" {
		t.Fatalf("%d uses and the marks %v", len(got.uses), got.marks)
	}
	for i, want := range []tallystick.Outcome{tallystick.OutcomeSuccess, tallystick.OutcomeRefused} {
		if u := got.uses[i]; u.Outcome != want || u.Seq != uint64(i+1) || u.Side != tallystick.SideHolder || u.Credential[0] != "account:ldap/uid=svc1,dc=example" {
			t.Errorf("use %d is %+v, want %s", i, u, want)
		}
	}
}

func TestALossIsRead(t *testing.T) {
	const line = `{"v":1,"source":"s","side":"holder","seq":3,"time":"2026-11-22T10:00:00Z","until":"2026-11-22T10:01:00Z","lost":7}`
	var got kept
	if err := newUseReader(Settings{}).read(line, &got); err != nil || len(got.lost) != 1 || len(got.uses) != 0 {
		t.Fatalf("%v, %+v", err, got)
	}
	if l := got.lost[0]; l.Source != "s" || l.Seq != 3 || l.Count != 7 || l.Until.Sub(l.Time) != time.Minute {
		t.Errorf("%+v", l)
	}
	for name, wrong := range map[string]string{
		"no number": strings.Replace(line, `:7`, `:"x"`, 1), "none": strings.Replace(line, ":7", ":0", 1), "no time": strings.Replace(line, `"time"`, `"tim"`, 1),
		"backwards": strings.Replace(line, "10:01", "09:01", 1), "too many": strings.Replace(line, ":7", ":7000000000000", 1),
	} {
		if err := newUseReader(Settings{}).read(wrong, &got); err == nil {
			t.Errorf("%s: %s is read", name, wrong)
		}
	}
	got = kept{}
	if err := newUseReader(Settings{}).read(strings.Replace(line, "holder", "relying", 1), &got); err != nil || len(got.lost) != 0 {
		t.Errorf("what a relying party lost: %v, %+v", err, got)
	}
}

// kept is a Sink that keeps.
type kept struct {
	uses  []tallystick.Use
	marks []tallystick.ClosingMark
	lost  []tallystick.Use
}

func (k *kept) Use(u *tallystick.Use)             { k.uses = append(k.uses, *u) }
func (k *kept) Lost(u *tallystick.Use)            { k.lost = append(k.lost, *u) }
func (k *kept) Close(mark tallystick.ClosingMark) { k.marks = append(k.marks, mark) }

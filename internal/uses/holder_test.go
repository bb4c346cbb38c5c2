// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	if err := newUseReader(Settings{}).read(`{"v":1,"source":"s","side":"holder","seq":3,"time":"2026-11-22T10:00:00Z","until":"2026-11-22T10:01:00Z","lost":7}`, &got); err == nil || !strings.Contains(err.Error(), "lost 7") {
		t.Errorf("uses that were lost: %v", err)
	}
}

// kept is a Sink that keeps.
type kept struct {
	uses  []tallystick.Use
	marks []tallystick.ClosingMark
}

func (k *kept) Use(u *tallystick.Use)             { k.uses = append(k.uses, *u) }
func (k *kept) Close(mark tallystick.ClosingMark) { k.marks = append(k.marks, mark) }

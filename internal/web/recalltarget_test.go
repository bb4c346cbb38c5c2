// SPDX-License-Identifier: Apache-2.0

package web

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/usage"
)

// A target says who goes on with its old password, whatever the log of a mail server has in it.
func TestTargetSaysWhoStillTries(t *testing.T) {
	s, err := New(Features{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	p := &recallTargetPage{Recall: tallystick.Recall{Name: "entered"}, Tried: []recall.StillTried{{Marked: usage.Marked{
		Times: 3, Last: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), Address: "192.0.2.7<script>", RelyingParty: "imap:mail:993",
	}}}}
	var out bytes.Buffer
	if err := s.templates["recalltarget"].Execute(&out, p); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"The old one was still tried 3 times since it was refused, last at 2026-11-22 12:00:00 from 192.0.2.7&lt;script&gt;.", "at imap:mail:993: one that was forgotten"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	p.Tried, out = nil, bytes.Buffer{}
	if err := s.templates["recalltarget"].Execute(&out, p); err != nil || strings.Contains(out.String(), "still tried") {
		t.Errorf("%v, or it is said of nobody", err)
	}
}

// The page of a recall names the holders that have not been given new values, and says of none that
// nobody holds it up.
func TestRecallSaysWhomItWaitsFor(t *testing.T) {
	s, err := New(Features{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	p := &recallPage{Recall: tallystick.Recall{Name: "entered", State: tallystick.RecallRunning}, All: 2, Waiting: []recall.Waiting{{Holder: "token:7<script>", Targets: 2}}}
	var out bytes.Buffer
	if err := s.templates["recall"].Execute(&out, p); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); !strings.Contains(text, "token:7&lt;script&gt; has not asked the vault for 2 new values") || strings.Contains(text, "Nobody: nothing has failed") {
		t.Error(text)
	}
	p.Waiting, out = nil, bytes.Buffer{}
	if err := s.templates["recall"].Execute(&out, p); err != nil || strings.Contains(out.String(), "has not asked") || !strings.Contains(out.String(), "Nobody: nothing has failed") {
		t.Errorf("%v, or it waits for nobody and says so", err)
	}
}

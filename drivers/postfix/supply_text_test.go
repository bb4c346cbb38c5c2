// SPDX-License-Identifier: Apache-2.0

package postfix

import (
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick/driver"
)

func pickerFor(system, account, old, next string) picker {
	return picker{relay: relayOf(system), senders: true, request: driver.SupplyRequest{System: system, Account: account, Old: driver.NewSecret(old), New: driver.NewSecret(next)}}
}

func TestRelayNames(t *testing.T) {
	for a, b := range map[string]string{
		"smtp.lab.test": "[smtp.lab.test]:587", "smtp://SMTP.lab.test:587/": "[smtp.lab.test]:submission", "smtps://smtp.lab.test.:465": "smtp.lab.test:smtps", "::1": "[::1]:587",
	} {
		if !relayOf(a).is(relayOf(b)) {
			t.Errorf("%s is not %s: %v and %v", a, b, relayOf(a), relayOf(b))
		}
	}
	for a, b := range map[string]string{"smtp.lab.test:25": "[smtp.lab.test]:587", "lab.test": "smtp.lab.test", "": "lab.test"} {
		if relayOf(a).is(relayOf(b)) {
			t.Errorf("%s is taken for %s", a, b)
		}
	}
}

func TestFill(t *testing.T) {
	const table = "# a comment\n[a.test]:25\tuser:old\nb.test user:old\n\na.test\n  user:o\n  ld\nx@c.test user:old\ny@c.test user:other\na.test other:old\n[a.test]   user:last"
	const want = "# a comment\n[a.test]:25\tuser:new\nb.test user:old\n\na.test user:new\nx@c.test user:new\ny@c.test user:other\na.test other:old\n[a.test]   user:new"
	after, picked := pickerFor("a.test", "user", "old", "new").fill([]byte(table))
	if d := cmp.Diff(want, string(after)); d != "" || len(picked) != 4 {
		t.Errorf("%d entries picked, and the table is (-want +got):\n%s", len(picked), d)
	}
}

func TestWaitingForASignIn(t *testing.T) {
	for text, want := range map[string]bool{
		`{"queue_id": "A1", "recipients": [{"address": "x", "delay_reason": "SASL authentication failed; server a said: 535"}]}`:      true,
		`{"queue_id": "A1", "recipients": [{"address": "x", "delay_reason": "connect to a: refused"}]}` + "\n" + `{"queue_id": "B", `: false,
		"": false, "postqueue: fatal": false,
	} {
		if got := refusedMail([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// FuzzFill looks that what is filled in is found again, and nothing else changes.
func FuzzFill(f *testing.F) {
	f.Add("# x\n[a.test]:25 user:old\n more\n#c\nb.test user:x", "user", "new")
	f.Add("a.test\n user:old\r\n", "user", "a:b")
	f.Fuzz(func(t *testing.T, table, account, next string) {
		if strings.ContainsFunc(account+next, unicode.IsSpace) || strings.ContainsAny(account+next, ":#") || account == "" || next == "" || strings.TrimSpace(next) != next || strings.TrimSpace(account) != account {
			return
		}
		p := pickerFor("a.test", account, "old", next)
		after, picked := p.fill([]byte(table))
		again, found := p.fill(after)
		if string(again) != string(after) || len(found) != len(picked) {
			t.Fatalf("filled twice it differs: %q, then %q", after, again)
		}
		if len(picked) == 0 && string(after) != table {
			t.Fatalf("nothing is picked, and it has changed: %q", after)
		}
	})
}

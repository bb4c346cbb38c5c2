// SPDX-License-Identifier: Apache-2.0

package anchors_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/anchors"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/internal/lab"
)

func TestLets(t *testing.T) {
	p, other := lab.NewPKI(t), lab.NewPKI(t)
	client := p.Client(t, "alice").Public
	root, sub := anchors.Parse([]byte(lab.CertificatePEM(p.Root.Raw))), anchors.Parse([]byte(lab.CertificatePEM(p.Sub.Raw)))
	now := time.Now()
	if err := (anchors.Rules{}).Lets(client, root, now); err != nil {
		t.Error(err)
	}
	if err := (anchors.Rules{}).Lets(client, sub, now); !errors.Is(err, tallystick.ErrNotFound) {
		t.Errorf("an intermediate ended a chain: %v", err)
	}
	if err := (anchors.Rules{Partial: true}).Lets(client, sub, now); err != nil {
		t.Error(err)
	}
	if err := (anchors.Rules{Partial: true}).Lets(other.Client(t, "alice").Public, append(root, sub...), now); !errors.Is(err, tallystick.ErrNotFound) {
		t.Errorf("somebody else's CA let in: %v", err)
	}
	if err := (anchors.Rules{Client: true}).Lets(client, root, now); err != nil {
		t.Error(err)
	}
	server := p.Localhost(t).Public
	if err := (anchors.Rules{}).Lets(server, root, now); err != nil {
		t.Error(err)
	}
	if err := (anchors.Rules{Client: true}).Lets(server, root, now); !errors.Is(err, tallystick.ErrNotFound) {
		t.Errorf("a server got in as a client: %v", err)
	}
	if err := (anchors.Rules{}).Lets(client, root, now.AddDate(1, 0, 0)); !errors.Is(err, tallystick.ErrNotFound) {
		t.Errorf("an ended certificate got in: %v", err)
	}
}

// What Trust adds is taken away by Withdraw, to the byte, and not as long as somebody
// else needs it.
func TestTrustAndWithdraw(t *testing.T) {
	ours, theirs := lab.NewPKI(t), lab.NewPKI(t)
	spare := filepath.Join(t.TempDir(), "spare.pem")
	if err := os.WriteFile(spare, []byte(lab.CertificatePEM(ours.Root.Raw, theirs.Root.Raw)), 0o600); err != nil {
		t.Fatal(err)
	}
	before := []byte("our own CA\n" + strings.TrimSpace(lab.CertificatePEM(ours.Root.Raw)))
	alice, bob := theirs.Client(t, "alice").Public, theirs.Client(t, "bob").Public
	change := anchors.Change{Path: "/ca.pem", Spare: spare, Now: time.Now()}
	act := func(text []byte, who driver.Public, withdraw bool) []byte {
		t.Helper()
		next, err := change.Trust(t.Context(), host.Local(), text, who, withdraw)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := change.Trust(t.Context(), host.Local(), next, who, withdraw); err != nil || string(again) != string(next) {
			t.Fatalf("the second time changed something (%v)", err)
		}
		return next
	}
	if diff := cmp.Diff(string(before), string(act(before, ours.Client(t, "carol").Public, false))); diff != "" {
		t.Errorf("somebody who gets in already: %s", diff)
	}
	both := act(act(before, alice, false), bob, false)
	if n := len(anchors.Parse(both)); n != 2 {
		t.Fatalf("%d CAs, want 2:\n%s", n, both)
	}
	one := act(both, alice, true)
	if err := change.Lets(bob, anchors.Parse(one), time.Now()); err != nil {
		t.Errorf("bob went with alice: %v", err)
	}
	if diff := cmp.Diff(string(before)+"\n", string(act(one, bob, true))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(string(both), string(act(both, theirs.Client(t, "nobody").Public, true))); diff != "" {
		t.Errorf("withdrawing what was never added: %s", diff)
	}
}

func TestTrustNeedsConsent(t *testing.T) {
	ours, theirs := lab.NewPKI(t), lab.NewPKI(t)
	text := []byte(lab.CertificatePEM(ours.Root.Raw))
	_, err := anchors.Change{Path: "/ca.pem", Now: time.Now()}.Trust(t.Context(), host.Local(), text, theirs.Client(t, "alice").Public, false)
	if !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(err.Error(), "option authorities") {
		t.Errorf("%v", err)
	}
}

func FuzzTrust(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("# added by Tallystick for 00\n# added by Tallystick for 00\n-----BEGIN X-----\nAA==\n-----END X-----\n"))
	p := lab.NewPKI(f)
	f.Add([]byte(lab.CertificatePEM(p.Root.Raw, p.Sub.Raw)))
	client := p.Client(f, "alice").Public
	f.Fuzz(func(t *testing.T, text []byte) {
		change := anchors.Change{Path: "/ca.pem", Now: time.Now()}
		for _, withdraw := range []bool{false, true} {
			next, err := change.Trust(t.Context(), host.Local(), text, client, withdraw)
			if err == nil && len(anchors.Parse(next)) > len(anchors.Parse(text)) {
				t.Error("a CA was added that nobody has named")
			}
		}
	})
}

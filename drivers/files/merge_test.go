// SPDX-License-Identifier: Apache-2.0

package files

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/parse"
)

// held returns the facts of the private half at a path, which must be seen once.
func held(t *testing.T, path string) tallystick.FileFacts {
	t.Helper()
	var all []tallystick.FileFacts
	for _, s := range find(t, nil, path).at(path) {
		if s.Role == tallystick.RoleHolds {
			all = append(all, *s.File)
		}
	}
	if len(all) != 1 {
		t.Fatalf("the key is seen %d times", len(all))
	}
	return all[0]
}

// An encrypted copy does not hide one in the clear, wherever in the file it stands.
func TestCopiesOfOneKey(t *testing.T) {
	root := tree(t)
	clear, _ := selfSigned(t)
	write(t, root+"/clear.pem", clear, 0o600)
	run(t, root, "openssl", "pkcs8", "-topk8", "-in", "clear.pem", "-out", "sealed.pem", "-passout", "pass:changeit")
	sealed := read(t, root+"/sealed.pem")
	for name, want := range map[string][2]bool{clear + sealed: {false, true}, sealed + clear: {false, true}, sealed + sealed: {true, true}, clear + clear: {false, false}} {
		write(t, root+"/both.pem", name, 0o600)
		facts := held(t, root+"/both.pem")
		if got := [2]bool{facts.Passphrase, facts.WeakPassphrase}; got != want {
			t.Errorf("passphrase and weak passphrase: %v, want %v", got, want)
		}
	}
}

// Of the lines with one key, the one that sshd may act upon with the fewest
// restrictions is told.
func TestLinesOfOneKey(t *testing.T) {
	root := tree(t)
	run(t, root, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "id")
	key := read(t, root+"/id.pub")
	for lines, want := range map[string]int{
		"|restrict ":                             1, // the first line settles it
		"|from=\"10.0.0.1\" ":                    1,
		"from=\"10.0.0.1\" |":                    2, // who comes from elsewhere gets the second line
		"from=\"10.0.0.1\" |restrict,no-pty |":   1, // the second line settles it, and says no less
		"command=\"true\" |":                     1,
		"cert-authority,command=\"true\" |":      2, // the CA's line is for certificates
		"from=\"10.0.0.1\" |from=\"10.0.0.2\" |": 3,
	} {
		var text strings.Builder
		for _, options := range strings.Split(lines, "|") {
			text.WriteString(options + key)
		}
		write(t, root+"/authorized_keys", text.String(), 0o600)
		seen := find(t, nil, root+"/authorized_keys").Sightings
		if len(seen) != 1 || seen[0].SSH.Line != want {
			t.Errorf("%q: %d sightings, of line %d, want line %d", lines, len(seen), seen[0].SSH.Line, want)
		}
	}
}

// A key that several hosts have is known under all of their names.
func TestHostsOfOneKey(t *testing.T) {
	root := tree(t)
	run(t, root, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "id")
	key := read(t, root+"/id.pub")
	write(t, root+"/known_hosts", "a,b "+key+"b,c "+key, 0o600)
	seen := find(t, nil, root+"/known_hosts").Sightings
	if len(seen) != 1 {
		t.Fatalf("%d sightings", len(seen))
	}
	if d := cmp.Diff([]string{"a", "b", "c"}, seen[0].SSH.Hosts); d != "" {
		t.Error(d)
	}
	var text strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&text, "host%d %s", i, key)
	}
	write(t, root+"/known_hosts", text.String(), 0o600)
	if got := find(t, nil, root+"/known_hosts").Sightings[0].SSH.Hosts; len(got) != maxHosts {
		t.Errorf("%d hosts are kept", len(got))
	}
}

// Nobody can use up what is spent on the files of others.
func TestBudgets(t *testing.T) {
	root := tree(t)
	run(t, root, "ssh-keygen", "-q", "-t", "ed25519", "-N", "changeit", "-a", "1", "-f", "id")
	data := []byte(read(t, root+"/id"))
	isTried := func(work *parse.Work) bool {
		return parse.BytesWithin(t.Context(), work, "id", data, nil).Items[0].WeakPassphrase
	}
	b := newBudgets()
	b.owners[1000] = b.others.Part(0)
	if isTried(b.file(1000)) || !isTried(b.file(1001)) || !isTried(b.file(0)) {
		t.Error("an account without an allowance is tried, or another is not")
	}
	b.others = parse.NewWork(time.Millisecond)
	if isTried(b.file(1002)) || !isTried(b.file(0)) {
		t.Error("all others together take from root, or from nothing")
	}
}

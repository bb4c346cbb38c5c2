// SPDX-License-Identifier: Apache-2.0

package sshd

import (
	"crypto"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/driver/probing"
	"github.com/tallystick/tallystick/internal/lab"
)

func look(t *testing.T, door *Door) driver.View {
	t.Helper()
	view, err := door.Look(t.Context(), driver.LookRequest{Host: host.Local(), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return view
}

func install(t *testing.T, door *Door, m driver.Material, keep func(driver.Material) error) (driver.Installed, error) {
	t.Helper()
	return door.Install(t.Context(), driver.InstallRequest{Host: host.Local(), New: m, Keep: keep, Now: time.Now})
}

func block(t *testing.T, door *Door, old driver.Public, lift bool) (driver.Blocked, error) {
	t.Helper()
	return door.Block(t.Context(), driver.BlockRequest{Host: host.Local(), Old: old, Lift: lift, Now: time.Now})
}

// outcome tries to sign in.
func outcome(t *testing.T, d *lab.Sshd, m driver.Material, account string) string {
	t.Helper()
	probed, err := probing.Probe(t.Context(), driver.ProbeRequest{Host: host.Local(), Credential: m, Now: time.Now,
		Listeners: []driver.Listener{{Address: d.Address, Protocol: "ssh", Details: map[string]string{"user": account}}}})
	if err != nil {
		t.Fatal(err)
	}
	return probed.Attempts[0].Outcome
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestWhatIsSeen(t *testing.T) {
	t.Parallel()
	alice, ca := lab.SSHKey(t), lab.SSHKey(t)
	d := lab.StartSshd(t, lab.SshdSettings{HostCertificate: true, Authorized: []string{
		`command="/bin/true # \"x\"" ` + lab.AuthorizedLine(t, alice.Public), "cert-authority " + lab.AuthorizedLine(t, ca.Public), "ssh-ed25519 nonsense"}})
	view := look(t, opened(t, d))
	want := []driver.Accepted{
		{Name: nameOfPublic(t, ca.Public), As: d.Account + ", by its certificates", At: d.AuthorizedKeys},
		{Name: nameOfPublic(t, alice.Public), As: d.Account, At: d.AuthorizedKeys},
		{Name: nameOf(d.CA.PublicKey()), As: "whom it certifies", At: d.UserCAs},
	}
	if diff := cmp.Diff(map[driver.Accepted]bool{want[0]: true, want[1]: true, want[2]: true}, set(view.Accepts)); diff != "" {
		t.Error(diff)
	}
	var shown []string
	for _, s := range view.Shown {
		key, err := ssh.ParsePublicKey(s.SSH)
		if err != nil {
			t.Fatal(err)
		}
		shown = append(shown, s.At+" "+key.Type())
	}
	if diff := cmp.Diff([]string{d.HostKey + " " + ssh.KeyAlgoED25519, d.HostCertificate + " " + ssh.CertAlgoED25519v01,
		d.Address + " " + ssh.KeyAlgoED25519, d.Address + " " + ssh.CertAlgoED25519v01}, shown, cmpopts.SortSlices(strings.Compare)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]driver.Listener{{Address: d.Address, Protocol: "ssh", Details: map[string]string{"user": d.Account}}}, view.Listeners); diff != "" {
		t.Error(diff)
	}
}

func set(all []driver.Accepted) map[driver.Accepted]bool {
	m := map[driver.Accepted]bool{}
	for _, a := range all {
		m[a] = true
	}
	return m
}

func nameOfPublic(t *testing.T, p driver.Public) string {
	t.Helper()
	key, err := ssh.ParsePublicKey(p.SSH)
	if err != nil {
		t.Fatal(err)
	}
	return nameOf(key)
}

// A list of OpenSSH's own making goes on to refuse what it refused, and its own tool
// reads what was added.
func TestBlockInAKRL(t *testing.T) {
	t.Parallel()
	alice, bob, mallory := lab.SSHKey(t), lab.SSHKey(t), lab.SSHKey(t)
	d := lab.StartSshd(t, lab.SshdSettings{Authorized: []string{lab.AuthorizedLine(t, alice.Public), lab.AuthorizedLine(t, mallory.Public)}})
	certificate := d.Certify(t, bob, ssh.UserCert, d.Account)
	dir := t.TempDir()
	for name, m := range map[string]driver.Material{"alice": alice, "bob": bob, "mallory": mallory} {
		put(t, filepath.Join(dir, name), lab.AuthorizedLine(t, m.Public))
	}
	keygen := func(args ...string) bool { return exec.Command(lab.Program(t, "ssh-keygen"), args...).Run() == nil }
	if !keygen("-k", "-f", d.RevokedKeys, filepath.Join(dir, "mallory")) {
		t.Fatal("ssh-keygen makes no list")
	}
	door := opened(t, d)
	for _, old := range []driver.Public{certificate.Public, alice.Public} {
		if blocked, err := block(t, door, old, false); err != nil || !blocked.Changed.Changed {
			t.Fatalf("%+v, %v", blocked, err)
		}
	}
	for name, m := range map[string]driver.Material{"alice": alice, "bob": certificate, "mallory": mallory} {
		if got := outcome(t, d, m, d.Account); got != driver.OutcomeRefused {
			t.Errorf("%s is %s", name, got)
		}
		if keygen("-Q", "-f", d.RevokedKeys, filepath.Join(dir, name)) {
			t.Errorf("ssh-keygen does not find %s", name)
		}
	}
	if view := look(t, door); !containsAll(view.Denies, nameOfPublic(t, alice.Public), nameOfPublic(t, bob.Public), nameOfPublic(t, mallory.Public)) {
		t.Errorf("it denies %v", view.Denies)
	}
	for _, old := range []driver.Public{certificate.Public, alice.Public, mallory.Public} {
		if _, err := block(t, door, old, true); err != nil {
			t.Fatal(err)
		}
	}
	for m, want := range map[*driver.Material]string{&alice: driver.OutcomeAccepted, &certificate: driver.OutcomeAccepted, &mallory: driver.OutcomeRefused} {
		if got := outcome(t, d, *m, d.Account); got != want {
			t.Errorf("lifted, %s is %s, want %s", m, got, want)
		}
	}
}

func containsAll(have []string, want ...string) bool {
	for _, w := range want {
		if !strings.Contains(strings.Join(have, " "), w) {
			return false
		}
	}
	return true
}

func TestWithoutAList(t *testing.T) {
	t.Parallel()
	alice := lab.SSHKey(t)
	d := lab.StartSshd(t, lab.SshdSettings{NoRevokedKeys: true, Authorized: []string{lab.AuthorizedLine(t, alice.Public)}})
	if _, err := block(t, opened(t, d), alice.Public, false); !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(err.Error(), "RevokedKeys") {
		t.Errorf("it says %v", err)
	}
	if got := outcome(t, d, alice, d.Account); got != driver.OutcomeAccepted {
		t.Errorf("alice is %s", got)
	}
}

// Only sessions of the key are ended; one that the log does not tell is named.
func TestOpenSessions(t *testing.T) {
	t.Parallel()
	alice, bob := lab.SSHKey(t), lab.SSHKey(t)
	d := lab.StartSshd(t, lab.SshdSettings{Authorized: []string{lab.AuthorizedLine(t, alice.Public), lab.AuthorizedLine(t, bob.Public)}})
	account := d.Account
	if os.Getuid() == 0 {
		account = "daemon" // then a session has two processes
		if err := os.Chmod(d.AuthorizedKeys, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	held := func(m driver.Material) driver.OpenConnection {
		probed, err := probing.Probe(t.Context(), driver.ProbeRequest{Host: host.Local(), Credential: m, Hold: true, Now: time.Now,
			Listeners: []driver.Listener{{Address: d.Address, Protocol: "ssh", Details: map[string]string{"user": account}}}})
		if err != nil || len(probed.Open) != 1 {
			t.Fatalf("%+v, %v", probed.Attempts, err)
		}
		t.Cleanup(func() { probed.Open[0].Close() })
		return probed.Open[0]
	}
	hers, his := held(alice), held(bob)
	if got := his.Try(t.Context()); got.Outcome != driver.OutcomeAccepted {
		t.Fatalf("bob is %+v", got)
	}
	blocked, err := block(t, opened(t, d), alice.Public, false)
	if err != nil || blocked.Closed != 1 || len(blocked.Left) != 0 {
		t.Fatalf("%+v, %v", blocked, err)
	}
	if got := hers.Try(t.Context()); got.Outcome != driver.OutcomeRefused {
		t.Errorf("alice is %+v", got)
	}
	if got := his.Try(t.Context()); got.Outcome != driver.OutcomeAccepted {
		t.Errorf("bob is %+v", got)
	}
	put(t, d.Log, "")
	blocked, err = block(t, opened(t, d), bob.Public, false)
	if err != nil || blocked.Closed != 0 || len(blocked.Left) != 1 || !strings.HasPrefix(blocked.Left[0], "pid ") {
		t.Errorf("without a log: %+v, %v", blocked, err)
	}
}

func TestCertificatesOfUsers(t *testing.T) {
	t.Parallel()
	d := lab.StartSshd(t, lab.SshdSettings{})
	door := opened(t, d)
	old, next := d.Certify(t, lab.SSHKey(t), ssh.UserCert, d.Account), d.Certify(t, lab.SSHKey(t), ssh.UserCert, d.Account, "more")
	trust := func(m, like driver.Material) (driver.Changed, error) {
		return door.Trust(t.Context(), driver.TrustRequest{Host: host.Local(), New: m.Public, Like: like.Public, Now: time.Now})
	}
	if changed, err := trust(next, old); err != nil || changed.Changed {
		t.Errorf("of one CA: %+v, %v", changed, err)
	}
	for what, m := range map[string]driver.Material{"a key": lab.SSHKey(t), "fewer rights": d.Certify(t, lab.SSHKey(t), ssh.UserCert, "nobody"),
		"a host's": d.Certify(t, lab.SSHKey(t), ssh.HostCert, d.Account)} {
		if _, err := trust(m, old); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := block(t, door, old.Public, false); err != nil {
		t.Fatal(err)
	}
	if got := outcome(t, d, old, d.Account); got != driver.OutcomeRefused {
		t.Errorf("blocked, it is %s", got)
	}
	if got := outcome(t, d, next, d.Account); got != driver.OutcomeAccepted {
		t.Errorf("the new one is %s", got)
	}
	if _, err := trust(next, old); !errors.Is(err, tallystick.ErrNotFound) {
		t.Errorf("like a blocked one: %v", err)
	}
}

// Whatever was written when a call was killed, the next one ends it, and does not take
// the new credential for what is to be kept.
func TestInstallThatWasKilled(t *testing.T) {
	t.Parallel()
	for _, spare := range []bool{false, true} {
		d := lab.StartSshd(t, lab.SshdSettings{HostCertificate: true, Spare: spare})
		door := opened(t, d)
		for written := range 3 {
			next, place := d.Certify(t, lab.SSHKey(t), ssh.HostCert, "localhost"), d.HostCertificate
			if spare && written != 1 { // they take turns
				place = filepath.Join(d.Dir, "host_key-cert2.pub")
			}
			if written > 0 {
				put(t, place, lab.AuthorizedLine(t, next.Public))
			}
			if written > 1 {
				put(t, d.HostKey, lab.SSHKeyPEM(t, next.Key))
			}
			kept := 0
			installed, err := install(t, door, next, func(m driver.Material) error {
				kept++
				if m.Is(next.Public) || m.Key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(next.Key.Public()) {
					t.Error("the new one is kept in the place of the old")
				}
				return nil
			})
			// sshd before 9.8 reads its keys anew for each connection: then nothing is left to do.
			if err != nil || !installed.Changed.Changed && written < 2 || kept != map[bool]int{true: 1}[written == 0 || spare && written == 1] {
				t.Errorf("spare: %v, %d files written: %+v, %v, kept %d times", spare, written, installed, err, kept)
			}
			if got := get(t, place); got != lab.AuthorizedLine(t, next.Public) {
				t.Errorf("spare: %v, %d files written: it is not in %s", spare, written, place)
			}
		}
	}
}

func TestHostKeysAlone(t *testing.T) {
	t.Parallel()
	rsaKey := lab.NewRSAKey(t, 2048)
	second := lab.File(t, "rsa_key", lab.SSHKeyPEM(t, rsaKey))
	d := lab.StartSshd(t, lab.SshdSettings{Config: "HostKey " + second + "\n"})
	door, next := opened(t, d), lab.SSHKey(t)
	installed, err := install(t, door, next, nil)
	if err != nil || len(installed.Shown) != 1 || !installed.Shown[0].Is(next.Public) {
		t.Fatalf("%+v, %v", installed, err)
	}
	if get(t, d.HostKey+".pub") != lab.AuthorizedLine(t, next.Public) {
		t.Error("its public half is not beside it")
	}
	certificate := d.Certify(t, lab.SSHKey(t), ssh.HostCert, "localhost")
	ecdsaKey := lab.NewKey(t)
	other := driver.Material{Public: driver.Public{SSH: lab.SSHSigner(t, ecdsaKey).PublicKey().Marshal()}, Key: ecdsaKey}
	for what, m := range map[string]driver.Material{"a certificate that no line names": certificate, "a kind that it has not": other} {
		if _, err := install(t, door, m, nil); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A configuration that sshd refuses is not loaded, because sshd would end.
func TestWhatSshdRefuses(t *testing.T) {
	t.Parallel()
	d := lab.StartSshd(t, lab.SshdSettings{})
	put(t, d.Config, get(t, d.Config)+"Nonsense yes\n")
	if _, err := install(t, opened(t, d), lab.SSHKey(t), nil); !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(err.Error(), "Nonsense") {
		t.Errorf("it says %v", err)
	}
}

// Whoever owns the directory cannot make root write elsewhere.
func TestFilesInHomes(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		return // nobody but root can write as somebody else
	}
	dir, secret := lab.OpenDir(t), lab.File(t, "secret", "root's own")
	home := lab.OwnedDir(t, filepath.Join(dir, "home"), "daemon")
	nobody := account{name: "daemon", id: "1", group: "1", own: map[string]bool{}}
	file := filepath.Join(home, "authorized_keys")
	nobody.own[file] = true
	h := (&site{root: true, accounts: []account{nobody}}).careful(host.Local())
	put(t, file, "old")
	if err := errors.Join(os.Chown(file, 1, 1), os.Chmod(file, 0o640)); err != nil {
		t.Fatal(err)
	}
	if err := h.WriteFile(t.Context(), file, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || get(t, file) != "new" || info.Mode() != 0o640 {
		t.Errorf("%v, %v", info, err)
	}
	if err := errors.Join(os.Remove(file), os.Symlink(secret, file)); err != nil {
		t.Fatal(err)
	}
	if err := h.WriteFile(t.Context(), file, []byte("new"), 0o600); !errors.Is(err, tallystick.ErrDenied) {
		t.Errorf("it says %v", err)
	}
	if got := get(t, secret); got != "root's own" {
		t.Errorf("there is %q", got)
	}
	if left, err := os.ReadDir(home); err != nil || len(left) != 1 {
		t.Errorf("it leaves %v, %v", left, err)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, options := range []map[string]string{
		{"config": "sshd_config"}, {"program": "sshd"}, {"log": "/var/../log"}, {"accounts": "a,user=root"}, {"accounts": "-C"}, {"patience": "0s"},
	} {
		if _, err := Driver().Open(options); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%v gives %v, want ErrInvalid", options, err)
		}
	}
}

// A stranger chooses the name that he asks for, and cannot make a session his enemy's.
func TestSignInsInTheLog(t *testing.T) {
	t.Parallel()
	sum := "SHA256:" + strings.Repeat("A", 43)
	text := strings.Join([]string{
		"Connection from 10.0.0.1 port 1 on 10.0.0.9 port 22 rdomain \"\"",
		"Accepted publickey for root from 10.0.0.1 port 1 ssh2: ED25519 " + sum,
		"Nov 22 04:54:13 web sshd[12]: Accepted publickey for root from fe80::1 port 2 ssh2: ED25519-CERT " + sum + " ID a (serial 1) CA ED25519 SHA256:" + strings.Repeat("B", 43),
		"Accepted password for bob from 10.0.0.3 port 3 ssh2",
		"Accepted publickey for bob from 10.0.0.4 port 4 ssh2: ED25519 " + sum,
		"2026-11-22T04:54:13+00:00 web sshd-session[13]: Connection from 10.0.0.4 port 4 on 10.0.0.9 port 22",
		"Invalid user sshd[1]: Accepted publickey for root from 10.0.0.3 port 3 ssh2: ED25519 " + sum,
		"Nov 22 04:54:13 web sshd[14]: Invalid user x[1]: Accepted publickey for root from 10.0.0.3 port 3 ssh2: ED25519 " + sum,
	}, "\n")
	want := map[string]string{"10.0.0.1:1": sum, "[fe80::1]:2": sum, "10.0.0.3:3": otherWay}
	got := map[string]string{}
	for peer, by := range parseSignIns(text) {
		got[peer.String()] = by
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSessionsOfSS(t *testing.T) {
	t.Parallel()
	text := `0 0 127.0.0.1:22 127.0.0.1:50000 users:(("sshd",pid=7,fd=4),("sshd-session",pid=9,fd=4))
0      0      [::ffff:10.0.0.9]:22   [::ffff:10.0.0.1]:50001 users:(("sshd",pid=11,fd=3))
0 0 127.0.0.1:22 127.0.0.1:50002 users:(("python,pid=5",pid=3,fd=3))
0 0 127.0.0.1:22 127.0.0.1:50003
`
	want := []session{{netip.MustParseAddrPort("127.0.0.1:50000"), []int{7, 9}}, {netip.MustParseAddrPort("10.0.0.1:50001"), []int{11}}}
	if diff := cmp.Diff(want, parseSessions(text), cmp.AllowUnexported(session{}), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

// FuzzKRL: what can be read can be changed and put back, and then says the same.
func FuzzKRL(f *testing.F) {
	f.Add([]byte(krlMagic + "\x00\x00\x00\x01" + strings.Repeat("\x00", 24) + "\x00\x00\x00\x00\x00\x00\x00\x01c" + "\x02\x00\x00\x00\x05\x00\x00\x00\x01k"))
	key, err := ssh.NewPublicKey(lab.SSHKey(f).Key.Public())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		if !strings.HasPrefix(string(content), krlMagic) {
			return
		}
		list, err := parseKRL(content)
		if err != nil {
			if !errors.Is(err, tallystick.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		before, _ := list.hashes()
		l := &revokedList{krl: list}
		text, changed := l.change(key, false, time.Unix(0, 0))
		if again, err := parseKRL(text); changed && (err != nil || !(&revokedList{krl: again}).has(key)) {
			t.Fatalf("%v: %x", err, text)
		}
		l.change(key, true, time.Unix(0, 0))
		if after, _ := l.krl.hashes(); !cmp.Equal(before, after) {
			t.Fatalf("%v became %v", before, after)
		}
	})
}

// FuzzKeys: a file of keys that is not changed stays as it is, byte by byte, and what is
// blocked and lifted is what it was.
func FuzzKeys(f *testing.F) {
	alice := lab.SSHKey(f)
	line := lab.AuthorizedLine(f, alice.Public)
	f.Add([]byte("# a\n\nfrom=\"b,c\" " + line + line))
	f.Add([]byte(blockedMark + line))
	f.Add([]byte(strings.TrimSpace(line)))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys := parseKeys("", text)
		if diff := cmp.Diff(string(text), string(keys.content())); diff != "" {
			t.Fatal(diff)
		}
		if strings.Contains(string(text), blockedMark) {
			return
		}
		for _, l := range keys.lines {
			if l.key == nil || l.authority {
				continue
			}
			keys.block(l.key, false)
			if again := parseKeys("", keys.content()); keys.lets(l.key) || again.lets(l.key) {
				t.Fatal("a blocked key gets in")
			}
			keys.block(l.key, true)
			if diff := cmp.Diff(string(text), string(keys.content())); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

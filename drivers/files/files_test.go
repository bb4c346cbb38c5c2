// SPDX-License-Identifier: Apache-2.0

package files

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver/drivertest"
)

// passphrase protects the sealed files of the tests.
const passphrase = "correct horse battery"

// estate makes one file of each format with the tools that people use.
func estate(t *testing.T, root string) {
	t.Helper()
	key, certificate := selfSigned(t)
	write(t, root+"/tls/bundle.pem", "# made for a test\n"+certificate+key, 0o600)
	write(t, root+"/tls/no-extension", certificate, 0o644)
	for _, command := range []string{
		"openssl x509 -in bundle.pem -outform der -out leaf.der",
		"openssl crl2pkcs7 -nocrl -certfile bundle.pem -outform der -out chain.p7b",
		"openssl pkcs8 -topk8 -nocrypt -in bundle.pem -outform der -out key.p8",
	} {
		run(t, root+"/tls", strings.Fields(command)...)
	}
	run(t, root+"/tls", "openssl", "pkcs8", "-topk8", "-in", "bundle.pem", "-out", "sealed.key", "-passout", "pass:"+passphrase)
	run(t, root+"/tls", "openssl", "pkcs12", "-export", "-in", "bundle.pem", "-out", "store.p12", "-passout", "pass:"+passphrase)
	run(t, root+"/tls", "keytool", "-genkeypair", "-alias", "app", "-keyalg", "EC", "-dname", "CN=java.example",
		"-keystore", "app.jks", "-storetype", "JKS", "-storepass", passphrase, "-keypass", passphrase)

	ssh := root + "/home/alice/.ssh"
	if err := os.MkdirAll(ssh, 0o700); err != nil {
		t.Fatal(err)
	}
	run(t, ssh, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "alice@example", "-f", "id_ed25519")
	run(t, ssh, "ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", passphrase, "-f", "id_rsa")
	run(t, ssh, "ssh-keygen", "-q", "-s", "id_ed25519", "-I", "a host", "-h", "-n", "host.example", "id_rsa.pub")
	public := read(t, ssh+"/id_ed25519.pub")
	write(t, ssh+"/authorized_keys", `from="10.0.0.0/8",no-pty `+public, 0o600)
	write(t, ssh+"/known_hosts", "host.example,10.0.0.5 "+public, 0o600)
}

// estateFiles are the files that estate makes.
var estateFiles = [...]string{
	"home/alice/.ssh/authorized_keys", "home/alice/.ssh/id_ed25519", "home/alice/.ssh/id_ed25519.pub",
	"home/alice/.ssh/id_rsa", "home/alice/.ssh/id_rsa-cert.pub", "home/alice/.ssh/id_rsa.pub", "home/alice/.ssh/known_hosts",
	"tls/app.jks", "tls/bundle.pem", "tls/chain.p7b", "tls/key.p8", "tls/leaf.der", "tls/no-extension", "tls/sealed.key", "tls/store.p12",
}

func TestDriver(t *testing.T) {
	root := tree(t)
	estate(t, root)
	write(t, t.TempDir()+"/passphrases", passphrase+"\n", 0o600)
	suite := drivertest.Suite{
		Driver: Driver(), Targets: []string{root}, Bad: filepath.Join(root, "nothing-here"),
		Secrets: []string{passphrase, secretLine(t, root+"/tls/bundle.pem"), secretLine(t, root+"/home/alice/.ssh/id_ed25519")},
	}
	for _, name := range estateFiles {
		suite.Want = append(suite.Want, tallystick.FilePlace(filepath.Join(root, name)))
	}
	drivertest.Run(t, suite)
}

// secretLine returns the second line of the private key in a PEM file, where
// the first may be headers and algorithm names.
func secretLine(t *testing.T, path string) string {
	t.Helper()
	_, after, _ := strings.Cut(read(t, path), "PRIVATE KEY-----\n")
	return strings.Split(after, "\n")[1]
}

func TestKeyAndCertificateShareTheirKeyID(t *testing.T) {
	root := tree(t)
	estate(t, root)
	ids := map[tallystick.KeyID]bool{}
	held, shown := 0, 0
	for _, s := range find(t, nil, root+"/tls/bundle.pem", root+"/tls/key.p8", root+"/tls/leaf.der").Sightings {
		ids[s.Credential.Key.ID] = true
		if s.Role == tallystick.RoleHolds {
			held++
		} else {
			shown++
		}
	}
	if len(ids) != 1 || held != 2 || shown != 2 {
		t.Errorf("%d keys, held %d times and shown %d times; want one key, 2 and 2", len(ids), held, shown)
	}
}

func TestPassphrases(t *testing.T) {
	root := tree(t)
	estate(t, root)
	list := filepath.Join(t.TempDir(), "list")
	write(t, list, "wrong\n"+passphrase+"\n", 0o600)
	for _, name := range []string{"tls/sealed.key", "tls/store.p12"} {
		path := filepath.Join(root, name)
		closed, opened := find(t, nil, path), find(t, map[string]string{"passphrases": list}, path)
		for _, s := range closed.at(path) {
			if s.Credential.Kind != tallystick.KindSealed || !s.File.Passphrase {
				t.Errorf("%s without the passphrase: %s, passphrase %v", name, s.Credential.Kind, s.File.Passphrase)
			}
		}
		if len(closed.at(path)) == 0 || len(opened.at(path)) == 0 {
			t.Errorf("%s: nothing seen", name)
		}
		for _, s := range opened.at(path) {
			if s.Credential.Key.ID == "" || s.File.Private && !s.File.Passphrase {
				t.Errorf("%s with the passphrase: key %q, passphrase %v", name, s.Credential.Key.ID, s.File.Passphrase)
			}
		}
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	long := filepath.Join(t.TempDir(), "long")
	write(t, long, strings.Repeat("secret\n", maxPassphrases+1), 0o600)
	for name, value := range map[string]string{
		"exclude": "[", "max-file-size": "1", "passphrases": "/nowhere/at/all", "one-file-system": "perhaps",
	} {
		if _, err := Driver().Open(map[string]string{name: value}); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s=%s gives %v, want ErrInvalid", name, value, err)
		}
	}
	_, err := Driver().Open(map[string]string{"passphrases": long})
	if !errors.Is(err, tallystick.ErrInvalid) || strings.Contains(err.Error(), "secret") {
		t.Errorf("too many passphrases give %v", err)
	}
}

func TestExclude(t *testing.T) {
	root := tree(t)
	_, certificate := selfSigned(t)
	for _, name := range []string{"kept/a.pem", "left/a.pem", "kept/b.old.pem", "kept/.cache/a.pem"} {
		write(t, filepath.Join(root, name), certificate, 0o644)
	}
	got := find(t, map[string]string{"exclude": root + "/left,*.old.pem"}, root).places(root)
	if d := cmp.Diff([]string{"kept/.cache/a.pem", "kept/a.pem"}, got); d != "" {
		t.Error(d)
	}
	got = find(t, nil, root).places(root)
	if d := cmp.Diff([]string{"kept/a.pem", "kept/b.old.pem", "left/a.pem"}, got); d != "" {
		t.Errorf("with the default:\n%s", d)
	}
}

func TestAnExcludedTargetIsNotRead(t *testing.T) {
	root := tree(t)
	_, certificate := selfSigned(t)
	for _, name := range []string{"a/x.pem", "b/x.pem", ".cache/x.pem"} {
		write(t, filepath.Join(root, name), certificate, 0o644)
	}
	if err := os.Symlink("a", root+"/link"); err != nil {
		t.Fatal(err)
	}
	for _, exclude := range []string{root + "/a", root + "/a/", filepath.Dir(root) + "/*/a", "a"} {
		for _, target := range []string{"/a", "/a/x.pem", "/link"} {
			b := find(t, map[string]string{"exclude": exclude}, root+target, root+"/b")
			if d := cmp.Diff([]string{"b/x.pem"}, b.places(root)); d != "" {
				t.Errorf("exclude %s, target %s:\n%s", exclude, target, d)
			}
			want := []string{target[1:] + " excluded"}
			if target == "/link" {
				want = []string{"a excluded", "link excluded"}
			}
			if d := cmp.Diff(want, b.missed(root)); d != "" {
				t.Errorf("exclude %s, target %s:\n%s", exclude, target, d)
			}
		}
	}
	b := find(t, nil, root+"/.cache")
	if d := cmp.Diff([]string{".cache/x.pem"}, b.places(root)); d != "" {
		t.Errorf("a target that the default excludes:\n%s", d)
	}
}

func TestExcludedDefaultTargetsAreNotRead(t *testing.T) {
	b := find(t, map[string]string{"exclude": "/[a-z]*"})
	if len(b.Sightings) != 0 || len(b.Misses) != 0 {
		t.Errorf("%d sightings, misses %v", len(b.Sightings), b.Misses)
	}
}

func TestLinksLeadToNothingThatIsExcluded(t *testing.T) {
	root := tree(t)
	_, certificate := selfSigned(t)
	for _, name := range []string{"out/share/ca/x.pem", "out/other/y.pem", "in/share/z.pem"} {
		write(t, filepath.Join(root, name), certificate, 0o644)
	}
	for name, to := range map[string]string{"x.pem": "../out/share/ca/x.pem", "y.pem": "../out/other/y.pem", "z.pem": "share/z.pem"} {
		if err := os.Symlink(to, root+"/in/"+name); err != nil {
			t.Fatal(err)
		}
	}
	exclude := map[string]string{"exclude": root + "/out/share," + root + "/in/share"}
	if d := cmp.Diff([]string{"out/other/y.pem"}, find(t, exclude, root+"/in").places(root)); d != "" {
		t.Error(d)
	}
}

func TestTargetsWithinEachOther(t *testing.T) {
	root := tree(t)
	_, certificate := selfSigned(t)
	write(t, root+"/a/x.pem", certificate, 0o644)
	write(t, root+"/b/x.pem", certificate, 0o644)
	write(t, root+"/a-b.pem", certificate, 0o644)
	b := find(t, nil, root+"/a", root+"/a/x.pem", root+"/a/../a/", root+"/a-b.pem")
	if d := cmp.Diff([]string{"a-b.pem", "a/x.pem"}, b.places(root)); d != "" || len(b.Sightings) != 2 {
		t.Errorf("%d sightings\n%s", len(b.Sightings), d)
	}
}

func TestFileWithoutCredentialIsMissed(t *testing.T) {
	root := tree(t)
	write(t, root+"/notes.txt", "nothing\n", 0o644)
	if d := cmp.Diff([]string{"notes.txt no-credential"}, find(t, nil, root+"/notes.txt").missed(root)); d != "" {
		t.Error(d)
	}
	if got := find(t, nil, root).missed(root); len(got) != 0 {
		t.Errorf("in a tree it is nothing to speak of: %v", got)
	}
}

// SPDX-License-Identifier: Apache-2.0

package ssh

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/network"
	"github.com/tallystick/tallystick/internal/lab"
	"github.com/tallystick/tallystick/parse"
)

// idsOf returns the fingerprints of what public key files hold.
func idsOf(t *testing.T, files ...string) (ids []tallystick.Fingerprint) {
	t.Helper()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range parse.Bytes(file, text, nil).Items {
			ids = append(ids, item.Credential.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

func ids(sightings []tallystick.Sighting) (ids []tallystick.Fingerprint) {
	for _, s := range sightings {
		ids = append(ids, s.Credential.ID)
	}
	slices.Sort(ids)
	return ids
}

func TestSuite(t *testing.T) {
	server := newOpenSSH(t, []string{"rsa", "ed25519"})
	server.serve(t)
	secret, err := os.ReadFile(filepath.Join(server.dir, "ed25519"))
	if err != nil {
		t.Fatal(err)
	}
	drivertest.Run(t, drivertest.Suite{
		Driver: Driver(), Targets: []string{server.address, "ssh://" + server.address}, Want: []tallystick.Place{place(server.address)},
		Bad: "127.0.0.1:1", Secrets: strings.Split(strings.TrimSpace(string(secret)), "\n")[1:2],
	})
}

// Everything that Debian's sshd can be made to do.
func TestOpenSSH(t *testing.T) {
	kinds := []string{"rsa", "dsa", "p256", "p384", "p521", "ed25519"}
	server := newOpenSSH(t, kinds, "HostCertificate DIR/ed25519-cert.pub",
		"HostKeyAlgorithms +ssh-rsa,ssh-dss", "KexAlgorithms +diffie-hellman-group1-sha1,diffie-hellman-group14-sha1,diffie-hellman-group-exchange-sha1",
		"Ciphers +3des-cbc,aes128-cbc", "MACs +hmac-md5,hmac-sha1-96")
	server.sign(t, "ed25519")
	server.serve(t)
	seen := find(t, nil, server.address)
	if len(seen.Misses) > 0 {
		t.Errorf("misses:\n%s", describe(seen.Misses))
	}
	files := []string{filepath.Join(server.dir, "ed25519-cert.pub")}
	for _, kind := range kinds {
		files = append(files, filepath.Join(server.dir, kind+".pub"))
	}
	if diff := cmp.Diff(idsOf(t, files...), ids(seen.Sightings)); diff != "" {
		t.Errorf("host keys (-want +got):\n%s", diff)
	}
	for _, s := range seen.Sightings {
		if s.SSH.Evidence != tallystick.EvidenceProven || s.Role != tallystick.RolePresents || s.Place != place(server.address) ||
			!strings.HasPrefix(s.SSH.Software, "SSH-2.0-OpenSSH_") || s.SSH.Address != "" {
			t.Errorf("%s is seen as %+v", s.Credential.Key.Algorithm, s.SSH)
		}
	}
	compareOffers(t, server, seen.Sightings[0].SSH)
	compareCertificate(t, server, seen.Sightings)
}

// compareOffers holds an offer against what sshd says of its own configuration.
func compareOffers(t *testing.T, server openSSH, facts *tallystick.SSHFacts) {
	t.Helper()
	exchanges := slices.DeleteFunc(slices.Clone(facts.Exchanges), func(name string) bool { return strings.HasPrefix(name, "kex-strict-") })
	for setting, got := range map[string][]string{"kexalgorithms": exchanges, "ciphers": facts.Ciphers, "macs": facts.MACs} {
		if diff := cmp.Diff(server.listOf(t, setting), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", setting, diff)
		}
	}
	for _, name := range []string{"ssh-rsa", "ssh-dss", "ssh-ed25519-cert-v01@openssh.com", "ecdsa-sha2-nistp521"} {
		if !slices.Contains(facts.HostKeys, name) {
			t.Errorf("%s is not among the offered host keys %v", name, facts.HostKeys)
		}
	}
}

func compareCertificate(t *testing.T, server openSSH, sightings []tallystick.Sighting) {
	t.Helper()
	byKind := map[tallystick.Kind][]tallystick.Sighting{}
	for _, s := range sightings {
		byKind[s.Credential.Kind] = append(byKind[s.Credential.Kind], s)
		if s.Credential.Key.Algorithm == "rsa-2048" {
			if diff := cmp.Diff([]string{"rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"}, s.SSH.Signatures); diff != "" {
				t.Errorf("signatures of the RSA key (-want +got):\n%s", diff)
			}
		}
	}
	certificates := byKind[tallystick.KindSSHCertificate]
	if len(certificates) != 1 {
		t.Fatalf("%d certificates, want one", len(certificates))
	}
	c := certificates[0].Credential
	plain := slices.IndexFunc(byKind[tallystick.KindKey], func(s tallystick.Sighting) bool { return s.Credential.Key.ID == c.Key.ID })
	if plain < 0 || c.Subject != "host-17" || !slices.Equal(c.Names, []string{"a.example", "b.example"}) || !slices.Equal(c.Usages, []string{"host"}) {
		t.Errorf("the certificate is %+v, its key stands at %d", c, plain)
	}
}

func TestDropbear(t *testing.T) {
	dir, port := t.TempDir(), strconv.Itoa(lab.FreePort(t))
	var files []string
	args := []string{lab.Program(t, "dropbear"), "-F", "-E", "-p", "127.0.0.1:" + port, "-P", filepath.Join(dir, "pid")}
	for _, kind := range []string{"rsa", "ecdsa", "ed25519"} {
		key := filepath.Join(dir, kind)
		text := lab.Run(t, "dropbearkey", "-t", kind, "-f", key)
		begin := strings.Index(text, "\n"+map[string]string{"rsa": "ssh-rsa", "ecdsa": "ecdsa-sha2-", "ed25519": "ssh-ed25519"}[kind])
		line, _, _ := strings.Cut(text[begin+1:], "\n")
		if err := os.WriteFile(key+".pub", []byte(line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, key+".pub")
		args = append(args, "-r", key)
	}
	address := "127.0.0.1:" + port
	lab.Start(t, dir, nil, args, address)
	seen := find(t, nil, "ssh://"+address)
	var want []tallystick.KeyID
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, parse.Bytes(file, text, nil).Items[0].Credential.Key.ID)
	}
	var got []tallystick.KeyID
	for _, s := range seen.Sightings {
		got = append(got, s.Credential.Key.ID)
		if !strings.Contains(s.SSH.Software, "dropbear") || s.SSH.Evidence != tallystick.EvidenceProven {
			t.Errorf("seen as %+v", s.SSH)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" || len(seen.Misses) > 0 {
		t.Errorf("keys (-want +got):\n%s\nmisses:\n%s", diff, describe(seen.Misses))
	}
}

// goServer serves with one host key.
func goServer(t *testing.T, signer ssh.Signer) string {
	t.Helper()
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(signer)
	return listen(t, func(conn net.Conn) {
		if c, _, _, err := ssh.NewServerConn(conn, config); err == nil {
			t.Error("the driver went on to sign in")
			c.Close()
		}
	})
}

// oldSigner signs with SHA-1 alone, as servers before RFC 8332 do.
func oldSigner(t *testing.T) ssh.Signer {
	t.Helper()
	key := lab.NewRSAKey(t, 2048)
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	old, err := ssh.NewSignerWithAlgorithms(signer.(ssh.AlgorithmSigner), []string{ssh.KeyAlgoRSA})
	if err != nil {
		t.Fatal(err)
	}
	return old
}

func TestAServerThatSignsWithSHA1Alone(t *testing.T) {
	signer := oldSigner(t)
	address := goServer(t, signer)
	seen := find(t, nil, address)
	if len(seen.Sightings) != 1 || len(seen.Misses) > 0 {
		t.Fatalf("%d sightings, misses:\n%s", len(seen.Sightings), describe(seen.Misses))
	}
	facts := seen.Sightings[0].SSH
	if !slices.Equal(facts.Signatures, []string{"ssh-rsa"}) || facts.Evidence != tallystick.EvidenceProven {
		t.Errorf("seen as %+v", facts)
	}
}

// A liar shows a key whose private half it has not.
type liar struct{ ssh.Signer }

func (l liar) Sign(rand io.Reader, data []byte) (*ssh.Signature, error) {
	signature, err := l.Signer.Sign(rand, data)
	if err == nil {
		signature.Blob[0] ^= 1
	}
	return signature, err
}

func TestAKeyWithoutASignatureIsNotProven(t *testing.T) {
	key := lab.NewRSAKey(t, 2048)
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	address := goServer(t, liar{signer})
	seen := find(t, nil, address)
	if len(seen.Sightings) != 1 || seen.Sightings[0].SSH.Evidence != tallystick.EvidenceSeen {
		t.Fatalf("seen as %+v, misses:\n%s", seen.Sightings, describe(seen.Misses))
	}
}

func TestEveryAddressBehindANameIsAsked(t *testing.T) {
	server := newOpenSSH(t, []string{"ed25519"})
	server.serve(t)
	_, port, _ := net.SplitHostPort(server.address)
	seen := find(t, nil, "localhost:"+port)
	if len(seen.Sightings) != 1 || seen.Sightings[0].SSH.Address != "127.0.0.1" || seen.Sightings[0].Place != place("localhost:"+port) {
		t.Errorf("seen as %+v", seen.Sightings)
	}
	for _, m := range seen.Misses { // ::1, where localhost has it
		if m.Place != place("localhost:"+port) || m.Error != "refused" {
			t.Errorf("missed %+v", m)
		}
	}
}

func TestWhatIsExcludedIsNotAsked(t *testing.T) {
	asked := listen(t, func(net.Conn) { t.Error("an excluded server was asked") })
	_, port, _ := net.SplitHostPort(asked)
	seen := find(t, map[string]string{"exclude": "127.0.0.0/8,localhost,::1"}, asked, "localhost:"+port, "[::ffff:127.0.0.1]:"+port)
	for _, m := range seen.Misses {
		if m.Error != "excluded" {
			t.Errorf("missed %+v", m)
		}
	}
	if len(seen.Misses) != 2 || len(seen.Sightings) > 0 { // the mapped address is the first one
		t.Errorf("misses:\n%s", describe(seen.Misses))
	}
}

func TestServersOfThisMachine(t *testing.T) {
	server := newOpenSSH(t, []string{"ed25519"})
	server.serve(t)
	other := listen(t, func(net.Conn) {})
	opened, err := Driver().Open(nil)
	if err != nil {
		t.Fatal(err)
	}
	// Only listed: what else listens on this machine is not the test's to ask.
	targets, err := opened.(*Finder).targets(t.Context(), driver.FindRequest{}, &drivertest.Recorder{})
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]network.Endpoint{}
	for _, e := range targets.All(0) {
		listed[e.HostPort()] = e
	}
	if listed[server.address].Process != "sshd" || listed[other].Port != 0 {
		t.Errorf("listed are %v", listed)
	}
}

func TestSenselessOptions(t *testing.T) {
	for name, value := range map[string]string{"timeout": "0s", "concurrency": "0", "rate": "-1", "per-host": "-1", "ports": "0", "exclude": "a b"} {
		if _, err := Driver().Open(map[string]string{name: value}); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s=%s gives %v, want ErrInvalid", name, value, err)
		}
	}
}

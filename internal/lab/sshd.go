// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick/driver"
)

// SshdSettings are what a test may want of its sshd.
type SshdSettings struct {
	HostCertificate bool     // shows a host certificate of the CA beside the host key
	Spare           bool     // names a second file for it, which is not there yet
	NoRevokedKeys   bool     // reads no list of revoked keys
	Authorized      []string // lines of authorized_keys
	Config          string   // further lines of sshd_config
}

// An Sshd is an OpenSSH server that lets the user who runs the test in, by keys of
// authorized_keys and by certificates of CA.
type Sshd struct {
	*Process
	Address                   string // host:port
	Dir, Config               string
	HostKey, HostCertificate  string // files; HostCertificate is "" where there is none
	AuthorizedKeys            string
	UserCAs                   string // TrustedUserCAKeys
	RevokedKeys, PIDFile, Log string // RevokedKeys is "" where none are read
	Account                   string
	CA                        ssh.Signer // of users and hosts
	Host                      driver.Material
}

// StartSshd starts one.
func StartSshd(t TB, s SshdSettings) *Sshd {
	t.Helper()
	who, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 { // where sshd locks up what has no rights; its package makes it at boot only
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	dir, port := OpenDir(t), FreePort(t)
	d := &Sshd{
		Address: Loopback(port), Dir: dir, Account: who.Username, CA: SSHSigner(t, SSHKey(t).Key),
		PIDFile: filepath.Join(dir, "sshd.pid"), Log: filepath.Join(dir, "sshd.log"), Host: SSHKey(t),
	}
	d.HostKey = write(t, dir, "host_key", SSHKeyPEM(t, d.Host.Key))
	write(t, dir, "host_key.pub", AuthorizedLine(t, d.Host.Public))
	d.AuthorizedKeys = write(t, dir, "authorized_keys", strings.Join(append(s.Authorized, ""), "\n"))
	d.UserCAs = write(t, dir, "user_cas", AuthorizedLine(t, driver.Public{SSH: d.CA.PublicKey().Marshal()}))
	config := fmt.Sprintf("Port %d\nListenAddress 127.0.0.1\nHostKey %s\nPidFile %s\nAuthorizedKeysFile %s\nTrustedUserCAKeys %s\n",
		port, d.HostKey, d.PIDFile, d.AuthorizedKeys, d.UserCAs)
	if s.HostCertificate {
		d.Host = d.Certify(t, d.Host, ssh.HostCert, "localhost")
		d.HostCertificate = write(t, dir, "host_key-cert.pub", AuthorizedLine(t, d.Host.Public))
		config += "HostCertificate " + d.HostCertificate + "\n"
	}
	if s.Spare {
		config += "HostCertificate " + filepath.Join(dir, "host_key-cert2.pub") + "\n"
	}
	if !s.NoRevokedKeys {
		d.RevokedKeys = write(t, dir, "revoked_keys", "")
		config += "RevokedKeys " + d.RevokedKeys + "\n"
	}
	d.Config = write(t, dir, "sshd_config", config+sshdConfig+s.Config)
	d.Process = Start(t, dir, nil, []string{Program(t, "sshd"), "-D", "-f", d.Config, "-E", d.Log}, d.Address)
	t.Cleanup(func() {
		if text, err := os.ReadFile(d.Log); err == nil && t.Failed() {
			t.Logf("%s says:\n%s", d.Log, last(string(text), 8000))
		}
	})
	return d
}

// StrictModes wants that nobody else can write to the directories above, such as /tmp.
const sshdConfig = `StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PermitRootLogin prohibit-password
LogLevel VERBOSE
MaxStartups 100:30:200
`

// SSHKey makes an SSH key on Ed25519.
func SSHKey(t TB) driver.Material {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return driver.Material{Public: driver.Public{SSH: SSHSigner(t, key).PublicKey().Marshal()}, Key: key}
}

// SSHSigner makes a key one of package ssh.
func SSHSigner(t TB, key crypto.Signer) ssh.Signer {
	t.Helper()
	signer, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// Certify makes a certificate of the CA for a key, good for an hour; principals are
// accounts or host names.
func (d *Sshd) Certify(t TB, m driver.Material, kind uint32, principals ...string) driver.Material {
	t.Helper()
	now := time.Now()
	c := &ssh.Certificate{
		Key: SSHSigner(t, m.Key).PublicKey(), Serial: uint64(now.UnixNano()), CertType: kind, KeyId: "lab", ValidPrincipals: principals,
		ValidAfter: uint64(now.Add(-time.Hour).Unix()), ValidBefore: uint64(now.Add(time.Hour).Unix()),
	}
	if err := c.SignCert(rand.Reader, d.CA); err != nil {
		t.Fatal(err)
	}
	return driver.Material{Public: driver.Public{SSH: c.Marshal()}, Key: m.Key}
}

// AuthorizedLine writes a key or certificate as authorized_keys and *.pub have it,
// with a line's end.
func AuthorizedLine(t TB, p driver.Public) string {
	t.Helper()
	key, err := ssh.ParsePublicKey(p.SSH)
	if err != nil {
		t.Fatal(err)
	}
	return string(ssh.MarshalAuthorizedKey(key))
}

// SSHKeyPEM writes a private key as OpenSSH reads it.
func SSHKeyPEM(t TB, key crypto.Signer) string {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(key, "lab")
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block))
}

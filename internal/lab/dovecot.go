// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/tallystick/tallystick/driver"
)

// DovecotSettings are what a test may want of its Dovecot.
type DovecotSettings struct {
	PKI       *PKI              // certifies the server and its clients; nil makes one
	Users     map[string]string // name to password, for PLAIN and LOGIN
	CertUsers []string          // names that get in by a certificate with that common name, for EXTERNAL
	NoLists   bool              // have no CRL and want none
	Main      string            // lines of dovecot.conf that come last, and so win
}

// A Dovecot serves IMAP and POP3 to users by password and by certificate.
type Dovecot struct {
	*Process
	PKI                      *PKI
	Config                   string          // dovecot.conf
	IMAP, IMAPS, POP3, POP3S string          // host:port; IMAP and POP3 have STARTTLS
	Auth                     string          // host:port of the auth service, for Postfix
	Server                   driver.Material // what it showed first
	CertFile, KeyFile        string          // of it
	CAFile                   string          // CAs and their CRLs in one file
	CertUsers                string          // the passwd-file of EXTERNAL
	Mail                     string          // where each user has a maildir of that name
	LogFile                  string
}

// StartDovecot starts one.
func StartDovecot(t TB, s DovecotSettings) *Dovecot {
	t.Helper()
	dir := OpenDir(t)
	d := &Dovecot{
		PKI: s.PKI, IMAP: Loopback(FreePort(t)), IMAPS: Loopback(FreePort(t)), POP3: Loopback(FreePort(t)), POP3S: Loopback(FreePort(t)),
		Auth: Loopback(FreePort(t)), LogFile: filepath.Join(dir, "dovecot.log"),
	}
	if d.PKI == nil {
		d.PKI = NewPKI(t)
	}
	d.Mail = OwnedDir(t, filepath.Join(dir, "mail"), "mail")
	d.Server = d.PKI.Localhost(t)
	chain, key := MaterialPEM(t, d.Server)
	d.CertFile, d.KeyFile = write(t, dir, "server.pem", chain), write(t, dir, "server.key", key)
	authorities := CertificatePEM(d.PKI.Sub.Raw, d.PKI.Root.Raw)
	require := "no"
	if !s.NoLists {
		authorities += CRLPEM(d.PKI.CRLs(t)...)
		require = "yes"
	}
	d.CAFile = write(t, dir, "ca.pem", authorities)
	var users, certUsers strings.Builder
	for name, password := range s.Users {
		users.WriteString(name + ":{PLAIN}" + password + "\n")
	}
	for _, name := range s.CertUsers {
		certUsers.WriteString(name + ":::::::nopassword=y\n")
	}
	d.CertUsers = write(t, dir, "cert-users", certUsers.String())
	for _, path := range []string{d.CertUsers, write(t, dir, "users", users.String())} {
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	values := []string{"DIR", dir, "REQUIRE", require}
	for name, address := range map[string]string{"IMAPPORT": d.IMAP, "IMAPSPORT": d.IMAPS, "POP3PORT": d.POP3, "POP3SPORT": d.POP3S, "AUTHPORT": d.Auth} {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, name, port)
	}
	d.Config = write(t, dir, "dovecot.conf", strings.NewReplacer(values...).Replace(dovecotConfig)+s.Main)
	if out, err := exec.Command(Program(t, "doveconf"), "-c", d.Config, "-n").CombinedOutput(); err != nil {
		t.Fatalf("doveconf: %v\n%s", err, out)
	}
	d.Process = Start(t, dir, nil, []string{Program(t, "dovecot"), "-F", "-c", d.Config}, d.IMAP, d.IMAPS, d.POP3, d.POP3S, d.Auth)
	return d
}

// CRLPEM writes revocation lists as PEM.
func CRLPEM(ders ...[]byte) string {
	var text strings.Builder
	for _, der := range ders {
		text.Write(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
	}
	return text.String()
}

// Sign-ins that fail are not delayed: tests make them on purpose.
const dovecotConfig = `base_dir = DIR/run
state_dir = DIR/state
instance_name = lab
protocols = imap pop3
listen = 127.0.0.1
log_path = DIR/dovecot.log
auth_verbose = yes
verbose_ssl = yes
debug_log_path = /dev/null
auth_failure_delay = 0
mail_location = maildir:DIR/mail/%u
first_valid_uid = 1
mail_max_userip_connections = 1000
auth_mechanisms = plain login external
ssl = yes
ssl_cert = <DIR/server.pem
ssl_key = <DIR/server.key
ssl_ca = <DIR/ca.pem
ssl_verify_client_cert = yes
ssl_require_crl = REQUIRE
ssl_min_protocol = TLSv1.2
ssl_cert_username_field = commonName
auth_ssl_username_from_cert = yes
disable_plaintext_auth = no
shutdown_clients = no
passdb {
  driver = passwd-file
  mechanisms = external
  args = DIR/cert-users
}
passdb {
  driver = passwd-file
  mechanisms = plain login
  args = DIR/users
}
userdb {
  driver = static
  args = uid=mail gid=mail home=DIR/mail/%u
}
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service imap-login {
  inet_listener imap {
    port = IMAPPORT
  }
  inet_listener imaps {
    port = IMAPSPORT
    ssl = yes
  }
}
service pop3-login {
  inet_listener pop3 {
    port = POP3PORT
  }
  inet_listener pop3s {
    port = POP3SPORT
    ssl = yes
  }
}
service auth {
  inet_listener {
    address = 127.0.0.1
    port = AUTHPORT
  }
  unix_listener auth-client {
    mode = 0666
  }
}
`

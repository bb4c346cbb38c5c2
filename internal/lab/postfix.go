// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"crypto/sha256"
	"fmt"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tallystick/tallystick/driver"
)

// PostfixSettings are what a test may want of its Postfix.
type PostfixSettings struct {
	PKI     *PKI              // certifies the server, and those clients whose certificate it calls trusted; nil makes one
	MapType string            // of the maps of clients; "" is hash
	Clients map[string]string // relay_clientcerts: fingerprint to text
	SASL    string            // host:port of Dovecot's auth service; "" offers no sign-in by password
	Main    string            // lines of main.cf that come last, and so win
	Master  string            // lines of master.cf besides
}

// A Postfix takes mail for everybody at lab.test from clients whose certificate is
// listed, and delivers it into one maildir. TLS below 1.3 is spoken as well, and
// certificates of clients are asked for.
type Postfix struct {
	*Process
	PKI         *PKI
	Config      string // its configuration directory
	SMTP, SMTPS string // host:port; SMTP has STARTTLS
	Server      driver.Material
	ChainFile   string // key and certificates
	Clients     string // relay_clientcerts, a path
	Denied      string // what check_ccert_access reads, a path
	MapType     string // of both
	Maildir     string
	LogFile     string
}

// Recipient is somebody whom a Postfix delivers to.
const Recipient = "somebody@lab.test"

// PostfixPrint is how Postfix names a certificate, or its SubjectPublicKeyInfo, by SHA-256.
func PostfixPrint(der []byte) string {
	return strings.ReplaceAll(fmt.Sprintf("% X", sha256.Sum256(der)), " ", ":")
}

// StartPostfix starts one.
func StartPostfix(t TB, s PostfixSettings) *Postfix {
	t.Helper()
	dir := OpenDir(t)
	p := &Postfix{
		PKI: s.PKI, MapType: s.MapType, Config: filepath.Join(dir, "conf"), SMTP: Loopback(FreePort(t)), SMTPS: Loopback(FreePort(t)),
		Maildir: filepath.Join(dir, "mail", "inbox"), LogFile: filepath.Join(dir, "mail.log"),
	}
	if p.PKI == nil {
		p.PKI = NewPKI(t)
	}
	if p.MapType == "" {
		p.MapType = "hash"
	}
	OwnedDir(t, p.Config, "root")
	OwnedDir(t, filepath.Join(dir, "spool"), "root")
	OwnedDir(t, filepath.Join(dir, "data"), "postfix")
	OwnedDir(t, filepath.Dir(p.Maildir), "mail")
	p.Server = p.PKI.Localhost(t)
	chain, key := MaterialPEM(t, p.Server)
	p.ChainFile = write(t, p.Config, "tls.pem", key+chain)
	var clients strings.Builder
	for fingerprint, text := range s.Clients {
		fmt.Fprintf(&clients, "%s %s\n", fingerprint, text)
	}
	p.Clients, p.Denied = write(t, p.Config, "clients", clients.String()), write(t, p.Config, "denied", "")
	write(t, p.Config, "mailboxes", "@lab.test inbox/\n")
	write(t, p.Config, "ca.pem", CertificatePEM(p.PKI.Sub.Raw, p.PKI.Root.Raw))
	p.settings(t, dir, s)
	for _, path := range []string{p.Clients, p.Denied} {
		if out, err := exec.Command(Program(t, "postmap"), "-c", p.Config, p.MapType+":"+path).CombinedOutput(); err != nil && p.MapType != "texthash" {
			t.Fatalf("postmap: %v\n%s", err, out)
		}
	}
	if out, err := exec.Command(Program(t, "postfix"), "-c", p.Config, "check").CombinedOutput(); err != nil { // makes the queue
		t.Fatalf("postfix check: %v\n%s", err, out)
	}
	// In a session of its own it can end all that it started.
	p.Process = Start(t, dir, nil, []string{Program(t, "setsid"), "/usr/lib/postfix/sbin/master", "-d", "-c", p.Config}, p.SMTP, p.SMTPS)
	return p
}

// settings writes main.cf and master.cf.
func (p *Postfix) settings(t TB, dir string, s PostfixSettings) {
	t.Helper()
	main := strings.NewReplacer("DIR", dir, "TYPE", p.MapType).Replace(postfixMain)
	if s.SASL != "" {
		main += "smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\nsmtpd_tls_auth_only = yes\nsmtpd_sasl_path = inet:" + s.SASL +
			"\nsmtpd_relay_restrictions = permit_sasl_authenticated, permit_tls_clientcerts, reject\n"
	}
	write(t, p.Config, "main.cf", lastOfEach(main+s.Main))
	write(t, p.Config, "master.cf", p.SMTP+" inet n - n - - smtpd\n"+p.SMTPS+" inet n - n - - smtpd -o smtpd_tls_wrappermode=yes\n"+postfixMaster+s.Master)
	for _, name := range []string{"main.cf", "master.cf", "ca.pem", "clients", "denied", "mailboxes"} {
		if err := os.Chmod(filepath.Join(p.Config, name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// lastOfEach leaves out all but the last setting of each name: Postfix warns of others
// in its log, which it cannot write before it has started, and stalls.
func lastOfEach(text string) string {
	var names []string
	values := map[string]string{}
	for line := range strings.Lines(text) {
		name, _, _ := strings.Cut(line, " =")
		if values[name] == "" {
			names = append(names, name)
		}
		values[name] = line
	}
	var kept strings.Builder
	for _, name := range names {
		kept.WriteString(values[name])
	}
	return kept.String()
}

const postfixMain = `compatibility_level = 3.6
queue_directory = DIR/spool
data_directory = DIR/data
maillog_file = DIR/mail.log
maillog_file_prefixes = DIR
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mail.lab.test
mydomain = lab.test
mydestination =
mynetworks =
virtual_mailbox_domains = lab.test
virtual_mailbox_base = DIR/mail
virtual_mailbox_maps = texthash:DIR/conf/mailboxes
virtual_minimum_uid = 1
virtual_uid_maps = static:8
virtual_gid_maps = static:8
default_transport = error:no-external-mail
relayhost =
disable_dns_lookups = yes
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
alias_maps =
alias_database =
in_flow_delay = 0
smtpd_tls_security_level = may
smtpd_tls_chain_files = DIR/conf/tls.pem
smtpd_tls_CAfile = DIR/conf/ca.pem
smtpd_tls_ask_ccert = yes
smtpd_tls_fingerprint_digest = sha256
smtpd_tls_loglevel = 2
smtpd_tls_session_cache_database = btree:DIR/data/smtpd_scache
relay_clientcerts = TYPE:DIR/conf/clients
smtpd_client_restrictions = check_ccert_access TYPE:DIR/conf/denied
smtpd_relay_restrictions = permit_tls_clientcerts, reject
smtpd_recipient_restrictions =
`

const postfixMaster = `pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`

// Delivered counts the messages in the maildir by their Message-ID, without its
// angle brackets.
func (p *Postfix) Delivered(t TB) map[string]int {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(p.Maildir, "new", "*"))
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		message, err := mail.ReadMessage(f)
		f.Close()
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		count[strings.Trim(message.Header.Get("Message-ID"), "<>")]++
	}
	return count
}

// AwaitDelivery waits until no message is in the queue, and returns what Delivered
// counts then.
func (p *Postfix) AwaitDelivery(t TB) map[string]int {
	t.Helper()
	var queue []byte
	for end := time.Now().Add(3 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		var err error
		if queue, err = exec.Command(Program(t, "postqueue"), "-c", p.Config, "-p").Output(); err == nil && strings.Contains(string(queue), "Mail queue is empty") {
			return p.Delivered(t)
		}
	}
	log, _ := os.ReadFile(p.LogFile) // it may be what went wrong
	t.Fatalf("Postfix did not deliver everything within 3 minutes:\n%s\n%s", last(string(queue), 4000), last(string(log), 8000))
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package starttls

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// upgrade makes a connection, speaks the preface and shakes hands. It returns
// the certificate that the server shows.
func upgrade(protocol, address, host string, patience time.Duration) ([]byte, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if err := Upgrade(context.Background(), conn, protocol, host); err != nil {
		return nil, err
	}
	client := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: host})
	if err := client.Handshake(); err != nil {
		return nil, err
	}
	return client.ConnectionState().PeerCertificates[0].Raw, nil
}

// shows tests that TLS begins at a real server, that openssl agrees where it
// knows the protocol, and that no other dialogue takes the server for its own.
func (l lab) shows(scheme, address string) {
	l.Helper()
	got, err := upgrade(scheme, address, "localhost", 10*time.Second)
	if err != nil {
		l.Errorf("%s: %v", scheme, err)
	} else if !bytes.Equal(got, l.leaf) {
		l.Errorf("%s: another certificate than the server's", scheme)
	}
	l.opensslAgrees(scheme, address)
	l.othersFail(scheme, address)
}

// opensslAgrees asks openssl s_client for the certificate.
func (l lab) opensslAgrees(scheme, address string) {
	l.Helper()
	p, _ := Lookup(scheme)
	arguments := []string{"s_client", "-connect", address}
	switch p.Dialogue {
	case "":
	case "smtp", "lmtp", "imap", "pop3", "ftp", "ldap", "postgres", "mysql", "sieve", "irc", "nntp":
		arguments = append(arguments, "-starttls", p.Dialogue)
	case "xmpp-client":
		arguments = append(arguments, "-starttls", "xmpp", "-xmpphost", "localhost")
	case "xmpp-server":
		arguments = append(arguments, "-starttls", "xmpp-server", "-xmpphost", "localhost")
	default:
		return // NATS and RDP
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "openssl", arguments...).Output() // it fails for want of a trusted root
	block, _ := pem.Decode(out[max(0, bytes.Index(out, []byte("-----BEGIN"))):])
	if block == nil || !bytes.Equal(block.Bytes, l.leaf) {
		l.Errorf("%s: openssl does not see the certificate: %v\n%s", scheme, err, out)
	}
}

// othersFail speaks every other dialogue with a server.
func (l lab) othersFail(scheme, address string) {
	l.Helper()
	p, _ := Lookup(scheme)
	var group sync.WaitGroup
	for dialogue := range dialogues {
		if dialogue == p.Dialogue || strings.HasPrefix(dialogue, "xmpp-") && strings.HasPrefix(p.Dialogue, "xmpp-") {
			continue // Prosody begins TLS before it looks which kind of stream it has
		}
		group.Go(func() {
			if _, err := upgrade(dialogue, address, "localhost", 300*time.Millisecond); err == nil {
				l.Errorf("%s begins TLS with a server of %s", dialogue, scheme)
			}
		})
	}
	group.Wait()
}

func TestPostfix(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	port, address := l.port()
	l.mkdir("data", "postfix")
	l.mkdir("spool", "root")
	l.write("conf/main.cf", `compatibility_level = 3.6
queue_directory = DIR/spool
data_directory = DIR/data
maillog_file = DIR/mail.log
maillog_file_prefixes = DIR
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = localhost
mydestination =
disable_dns_lookups = yes
smtpd_peername_lookup = no
alias_maps =
alias_database =
smtpd_tls_security_level = may
smtpd_tls_chain_files = DIR/both.pem
smtpd_tls_session_cache_database =
`)
	l.write("conf/master.cf", "127.0.0.1:"+port+` inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
rewrite unix - - n - - trivial-rewrite
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
`)
	for _, name := range []string{"conf/main.cf", "conf/master.cf"} {
		l.check(os.Chmod(filepath.Join(l.dir, name), 0o644))
	}
	l.do(l.command("", "postfix", "postfix", "-c", "DIR/conf", "check")) // makes the queue's directories
	l.start(l.command("", "postfix", "/usr/lib/postfix/sbin/master", "-d", "-c", "DIR/conf"), address)
	l.shows("smtp", address)
}

func TestDovecot(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	schemes := []string{"imap", "pop3", "sieve", "lmtp", "imaps"}
	var addresses, ports []string
	for range schemes {
		port, address := l.port()
		ports, addresses = append(ports, port), append(addresses, address)
	}
	l.write("dovecot.conf", `base_dir = DIR/run
state_dir = DIR/state
instance_name = starttls
protocols = imap pop3 sieve lmtp
listen = 127.0.0.1
log_path = DIR/dovecot.log
mail_location = maildir:DIR/mail/%u
ssl = yes
ssl_cert = <DIR/cert.pem
ssl_key = <DIR/key.pem
shutdown_clients = yes
passdb {
  driver = static
  args = nopassword=y
}
userdb {
  driver = static
  args = uid=mail gid=mail home=DIR/mail/%u
}
service imap-login {
  inet_listener imap {
    port = `+ports[0]+`
  }
  inet_listener imaps {
    port = `+ports[4]+`
    ssl = yes
  }
}
service pop3-login {
  inet_listener pop3 {
    port = `+ports[1]+`
  }
  inet_listener pop3s {
    port = 0
  }
}
service managesieve-login {
  inet_listener sieve {
    port = `+ports[2]+`
  }
}
service lmtp {
  inet_listener lmtp {
    port = `+ports[3]+`
  }
}
`)
	l.start(l.command("", "dovecot-imapd dovecot-pop3d dovecot-lmtpd dovecot-managesieved", "dovecot", "-F", "-c", "DIR/dovecot.conf"), addresses...)
	for i, scheme := range schemes {
		l.shows(scheme, addresses[i])
	}
}

func TestSlapd(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	_, plain := l.port()
	_, direct := l.port()
	l.mkdir("run", "")
	l.write("slapd.conf", `include /etc/ldap/schema/core.schema
pidfile DIR/run/slapd.pid
TLSCertificateFile DIR/cert.pem
TLSCertificateKeyFile DIR/key.pem
TLSCACertificateFile DIR/cert.pem
TLSVerifyClient never
database config
`)
	l.start(l.command("", "slapd", "slapd", "-f", "DIR/slapd.conf", "-h", "ldap://"+plain+" ldaps://"+direct, "-d", "0"), plain, direct)
	l.shows("ldap", plain)
	l.shows("ldaps", direct)
}

func TestPostgreSQL(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(found) == 0 {
		t.Fatalf("install the Debian package postgresql: %v", err)
	}
	bin := slices.Max(found)
	port, address := l.port()
	l.mkdir("pg", "postgres")
	l.give("key.pem", "postgres")
	l.give("cert.pem", "postgres")
	l.do(l.command("postgres", "postgresql", bin+"/initdb", "-D", "DIR/pg", "-U", "postgres", "-A", "trust", "--no-sync"))
	l.start(l.command("postgres", "postgresql", bin+"/postgres", "-D", "DIR/pg", "-p", port, "-h", "127.0.0.1", "-k", "DIR/pg", "-F",
		"-c", "ssl=on", "-c", "ssl_cert_file=DIR/cert.pem", "-c", "ssl_key_file=DIR/key.pem"), address)
	l.shows("postgres", address)
}

func TestMariaDB(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	port, address := l.port()
	l.mkdir("db", "")
	arguments := []string{"--no-defaults", "--datadir=DIR/db", "--socket=DIR/db.sock", "--pid-file=DIR/db.pid",
		"--bind-address=127.0.0.1", "--port=" + port, "--ssl-cert=DIR/cert.pem", "--ssl-key=DIR/key.pem",
		"--skip-log-bin", "--skip-innodb", "--default-storage-engine=Aria", "--skip-name-resolve", "--skip-grant-tables", "--skip-networking=0"}
	if os.Getuid() == 0 {
		arguments = append(arguments, "--user=root")
	}
	l.start(l.command("", "mariadb-server-core", "mariadbd", arguments...), address)
	l.shows("mysql", address)
}

func TestVsftpd(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	port, address := l.port()
	l.mkdir("empty", "")
	l.write("vsftpd.conf", `listen=YES
listen_address=127.0.0.1
listen_port=`+port+`
background=NO
anonymous_enable=YES
secure_chroot_dir=DIR/empty
ssl_enable=YES
rsa_cert_file=DIR/both.pem
ftpd_banner=Authorised people only
seccomp_sandbox=NO
`)
	l.start(l.command("", "vsftpd", "vsftpd", "DIR/vsftpd.conf"), address)
	l.shows("ftp", address)
}

func TestProsody(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	c2s, client := l.port()
	s2s, server := l.port()
	direct, clientDirect := l.port()
	l.mkdir("data", "prosody")
	l.write("prosody.cfg.lua", `pidfile = "DIR/data/prosody.pid"
data_path = "DIR/data"
daemonize = false
run_as_root = true
interfaces = { "127.0.0.1" }
c2s_ports = { `+c2s+` }
c2s_direct_tls_ports = { `+direct+` }
s2s_ports = { `+s2s+` }
modules_enabled = { "saslauth", "tls", "dialback" }
authentication = "internal_hashed"
log = { warn = "*console" }
ssl = { certificate = "DIR/cert.pem"; key = "DIR/key.pem" }
c2s_direct_tls_ssl = { certificate = "DIR/cert.pem"; key = "DIR/key.pem" }
VirtualHost "localhost"
`)
	for _, name := range []string{"prosody.cfg.lua", "cert.pem", "key.pem"} {
		l.give(name, "prosody")
	}
	l.start(l.command("prosody", "prosody", "prosody", "-F", "--config", "DIR/prosody.cfg.lua"), client, server, clientDirect)
	l.shows("xmpp-client", client)
	l.shows("xmpp-server", server)
	l.shows("xmpps-client", clientDirect)
	_, err := upgrade("xmpp-client", client, "127.0.0.1", 10*time.Second)
	wantWord(t, HostUnknown, err)
}

func TestInspIRCd(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	port, address := l.port()
	direct, addressDirect := l.port()
	l.mkdir("data", "irc")
	l.write("inspircd.conf", `<server name="irc.example" description="test" network="Test" id="001">
<admin name="a" nick="a" email="a@example.org">
<path configdir="DIR" datadir="DIR/data" logdir="DIR/data" runtimedir="DIR/data">
<pid file="DIR/data/pid">
<module name="ssl_gnutls"><module name="starttls">
<sslprofile name="Clients" provider="gnutls" certfile="DIR/cert.pem" keyfile="DIR/key.pem">
<bind address="127.0.0.1" port="`+port+`" type="clients" defer="0">
<bind address="127.0.0.1" port="`+direct+`" type="clients" sslprofile="Clients">
<starttls provider="Clients">
<connect allow="*" resolvehostnames="no" localmax="1000" globalmax="1000">
`)
	for _, name := range []string{"inspircd.conf", "cert.pem", "key.pem"} {
		l.give(name, "irc")
	}
	l.start(l.command("irc", "inspircd", "inspircd", "--nofork", "--nopid", "--config", "DIR/inspircd.conf"), address, addressDirect)
	l.shows("irc", address)
	l.shows("ircs", addressDirect)
}

func TestNATS(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	port, address := l.port()
	l.start(l.command("", "nats-server", "nats-server", "-a", "127.0.0.1", "-p", port, "--tls",
		"--tlscert", "DIR/cert.pem", "--tlskey", "DIR/key.pem"), address)
	l.shows("nats", address)

	port, plain := l.port()
	l.start(l.command("", "nats-server", "nats-server", "-a", "127.0.0.1", "-p", port), plain)
	_, err := upgrade("nats", plain, "localhost", 10*time.Second)
	wantWord(t, NoStartTLS, err)
}

func TestRedis(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	port, address := l.port()
	l.start(l.command("", "redis-server", "redis-server", "--bind", "127.0.0.1", "--port", "0", "--tls-port", port, "--save", "",
		"--tls-cert-file", "DIR/cert.pem", "--tls-key-file", "DIR/key.pem", "--tls-ca-cert-file", "DIR/cert.pem", "--tls-auth-clients", "no"), address)
	l.shows("rediss", address)
}

func TestMosquitto(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	port, address := l.port()
	l.write("mosquitto.conf", "listener "+port+" 127.0.0.1\ncertfile DIR/cert.pem\nkeyfile DIR/key.pem\nallow_anonymous true\n")
	c := l.command("mosquitto", "mosquitto", "mosquitto", "-c", "DIR/mosquitto.conf")
	for _, name := range []string{"mosquitto.conf", "cert.pem", "key.pem"} {
		l.give(name, "mosquitto")
	}
	l.start(c, address)
	l.shows("mqtts", address)
}

func TestXrdp(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	port, address := l.port()
	l.write("xrdp.ini", `[Globals]
ini_version=1
fork=true
port=tcp://127.0.0.1:`+port+`
security_layer=negotiate
crypt_level=high
certificate=DIR/cert.pem
key_file=DIR/key.pem
ssl_protocols=TLSv1.2, TLSv1.3
autorun=

[Logging]
LogFile=DIR/xrdp.log
LogLevel=INFO
EnableConsole=true
`)
	l.start(l.command("", "xrdp", "xrdp", "--nodaemon", "--config", "DIR/xrdp.ini", "--port", "tcp://127.0.0.1:"+port), address)
	l.shows("rdp", address)
}

// SPDX-License-Identifier: Apache-2.0

package probing_test

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/driver/probing"
	"github.com/tallystick/tallystick/internal/lab"
)

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// reload tells a server to read its files again, and waits until attempts with the
// sessions come out as they should.
func reload(t *testing.T, pid int, signal syscall.Signal, m driver.Material, sessions []byte, at driver.Listener, lines ...string) {
	t.Helper()
	if err := syscall.Kill(pid, signal); err != nil {
		t.Fatal(err)
	}
	var last []driver.Attempt
	for range 100 {
		if last = probe(t, m, sessions, false, at).Attempts; slices.Equal(outcomes(last), lines) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	want(t, "after a reload", last, lines...)
}

// The four cases that were measured: with tickets a reload makes nginx forget all
// sessions, and with a session cache it does not.
func TestNginxForgetsTicketsOnReload(t *testing.T) {
	t.Parallel()
	n := lab.StartNginx(t, lab.NginxSettings{Clients: true, NoDeny: true})
	alice, bob := n.PKI.Client(t, "alice"), n.PKI.Client(t, "bob")
	held := probe(t, alice, nil, true, at("https", n.Addresses[0]))
	want(t, "before", held.Attempts, "fresh-tls1.2 accepted", "fresh-tls1.3 accepted")
	want(t, "open, before", tryOpen(t, held.Open), "open accepted", "open accepted")
	want(t, "resumed, before", probe(t, alice, held.Sessions, false, at("https", n.Addresses[0])).Attempts,
		"fresh-tls1.2 accepted", "fresh-tls1.3 accepted", "resumed-tls1.2 accepted", "resumed-tls1.3 accepted")
	put(t, n.CRL, lab.CRLPEM(n.PKI.CRLs(t, alice.Public)...))
	reload(t, n.PID, syscall.SIGHUP, alice, held.Sessions, at("https", n.Addresses[0]), "fresh-tls1.2 refused", "fresh-tls1.3 refused", "resumed-tls1.2 not-resumed", "resumed-tls1.3 not-resumed")
	want(t, "bob", probe(t, bob, nil, false, at("https", n.Addresses[0])).Attempts, "fresh-tls1.2 accepted", "fresh-tls1.3 accepted")
	want(t, "open, after", tryOpen(t, held.Open), "open refused", "open refused") // a reload closes what is idle
}

func TestNginxKeepsItsSessionCache(t *testing.T) {
	t.Parallel()
	n := lab.StartNginx(t, lab.NginxSettings{Clients: true, NoDeny: true, Cache: true})
	alice := n.PKI.Client(t, "alice")
	held := probe(t, alice, nil, true, at("https", n.Addresses[0]))
	want(t, "before", held.Attempts, "fresh-tls1.2 accepted", "fresh-tls1.3 accepted")
	put(t, n.CRL, lab.CRLPEM(n.PKI.CRLs(t, alice.Public)...))
	reload(t, n.PID, syscall.SIGHUP, alice, held.Sessions, at("https", n.Addresses[0]),
		"fresh-tls1.2 refused", "fresh-tls1.3 refused", "resumed-tls1.2 accepted", "resumed-tls1.3 accepted")
}

func TestHAProxyGoesOnResuming(t *testing.T) {
	t.Parallel()
	h := lab.StartHAProxy(t, lab.HAProxySettings{Clients: true, NoDeny: true})
	alice := h.PKI.Client(t, "alice")
	held := probe(t, alice, nil, true, at("https", h.Addresses[0]))
	want(t, "before", held.Attempts, "fresh-tls1.2 accepted", "fresh-tls1.3 accepted")
	list := lab.CRLPEM(h.PKI.CRLs(t, alice.Public)...)
	put(t, h.CRL, list)
	command := "set ssl crl-file " + h.CRL + " <<\n" + list + "\n"
	administer(t, h.Socket, command)
	administer(t, h.Socket, "commit ssl crl-file "+h.CRL+"\n")
	// The second session of TLS 1.2 is the one that HAProxy keeps itself.
	want(t, "by its socket", probe(t, alice, held.Sessions, false, at("https", h.Addresses[0])).Attempts,
		"fresh-tls1.2 refused", "fresh-tls1.3 refused", "resumed-tls1.2 accepted", "resumed-tls1.2 accepted", "resumed-tls1.3 accepted")
	reload(t, h.PID, syscall.SIGUSR2, alice, held.Sessions, at("https", h.Addresses[0]),
		"fresh-tls1.2 refused", "fresh-tls1.3 refused", "resumed-tls1.2 not-resumed", "resumed-tls1.2 not-resumed", "resumed-tls1.3 not-resumed")
}

func administer(t *testing.T, socket, command string) {
	t.Helper()
	conn, err := host.Local().Dial(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(command)); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 1<<10)
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	n, err := conn.Read(answer)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", answer[:n])
}

func TestDovecot(t *testing.T) {
	t.Parallel()
	d := lab.StartDovecot(t, lab.DovecotSettings{CertUsers: []string{"alice"}})
	alice, mallory := d.PKI.Client(t, "alice"), lab.NewPKI(t).Client(t, "alice")
	all := []driver.Listener{at("imap", d.IMAP), at("imaps", d.IMAPS), at("pop3", d.POP3), at("pop3s", d.POP3S)}
	held := probe(t, alice, nil, true, all...)
	want(t, "alice", held.Attempts, append(times(4, "fresh-tls1.2 accepted"), times(4, "fresh-tls1.3 accepted")...)...)
	want(t, "open", tryOpen(t, held.Open), times(8, "open accepted")...)
	want(t, "a stranger", probe(t, mallory, nil, false, all...).Attempts, append(times(4, "fresh-tls1.2 refused"), times(4, "fresh-tls1.3 refused")...)...)
	want(t, "unknown", probe(t, d.PKI.Client(t, "bob"), nil, false, all...).Attempts, append(times(4, "fresh-tls1.2 refused"), times(4, "fresh-tls1.3 refused")...)...)
	// To POP3 it says that it shuts down, which says nothing of alice, and hangs up.
	if out, err := exec.Command(lab.Program(t, "doveadm"), "-c", d.Config, "kick", "alice").CombinedOutput(); err != nil {
		t.Fatalf("doveadm kick: %v\n%s", err, out)
	}
	ended := tryOpen(t, held.Open)
	for range 20 { // doveadm does not wait for it
		if slices.Equal(outcomes(ended), times(8, "open refused")) {
			break
		}
		time.Sleep(100 * time.Millisecond)
		ended = tryOpen(t, held.Open)
	}
	want(t, "open, ended by the server", ended, times(8, "open refused")...)
}

func TestSlapd(t *testing.T) {
	t.Parallel()
	pki := lab.NewPKI(t)
	alice, bob := pki.Client(t, "alice"), pki.Client(t, "bob")
	for _, verify := range []string{"try", "demand"} {
		d := lab.StartSlapd(t, lab.SlapdSettings{PKI: pki, Verify: verify, CRLs: pki.CRLs(t, bob.Public)})
		all := []driver.Listener{at("ldap", d.LDAP), at("ldaps", d.LDAPS)}
		held := probe(t, alice, nil, true, all...)
		want(t, "alice, "+verify, held.Attempts, append(times(2, "fresh-tls1.2 accepted"), times(2, "fresh-tls1.3 accepted")...)...)
		want(t, "open", tryOpen(t, held.Open), times(4, "open accepted")...)
		for _, stranger := range []driver.Material{bob, lab.NewPKI(t).Client(t, "alice")} {
			want(t, "a stranger, "+verify, probe(t, stranger, nil, false, all...).Attempts, append(times(2, "fresh-tls1.2 refused"), times(2, "fresh-tls1.3 refused")...)...)
		}
	}
}

func TestPostgreSQL(t *testing.T) {
	t.Parallel()
	pki := lab.NewPKI(t)
	alice, bob := pki.Client(t, "alice"), pki.Client(t, "bob")
	p := lab.StartPostgres(t, lab.PostgresSettings{PKI: pki, CRLs: pki.CRLs(t, bob.Public)})
	listener := at("postgres", p.Address, "user=alice", "database=postgres")
	held := probe(t, alice, nil, true, listener)
	want(t, "alice", held.Attempts, "fresh-tls1.2 accepted", "fresh-tls1.3 accepted")
	want(t, "open", tryOpen(t, held.Open), "open accepted", "open accepted")
	want(t, "somebody else", probe(t, pki.Client(t, "carol"), nil, false, listener).Attempts, "fresh-tls1.2 refused", "fresh-tls1.3 refused")
	want(t, "revoked", probe(t, bob, nil, false, at("postgres", p.Address, "user=bob", "database=postgres")).Attempts, "fresh-tls1.2 refused", "fresh-tls1.3 refused")
	want(t, "no such database", probe(t, alice, nil, false, at("postgres", p.Address, "user=alice", "database=none")).Attempts, "fresh-tls1.2 failed", "fresh-tls1.3 failed")
}

func TestServersThatAskForNothing(t *testing.T) {
	t.Parallel()
	n := lab.StartNginx(t, lab.NginxSettings{Protocols: "TLSv1.2"})
	alice := n.PKI.Client(t, "alice")
	want(t, "no certificate wanted", probe(t, alice, nil, true, at("https", n.Addresses[0])).Attempts, "fresh-tls1.2 failed")
	shown, attempts := probing.Look(t.Context(), host.Local(), []driver.Listener{at("https", n.Addresses[0])}, time.Now)
	if len(shown) != 1 || !shown[0].Is(n.Server.Public) || !shown[0].Live || len(attempts) != 1 {
		t.Errorf("it shows %+v", attempts)
	}
	if _, err := exec.LookPath("getent"); err != nil {
		t.Fatal("this test needs getent, of the Debian package libc-bin")
	}
}

func TestPostfix(t *testing.T) {
	t.Parallel()
	pki := lab.NewPKI(t)
	alice, bob := pki.Client(t, "alice"), pki.Client(t, "bob")
	p := lab.StartPostfix(t, lab.PostfixSettings{PKI: pki, Clients: map[string]string{lab.PostfixPrint(alice.Chain[0]): "alice"},
		Main: "smtpd_relay_restrictions = permit_tls_clientcerts, reject\nsmtpd_recipient_restrictions = permit_tls_clientcerts, reject\n"})
	var all []driver.Listener
	for protocol, address := range map[string]string{"smtp": p.SMTP, "smtps": p.SMTPS} {
		all = append(all, at(protocol, address, "sender=probe@lab.test", "recipient="+lab.Recipient))
	}
	held := probe(t, alice, nil, true, all...)
	want(t, "alice", held.Attempts, append(times(2, "fresh-tls1.2 accepted"), times(2, "fresh-tls1.3 accepted")...)...)
	want(t, "open", tryOpen(t, held.Open), times(4, "open accepted")...)
	want(t, "bob", probe(t, bob, nil, false, all...).Attempts, append(times(2, "fresh-tls1.2 refused"), times(2, "fresh-tls1.3 refused")...)...)
	if sent := p.Delivered(t); len(sent) != 0 {
		t.Errorf("a probe sent mail: %v", sent)
	}
}

func TestOpenSSH(t *testing.T) {
	t.Parallel()
	alice, bob := lab.SSHKey(t), lab.SSHKey(t)
	d := lab.StartSshd(t, lab.SshdSettings{HostCertificate: true, Authorized: []string{lab.AuthorizedLine(t, alice.Public)}})
	listener := at("ssh", d.Address, "user="+d.Account)
	held := probe(t, alice, nil, true, listener)
	want(t, "alice", held.Attempts, "fresh accepted")
	want(t, "open", tryOpen(t, held.Open), "open accepted")
	want(t, "bob", probe(t, bob, nil, false, listener).Attempts, "fresh refused")
	want(t, "bob's certificate", probe(t, d.Certify(t, bob, ssh.UserCert, d.Account), nil, false, listener).Attempts, "fresh accepted")
	want(t, "another's certificate", probe(t, d.Certify(t, bob, ssh.UserCert, "nobody-else"), nil, false, listener).Attempts, "fresh refused")
	shown, attempts := probing.Look(t.Context(), host.Local(), []driver.Listener{listener}, time.Now)
	if len(shown) != 2 || len(attempts) != 2 || !slices.ContainsFunc(shown, func(s driver.Shown) bool { return s.Is(d.Host.Public) }) {
		t.Errorf("it shows %+v", attempts)
	}
	one := at("ssh", d.Address, "algorithm="+ssh.CertAlgoED25519v01)
	if attempts := probing.Show(t.Context(), host.Local(), []driver.Listener{one}, time.Now); len(attempts) != 1 || attempts[0].Served != string(tallystick.FingerprintOf(d.Host.SSH)) {
		t.Errorf("of one algorithm it shows %+v", attempts)
	}
	if err := syscall.Kill(d.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(d.PID, syscall.SIGCONT)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if got := probing.Show(ctx, host.Local(), []driver.Listener{listener}, time.Now); len(got) != 1 || got[0].Outcome != driver.OutcomeFailed {
		t.Errorf("a server that stands still: %+v", got)
	}
}

// SPDX-License-Identifier: Apache-2.0

package postfix_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/drivers/dovecot"
	"github.com/tallystick/tallystick/drivers/postfix"
	"github.com/tallystick/tallystick/internal/lab"
)

const usualMessages = 200

// Measurements have more messages, without a pause between them.
var messages = flag.Int("messages", usualMessages, "how many messages are under way at least while passwords are rotated")

// A route is how journaled mail goes: a Postfix takes it from anybody on this machine and hands
// it over to another one, where it signs in as relay; from there a fetcher gets it by
// POP3 as inbox. Dovecot knows both passwords.
type route struct {
	dovecot      *lab.Dovecot
	from, to     *lab.Postfix
	mapType      string
	table        string // smtp_sasl_password_maps, a path
	rotator      driver.Rotator
	supplier     driver.Supplier
	relay, inbox secrets
}

// secrets are the passwords of an account. The holder of the vault has the newer.
type secrets struct {
	mu       sync.Mutex
	old, new driver.Secret // guarded by mu
}

// both returns the one that the vault hands out, and the other.
func (s *secrets) both() (now, other driver.Secret) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.new, s.old
}

func (s *secrets) follow(next driver.Secret) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.old, s.new = s.new, next
}

// patient lets mail wait a short time for its next try: a sign-in that was refused while the
// table was written is tried again by Postfix itself, by default after five minutes.
const patient = "queue_run_delay = 3s\nminimal_backoff_time = 3s\nmaximal_backoff_time = 6s\n"

func startRoute(t *testing.T, mapType string, two bool, main string) *route {
	t.Helper()
	r := &route{mapType: mapType}
	r.relay.new, r.inbox.new = driver.NewSecret("relays first"), driver.NewSecret("inboxes first")
	options, passdb := map[string]string{}, ""
	if two {
		old := filepath.Join(lab.OpenDir(t), "old")
		if err := os.WriteFile(old, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		options["passwd-file-old"] = old
		passdb = "passdb {\n  driver = passwd-file\n  mechanisms = plain login\n  args = scheme=PLAIN " + old + "\n}\n"
	}
	r.dovecot = lab.StartDovecot(t, lab.DovecotSettings{
		NoLists: true, Main: passdb, Users: map[string]string{"relay": r.relay.new.Reveal(), "inbox": r.inbox.new.Reveal()},
	})
	pki := r.dovecot.PKI
	r.to = lab.StartPostfix(t, lab.PostfixSettings{PKI: pki, SASL: r.dovecot.Auth, Main: "virtual_mailbox_base = " + r.dovecot.Mail + "\n"})
	r.from = lab.StartPostfix(t, lab.PostfixSettings{PKI: pki, Main: r.client(t) + main})
	r.fill(t, fmt.Sprintf(relays, r.hop(), r.relay.new.Reveal()))
	ca := filepath.Join(r.to.Config, "ca.pem")
	options["config"], options["ca"], options["listeners"] = r.dovecot.Config, ca, "smtp://"+r.to.SMTP+"?sni=localhost,smtps://"+r.to.SMTPS+"?sni=localhost"
	r.rotator = drivertest.Open[driver.Rotator](t, dovecot.Driver(), options)
	r.supplier = drivertest.Open[driver.Supplier](t, postfix.Driver(), map[string]string{"config": r.from.Config, "role": "client"})
	return r
}

// relays is a table of passwords: of the other Postfix, and of one that is not there.
const relays = "# relays\n[mail.elsewhere.test]:587 relay:another\n%s\trelay:%s\n"

// hop is what the one calls the other.
func (r *route) hop() string {
	at, port, _ := net.SplitHostPort(r.to.SMTP)
	return "[" + at + "]:" + port
}

// fill writes the table of passwords, and what Postfix reads.
func (r *route) fill(t *testing.T, text string) {
	t.Helper()
	lab.Write(t, r.table, text)
	if r.mapType != "texthash" {
		lab.Run(t, "postmap", "-c", r.from.Config, r.mapType+":"+r.table)
	}
}

// client is the part of main.cf of who signs in at the other one.
func (r *route) client(t *testing.T) string {
	r.table = filepath.Join(lab.OpenDir(t), "sasl")
	return strings.NewReplacer("RELAY", r.hop(), "TABLE", r.mapType+":"+r.table).Replace(`virtual_mailbox_domains =
virtual_mailbox_maps =
default_transport = smtp
relayhost = RELAY
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtp_tls_security_level = encrypt
smtp_sasl_auth_enable = yes
smtp_sasl_security_options = noanonymous
smtp_sasl_password_maps = TABLE
smtp_connection_cache_on_demand = no
`)
}

// rotate changes the password of an account as a recall does; then hands it over.
func (r *route) rotate(t *testing.T, account string, s *secrets, next driver.Secret, then func(driver.SecretRequest)) {
	t.Helper()
	old, _ := s.both()
	request := driver.SecretRequest{Host: host.Local(), Account: account, Old: old, New: next, Now: time.Now}
	if _, err := r.rotator.SetSecret(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	s.follow(next)
	then(request)
	r.outcome(t, request, 6, 0)
	if _, err := r.rotator.DropSecret(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	request.TryOld = true
	r.outcome(t, request, 6, 6)
}

func (r *route) outcome(t *testing.T, request driver.SecretRequest, accepted, refused int) {
	t.Helper()
	tested, err := r.rotator.TestSecret(t.Context(), request)
	if err != nil || len(tested.New) != accepted || len(tested.Old) != refused {
		t.Errorf("%s: %d tries of the new, %d of the old password, %v", request.Account, len(tested.New), len(tested.Old), err)
	}
	for _, a := range tested.New {
		if a.Outcome != driver.OutcomeAccepted {
			t.Errorf("the new password is %s at %s: %s", a.Outcome, a.Address, a.Answer)
		}
	}
	drivertest.Refused(t, tested.Old)
}

func (r *route) supply(t *testing.T, request driver.SecretRequest) {
	t.Helper()
	_, err := r.supplier.SupplySecret(t.Context(), driver.SupplyRequest{
		Host: host.Local(), System: "smtp://" + r.to.SMTP, Account: request.Account, Old: request.Old, New: request.New, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A sender sends mail over and over, and counts what was taken.
type sender struct {
	pause time.Duration // between two messages of each of those who send at once

	mu   sync.Mutex
	sent map[string]bool // Message-IDs; guarded by mu
}

func (s *sender) run(t *testing.T, ctx context.Context, address string, n int) {
	for i := 0; ctx.Err() == nil; i++ {
		id := fmt.Sprintf("%d.%d@journal.test", n, i)
		if err := mailTo(address, id); err != nil {
			t.Errorf("a sender failed: %v", err)
			return
		}
		s.mu.Lock()
		s.sent[id] = true
		s.mu.Unlock()
		time.Sleep(s.pause)
	}
}

func mailTo(address, id string) error {
	c, err := smtp.Dial(address)
	if err != nil {
		return err
	}
	defer c.Close()
	return errors.Join(send(c, id), c.Quit())
}

func (s *sender) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sent)
}

// A fetcher gets mail by POP3 with the password that the vault hands out, and with the other one
// where that is refused. What it took is got for good once the server has deleted it.
type fetcher struct {
	address string
	config  *tls.Config
	secrets *secrets
	pending map[string]string // by unique id (UIDL): what was read, and may be deleted
	refused int

	mu  sync.Mutex
	got map[string]int // Message-IDs; guarded by mu
}

func (f *fetcher) have(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got[id]++
}

func (f *fetcher) total() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.got)
}

// fetch makes one session. An error means that it was cut off, and nothing more.
func (f *fetcher) fetch() error {
	now, other := f.secrets.both()
	for _, secret := range []driver.Secret{now, other} {
		p, err := f.enter(secret)
		if err != nil {
			return err
		}
		if p != nil {
			defer p.conn.Close()
			return f.empty(p)
		}
		f.refused++
	}
	return errors.New("both passwords are refused")
}

// A pop3 is a session.
type pop3 struct {
	conn *tls.Conn
	in   *bufio.Reader
}

func (p *pop3) ask(format string, args ...any) (string, error) {
	fmt.Fprintf(p.conn, format+"\r\n", args...)
	line, err := p.in.ReadString('\n')
	if err == nil && !strings.HasPrefix(line, "+OK") {
		err = errors.New(line)
	}
	return line, err
}

func (p *pop3) lines() (all []string, err error) {
	for {
		line, err := p.in.ReadString('\n')
		if line = strings.TrimRight(line, "\r\n"); err != nil || line == "." {
			return all, err
		}
		all = append(all, line)
	}
}

// enter signs in; no session and no error mean that the password is refused.
func (f *fetcher) enter(secret driver.Secret) (*pop3, error) {
	conn, err := tls.Dial("tcp", f.address, f.config)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(time.Minute))
	p := &pop3{conn, bufio.NewReader(conn)}
	if _, err = p.in.ReadString('\n'); err == nil {
		_, err = p.ask("USER inbox")
	}
	if err == nil {
		if _, err = p.ask("PASS %s", secret.Reveal()); err == nil {
			return p, nil
		}
		if strings.HasPrefix(err.Error(), "-ERR [AUTH]") {
			err = nil
		}
	}
	conn.Close()
	return nil, err
}

// empty takes what is in the mailbox.
func (f *fetcher) empty(p *pop3) error {
	if _, err := p.ask("UIDL"); err != nil {
		return err
	}
	list, err := p.lines()
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, line := range list {
		_, uid, _ := strings.Cut(line, " ")
		there[uid] = true
	}
	for uid, id := range f.pending { // of a session that was cut off
		if !there[uid] {
			f.have(id)
		}
	}
	f.pending = map[string]string{}
	read := map[string]string{}
	for _, line := range list[:min(len(list), 50)] {
		number, uid, _ := strings.Cut(line, " ")
		if _, err := p.ask("RETR %s", number); err != nil {
			return err
		}
		text, err := p.lines()
		if err != nil {
			return err
		}
		for _, one := range text {
			if id, is := strings.CutPrefix(one, "Message-ID: "); is {
				read[uid] = strings.Trim(id, "<>")
			}
		}
		if _, err := p.ask("DELE %s", number); err != nil {
			return err
		}
	}
	f.pending = read
	if _, err := p.ask("QUIT"); err != nil {
		return err
	}
	for _, id := range read {
		f.have(id)
	}
	f.pending = map[string]string{}
	return nil
}

// Journaled mail goes on while the passwords of its relay and of its fetcher are rotated:
// nothing is lost, nothing is doubled, whether old and new get in side by side or not.
func TestJournalGoesOn(t *testing.T) {
	for name, two := range map[string]bool{"two": true, "none": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startRoute(t, "hash", two, patient)
			s := &sender{sent: map[string]bool{}, pause: 200 * time.Millisecond}
			if *messages > usualMessages {
				s.pause = 0
			}
			f := &fetcher{address: r.dovecot.POP3S, config: r.dovecot.PKI.ClientConfig(driver.Material{}), secrets: &r.inbox, got: map[string]int{}}
			ctx, halt := context.WithCancel(t.Context())
			fetching, enough := context.WithCancel(t.Context())
			defer enough()
			defer halt()
			var senders, fetchers sync.WaitGroup
			for n := range 3 {
				senders.Go(func() { s.run(t, ctx, r.from.SMTP, n) })
			}
			cut := 0
			fetchers.Go(func() {
				for fetching.Err() == nil {
					if err := f.fetch(); err != nil {
						t.Logf("a fetch was cut off: %v", err)
						cut++
					}
					time.Sleep(10 * time.Millisecond)
				}
			})
			began := time.Now()
			for i := 0; i < 2 || s.count() < *messages; i++ {
				r.rotate(t, "relay", &r.relay, driver.NewSecret(fmt.Sprintf("relays number %d", i)), func(request driver.SecretRequest) { r.supply(t, request) })
				r.rotate(t, "inbox", &r.inbox, driver.NewSecret(fmt.Sprintf("inboxes number %d", i)), func(driver.SecretRequest) {})
			}
			halt()
			senders.Wait()
			r.from.AwaitDelivery(t)
			r.to.AwaitDelivery(t)
			for end := time.Now().Add(2 * time.Minute); f.total() < s.count() && time.Now().Before(end); {
				time.Sleep(50 * time.Millisecond)
			}
			enough()
			fetchers.Wait()
			lost, doubled := 0, 0
			for id := range s.sent {
				lost += max(0, 1-f.got[id])
				doubled += max(0, f.got[id]-1)
			}
			t.Logf("%d messages in %s: %d lost, %d doubled; %d fetches were cut off, %d refused; %d sign-ins of the relay were refused", len(s.sent), time.Since(began).Round(time.Second),
				lost, doubled, cut, f.refused, strings.Count(lab.Read(t, r.from.LogFile), "SASL authentication failed"))
			if lost > 0 || doubled > 0 || len(s.sent) < *messages {
				t.Errorf("%d messages, %d lost and %d doubled", len(s.sent), lost, doubled)
			}
		})
	}
}

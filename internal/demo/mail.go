// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/smtp"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/lab"
)

// A mail is a mail service: messages come in by SMTP with a password, through Postfix, and
// are fetched by POP3 from Dovecot. Nothing of the case may hold it up.
type mail struct {
	postfix *lab.Postfix
	dovecot *lab.Dovecot
	relay   *lab.Postfix // of the vendor; it signs in at the other one, for each sender as another account
	config  *tls.Config
	user    string
	secret  string // made for this run
	// olds is the file of a second passdb of Dovecot: a password that is there gets in beside the other.
	olds string

	going sync.WaitGroup
	stop  context.CancelFunc

	mu      sync.Mutex
	sent    map[string]bool // guarded by mu; Message-IDs that Postfix took
	fetched map[string]int  // guarded by mu; and how often each was fetched
	trouble []string        // guarded by mu; what went wrong first
}

const (
	sendGap  = 200 * time.Millisecond
	fetchGap = time.Second
	// answerTime is how long a server may take.
	answerTime = 30 * time.Second
	// mailTime bounds how long the last messages may take at the end.
	mailTime = 3 * time.Minute
	flushGap = 5 * time.Second
)

// flow has messages go through the mail service until ctx ends, or stop is called.
func (m *mail) flow(ctx context.Context) {
	ctx, m.stop = context.WithCancel(ctx)
	m.going.Go(func() { m.every(ctx, sendGap, func() error { return m.send(m.user, m.secret) }) })
	m.going.Go(func() { m.every(ctx, fetchGap, m.fetch) })
}

// newMail starts the servers. Dovecot keeps the passwords, also those for Postfix, and the mail.
// The relay has the passwords of routes.
func newMail(stage *stage, pki *lab.PKI, accounts, routes map[string]string) *mail {
	m := &mail{user: "inbox", secret: uuid.NewString(), sent: map[string]bool{}, fetched: map[string]int{}}
	users := map[string]string{m.user: m.secret}
	maps.Copy(users, accounts)
	maps.Copy(users, routes)
	dir := lab.OpenDir(stage)
	m.olds = filepath.Join(dir, "olds")
	lab.Write(stage, m.olds, "")
	if err := os.Chmod(m.olds, 0o644); err != nil {
		stage.Fatal(err)
	}
	m.dovecot = lab.StartDovecot(stage, lab.DovecotSettings{PKI: pki, Users: users, NoLists: true, Main: strings.ReplaceAll(mailPasswords, "OLDS", m.olds)})
	m.postfix = lab.StartPostfix(stage, lab.PostfixSettings{PKI: pki, SASL: m.dovecot.Auth, Main: "virtual_mailbox_base = " + m.dovecot.Mail + "\nsmtpd_error_sleep_time = 0\n"})
	m.config = pki.ClientConfig(driver.Material{})
	if len(routes) > 0 {
		m.startRelay(stage, pki, filepath.Join(dir, "routes"), routes)
	}
	return m
}

func (m *mail) startRelay(stage *stage, pki *lab.PKI, table string, routes map[string]string) {
	var text strings.Builder
	for account, password := range routes {
		fmt.Fprintf(&text, "%s %s:%s\n", senderOf(account), account, password)
	}
	lab.Write(stage, table, text.String())
	lab.Run(stage, "postmap", "hash:"+table)
	host, port, err := net.SplitHostPort(m.postfix.SMTP)
	if err != nil {
		stage.Fatal(err)
	}
	m.relay = lab.StartPostfix(stage, lab.PostfixSettings{PKI: pki, Main: strings.NewReplacer("NEXT", "["+host+"]:"+port, "TABLE", table).Replace(mailRelay)})
}

// senderOf is whose messages the relay hands over as an account.
func senderOf(account string) string { return account + "@vendor.example" }

// mailRelay are lines of the relay's main.cf.
const mailRelay = `virtual_mailbox_domains =
virtual_mailbox_maps =
default_transport = smtp
relayhost = NEXT
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtp_tls_security_level = encrypt
smtp_sasl_auth_enable = yes
smtp_sasl_security_options = noanonymous
smtp_sasl_password_maps = hash:TABLE
smtp_sender_dependent_authentication = yes
smtp_sasl_auth_soft_bounce = yes
smtp_connection_cache_on_demand = no
`

// mailPasswords are lines of dovecot.conf.
const mailPasswords = `ssl_verify_client_cert = no
passdb {
  driver = passwd-file
  mechanisms = plain login
  args = scheme=PLAIN OLDS
}
`

// every does something again and again until ctx ends, and keeps what goes wrong.
func (m *mail) every(ctx context.Context, gap time.Duration, do func() error) {
	for {
		if err := do(); err != nil {
			m.mu.Lock()
			if len(m.trouble) < 20 {
				m.trouble = append(m.trouble, fmt.Sprintf("%s mail: %v", time.Now().Format("15:04:05.000"), err))
			}
			m.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(gap):
		}
	}
}

// connect connects to a mail server of ours.
func (m *mail) connect(address string) (net.Conn, error) {
	conn, err := net.DialTimeout("tcp", address, answerTime)
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(answerTime))
}

// send hands in one message as an account.
func (m *mail) send(account, password string) error {
	return m.submit(m.postfix.SMTP, "hello@vendor.example", smtp.PlainAuth("", account, password, "localhost"))
}

// forward gives the relay one message, which it hands over as an account.
func (m *mail) forward(account string) error { return m.submit(m.relay.SMTP, senderOf(account), nil) }

// submit hands in one message. One that Postfix did not say yes to was not sent.
func (m *mail) submit(address, sender string, auth smtp.Auth) error {
	conn, err := m.connect(address)
	if err != nil {
		return err
	}
	defer conn.Close()
	client, err := smtp.NewClient(conn, "localhost")
	if err != nil {
		return err
	}
	if err := client.StartTLS(m.config); err != nil {
		return err
	}
	if auth != nil {
		err = client.Auth(auth)
	}
	if answer, is := errors.AsType[*textproto.Error](err); is && answer.Code == wrongPassword {
		return refusal{answer.Error()}
	}
	if err != nil {
		return err
	}
	if err := errors.Join(client.Mail(sender), client.Rcpt(lab.Recipient)); err != nil {
		return err
	}
	body, err := client.Data()
	if err != nil {
		return err
	}
	id := uuid.NewString() + "@vendor.example"
	if _, err := fmt.Fprintf(body, "Message-ID: <%s>\r\nSubject: Hello\r\n\r\nMail goes on.\r\n", id); err != nil {
		return err
	}
	if err := body.Close(); err != nil {
		return err
	}
	m.mu.Lock()
	m.sent[id] = true
	m.mu.Unlock()
	return client.Quit()
}

// wrongPassword is what SMTP answers to one (RFC 4954 section 6).
const wrongPassword = 535

// open signs in to a mailbox (RFC 1939 section 7). The caller closes what it returns.
func (m *mail) open(account, password string) (*textproto.Conn, error) {
	conn, err := m.connect(m.dovecot.POP3S)
	if err != nil {
		return nil, err
	}
	text := textproto.NewConn(tls.Client(conn, m.config))
	if err = popAnswer(text); err == nil {
		err = popAsk(text, "USER "+account)
	}
	if err == nil {
		// Of a wrong password it says so (RFC 3206 section 4), and of what is its own trouble something else.
		if err = popAsk(text, "PASS "+password); err != nil && strings.Contains(err.Error(), "-ERR [AUTH]") {
			err = refusal{err.Error()}
		}
	}
	if err != nil {
		return nil, errors.Join(err, text.Close())
	}
	return text, nil
}

// look signs in to a mailbox and counts what is there.
func (m *mail) look(account, password string) error {
	text, err := m.open(account, password)
	if err != nil {
		return err
	}
	defer text.Close()
	if err := popAsk(text, "STAT"); err != nil {
		return err
	}
	return popAsk(text, "QUIT")
}

// fetch takes all mail that is there (RFC 1939).
func (m *mail) fetch() error {
	text, err := m.open(m.user, m.secret)
	if err != nil {
		return err
	}
	defer text.Close()
	if err := popAsk(text, "LIST"); err != nil {
		return err
	}
	list, err := text.ReadDotLines()
	if err != nil {
		return err
	}
	var ids []string
	for _, line := range list {
		number, _, _ := strings.Cut(line, " ")
		if err := popAsk(text, "RETR "+number); err != nil {
			return err
		}
		message, err := text.ReadDotBytes()
		if err != nil {
			return err
		}
		header, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(message))).ReadMIMEHeader()
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		ids = append(ids, strings.Trim(header.Get("Message-ID"), "<>"))
		if err := popAsk(text, "DELE "+number); err != nil {
			return err
		}
	}
	if err := popAsk(text, "QUIT"); err != nil { // only now it deletes
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		m.fetched[id]++
	}
	return nil
}

// popAsk sends a command, and is an error unless the answer is +OK (RFC 1939 section 3).
func popAsk(text *textproto.Conn, command string) error {
	if err := text.PrintfLine("%s", command); err != nil {
		return err
	}
	return popAnswer(text)
}

func popAnswer(text *textproto.Conn) error {
	line, err := text.ReadLine()
	if err == nil && !strings.HasPrefix(line, "+OK") {
		err = fmt.Errorf("%w: %s", tallystick.ErrUnavailable, line)
	}
	return err
}

// close ends the mail service when everything that was sent was fetched, or will not be any
// more, and returns what came of it.
func (m *mail) close(ctx context.Context) (MailResult, error) {
	m.stop()
	m.going.Wait()
	flushed := time.Time{}
	err := until(ctx, fetchGap/4, mailTime, "all mail was fetched", func(ctx context.Context) (bool, error) {
		if err := m.fetch(); err != nil {
			return false, err
		}
		if m.result().Lost == 0 {
			return true, nil
		}
		if time.Since(flushed) < flushGap {
			return false, nil
		}
		flushed = time.Now()
		return false, m.flush(ctx)
	})
	if errors.Is(err, tallystick.ErrUnavailable) && m.result().Lost > 0 {
		err = nil // the result tells
	}
	return m.result(), err
}

// flush has each Postfix try at once what it would try again later.
func (m *mail) flush(ctx context.Context) error {
	for _, one := range []*lab.Postfix{m.relay, m.postfix} {
		if one == nil {
			continue
		}
		if out, err := exec.CommandContext(ctx, "/usr/sbin/postqueue", "-c", one.Config, "-f").CombinedOutput(); err != nil {
			return fmt.Errorf("couldn't flush the queue of Postfix: %w: %s", err, out)
		}
	}
	return nil
}

func (m *mail) result() MailResult {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := MailResult{Flows: true, Sent: len(m.sent)}
	for id := range m.sent {
		switch n := m.fetched[id]; {
		case n == 0:
			r.Lost++
		case n > 1:
			r.Doubled++
		}
	}
	return r
}

// troubles returns what went wrong first.
func (m *mail) troubles() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.trouble)
}
